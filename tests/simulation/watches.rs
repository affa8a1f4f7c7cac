//! Watches: the events after a version, in order, delayed according to the faults.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::Response;
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{Answer, Connection, Server, State, status};
use crate::store::Happened;

/// Probability, in thousandths, that a watch without events sends a bookmark after a change of other objects.
const BOOKMARKS: u32 = 50;
/// Maximum time between two events of a watch; then a bookmark is sent.
const SILENCE: Duration = Duration::from_secs(60);
/// Maximum duration of a watch.
pub const LONGEST: Duration = Duration::from_secs(290);

/// Objects that a watch selects.
pub struct Selection {
    pub resource: &'static str,
    /// Label selector: `key`, `!key` or `key=value`, separated by commas.
    pub labels: String,
    /// Field selector: `path=value` or `path!=value`.
    pub fields: String,
}

/// Next step of a watch.
enum Next {
    /// Send this event after this delay; the watch is then at this version.
    Send(Value, Duration, u64),
    /// Send this event and end the watch.
    Last(Value),
    /// End the watch.
    End,
    /// Wait for the next change.
    Wait,
    /// Keep the watch open and send no more events.
    Silence,
}

/// Returns the response to a watch request that begins after the version `since`.
pub fn watch(server: Server, line: Connection, (selection, longest): (Selection, Duration), since: u64) -> Answer {
    let changed = server.lock().store.changed.clone();
    let ends = Instant::now() + longest;
    let begin = (server, line, changed, selection, since, false);
    let events = stream::unfold(begin, move |(server, line, changed, selection, mut at, over)| async move {
        if over {
            return None;
        }
        loop {
            line.open().await;
            let paused = server.lock().paused_watches.get(selection.resource).copied();
            if let Some(until) = paused.filter(|until| *until > Instant::now()) {
                tokio::time::sleep_until(until).await;
            }
            let again = changed.clone();
            let again = again.notified();
            let next = server.lock().next(&selection, &mut at);
            match next {
                Next::Send(event, wait, version) => {
                    tokio::time::sleep(wait).await;
                    line.open().await;
                    return Some((frame(&event), (server, line, changed, selection, version, false)));
                }
                Next::Last(event) => return Some((frame(&event), (server, line, changed, selection, at, true))),
                Next::End => return None,
                Next::Silence => std::future::pending::<()>().await,
                Next::Wait => {
                    let until = ends.min(Instant::now() + SILENCE);
                    if tokio::time::timeout_at(until, again).await.is_err() {
                        // The last event before the timeout of a watch is a bookmark.
                        let over = until == ends;
                        let version = server.lock().store.version;
                        let event = bookmark(selection.resource, version);
                        return Some((frame(&event), (server, line, changed, selection, version, over)));
                    }
                }
            }
        }
    });
    Response::builder().status(200).body(UnsyncBoxBody::new(StreamBody::new(events))).expect("a valid answer")
}

impl State {
    fn next(&mut self, selection: &Selection, at: &mut u64) -> Next {
        if self.unavailable {
            return Next::End;
        }
        let place = self.store.log.partition_point(|happened| happened.version <= *at);
        if place == self.store.log.len() {
            return Next::Wait;
        }
        if self.happens(self.faults.cut) {
            return Next::End;
        }
        if self.happens(self.faults.stalled) {
            return Next::Silence;
        }
        if self.store.horizon > *at || self.happens(self.faults.expire) {
            return Next::Last(json!({"type": "ERROR", "object": status(410, "too old resource version")}));
        }
        let next =
            self.store.log[place..].iter().find_map(|happened| Some((happened.version, event(happened, selection)?)));
        let late = self.random.u64(0..=self.faults.late);
        // Most events have little delay.
        let wait = Duration::from_millis(if self.random.u32(0..8) == 0 { late } else { late.min(3) });
        match next {
            Some((version, event)) => Next::Send(event, wait, version),
            None => {
                *at = self.store.version;
                if self.random.u32(0..1000) >= BOOKMARKS {
                    return Next::Wait;
                }
                Next::Send(bookmark(selection.resource, *at), wait, *at)
            }
        }
    }
}

/// Returns the event that a watch with this selection gets for a change. An object that leaves the selection is
/// reported as deleted.
fn event(happened: &Happened, selection: &Selection) -> Option<Value> {
    if happened.resource != selection.resource {
        return None;
    }
    let seen = |object: &Value| selects(&selection.labels, object) && picks(&selection.fields, object);
    let before = happened.before.as_ref().is_some_and(seen);
    let after = !happened.gone && seen(&happened.object);
    let type_ = match (before, after) {
        (false, true) => "ADDED",
        (true, true) => "MODIFIED",
        (true, false) => {
            // An object that only left the selection is sent as it was before, with its new resourceVersion.
            let mut object = if happened.gone { happened.object.clone() } else { happened.before.clone()? };
            object["metadata"]["resourceVersion"] = happened.version.to_string().into();
            return Some(json!({"type": "DELETED", "object": object}));
        }
        (false, false) => return None,
    };
    Some(json!({"type": type_, "object": happened.object}))
}

/// Returns a bookmark with this version.
fn bookmark(resource: &str, version: u64) -> Value {
    let (api_version, kind) = match resource {
        "pods" => ("v1", "Pod"),
        "jobs" => ("batch/v1", "Job"),
        "cronjobs" => ("batch/v1", "CronJob"),
        "jobschedules" => ("jobwright.dev/v1beta1", "JobSchedule"),
        "calendars" => ("jobwright.dev/v1beta1", "Calendar"),
        "joblimits" => ("jobwright.dev/v1beta1", "JobLimit"),
        "jobpolicies" => ("jobwright.dev/v1beta1", "JobPolicy"),
        "namespaces" => ("v1", "Namespace"),
        "workloads" => ("scheduling.k8s.io/v1beta1", "Workload"),
        "podgroups" => ("scheduling.k8s.io/v1beta1", "PodGroup"),
        _ => ("coordination.k8s.io/v1", "Lease"),
    };
    let metadata = json!({"resourceVersion": version.to_string()});
    json!({"type": "BOOKMARK", "object": {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": {}}})
}

/// Returns whether a label selector matches an object.
pub fn selects(selector: &str, object: &Value) -> bool {
    let labels = &object["metadata"]["labels"];
    selector.split(',').filter(|term| !term.is_empty()).all(|term| match term.split_once('=') {
        Some((key, value)) => labels[key].as_str() == Some(value.trim_start_matches('=')),
        None => match term.strip_prefix('!') {
            Some(key) => labels[key].is_null(),
            None => !labels[term].is_null(),
        },
    })
}

/// Returns whether a field selector, `path=value` or `path!=value`, matches an object.
pub fn picks(fields: &str, object: &Value) -> bool {
    let field = |path: &str| object.pointer(&format!("/{}", path.replace('.', "/"))).cloned().unwrap_or_default();
    match (fields.split_once("!="), fields.split_once('=')) {
        (Some((path, value)), _) => field(path) != value,
        (None, Some((path, value))) => field(path) == value,
        (None, None) => true,
    }
}

/// Returns an event as a line of JSON. The type comes first, as in the API server's output.
fn frame(event: &Value) -> io::Result<Frame<Bytes>> {
    let line = format!("{{\"type\":{},\"object\":{}}}\n", event["type"], event["object"]);
    Ok(Frame::data(Bytes::from(line)))
}
