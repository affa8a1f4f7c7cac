//! Whether a Job is allowed to start pods, and what the annotation of a Job says that it waits for.
//!
//! The rules that decide this are those of [`crate::limit`]. Views and decisions need only these values.

use serde::{Deserialize, Serialize};

/// The annotation of a Job that waits, in JSON: for which limit and why, and its position when that was written.
pub const WAITING_ANNOTATION: &str = "jobwright.dev/waiting";
/// The annotation with the priority of a Job: a whole number, 0 without it. The highest is admitted first.
pub const PRIORITY_ANNOTATION: &str = "jobwright.dev/priority";
/// The label by which a JobSet marks its Jobs.
pub const JOBSET_LABEL: &str = "jobset.sigs.k8s.io/jobset-name";

/// Maximum length of the name of a Kubernetes object.
const MAX_NAME: usize = 253;

/// Why a Job waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The limit has no room, or another Job is ahead.
    #[default]
    Queue,
    /// The same, and the Jobs of its owner need more room than the limit has.
    Group,
    /// The Job needs more pods than the limit allows.
    TooLarge,
    /// The parallelism of the Job is 0.
    NoPods,
}

/// What a Job waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WaitingStatus {
    /// The name of the JobLimit.
    pub limit: String,
    /// The position among the Jobs that wait for it, from 1; 0 for a Job outside of the queue.
    pub position: usize,
    /// Why the Job waits.
    pub reason: Reason,
    /// The same in a sentence.
    pub message: String,
}

/// Whether a Job may start pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// No limit concerns it.
    Unlimited,
    /// Its limits have room for it.
    Admitted,
    /// It waits.
    Pending(WaitingStatus),
}

impl Admission {
    /// Whether the Job waits.
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Pending(_))
    }
}

/// What the annotation of a Job says that it waits for, as far as decisions need it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PublishedWaiting {
    /// The name of the JobLimit.
    pub limit: String,
    /// The position when the annotation was written.
    pub position: usize,
    /// Why the Job waits.
    pub reason: Reason,
}

impl PublishedWaiting {
    /// Parses the annotation. One that cannot be read, or names no possible limit, says nothing.
    pub fn parse(text: &str) -> Self {
        let published: Self = serde_json::from_str(text).unwrap_or_default();
        if published.limit.len() > MAX_NAME { Self::default() } else { published }
    }
}

impl WaitingStatus {
    /// Whether the annotation has to be written, given what it says now. A position is written when the Job starts to wait, when
    /// it becomes the first, and when another Job displaces it from there: each Job that ends then costs a bounded number of
    /// writes, however many wait.
    pub fn should_publish(&self, published: Option<&PublishedWaiting>) -> bool {
        published.is_none_or(|published| {
            published.limit != self.limit
                || published.reason != self.reason
                || (published.position == 1) != (self.position == 1)
        })
    }

    /// Whether the reason differs from what the annotation says, which is worth an event; a changed position is not.
    pub fn is_new_reason(&self, published: Option<&PublishedWaiting>) -> bool {
        published.is_none_or(|published| published.limit != self.limit || published.reason != self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(limit: &str, position: usize, reason: Reason) -> WaitingStatus {
        WaitingStatus { limit: limit.to_owned(), position, reason, message: String::new() }
    }

    #[test]
    fn annotation_is_written_for_a_new_reason_and_for_the_first_position_only() {
        let published = |position| Some(PublishedWaiting { limit: "a".to_owned(), position, reason: Reason::Queue });
        // What is true now, what the annotation says, whether that is news, and whether it is worth an event.
        let cases = [
            (waiting("a", 8, Reason::Queue), None, true, true),
            (waiting("a", 7, Reason::Queue), published(8), false, false),
            (waiting("a", 9, Reason::Queue), published(8), false, false),
            (waiting("a", 1, Reason::Queue), published(8), true, false),
            (waiting("a", 1, Reason::Queue), published(1), false, false),
            (waiting("a", 2, Reason::Queue), published(1), true, false),
            (waiting("b", 8, Reason::Queue), published(8), true, true),
            (waiting("a", 8, Reason::Group), published(8), true, true),
            (waiting("a", 0, Reason::TooLarge), published(8), true, true),
        ];
        for (now, published, publish, event) in cases {
            assert_eq!(
                (now.should_publish(published.as_ref()), now.is_new_reason(published.as_ref())),
                (publish, event),
                "{now:?}"
            );
        }
    }

    #[test]
    fn annotation_is_read_back_and_a_hostile_one_says_nothing() {
        let text = serde_json::to_string(&waiting("a", 3, Reason::TooLarge)).unwrap();
        assert_eq!(
            PublishedWaiting::parse(&text),
            PublishedWaiting { limit: "a".to_owned(), position: 3, reason: Reason::TooLarge }
        );
        // Written by an earlier version.
        let published = PublishedWaiting::parse(r#"{"limit":"a","position":2,"message":"m"}"#);
        assert_eq!(published, PublishedWaiting { limit: "a".to_owned(), position: 2, reason: Reason::Queue });
        let long = serde_json::json!({"limit": "x".repeat(100_000)}).to_string();
        for text in ["", "no JSON", r#"{"position":-1}"#, &long] {
            assert_eq!(PublishedWaiting::parse(text), PublishedWaiting::default());
        }
    }
}
