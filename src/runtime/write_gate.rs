//! Gate that all writes to the API server pass.
//!
//! The gate limits the number of writes in flight. When the API server reports overload (429 or 503), the limit is
//! halved, and writes pause if the API server sent a delay. Each success raises the limit again, so that no fixed rate
//! has to be guessed. Writes that wait are admitted in turn for each object whose sync makes them, and one object has a
//! limited share of the writes in flight, so that a Job with thousands of pods does not delay the others. A closed gate admits no write and waits for the writes in flight. With leader election, the gate
//! is open only until the deadline of the last renewal of the Lease, whatever else the process does, and even if the
//! machine slept in the meantime. The client gives each write its deadline.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use kube::Resource;
use kube::api::{DeleteParams, PatchParams, PostParams, Preconditions, PropagationPolicy};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::clock::Deadline;
use super::codec::WireObject;
use super::errors::WriteError;
use super::fair_queue::FairQueue;
use super::identity::Uid;
use super::objects::Objects;
use crate::FIELD_MANAGER;

/// Gate that limits and admits writes.
pub struct WriteGate {
    state: Mutex<State>,
    /// Signal that a write has ended.
    ended: Notify,
    /// Signal that aborts the writes in flight.
    abort: Notify,
    max_in_flight: f64,
}

struct State {
    in_flight: usize,
    /// Current limit of writes in flight, from 1 to `max_in_flight`.
    window: f64,
    paused_until: Option<Instant>,
    /// Writes that wait, by the object whose sync makes them.
    queue: FairQueue<Uid, Arc<Pending>>,
    closed: bool,
    /// Deadline after which no write begins and no write in flight continues.
    open_until: Option<Deadline>,
}

/// A write that waits for its admission.
#[derive(Default)]
struct Pending {
    is_admitted: AtomicBool,
    wake: Notify,
}

impl State {
    /// Returns the end of the pause that the API server asked for, if it has not passed.
    fn pause(&self) -> Option<Instant> {
        self.paused_until.filter(|until| *until > Instant::now())
    }

    fn has_capacity(&self) -> bool {
        !self.is_closed() && self.pause().is_none() && self.in_flight < self.window as usize
    }

    /// Returns the maximum number of writes in flight for one object.
    fn share(&self) -> usize {
        (self.window / SHARE).ceil().max(1.0) as usize
    }

    /// Admits waiting writes while there is capacity.
    fn admit(&mut self) {
        while self.has_capacity() {
            let Some(pending) = self.queue.next(self.share()) else { return };
            self.in_flight += 1;
            pending.is_admitted.store(true, Ordering::Relaxed);
            pending.wake.notify_one();
        }
    }

    fn wake_all(&self) {
        self.queue.waiting().for_each(|pending| pending.wake.notify_one());
    }

    fn is_closed(&self) -> bool {
        self.closed || self.is_past()
    }

    fn is_past(&self) -> bool {
        self.open_until.as_ref().is_some_and(Deadline::is_past)
    }
}

/// Part of the writes in flight that one object may have: one in this number. More writes of one object would only wait
/// in the API server, and with them those of other objects.
const SHARE: f64 = 6.0;
/// Interval at which a pending write wakes up, so that the liveness check sees that its sync advances.
const CHECK: Duration = Duration::from_secs(60);

impl WriteGate {
    /// Creates an open gate that admits at most `max_in_flight` concurrent writes.
    pub fn new(max_in_flight: usize) -> Self {
        let max_in_flight = max_in_flight.max(1) as f64;
        let state = State {
            in_flight: 0,
            window: max_in_flight,
            paused_until: None,
            queue: FairQueue::default(),
            closed: false,
            open_until: None,
        };
        Self { state: Mutex::new(state), ended: Notify::new(), abort: Notify::new(), max_in_flight }
    }

