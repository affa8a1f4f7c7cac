//! Creates, deletes, adopts and releases the pods of a Job, and removes their finalizers.

use std::sync::Arc;

use either::Either;
use futures::future::join_all;
use kube::api::Patch;
use serde_json::{Value, json};

use super::{FailedWrite, StepError, StepExecutor, all};
use crate::job::TRACKING_FINALIZER;
use crate::job::creation::{self, Altered};
use crate::job::decide::start_deadline::{self, FailedStart};
use crate::job::decide::{CreationReason, NewPod};
use crate::job::pod::{self, PodBuilder};
use crate::job::view::start::{START_ACTION_ANNOTATION, START_DEADLINE_EXCEEDED};
use crate::job::view::{JobView, PodView};
use crate::job::wire::WirePod;
use crate::job::write_kinds::{ADOPT, CREATE, DELETE, FAIL_POD, RELEASE, REPAIR, UNTRACK};
use crate::runtime::cache::Cached;
use crate::runtime::clock::whole_seconds;
use crate::runtime::codec::Encoded;
use crate::runtime::errors::WriteError;
use crate::runtime::events::EventText;
use crate::runtime::identity::ResourceVersion;
use crate::runtime::write_gate::{delete_params, patch_params};

impl StepExecutor {
    /// Creates pods with a slow start: 1, 2, 4, … concurrently, and none after a batch in which a creation was refused.
    /// So an exhausted quota costs few requests. `created` is the number of creations that succeeded.
    pub(super) async fn create_pods(
        &self,
        job: &JobView,
        pods: &[NewPod],
        reason: CreationReason,
        builder: &PodBuilder,
        created: &mut usize,
    ) -> Result<(), WriteError> {
        let mut left = pods;
        let mut batch = 1;
        while !left.is_empty() {
            let (now, later) = left.split_at(left.len().min(batch));
            let creations = now.iter().map(|new| async {
                let body = builder.pod(new)?;
                let result = self.create_pod(job, new, body).await;
                self.metrics.pod_created(reason, result.is_ok());
                result
            });
            let results = join_all(creations).await;
            *created += results.iter().filter(|result| result.is_ok()).count();
            first_error(results)?;
            left = later;
            batch *= 2;
        }
        Ok(())
    }

    async fn create_pod(&self, job: &JobView, new: &NewPod, body: Encoded) -> Result<(), WriteError> {
        match self.context.create::<WirePod>(&job.identity, body).await {
            Ok(created) => {
                let name = created.metadata.name.clone().unwrap_or_default();
                let altered = creation::altered(job, new, &created);
                let flawed = altered.and_then(|altered| Some((altered, PodView::parse(created.clone())?)));
                self.apply_pod(created);
                self.record_event(job, EventText::normal("SuccessfulCreate", format!("Created pod: {name}")));
                match flawed {
                    Some((altered, pod)) => self.repair(job, &pod, altered).await,
                    None => Ok(()),
                }
            }
            Err(error) => {
                let error = creation::without_name(error, &job.identity.name);
                Err(self.failed(job, CREATE, None, error).error)
            }
        }
    }

    /// Repairs a pod that the API server stored with other fields than requested: the finalizer is added. A pod with any
    /// other difference is deleted, and so is a pod that the repair did not change. The creation has then failed, because
    /// the end of that pod could not be counted.
    async fn repair(&self, job: &JobView, pod: &PodView, altered: Altered) -> Result<(), WriteError> {
        if altered == Altered::Finalizer {
            let patch = json!({"metadata": {"uid": pod.identity.uid, "finalizers": [TRACKING_FINALIZER]}});
            match self.patch_pod(pod, &patch, |pod| creation::is_tracked(&pod.metadata)).await {
                Ok(()) => {
                    self.record_event(job, EventText::warning("FinalizerMissing", creation::REPAIRED));
                    return Ok(());
                }
                Err(error) if error.is_gate_closed() => return Err(error),
                // The creation fails below, with the back-off and the event of a creation.
                Err(WriteError::Altered(_)) => {}
                Err(error) => drop(self.failed(job, REPAIR, None, error)),
            }
        }
        let error = self.failed(job, CREATE, None, WriteError::Altered(altered.message())).error;
        // Whether or not the deletion succeeds, the creation has failed. A failed deletion has its own event.
        let _ = self.delete_pod(job, pod, true).await;
        Err(error)
    }

    /// Deletes a pod. The end of a pod that is deleted `uncounted` is not counted, so its finalizer is removed first.
    pub(super) async fn delete_pod(&self, job: &JobView, pod: &PodView, uncounted: bool) -> Result<(), FailedWrite> {
        if !uncounted {
            return self.request_deletion(job, pod).await;
        }
        let uid = &pod.identity.uid;
        self.uncounted_deletions.lock().insert(uid.clone());
        let untracked = if pod.tracked { self.untrack_of(job, pod).await } else { Ok(()) };
        // The removal of the finalizer made a new version. A refused deletion is compared with that one.
        let result = match (untracked, self.pods.get(uid)) {
            (Ok(()), Some(pod)) => self.request_deletion(job, &pod).await,
            (Ok(()), None) => Ok(()),
            (Err(failed), _) => Err(failed),
        };
        if self.pods.get(uid).is_none() {
            // The pod was gone before its UID was inserted, so no event removes the UID.
            self.forget_uncounted_deletion(uid);
        }
        result
    }

