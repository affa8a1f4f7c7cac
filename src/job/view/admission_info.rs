//! What limits read from a Job's metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::kueue;
use crate::job::admission::{JOBSET_LABEL, PRIORITY_ANNOTATION, PublishedWaiting, WAITING_ANNOTATION};

/// Labels that the API server generates; no limit selects by them, and each Job has others.
const GENERATED: &[&str] =
    &["controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"];
/// Owners whose Jobs run independently of each other.
const SCHEDULES: &[&str] = &["CronJob", "JobSchedule"];

/// Maximum length of the kind and the name of an owner.
const MAX_OWNER: usize = 100;

/// The labels of a Job, but for the generated ones.
pub type JobLabels = Arc<[(Box<str>, Box<str>)]>;

/// What limits read from a Job's metadata.
#[derive(Clone, Debug, Default)]
pub struct AdmissionInfo {
    /// Its labels, but for those that are generated from its name and UID.
    pub labels: JobLabels,
    /// When it was created.
    pub created: Timestamp,
    /// Its priority; the highest is admitted first.
    pub priority: i32,
    /// What its annotation says that it waits for.
    pub published_waiting: Option<Box<PublishedWaiting>>,
    /// Kueue manages the Job, or has admitted its owner.
    pub managed_by_kueue: bool,
    /// The owner whose Jobs may need each other, by kind and name.
    pub group: Option<Arc<str>>,
}

impl AdmissionInfo {
    /// Reads a Job's metadata. What cannot be read is left out.
    pub fn parse(metadata: &ObjectMeta) -> Self {
        let annotation = |key: &str| metadata.annotations.as_ref().and_then(|annotations| annotations.get(key));
        let labels = metadata.labels.iter().flat_map(BTreeMap::iter);
        let own = labels.filter(|(key, _)| !GENERATED.contains(&key.as_str()));
        Self {
            labels: own.map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect(),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default(),
            priority: annotation(PRIORITY_ANNOTATION).and_then(|text| text.parse().ok()).unwrap_or_default(),
            published_waiting: annotation(WAITING_ANNOTATION).map(|text| Box::new(PublishedWaiting::parse(text))),
            managed_by_kueue: kueue::manages_job(metadata.labels.as_ref(), metadata.annotations.as_ref()),
            group: group(metadata),
        }
    }
}

/// The owner whose Jobs may need each other: a JobSet by its label, or any controlling owner but a schedule.
fn group(metadata: &ObjectMeta) -> Option<Arc<str>> {
    if let Some(name) = metadata.labels.as_ref().and_then(|labels| labels.get(JOBSET_LABEL)) {
        return Some(format!("JobSet {name}").into());
    }
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    let schedule = SCHEDULES.contains(&owner.kind.as_str());
    // The API server bounds neither.
    let bounded = |text: &str| text.chars().take(MAX_OWNER).collect::<String>();
    (!schedule).then(|| format!("{} {}", bounded(&owner.kind), bounded(&owner.name)).into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn admission_info(metadata: Value) -> AdmissionInfo {
        AdmissionInfo::parse(&serde_json::from_value(metadata).unwrap())
    }

    #[test]
    fn generated_labels_and_unreadable_annotations_are_left_out() {
        let admission_info = admission_info(json!({
            "labels": {"team": "a", "controller-uid": "u", "batch.kubernetes.io/job-name": "j"},
            "annotations": {PRIORITY_ANNOTATION: "high", WAITING_ANNOTATION: "no JSON"},
        }));
        assert_eq!(*admission_info.labels, [("team".into(), "a".into())]);
        assert_eq!(
            (admission_info.priority, admission_info.published_waiting.as_deref()),
            (0, Some(&PublishedWaiting::default()))
        );
        assert_eq!((admission_info.managed_by_kueue, admission_info.group), (false, None));
    }

    #[test]
    fn jobs_of_one_owner_are_a_group_unless_a_schedule_owns_them() {
        let owned = |kind: &str| json!({"ownerReferences": [{"apiVersion": "v1", "kind": kind, "name": "o", "uid": "u", "controller": true}]});
        assert_eq!(admission_info(owned("Workflow")).group.as_deref(), Some("Workflow o"));
        assert_eq!(admission_info(owned("CronJob")).group, None);
        assert_eq!(admission_info(owned("JobSchedule")).group, None);
        let labelled = json!({"labels": {JOBSET_LABEL: "train"}});
        assert_eq!(admission_info(labelled).group.as_deref(), Some("JobSet train"));
    }
}