    /// Makes one write as soon as the limits allow it. `object` is the object whose sync makes the write.
    pub async fn run<T>(&self, object: &Uid, write: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
        let aborted = self.abort.notified();
        tokio::pin!(aborted);
        aborted.as_mut().enable();
        let permit = self.enter(object).await?;
        let result = tokio::select! {
            biased;
            result = self.while_open(write) => result,
            () = aborted => Err(WriteError::Aborted),
        };
        self.record_result(result.as_ref().err());
        drop(permit);
        result
    }

    /// Opens the gate until it is closed.
    pub fn open(&self) {
        let mut state = self.lock();
        (state.closed, state.open_until) = (false, None);
    }

    /// Opens the gate until it is closed, but at most until `until`.
    pub fn open_until(&self, until: Deadline) {
        let mut state = self.lock();
        (state.closed, state.open_until) = (false, Some(until));
    }

    /// Moves the deadline until which the gate is open; a closed gate stays closed. Returns false and keeps the
    /// deadline if it has passed: writes may have been refused since then, and another replica may have written.
    #[must_use]
    pub fn extend(&self, until: Deadline) -> bool {
        let mut state = self.lock();
        if state.is_past() {
            return false;
        }
        state.open_until = Some(until);
        true
    }

    /// Closes the gate and aborts the writes in flight, because another replica may write from now on.
    pub fn abort_in_flight(&self) {
        self.refuse_new();
        self.abort.notify_waiters();
    }

    /// Closes the gate and waits until the writes in flight have ended. After `timeout`, the gate aborts them, and
    /// their outcome is unknown. Returns whether all writes ended before the timeout.
    pub async fn close_within(&self, timeout: Duration) -> bool {
        let ended = tokio::time::timeout(timeout, self.close()).await.is_ok();
        if !ended {
            self.abort_in_flight();
        }
        ended
    }

