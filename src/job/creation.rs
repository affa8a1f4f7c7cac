//! What comes back from the creation of a pod, compared with what was to be created. Admission may change an object
//! on its way, and a pod without what the Job's accounting depends on would be replaced without end.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::TRACKING_FINALIZER;
use super::decide::NewPod;
use super::view::{JobView, PodView};
use super::wire::WirePod;
use crate::runtime::errors::WriteError;
use crate::runtime::identity::Uid;

/// Message of the event about a pod that came back without the finalizer, which the controller could add.
pub const REPAIRED: &str = "Created pods come back without the finalizer batch.kubernetes.io/job-tracking, so a mutating \
     admission policy or webhook removes it; the controller adds it with another write";
/// Why a patch that was accepted has failed.
pub const REVERTED: &str = "the API server accepted the write and stored the object without the change: a mutating admission \
     policy or webhook reverts it";

/// What a created pod lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Altered {
    /// The Job as its controlling owner.
    Owner,
    /// Labels that the Job's selector matches.
    Labels,
    /// The completion index.
    Index,
    /// The tracking finalizer, and nothing else.
    Finalizer,
}

impl Altered {
    /// Returns why the creation has failed.
    pub fn message(self) -> &'static str {
        match self {
            Self::Owner => {
                "the pod came back without its owner reference, which a mutating admission policy or webhook removes; the \
                 controller deleted the pod"
            }
            Self::Labels => {
                "the pod came back without the labels that the Job's selector matches, which a mutating admission policy or \
                 webhook removes; the controller deleted the pod"
            }
            Self::Index => {
                "the pod came back without the annotation batch.kubernetes.io/job-completion-index, which a mutating \
                 admission policy or webhook removes; the controller deleted the pod"
            }
            Self::Finalizer => {
                "the pod came back without the finalizer batch.kubernetes.io/job-tracking, which a mutating admission policy \
                 or webhook removes; the pod's end could not be counted, so the controller deleted the pod"
            }
        }
    }
}

/// Returns what a created pod lacks of what the Job's accounting depends on.
pub fn altered(job: &JobView, new: &NewPod, created: &WirePod) -> Option<Altered> {
    let metadata = &created.metadata;
    let labels = metadata.labels.clone().unwrap_or_default();
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

/// Returns whether a pod carries the tracking finalizer.
pub fn is_tracked(metadata: &ObjectMeta) -> bool {
    metadata.finalizers.iter().flatten().any(|finalizer| finalizer == TRACKING_FINALIZER)
}

/// Returns whether the owner of this UID controls a pod.
pub fn is_owned(metadata: &ObjectMeta, owner: &Uid) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.any(|reference| reference.controller == Some(true) && reference.uid == owner.as_str())
}

/// Removes the random end of the name that the API server made for a refused pod, so that the refusals of one Job have
/// one text, and are recorded in one event.
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
    fn whatever_the_accounting_depends_on_is_missed() {
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
    fn refusals_of_pods_with_random_names_have_one_text() {
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
