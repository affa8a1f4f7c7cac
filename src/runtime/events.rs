//! Kubernetes Events: records for users of what happened to an object.
//!
//! [`Recorder::publish`] never waits: it sends events to one task, which writes them. The Event object that records an
//! event is chosen by [`super::correlate`]. An event that the API server refuses is logged, is not retried, and causes
//! no further event.

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

/// Component that events contain as their source.
pub const COMPONENT: &str = "jobwright";
/// Maximum number of bytes of a message that the API server accepts.
const LONGEST_MESSAGE: usize = 1024;
/// Maximum number of bytes of a message in the queue of events.
const LONGEST_KEPT: usize = 2 * LONGEST_MESSAGE;
/// Maximum number of bytes of a reason.
const LONGEST_REASON: usize = 128;
/// Maximum number of events in the queue. Further events are dropped.
const WAITING: usize = 4096;

/// Type of an event, as in the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    /// Information: the object behaves as expected.
    Normal,
    /// Problem that a user should examine.
    Warning,
}

/// Content of an event, without the object that it regards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventText {
    /// Type of the event, Normal or Warning.
    pub type_: EventType,
    /// Reason: one word in CamelCase, for programs.
    pub reason: Cow<'static, str>,
    /// Message: a sentence, for users.
    pub message: String,
}

impl EventText {
    /// Creates the content of a Normal event.
    pub fn normal(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { type_: EventType::Normal, reason: reason.into(), message: message.into() }
    }

    /// Creates the content of a Warning event.
    pub fn warning(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { type_: EventType::Warning, reason: reason.into(), message: message.into() }
    }
}

/// Object that an event regards.
#[derive(Clone, Debug)]
pub struct Regarding {
    /// `apiVersion` of the object, such as `batch/v1`.
    pub api_version: &'static str,
    /// `kind` of the object, such as `Job`.
    pub kind: &'static str,
    /// Identity of the object.
    pub identity: Identity,
}

/// Handle that accepts events, which a [`Writer`] writes in the background.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<(Regarding, EventText)>,
    dropped: Arc<AtomicU64>,
}

/// Task that writes the events that its [`Recorder`]s accepted.
pub struct Writer {
    client: Client,
    clock: Clock,
    inbox: mpsc::Receiver<(Regarding, EventText)>,
    correlator: Correlator,
    sequence: u64,
}

/// Creates a recorder, and the writer that must run for it.
pub fn recorder(client: Client, clock: Clock) -> (Recorder, Writer) {
    let (sender, inbox) = mpsc::channel(WAITING);
    let recorder = Recorder { sender, dropped: Arc::default() };
    (recorder, Writer { client, clock, inbox, correlator: Correlator::default(), sequence: 0 })
}

impl Recorder {
    /// Accepts an event without waiting. If the queue is full, the event is dropped; the first drop is logged.
    pub fn publish(&self, regarding: Regarding, mut text: EventText) {
        // Queued events use memory, and parts of their texts come from users and webhooks, so the length is limited
        // here.
        if text.message.len() > LONGEST_KEPT {
            text.message = beginning(&text.message, LONGEST_KEPT).to_owned();
        }
        if text.reason.len() > LONGEST_REASON {
            text.reason = beginning(&text.reason, LONGEST_REASON).to_owned().into();
        }
        if self.sender.try_send((regarding, text)).is_err() && self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("queue of events is full; dropping events");
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
                tracing::debug!(
                    namespace = %identity.namespace,
                    name = %identity.name,
                    reason = %text.reason,
                    "dropped an event: the budget of its object and reason is used up"
                );
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

/// Logs an event that cannot be written. The event is not retried, so the log line is its only trace.
fn report(regarding: &Regarding, text: &EventText, error: &kube::Error) {
    let refused_by_namespace = matches!(error, kube::Error::Api(status)
        if matches!(status.code, 403 | 404) && (status.message.contains("being terminated") || status.message.contains("not found")));
    let (name, namespace) = (&regarding.identity.name, &regarding.identity.namespace);
    if refused_by_namespace {
        tracing::debug!(
            %namespace,
            %name,
            reason = %text.reason,
            "cannot write an event: its namespace is being deleted"
        );
    } else {
        tracing::warn!(
            %namespace,
            %name,
            reason = %text.reason,
            event_message = %text.message,
            error = %message(error),
            "cannot write an event"
        );
    }
}

/// Returns a message cut to the length that the API server accepts, between two characters.
fn shorten(message: &str) -> String {
    if message.len() <= LONGEST_MESSAGE {
        return message.to_owned();
    }
    format!("{}...", beginning(message, LONGEST_MESSAGE - 3))
}

/// Returns a text in which control characters and characters that change the writing direction are escaped, because
/// webhooks and users choose parts of the text.
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
    fn long_message_is_cut_between_characters() {
        let short = shorten(&"ü".repeat(2000));
        assert!(short.len() <= LONGEST_MESSAGE && short.ends_with("ü..."), "{}", short.len());
        assert_eq!(shorten("as it is"), "as it is");
    }

    #[test]
    fn control_characters_of_a_policy_are_escaped() {
        assert_eq!(printable("denied:\n\tno \u{1b}[31mü\u{202e}x"), r"denied:\n\tno \u{1b}[31mü\u{202e}x");
    }
}
