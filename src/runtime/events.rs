//! Kubernetes Events: what happened to an object, for people.
//!
//! Publishing never waits: events go to one task that writes them. Similar ones are combined, as client-go does: the
//! first ten of one reason about one object within ten minutes are written each for itself, what follows is one event
//! "(combined from similar events)" whose count is brought up to date at 1, 2, 5, 10, … times ten.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::clock::Clock;
use super::deadline::bounded;
use super::errors::message;
use super::identity::{Identity, Uid};
use super::liveness::Pulse;
use super::text::beginning;

/// The component that events name as their source.
pub const COMPONENT: &str = "jobwright";
/// Within this time, similar events are counted together.
const SIMILAR_WITHIN: Duration = Duration::from_secs(600);
/// So many similar events are written each for itself.
const SINGLE_EVENTS: u64 = 10;
/// The longest message the API server takes.
const LONGEST_MESSAGE: usize = 1024;
/// Maximum number of bytes of a message that waits to be written.
const LONGEST_KEPT: usize = 2 * LONGEST_MESSAGE;
/// Maximum number of bytes of a reason.
const LONGEST_REASON: usize = 128;
/// So many events wait to be written at most; what comes on top of that is dropped.
const WAITING: usize = 4096;

/// Whether an event tells of something amiss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    /// All is as it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

/// What an event says, without whom it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventText {
    /// Normal or Warning.
    pub type_: EventType,
    /// A word for programs.
    pub reason: Cow<'static, str>,
    /// A sentence for people.
    pub message: String,
}

impl EventText {
    /// A Normal event.
    pub fn normal(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { type_: EventType::Normal, reason: reason.into(), message: message.into() }
    }

    /// A Warning event.
    pub fn warning(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { type_: EventType::Warning, reason: reason.into(), message: message.into() }
    }
}

/// The object an event is about.
#[derive(Clone, Debug)]
pub struct Regarding {
    /// `apiVersion`, such as `batch/v1`.
    pub api_version: &'static str,
    /// `kind`, such as `Job`.
    pub kind: &'static str,
    /// Which one.
    pub identity: Identity,
}

/// Takes events and writes them in the background.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<(Regarding, EventText)>,
    dropped: Arc<AtomicU64>,
}

/// Writes the events that its [`Recorder`]s took.
pub struct Writer {
    client: Client,
    clock: Clock,
    inbox: mpsc::Receiver<(Regarding, EventText)>,
    similar: HashMap<(Uid, EventType, Cow<'static, str>), Similar>,
    sequence: u64,
}

/// What is known of similar events.
struct Similar {
    since: Instant,
    count: u64,
    /// The name of the combined event, once there is one.
    combined: Option<String>,
}

/// A recorder and the writer that must be run for it.
pub fn recorder(client: Client, clock: Clock) -> (Recorder, Writer) {
    let (sender, inbox) = mpsc::channel(WAITING);
    let recorder = Recorder { sender, dropped: Arc::default() };
    let client = bounded(client, &Pulse::default());
    (recorder, Writer { client, clock, inbox, similar: HashMap::new(), sequence: 0 })
}

impl Recorder {
    /// Takes an event; never waits. An event too many is dropped, and that is logged.
    pub fn publish(&self, regarding: Regarding, mut text: EventText) {
        // What waits takes memory, and others write parts of it.
        if text.message.len() > LONGEST_KEPT {
            text.message = beginning(&text.message, LONGEST_KEPT).to_owned();
        }
        if text.reason.len() > LONGEST_REASON {
            text.reason = beginning(&text.reason, LONGEST_REASON).to_owned().into();
        }
        if self.sender.try_send((regarding, text)).is_err() && self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("more events than can be written; some are dropped");
        }
    }
}

/// What to do with one event.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Single,
    /// Begin or bring up to date the combined event, with this count.
    Combined(u64),
    Skip,
}

impl Similar {
    fn new() -> Self {
        Self { since: Instant::now(), count: 0, combined: None }
    }

    fn next(&mut self) -> Plan {
        self.count += 1;
        match self.count.checked_sub(SINGLE_EVENTS) {
            None | Some(0) => Plan::Single,
            Some(more) if more == 1 || is_round(self.count) => Plan::Combined(self.count),
            Some(_) => Plan::Skip,
        }
    }
}

/// 20, 50, 100, 200, 500, …: 1, 2 or 5 and zeros.
fn is_round(mut count: u64) -> bool {
    while count >= 10 && count.is_multiple_of(10) {
        count /= 10;
    }
    matches!(count, 1 | 2 | 5)
}

