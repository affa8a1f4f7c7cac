//! A run from beginning to end: connect, watch, lead, stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Arguments;
use super::controllers::Controllers;
use super::gauges;
use crate::cli::connect::ConnectError;
use crate::cli::rights::{self, Asked, Forbidden};
use crate::cli::version;
use crate::job::rival::Rival;
use crate::runtime::clock::Clock;
use crate::runtime::election::Election;
use crate::runtime::health::Health;
use crate::runtime::kit::Kit;
use crate::runtime::requests::RequestMetrics;
use crate::runtime::worker::SyncMetrics;
use crate::runtime::writes::Writes;
use crate::runtime::{events, http};

/// How long the last events may take to be written when the process stops.
const LAST_EVENTS: Duration = Duration::from_secs(2);
/// How often permissions that are missing are asked for again.
const RIGHTS_AGAIN: Duration = Duration::from_secs(10);

/// Why the controller did not start, or stopped.
#[derive(Debug, Error)]
pub enum RunError {
    /// A flag does not fit the others.
    #[error("{0}")]
    Flags(String),
    /// There is no cluster to work with.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Permissions are missing.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The address for health and metrics cannot be used.
    #[error("{0}")]
    Listen(String),
    /// Another controller works on the same Jobs.
    #[error(transparent)]
    Rival(#[from] Rival),
}

/// Runs until the process is told to stop.
///
/// # Errors
/// It could not start, or another controller works on the same Jobs.
pub async fn run(arguments: &Arguments) -> Result<(), RunError> {
    let namespace = arguments.namespace.clone();
    let lease = arguments.lead.settings(namespace.as_deref()).map_err(RunError::Flags)?;
    let stop = Stop::listen();
    let mut registry = Registry::default();
    let own = registry.sub_registry_with_prefix("jobwright");
    let (requests, syncs) = (RequestMetrics::new(own), SyncMetrics::new(own));
    let client = arguments.cluster.connect(Some(&requests)).await?;
    tracing::info!(
        version = %version::text(),
        claim = arguments.claim.as_str(),
        namespace = namespace.as_deref().unwrap_or("all"),
        "starting"
    );
    let clock = Clock::system();
    let health = Arc::new(Health::default());
    let writes = Arc::new(Writes::new(arguments.max_inflight));
    let (recorder, writer) = events::recorder(client.clone(), clock.clone());
    let writing = tokio::spawn(writer.run());
    let kit =
        Kit { client: client.clone(), namespace: namespace.clone(), writes: writes.clone(), recorder, clock, syncs };
    let controllers = Arc::new(Controllers::new(arguments, &kit, &mut registry));
    let leads = Arc::new(AtomicBool::new(false));
    gauges::register(&mut registry, &controllers, writes.clone(), leads.clone());
    if let Some(address) = arguments.listen {
        let stop = stop.clone();
        let readiness = readiness(health.clone(), &controllers);
        http::serve(address, registry, readiness, async move { stop.told().await }).await.map_err(RunError::Listen)?;
    }
    let mut asked = vec![Asked { namespace: namespace.clone(), name: None, rights: arguments.rights() }];
    asked.extend(lease.as_ref().map(|lease| Asked {
        namespace: Some(lease.namespace.clone()),
        name: Some(lease.name.clone()),
        rights: rights::LEASE.to_vec(),
    }));
    tokio::select! {
        granted = wait_for_rights(&client, &asked, &health, arguments.listen.is_some()) => granted?,
        () = stop.told() => return Ok(()),
    }
    let election = lease.map(|lease| {
        let me = arguments.lead.candidate(arguments.claim);
        Election::new(client, lease, me, writes.clone(), kit.clock.clone(), health.clone())
    });
    drop(kit);
    let result = lead(&controllers, election, &leads, &stop).await;
    // With them goes the last recorder, and the writer of events ends when it is done.
    drop(controllers);
    if tokio::time::timeout(LAST_EVENTS, writing).await.is_err() {
        tracing::warn!("some events were not written before the end");
    }
    tracing::info!("stopped");
    Ok(result?)
}

/// Works whenever this process leads, until it is told to stop.
async fn lead(
    controllers: &Arc<Controllers>,
    election: Option<Election>,
    leads: &AtomicBool,
    stop: &Stop,
) -> Result<(), Rival> {
    let Some(election) = election.map(Arc::new) else {
        let _watches = controllers.watch();
        tokio::select! {
            () = controllers.ready() => {}
            () = stop.told() => return Ok(()),
        }
        leads.store(true, Ordering::Relaxed);
        tracing::info!("controller ready");
        return controllers.work(stop.told()).await;
    };
    // Where nobody leads, the lists that the watches begin with need not be asked for twice.
    let mut taken = tokio::select! {
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
                _ = &mut kept => {}
                () = stop.told() => {}
            }
        };
        tokio::pin!(ended);
        let worked = tokio::select! {
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

/// Returns once we may do all that we are going to do. Where nobody can ask for our health, it does not wait.
async fn wait_for_rights(client: &kube::Client, asked: &[Asked], health: &Health, wait: bool) -> Result<(), Forbidden> {
    let mut told = None;
    while let Err(missing) = rights::check(client, asked).await {
        if !wait {
            return Err(missing);
        }
        if told.as_ref() != Some(&missing) {
            tracing::error!("{missing}; asking again every {} s", RIGHTS_AGAIN.as_secs());
            health.set("permissions", Some(missing.to_string()));
            told = Some(missing);
        }
        tokio::time::sleep(RIGHTS_AGAIN).await;
    }
    health.set("permissions", None);
    Ok(())
}

fn readiness(health: Arc<Health>, controllers: &Arc<Controllers>) -> http::Readiness {
    let controllers = Arc::downgrade(controllers);
    Arc::new(move || {
        let mut problems = health.problems();
        match controllers.upgrade() {
            Some(controllers) => {
                let caches = controllers.caches();
                let missing: Vec<&str> =
                    caches.iter().filter(|(_, cache)| !cache.synced).map(|(resource, _)| *resource).collect();
                if !missing.is_empty() {
                    problems.push(format!("caches: not synced: {}", missing.join(", ")));
                }
            }
            None => problems.push("stopping".to_owned()),
        }
        problems
    })
}

/// Whether the process has been told to stop.
#[derive(Clone)]
struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens for SIGTERM and SIGINT.
    fn listen() -> Self {
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            stop_signal().await;
            sender.send_replace(true);
        });
        Self(receiver)
    }

    fn is_told(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves once it is told.
    async fn told(&self) {
        // The sender goes only after it has sent.
        let _ = self.0.clone().wait_for(|told| *told).await;
    }
}

async fn stop_signal() {
    let terminate = signal(SignalKind::terminate());
    let interrupt = signal(SignalKind::interrupt());
    match (terminate, interrupt) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "stopping: no new writes begin, those under way end");
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "cannot listen for signals; stop the process by SIGKILL");
            std::future::pending().await
        }
    }
}
