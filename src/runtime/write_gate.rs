//! The one gate all writes to the API server go through.
//!
//! It bounds how many are on their way at once. The bound yields when the API server says it is overloaded (429, 503:
//! half of it, and a pause if one was asked for) and grows back with each success, so no fixed rate has to be guessed.
//! Closed, it lets no write begin and waits for those under way. Where a Lease says who may write, it is open only
//! until the time the Lease was last renewed for, whatever else the process is busy with, and whether or not the machine
//! slept meanwhile. The client gives each write its deadline.

use std::fmt::Debug;
use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use kube::api::{DeleteParams, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Api, Resource};
use parking_lot::{Mutex, MutexGuard};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::clock::Deadline;
use super::errors::WriteError;
use super::identity::Uid;
use crate::FIELD_MANAGER;

/// The gate writes go through.
pub struct WriteGate {
    state: Mutex<State>,
    changed: Notify,
    /// Ends the writes under way.
    abort: Notify,
    max_in_flight: f64,
}

struct State {
    in_flight: usize,
    /// How many may be in flight now, from 1 to `max_in_flight`.
    window: f64,
    paused_until: Option<Instant>,
    closed: bool,
    /// No write begins after this, and none that has begun goes on.
    open_until: Option<Deadline>,
}

impl State {
    fn is_closed(&self) -> bool {
        self.closed || self.is_past()
    }

    fn is_past(&self) -> bool {
        self.open_until.as_ref().is_some_and(Deadline::is_past)
    }
}

/// How often a write that waits for its place checks again, so that whoever watches over syncs sees that this one goes on.
const CHECK: Duration = Duration::from_secs(60);

impl WriteGate {
    /// A gate that lets at most `max_in_flight` writes be on their way at once.
    pub fn new(max_in_flight: usize) -> Self {
        let max_in_flight = max_in_flight.max(1) as f64;
        let state = State { in_flight: 0, window: max_in_flight, paused_until: None, closed: false, open_until: None };
        Self { state: Mutex::new(state), changed: Notify::new(), abort: Notify::new(), max_in_flight }
    }

    /// Makes one write when there is room for it.
    pub async fn run<T>(&self, write: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
        let aborted = self.abort.notified();
        tokio::pin!(aborted);
        aborted.as_mut().enable();
        let permit = self.enter().await?;
        let result = tokio::select! {
            biased;
            result = self.while_open(write) => result,
            () = aborted => Err(WriteError::Aborted),
        };
        self.record_result(result.as_ref().err());
        drop(permit);
        result
    }

    /// Lets writes begin, until it is closed.
    pub fn open(&self) {
        let mut state = self.lock();
        (state.closed, state.open_until) = (false, None);
    }

    /// Lets writes begin, until `until` at the latest.
    pub fn open_until(&self, until: Deadline) {
        let mut state = self.lock();
        (state.closed, state.open_until) = (false, Some(until));
    }

    /// Moves the time until which writes may begin; a closed gate stays closed. Returns false, and moves nothing, if that time
    /// has passed: writes may have been refused since then, and another replica may have written.
    #[must_use]
    pub fn extend(&self, until: Deadline) -> bool {
        let mut state = self.lock();
        if state.is_past() {
            return false;
        }
        state.open_until = Some(until);
        true
    }

    /// Lets no more writes begin and gives up those under way: somebody else may be writing from now on.
    pub fn abort_in_flight(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
        self.abort.notify_waiters();
    }

    /// Lets no more writes begin, and returns when those in flight have ended. After `timeout` it abandons them; then their
    /// outcome is unknown. Returns whether all ended by themselves.
    pub async fn close_within(&self, timeout: Duration) -> bool {
        let ended = tokio::time::timeout(timeout, self.close()).await.is_ok();
        if !ended {
            self.abort_in_flight();
        }
        ended
    }

