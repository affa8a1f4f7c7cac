//! The one source of time, so that tests and simulations can own it: the time of day, and a clock for deadlines that
//! another process counts too.

use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Tells the time of day, and the moment on a clock that does not stop while the machine sleeps.
#[derive(Clone)]
pub struct Clock {
    time: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    moment: Arc<dyn Fn() -> Moment + Send + Sync>,
}

/// A moment on the clock of one [`Clock`]. Unlike tokio's [`Instant`], it goes on while the machine sleeps: another replica
/// does not wait for this machine to wake up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The moment this long after the clock began.
    pub fn new(since_begin: Duration) -> Self {
        Self(since_begin)
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        Self::new(Timestamp::now, boot_time)
    }

    /// A clock that starts at `start` and goes as tokio's does: stopped and moved with it in tests.
    pub fn following_tokio(start: Timestamp) -> Self {
        let origin = Instant::now();
        Self::new(move || start + origin.elapsed(), move || Moment(origin.elapsed()))
    }

    /// A clock that reads the time of day and the moment from these functions.
    pub fn new(
        time: impl Fn() -> Timestamp + Send + Sync + 'static,
        moment: impl Fn() -> Moment + Send + Sync + 'static,
    ) -> Self {
        Self { time: Arc::new(time), moment: Arc::new(moment) }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        (self.time)()
    }

    /// Now, on the clock that does not stop while the machine sleeps.
    pub fn moment(&self) -> Moment {
        (self.moment)()
    }

    /// A deadline at this moment of this clock.
    pub fn deadline(&self, at: Moment) -> Deadline {
        Deadline { clock: self.clone(), at }
    }

    /// The moment on tokio's clock at which this one will show `time`; now, if that has passed.
    pub fn instant_of(&self, time: Timestamp) -> Instant {
        let wait = Duration::try_from(time.duration_since(self.now())).unwrap_or_default();
        Instant::now() + wait
    }

    /// Sleeps until this moment. A machine that sleeps meanwhile makes the wait longer, never shorter.
    pub async fn sleep_until(&self, moment: Moment) {
        tokio::time::sleep(moment.saturating_duration_since(self.moment())).await;
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// A moment, with the clock that shows whether it has passed.
#[derive(Clone, Debug)]
pub struct Deadline {
    clock: Clock,
    at: Moment,
}

impl Deadline {
    /// Whether it has passed.
    pub fn is_past(&self) -> bool {
        self.clock.moment() >= self.at
    }
}

/// The time since the machine was started, sleep included.
fn boot_time() -> Moment {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    Moment(Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    ))
}

/// The time as the Kubernetes API keeps it: whole seconds, the rest cut off.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_clock_counts_the_time_since_boot() {
        let clock = Clock::system();
        let before = clock.moment();
        assert!(before > Moment::default());
        assert!(clock.moment() >= before);
        assert!(clock.deadline(before).is_past());
        assert!(!clock.deadline(before + Duration::from_secs(3600)).is_past());
    }

    #[tokio::test(start_paused = true)]
    async fn clock_of_tests_moves_with_tokio() {
        let clock = Clock::following_tokio(Timestamp::UNIX_EPOCH);
        let deadline = clock.deadline(clock.moment() + Duration::from_secs(5));
        clock.sleep_until(clock.moment() + Duration::from_secs(4)).await;
        assert!(!deadline.is_past());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(deadline.is_past());
        assert_eq!(clock.now().as_second(), 5);
    }
}
