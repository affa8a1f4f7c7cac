//! Kubernetes Events: what happened to an object, for people.
//!
//! Publishing never waits: events go to one task that writes them. [`super::correlate`] decides which Event object
//! records an event. An event that the API server refuses is logged and not retried, and causes no further event.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::clock::Clock;
use super::correlate::{Correlator, Observed};
use super::errors::message;
use super::identity::Identity;
use super::text::beginning;

/// The component that events name as their source.
pub const COMPONENT: &str = "jobwright";
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
    correlator: Correlator,
    sequence: u64,
}

/// A recorder and the writer that must be run for it.
pub fn recorder(client: Client, clock: Clock) -> (Recorder, Writer) {
    let (sender, inbox) = mpsc::channel(WAITING);
    let recorder = Recorder { sender, dropped: Arc::default() };
    (recorder, Writer { client, clock, inbox, correlator: Correlator::default(), sequence: 0 })
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

impl Writer {
    /// Writes events until all recorders are gone and all events are written.
    pub async fn run(mut self) {
        while let Some((regarding, mut text)) = self.inbox.recv().await {
            text.message = printable(&text.message);
            let observed = self.correlator.observe(&regarding.identity.uid, &text, Instant::now());
            let Some(observed) = observed else {
                let Regarding { identity, .. } = &regarding;
                tracing::debug!(namespace = %identity.namespace, name = %identity.name, reason = %text.reason, "an event was not written: too many of its kind");
                continue;
            };
            let text = EventText { message: shorten(&observed.message), ..text };
            let is_updated = match &observed.name {
                Some(name) => self.update(&regarding, name, &text, observed.count).await,
                None => false,
            };
            if !is_updated {
                self.create(&regarding, &text, &observed).await;
            }
        }
    }

    fn api(&self, regarding: &Regarding) -> Api<Event> {
        Api::namespaced(self.client.clone(), &regarding.identity.namespace)
    }

    async fn create(&mut self, regarding: &Regarding, text: &EventText, observed: &Observed) {
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
            message: Some(text.message.clone()),
            source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
            reporting_component: Some(COMPONENT.to_owned()),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(i32::try_from(observed.count).unwrap_or(i32::MAX)),
            ..Event::default()
        };
        match self.api(regarding).create(&PostParams::default(), &event).await {
            Ok(_) => self.correlator.created(&observed.series, name),
            Err(error) => report(regarding, text, &error),
        }
    }

    /// Updates the Event object of this name; returns false if the object no longer exists.
    async fn update(&self, regarding: &Regarding, name: &str, text: &EventText, count: u64) -> bool {
        let patch = json!({
            "count": i32::try_from(count).unwrap_or(i32::MAX),
            "lastTimestamp": Time(self.clock.now()),
            "message": text.message,
        });
        match self.api(regarding).patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => true,
            Err(kube::Error::Api(status)) if status.code == 404 => false,
            Err(error) => {
                report(regarding, text, &error);
                true
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
    format!("{}...", beginning(message, LONGEST_MESSAGE - 3))
}

/// Returns a text with its control characters, and those that change the direction of writing, escaped: webhooks and
/// users choose what they contain.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        let is_bidirectional =
            matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || is_bidirectional {
            // Writing to a String cannot fail.
            let _ = write!(printable, "{}", character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let short = shorten(&"ü".repeat(2000));
        assert!(short.len() <= LONGEST_MESSAGE && short.ends_with("ü..."), "{}", short.len());
        assert_eq!(shorten("as it is"), "as it is");
    }

    #[test]
    fn control_characters_of_a_policy_are_escaped() {
        assert_eq!(printable("denied:\n\tno \u{1b}[31mü\u{202e}x"), r"denied:\n\tno \u{1b}[31mü\u{202e}x");
    }
}