    /// Lets no more writes begin, and returns when those under way have ended.
    async fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.lock().in_flight == 0 {
                return;
            }
            changed.await;
        }
    }

    /// How many writes are on their way.
    pub fn in_flight(&self) -> usize {
        self.lock().in_flight
    }

    /// How many writes may be on their way at once just now.
    pub fn window(&self) -> usize {
        self.lock().window as usize
    }

    /// Advances a write only as long as the gate is open by time: a machine that wakes up sends nothing any more.
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

    async fn enter(&self) -> Result<Permit<'_>, WriteError> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let paused_until = {
                let mut state = self.lock();
                if state.is_closed() {
                    return Err(WriteError::Closed);
                }
                let paused_until = state.paused_until.filter(|until| *until > Instant::now());
                if paused_until.is_none() && state.in_flight < state.window as usize {
                    state.in_flight += 1;
                    if state.in_flight < state.window as usize {
                        // Each end of a write wakes one waiter; a window that grew has room for more.
                        self.changed.notify_one();
                    }
                    return Ok(Permit(self));
                }
                paused_until
            };
            match paused_until {
                Some(until) => {
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = tokio::time::sleep_until(until) => {}
                    }
                }
                None => {
                    let _ = tokio::time::timeout(CHECK, changed).await;
                }
            }
        }
    }

    fn record_result(&self, error: Option<&WriteError>) {
        let mut state = self.lock();
        match error {
            Some(error) if matches!(error.code(), Some(429 | 503)) => {
                state.window = (state.window / 2.0).max(1.0);
                if let Some(seconds) = error.retry_after_seconds() {
                    // A server that asks for more than this would have us look dead.
                    let pause = Duration::from_secs(u64::from(seconds.min(30)));
                    // Another write in flight may have been asked to wait for longer.
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

/// Parameters of a patch of ours.
pub fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// Parameters of a deletion of ours: of the object of this UID, and of no other that may have its name by now.
pub fn delete_params(uid: &Uid, propagation_policy: Option<PropagationPolicy>) -> DeleteParams {
    let preconditions = Some(Preconditions { uid: Some(uid.to_string()), resource_version: None });
    DeleteParams { preconditions, propagation_policy, ..DeleteParams::default() }
}

/// Returns whether a deletion failed with this error because the object of this UID is gone. Another object may have its name
/// now, another client may have deleted it, and a webhook may answer with any code, so the API server is asked.
///
/// # Errors
/// The API server does not answer.
pub async fn is_gone<K>(api: &Api<K>, name: &str, uid: &Uid, error: &WriteError) -> kube::Result<bool>
where
    K: Clone + Debug + DeserializeOwned + Resource,
{
    if !(error.is_not_found() || error.is_conflict()) {
        return Ok(false);
    }
    let found = api.get_opt(name).await?;
    Ok(found.is_none_or(|found| found.meta().uid.as_deref() != Some(uid.as_str())))
}

/// Parameters of a creation of ours.
pub fn post_params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// A place among the writes under way, given back when dropped.
struct Permit<'a>(&'a WriteGate);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.lock().in_flight -= 1;
        self.0.changed.notify_one();
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
    async fn the_longest_pause_that_the_server_asked_for_is_kept() {
        let (write_gate, begun) = (WriteGate::new(2), Instant::now());
        for seconds in [20, 5] {
            write_gate.record_result(Some(&WriteError::from(answer(429, seconds))));
        }
        write_gate.run(async { Ok(()) }).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_writes_than_allowed_are_under_way_at_once() {
        let write_gate = Arc::new(WriteGate::new(3));
        let under_way = Arc::new(Mutex::new((0, 0)));
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (write_gate, under_way) = (write_gate.clone(), under_way.clone());
                tokio::spawn(async move {
                    let write = async {
                        {
                            let mut counts = under_way.lock();
                            counts.0 += 1;
                            counts.1 = counts.1.max(counts.0);
                        }
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        under_way.lock().0 -= 1;
                        Ok(())
                    };
                    write_gate.run(write).await
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(under_way.lock().1, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_overloaded_server_halves_the_window_and_gets_its_pause() {
        let write_gate = WriteGate::new(8);
        let refused: Result<(), _> = write_gate.run(async { Err(answer(429, 2)) }).await;
        assert!(refused.is_err());
        assert_eq!(write_gate.window(), 4);
        let start = Instant::now();
        write_gate.run(async { Ok(()) }).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 2);
        for _ in 0..100 {
            write_gate.run(async { Ok(()) }).await.unwrap();
        }
        assert_eq!(write_gate.window(), 8, "it grows back, and not past what was set");
        let refused: Result<(), _> = write_gate.run(async { Err(answer(409, 0)) }).await;
        assert!(refused.is_err());
        assert_eq!(write_gate.window(), 8, "a conflict says nothing about load");
    }

    #[tokio::test(start_paused = true)]
    async fn closing_lets_writes_end_and_none_begin() {
        let write_gate = Arc::new(WriteGate::new(1));
        let slow = {
            let write_gate = write_gate.clone();
            tokio::spawn(async move {
                write_gate
                    .run(async {
                        tokio::time::sleep(Duration::from_secs(5)).await;
                        Ok(())
                    })
                    .await
            })
        };
        tokio::task::yield_now().await;
        let waiting = {
            let write_gate = write_gate.clone();
            tokio::spawn(async move { write_gate.run(async { Ok(()) }).await })
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

    /// A deadline so many seconds from now.
    fn after(clock: &Clock, seconds: u64) -> Deadline {
        clock.deadline(clock.moment() + Duration::from_secs(seconds))
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_not_renewed_closes_the_gate_by_itself() {
        let (write_gate, clock) = (WriteGate::new(1), clock());
        write_gate.open_until(after(&clock, 10));
        assert!(write_gate.run(async { Ok(()) }).await.is_ok());
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(write_gate.extend(after(&clock, 10)));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(write_gate.run(async { Ok(()) }).await.is_ok(), "renewed");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(matches!(write_gate.run(async { Ok(()) }).await, Err(WriteError::Closed)));
        assert!(!write_gate.extend(after(&clock, 10)), "renewed too late");
        assert!(matches!(write_gate.run(async { Ok(()) }).await, Err(WriteError::Closed)));
        write_gate.open_until(after(&clock, 10));
        assert!(write_gate.run(async { Ok(()) }).await.is_ok(), "won again");
    }

    #[tokio::test(start_paused = true)]
    async fn machine_that_slept_past_its_lease_neither_begins_nor_continues_a_write() {
        // While the machine sleeps, tokio's clock stands still.
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
                    .run(async {
                        let _ = woken.await;
                        *sent.lock() = true;
                        Ok(())
                    })
                    .await
            })
        };
        tokio::task::yield_now().await;
        *slept.lock() = Duration::from_secs(3600);
        assert!(matches!(write_gate.run(async { Ok(()) }).await, Err(WriteError::Closed)));
        wake.send(()).unwrap();
        assert!(matches!(in_flight.await.unwrap(), Err(WriteError::Aborted)));
        assert!(!*sent.lock(), "it was sent after the Lease had run out");
    }

    #[tokio::test(start_paused = true)]
    async fn write_without_an_answer_ends_at_its_deadline_with_an_unknown_outcome() {
        let write_gate = WriteGate::new(1);
        let never = tower::service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>());
        let pods: Api<Pod> = Api::default_namespaced(Client::new(Deadlines::default().layer(never), "default"));
        let error = write_gate.run(pods.create(&post_params(), &Pod::default())).await.unwrap_err();
        assert!(error.is_ambiguous(), "{error}");
        assert_eq!(write_gate.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn closing_abandons_what_does_not_end_in_time() {
        let write_gate = Arc::new(WriteGate::new(1));
        let slow = {
            let write_gate = write_gate.clone();
            tokio::spawn(async move { write_gate.run(std::future::pending::<kube::Result<()>>()).await })
        };
        tokio::task::yield_now().await;
        assert!(!write_gate.close_within(Duration::from_secs(5)).await);
        assert!(matches!(slow.await.unwrap(), Err(WriteError::Aborted)));
        assert!(write_gate.close_within(Duration::from_secs(5)).await, "nothing is in flight any more");
    }

    #[tokio::test(start_paused = true)]
    async fn cutting_gives_up_what_is_under_way() {
        let write_gate = Arc::new(WriteGate::new(1));
        let begin = || {
            let write_gate = write_gate.clone();
            tokio::spawn(async move { write_gate.run(std::future::pending::<kube::Result<()>>()).await })
        };
        let (under_way, waiting) = (begin(), begin());
        tokio::time::sleep(Duration::from_millis(1)).await;
        write_gate.abort_in_flight();
        assert!(matches!(under_way.await.unwrap(), Err(WriteError::Aborted)));
        assert!(matches!(waiting.await.unwrap(), Err(WriteError::Closed)));
        assert_eq!(write_gate.in_flight(), 0);
    }
}
