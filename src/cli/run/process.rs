//! The phases of a run: connect, discover, check permissions, watch, work while leading, and stop.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::Arguments;
use super::controllers::Controllers;
use super::discovery;
use super::gauges;
use super::replica::{self, Stop};
use crate::cli::version;
use crate::client::connect::{ClusterArguments, ConnectError};
use crate::client::permissions::{self, Forbidden, PermissionCheck};
use crate::job::conflicting_controller::ConflictingController;
use crate::runtime::clock::Clock;
use crate::runtime::context::ControllerContext;
use crate::runtime::election::Election;
use crate::runtime::health::Health;
use crate::runtime::liveness::stuck_watches;
use crate::runtime::requests::RequestMetrics;
use crate::runtime::worker::SyncMetrics;
use crate::runtime::write_gate::WriteGate;
use crate::runtime::{events, http};

/// Timeout for writing the last events when the process stops. Together with the timeouts before it, of the writes in
/// flight, of a renewal of the Lease and of its release, it is shorter than the default grace period of a pod, 30 s.
const EVENT_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval at which missing permissions are checked again.
const PERMISSION_RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Reason why the controllers did not start, or stopped.
#[derive(Debug, Error)]
pub(crate) enum RunError {
    /// A flag contradicts another one.
    #[error("{0}")]
    Flags(String),
    /// There is no connection to a cluster.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Permissions are missing.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The address of `--listen` cannot be used.
    #[error("{0}")]
    Listen(String),
    /// Another controller works on the same Jobs.
    #[error(transparent)]
    ConflictingController(#[from] ConflictingController),
}

/// Runs the controllers until SIGTERM or SIGINT.
///
/// # Errors
/// The controllers could not start, or another controller works on the same Jobs.
pub(crate) async fn run(arguments: &Arguments, cluster: &ClusterArguments) -> Result<(), RunError> {
    if let Some(contradiction) = arguments.contradiction() {
        return Err(RunError::Flags(contradiction.to_owned()));
    }
    let namespace = arguments.namespace.clone();
    let lease = arguments.lead.settings(namespace.as_deref()).map_err(RunError::Flags)?;
    let stop = stop_at_signal();
    let mut registry = Registry::default();
    let own = registry.sub_registry_with_prefix("jobwright");
    let (requests, syncs) = (RequestMetrics::new(own), SyncMetrics::new(own));
    let client = cluster.connect(Some(&requests)).await?;
    tracing::info!(
        version = %version::text(),
        claim = arguments.claim.as_str(),
        namespace = namespace.as_deref().unwrap_or("all"),
        "starting"
    );
    let clock = Clock::system();
    let health = Arc::new(Health::default());
    let write_gate = Arc::new(WriteGate::new(arguments.max_inflight));
    let (recorder, writer) = events::recorder(client.clone(), clock.clone());
    let writing = tokio::spawn(writer.run());
    let context = ControllerContext {
        client: client.clone(),
        namespace: namespace.clone(),
        encoding: arguments.wire,
        write_gate: write_gate.clone(),
        recorder,
        clock,
        syncs,
    };
    let controllers = Arc::new(Controllers::new(arguments, &context, &mut registry));
    let leads = Arc::new(AtomicBool::new(false));
    gauges::register(&mut registry, &controllers, write_gate.clone(), leads.clone());
    arguments.workload.register(&mut registry, &controllers, context.clock.clone(), leads.clone());
    if let Some(address) = arguments.listen {
        let stop = stop.clone();
        let checks = (liveness(health.clone(), &context, &controllers), readiness(health.clone(), &controllers));
        http::serve(address, registry, checks, async move { stop.cancelled().await })
            .await
            .map_err(RunError::Listen)?;
    }
    let installed = tokio::select! {
        biased;
        installed = discovery::discover(&client, arguments.gates(), &health) => installed,
        () = stop.cancelled() => return Ok(()),
    };
    controllers.set_installed(installed);
    let mut checks = vec![PermissionCheck {
        namespace: namespace.clone(),
        name: None,
        permissions: arguments.permissions(installed),
    }];
    checks.extend(lease.as_ref().map(|lease| PermissionCheck {
        namespace: Some(lease.namespace.clone()),
        name: Some(lease.name.clone()),
        permissions: permissions::LEASE.to_vec(),
    }));
    tokio::select! {
        biased;
        granted = wait_for_permissions(&client, &checks, &health, arguments.listen.is_some()) => granted?,
        () = stop.cancelled() => return Ok(()),
    }
    let election = lease.map(|lease| {
        let me = arguments.lead.replica_identity(arguments.claim);
        Election::new(client, lease, me, write_gate.clone(), context.clock.clone(), health.clone())
    });
    drop(context);
    let result = replica::work(&controllers, election, &leads, &stop).await;
    // The controllers own the last recorder. Without a recorder, the writer of events ends after the last event.
    drop(controllers);
    if tokio::time::timeout(EVENT_FLUSH_TIMEOUT, writing).await.is_err() {
        tracing::warn!(timeout = ?EVENT_FLUSH_TIMEOUT, "timeout while writing the last events");
    }
    tracing::info!("stopped");
    Ok(result?)
}

/// Waits until all required permissions are granted, if `wait` is set.
///
/// # Errors
/// Permissions are missing and `wait` is not set: without `--listen`, no `/readyz` would report them.
async fn wait_for_permissions(
    client: &kube::Client,
    checks: &[PermissionCheck],
    health: &Health,
    wait: bool,
) -> Result<(), Forbidden> {
    let mut reported = None;
    while let Err(missing) = permissions::check(client, checks).await {
        if !wait {
            return Err(missing);
        }
        if reported.as_ref() != Some(&missing) {
            tracing::error!(error = %missing, retry_interval = ?PERMISSION_RETRY_INTERVAL, "permissions are missing");
            health.set("permissions", Some(missing.to_string()));
            reported = Some(missing);
        }
        tokio::time::sleep(PERMISSION_RETRY_INTERVAL).await;
    }
    health.set("permissions", None);
    Ok(())
}

/// Returns the check for `/livez`: the parts of this process that are stuck, so that a restart is needed. An API server
/// that does not answer is no reason for a restart.
fn liveness(health: Arc<Health>, context: &ControllerContext, controllers: &Arc<Controllers>) -> http::Check {
    let (controllers, syncs) = (Arc::downgrade(controllers), context.syncs.running.clone());
    Arc::new(move || {
        let watches = controllers.upgrade().map(|controllers| controllers.signs()).unwrap_or_default();
        let mut problems = stuck_watches(Instant::now(), &watches, &[health.pulse().signs()]);
        problems.extend(syncs.stuck());
        problems
    })
}

/// Returns the check for `/readyz`: the reported problems, and the caches that are not complete.
fn readiness(health: Arc<Health>, controllers: &Arc<Controllers>) -> http::Check {
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

/// Returns a stop request that SIGTERM or SIGINT triggers.
fn stop_at_signal() -> Stop {
    let (sender, stop) = Stop::new();
    tokio::spawn(async move {
        stop_signal().await;
        sender.send_replace(true);
    });
    stop
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
            tracing::info!(signal = name, "stopping");
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "cannot listen for signals; stop the process by SIGKILL");
            std::future::pending().await
        }
    }
}
