//! Whether a Job is allowed to start pods, and the annotation that names what the Job waits for.
//!
//! The rules that decide this are those of [`crate::limit`]. Views and decisions need only these values.

use serde::{Deserialize, Serialize};

/// Annotation of a waiting Job, in JSON: the limit, the reason, and the queue position at the time of the write.
pub const WAITING_ANNOTATION: &str = "jobwright.dev/waiting";
/// Annotation with the priority of a Job: a whole number, 0 by default. The Job with the highest priority is admitted
/// first.
pub const PRIORITY_ANNOTATION: &str = "jobwright.dev/priority";
/// Label of a Job that holds the name of its JobSet.
pub const JOBSET_LABEL: &str = "jobset.sigs.k8s.io/jobset-name";

/// Maximum length of the name of a Kubernetes object.
const MAX_NAME: usize = 253;

/// Reason why a Job waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The limit has no capacity for the Job, or another Job is ahead in the queue.
    #[default]
    Queue,
    /// As for [`Self::Queue`]; in addition, the Jobs of the same group together need more than the limit allows.
    Group,
    /// The Job needs more pods than the limit allows.
    TooLarge,
    /// The parallelism of the Job is 0.
    NoPods,
    /// The Job starts after other Jobs, which have not ended as it needs. It waits for no limit.
    After,
}

/// Limit and reason for which a Job waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WaitingStatus {
    /// Name of the JobLimit.
    pub limit: String,
    /// Position among the Jobs that wait for the JobLimit, from 1. It is 0 for a Job that is not in the queue.
    pub position: usize,
    /// Reason why the Job waits.
    pub reason: Reason,
    /// Message for users that describes the reason.
    pub message: String,
}

/// Whether a Job is allowed to start pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// No limit applies to the Job.
    Unlimited,
    /// The limits have capacity for the Job.
    Admitted,
    /// The Job waits.
    Pending(WaitingStatus),
}

impl Admission {
    /// Returns whether the Job waits.
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Pending(_))
    }
}

/// Content of the annotation of a waiting Job, reduced to the data that decisions need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PublishedWaiting {
    /// Name of the JobLimit.
    pub limit: String,
    /// Queue position at the time of the write.
    pub position: usize,
    /// Reason why the Job waits.
    pub reason: Reason,
    /// Message, kept only for a Job that waits for other Jobs: the queue of a limit moves too often.
    pub message: String,
}

impl PublishedWaiting {
    /// Parses the annotation. A malformed annotation, or a limit name that is too long, gives the default value.
    pub fn parse(text: &str) -> Self {
        let mut published: Self = serde_json::from_str(text).unwrap_or_default();
        if published.reason != Reason::After {
            published.message = String::new();
        }
        if published.limit.len() > MAX_NAME { Self::default() } else { published }
    }
}

impl WaitingStatus {
    /// Returns whether the annotation has to be written, given its current content. A position is written when the Job
    /// starts to wait, when it becomes the first, and when another Job displaces it from the first position. The number
    /// of writes for each Job that ends is therefore bounded, independent of the number of waiting Jobs.
    pub fn should_publish(&self, published: Option<&PublishedWaiting>) -> bool {
        published.is_none_or(|published| {
            published.limit != self.limit
                || published.reason != self.reason
                || (published.position == 1) != (self.position == 1)
                || self.has_other_message(published)
        })
    }

    /// Returns whether the limit or the reason differs from the annotation, so that an event is recorded. A changed
    /// position alone records no event.
    pub fn is_new_reason(&self, published: Option<&PublishedWaiting>) -> bool {
        published.is_none_or(|published| {
            published.limit != self.limit || published.reason != self.reason || self.has_other_message(published)
        })
    }

    fn has_other_message(&self, published: &PublishedWaiting) -> bool {
        self.reason == Reason::After && published.message != self.message
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
        let published = |position| {
            Some(PublishedWaiting { limit: "a".to_owned(), position, reason: Reason::Queue, message: String::new() })
        };
        // Current status, content of the annotation, whether the annotation is written, and whether an event is
        // recorded.
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
    fn annotation_is_parsed_and_a_malformed_one_gives_the_default() {
        let text = serde_json::to_string(&waiting("a", 3, Reason::TooLarge)).unwrap();
        assert_eq!(
            PublishedWaiting::parse(&text),
            PublishedWaiting { limit: "a".to_owned(), position: 3, reason: Reason::TooLarge, message: String::new() }
        );
        // Written by an earlier version.
        let published = PublishedWaiting::parse(r#"{"limit":"a","position":2,"message":"m"}"#);
        let queued = PublishedWaiting { limit: "a".to_owned(), position: 2, ..PublishedWaiting::default() };
        assert_eq!(published, queued);
        let long = serde_json::json!({"limit": "x".repeat(100_000)}).to_string();
        for text in ["", "no JSON", r#"{"position":-1}"#, &long] {
            assert_eq!(PublishedWaiting::parse(text), PublishedWaiting::default());
        }
    }
}
