//! `jobwright run`: the controller, until SIGTERM or SIGINT.

pub mod controllers;
pub mod discovery;
mod gauges;
mod leader_election_args;
mod log;
mod log_sanitizer;
mod process;
pub mod replica;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use self::discovery::InstalledResources;
use super::connect::ClusterArguments;
use super::permissions::{self, Permission};
use crate::job::config::{Config, SyncConfig};
use crate::job::managed_by::Claim;
use crate::job::view::retention::Retention;

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
    /// Which controllers run; beside the built-in ones (--claim=managed-by) the Job controller does in any case, and CronJobs
    /// are left to the cluster
    #[arg(
        long,
        env = "JOBWRIGHT_CONTROLLERS",
        value_enum,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "job,cronjob,ttl,jobschedule"
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
    /// How long a Job that succeeded is kept, where nothing else says so and nobody controls it; for ever by default
    #[arg(long, env = "JOBWRIGHT_TTL_AFTER_SUCCESS", value_name = "DURATION", value_parser = duration)]
    ttl_after_success: Option<Duration>,
    /// How long a Job that failed is kept, likewise
    #[arg(long, env = "JOBWRIGHT_TTL_AFTER_FAILURE", value_name = "DURATION", value_parser = duration)]
    ttl_after_failure: Option<Duration>,
    /// How many last lines of the log of the container that failed are kept with a Job that fails; needs the right to read logs
    #[arg(long, env = "JOBWRIGHT_LOG_TAIL", value_name = "LINES", default_value = "0")]
    log_tail: u32,
    /// Serve /livez, /readyz and /metrics on this address, such as :8080; without it nothing is served
    #[arg(long, env = "JOBWRIGHT_LISTEN", value_name = "ADDRESS", value_parser = address)]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    lead: leader_election_args::LeaderElectionArguments,
    #[command(flatten)]
    log: log::LogArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ControllerName {
    /// Drives Jobs' Pods
    Job,
    /// Starts CronJobs' Jobs
    #[value(name = "cronjob")]
    CronJob,
    /// Deletes finished Jobs by ttlSecondsAfterFinished and by annotations
    Ttl,
    /// Starts JobSchedules' Jobs
    #[value(name = "jobschedule")]
    JobSchedule,
}

impl Arguments {
    fn permissions(&self, installed: InstalledResources) -> Vec<Permission> {
        let of = [
            (ControllerName::Job, permissions::JOB),
            (ControllerName::CronJob, permissions::CRON_JOB),
            (ControllerName::Ttl, permissions::TTL),
            (ControllerName::JobSchedule, permissions::JOB_SCHEDULE),
        ];
        let mut permissions: Vec<Permission> = of
            .iter()
            .filter(|(name, _)| self.runs(*name) && installed.allows(*name))
            .flat_map(|(_, permissions)| permissions.iter().copied())
            .collect();
        if self.log_tail > 0 && self.runs(ControllerName::Job) {
            permissions.extend(permissions::LOGS);
        }
        if installed.job_limits && self.runs(ControllerName::Job) {
            permissions.extend(permissions::JOB_LIMITS);
        }
        if self.namespace.is_none() && self.runs(ControllerName::Ttl) {
            permissions.extend(permissions::NAMESPACES);
        }
        permissions.sort_unstable();
        permissions.dedup();
        permissions
    }

    /// The Job controller's settings.
    fn config(&self) -> Config {
        Config {
            claim: self.claim,
            drives_pods: self.runs(ControllerName::Job),
            log_tail: self.log_tail,
            concurrency: self.concurrency,
            sync: SyncConfig {
                pod_failure_backoff: self.pod_failure_backoff,
                pod_failure_backoff_max: self.pod_failure_backoff_max,
                max_uncounted_pods: self.max_uncounted_pods,
                max_pods_per_sync: self.max_pods_per_sync,
                ..SyncConfig::default()
            },
        }
    }

    /// How long finished Jobs are kept of which nothing is said.
    fn retention(&self) -> Retention {
        Retention { after_success: self.ttl_after_success, after_failure: self.ttl_after_failure, parse_error: None }
    }

    fn runs(&self, name: ControllerName) -> bool {
        match name {
            // Beside the built-in controllers, CronJobs are theirs, and so is ttlSecondsAfterFinished; not our annotations.
            ControllerName::CronJob => self.claim == Claim::All && self.controllers.contains(&name),
            ControllerName::Job => self.claim == Claim::ManagedBy || self.controllers.contains(&name),
            ControllerName::Ttl | ControllerName::JobSchedule => self.controllers.contains(&name),
        }
    }
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
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|_| "must be a time such as 10s, 500ms or 10m".to_owned())?;
    Duration::try_from(span).map_err(|_| "must not be negative".to_owned())
}

/// Runs the controller; the exit code says whether it ended as it was told to.
pub fn main(arguments: &Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("jobwright: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        let log = arguments.log.start()?;
        let result = process::run(arguments).await;
        log.end().await;
        result.map_err(|error| error.to_string())
    });
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
