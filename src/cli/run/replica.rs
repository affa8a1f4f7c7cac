//! One replica: it watches always, and works whenever it leads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio::time::Instant;

use super::controllers::Controllers;
use crate::job::rival::Rival;
use crate::runtime::election::Election;

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
) -> Result<(), Rival> {
    let Some(election) = election.map(Arc::new) else {
        let _watches = controllers.watch();
        tokio::select! {
            biased;
            () = controllers.ready() => {}
            () = stop.told() => return Ok(()),
        }
        leads.store(true, Ordering::Relaxed);
        tracing::info!("controller ready");
        return controllers.work(stop.told()).await;
    };
    // Where nobody leads, the lists that the watches begin with need not be asked for twice.
    let mut taken = tokio::select! {
        biased;
        taken = election.take_if_free() => taken,
        () = stop.told() => return Ok(()),
    };
    let _watches = controllers.watch();
    let watched = controllers.clone();
    tokio::spawn(async move {
        watched.ready().await;
        tracing::info!("controller ready");
    });
    while !stop.is_told() {
        let handover = match taken.take() {
            Some(handover) => handover,
            None => tokio::select! {
                biased;
                handover = election.take() => handover,
                () = stop.told() => break,
            },
        };
        let since = Instant::now();
        let keeping = election.clone();
        let mut kept = tokio::spawn(async move { keeping.keep().await });
        let keeper = kept.abort_handle();
        let ended = async {
            tokio::select! {
                biased;
                _ = &mut kept => {}
                () = stop.told() => {}
            }
        };
        tokio::pin!(ended);
        let worked = tokio::select! {
            biased;
            () = controllers.catch_up(&handover, since) => {
                leads.store(true, Ordering::Relaxed);
                tracing::info!(caught_up_in = ?since.elapsed(), "working");
                controllers.work(ended).await
            }
            () = &mut ended => Ok(()),
        };
        leads.store(false, Ordering::Relaxed);
        if stop.is_told() || worked.is_err() {
            keeper.abort();
            election.release(&controllers.last_writes()).await;
            return worked;
        }
    }
    Ok(())
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

    fn is_told(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves once it is told.
    pub async fn told(&self) {
        // A sender that went without a word never will say one.
        if self.0.clone().wait_for(|told| *told).await.is_err() {
            std::future::pending().await
        }
    }
}
