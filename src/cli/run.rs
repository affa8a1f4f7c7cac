//! `jobwright run`: the controller, until SIGTERM or SIGINT.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Weak};
use std::time::Duration;

use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

use super::connect::{self, ClusterArguments, ConnectError, Right, check_rights};
use super::version;
use crate::cronjob::controller::{self as cronjob, CronJobMetrics};
use crate::job::controller::{Controller, Rival};
use crate::job::metrics::JobMetrics;
use crate::runtime::cache::Cache;
use crate::runtime::clock::Clock;
use crate::runtime::config::{Claim, Config, Limits};
use crate::runtime::watch::Synced;
use crate::runtime::{events, http};
use crate::ttl::controller::{self as ttl, TtlMetrics};

/// How long the last events may take to be written when the process stops.
const LAST_EVENTS: Duration = Duration::from_secs(2);

/// The flags of `jobwright run`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Work in this namespace only
    #[arg(long, env = "JOBWRIGHT_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,
    /// Which Jobs are ours
    #[arg(long, env = "JOBWRIGHT_CLAIM", value_enum, default_value = "managed-by")]
    claim: Claim,
    /// Which controllers run where all Jobs are ours (--claim=all); otherwise the Job controller alone does
    #[arg(
        long,
        env = "JOBWRIGHT_CONTROLLERS",
        value_enum,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "job,cronjob,ttl"
    )]
    controllers: Vec<ControllerName>,
    /// How many Jobs are worked on at once
    #[arg(long, env = "JOBWRIGHT_CONCURRENCY", value_name = "N", default_value = "64", value_parser = positive)]
    concurrency: usize,
    /// How many writes to the API server may be on their way at once
    #[arg(long, env = "JOBWRIGHT_MAX_INFLIGHT", value_name = "N", default_value = "100", value_parser = positive)]
    max_inflight: usize,
    /// How long pod creation waits after a Job's first pod failure; doubled by each further one
    #[arg(long, env = "JOBWRIGHT_POD_FAILURE_BACKOFF", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pod_failure_backoff: Duration,
    /// The longest such wait
    #[arg(long, env = "JOBWRIGHT_POD_FAILURE_BACKOFF_MAX", value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pod_failure_backoff_max: Duration,
    /// How many finished pods a Job's status lists before they are counted
    #[arg(long, env = "JOBWRIGHT_MAX_UNCOUNTED_PODS", value_name = "N", default_value = "500", value_parser = positive)]
    max_uncounted_pods: usize,
    /// How many pods of one Job are created or deleted at once
    #[arg(long, env = "JOBWRIGHT_MAX_PODS_PER_SYNC", value_name = "N", default_value = "500", value_parser = positive)]
    max_pods_per_sync: usize,
    /// Serve /livez, /readyz and /metrics on this address, such as :8080; without it nothing is served
    #[arg(long, env = "JOBWRIGHT_LISTEN", value_name = "ADDRESS", value_parser = address)]
    listen: Option<SocketAddr>,
    /// How log lines look
    #[arg(long, env = "JOBWRIGHT_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ControllerName {
    /// Drives Jobs' Pods
    Job,
    /// Starts CronJobs' Jobs
    #[value(name = "cronjob")]
    CronJob,
    /// Deletes finished Jobs by ttlSecondsAfterFinished
    Ttl,
}

impl Arguments {
    fn rights(&self) -> Vec<Right> {
        let of = [
            (ControllerName::Job, connect::JOB_RIGHTS),
            (ControllerName::CronJob, connect::CRON_JOB_RIGHTS),
            (ControllerName::Ttl, connect::TTL_RIGHTS),
        ];
        let mut rights: Vec<Right> =
            of.iter().filter(|(name, _)| self.runs(*name)).flat_map(|(_, rights)| rights.iter().copied()).collect();
        rights.sort_unstable();
        rights.dedup();
        rights
    }

