//! Metrics about the users' work that are read when `/metrics` is scraped: schedules, and Jobs that are stuck or wait.
//! Only the leader has series, so that each fact has one series.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::controllers::Controllers;
use super::gauges::{Opaque, gauge, number};
use crate::client::duration::duration;
use crate::job::workload::{Attention, Idle, JobWorkload, attention};
use crate::runtime::clock::Clock;
use crate::runtime::metric_scope::MetricScope;
use crate::schedule::workload::{OUTCOMES, Sample};

/// The flags of the metrics about the users' work.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WorkloadArguments {
    /// Serve metrics about the Jobs and schedules of users
    #[arg(
        long,
        env = "JOBWRIGHT_WORKLOAD_METRICS",
        value_name = "BOOL",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    workload_metrics: bool,
    /// Namespaces of the metrics about Jobs and schedules; without it all
    #[arg(long, env = "JOBWRIGHT_WORKLOAD_METRICS_NAMESPACES", value_name = "LIST", value_delimiter = ',')]
    workload_metrics_namespaces: Vec<String>,
    /// Maximum number of CronJobs and JobSchedules with metrics of their own, in the order of namespace and name
    #[arg(long, env = "JOBWRIGHT_WORKLOAD_METRICS_SCHEDULES", value_name = "N", default_value = "1000")]
    workload_metrics_schedules: usize,
    /// Time without a running pod, a new pod or the end of one after which a Job counts as stuck
    #[arg(long, env = "JOBWRIGHT_STUCK_AFTER", value_name = "DURATION", default_value = "10m", value_parser = duration)]
    stuck_after: Duration,
}

impl WorkloadArguments {
    /// Registers the metrics of the Job controller; none if the flag turns them off.
    pub(crate) fn job_metrics(&self, registry: &mut Registry) -> Option<JobWorkload> {
        self.workload_metrics.then(|| JobWorkload::new(registry, self.scope()))
    }

    /// Registers the metrics that are read from the controllers, unless the flag turns them off.
    pub(crate) fn register(
        &self,
        registry: &mut Registry,
        controllers: &Arc<Controllers>,
        clock: Clock,
        leads: Arc<AtomicBool>,
    ) {
        if self.workload_metrics {
            registry.register_collector(Box::new(Workload {
                controllers: Opaque(Arc::downgrade(controllers)),
                clock: Opaque(clock),
                leads,
                scope: self.scope(),
                max_schedules: self.workload_metrics_schedules,
                stuck_after: self.stuck_after,
                idle: Opaque(Mutex::default()),
            }));
        }
    }

    fn scope(&self) -> MetricScope {
        MetricScope::new(&self.workload_metrics_namespaces)
    }
}

/// Collector of the metrics about the users' work.
#[derive(Debug)]
struct Workload {
    controllers: Opaque<Weak<Controllers>>,
    clock: Opaque<Clock>,
    leads: Arc<AtomicBool>,
    scope: MetricScope,
    max_schedules: usize,
    stuck_after: Duration,
    idle: Opaque<Mutex<Idle>>,
}

impl Collector for Workload {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let controllers = self.controllers.0.upgrade().filter(|_| self.leads.load(Ordering::Relaxed));
        let now = self.clock.0.now();
        let ((mut samples, mut omitted), mut found) = ((Vec::new(), 0), Attention::default());
        if let Some(controllers) = controllers {
            let includes = |namespace: &str| self.scope.contains(namespace);
            (samples, omitted) = controllers.schedules(now, includes, self.max_schedules);
            let mut idle = self.idle.0.lock();
            found = attention(&controllers.jobs(), &self.scope, &mut idle, now, self.stuck_after);
        }
        schedules(&mut encoder, &samples, omitted)?;
        jobs(&mut encoder, &found)
    }
}

