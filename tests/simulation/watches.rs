//! Watches: events after a version, in order, as late as the faults make them.

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

/// How often a watch that has nothing to tell says where it is, of a thousand.
const BOOKMARKS: u32 = 50;
/// How long a watch is silent at most.
const SILENCE: Duration = Duration::from_secs(60);
/// How long the server holds a watch.
pub const LONGEST: Duration = Duration::from_secs(290);

/// What a watch is about.
pub struct Selection {
    pub resource: &'static str,
    /// `key`, `!key`, `key=value`, comma between.
    pub labels: String,
    /// `path=value`, `path!=value`.
    pub fields: String,
}

enum Next {
    /// Send this, after a while; the watch is then at this version.
    Send(Value, Duration, u64),
    /// Send this, and end.
    Last(Value),
    End,
    Wait,
    /// Nothing more, and the watch stays open.
    Silence,
}

/// A watch that begins after this version.
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
            let hushed = server.lock().hushed.get(selection.resource).copied();
            if let Some(until) = hushed.filter(|until| *until > Instant::now()) {
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
                        // The last thing that a watch says is where it is.
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
        if self.away {
            return Next::End;
        }
        let place = self.store.log.partition_point(|happened| happened.version <= *at);
        if place == self.store.log.len() {
            return Next::Wait;
        }
        if self.happens(self.faults.cut) {
            return Next::End;
        }
        if self.happens(self.faults.hushed) {
            return Next::Silence;
        }
        if self.store.horizon > *at || self.happens(self.faults.expire) {
            return Next::Last(json!({"type": "ERROR", "object": status(410, "too old resource version")}));
        }
        let next =
            self.store.log[place..].iter().find_map(|happened| Some((happened.version, event(happened, selection)?)));
        let late = self.random.u64(0..=self.faults.late);
        // Most events are not late.
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

/// An event as a watch sees it: what leaves its selection is deleted to it.
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
            // What has only left the selection comes as it was, in its new version.
            let mut object = if happened.gone { happened.object.clone() } else { happened.before.clone()? };
            object["metadata"]["resourceVersion"] = happened.version.to_string().into();
            return Some(json!({"type": "DELETED", "object": object}));
        }
        (false, false) => return None,
    };
    Some(json!({"type": type_, "object": happened.object}))
}

/// Says which version a watch has come to.
fn bookmark(resource: &str, version: u64) -> Value {
    let (api_version, kind) = match resource {
        "pods" => ("v1", "Pod"),
        "jobs" => ("batch/v1", "Job"),
        "cronjobs" => ("batch/v1", "CronJob"),
        "jobschedules" => ("jobwright.dev/v1beta1", "JobSchedule"),
        "joblimits" => ("jobwright.dev/v1beta1", "JobLimit"),
        "namespaces" => ("v1", "Namespace"),
        _ => ("coordination.k8s.io/v1", "Lease"),
    };
    let metadata = json!({"resourceVersion": version.to_string()});
    json!({"type": "BOOKMARK", "object": {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": {}}})
}

/// Whether a label selector picks an object.
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

/// Whether a field selector picks an object: `path=value` or `path!=value`.
pub fn picks(fields: &str, object: &Value) -> bool {
    let field = |path: &str| object.pointer(&format!("/{}", path.replace('.', "/"))).cloned().unwrap_or_default();
    match (fields.split_once("!="), fields.split_once('=')) {
        (Some((path, value)), _) => field(path) != value,
        (None, Some((path, value))) => field(path) == value,
        (None, None) => true,
    }
}

/// The type comes first, as the API server writes it.
fn frame(event: &Value) -> io::Result<Frame<Bytes>> {
    let line = format!("{{\"type\":{},\"object\":{}}}\n", event["type"], event["object"]);
    Ok(Frame::data(Bytes::from(line)))
}
