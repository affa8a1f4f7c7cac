//! `jobwright top`: shows unfinished Jobs live, with progress, rates and the estimated time left.

use std::collections::{BTreeMap, VecDeque};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

use super::cluster::{ClusterReadError, condition, end, exit_with};
use super::global::GlobalArguments;
use super::names::SelectorArguments;
use super::output;

/// Time over which rates are measured.
const WINDOW: SignedDuration = SignedDuration::from_secs(60);
/// Width of a progress bar, in characters.
const BAR: usize = 20;

/// The flags of `jobwright top`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How often it is looked, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Print one table and end; so it is where the output is no terminal
    #[arg(long)]
    once: bool,
    /// Jobs that are over too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    selectors: SelectorArguments,
}

/// Prints the table at each interval, or once.
pub fn main(arguments: &Arguments, global: &GlobalArguments) -> ExitCode {
    exit_with(run(arguments, global).map(|()| ExitCode::SUCCESS))
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments, global: &GlobalArguments) -> Result<(), ClusterReadError> {
    let context = global.open().await?;
    let all = arguments.selectors.all_namespaces;
    let (jobs, unreadable) = (context.api_in::<Job>(all), context.unreadable_in("jobs", all));
    let live = std::io::stdout().is_terminal() && !arguments.once;
    let mut rates = Rates::default();
    loop {
        let list = jobs.list(&arguments.selectors.list_params()).await.map_err(&unreadable)?;
        let now = crate::cli::now();
        rates.take(&list.items, now);
        let shown = list.items.iter().filter(|job| arguments.all || !is_over(job));
        let rows: Vec<Row> = shown.map(|job| Row::of(job, rates.of(job), now)).collect();
        // On a terminal, each table replaces the previous one.
        let wipe = if live { "\u{1b}[2J\u{1b}[H" } else { "" };
        output::print(format!("{wipe}{}", table(rows, all)));
        if !live {
            return Ok(());
        }
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(arguments.every)) => {}
        }
    }
}

fn is_over(job: &Job) -> bool {
    job.status.as_ref().is_some_and(|status| end(status).is_some())
}

fn succeeded(job: &Job) -> i32 {
    job.status.as_ref().and_then(|status| status.succeeded).unwrap_or_default()
}

/// Numbers of succeeded pods with their times, by the UID of the Job. Samples older than [`WINDOW`] are
/// dropped, except the last two.
#[derive(Default)]
struct Rates(BTreeMap<String, VecDeque<(Timestamp, i32)>>);

impl Rates {
    fn take(&mut self, jobs: &[Job], now: Timestamp) {
        let seen: BTreeMap<String, i32> = jobs.iter().filter_map(|job| Some((job.uid()?, succeeded(job)))).collect();
        self.0.retain(|uid, _| seen.contains_key(uid));
        for (uid, count) in seen {
            let samples = self.0.entry(uid).or_default();
            samples.push_back((now, count));
            while samples.len() > 2 && samples.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
                samples.pop_front();
            }
        }
    }

    /// Returns the number of successes per second within the window. Before the first success within the window, it is
    /// the average since the start of the Job.
    fn of(&self, job: &Job) -> Option<f64> {
        let samples = self.0.get(&job.uid()?)?;
        let ((from, before), (to, now)) = (*samples.front()?, *samples.back()?);
        let seconds = to.duration_since(from).as_secs_f64();
        if seconds > 0.0 && now > before {
            return Some(f64::from(now - before) / seconds);
        }
        let started = job.status.as_ref()?.start_time.as_ref()?.0;
        let seconds = to.duration_since(started).as_secs_f64();
        (seconds > 0.0 && now > 0).then(|| f64::from(now) / seconds)
    }
}

/// Row of the table: one Job.
#[derive(Debug, PartialEq)]
struct Row {
    namespace: String,
    name: String,
    progress: Option<f64>,
    done: String,
    failed: i32,
    active: i32,
    rate: Option<f64>,
    left: Option<SignedDuration>,
    age: SignedDuration,
    state: &'static str,
}

impl Row {
    fn of(job: &Job, rate: Option<f64>, now: Timestamp) -> Self {
        let (spec, status) = (job.spec.clone().unwrap_or_default(), job.status.clone().unwrap_or_default());
        let has = |type_: &str| condition(&status, type_).is_some();
        let state = if has("Complete") {
            "complete"
        } else if has("Failed") {
            "failed"
        } else if job.metadata.deletion_timestamp.is_some() {
            "deleting"
        } else if spec.suspend == Some(true) {
            "suspended"
        } else if has("FailureTarget") || has("SuccessCriteriaMet") {
            "ending"
        } else if status.active.unwrap_or_default() > 0 {
            "running"
        } else {
            "waiting"
        };
        let done = succeeded(job);
        let of = spec.completions;
        let remaining = of.map(|of| f64::from((of - done).max(0)));
        let running = matches!(state, "running" | "waiting");
        let left = remaining.zip(rate).filter(|(_, rate)| running && *rate > 0.0);
        let begun = status.start_time.as_ref().or(job.metadata.creation_timestamp.as_ref()).map_or(now, |time| time.0);
        Self {
            namespace: job.namespace().unwrap_or_default(),
            name: job.name_any(),
            progress: of.map(|of| if of > 0 { f64::from(done) / f64::from(of) } else { 1.0 }),
            done: of.map_or_else(|| done.to_string(), |of| format!("{done}/{of}")),
            failed: status.failed.unwrap_or_default(),
            active: status.active.unwrap_or_default(),
            rate: rate.filter(|_| running),
            left: left.map(|(remaining, rate)| SignedDuration::from_secs((remaining / rate).ceil() as i64)),
            age: now.duration_since(begun),
            state,
        }
    }
}

