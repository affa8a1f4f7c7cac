//! `jobwright run`: runs the controllers until SIGTERM or SIGINT.

#![warn(clippy::print_stdout, reason = "the controller logs to stderr")]

pub mod controllers;
pub mod discovery;
pub mod feature_gates;
mod gauges;
mod json_log;
mod leader_election_args;
mod log;
#[cfg(test)]
mod log_output;
mod log_sanitizer;
mod process;
pub mod replica;
mod text_log;
#[cfg(feature = "otlp")]
mod traces;
mod workload;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use self::discovery::InstalledResources;
use self::feature_gates::{FeatureGates, feature_gates};
use crate::client::connect::ClusterArguments;
use crate::client::duration::duration;
use crate::client::output::error_line;
use crate::client::permissions::{self, Permission};
use crate::job::config::{Config, MIN_PODS_FOR_SUMMARY, SyncConfig};
use crate::job::gang::GangScheduling;
use crate::job::managed_by::Claim;
use crate::job::view::retention::Retention;
use crate::policy::controller::PolicyName;
use crate::runtime::codec::Encoding;

/// The flags of `jobwright run`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Kubeconfig file; without it the files in KUBECONFIG, ~/.kube/config, then the service account of the pod
    #[arg(long, env = "JOBWRIGHT_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, env = "JOBWRIGHT_CONTEXT", value_name = "NAME")]
    context: Option<String>,
    /// Work in this namespace only
    #[arg(short, long, env = "JOBWRIGHT_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,
    /// Jobs that this controller manages
    #[arg(long, env = "JOBWRIGHT_CLAIM", value_enum, default_value = "managed-by")]
    claim: Claim,
    /// Controllers to run; with --claim=managed-by, the Job controller always runs, and CronJobs are left to the
    /// built-in controller
    #[arg(
        long,
        env = "JOBWRIGHT_CONTROLLERS",
        value_enum,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "job,cronjob,ttl,jobschedule"
    )]
    controllers: Vec<ControllerName>,
    /// Encoding of the objects that the API server sends and takes
    #[arg(long, env = "JOBWRIGHT_WIRE", value_enum, default_value = "protobuf")]
    wire: Encoding,
    /// Feature gates of Kubernetes that differ from their defaults: WorkloadWithJob=true, JobManagedBy=false
    #[arg(long, env = "JOBWRIGHT_FEATURE_GATES", value_name = "LIST", value_parser = feature_gates)]
    feature_gates: Option<FeatureGates>,
    /// Maximum number of Jobs that are synced concurrently
    #[arg(long, env = "JOBWRIGHT_CONCURRENCY", value_name = "N", default_value = "64", value_parser = positive)]
    concurrency: usize,
    /// Number of pods of a Job from which on their summary is kept between syncs
    #[arg(long, value_name = "N", default_value_t = MIN_PODS_FOR_SUMMARY, hide = true)]
    min_pods_for_summary: usize,
    /// Maximum number of writes in flight to the API server; lowered automatically while the API server is overloaded
    #[arg(long, env = "JOBWRIGHT_MAX_INFLIGHT", value_name = "N", default_value = "100", value_parser = positive)]
    max_inflight: usize,
    /// Delay of pod creation after the first pod failure of a Job; doubled by each further failure
    #[arg(long, env = "JOBWRIGHT_POD_FAILURE_BACKOFF", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pod_failure_backoff: Duration,
    /// Maximum of the delay after pod failures
    #[arg(long, env = "JOBWRIGHT_POD_FAILURE_BACKOFF_MAX", value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pod_failure_backoff_max: Duration,
    /// Maximum number of finished pods that the status of a Job lists before they are counted
    #[arg(long, env = "JOBWRIGHT_MAX_UNCOUNTED_PODS", value_name = "N", default_value = "500", value_parser = positive)]
    max_uncounted_pods: usize,
    /// Maximum number of pods of one Job that one step creates or deletes
    #[arg(long, env = "JOBWRIGHT_MAX_PODS_PER_SYNC", value_name = "N", default_value = "500", value_parser = positive)]
    max_pods_per_sync: usize,
    /// TTL for succeeded Jobs that have no other retention setting and no owner; without it they are kept
    #[arg(long, env = "JOBWRIGHT_TTL_AFTER_SUCCESS", value_name = "DURATION", value_parser = duration)]
    ttl_after_success: Option<Duration>,
    /// TTL for failed Jobs that have no other retention setting and no owner; without it they are kept
    #[arg(long, env = "JOBWRIGHT_TTL_AFTER_FAILURE", value_name = "DURATION", value_parser = duration)]
    ttl_after_failure: Option<Duration>,
    /// Number of last log lines of the failed container that are stored with a failed Job; needs the permission to read
    /// logs
    #[arg(long, env = "JOBWRIGHT_LOG_TAIL", value_name = "LINES", default_value = "0")]
    log_tail: u32,
    /// JobPolicy that governs the Jobs that no JobPolicy of their own namespace selects
    #[arg(long, env = "JOBWRIGHT_DEFAULT_POLICY", value_name = "NAMESPACE/NAME")]
    default_policy: Option<PolicyName>,
    /// Address on which to serve /livez, /readyz and /metrics, such as :8080; without it nothing is served
    #[arg(long, env = "JOBWRIGHT_LISTEN", value_name = "ADDRESS", value_parser = address)]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    workload: workload::WorkloadArguments,
    #[command(flatten)]
    lead: leader_election_args::LeaderElectionArguments,
    #[command(flatten)]
    log: log::LogArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ControllerName {
    /// Creates, counts and deletes the pods of Jobs
    Job,
    /// Starts the Jobs of CronJobs
    #[value(name = "cronjob")]
    CronJob,
    /// Deletes finished Jobs by ttlSecondsAfterFinished and by the retention annotations
    Ttl,
    /// Starts the Jobs of JobSchedules
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
        if installed.job_policies && (self.runs(ControllerName::Job) || self.runs(ControllerName::Ttl)) {
            permissions.extend(permissions::JOB_POLICIES);
        }
        if installed.job_policies && self.runs(ControllerName::Job) {
            permissions.extend(permissions::START_DEADLINES);
        }
        if installed.calendars && self.runs(ControllerName::JobSchedule) {
            permissions.extend(permissions::CALENDARS);
        }
        if installed.gang_scheduling == GangScheduling::Enabled && self.runs(ControllerName::Job) {
            permissions.extend(permissions::GANG_SCHEDULING);
        }
        if self.namespace.is_none() && self.runs(ControllerName::Ttl) {
            permissions.extend(permissions::NAMESPACES);
        }
        permissions.sort_unstable();
        permissions.dedup();
        permissions
    }

    /// Returns the feature gates.
    fn gates(&self) -> FeatureGates {
        self.feature_gates.unwrap_or_default()
    }

    /// Returns why the flags contradict each other, if they do.
    fn contradiction(&self) -> Option<&'static str> {
        (self.claim == Claim::ManagedBy && !self.gates().job_managed_by).then_some(
            "--feature-gates=JobManagedBy=false needs --claim=all: --claim=managed-by selects Jobs by spec.managedBy",
        )
    }

    /// Returns the settings of the Job controller.
    fn config(&self) -> Config {
        Config {
            claim: if self.gates().job_managed_by { self.claim } else { Claim::Every },
            drives_pods: self.runs(ControllerName::Job),
            log_tail: self.log_tail,
            concurrency: self.concurrency,
            min_pods_for_summary: self.min_pods_for_summary,
            sync: SyncConfig {
                pod_failure_backoff: self.pod_failure_backoff,
                pod_failure_backoff_max: self.pod_failure_backoff_max,
                max_uncounted_pods: self.max_uncounted_pods,
                max_pods_per_sync: self.max_pods_per_sync,
                ..SyncConfig::default()
            },
        }
    }

    /// Returns the default retention, for finished Jobs without another retention setting.
    fn retention(&self) -> Retention {
        Retention { after_success: self.ttl_after_success, after_failure: self.ttl_after_failure, parse_error: None }
    }

    fn runs(&self, name: ControllerName) -> bool {
        match name {
            // With --claim=managed-by, the built-in controllers handle CronJobs and ttlSecondsAfterFinished.
            // Jobwright's own retention annotations still need the TTL controller.
            ControllerName::CronJob => self.claim == Claim::All && self.controllers.contains(&name),
            ControllerName::Job => self.claim == Claim::ManagedBy || self.controllers.contains(&name),
            ControllerName::Ttl | ControllerName::JobSchedule => self.controllers.contains(&name),
        }
    }
}

