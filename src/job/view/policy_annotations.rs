//! Annotations of a Job about the JobPolicy that governs it. The controller writes them, mostly with the status, so that
//! its rules follow from stored state alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::memory::{MEMORY_ANNOTATION, MemorySizes};
use crate::runtime::text::beginning;

/// Annotation with the name of the JobPolicy that governs the Job.
pub const GOVERNED_BY: &str = "jobwright.dev/governed-by";
/// Annotation with the last time at which a pod ended or became ready.
pub const PROGRESSED_AT: &str = "jobwright.dev/progressed-at";
/// Annotation with the time at which the first pod started.
pub const RUNNING_SINCE: &str = "jobwright.dev/running-since";
/// Annotation with the time since which the Job has made no progress, once its JobPolicy reports that.
pub const STALLED_SINCE: &str = "jobwright.dev/stalled-since";
/// Annotation with `activeDeadlineSeconds` of new pods, once a pod has exceeded that of the template.
pub const POD_DEADLINE: &str = "jobwright.dev/pod-deadline-seconds";

/// Maximum number of bytes of the names of a namespace and a JobPolicy.
const MAX_NAME: usize = 253 + 1 + 253;

/// Annotations of a Job about the JobPolicy that governs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyAnnotations {
    /// Name of the JobPolicy that governs the Job.
    pub governed_by: Option<Arc<str>>,
    /// Last time at which a pod ended or became ready, if the policy needs it.
    pub progressed_at: Option<Timestamp>,
    /// Time at which the first pod started, if the policy needs it.
    pub running_since: Option<Timestamp>,
    /// Time since which the Job has made no progress, once that is reported.
    pub stalled_since: Option<Timestamp>,
    /// Memory of the containers that exceeded their memory.
    pub memory: Option<MemorySizes>,
    /// `activeDeadlineSeconds` of new pods, once a pod has exceeded that of the template.
    pub pod_deadline: Option<u32>,
}

impl PolicyAnnotations {
    /// Parses the annotations of a Job. A time that is not valid is none.
    pub fn parse(annotations: Option<&BTreeMap<String, String>>) -> Self {
        let get = |key: &str| annotations.and_then(|annotations| annotations.get(key));
        let time = |key: &str| get(key).and_then(|text| text.parse().ok());
        Self {
            governed_by: get(GOVERNED_BY).map(|name| beginning(name, MAX_NAME).into()),
            progressed_at: time(PROGRESSED_AT),
            running_since: time(RUNNING_SINCE),
            stalled_since: time(STALLED_SINCE),
            memory: get(MEMORY_ANNOTATION).map(|text| MemorySizes::parse(text)),
            pod_deadline: get(POD_DEADLINE).and_then(|text| text.parse().ok()).filter(|seconds| *seconds > 0),
        }
    }

    /// Returns the annotations whose values differ from `stored`, with their new values; none for an annotation to remove.
    pub fn changes(&self, stored: &Self) -> Vec<(&'static str, Option<String>)> {
        let name = |of: &Self| of.governed_by.as_deref().map(str::to_owned);
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let memory = |of: &Self| of.memory.as_ref().map(MemorySizes::text);
        let deadline = |of: &Self| of.pod_deadline.map(|seconds| seconds.to_string());
        let values = [
            (GOVERNED_BY, name(self), name(stored)),
            (PROGRESSED_AT, time(self.progressed_at), time(stored.progressed_at)),
            (RUNNING_SINCE, time(self.running_since), time(stored.running_since)),
            (STALLED_SINCE, time(self.stalled_since), time(stored.stalled_since)),
            (MEMORY_ANNOTATION, memory(self), memory(stored)),
            (POD_DEADLINE, deadline(self), deadline(stored)),
        ];
        values.into_iter().filter(|(_, new, old)| new != old).map(|(key, new, _)| (key, new)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entries: &[(&str, &str)]) -> PolicyAnnotations {
        let annotations = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        PolicyAnnotations::parse(Some(&annotations))
    }

    #[test]
    fn annotations_are_parsed_as_they_are_written() {
        let time = "2026-01-02T03:04:05Z";
        let stored =
            parse(&[(GOVERNED_BY, "strict"), (PROGRESSED_AT, time), (RUNNING_SINCE, "soon"), (POD_DEADLINE, "60")]);
        assert_eq!((stored.governed_by.as_deref(), stored.running_since), (Some("strict"), None));
        assert_eq!(stored.pod_deadline, Some(60));
        assert!(
            ["0", "-5", "1m", "4294967296"].iter().all(|text| parse(&[(POD_DEADLINE, text)]).pod_deadline.is_none())
        );
        let new = PolicyAnnotations { running_since: stored.progressed_at, progressed_at: None, ..stored.clone() };
        let changes = new.changes(&stored);
        assert_eq!(changes, [(PROGRESSED_AT, None), (RUNNING_SINCE, Some(time.to_owned()))]);
        assert!(stored.changes(&stored).is_empty());
        assert_eq!(PolicyAnnotations::parse(None), PolicyAnnotations::default());
    }

    #[test]
    fn long_name_is_cut() {
        let stored = parse(&[(GOVERNED_BY, &"x".repeat(100_000))]);
        assert_eq!(stored.governed_by.unwrap().len(), MAX_NAME);
    }
}
