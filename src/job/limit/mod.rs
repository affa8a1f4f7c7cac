//! JobLimit: how many Jobs of a namespace, or pods of them, may be active at once; the others wait their turn
//! (kubernetes/kubernetes issue 75821).
//!
//! [`types`] is the resource, [`admission`] says whose turn it is (pure), [`gate`] remembers it for the Job controller.

pub mod admission;
pub mod gate;
pub mod types;
pub mod view;

use serde::{Deserialize, Serialize};

/// The annotation of a Job that waits, in JSON: for which limit, and at which position at most.
pub const WAITING_ANNOTATION: &str = "jobwright.dev/waiting";
/// The annotation that says who goes first: a whole number, the higher the sooner; 0 without it.
pub const PRIORITY_ANNOTATION: &str = "jobwright.dev/priority";
/// The label by which Kueue takes charge of a Job; limits then leave it alone.
pub const KUEUE_LABEL: &str = "kueue.x-k8s.io/queue-name";

/// What a Job waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Waiting {
    /// The JobLimit.
    pub limit: String,
    /// Its place among those that wait for it; 1 is next.
    pub position: usize,
    /// Why it does not go on, in a sentence.
    pub message: String,
}

impl Waiting {
    /// Whether people should be told anew, of whom `told` is what they know. A position that moves on step by step is told
    /// when it is half of what it was: else each Job that ends would cost a write for each that waits.
    pub fn is_news(&self, told: Option<&Self>) -> bool {
        told.is_none_or(|told| {
            told.limit != self.limit
                || self.position > told.position
                || self.position * 2 <= told.position
                || self.position == 1 && told.position != 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(limit: &str, position: usize) -> Waiting {
        Waiting { limit: limit.to_owned(), position, message: String::new() }
    }

    #[test]
    fn a_queue_that_moves_on_is_told_of_a_few_times() {
        assert!(waiting("a", 8).is_news(None) && waiting("b", 8).is_news(Some(&waiting("a", 8))));
        let mut told = waiting("a", 1000);
        let mut writes = 0;
        for position in (1..1000).rev() {
            let now = waiting("a", position);
            if now.is_news(Some(&told)) {
                told = now;
                writes += 1;
            }
        }
        assert_eq!((writes, told.position), (9, 1));
        assert!(!waiting("a", 1).is_news(Some(&told)) && waiting("a", 2).is_news(Some(&told)), "somebody got ahead");
    }
}
