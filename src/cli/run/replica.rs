//! One replica: it watches always, and works whenever it leads.

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

/// How long a new leader may take until its caches hold all that had happened before; then it releases the Lease, so that
/// another replica can try. Each further time in a row it may take twice as long, up to [`MAX_CATCH_UP`]: in a cluster in
/// which the lists take that long, one replica has to be given the time.
const CATCH_UP: Duration = Duration::from_secs(120);
const MAX_CATCH_UP: Duration = Duration::from_secs(960);
/// Longest time for which a leader that stops keeps the Lease because of writes that were abandoned. A Lease with a longer
/// margin is not released then, but expires.
const MAX_MARGIN: Duration = Duration::from_secs(6);
/// How long the last renewal of the Lease may take when the leader stops. All that a stop waits for, here and in
/// [`Controllers::work`], has to fit into the half minute that a pod is given to end.
const FINAL_RENEWAL_TIMEOUT: Duration = Duration::from_secs(3);
/// How many lengths of the Lease a replica that did not catch up leaves the Lease to others, unless its caches are complete earlier.
const ABSTAIN_LEASE_DURATIONS: u32 = 2;

/// Works whenever this replica leads, until it is told to stop. `leads` says whether it does. Without an election it
/// leads always.
///
/// # Errors
/// Another controller was seen to work on our Jobs; this one has stopped.
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
    // Where nobody leads, the lists that the watches begin with need not be asked for twice.
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
    let mut patience = CATCH_UP;
    while !stop.is_cancelled() {
        let handover = match handover_at_start.take() {
            Some(handover) => handover,
            None => tokio::select! {
                biased;
                handover = election.acquire() => handover,
                () = stop.cancelled() => break,
            },
        };
        match lead(controllers, &election, &handover, patience, leads, stop).await {
            Outcome::Worked(result) if stop.is_cancelled() || result.is_err() => return result,
            Outcome::Worked(_) => patience = CATCH_UP,
            Outcome::NotCaughtUp => {
                patience = (patience * 2).min(MAX_CATCH_UP);
                tokio::select! {
                    biased;
                    () = controllers.ready() => {}
                    () = tokio::time::sleep(election.lease_duration() * ABSTAIN_LEASE_DURATIONS) => {}
                    () = stop.cancelled() => break,
                }
            }
        }
    }
    // A request for the Lease may have been abandoned on the way, and have taken effect.
    election.release(None).await;
    Ok(())
}

/// How a term ended.
enum Outcome {
    /// The Lease was lost, this replica was told to stop, or another controller was seen.
    Worked(Result<(), ConflictingController>),
    /// The caches were not complete in time.
    NotCaughtUp,
}

/// One term: works until the Lease is lost or this replica is told to stop. Unless the Lease is lost, it is released in the
/// end; until all writes have ended it is renewed.
async fn lead(
    controllers: &Arc<Controllers>,
    election: &Arc<Election>,
    handover: &Handover,
    patience: Duration,
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
            result = tokio::time::timeout(patience, controllers.catch_up(handover, since)) => match result {
                Ok(how) => {
                    leads.store(true, Ordering::Relaxed);
                    tracing::info!(caught_up_in = ?since.elapsed(), listed = how.listed, "working");
                    caught_up = Some(how);
                    let ended = controllers.work(ended).await;
                    settled = ended.settled;
                    Outcome::Worked(ended.by)
                }
                Err(_) => {
                    tracing::error!(?patience, "the caches are not complete in time; the Lease is released, so that another replica can work");
                    Outcome::NotCaughtUp
                }
            },
            () = &mut ended => Outcome::Worked(Ok(())),
        }
    };
    leads.store(false, Ordering::Relaxed);
    if kept.is_terminated() {
        // The Lease is lost.
        return outcome;
    }
    if !settled && election.margin() > MAX_MARGIN {
        return outcome;
    }
    if !settled {
        // A write that was abandoned may still take effect. The Lease is kept for as long as another replica would wait.
        tokio::select! {
            biased;
            _ = &mut kept => {}
            () = tokio::time::sleep(election.margin()) => {}
        }
    }
    // A renewal in flight is awaited, or it would conflict with the release.
    drop(finish);
    if !kept.is_terminated() && tokio::time::timeout(FINAL_RENEWAL_TIMEOUT, &mut kept).await.is_err() {
        keeper.abort();
    }
    let term = Term { handover, caught_up: caught_up.as_ref(), written: &controllers.last_writes(), settled };
    election.release(record::to_leave(term).as_ref()).await;
    outcome
}

/// Whether a replica has been told to stop.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// One that is told when `true` is sent.
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves once it is told.
    pub async fn cancelled(&self) {
        // A sender that went without a word never will say one.
        if self.0.clone().wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending().await
        }
    }
}
