//! Reads the log of one container and prints its lines.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;

use crate::client::logs::lines::Lines;
use crate::client::logs::sources::{Source, runs};
use crate::client::logs::text::{colored_prefix, for_terminal, split_timestamp};
use crate::client::output;
use crate::runtime::errors::message;

/// Time before a log that was interrupted is requested again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Maximum number of consecutive requests for a log that fail.
const MAX_FAILURES: usize = 5;

/// How lines are printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Printer {
    /// Whether the output goes to a terminal, so that control characters are made visible.
    pub terminal: bool,
    /// Whether prefixes have colors, and colors of the log are kept on a terminal.
    pub colors: bool,
    /// Whether lines begin with pod and container.
    pub prefix: bool,
    /// Whether lines begin with their time.
    pub timestamps: bool,
}

/// Part of each log that is requested.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// Whether new lines are waited for.
    pub follow: bool,
    /// Whether the log is that of the instance before the last restart.
    pub previous: bool,
    /// Maximum number of lines.
    pub tail: Option<i64>,
    /// Maximum age of lines in seconds.
    pub since: Option<i64>,
    /// How lines are printed.
    pub printer: Printer,
}

impl Printer {
    /// Prints a line of a container.
    pub(super) fn print(&self, pod: &str, container: &str, time: Option<Timestamp>, line: &str) {
        output::print_line(self.format(pod, container, time, line));
    }

    fn format(&self, pod: &str, container: &str, time: Option<Timestamp>, line: &str) -> String {
        let mut text = String::new();
        if self.prefix {
            let prefix = format!("[pod/{pod}/{container}] ");
            text += &if self.colors { colored_prefix(&prefix, pod) } else { prefix };
        }
        if let Some(time) = time.filter(|_| self.timestamps) {
            text += &format!("{time} ");
        }
        text + &if self.terminal { for_terminal(line, self.colors) } else { line.to_owned() }
    }
}

impl Request {
    /// Returns the parameters of the request. `last` is the time of the last line that was printed.
    fn params(&self, source: &Source, last: Option<Timestamp>) -> LogParams {
        LogParams {
            container: Some(source.container.clone()),
            follow: self.follow,
            previous: self.previous,
            // Lines that were printed already are skipped by their time.
            tail_lines: self.tail.filter(|_| last.is_none()),
            since_seconds: self.since.filter(|_| last.is_none()),
            since_time: last,
            timestamps: true,
            ..LogParams::default()
        }
    }
}

/// Prints the log of a container that exists now. Returns whether the log could be read.
pub(super) async fn print_log(pods: &Api<Pod>, source: &Source, request: &Request) -> bool {
    let mut last = None;
    match read(pods, source, request, &mut last).await {
        Ok(()) => true,
        Err(reason) => {
            report(source, &reason);
            false
        }
    }
}

/// Prints the log of a container until the container ends. An interrupted log is requested again from its last line.
pub(super) async fn follow_log(pods: &Api<Pod>, source: &Source, request: &Request) {
    let mut last = None;
    let mut failures = 0;
    loop {
        let before = last;
        let result = read(pods, source, request, &mut last).await;
        failures = if last > before { 0 } else { failures + 1 };
        let still_runs = pods.get_opt(&source.pod).await.map_or(true, |pod| pod.is_some_and(|pod| runs(source, &pod)));
        match result {
            Ok(()) if !still_runs => return,
            Err(reason) if !still_runs || failures >= MAX_FAILURES => return report(source, &reason),
            // A log that is silent for some time ends too. It is requested again.
            _ => tokio::time::sleep(RETRY_AFTER).await,
        }
    }
}

fn report(source: &Source, reason: &str) {
    output::error_line(format!(
        "jobwright: cannot read the log of {} in pod/{}: {reason}",
        source.container, source.pod
    ));
}

/// Prints the lines of a log after `last`, and sets `last` to the time of the last line.
async fn read(pods: &Api<Pod>, source: &Source, request: &Request, last: &mut Option<Timestamp>) -> Result<(), String> {
    let resumed_after = *last;
    let stream = pods.log_stream(&source.pod, &request.params(source, *last)).await.map_err(|error| message(&error))?;
    let mut lines = Lines::new(Box::pin(stream));
    let mut skipped = false;
    while let Some(line) = lines.next().await.map_err(|error| output::io_reason(&error))? {
        let (time, text) = if line.continues { (None, line.text.as_str()) } else { split_timestamp(&line.text) };
        if !line.continues {
            // The API server takes whole seconds, so that lines before `last` are sent again.
            skipped = time.is_some() && resumed_after.is_some() && time <= resumed_after;
        }
        if skipped {
            continue;
        }
        *last = (*last).max(time);
        request.printer.print(&source.pod, &source.container, time, text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_printed_with_prefix_and_time() {
        let plain = Printer { terminal: false, colors: false, prefix: true, timestamps: false };
        let time = Some("2026-01-01T00:00:00.5Z".parse().unwrap());
        assert_eq!(plain.format("a-1", "main", time, "x\u{1b}[2J"), "[pod/a-1/main] x\u{1b}[2J");
        let stamped = Printer { timestamps: true, prefix: false, ..plain };
        assert_eq!(stamped.format("a-1", "main", time, "x"), "2026-01-01T00:00:00.5Z x");
        let screen = Printer { terminal: true, colors: true, ..plain };
        let line = screen.format("a-1", "main", time, "x\u{1b}[2J");
        assert!(line.starts_with("\u{1b}[") && line.ends_with("m[pod/a-1/main] \u{1b}[0mx^[[2J"), "{line:?}");
    }

    #[test]
    fn interrupted_log_is_resumed_after_its_last_line() {
        let printer = Printer { terminal: false, colors: false, prefix: true, timestamps: false };
        let request = Request { follow: true, previous: false, tail: Some(5), since: Some(60), printer };
        let source = Source { pod: "a-1".to_owned(), uid: "p".to_owned(), container: "main".to_owned(), restarts: 0 };
        let first = request.params(&source, None);
        assert_eq!((first.tail_lines, first.since_seconds, first.since_time), (Some(5), Some(60), None));
        let last = "2026-01-01T00:00:00Z".parse().ok();
        let again = request.params(&source, last);
        assert_eq!((again.tail_lines, again.since_seconds, again.since_time), (None, None, last));
    }
}
