//! The life of one replica: a replica always watches, and works while it is the leader.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::FusedFuture;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::controllers::Controllers;
use crate::job::conflicting_controller::ConflictingController;
use crate::runtime::election::Election;
use crate::runtime::election::lease::Handover;
use crate::runtime::election::record::{self, Term};

/// Timeout within which the caches of a new leader have to contain everything that happened before its term. After it,
/// the leader releases the Lease, so that another replica can try. The timeout doubles after each failure in a row, up
/// to [`MAX_CATCH_UP`]: in a cluster whose lists take longer, one replica has to get enough time.
const CATCH_UP: Duration = Duration::from_secs(120);
/// Maximum of [`CATCH_UP`] after repeated failures.
const MAX_CATCH_UP: Duration = Duration::from_secs(960);
/// Longest time for which a stopping leader keeps the Lease because of abandoned writes. A Lease with a longer margin
/// is not released, but expires.
const MAX_MARGIN: Duration = Duration::from_secs(6);
/// Timeout for the last renewal of the Lease when the leader stops. All timeouts of a stop, here and in
/// [`Controllers::work`], have to fit into the default grace period of a pod, 30 s.
const FINAL_RENEWAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for which a replica that did not catch up leaves the Lease to other replicas, in lease durations. The time ends
/// earlier if its caches become complete.
const ABSTAIN_LEASE_DURATIONS: u32 = 2;

/// Runs the controllers while this replica is the leader, until `stop` is cancelled. `leads` is true while the replica
/// is the leader. Without an election, the replica is always the leader.
///
/// # Errors
/// Another controller works on the same Jobs. The controllers of this process have stopped.
pub async fn work(
    controllers: &Arc<Controllers>,
    election: Option<Election>,
    leads: &AtomicBool,
    stop: &Stop,
) -> Result<(), ConflictingController> {
    let Some(election) = election.map(Arc::new) else {
        let _watches = controllers.watch();
        tokio::select! {
            biased;
            () = controllers.ready() => {}
            () = stop.cancelled() => return Ok(()),
        }
        leads.store(true, Ordering::Relaxed);
        tracing::info!("controller ready");
        return controllers.work(stop.cancelled()).await.by;
    };
    // If no replica is the leader, this one acquires the Lease before its watches begin. The first lists are then
    // recent enough, and no second list is needed.
    let mut handover_at_start = tokio::select! {
        biased;
        handover_at_start = election.acquire_if_available() => handover_at_start,
        () = stop.cancelled() => None,
    };
    let _watches = controllers.watch();
    let watched = controllers.clone();
    tokio::spawn(async move {
        watched.ready().await;
        tracing::info!("controller ready");
    });
    let mut catch_up_timeout = CATCH_UP;
    while !stop.is_cancelled() {
        let handover = match handover_at_start.take() {
            Some(handover) => handover,
            None => tokio::select! {
                biased;
                handover = election.acquire() => handover,
                () = stop.cancelled() => break,
            },
        };
        match lead(controllers, &election, &handover, catch_up_timeout, leads, stop).await {
            Outcome::Worked(result) if stop.is_cancelled() || result.is_err() => return result,
            Outcome::Worked(_) => catch_up_timeout = CATCH_UP,
            Outcome::NotCaughtUp => {
                catch_up_timeout = (catch_up_timeout * 2).min(MAX_CATCH_UP);
                tokio::select! {
                    biased;
                    () = controllers.ready() => {}
                    () = tokio::time::sleep(election.lease_duration() * ABSTAIN_LEASE_DURATIONS) => {}
                    () = stop.cancelled() => break,
                }
            }
        }
    }
    // An abandoned request for the Lease may have taken effect, so the Lease is released in any case.
    election.release(None).await;
    Ok(())
}

/// Outcome of a term.
enum Outcome {
    /// The replica worked until the Lease was lost, a stop was requested, or another controller was detected.
    Worked(Result<(), ConflictingController>),
    /// The caches were not complete within the timeout.
    NotCaughtUp,
}

/// Runs one term: works until the Lease is lost or a stop is requested. The Lease is renewed until all writes have
/// ended, and then released unless it is lost. `catch_up_timeout` is the timeout for completing the caches.
async fn lead(
    controllers: &Arc<Controllers>,
    election: &Arc<Election>,
    handover: &Handover,
    catch_up_timeout: Duration,
    leads: &AtomicBool,
    stop: &Stop,
) -> Outcome {
    let since = Instant::now();
    let (finish, finished) = oneshot::channel::<()>();
    let keeping = election.clone();
    let kept = tokio::spawn(async move { keeping.keep(async { _ = finished.await }).await });
    let keeper = kept.abort_handle();
    let mut kept = kept.fuse();
    let (mut caught_up, mut settled) = (None, true);
    let outcome = {
        let ended = async {
            tokio::select! {
                biased;
                _ = &mut kept => {}
                () = stop.cancelled() => {}
            }
        };
        tokio::pin!(ended);
        tokio::select! {
            biased;
            result = tokio::time::timeout(catch_up_timeout, controllers.catch_up(handover, since)) => match result {
                Ok(how) => {
                    leads.store(true, Ordering::Relaxed);
                    tracing::info!(caught_up_in = ?since.elapsed(), listed = how.listed, "working");
                    caught_up = Some(how);
                    let ended = controllers.work(ended).await;
                    settled = ended.settled;
                    Outcome::Worked(ended.by)
                }
                Err(_) => {
                    tracing::error!(timeout = ?catch_up_timeout, "caches are not complete in time; releasing the Lease to another replica");
                    Outcome::NotCaughtUp
                }
            },
            () = &mut ended => Outcome::Worked(Ok(())),
        }
    };
    leads.store(false, Ordering::Relaxed);
    if kept.is_terminated() {
        // Renewing ends early only when the Lease is lost.
        return outcome;
    }
    if !settled && election.margin() > MAX_MARGIN {
        return outcome;
    }
    if !settled {
        // An abandoned write may still take effect. The Lease is kept for as long as another replica would wait.
        tokio::select! {
            biased;
            _ = &mut kept => {}
            () = tokio::time::sleep(election.margin()) => {}
        }
    }
    // The release waits for a renewal in flight, because both would conflict.
    drop(finish);
    if !kept.is_terminated() && tokio::time::timeout(FINAL_RENEWAL_TIMEOUT, &mut kept).await.is_err() {
        keeper.abort();
    }
    let term = Term { handover, caught_up: caught_up.as_ref(), written: &controllers.last_writes(), settled };
    election.release(record::to_leave(term).as_ref()).await;
    outcome
}

/// Receiver of the request to stop the process.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Returns the sender and the receiver. Sending `true` requests the stop.
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves once the stop is requested.
    pub async fn cancelled(&self) {
        // If the sender is dropped without a value, a stop is never requested.
        if self.0.clone().wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending().await
        }
    }
}
