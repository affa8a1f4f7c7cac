//! Gate that all writes to the API server pass.
//!
//! The gate limits the number of writes in flight. When the API server reports overload (429 or 503), the limit is
//! halved, and writes pause if the API server sent a delay. Each success raises the limit again, so that no fixed rate
//! has to be guessed. Writes that wait are admitted in turn for each object whose sync makes them. While several objects
//! write, each of them has a limited share of the writes in flight, so that a Job with thousands of pods does not delay
//! the others (`share`). One object alone has most of the window: the API server and etcd combine concurrent writes, so
//! that a write costs them less. A closed gate admits no write and waits for the writes in flight. With leader election,
//! the gate is open only until the deadline of the last renewal of the Lease, whatever else the process does, and even if
//! the machine slept in the meantime. The client gives each write its deadline.

mod share;

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

use self::share::{Kind, Share};
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
    queue: FairQueue<Uid, Arc<Pending>, Share>,
    /// Object of the write that was admitted last.
    last: Option<Uid>,
    /// Time of the last admission of a write of another object than that of the write before.
    changed: Option<Instant>,
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

    /// Returns the largest possible number of writes in flight for one of several objects.
    fn largest_share(&self) -> usize {
        (self.window / SHARE).ceil().max(1.0) as usize
    }

    /// Returns the number of writes in flight that an object may have, by its share.
    fn most(&self) -> impl Fn(&Share) -> usize + use<> {
        let (largest, window) = (self.largest_share(), self.window as usize);
        let is_shared = self.queue.len() > 1 || self.changed.is_some_and(|changed| changed.elapsed() < SHARED);
        // A lone object leaves room for the first writes of another one.
        let alone = window.saturating_sub(largest).max(largest);
        move |share| if is_shared { share.most(largest) } else { alone }
    }

    /// Records that a write of an object is admitted.
    fn admitted(&mut self, object: &Uid) {
        self.in_flight += 1;
        if self.last.as_ref() != Some(object) {
            self.changed = self.last.is_some().then(Instant::now);
            self.last = Some(object.clone());
        }
    }

    /// Admits waiting writes while there is capacity.
    fn admit(&mut self) {
        while self.has_capacity() {
            let Some((object, pending)) = self.queue.next(self.most()) else { return };
            self.admitted(&object);
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

/// Part of the writes in flight that one of several objects may have at most: one in this number.
const SHARE: f64 = 6.0;
/// Time after a write of another object for which the gate is shared. The next write of that object may follow.
const SHARED: Duration = Duration::from_secs(1);
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
            last: None,
            changed: None,
            closed: false,
            open_until: None,
        };
        Self { state: Mutex::new(state), ended: Notify::new(), abort: Notify::new(), max_in_flight }
    }

    /// Makes one write as soon as the limits allow it, other than a creation. `object` is the object whose sync makes
    /// the write.
    pub async fn run<T>(&self, object: &Uid, write: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
        self.run_kind(object, Kind::Change, write).await
    }

    /// Creates an object as soon as the limits allow it. `object` is the object whose sync makes the write.
    pub async fn run_creation<T>(
        &self,
        object: &Uid,
        write: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        self.run_kind(object, Kind::Creation, write).await
    }

    async fn run_kind<T>(
        &self,
        object: &Uid,
        kind: Kind,
        write: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        let aborted = self.abort.notified();
        tokio::pin!(aborted);
        aborted.as_mut().enable();
        let permit = self.enter(object).await?;
        let admitted = Instant::now();
        let result = tokio::select! {
            biased;
            result = self.while_open(write) => result,
            () = aborted => Err(WriteError::Aborted),
        };
        self.record_result(result.as_ref().err());
        if result.is_ok() {
            self.record_latency(object, kind, admitted);
        }
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
            let most = state.most();
            if state.has_capacity() && state.queue.start(object, most) {
                state.admitted(object);
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

    /// Adapts the share of an object to the latency of one of its writes.
    fn record_latency(&self, object: &Uid, kind: Kind, admitted: Instant) {
        let (mut state, now) = (self.lock(), Instant::now());
        let largest = state.largest_share();
        if let Some(share) = state.queue.state(object) {
            share.record(kind, now.duration_since(admitted), largest, now);
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
mod tests;
