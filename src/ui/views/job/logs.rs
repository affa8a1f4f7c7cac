//! The ends of the logs of the pods of a Job, with their colours, and with a search.

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use maud::{Markup, html};

use super::Opened;
use crate::client::cluster::ClusterContext;
use crate::client::logs::sources::{Filter, Source};
use crate::runtime::errors::message;
use crate::ui::ansi::Reader;
use crate::ui::components::{Choice, Level, empty, filter_form, hidden, notice, search_field, select_field};
use crate::ui::text::neutral;

/// Maximum number of logs on the page.
const LOGS: usize = 10;
/// Number of last lines of each log, without a choice.
const LINES: u32 = 100;
/// Choices of the number of last lines.
const CHOICES: [u32; 3] = [20, LINES, 500];
/// Maximum size of one log, in bytes.
const BYTES: i64 = 128 * 1024;
/// Maximum number of bytes of a line.
const LINE: usize = 2000;

/// What the address asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogQuery {
    pod: String,
    text: String,
    lines: u32,
    previous: bool,
}

/// The end of one log.
pub(super) struct Log {
    source: Source,
    text: Result<String, String>,
}

/// The logs that the page shows.
pub(super) struct Logs {
    query: LogQuery,
    /// Names of all pods with a log.
    pods: Vec<String>,
    logs: Vec<Log>,
    /// Number of logs that are left out.
    more: usize,
}

impl LogQuery {
    /// Parses the query of the address. A value that is not valid is the default.
    pub(super) fn parse(query: &str) -> Self {
        let value = |wanted: &str| {
            let found = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        let lines = value("lines").parse().ok().filter(|lines| CHOICES.contains(lines)).unwrap_or(LINES);
        Self { pod: value("pod"), text: value("q"), lines, previous: value("previous") == "true" }
    }
}

/// Returns the containers whose logs are read, and the number of those that are left out. Those of failed pods come first.
fn chosen(pods: &[Pod], query: &LogQuery) -> (Vec<Source>, usize) {
    let filter = Filter { previous: query.previous, ..Filter::default() };
    let mut pods: Vec<&Pod> =
        pods.iter().filter(|pod| query.pod.is_empty() || pod.metadata.name.as_ref() == Some(&query.pod)).collect();
    let phase = |pod: &Pod| match pod.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Failed") => 0,
        Some("Succeeded") => 2,
        _ => 1,
    };
    pods.sort_by_key(|pod| (phase(pod), pod.metadata.name.clone()));
    let mut sources: Vec<Source> = pods.into_iter().flat_map(|pod| filter.sources(pod)).collect();
    let more = sources.len().saturating_sub(LOGS);
    sources.truncate(LOGS);
    (sources, more)
}

/// Reads the ends of the logs with the permissions of the user.
pub(super) async fn read(context: &ClusterContext, pods: &[Pod], query: LogQuery) -> Logs {
    let (sources, more) = chosen(pods, &query);
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &context.namespace);
    let reads = sources.into_iter().map(|source| {
        let params = LogParams {
            container: Some(source.container.clone()),
            tail_lines: Some(query.lines.into()),
            limit_bytes: Some(BYTES),
            previous: query.previous,
            ..LogParams::default()
        };
        let api = &api;
        async move { Log { text: api.logs(&source.pod, &params).await.map_err(|error| message(&error)), source } }
    });
    let logs = join_all(reads).await;
    let mut names: Vec<String> = pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect();
    names.sort();
    Logs { query, pods: names, logs, more }
}

/// Returns the part of the page.
pub(super) fn content(opened: &Opened, path: &str, logs: &Logs) -> Markup {
    if let Err(error) = &opened.pods {
        return empty("The pods cannot be read.", html! { p { (neutral(&message(error))) } });
    }
    html! {
        (form(path, logs))
        @if logs.logs.is_empty() {
            (empty("No logs.", html! { p { "No container has started, or the pods were deleted." } }))
        }
        @for log in &logs.logs {
            section.card {
                h2 { (neutral(&log.source.pod)) " " span.hint { "container " (neutral(&log.source.container)) } }
                @match &log.text {
                    Ok(text) => (lines(text, &logs.query.text)),
                    Err(error) => (notice(Level::Warning, "The log cannot be read", html! { p { (neutral(error)) } })),
                }
            }
        }
        @if logs.more > 0 { p { (logs.more) " more logs are not shown. Select a pod." } }
    }
}