/// Parses a whole number of at least 1.
fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a whole number of at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// Parses an address with a port. A port alone stands for all IPv4 addresses of this machine.
fn address(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    whole.parse().map_err(|_| "must be an address and a port, such as :8080 or 127.0.0.1:8080".to_owned())
}

/// Number of threads that run the tasks, besides the main thread. One thread makes more writes than one API server can
/// take, and does so for less processor time than several, which wake each other.
const WORKER_THREADS: usize = 1;

/// Runs the controllers. The exit code is 0 if the process stopped because of a signal, and 1 after an error.
///
/// `cluster` has the flags of the connection that every command accepts. Those with an environment variable of the
/// controller are read from `arguments`.
pub fn main(arguments: &Arguments, cluster: ClusterArguments) -> ExitCode {
    let (kubeconfig, context) = (arguments.kubeconfig.clone(), arguments.context.clone());
    let cluster = ClusterArguments { kubeconfig, context, ..cluster };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(WORKER_THREADS).enable_all().build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            error_line(format!("jobwright: cannot start threads: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        let log = arguments.log.start()?;
        let result = process::run(arguments, &cluster).await;
        log.end().await;
        result.map_err(|error| error.to_string())
    });
    // A watch may still be waiting for the network. The process does not wait for the watch.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error_line(format!("jobwright: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_may_be_a_port_alone() {
        assert_eq!(address(":8080"), Ok(([0, 0, 0, 0], 8080).into()));
        assert_eq!(address("127.0.0.1:0"), Ok(([127, 0, 0, 1], 0).into()));
        assert!(address("8080").is_err() && address("here:8080").is_err());
    }

    #[test]
    fn positive_number_is_at_least_one() {
        assert_eq!(positive("3"), Ok(3));
        assert!(positive("0").is_err() && positive("-1").is_err() && positive("x").is_err());
    }
}