    /// Records in the status of a pod that it did not start in time, if the version of the pod is the evaluated one: another
    /// version may have started. A pod without a node also gets the phase Failed: nothing of it can still run.
    pub(super) async fn fail_pod(&self, job: &JobView, failed_start: &FailedStart) -> Result<(), FailedWrite> {
        let FailedStart { pod, cause, action, message } = failed_start;
        let now = whole_seconds(self.context.clock.now()).to_string();
        let condition = json!({
            "type": START_DEADLINE_EXCEEDED, "status": "True", "reason": cause.reason(), "message": message,
            "lastTransitionTime": now, "lastProbeTime": null,
        });
        let mut patch = json!({
            "metadata": {
                "uid": pod.identity.uid,
                "resourceVersion": pod.identity.resource_version.to_string(),
                "annotations": {START_ACTION_ANNOTATION: action.name()},
            },
            "status": {"conditions": [condition]},
        });
        if !pod.scheduled {
            patch["status"]["phase"] = json!("Failed");
            patch["status"]["reason"] = json!(start_deadline::START_DEADLINE_EXCEEDED);
            patch["status"]["message"] = json!(message);
        }
        let identity = &pod.identity;
        let pods = self.context.objects_in::<WirePod>(&identity.namespace);
        let (params, patch) = (patch_params(), Patch::Strategic(patch));
        let write = pods.patch_status(&identity.name, &params, &patch);
        match self.context.write_gate.run(&job.identity.uid, write).await {
            Ok(patched) => {
                let is_recorded = PodView::parse(patched.clone()).is_some_and(|pod| pod.start_failure.is_some());
                self.apply_pod(patched);
                if !is_recorded {
                    let error = WriteError::Altered(creation::REVERTED);
                    return Err(self.failed(job, FAIL_POD, Some(pod), error));
                }
            }
            Err(error) if self.is_outdated(pod, &error).await => return Ok(()),
            Err(error) => return Err(self.failed(job, FAIL_POD, Some(pod), error)),
        }
        self.record_event(job, EventText::warning(start_deadline::START_DEADLINE_EXCEEDED, message.clone()));
        Ok(())
    }

    async fn request_deletion(&self, job: &JobView, pod: &PodView) -> Result<(), FailedWrite> {
        let identity = &pod.identity;
        let pods = self.context.objects_in::<WirePod>(&job.identity.namespace);
        let params = delete_params(&identity.uid, None);
        match self.context.write_gate.run(&job.identity.uid, pods.delete(&identity.name, &params)).await {
            Ok(Either::Left(deleted)) => self.apply_pod(deleted),
            Ok(Either::Right(_)) => self.remove_pod(pod),
            Err(error) => {
                if self.is_outdated(pod, &error).await {
                    return Ok(());
                }
                return Err(self.failed(job, DELETE, Some(pod), error));
            }
        }
        self.record_event(job, EventText::normal("SuccessfulDelete", format!("Deleted pod: {}", identity.name)));
        Ok(())
    }

    /// Removes the tracking finalizer from these pods, whose Job is gone.
    pub async fn untrack(&self, pods: &[Arc<PodView>]) -> Vec<FailedWrite> {
        let removals = pods
            .iter()
            .map(|pod| async { self.untrack_pod(pod).await.map_err(|error| self.failed_on_pod(UNTRACK, pod, error)) });
        join_all(removals).await.into_iter().filter_map(Result::err).collect()
    }

    /// Removes the tracking finalizer from a pod that has no controller. A Job may be about to adopt the pod with its
    /// finalizer, so the patch applies only to the version that was evaluated. The next sync evaluates a newer one.
    pub async fn untrack_orphan(&self, pod: &PodView) -> Result<(), WriteError> {
        let mut patch = pod::untracking(&pod.identity.uid.text());
        patch["metadata"]["resourceVersion"] = json!(pod.identity.resource_version.to_string());
        let removed = self.patch_pod(pod, &patch, |pod| !creation::is_tracked(&pod.metadata)).await;
        removed.map_err(|error| self.failed_on_pod(UNTRACK, pod, error).error)
    }

    pub(super) async fn untrack_of(&self, job: &JobView, pod: &PodView) -> Result<(), FailedWrite> {
        self.untrack_pod(pod).await.map_err(|error| self.failed(job, UNTRACK, Some(pod), error))
    }

    async fn untrack_pod(&self, pod: &PodView) -> Result<(), WriteError> {
        self.patch_pod(pod, &pod::untracking(&pod.identity.uid.text()), |pod| !creation::is_tracked(&pod.metadata))
            .await
    }