fn form(path: &str, logs: &Logs) -> Markup {
    let query = &logs.query;
    let mut pods = vec![Choice { value: "", label: "All" }];
    pods.extend(logs.pods.iter().take(200).map(|pod| Choice { value: pod, label: pod }));
    let counts = CHOICES.map(|count| (count.to_string(), format!("{count} lines")));
    let counts: Vec<Choice<'_>> = counts.iter().map(|(value, label)| Choice { value, label }).collect();
    let instances =
        [Choice { value: "", label: "Present" }, Choice { value: "true", label: "Before the last restart" }];
    let fields = [
        hidden("tab", "logs"),
        search_field("q", "Search", &query.text, "Text in a line"),
        select_field("pod", "Pod", &pods, &query.pod),
        select_field("lines", "End of each log", &counts, &query.lines.to_string()),
        select_field("previous", "Container", &instances, if query.previous { "true" } else { "" }),
    ];
    let reset = format!("{path}?tab=logs");
    let is_set = !query.pod.is_empty() || !query.text.is_empty() || query.previous;
    filter_form(path, &fields, is_set.then_some(reset.as_str()))
}

/// Returns the lines that contain a text, with their colours.
fn lines(text: &str, wanted: &str) -> Markup {
    let mut reader = Reader::new(LINE);
    let wanted = wanted.to_lowercase();
    // Each line is read, because the style at the end of a line continues in the next.
    let read: Vec<_> = text.lines().map(|line| reader.read(line.as_bytes())).collect();
    let total = read.len();
    let shown: Vec<_> =
        read.into_iter().filter(|line| wanted.is_empty() || line.text().to_lowercase().contains(&wanted)).collect();
    html! {
        @if !wanted.is_empty() { p.hint { (shown.len()) " of " (total) " lines contain the text." } }
        @if total == 0 {
            p.hint { "The log is empty." }
        } @else if !shown.is_empty() {
            div.log role="region" aria-label="Log" tabindex="0" {
                @for line in &shown { div { span.l { (line) } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, phase: &str, state: Value) -> Pod {
        let container =
            json!({"name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        serde_json::from_value(
            json!({"metadata": {"name": name}, "status": {"phase": phase, "containerStatuses": [container]}}),
        )
        .unwrap()
    }

    #[test]
    fn logs_of_failed_pods_come_first_and_their_number_is_bounded() {
        let ended = || json!({"terminated": {"exitCode": 1}});
        let mut pods: Vec<Pod> = (0..12).map(|number| pod(&format!("a{number:02}"), "Succeeded", ended())).collect();
        pods.push(pod("z", "Failed", ended()));
        pods.push(pod("waiting", "Pending", json!({"waiting": {}})));
        let (sources, more) = chosen(&pods, &LogQuery::parse("tab=logs"));
        assert_eq!((sources.len(), more, &*sources[0].pod), (LOGS, 3, "z"));
        let (sources, more) = chosen(&pods, &LogQuery::parse("pod=a03"));
        assert_eq!((sources.len(), more, &*sources[0].pod), (1, 0, "a03"));
    }

    #[test]
    fn query_that_is_not_valid_is_the_default() {
        let query = LogQuery::parse("tab=logs&lines=9999999&previous=x&q=a+b");
        assert_eq!(query, LogQuery { pod: String::new(), text: "a b".to_owned(), lines: LINES, previous: false });
        assert_eq!(LogQuery::parse("lines=500&previous=true").lines, 500);
    }

    #[test]
    fn hostile_log_is_neutral_and_search_ignores_its_colours() {
        let log = "one\n\u{1b}[31mERR\u{1b}[1mOR\u{1b}[0m <script>\u{202e}\nthree";
        let found = lines(log, "error <").into_string();
        assert!(
            found.contains("1 of 3 lines") && !found.contains("<script>") && !found.contains('\u{202e}'),
            "{found}"
        );
        assert!(!found.contains("three") && !found.contains('\u{1b}'), "{found}");
        assert!(lines("", "").into_string().contains("The log is empty"));
    }
}