/// Returns the table. Running Jobs come first; within both groups, rows are sorted by namespace and name.
fn table(mut rows: Vec<Row>, namespaces: bool) -> String {
    rows.sort_by(|one, other| {
        let key = |row: &Row| (row.state != "running", row.namespace.clone(), row.name.clone());
        key(one).cmp(&key(other))
    });
    let mut lines = vec![
        ["NAMESPACE", "NAME", "PROGRESS", "DONE", "FAILED", "ACTIVE", "RATE", "LEFT", "AGE", "STATE"]
            .map(str::to_owned),
    ];
    for row in &rows {
        lines.push([
            row.namespace.clone(),
            row.name.clone(),
            row.progress.map_or_else(|| "-".to_owned(), bar),
            row.done.clone(),
            row.failed.to_string(),
            row.active.to_string(),
            row.rate.map_or_else(|| "-".to_owned(), rate_text),
            row.left.map_or_else(|| "-".to_owned(), duration_text),
            duration_text(row.age),
            row.state.to_owned(),
        ]);
    }
    let from = usize::from(!namespaces);
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default())
        .collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).skip(from).map(|(cell, width)| format!("{cell:<width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    if rows.is_empty() {
        text += "no Jobs under way\n";
    }
    text
}

fn bar(share: f64) -> String {
    let full = (share.clamp(0.0, 1.0) * BAR as f64).floor() as usize;
    format!("{}{} {:>3.0}%", "█".repeat(full), "░".repeat(BAR - full), share * 100.0)
}

/// Formats a rate per second, minute or hour: the first of these units in which the rate is at least 1.
fn rate_text(rate: f64) -> String {
    let units = [(1.0, "s"), (60.0, "min"), (3600.0, "h")];
    let (by, unit) = units.into_iter().find(|(by, _)| rate * by >= 1.0).unwrap_or(units[2]);
    format!("{:.1}/{unit}", rate * by)
}

fn duration_text(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(name: &str, spec: Value, status: Value) -> Job {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"template": {}, "completions": spec["completions"], "suspend": spec["suspend"]}, "status": status,
        }))
        .unwrap()
    }

    fn at(second: i64) -> Timestamp {
        "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(second)
    }

    #[test]
    fn table_shows_progress_rate_and_time_left_of_each_job() {
        let status =
            |done: i32| json!({"startTime": "2026-01-01T00:00:00Z", "succeeded": done, "active": 2, "failed": 1});
        let mut rates = Rates::default();
        let mut tables = Vec::new();
        for (second, done) in [(100, 50), (110, 60)] {
            let jobs = [
                job("etl", json!({"completions": 80}), status(done)),
                job("held", json!({"completions": 4, "suspend": true}), json!({})),
                job("queue", json!({}), status(3)),
            ];
            rates.take(&jobs, at(second));
            let rows = jobs.iter().map(|job| Row::of(job, rates.of(job), at(second))).collect();
            tables.push(table(rows, false));
        }
        assert_eq!(
            tables[1],
            "\
NAME   PROGRESS                   DONE   FAILED  ACTIVE  RATE     LEFT  AGE    STATE
etl    ███████████████░░░░░  75%  60/80  1       2       1.0/s    20s   1m50s  running
queue  -                          3      1       2       1.6/min  -     1m50s  running
held   ░░░░░░░░░░░░░░░░░░░░   0%  0/4    0       0       -        -     1m50s  suspended
"
        );
        assert!(tables[0].contains("30.0/min  1m00s"), "the first rate is the average since the start: {}", tables[0]);
        assert_eq!(table(Vec::new(), true).lines().last(), Some("no Jobs under way"));
    }

    #[test]
    fn rate_is_measured_over_the_last_minute() {
        let mut rates = Rates::default();
        let with = |done: i32| [job("a", json!({"completions": 1000}), json!({"succeeded": done}))];
        for (second, done) in [(0, 0), (30, 300), (60, 300), (95, 370), (120, 420)] {
            rates.take(&with(done), at(second));
        }
        assert_eq!(rates.of(&with(420)[0]), Some(2.0));
    }
}