    /// Patches a pod. The patch contains the UID, so that another pod of this name stays unchanged. The patch of a pod
    /// that is gone succeeds. A patch that is accepted without effect has failed.
    async fn patch_pod(
        &self,
        pod: &PodView,
        patch: &Value,
        took_effect: impl Fn(&WirePod) -> bool,
    ) -> Result<(), WriteError> {
        let identity = &pod.identity;
        let pods = self.context.objects_in::<WirePod>(&identity.namespace);
        let (params, patch) = (patch_params(), Patch::Strategic(patch));
        let object = pod.controller().unwrap_or(&identity.uid);
        match self.context.write_gate.run(object, pods.patch(&identity.name, &params, &patch)).await {
            Ok(patched) => {
                let took_effect = took_effect(&patched);
                self.apply_pod(patched);
                if took_effect { Ok(()) } else { Err(WriteError::Altered(creation::REVERTED)) }
            }
            Err(error) if self.is_outdated(pod, &error).await => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns whether a write failed because its pod is gone or has changed. The cache then holds the present version. A
    /// webhook can answer with any code, and a UID that cannot be changed can mean that another pod has the name, so the
    /// API server is asked.
    async fn is_outdated(&self, pod: &PodView, error: &WriteError) -> bool {
        if !(error.is_not_found() || error.is_conflict() || error.is_invalid()) {
            return false;
        }
        let identity = &pod.identity;
        let pods = self.context.objects_in::<WirePod>(&identity.namespace);
        let Ok(found) = pods.get_opt(&identity.name).await else { return false };
        let found = found.filter(|found| found.metadata.uid.as_deref().is_some_and(|found| identity.uid.is(found)));
        let Some(found) = found else {
            self.remove_pod(pod);
            return true;
        };
        let version = found.metadata.resource_version.as_deref().and_then(ResourceVersion::parse);
        let has_changed = version.is_some_and(|version| version > identity.resource_version);
        self.apply_pod(found);
        has_changed && !error.is_invalid()
    }

    /// Releases and adopts pods.
    pub(super) async fn claim(
        &self,
        job: &JobView,
        adopt: &[Arc<PodView>],
        release: &[Arc<PodView>],
    ) -> Result<(), StepError> {
        let releases = release.iter().map(|pod| self.release(job, pod));
        all(join_all(releases).await)?;
        if adopt.is_empty() {
            return Ok(());
        }
        // The cache may not show yet that the Job is being deleted. An adoption would then hide its pods from the garbage
        // collector.
        let fresh = self.refresh_job(job).await.map_err(|error| StepError::Other(error.into()))?;
        if fresh.is_none_or(|fresh| fresh.deleting) {
            return Ok(());
        }
        let adoptions = adopt.iter().map(|pod| self.adopt(job, pod));
        all(join_all(adoptions).await)
    }

    /// Makes a Job the controller of a pod, if the version of the pod is the evaluated one: another version can have other
    /// labels.
    async fn adopt(&self, job: &JobView, pod: &PodView) -> Result<(), FailedWrite> {
        let patch = json!({"metadata": {
            "uid": pod.identity.uid,
            "resourceVersion": pod.identity.resource_version.to_string(),
            "ownerReferences": [pod::owner_reference(job)],
            "finalizers": [TRACKING_FINALIZER],
        }});
        let is_adopted =
            |pod: &WirePod| creation::is_owned(&pod.metadata, &job.identity.uid) && creation::is_tracked(&pod.metadata);
        let adopted = self.patch_pod(pod, &patch, is_adopted).await;
        adopted.map_err(|error| self.failed(job, ADOPT, Some(pod), error))
    }

    async fn release(&self, job: &JobView, pod: &PodView) -> Result<(), FailedWrite> {
        let patch = json!({"metadata": {
            "uid": pod.identity.uid,
            "ownerReferences": [{"$patch": "delete", "uid": job.identity.uid}],
            "$deleteFromPrimitiveList/finalizers": [TRACKING_FINALIZER],
        }});
        let released = self.patch_pod(pod, &patch, |pod| !creation::is_owned(&pod.metadata, &job.identity.uid)).await;
        released.map_err(|error| self.failed(job, RELEASE, Some(pod), error))
    }
}

/// Returns the first error. An error after which the write may have taken effect comes before all others.
fn first_error(results: Vec<Result<(), WriteError>>) -> Result<(), WriteError> {
    let mut errors: Vec<WriteError> = results.into_iter().filter_map(Result::err).collect();
    let preferred = errors.iter().position(WriteError::is_ambiguous).unwrap_or_default();
    if errors.is_empty() { Ok(()) } else { Err(errors.swap_remove(preferred)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_error_comes_before_a_refusal() {
        let both = || vec![Ok(()), Err(WriteError::Closed), Err(WriteError::Aborted), Ok(())];
        assert!(matches!(first_error(both()), Err(WriteError::Aborted)));
        assert!(matches!(first_error(both().into_iter().take(2).collect()), Err(WriteError::Closed)));
        assert!(first_error(vec![Ok(())]).is_ok());
    }
}