    /// Closes the gate and waits until the writes in flight have ended.
    async fn close(&self) {
        self.refuse_new();
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.lock().in_flight == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Closes the gate for new writes, and for those that wait.
    fn refuse_new(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.wake_all();
    }

    /// Returns the number of writes in flight.
    pub fn in_flight(&self) -> usize {
        self.lock().in_flight
    }

    /// Returns the current limit of concurrent writes.
    pub fn window(&self) -> usize {
        self.lock().window as usize
    }

    /// Advances a write only until the deadline of the gate, so that a machine that slept past the deadline sends
    /// nothing.
    async fn while_open<T>(&self, write: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
        let mut write = std::pin::pin!(write);
        std::future::poll_fn(|context| {
            if self.lock().is_past() {
                return Poll::Ready(Err(WriteError::Aborted));
            }
            write.as_mut().poll(context).map_err(WriteError::from)
        })
        .await
    }

    async fn enter<'a>(&'a self, object: &'a Uid) -> Result<Permit<'a>, WriteError> {
        let pending = {
            let mut state = self.lock();
            if state.is_closed() {
                return Err(WriteError::Closed);
            }
            let share = state.share();
            if state.has_capacity() && state.queue.start(object, share) {
                state.in_flight += 1;
                return Ok(Permit { gate: self, object });
            }
            let pending = Arc::new(Pending::default());
            state.queue.push(object, pending.clone());
            pending
        };
        let waiting = Waiting { gate: self, object, pending: &pending };
        loop {
            let paused_until = {
                let mut state = self.lock();
                if state.is_closed() {
                    return Err(WriteError::Closed);
                }
                state.admit();
                if pending.is_admitted.load(Ordering::Relaxed) {
                    std::mem::forget(waiting);
                    return Ok(Permit { gate: self, object });
                }
                state.pause()
            };
            let wait = paused_until.map_or(CHECK, |until| until.duration_since(Instant::now()));
            let _ = tokio::time::timeout(wait, pending.wake.notified()).await;
        }
    }

    /// Records that a write of this object has ended, and admits the next.
    fn leave(&self, object: &Uid) {
        let mut state = self.lock();
        state.in_flight -= 1;
        state.queue.end(object);
        state.admit();
        drop(state);
        self.ended.notify_waiters();
    }

    fn record_result(&self, error: Option<&WriteError>) {
        let mut state = self.lock();
        match error {
            Some(error) if matches!(error.code(), Some(429 | 503)) => {
                state.window = (state.window / 2.0).max(1.0);
                if let Some(seconds) = error.retry_after_seconds() {
                    // A longer pause would make this process appear stuck.
                    let pause = Duration::from_secs(u64::from(seconds.min(30)));
                    // The answer to another write in flight may have asked for a longer pause.
                    state.paused_until = state.paused_until.max(Some(Instant::now() + pause));
                }
            }
            Some(_) => {}
            None => state.window = (state.window + 1.0 / state.window).min(self.max_in_flight),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Returns the parameters of a patch by this controller.
pub fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// Returns the parameters of a deletion by this controller. The UID is a precondition, because another object may have
/// the name by now.
pub fn delete_params(uid: &Uid, propagation_policy: Option<PropagationPolicy>) -> DeleteParams {
    let preconditions = Some(Preconditions { uid: Some(uid.to_string()), resource_version: None });
    DeleteParams { preconditions, propagation_policy, ..DeleteParams::default() }
}

/// Returns whether a deletion failed with this error because no object with this UID exists. The error alone does not
/// prove it: another object may have the name now, another client may have deleted the object, and a webhook may answer
/// with any code. This function therefore reads the object from the API server.
///
/// # Errors
/// The error of the read, if the read fails.
pub async fn is_gone<K>(objects: &Objects<K>, name: &str, uid: &Uid, error: &WriteError) -> kube::Result<bool>
where
    K: Resource + WireObject,
{
    if !(error.is_not_found() || error.is_conflict()) {
        return Ok(false);
    }
    let found = objects.get_opt(name).await?;
    Ok(found.is_none_or(|found| found.meta().uid.as_deref().is_none_or(|found| !uid.is(found))))
}

/// Returns the parameters of a creation by this controller.
pub fn post_params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// Permit for one write in flight, returned to the gate when it is dropped.
struct Permit<'a> {
    gate: &'a WriteGate,
    object: &'a Uid,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.gate.leave(self.object);
    }
}

/// Place of a waiting write in the queue. A write that is abandoned leaves the queue, or returns its permit.
struct Waiting<'a> {
    gate: &'a WriteGate,
    object: &'a Uid,
    pending: &'a Arc<Pending>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.pending.is_admitted.load(Ordering::Relaxed) {
            self.gate.leave(self.object);
        } else {
            self.gate.lock().queue.retain(self.object, |pending| !Arc::ptr_eq(pending, self.pending));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::clock::{Clock, Moment};
    use crate::runtime::transport::deadline::Deadlines;
    use http::{Request, Response};
    use jiff::Timestamp;
    use k8s_openapi::api::core::v1::Pod;
    use kube::client::Body;
    use kube::core::Status;
    use kube::{Api, Client};
    use std::convert::Infallible;
    use std::future::pending;
    use std::sync::Arc;
    use tower::Layer;

    fn answer(code: u16, retry_after_seconds: u32) -> kube::Error {
        let details = kube::core::response::StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds,
        };
        let status = Status { code, details: Some(details), ..Status::failure("no", "no") };
        kube::Error::Api(Box::new(status))
    }

