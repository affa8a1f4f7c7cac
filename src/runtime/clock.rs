//! The only source of time, so that tests and simulations can control it: the time of day, and a clock for deadlines
//! that another process measures too.

use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Source of the time of day, and of moments on a clock that does not stop while the machine sleeps.
#[derive(Clone)]
pub struct Clock {
    time: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    moment: Arc<dyn Fn() -> Moment + Send + Sync>,
}

/// Moment on the monotonic clock of one [`Clock`]. Unlike the [`Instant`] of tokio, this clock advances while the
/// machine sleeps, because another replica does not wait for this machine to wake up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// Returns the moment at this time after the origin of the clock.
    pub fn new(since_begin: Duration) -> Self {
        Self(since_begin)
    }

    /// Returns the time from `earlier` to this moment, or zero if `earlier` is later.
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
    /// Creates a clock that reads the clocks of the machine.
    #[expect(clippy::disallowed_methods, reason = "the only place where the controllers read the time of day")]
    pub fn system() -> Self {
        Self::new(Timestamp::now, boot_time)
    }

    /// Creates a clock that starts at `start` and follows the clock of tokio, which tests pause and advance.
    pub fn following_tokio(start: Timestamp) -> Self {
        let origin = Instant::now();
        Self::new(move || start + origin.elapsed(), move || Moment(origin.elapsed()))
    }

    /// Creates a clock that reads the time of day and the moment from these functions.
    pub fn new(
        time: impl Fn() -> Timestamp + Send + Sync + 'static,
        moment: impl Fn() -> Moment + Send + Sync + 'static,
    ) -> Self {
        Self { time: Arc::new(time), moment: Arc::new(moment) }
    }

    /// Returns the current time of day.
    pub fn now(&self) -> Timestamp {
        (self.time)()
    }

    /// Returns the current moment, on the clock that does not stop while the machine sleeps.
    pub fn moment(&self) -> Moment {
        (self.moment)()
    }

    /// Returns a deadline at this moment of this clock.
    pub fn deadline(&self, at: Moment) -> Deadline {
        Deadline { clock: self.clone(), at }
    }

    /// Returns the instant on the clock of tokio at which this clock will show `time`, or the current instant if `time`
    /// has passed.
    pub fn instant_of(&self, time: Timestamp) -> Instant {
        let wait = Duration::try_from(time.duration_since(self.now())).unwrap_or_default();
        Instant::now() + wait
    }

    /// Sleeps until this moment. If the machine sleeps in the meantime, the wait becomes longer, never shorter.
    pub async fn sleep_until(&self, moment: Moment) {
        tokio::time::sleep(moment.saturating_duration_since(self.moment())).await;
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// Moment, with the clock that shows whether the moment has passed.
#[derive(Clone, Debug)]
pub struct Deadline {
    clock: Clock,
    at: Moment,
}

impl Deadline {
    /// Returns whether the deadline has passed.
    pub fn is_past(&self) -> bool {
        self.clock.moment() >= self.at
    }
}

/// Returns the time since the machine was started. On Linux it includes the time that the machine slept.
#[cfg(unix)]
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

/// Returns the time since the first call. Only the command line runs on such systems.
#[cfg(not(unix))]
fn boot_time() -> Moment {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    Moment(START.elapsed())
}

/// Returns the time as the Kubernetes API stores it, truncated to whole seconds.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_clock_measures_the_time_since_boot() {
        let clock = Clock::system();
        let before = clock.moment();
        assert!(before > Moment::default());
        assert!(clock.moment() >= before);
        assert!(clock.deadline(before).is_past());
        assert!(!clock.deadline(before + Duration::from_secs(3600)).is_past());
    }

    #[tokio::test(start_paused = true)]
    async fn test_clock_advances_with_tokio() {
        let clock = Clock::following_tokio(Timestamp::UNIX_EPOCH);
        let deadline = clock.deadline(clock.moment() + Duration::from_secs(5));
        clock.sleep_until(clock.moment() + Duration::from_secs(4)).await;
        assert!(!deadline.is_past());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(deadline.is_past());
        assert_eq!(clock.now().as_second(), 5);
    }
}
