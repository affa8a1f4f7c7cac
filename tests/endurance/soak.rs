//! Soak test: under a steady load with churn, the memory, open files and cached objects of the leader do not grow.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cron::CronJobs;
use crate::load::Load;
use crate::proxy::ProxyFaults;
use crate::replicas::Replicas;

/// Number of Jobs that run concurrently.
const SLOTS: usize = 6;
/// Pause between two Jobs of one slot.
const PAUSE: Duration = Duration::from_secs(1);
/// Time between two samples.
const INTERVAL: Duration = Duration::from_secs(10);
/// Duration of the test without `SOAK_SECONDS`.
const DEFAULT_DURATION: Duration = Duration::from_secs(7200);

/// Metrics of the leader at one time.
#[derive(Clone, Copy, Debug)]
struct Sample {
    seconds: f64,
    memory_mib: f64,
    files: f64,
    cached: f64,
    queued: f64,
    /// Mean duration of a Job sync since the previous sample, in milliseconds.
    sync_ms: f64,
    /// Mean duration of a Job of three pods since the previous sample, in seconds.
    job_s: f64,
    cpu_s: f64,
    jobs: f64,
}

/// Name of a column, and its value in a sample.
type Column = (&'static str, fn(&Sample) -> f64);

/// Columns of the printed table and of the CSV file.
const COLUMNS: [Column; 9] = [
    ("seconds", |sample| sample.seconds),
    ("memory_mib", |sample| sample.memory_mib),
    ("open_files", |sample| sample.files),
    ("cached_objects", |sample| sample.cached),
    ("queue_depth", |sample| sample.queued),
    ("sync_ms", |sample| sample.sync_ms),
    ("job_s", |sample| sample.job_s),
    ("cpu_s", |sample| sample.cpu_s),
    ("jobs_done", |sample| sample.jobs),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes hours: make soak"]
async fn memory_files_and_cached_objects_of_the_leader_do_not_grow() -> Result<()> {
    let cluster = crate::cluster().await?;
    let proxy_faults: &'static ProxyFaults = Box::leak(Box::default());
    let load = Load::new(&cluster).await?;
    let dir = tempfile::tempdir()?;
    let mut replicas = Replicas::start(&cluster, &load.namespace, dir.path(), proxy_faults).await?;
    replicas.one_leads().await?;
    let leader = replicas.leader().await.context("no replica leads")?;
    CronJobs::create(&load, 3).await?;
    let begun = Instant::now();
    let until = begun + crate::seconds("SOAK_SECONDS").unwrap_or(DEFAULT_DURATION);
    let mut samples = Vec::new();
    let sampling = async {
        let mut last = Totals::default();
        while Instant::now() < until {
            tokio::time::sleep(INTERVAL).await;
            let text = metrics(replicas.port(leader)).await?;
            ensure!(sum(&text, "jobwright_leader") == 1.0, "the sampled replica is not the leader");
            let (sample, totals) = sample(&text, &load, begun, &last);
            last = totals;
            samples.push(sample);
        }
        anyhow::Ok(())
    };
    let outcome = tokio::try_join!(load.run_many(SLOTS, PAUSE, until), sampling);
    outcome.with_context(|| replicas.logs(40))?;
    ensure!(replicas.leader().await == Some(leader), "the leader changed during the test");
    replicas.check()?;
    CronJobs::delete(&load).await?;
    load.all_gone().await?;

    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("soak.csv");
    std::fs::write(&file, csv(&samples))?;
    println!("{} samples: {}", samples.len(), file.display());
    let parts = [(1, 2), (2, 3), (3, 4), (4, 5)].map(|(from, to)| {
        let (from, to) = (samples.len() * from / 5, samples.len() * to / 5);
        COLUMNS.map(|(_, column)| median(samples[from..to].iter().map(column).collect()))
    });
    println!("medians of the second to the last fifth of the time:");
    for (number, (name, _)) in COLUMNS.iter().enumerate() {
        println!("{name:>16} {}", parts.map(|part| format!("{:>10.2}", part[number])).join(" "));
    }
    let (early, late) = (parts[0], parts[3]);
    ensure!(late[1] <= early[1] * 1.15 + 2.0, "memory grew from {} to {} MiB", early[1], late[1]);
    // Connections are opened under load and closed after a long idle time. The number of open files therefore varies,
    // and only its maximum is compared.
    let (before, after) = samples.split_at(samples.len() / 2);
    let max = |half: &[Sample]| half.iter().map(|sample| sample.files).fold(0.0, f64::max);
    ensure!(max(after) <= max(before) + 10.0, "maximum of open files grew from {} to {}", max(before), max(after));
    ensure!(late[3] <= early[3] * 1.5 + 50.0, "cached objects grew from {} to {}", early[3], late[3]);
    Ok(())
}

/// Cumulative values at the time of the last sample.
#[derive(Clone, Copy, Default)]
struct Totals {
    sync_s: f64,
    syncs: f64,
    took: usize,
}

fn sample(text: &str, load: &Load, begun: Instant, last: &Totals) -> (Sample, Totals) {
    let took = load.tally.took.lock().unwrap_or_else(PoisonError::into_inner);
    let totals = Totals {
        sync_s: sum(text, "job_controller_job_sync_duration_seconds_sum"),
        syncs: sum(text, "job_controller_job_sync_duration_seconds_count"),
        took: took.len(),
    };
    let mean = |sum: f64, count: f64| if count > 0.0 { sum / count } else { 0.0 };
    let sample = Sample {
        seconds: begun.elapsed().as_secs_f64(),
        memory_mib: sum(text, "process_resident_memory_bytes") / 1024.0 / 1024.0,
        files: sum(text, "process_open_fds"),
        cached: sum(text, "jobwright_cache_objects"),
        queued: sum(text, "jobwright_queue_depth"),
        sync_ms: mean(totals.sync_s - last.sync_s, totals.syncs - last.syncs) * 1000.0,
        job_s: mean(took[last.took..].iter().sum(), (took.len() - last.took) as f64),
        cpu_s: sum(text, "process_cpu_seconds_total"),
        jobs: load.tally.jobs.load(Ordering::Relaxed) as f64,
    };
    (sample, totals)
}

/// Returns the sum of all series of a metric.
fn sum(text: &str, name: &str) -> f64 {
    let of = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let is_it = rest.starts_with('{') || rest.starts_with(' ');
        is_it.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    };
    text.lines().filter_map(of).sum()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn csv(samples: &[Sample]) -> String {
    let mut text = COLUMNS.map(|(name, _)| name).join(",") + "\n";
    for sample in samples {
        let _ = writeln!(text, "{}", COLUMNS.map(|(_, column)| format!("{:.3}", column(sample))).join(","));
    }
    text
}

async fn metrics(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[test]
fn sum_includes_all_series_of_a_metric() {
    let text = "# TYPE depth gauge\ndepth{controller=\"job\"} 2\ndepth{controller=\"ttl\"} 3\ndepths 7\n";
    assert_eq!(sum(text, "depth"), 5.0);
}