    #[tokio::test(start_paused = true)]
    async fn longest_pause_requested_by_the_server_is_kept() {
        let (write_gate, begun) = (WriteGate::new(2), Instant::now());
        for seconds in [20, 5] {
            write_gate.record_result(Some(&WriteError::from(answer(429, seconds))));
        }
        write_gate.run(&"a".into(), async { Ok(()) }).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn writes_in_flight_never_exceed_the_limit() {
        let write_gate = Arc::new(WriteGate::new(3));
        let in_flight = Arc::new(Mutex::new((0, 0)));
        let tasks: Vec<_> = (0..20)
            .map(|number| {
                let object = number.to_string().into();
                let (write_gate, in_flight) = (write_gate.clone(), in_flight.clone());
                tokio::spawn(async move {
                    let write = async {
                        {
                            let mut counts = in_flight.lock();
                            counts.0 += 1;
                            counts.1 = counts.1.max(counts.0);
                        }
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        in_flight.lock().0 -= 1;
                        Ok(())
                    };
                    write_gate.run(&object, write).await
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(in_flight.lock().1, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn object_with_many_writes_delays_no_other_object() {
        let write_gate = Arc::new(WriteGate::new(12));
        let write = |object: &'static str| {
            let write_gate = write_gate.clone();
            tokio::spawn(async move {
                let slow = async {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Ok(())
                };
                write_gate.run(&object.into(), slow).await
            })
        };
        let begun = Instant::now();
        let large: Vec<_> = (0..40).map(|_| write("large")).collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(write_gate.in_flight(), 2, "a sixth of twelve");
        write("small").await.unwrap().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2));
        for write in large {
            write.await.unwrap().unwrap();
        }
        assert_eq!((begun.elapsed().as_secs(), write_gate.in_flight()), (20, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_write_that_is_given_up_leaves_its_place_to_the_next() {
        let write_gate = Arc::new(WriteGate::new(1));
        let slow = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Ok(())
        };
        let (object, next) = ("a".into(), "b".into());
        let slow = write_gate.run(&object, slow);
        let given_up = tokio::time::timeout(Duration::from_secs(1), write_gate.run(&object, async { Ok(()) }));
        let last = write_gate.run(&next, async { Ok(()) });
        let (slow, given_up, last) = tokio::join!(slow, given_up, last);
        assert!(slow.is_ok() && given_up.is_err() && last.is_ok());
        assert_eq!(write_gate.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn overload_halves_the_window_and_pauses_writes() {
        let write_gate = WriteGate::new(8);
        let refused: Result<(), _> = write_gate.run(&"a".into(), async { Err(answer(429, 2)) }).await;
        assert!(refused.is_err());
        assert_eq!(write_gate.window(), 4);
        let start = Instant::now();
        write_gate.run(&"a".into(), async { Ok(()) }).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 2);
        for _ in 0..100 {
            write_gate.run(&"a".into(), async { Ok(()) }).await.unwrap();
        }
        assert_eq!(write_gate.window(), 8, "the window grows back to the configured maximum");
        let refused: Result<(), _> = write_gate.run(&"a".into(), async { Err(answer(409, 0)) }).await;
        assert!(refused.is_err());
        assert_eq!(write_gate.window(), 8, "a conflict does not change the window");
    }

    #[tokio::test(start_paused = true)]
    async fn close_awaits_writes_in_flight_and_admits_none() {
        let write_gate = Arc::new(WriteGate::new(1));
        let slow = {
            let write_gate = write_gate.clone();
            tokio::spawn(async move {
                write_gate
                    .run(&"a".into(), async {
                        tokio::time::sleep(Duration::from_secs(5)).await;
                        Ok(())
                    })
                    .await
            })
        };
        tokio::task::yield_now().await;
        let waiting = {
            let write_gate = write_gate.clone();
            tokio::spawn(async move { write_gate.run(&"a".into(), async { Ok(()) }).await })
        };
        tokio::task::yield_now().await;
        let start = Instant::now();
        write_gate.close().await;
        assert_eq!(start.elapsed().as_secs(), 5);
        assert!(slow.await.unwrap().is_ok());
        assert!(matches!(waiting.await.unwrap(), Err(WriteError::Closed)));
    }

    fn clock() -> Clock {
        Clock::following_tokio(Timestamp::UNIX_EPOCH)
    }

    /// Returns a deadline at this number of seconds from now.
    fn after(clock: &Clock, seconds: u64) -> Deadline {
        clock.deadline(clock.moment() + Duration::from_secs(seconds))
    }

    #[tokio::test(start_paused = true)]
    async fn gate_closes_automatically_when_the_lease_is_not_renewed() {
        let (write_gate, clock) = (WriteGate::new(1), clock());
        write_gate.open_until(after(&clock, 10));
        assert!(write_gate.run(&"a".into(), async { Ok(()) }).await.is_ok());
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(write_gate.extend(after(&clock, 10)));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(write_gate.run(&"a".into(), async { Ok(()) }).await.is_ok(), "renewed");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(matches!(write_gate.run(&"a".into(), async { Ok(()) }).await, Err(WriteError::Closed)));
        assert!(!write_gate.extend(after(&clock, 10)), "renewed too late");
        assert!(matches!(write_gate.run(&"a".into(), async { Ok(()) }).await, Err(WriteError::Closed)));
        write_gate.open_until(after(&clock, 10));
        assert!(write_gate.run(&"a".into(), async { Ok(()) }).await.is_ok(), "the Lease was acquired again");
    }

    #[tokio::test(start_paused = true)]
    async fn machine_that_slept_past_its_lease_neither_begins_nor_continues_a_write() {
        // The clock of tokio stops while the machine sleeps.
        let slept = Arc::new(Mutex::new(Duration::ZERO));
        let moment = slept.clone();
        let clock = Clock::new(|| Timestamp::UNIX_EPOCH, move || Moment::new(*moment.lock()));
        let write_gate = Arc::new(WriteGate::new(2));
        write_gate.open_until(after(&clock, 10));
        let (wake, woken) = tokio::sync::oneshot::channel::<()>();
        let sent = Arc::new(Mutex::new(false));
        let in_flight = {
            let (write_gate, sent) = (write_gate.clone(), sent.clone());
            tokio::spawn(async move {
                write_gate
                    .run(&"a".into(), async {
                        let _ = woken.await;
                        *sent.lock() = true;
                        Ok(())
                    })
                    .await
            })
        };
        tokio::task::yield_now().await;
        *slept.lock() = Duration::from_secs(3600);
        assert!(matches!(write_gate.run(&"a".into(), async { Ok(()) }).await, Err(WriteError::Closed)));
        wake.send(()).unwrap();
        assert!(matches!(in_flight.await.unwrap(), Err(WriteError::Aborted)));
        assert!(!*sent.lock(), "the write was sent after the Lease had expired");
    }

    #[tokio::test(start_paused = true)]
    async fn write_without_an_answer_ends_at_its_deadline_with_an_unknown_outcome() {
        let write_gate = WriteGate::new(1);
        let never = tower::service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>());
        let pods: Api<Pod> = Api::default_namespaced(Client::new(Deadlines::default().layer(never), "default"));
        let error = write_gate.run(&"a".into(), pods.create(&post_params(), &Pod::default())).await.unwrap_err();
        assert!(error.is_ambiguous(), "{error}");
        assert_eq!(write_gate.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn close_aborts_writes_that_do_not_end_before_the_timeout() {
        let write_gate = Arc::new(WriteGate::new(1));
        let slow = {
            let write_gate = write_gate.clone();
            tokio::spawn(async move { write_gate.run(&"a".into(), std::future::pending::<kube::Result<()>>()).await })
        };
        tokio::task::yield_now().await;
        assert!(!write_gate.close_within(Duration::from_secs(5)).await);
        assert!(matches!(slow.await.unwrap(), Err(WriteError::Aborted)));
        assert!(write_gate.close_within(Duration::from_secs(5)).await, "no write is in flight any more");
    }

    #[tokio::test(start_paused = true)]
    async fn abort_ends_writes_in_flight_and_closes_the_gate() {
        let write_gate = Arc::new(WriteGate::new(1));
        let begin = || {
            let write_gate = write_gate.clone();
            tokio::spawn(async move { write_gate.run(&"a".into(), std::future::pending::<kube::Result<()>>()).await })
        };
        let (in_flight, waiting) = (begin(), begin());
        tokio::time::sleep(Duration::from_millis(1)).await;
        write_gate.abort_in_flight();
        assert!(matches!(in_flight.await.unwrap(), Err(WriteError::Aborted)));
        assert!(matches!(waiting.await.unwrap(), Err(WriteError::Closed)));
        assert_eq!(write_gate.in_flight(), 0);
    }
}