impl Writer {
    /// Writes events until all recorders are gone and all events are written.
    pub async fn run(mut self) {
        while let Some((regarding, text)) = self.inbox.recv().await {
            if self.similar.len() > WAITING {
                self.similar.retain(|_, similar| similar.since.elapsed() < SIMILAR_WITHIN);
            }
            let key = (regarding.identity.uid.clone(), text.type_, text.reason.clone());
            let similar = self.similar.entry(key.clone()).or_insert_with(Similar::new);
            if similar.since.elapsed() >= SIMILAR_WITHIN {
                *similar = Similar::new();
            }
            let plan = similar.next();
            let combined = similar.combined.clone();
            match plan {
                Plan::Skip => {}
                Plan::Single => {
                    self.create(&regarding, &text).await;
                }
                Plan::Combined(count) => {
                    let text =
                        EventText { message: format!("(combined from similar events): {}", text.message), ..text };
                    let name = match combined {
                        Some(name) => self.recount(&regarding, name, &text, count).await,
                        None => self.create(&regarding, &text).await,
                    };
                    if let Some(similar) = self.similar.get_mut(&key) {
                        similar.combined = name;
                    }
                }
            }
        }
    }

    fn api(&self, regarding: &Regarding) -> Api<Event> {
        Api::namespaced(self.client.clone(), &regarding.identity.namespace)
    }

    async fn create(&mut self, regarding: &Regarding, text: &EventText) -> Option<String> {
        self.sequence += 1;
        let identity = &regarding.identity;
        let now = self.clock.now();
        let name = format!("{}.{:x}.{:x}", identity.name, now.as_nanosecond(), self.sequence);
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(identity.namespace.to_string()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some(regarding.api_version.to_owned()),
                kind: Some(regarding.kind.to_owned()),
                namespace: Some(identity.namespace.to_string()),
                name: Some(identity.name.to_string()),
                uid: Some(identity.uid.to_string()),
                resource_version: Some(identity.resource_version.to_string()),
                ..ObjectReference::default()
            },
            type_: Some(format!("{:?}", text.type_)),
            reason: Some(text.reason.to_string()),
            message: Some(shorten(&text.message)),
            source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
            reporting_component: Some(COMPONENT.to_owned()),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            ..Event::default()
        };
        match self.api(regarding).create(&PostParams::default(), &event).await {
            Ok(_) => Some(name),
            Err(error) => {
                report(regarding, text, &error);
                None
            }
        }
    }

    async fn recount(&mut self, regarding: &Regarding, name: String, text: &EventText, count: u64) -> Option<String> {
        let patch = json!({
            "count": count - SINGLE_EVENTS,
            "lastTimestamp": Time(self.clock.now()),
            "message": shorten(&text.message),
        });
        match self.api(regarding).patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => Some(name),
            Err(error) => {
                report(regarding, text, &error);
                None
            }
        }
    }
}

/// An event that cannot be written is not worth a retry, but worth a line, since it is all that is left of it.
fn report(regarding: &Regarding, text: &EventText, error: &kube::Error) {
    let refused_by_namespace = matches!(error, kube::Error::Api(status)
        if matches!(status.code, 403 | 404) && (status.message.contains("being terminated") || status.message.contains("not found")));
    let (name, namespace) = (&regarding.identity.name, &regarding.identity.namespace);
    if refused_by_namespace {
        tracing::debug!(%namespace, %name, reason = %text.reason, "an event was not written: its namespace is going");
    } else {
        tracing::warn!(%namespace, %name, reason = %text.reason, message = %text.message, error = %message(error), "an event was not written");
    }
}

/// Cuts a message to what the API server takes, at a character's boundary.
fn shorten(message: &str) -> String {
    if message.len() <= LONGEST_MESSAGE {
        return message.to_owned();
    }
    let end = message.floor_char_boundary(LONGEST_MESSAGE - 3);
    format!("{}...", &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_hundred_similar_events_cost_sixteen_writes() {
        let mut similar = Similar::new();
        let plans: Vec<Plan> = (0..500).map(|_| similar.next()).collect();
        assert_eq!(plans.iter().filter(|plan| **plan == Plan::Single).count(), 10);
        let combined: Vec<u64> = plans
            .iter()
            .filter_map(|plan| if let Plan::Combined(count) = plan { Some(*count) } else { None })
            .collect();
        assert_eq!(combined, [11, 20, 50, 100, 200, 500]);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let short = shorten(&"ü".repeat(2000));
        assert!(short.len() <= LONGEST_MESSAGE && short.ends_with("ü..."), "{}", short.len());
        assert_eq!(shorten("as it is"), "as it is");
    }
}
