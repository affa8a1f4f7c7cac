//! Reads the logs that exist now, of limited size.

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};
use tokio::time::{Instant, timeout_at};

use super::lines::{Look, Readers, Row};
use super::query::LogQuery;
use crate::client::logs::sources::Source;
use crate::client::logs::tail::{LogLine, Part, Tail};

/// Maximum number of pods whose logs are shown, the youngest ones.
pub(super) const PODS: usize = 50;
/// Maximum size of the text of all logs in bytes.
const SIZE: usize = 1024 * 1024;
/// Maximum number of rows, the last ones.
const ROWS: usize = 5000;
/// Maximum number of bytes that the kubelet sends of one log.
const SENT: i64 = 16 * 1024 * 1024;
/// Longest time in which a log is read.
const TIME: Duration = Duration::from_secs(10);
/// Number of logs that are read concurrently.
const CONCURRENT: usize = 8;

/// Logs as they are now.
#[derive(Debug, Default)]
pub(in crate::ui) struct Snapshot {
    /// Rows that pass the search, in the order of their times.
    pub rows: Vec<Row>,
    /// Readers that continue the logs.
    pub readers: Readers,
    /// Number of logs.
    pub logs: usize,
    /// Number of lines that were searched.
    pub searched: usize,
    /// Whether older lines are left out because of the maximum size.
    pub is_cut: bool,
    /// Number of pods that are left out.
    pub more_pods: usize,
    /// Logs that cannot be read, with the reasons.
    pub unread: Vec<(Source, String)>,
}

/// Returns the logs that the query selects in the youngest `max` pods, and the number of pods that are left out.
pub(super) fn sources(pods: &[Pod], query: &LogQuery, max: usize) -> (Vec<Source>, usize) {
    let filter = query.filter();
    let mut selected: Vec<(&Pod, Vec<Source>)> =
        pods.iter().map(|pod| (pod, filter.sources(pod))).filter(|(_, sources)| !sources.is_empty()).collect();
    selected.sort_by_key(|(pod, _)| (pod.creation_timestamp(), pod.name_any()));
    let more = selected.len().saturating_sub(max);
    (selected.into_iter().skip(more).flat_map(|(_, sources)| sources).collect(), more)
}

/// Reads the logs that the query selects, with the permissions of the client.
pub(in crate::ui) async fn snapshot(api: &Api<Pod>, pods: &[Pod], query: &LogQuery, look: &Look) -> Snapshot {
    let (sources, more_pods) = sources(pods, query, PODS);
    let part = Part { tail: Some(query.tail), previous: query.previous, limit: Some(SENT), ..Part::default() };
    let share = SIZE / sources.len().max(1);
    let mut snapshot = Snapshot { logs: sources.len(), more_pods, ..Snapshot::default() };
    let reads = sources.into_iter().map(|source| read(Tail::new(api.clone(), source, part, None), share));
    let mut logs: Vec<Log> = futures::stream::iter(reads).buffer_unordered(CONCURRENT).collect().await;
    logs.sort_by(|one, other| one.source.cmp(&other.source));
    for Log { source, lines, is_cut, error } in logs {
        snapshot.is_cut |= is_cut;
        snapshot.searched += lines.len();
        let rows = lines.iter().map(|line| snapshot.readers.row(&source, line));
        snapshot.rows.extend(rows.filter(|row| look.shows(row)));
        snapshot.unread.extend(error.map(|error| (source, error)));
    }
    snapshot.rows.sort_by_key(|row| row.time);
    let more = snapshot.rows.len().saturating_sub(ROWS);
    snapshot.is_cut |= more > 0;
    snapshot.rows.drain(..more);
    snapshot
}

/// Last lines of one log.
struct Log {
    source: Source,
    lines: VecDeque<LogLine>,
    is_cut: bool,
    error: Option<String>,
}

/// Reads the last lines of a log whose text has at most this size.
async fn read(mut tail: Tail, size: usize) -> Log {
    let mut log = Log { source: tail.source().clone(), lines: VecDeque::new(), is_cut: false, error: None };
    let mut bytes = 0;
    let end = Instant::now() + TIME;
    loop {
        let Ok(line) = timeout_at(end, tail.next()).await else {
            log.error = Some(format!("it did not arrive within {} seconds", TIME.as_secs()));
            return log;
        };
        match line {
            None => return log,
            Some(Ok(line)) => {
                bytes += line.text.len();
                log.lines.push_back(line);
            }
            Some(Err(error)) => log.error = Some(error),
        }
        while bytes > size
            && let Some(first) = log.lines.pop_front()
        {
            bytes -= first.text.len();
            log.is_cut = true;
        }
    }
}
