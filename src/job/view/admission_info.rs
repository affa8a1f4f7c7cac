//! A Job's admission data: the part of a Job's metadata that limits read.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::controlling_owner;
use super::labels::GENERATED;
use super::{Labels, kueue};
use crate::job::admission::{JOBSET_LABEL, PRIORITY_ANNOTATION, PublishedWaiting, WAITING_ANNOTATION};

/// Kinds of owners whose Jobs run independently of each other.
const SCHEDULES: &[&str] = &["CronJob", "JobSchedule"];

/// Maximum number of characters kept of the kind and of the name of an owner.
const MAX_OWNER: usize = 100;

/// A Job's admission data: labels, creation time, priority, published waiting status, group, and whether Kueue manages
/// the Job.
#[derive(Clone, Debug, Default)]
pub struct AdmissionInfo {
    /// Labels of the Job, without the generated ones. Their values differ for each Job, so no limit selects Jobs by
    /// them.
    pub labels: Labels,
    /// Creation time of the Job.
    pub created: Timestamp,
    /// Priority of the Job. The Job with the highest priority is admitted first.
    pub priority: i32,
    /// Waiting status from the Job's annotation, if the Job has that annotation.
    pub published_waiting: Option<Box<PublishedWaiting>>,
    /// Whether Kueue manages the Job, or has admitted the Job's owner.
    pub managed_by_kueue: bool,
    /// Kind and name of the owner whose Jobs may depend on each other.
    pub group: Option<Arc<str>>,
}

impl AdmissionInfo {
    /// Parses a Job's metadata. Values that are not valid are replaced by defaults.
    pub fn parse(metadata: &ObjectMeta) -> Self {
        let annotation = |key: &str| metadata.annotations.as_ref().and_then(|annotations| annotations.get(key));
        let mut own = metadata.labels.clone().unwrap_or_default();
        own.retain(|key, _| !GENERATED.contains(&key.as_str()));
        Self {
            labels: Labels::shared(Some(&own)),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default(),
            priority: annotation(PRIORITY_ANNOTATION).and_then(|text| text.parse().ok()).unwrap_or_default(),
            published_waiting: annotation(WAITING_ANNOTATION).map(|text| Box::new(PublishedWaiting::parse(text))),
            managed_by_kueue: kueue::manages_job(metadata.labels.as_ref(), metadata.annotations.as_ref()),
            group: group(metadata),
        }
    }
}

/// Returns the owner whose Jobs may depend on each other: a JobSet by its label, or any controlling owner except a
/// schedule.
fn group(metadata: &ObjectMeta) -> Option<Arc<str>> {
    if let Some(name) = metadata.labels.as_ref().and_then(|labels| labels.get(JOBSET_LABEL)) {
        return Some(format!("JobSet {name}").into());
    }
    let owner = controlling_owner(metadata)?;
    let schedule = SCHEDULES.contains(&owner.kind.as_str());
    // The API server does not limit the length of either text.
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
    fn generated_labels_and_invalid_annotations_are_left_out() {
        let admission_info = admission_info(json!({
            "labels": {"team": "a", "controller-uid": "u", "batch.kubernetes.io/job-name": "j"},
            "annotations": {PRIORITY_ANNOTATION: "high", WAITING_ANNOTATION: "no JSON"},
        }));
        assert_eq!(admission_info.labels, [("team", "a")].into_iter().collect());
        assert_eq!(
            (admission_info.priority, admission_info.published_waiting.as_deref()),
            (0, Some(&PublishedWaiting::default()))
        );
        assert_eq!((admission_info.managed_by_kueue, admission_info.group), (false, None));
    }

    #[test]
    fn jobs_of_one_owner_form_a_group_unless_a_schedule_owns_them() {
        let owned = |kind: &str| json!({"ownerReferences": [{"apiVersion": "v1", "kind": kind, "name": "o", "uid": "u", "controller": true}]});
        assert_eq!(admission_info(owned("Workflow")).group.as_deref(), Some("Workflow o"));
        assert_eq!(admission_info(owned("CronJob")).group, None);
        assert_eq!(admission_info(owned("JobSchedule")).group, None);
        let labelled = json!({"labels": {JOBSET_LABEL: "train"}});
        assert_eq!(admission_info(labelled).group.as_deref(), Some("JobSet train"));
    }
}
