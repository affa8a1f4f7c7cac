//! Measurement of the console: how long a page takes, how large it is, and the memory of the process, with many Jobs.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::Api;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::crowded::create_all;
use crate::environment::Environment;
use crate::report::Figures;
use crate::usage;

/// Number of namespaces over which the objects are spread.
const NAMESPACES: usize = 20;
/// Number of times that each page is read.
const ROUNDS: usize = 25;
/// Pages that are read.
const PAGES: [&str; 16] = [
    "/",
    "/jobs",
    "/jobs?page=400",
    "/jobs?sort=age",
    "/jobs?sort=name",
    "/jobs?q=report-00123",
    "/jobs?sort=namespace",
    "/jobs?label=tier%3Dtwo",
    "/jobs?state=suspended&sort=-age",
    "/jobs?owner=cronjob%2Fnightly",
    "/schedules",
    "/schedules?sort=-next&page=3",
    "/calendar?view=day",
    "/calendar?view=week",
    "/calendar?view=month",
    "/limits",
];

/// Creates objects, starts the console and reads its pages.
pub async fn measure(environment: &Environment, binary: &Path, jobs: usize, schedules: usize) -> Result<Figures> {
    fill(environment, jobs, schedules).await?;
    let kubeconfig = &environment.control()?.kubeconfig;
    let folder = environment.cluster.dir().context("a cluster of the benchmark has a folder")?;
    let begun = Instant::now();
    let (mut console, address) = testbed::console::start(binary, folder, kubeconfig, &[]).await?;
    let (host, login) = address.strip_prefix("http://").and_then(|rest| rest.split_once('/')).context("no address")?;
    let (host, login) = (host.to_owned(), format!("/{login}"));
    let answer = get(&host, &login, "").await?;
    let cookie = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("set-cookie").then(|| value.split(';').next().unwrap_or_default().trim().to_owned())
    });
    let cookie = cookie.with_context(|| format!("no cookie: {answer}"))?;
    let total = number(jobs);
    loop {
        if get(&host, "/jobs", &cookie).await?.contains(&total) {
            break;
        }
        ensure!(begun.elapsed() < Duration::from_secs(300), "the console does not show {total} Jobs");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ready = begun.elapsed().as_secs_f64();
    let mut times = Vec::new();
    let mut largest = 0;
    for _ in 0..ROUNDS {
        for page in PAGES {
            let asked = Instant::now();
            let answer = get(&host, page, &cookie).await?;
            times.push(asked.elapsed().as_secs_f64() * 1000.0);
            if !answer.starts_with("HTTP/1.1 200") {
                bail!("{page}: {}", answer.lines().next().unwrap_or_default());
            }
            largest = largest.max(answer.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len()));
        }
    }
    times.sort_by(f64::total_cmp);
    let used = usage::of(console.id())?;
    console.stop(Duration::from_secs(10))?;
    Ok(Figures::from([
        ("console_ready_s", ready),
        ("console_page_p50_ms", times[times.len() / 2]),
        ("console_page_p95_ms", times[times.len() * 95 / 100]),
        ("console_page_largest_kib", largest as f64 / 1024.0),
        ("console_memory_mib", used.now_mib),
        ("console_memory_peak_mib", used.peak_mib),
    ]))
}

/// Creates Jobs, of which every second one is suspended, and CronJobs. No controller runs, so that the objects stay as they
/// are.
async fn fill(environment: &Environment, jobs: usize, schedules: usize) -> Result<()> {
    for place in 0..NAMESPACES {
        let namespace = environment.cluster.namespace(&format!("team-{place:02}")).await?;
        let pod = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "registry.example/report:1"}]}});
        let job = |number: usize| {
            let tier = ["one", "two", "three"][number % 3];
            let metadata = json!({
                "name": format!("report-{number:05}"), "labels": {"tier": tier, "app.kubernetes.io/name": "report"},
            });
            let spec =
                json!({"suspend": number.is_multiple_of(2), "completions": 4, "parallelism": 2, "template": pod});
            serde_json::from_value::<Job>(json!({"metadata": metadata, "spec": spec}))
        };
        let own = (place..jobs).step_by(NAMESPACES).map(job).collect::<serde_json::Result<Vec<_>>>()?;
        create_all(&Api::namespaced(environment.client.clone(), &namespace), own).await?;
        let schedule = |number: usize| {
            let spec =
                json!({"schedule": format!("{} * * * *", number % 60), "jobTemplate": {"spec": {"template": pod}}});
            serde_json::from_value::<CronJob>(
                json!({"metadata": {"name": format!("hourly-{number:03}")}, "spec": spec}),
            )
        };
        let own = (place..schedules).step_by(NAMESPACES).map(schedule).collect::<serde_json::Result<Vec<_>>>()?;
        create_all(&Api::namespaced(environment.client.clone(), &namespace), own).await?;
    }
    Ok(())
}

/// Reads a page over a connection of its own, as text with its headers.
async fn get(host: &str, path: &str, cookie: &str) -> Result<String> {
    let mut connection = TcpStream::connect(host).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Returns a number as the console writes it, such as `50,000`.
fn number(number: usize) -> String {
    let digits = number.to_string();
    let (head, tail) = digits.split_at(digits.len().saturating_sub(3));
    if head.is_empty() { tail.to_owned() } else { format!("{head},{tail}") }
}

#[cfg(test)]
mod tests {
    #[test]
    fn number_is_written_as_in_the_console() {
        assert_eq!([7, 500, 50_000].map(super::number), ["7", "500", "50,000"]);
    }
}
