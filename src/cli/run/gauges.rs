//! Metrics whose values are read when `/metrics` is scraped: queues, caches, the write gate, leadership and the
//! process.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::controllers::Controllers;
use crate::cli::version;
use crate::runtime::write_gate::WriteGate;

/// Collector of the metrics of the controllers.
#[derive(Debug)]
pub(crate) struct Gauges {
    controllers: Opaque<Weak<Controllers>>,
    write_gate: Opaque<Arc<WriteGate>>,
    leads: Arc<AtomicBool>,
}

/// Wrapper that leaves its content out of the derived `Debug`, which [`Collector`] requires.
pub(super) struct Opaque<T>(pub T);

impl<T> fmt::Debug for Opaque<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Registers the metrics: those of the controllers with the prefix `jobwright_`, and those of the process with the
/// names that Prometheus client libraries use.
pub(crate) fn register(
    registry: &mut Registry,
    controllers: &Arc<Controllers>,
    write_gate: Arc<WriteGate>,
    leads: Arc<AtomicBool>,
) {
    let build: Vec<(&str, Cow<'static, str>)> = version::facts();
    registry.sub_registry_with_prefix("jobwright").register(
        "build",
        "Version, commit, Kubernetes API version and time zone data of this binary",
        Info::new(build),
    );
    let gauges = Gauges { controllers: Opaque(Arc::downgrade(controllers)), write_gate: Opaque(write_gate), leads };
    registry.register_collector(Box::new(gauges));
    registry.register_collector(Box::new(Process));
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let leads = i64::from(self.leads.load(Ordering::Relaxed));
        gauge(&mut encoder, "jobwright_leader", "1 while this process is the leader", ConstGauge::new(leads))?;
        // The built-in components publish leadership under this name.
        let mut family = encoder.encode_descriptor(
            "leader_election_master_status",
            "1 while this process is the leader",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(leads).encode(family.encode_family(&[("name", "jobwright")])?)?;
        let in_flight = ConstGauge::new(number(self.write_gate.0.in_flight()));
        gauge(&mut encoder, "jobwright_writes_in_flight", "Writes to the API server in flight", in_flight)?;
        let window = ConstGauge::new(number(self.write_gate.0.window()));
        gauge(
            &mut encoder,
            "jobwright_writes_in_flight_limit",
            "Current maximum number of writes in flight: --max-inflight, or less while the API server is overloaded",
            window,
        )?;
        let Some(controllers) = self.controllers.0.upgrade() else { return Ok(()) };
        let depths = controllers.queue_depths().into_iter().map(|(controller, depth)| (controller, number(depth)));
        gauges(&mut encoder, "jobwright_queue_depth", "Objects that wait for a sync", "controller", depths)?;
        let caches = controllers.caches();
        let sizes = caches.iter().map(|(resource, cache)| (*resource, number(cache.len)));
        gauges(&mut encoder, "jobwright_cache_objects", "Objects in the cache", "resource", sizes)?;
        let synced = caches.iter().map(|(resource, cache)| (*resource, i64::from(cache.synced)));
        gauges(&mut encoder, "jobwright_cache_synced", "1 once the cache is complete", "resource", synced)?;
        let lists = caches.iter().map(|(resource, cache)| (*resource, cache.watched.lists.get()));
        counters(&mut encoder, "jobwright_watch_lists", "Lists of a resource with which a watch began", lists)?;
        let failures = caches.iter().map(|(resource, cache)| (*resource, cache.watched.failures.get()));
        counters(&mut encoder, "jobwright_watch_restarts", "Watches that failed and were restarted", failures)?;
        let unparsable = caches.iter().map(|(resource, cache)| (*resource, cache.watched.unparsable.get()));
        counters(
            &mut encoder,
            "jobwright_watch_unparsable",
            "Objects that could not be parsed and are ignored",
            unparsable,
        )
    }
}

/// Collector of the metrics of the process, with the names that every Prometheus client library uses.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(status) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) else {
            // Only Linux has /proc. Elsewhere these metrics are missing.
            return Ok(());
        };
        let page = rustix::param::page_size() as u64;
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let resident = ConstGauge::new(i64::try_from(status.resident_pages * page).unwrap_or(i64::MAX));
        gauge(&mut encoder, "process_resident_memory_bytes", "Resident memory", resident)?;
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        gauge(&mut encoder, "process_open_fds", "Open file descriptors", ConstGauge::new(number(open)))?;
        let cpu = ConstCounter::new(status.cpu_ticks as f64 / ticks);
        let unit = Some(&Unit::Seconds);
        cpu.encode(encoder.encode_descriptor("process_cpu", "Processor time used", unit, cpu.metric_type())?)
    }
}

/// Fields of `/proc/self/stat`.
struct Stat {
    cpu_ticks: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the name of the program in parentheses. The name may contain blanks and parentheses, so
        // the fields are counted from the last one.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self { cpu_ticks: field(14)? + field(15)?, resident_pages: field(24)? })
    }
}

pub(super) fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: ConstGauge<i64>,
) -> fmt::Result {
    value.encode(encoder.encode_descriptor(name, help, None, value.metric_type())?)
}

fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    values: impl Iterator<Item = (&'static str, i64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (key, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&[(label, key)])?)?;
    }
    Ok(())
}

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (&'static str, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (key, value) in values {
        ConstCounter::new(value).encode(family.encode_family(&[("resource", key)])?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_status_is_parsed_for_any_program_name() {
        let line = "1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 9 0 100 1000 77 1844 1 1 0 0 0 0 0 0 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.cpu_ticks, stat.resident_pages), (200, 77));
        assert!(Stat::parse("").is_none());
    }
}