    fn runs(&self, name: ControllerName) -> bool {
        match name {
            // Beside the built-in controllers, the others are theirs.
            ControllerName::Job if self.claim == Claim::ManagedBy => true,
            name => self.claim == Claim::All && self.controllers.contains(&name),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// For programs, one object a line
    Json,
}

/// A whole number, at least 1.
fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a whole number, at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// An address with a port; all of this machine's where only the port is given.
fn address(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    whole.parse().map_err(|_| "must be an address and a port, such as :8080 or 127.0.0.1:8080".to_owned())
}

/// A time such as `10s`, `500ms` or `1m 30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|_| "must be a time such as 10s, 500ms or 10m".to_owned())?;
    Duration::try_from(span).map_err(|_| "must not be negative".to_owned())
}

/// Runs the controller; the exit code says whether it ended as it was told to.
pub fn main(arguments: &Arguments) -> ExitCode {
    start_log(arguments.log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("jobwright: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(arguments));
    // A watch may be waiting for the network; nothing waits for it.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jobwright: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why the controller did not start, or stopped.
#[derive(Debug, Error)]
enum RunError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Listen(String),
    #[error(transparent)]
    Rival(#[from] Rival),
}

async fn run(arguments: &Arguments) -> Result<(), RunError> {
    let client = arguments.cluster.connect().await?;
    check_rights(&client, arguments.namespace.as_deref(), &arguments.rights()).await?;
    let config = Config {
        namespace: arguments.namespace.clone(),
        claim: arguments.claim,
        drives_pods: arguments.runs(ControllerName::Job),
        concurrency: arguments.concurrency,
        max_inflight: arguments.max_inflight,
        limits: Limits {
            pod_failure_backoff: arguments.pod_failure_backoff,
            pod_failure_backoff_max: arguments.pod_failure_backoff_max,
            max_uncounted_pods: arguments.max_uncounted_pods,
            max_pods_per_sync: arguments.max_pods_per_sync,
            ..Limits::default()
        },
    };
    tracing::info!(version = %version::text(), claim = ?config.claim, namespace = config.namespace.as_deref().unwrap_or("all"), "starting");
    let clock = Clock::system();
    let (recorder, writer) = events::recorder(client.clone(), clock.clone());
    let writing = tokio::spawn(writer.run());
    let mut registry = Registry::default();
    let metrics = JobMetrics::new(&mut registry);
    let controller = Arc::new(Controller::new(client.clone(), config, clock.clone(), recorder.clone(), metrics));
    let cron_job = arguments.runs(ControllerName::CronJob).then(|| {
        let cron_job = Arc::new(cronjob::Controller {
            client: client.clone(),
            namespace: arguments.namespace.clone(),
            writes: controller.writes(),
            recorder,
            jobs: controller.jobs(),
            clock: clock.clone(),
            metrics: CronJobMetrics::new(&mut registry),
            cron_jobs: Cache::default(),
            synced: Synced::default(),
        });
        let (running, jobs) = (cron_job.clone(), controller.clone());
        let task = tokio::spawn(async move { running.run(jobs.jobs_known()).await });
        (cron_job, task)
    });
    let ttl = arguments.runs(ControllerName::Ttl).then(|| {
        let (jobs, writes, metrics) = (controller.jobs(), controller.writes(), TtlMetrics::new(&mut registry));
        let controller = ttl::Controller { client, writes, jobs, clock, metrics };
        tokio::spawn(async move { controller.run().await })
    });
    let (served, stop_serving) = oneshot::channel::<()>();
    if let Some(address) = arguments.listen {
        let watched = Arc::downgrade(&controller);
        let cron_jobs = cron_job.as_ref().map(|(cron_job, _)| Arc::downgrade(cron_job));
        let readiness = Arc::new(move || {
            let mut missing = watched.upgrade().map_or(vec!["stopping"], |watched| watched.not_synced());
            let cron_jobs = cron_jobs.as_ref().and_then(Weak::upgrade);
            missing.extend(cron_jobs.filter(|cron_jobs| !cron_jobs.synced.is_done()).map(|_| "cronjobs"));
            missing
        });
        let stop = async {
            // Dropped or sent, it is over.
            let _ = stop_serving.await;
        };
        http::serve(address, registry, readiness, stop).await.map_err(RunError::Listen)?;
    }
    let watched = controller.clone();
    let cron_jobs = cron_job.as_ref().map(|(cron_job, _)| cron_job.clone());
    let announce = tokio::spawn(async move {
        watched.ready().await;
        if let Some(cron_jobs) = cron_jobs {
            cron_jobs.synced.wait().await;
        }
        tracing::info!("controller ready");
    });
    let result = controller.run(stop_signal()).await;
    drop(served);
    if let Some(ttl) = ttl {
        ttl.abort();
    }
    if let Some((_, task)) = cron_job {
        task.abort();
        // With it goes a recorder, without which the writer of events does not end.
        let _ = task.await;
    }
    announce.abort();
    // The announcer held the last other reference; with it gone, the recorder goes, and the writer ends when it is done.
    let _ = announce.await;
    if tokio::time::timeout(LAST_EVENTS, writing).await.is_err() {
        tracing::warn!("some events were not written before the end");
    }
    tracing::info!("stopped");
    Ok(result?)
}

/// Resolves when the process is told to stop.
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

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_env("JOBWRIGHT_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,kube=error,kube_client::client::builder=off"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [("10s", 10_000), ("10m", 600_000), ("50ms", 50), ("1m30s", 90_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "ten", "-5s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_may_be_a_port_alone() {
        assert_eq!(address(":8080"), Ok(([0, 0, 0, 0], 8080).into()));
        assert_eq!(address("127.0.0.1:0"), Ok(([127, 0, 0, 1], 0).into()));
        assert!(address("8080").is_err() && address("here:8080").is_err());
    }

    #[test]
    fn numbers_of_things_start_at_one() {
        assert_eq!(positive("3"), Ok(3));
        assert!(positive("0").is_err() && positive("-1").is_err() && positive("x").is_err());
    }
}
