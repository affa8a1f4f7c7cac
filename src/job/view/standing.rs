//! Where a Job stands among others that limits are for too.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::job::limit::{KUEUE_LABEL, PRIORITY_ANNOTATION, WAITING_ANNOTATION, Waiting};

/// Labels that the API server makes; no limit selects by them, and each Job has others.
const GENERATED: &[&str] =
    &["controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"];

/// Where a Job stands among others.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Its labels, but for those that are made of its name and UID.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// When it was created.
    pub created: Timestamp,
    /// The higher the sooner.
    pub priority: i32,
    /// What people were told that it waits for.
    pub waiting: Option<Box<Waiting>>,
    /// Kueue says when it starts.
    pub in_queue: bool,
}

impl Standing {
    /// Reads it from a Job's metadata. What cannot be read is as if it were not there.
    pub fn parse(metadata: &ObjectMeta) -> Self {
        let annotation = |key: &str| metadata.annotations.as_ref().and_then(|annotations| annotations.get(key));
        let labels = metadata.labels.iter().flat_map(BTreeMap::iter);
        let own = labels.filter(|(key, _)| !GENERATED.contains(&key.as_str()));
        Self {
            labels: own.map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect(),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default(),
            priority: annotation(PRIORITY_ANNOTATION).and_then(|text| text.parse().ok()).unwrap_or_default(),
            waiting: annotation(WAITING_ANNOTATION)
                .map(|text| Box::new(serde_json::from_str(text).unwrap_or_default())),
            in_queue: metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(KUEUE_LABEL)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_generated_or_cannot_be_read_is_left_out() {
        let metadata: ObjectMeta = serde_json::from_value(serde_json::json!({
            "labels": {"team": "a", "controller-uid": "u", "batch.kubernetes.io/job-name": "j"},
            "annotations": {PRIORITY_ANNOTATION: "high", WAITING_ANNOTATION: "no JSON"},
        }))
        .unwrap();
        let standing = Standing::parse(&metadata);
        assert_eq!(*standing.labels, [("team".into(), "a".into())]);
        assert_eq!((standing.priority, standing.waiting.as_deref()), (0, Some(&Waiting::default())));
        assert!(Waiting { position: 1, ..Waiting::default() }.is_news(standing.waiting.as_deref()));
    }
}
