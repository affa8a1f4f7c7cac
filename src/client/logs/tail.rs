//! Lines of the log of one container. An interrupted log is requested again from its last line.

use std::pin::Pin;
use std::time::Duration;

use futures::AsyncBufRead;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;

use super::lines::Lines;
use super::sources::{Source, runs};
use super::text::split_timestamp;
use crate::client::output;
use crate::runtime::errors::message;

/// Time before a log that was interrupted is requested again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Maximum number of consecutive requests for a log that fail.
const MAX_FAILURES: usize = 5;

/// Part of each log that is requested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// Whether new lines are waited for.
    pub follow: bool,
    /// Whether the log is that of the instance before the last restart.
    pub previous: bool,
    /// Maximum number of lines.
    pub tail: Option<i64>,
    /// Maximum age of lines in seconds.
    pub since: Option<i64>,
    /// Maximum number of bytes that the kubelet sends.
    pub limit: Option<i64>,
}

/// Line of a log, or part of a long line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLine {
    /// Time of the line; none for a line of the kubelet, and for the parts of a long line after the first.
    pub time: Option<Timestamp>,
    /// Text without the time.
    pub text: String,
}

type Reader = Lines<Pin<Box<dyn AsyncBufRead + Send>>>;

/// Log of a container that is being read.
pub(crate) struct Tail {
    pods: Api<Pod>,
    source: Source,
    part: Part,
    reader: Option<Reader>,
    /// Time of the last line.
    last: Option<Timestamp>,
    /// Time of the last line before the present request.
    resumed_after: Option<Timestamp>,
    /// Whether the present line was returned before.
    is_skipped: bool,
    failures: usize,
    has_ended: bool,
}

impl Part {
    /// Returns the parameters of the request. `last` is the time of the last line that was read.
    fn params(&self, source: &Source, last: Option<Timestamp>) -> LogParams {
        LogParams {
            container: Some(source.container.clone()),
            follow: self.follow,
            previous: self.previous,
            // Lines that were read already are skipped by their time.
            tail_lines: self.tail.filter(|_| last.is_none()),
            since_seconds: self.since.filter(|_| last.is_none()),
            since_time: last.map(whole_second),
            limit_bytes: self.limit,
            timestamps: true,
            ..LogParams::default()
        }
    }
}

/// Returns the second in which a time is. The library would round a time up, and lines of the rest of that second would be
/// lost.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

impl Tail {
    /// Returns the log of a container after `last`, the time of the last line that was read before.
    pub(crate) fn new(pods: Api<Pod>, source: Source, part: Part, last: Option<Timestamp>) -> Self {
        let (reader, resumed_after) = (None, None);
        Self { pods, source, part, reader, last, resumed_after, is_skipped: false, failures: 0, has_ended: false }
    }

    /// Returns the container.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// Returns the next line. `None` at the end of the log: with `follow` when the container has ended, otherwise after
    /// the lines that exist now.
    ///
    /// # Errors
    /// The log cannot be read. There are no further lines after the error.
    pub(crate) async fn next(&mut self) -> Option<Result<LogLine, String>> {
        while !self.has_ended {
            let result = match &mut self.reader {
                None => self.open().await,
                Some(reader) => match reader.next().await {
                    Ok(Some(line)) => {
                        if let Some(line) = self.new_line(line.text, line.continues) {
                            return Some(Ok(line));
                        }
                        continue;
                    }
                    Ok(None) => Ok(false),
                    Err(error) => Err(output::io_reason(&error).to_string()),
                },
            };
            match result {
                Ok(true) => {}
                Ok(false) => self.interrupted(None).await,
                Err(reason) => {
                    self.interrupted(Some(&reason)).await;
                    if self.has_ended {
                        return Some(Err(reason));
                    }
                }
            }
        }
        None
    }

    /// Requests the log. Returns true.
    async fn open(&mut self) -> Result<bool, String> {
        let params = self.part.params(&self.source, self.last);
        let stream = self.pods.log_stream(&self.source.pod, &params).await.map_err(|error| message(&error))?;
        self.resumed_after = self.last;
        self.is_skipped = false;
        self.reader = Some(Lines::new(Box::pin(stream)));
        Ok(true)
    }

    /// Returns a line unless it was returned before.
    fn new_line(&mut self, text: String, continues: bool) -> Option<LogLine> {
        let (time, text) = if continues {
            (None, text)
        } else {
            let (time, rest) = split_timestamp(&text);
            // The API server takes whole seconds, so that lines before `last` are sent again.
            self.is_skipped = time.is_some() && self.resumed_after.is_some() && time <= self.resumed_after;
            (time, rest.to_owned())
        };
        if self.is_skipped {
            return None;
        }
        self.last = self.last.max(time);
        Some(LogLine { time, text })
    }