fn schedules(encoder: &mut DescriptorEncoder<'_>, samples: &[Sample], omitted: usize) -> fmt::Result {
    type Value = fn(&Sample) -> Option<i64>;
    let gauges: [(&str, &str, Value); 8] = [
        (
            "jobwright_schedule_last_success_timestamp_seconds",
            "Latest time at which a Job of the CronJob or JobSchedule completed",
            |sample| seconds(sample.last_success),
        ),
        (
            "jobwright_schedule_last_failure_timestamp_seconds",
            "Latest known time at which a Job of the CronJob or JobSchedule failed",
            |sample| seconds(sample.last_failure),
        ),
        (
            "jobwright_schedule_next_timestamp_seconds",
            "Next time at which the CronJob or JobSchedule is due",
            |sample| seconds(sample.timing.next),
        ),
        (
            "jobwright_schedule_second_last_timestamp_seconds",
            "Time before the last one at which the CronJob or JobSchedule was due",
            |sample| seconds(sample.timing.second_last),
        ),
        (
            "jobwright_schedule_due_timestamp_seconds",
            "Scheduled time of the oldest run that is due and was not started",
            |sample| seconds(sample.timing.due),
        ),
        (
            "jobwright_schedule_queued_runs",
            "Runs of the CronJob or JobSchedule that are due and wait for an active Job to finish",
            |sample| Some(number(sample.timing.queued)),
        ),
        (
            "jobwright_schedule_valid",
            "0 while the times of the CronJob or JobSchedule are not known: a field is invalid or a calendar is missing",
            |sample| Some(i64::from(sample.timing.valid)),
        ),
        ("jobwright_schedule_suspended", "1 while the CronJob or JobSchedule starts no Jobs", |sample| {
            Some(i64::from(sample.timing.suspended))
        }),
    ];
    for (name, help, value) in gauges {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for sample in samples {
            if let Some(value) = value(sample) {
                ConstGauge::new(value).encode(family.encode_family(&labels(sample))?)?;
            }
        }
    }
    let name = "jobwright_schedule_missed_runs";
    let help = "Runs that were due and will not be started, counted when the next run starts";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for sample in samples {
        ConstCounter::new(sample.counts.missed).encode(family.encode_family(&labels(sample))?)?;
    }
    let (name, help) = ("jobwright_schedule_runs", "Runs that have ended, by outcome");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for sample in samples {
        for (outcome, count) in OUTCOMES.into_iter().zip(sample.counts.outcomes) {
            let [kind, namespace, name] = labels(sample);
            let labels = [kind, namespace, name, ("outcome", outcome)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    let name = "jobwright_schedule_run_duration_seconds";
    let help = "Time from the start to the end of the Jobs of the CronJob or JobSchedule";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for sample in samples {
        sample.counts.durations.encode(family.encode_family(&labels(sample))?)?;
    }
    let name = "jobwright_schedules_omitted";
    let help = "CronJobs and JobSchedules without metrics, because there are more than --workload-metrics-schedules";
    gauge(encoder, name, help, ConstGauge::new(number(omitted)))
}

fn jobs(encoder: &mut DescriptorEncoder<'_>, attention: &Attention) -> fmt::Result {
    let help = "Jobs without a running pod for longer than --stuck-after, by cause";
    let mut family = encoder.encode_descriptor("jobwright_jobs_stuck", help, None, MetricType::Gauge)?;
    for ((namespace, cause), count) in &attention.stuck {
        let labels = [("namespace", &**namespace), ("cause", cause.label())];
        ConstGauge::new(*count).encode(family.encode_family(&labels)?)?;
    }
    let help = "Jobs that wait for JobLimits";
    let mut family = encoder.encode_descriptor("jobwright_jobs_waiting", help, None, MetricType::Gauge)?;
    for (namespace, count) in &attention.waiting {
        ConstGauge::new(*count).encode(family.encode_family(&[("namespace", &**namespace)])?)?;
    }
    Ok(())
}

fn labels(sample: &Sample) -> [(&'static str, &str); 3] {
    [("kind", sample.key.kind), ("namespace", &sample.key.namespace), ("name", &sample.key.name)]
}

fn seconds(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::as_second)
}
