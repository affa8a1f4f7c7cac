//! Comparison of a created pod, as the API server returns it, with the pod that was requested. Admission may change an
//! object, and a pod that lacks what the Job's accounting depends on would be replaced endlessly.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::TRACKING_FINALIZER;
use super::decide::NewPod;
use super::view::{JobView, Labels, PodView};
use super::wire::WirePod;
use crate::runtime::errors::WriteError;
use crate::runtime::identity::Uid;

/// Message of the event about a created pod that lacked the finalizer and to which the controller could add it.
pub const REPAIRED: &str = "Created pods lack the finalizer batch.kubernetes.io/job-tracking because a mutating \
     admission policy or webhook removes it; the controller adds the finalizer with another write";
/// Error text for a patch that the API server accepted and that changed nothing.
pub const REVERTED: &str = "the API server accepted the write and stored the object without the change: a mutating admission \
     policy or webhook reverts the change";

/// The part that a created pod lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Altered {
    /// The owner reference that makes the Job the controlling owner.
    Owner,
    /// The labels that the Job's selector matches.
    Labels,
    /// The annotation with the completion index.
    Index,
    /// The tracking finalizer. The pod has all the other parts.
    Finalizer,
}

impl Altered {
    /// Returns the error text for a creation whose pod lacks this part.
    pub fn message(self) -> &'static str {
        match self {
            Self::Owner => {
                "the created pod lacks its owner reference because a mutating admission policy or webhook removes it; \
                 the controller deleted the pod"
            }
            Self::Labels => {
                "the created pod lacks the labels that the Job's selector matches because a mutating admission policy \
                 or webhook removes them; the controller deleted the pod"
            }
            Self::Index => {
                "the created pod lacks the annotation batch.kubernetes.io/job-completion-index because a mutating \
                 admission policy or webhook removes it; the controller deleted the pod"
            }
            Self::Finalizer => {
                "the created pod lacks the finalizer batch.kubernetes.io/job-tracking because a mutating admission \
                 policy or webhook removes it; the controller deleted the pod because it could not count its end"
            }
        }
    }
}

/// Returns the first part that a created pod lacks and that the Job's accounting depends on.
pub fn altered(job: &JobView, new: &NewPod, created: &WirePod) -> Option<Altered> {
    let metadata = &created.metadata;
    let labels = Labels::shared(metadata.labels.as_ref());
    if !is_owned(metadata, &job.identity.uid) {
        Some(Altered::Owner)
    } else if !job.selects(&labels) {
        Some(Altered::Labels)
    } else if new.index.is_some() && PodView::parse(created.clone()).is_some_and(|pod| pod.index != new.index) {
        Some(Altered::Index)
    } else if !is_tracked(metadata) {
        Some(Altered::Finalizer)
    } else {
        None
    }
}

/// Returns whether a pod has the tracking finalizer.
pub fn is_tracked(metadata: &ObjectMeta) -> bool {
    metadata.finalizers.iter().flatten().any(|finalizer| finalizer == TRACKING_FINALIZER)
}

/// Returns whether the owner with this UID controls a pod.
pub fn is_owned(metadata: &ObjectMeta, owner: &Uid) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.any(|reference| reference.controller == Some(true) && owner.is(&reference.uid))
}

/// Removes the random suffix of the name that the API server generated for a refused pod. The refusals of one Job then
/// have one text and are recorded in one event.
pub fn without_name(error: WriteError, job: &str) -> WriteError {
    let WriteError::Request(request) = error else { return error };
    let kube::Error::Api(mut status) = *request else { return WriteError::Request(request) };
    let prefix = format!("\"{job}-");
    if let Some(at) = status.message.find(&prefix) {
        let (start, rest) = status.message.split_at(at + prefix.len());
        if let Some(end) = rest.find('"') {
            let kept = rest[..end].rfind('-').map_or("", |dash| &rest[..=dash]);
            status.message = format!("{start}{kept}{}", &rest[end..]);
        }
    }
    kube::Error::Api(status).into()
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::{Value, json};

    use super::super::decide::fixtures::Job;
    use super::*;

    fn created(change: impl Fn(&mut Value)) -> WirePod {
        let mut pod = json!({
            "metadata": {
                "name": "job-abcde", "namespace": "default", "uid": "p", "resourceVersion": "7",
                "labels": {"app": "own"}, "finalizers": [TRACKING_FINALIZER],
                "annotations": {"batch.kubernetes.io/job-completion-index": "3"},
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": "job-uid", "controller": true}],
            },
            "spec": {"containers": []},
        });
        change(&mut pod);
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn created_pod_that_lacks_a_part_is_reported_with_that_part() {
        let (job, indexed) = (Job::new().view, Job::new().indexed(5).view);
        let (new, of_index) = (NewPod::default(), NewPod { index: Some(3), failures: None });
        let check = |field: &'static str, value: Value| {
            altered(&job, &new, &created(|pod| pod["metadata"][field] = value.clone()))
        };
        assert_eq!(altered(&job, &new, &created(|_| {})), None);
        assert_eq!(check("finalizers", json!([])), Some(Altered::Finalizer));
        assert_eq!(check("finalizers", json!(["example.com/other"])), Some(Altered::Finalizer));
        assert_eq!(check("labels", json!({"app": "other"})), Some(Altered::Labels));
        assert_eq!(check("ownerReferences", json!([])), Some(Altered::Owner));
        assert_eq!(check("annotations", json!({})), None, "the Job has no indexes");
        assert_eq!(altered(&indexed, &of_index, &created(|_| {})), None);
        let unindexed = created(|pod| pod["metadata"]["annotations"] = json!({}));
        assert_eq!(altered(&indexed, &of_index, &unindexed), Some(Altered::Index));
    }

    #[test]
    fn refusals_of_pods_with_generated_names_have_one_text() {
        let text = |message: &str| {
            let error = kube::Error::Api(Box::new(Status { code: 403, ..Status::failure(message, "Forbidden") }));
            without_name(error.into(), "job").to_string()
        };
        assert_eq!(text("pods \"job-x2k4l\" is forbidden: no"), "pods \"job-\" is forbidden: no");
        assert_eq!(text("pods \"job-0-x2k4l\" is forbidden: \"no\""), "pods \"job-0-\" is forbidden: \"no\"");
        assert_eq!(text("pods \"job-\" is forbidden: no"), "pods \"job-\" is forbidden: no");
        assert_eq!(text("admission webhook denied"), "admission webhook denied");
    }
}