    /// Decides whether the log is requested again after its end or an error, and waits before that.
    async fn interrupted(&mut self, error: Option<&str>) {
        self.reader = None;
        if !self.part.follow {
            self.has_ended = true;
            return;
        }
        self.failures = if self.last > self.resumed_after { 0 } else { self.failures + 1 };
        self.resumed_after = self.last;
        let pod = self.pods.get_opt(&self.source.pod).await;
        let still_runs = pod.map_or(true, |pod| pod.is_some_and(|pod| runs(&self.source, &pod)));
        if !still_runs || error.is_some() && self.failures >= MAX_FAILURES {
            self.has_ended = true;
        } else {
            // A log that is silent for some time ends too. It is requested again.
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kube::Client;
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    #[test]
    fn log_is_requested_again_from_the_second_of_its_last_line() {
        let of = |last: &str| Part::default().params(&source(), Some(last.parse().unwrap())).since_time.unwrap();
        for last in ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.4Z", "2026-01-02T03:04:05.999999999Z"] {
            assert_eq!(of(last).to_string(), "2026-01-02T03:04:05Z");
        }
    }

    fn source() -> Source {
        Source { pod: "a-1".to_owned(), uid: "p".to_owned(), container: "main".to_owned(), restarts: 0 }
    }

    #[test]
    fn interrupted_log_is_resumed_after_its_last_line() {
        let part = Part { follow: true, tail: Some(5), since: Some(60), ..Part::default() };
        let first = part.params(&source(), None);
        assert_eq!((first.tail_lines, first.since_seconds, first.since_time), (Some(5), Some(60), None));
        let last = "2026-01-01T00:00:00Z".parse().ok();
        let again = part.params(&source(), last);
        assert_eq!((again.tail_lines, again.since_seconds, again.since_time), (None, None, last));
    }

    /// Returns an API whose first answers are these logs; the container runs until the last one was read.
    fn pods(logs: &'static [&'static str]) -> Api<Pod> {
        let requests = Arc::new(AtomicUsize::new(0));
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let requests = requests.clone();
            async move {
                if request.uri().path().ends_with("/log") {
                    let number = requests.fetch_add(1, Ordering::Relaxed);
                    let (code, text) = logs.get(number).map_or((500, "{}"), |text| (200, *text));
                    let body = Body::from(text.as_bytes().to_vec());
                    return Ok::<_, Infallible>(http::Response::builder().status(code).body(body).unwrap());
                }
                let is_running = requests.load(Ordering::Relaxed) < logs.len();
                let state = if is_running { json!({"running": {}}) } else { json!({"terminated": {"exitCode": 0}}) };
                let status = json!({"name": "main", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state});
                let pod = json!({"metadata": {"name": "a-1", "uid": "p"}, "status": {"containerStatuses": [status]}});
                let body = Body::from(serde_json::to_vec(&pod).unwrap());
                Ok(http::Response::builder().status(200).body(body).unwrap())
            }
        });
        Api::namespaced(Client::new(service, "n"), "n")
    }

    async fn lines(mut tail: Tail) -> Vec<Result<String, String>> {
        let mut lines = Vec::new();
        while let Some(line) = tail.next().await {
            lines.push(line.map(|line| line.text));
        }
        lines
    }

    #[tokio::test(start_paused = true)]
    async fn followed_log_has_each_line_once() {
        let logs = &[
            "2026-01-01T00:00:00.1Z one\n2026-01-01T00:00:00.2Z two\n",
            "2026-01-01T00:00:00.1Z one\n2026-01-01T00:00:00.2Z two\n2026-01-01T00:00:00.3Z three\n",
            "2026-01-01T00:00:00.3Z three\n2026-01-01T00:00:04Z four",
        ];
        let part = Part { follow: true, ..Part::default() };
        let ok = |texts: &[&str]| texts.iter().map(|text| Ok((*text).to_owned())).collect::<Vec<_>>();
        assert_eq!(lines(Tail::new(pods(logs), source(), part, None)).await, ok(&["one", "two", "three", "four"]));
        let resumed = "2026-01-01T00:00:00.2Z".parse().ok();
        assert_eq!(lines(Tail::new(pods(&logs[..2]), source(), part, resumed)).await, ok(&["three"]));
        assert_eq!(lines(Tail::new(pods(logs), source(), Part::default(), None)).await, ok(&["one", "two"]));
        let failed = lines(Tail::new(pods(&[]), source(), Part::default(), None)).await;
        assert!(failed.len() == 1 && failed[0].is_err(), "{failed:?}");
    }
}
