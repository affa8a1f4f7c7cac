//! Carries out one step. It decides nothing; what the API server answers goes into the cache.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use either::Either;
use futures::future::join_all;
use kube::Api;
use kube::api::{LogParams, Patch};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::admission::WAITING_ANNOTATION;
use super::creation::{self, Altered};
use super::decide::failure_report::FailureReport;
use super::decide::{CreationReason, NewPod, Step};
use super::key::Key;
use super::metrics::JobMetrics;
use super::pod::PodBuilder;
use super::status::JobStatus;
use super::view::{JobView, PodView};
use super::wire::{WireJob, WirePod};
use super::write_kinds::{ADOPT, CREATE, DELETE, RELEASE, STATUS, UNTRACK, WAITING};
use super::{API_VERSION, CONTROLLER_UID_LABEL, FAILURE_ANNOTATION, KIND, TRACKING_FINALIZER, pod};
use crate::runtime::cache::{Cache, Change, Source};
use crate::runtime::context::ControllerContext;
use crate::runtime::errors::{WriteError, message};
use crate::runtime::events::EventText;
use crate::runtime::identity::{ResourceVersion, Uid};
use crate::runtime::queue::Queue;
use crate::runtime::refusals::{self, WriteKind};
use crate::runtime::write_gate::{delete_params, patch_params};

/// How long a node may take to give a log away: its Job's end waits for it.
const LOG_TIMEOUT: Duration = Duration::from_secs(5);
/// As much of a log is read; more does not fit into the annotation.
const MAX_LOG_BYTES: i64 = 64 * 1024;

/// What a step needs to be carried out.
pub struct StepExecutor {
    /// The connection, the gate of writes, where events go.
    pub context: ControllerContext,
    /// Where what happened is counted.
    pub metrics: JobMetrics,
    /// How many last lines of a log are kept with a Job that fails.
    pub log_tail: u32,
    /// Pods we are deleting uncounted.
    pub uncounted_deletions: Mutex<HashSet<Uid>>,
    /// All Jobs.
    pub jobs: Arc<Cache<JobView>>,
    /// All pods that may be a Job's.
    pub pods: Arc<Cache<PodView>>,
    /// Whether all pods are watched, not only those with the label of a generated selector.
    pub all_pods: watch::Sender<bool>,
    /// What is to be looked at; here, whom an answer concerns besides the Job at hand.
    pub queue: Arc<Queue<Key>>,
}

/// What of a step did not succeed.
#[derive(Debug)]
pub enum StepError {
    /// These writes failed; the step's others did not.
    Writes(Vec<FailedWrite>),
    /// The Job has changed since it was read; the cache holds it as it is now.
    Changed,
    /// Anything else.
    Other(WriteError),
}

/// A write that failed.
#[derive(Debug)]
pub struct FailedWrite {
    /// The kind of write.
    pub kind: WriteKind,
    /// The pod that it was to change; none for a creation, and for the Job itself.
    pub pod: Option<Uid>,
    /// Why it failed.
    pub error: WriteError,
}

impl FailedWrite {
    fn new(kind: WriteKind, pod: &PodView, error: WriteError) -> Self {
        Self { kind, pod: Some(pod.identity.uid.clone()), error }
    }
}

/// Of several failures, none is a success.
fn all(results: impl IntoIterator<Item = Result<(), FailedWrite>>) -> Result<(), StepError> {
    let failed: Vec<FailedWrite> = results.into_iter().filter_map(Result::err).collect();
    if failed.is_empty() { Ok(()) } else { Err(StepError::Writes(failed)) }
}

impl StepExecutor {
    /// Carries out a step for this Job.
    pub async fn execute(&self, job: &JobView, step: Step) -> Result<(), StepError> {
        match step {
            Step::None => Ok(()),
            Step::RejectInvalid(event) => {
                self.record_event(job, event);
                Ok(())
            }
            Step::ClaimPods { adopt, release } => self.claim(job, &adopt, &release).await,
            Step::CreatePods { pods, reason } => {
                let failed = |error| StepError::Writes(vec![FailedWrite { kind: CREATE, pod: None, error }]);
                self.create_pods(job, &pods, reason).await.map_err(failed)
            }
            Step::DeletePods { pods, uncounted } => {
                let deletions = pods.iter().map(|pod| self.delete_pod(job, pod, uncounted));
                all(join_all(deletions).await)
            }
            Step::RemoveFinalizers(pods) => {
                let removals = pods.iter().map(|pod| async {
                    self.untrack_of(job, pod).await?;
                    self.metrics.untracked(job, pod);
                    Ok(())
                });
                all(join_all(removals).await)
            }
            Step::PublishWaiting { waiting, event } => {
                let text = serde_json::to_string(&waiting).unwrap_or_default();
                let patch = json!({"metadata": {"annotations": {WAITING_ANNOTATION: text}}});
                self.patch_status(job, WAITING, patch, |written| written.admission_info.published_waiting.is_some())
                    .await?;
                event.into_iter().for_each(|event| self.record_event(job, event));
                Ok(())
            }
            Step::RemoveWaiting => {
                let patch = json!({"metadata": {"annotations": {WAITING_ANNOTATION: null}}});
                self.patch_status(job, WAITING, patch, |written| written.admission_info.published_waiting.is_none())
                    .await
            }
            Step::WriteStatus { status, events, mut report } => {
                if let Some(report) = &mut report {
                    report.log = self.last_lines(job, report).await;
                }
                self.write_status(job, &status, report.as_deref()).await?;
                events
                    .into_iter()
                    .chain(report.map(|report| report.event()))
                    .for_each(|event| self.record_event(job, event));
                Ok(())
            }
        }
    }

    /// Removes the tracking finalizer from these pods, whose Job is gone.
    pub async fn untrack(&self, pods: &[Arc<PodView>]) -> Vec<FailedWrite> {
        let removals = pods
            .iter()
            .map(|pod| async { self.untrack_pod(pod).await.map_err(|error| self.failed_on_pod(UNTRACK, pod, error)) });
        join_all(removals).await.into_iter().filter_map(Result::err).collect()
    }

    /// Records that a write failed: in an event on the Job and in the log, unless no policy has to do with it.
    fn failed(&self, job: &JobView, kind: WriteKind, pod: Option<&PodView>, error: WriteError) -> FailedWrite {
        let identity = &job.identity;
        let name = pod.map(|pod| &*pod.identity.name);
        if !error.is_gate_closed() && !error.is_namespace_terminating() {
            // The built-in controller reports every failed creation and deletion, whatever its cause.
            if error.is_refusal() || kind == CREATE || kind == DELETE {
                self.record_event(job, refusals::event(kind, name, &error));
            }
            tracing::warn!(namespace = %identity.namespace, job = %identity.name, pod = name, reason = kind.reason, %error, "a write failed");
        }
        FailedWrite { kind, pod: pod.map(|pod| pod.identity.uid.clone()), error }
    }

    /// Records that a write to a pod without a Job failed: in an event on the pod and in the log.
    fn failed_on_pod(&self, kind: WriteKind, pod: &PodView, error: WriteError) -> FailedWrite {
        let identity = &pod.identity;
        if !error.is_gate_closed() && !error.is_namespace_terminating() {
            if error.is_refusal() {
                let event = refusals::event(kind, Some(&identity.name), &error);
                self.context.record_event("v1", "Pod", identity, event);
            }
            tracing::warn!(namespace = %identity.namespace, pod = %identity.name, reason = kind.reason, %error, "a write failed");
        }
        FailedWrite::new(kind, pod, error)
    }

    /// Reads from the API server itself which pods of this Job there are: a creation may have succeeded unheard.
    pub async fn relist_pods(&self, job: &JobView) -> kube::Result<()> {
        let Some(selector) = &job.spec.selector else { return Ok(()) };
        let pods: Api<WirePod> = self.context.namespaced(&job.identity.namespace);
        let list = kube::api::ListParams::default().labels(&selector.to_string());
        for pod in pods.list(&list).await?.items {
            self.apply_pod(pod);
        }
        Ok(())
    }

    /// The Job with this UID as the API server has it now; none if it is gone. It is not put into the cache: of a Job that
    /// is new to us the watch has to tell.
    pub async fn read(&self, namespace: &str, name: &str, uid: &Uid) -> kube::Result<Option<JobView>> {
        let jobs: Api<WireJob> = self.context.namespaced(namespace);
        let found = jobs.get_opt(name).await?.and_then(JobView::parse);
        Ok(found.filter(|found| found.identity.uid == *uid))
    }

    /// The Job as the API server has it now; none if it is gone, which the cache then knows.
    async fn refresh_job(&self, job: &JobView) -> kube::Result<Option<JobView>> {
        let found = self.read(&job.identity.namespace, &job.identity.name, &job.identity.uid).await?;
        match &found {
            Some(found) => self.jobs.apply(found.clone(), Source::Answer),
            None => self.jobs.remove(&job.identity.uid),
        };
        Ok(found)
    }

    /// The last lines of the log of the container to blame, if they are wanted and can be had soon.
    async fn last_lines(&self, job: &JobView, report: &FailureReport) -> Vec<String> {
        let Some(container) = report.cause.container.clone().filter(|_| self.log_tail > 0) else { return Vec::new() };
        let pods: Api<k8s_openapi::api::core::v1::Pod> = self.context.namespaced(&job.identity.namespace);
        let lines = LogParams {
            container: Some(container),
            tail_lines: Some(self.log_tail.into()),
            limit_bytes: Some(MAX_LOG_BYTES),
            // Of a container that was started again, the one before is to blame.
            previous: report.unfinished && report.cause.exit_code.is_some(),
            ..LogParams::default()
        };
        let log = tokio::time::timeout(LOG_TIMEOUT, pods.logs(&report.pod, &lines)).await;
        match log {
            Ok(Ok(log)) => log.lines().map(str::to_owned).collect(),
            Ok(Err(error)) => {
                tracing::warn!(pod = %report.pod, error = %message(&error), "no log to keep");
                Vec::new()
            }
            Err(_) => {
                tracing::warn!(pod = %report.pod, "no log to keep: its node does not answer");
                Vec::new()
            }
        }
    }

    /// Tells people of something about this Job.
    pub fn record_event(&self, job: &JobView, event: EventText) {
        self.context.record_event(API_VERSION, KIND, &job.identity, event);
    }

    /// Slow start: 1, 2, 4, … at once, and none after a batch in which one was refused, so that a quota that is used
    /// up costs few requests.
    async fn create_pods(&self, job: &JobView, pods: &[NewPod], reason: CreationReason) -> Result<(), WriteError> {
        let builder = PodBuilder::new(job).map_err(kube::Error::SerdeError)?;
        let mut left = pods;
        let mut batch = 1;
        while !left.is_empty() {
            let (now, later) = left.split_at(left.len().min(batch));
            let creations = now.iter().map(|new| async {
                let body = builder.pod(new).map_err(kube::Error::SerdeError)?;
                let result = self.create_pod(job, new, body).await;
                self.metrics.pod_created(reason, result.is_ok());
                result
            });
            first_error(join_all(creations).await)?;
            left = later;
            batch *= 2;
        }
        Ok(())
    }

    async fn create_pod(&self, job: &JobView, new: &NewPod, body: Vec<u8>) -> Result<(), WriteError> {
        match self.context.create::<WirePod>(&job.identity.namespace, body).await {
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

    /// Fixes a pod that came back from its creation other than it was to be: the finalizer is added. With any other flaw,
    /// or if that does not help, the pod is deleted, and the creation has failed: its end could not be counted.
    async fn repair(&self, job: &JobView, pod: &PodView, altered: Altered) -> Result<(), WriteError> {
        if altered == Altered::Finalizer {
            let patch = json!({"metadata": {"uid": pod.identity.uid, "finalizers": [TRACKING_FINALIZER]}});
            match self.patch_pod(pod, &patch, |pod| creation::is_tracked(&pod.metadata)).await {
                Ok(()) => {
                    self.record_event(job, EventText::warning("FinalizerMissing", creation::REPAIRED));
                    return Ok(());
                }
                Err(error) if error.is_gate_closed() => return Err(error),
                Err(_) => {}
            }
        }
        let error = self.failed(job, CREATE, None, WriteError::Altered(altered.message())).error;
        // Whether or not the deletion succeeds, the creation has failed; a failed deletion has its own event.
        let _ = self.delete_pod(job, pod, true).await;
        Err(error)
    }

    async fn delete_pod(&self, job: &JobView, pod: &PodView, uncounted: bool) -> Result<(), FailedWrite> {
        if !uncounted {
            return self.request_deletion(job, pod).await;
        }
        let uid = &pod.identity.uid;
        self.uncounted_deletions.lock().insert(uid.clone());
        let untracked = if pod.tracked { self.untrack_of(job, pod).await } else { Ok(()) };
        let result = match untracked {
            Ok(()) => self.request_deletion(job, pod).await,
            Err(failed) => Err(failed),
        };
        if self.pods.get(uid).is_none() {
            // It was gone before it was given up, so no event follows.
            self.forget_uncounted_deletion(uid);
        }
        result
    }

    async fn request_deletion(&self, job: &JobView, pod: &PodView) -> Result<(), FailedWrite> {
        let identity = &pod.identity;
        let pods: Api<WirePod> = self.context.namespaced(&job.identity.namespace);
        let params = delete_params(&identity.uid, None);
        match self.context.write_gate.run(pods.delete(&identity.name, &params)).await {
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

    /// Takes the tracking finalizer off a pod that nobody controls. A Job may be about to adopt it, with the finalizer,
    /// so only the version that was looked at will do; a newer one is looked at by the next try.
    pub async fn untrack_orphan(&self, pod: &PodView) -> Result<(), WriteError> {
        let mut patch = pod::untracking(pod.identity.uid.as_str());
        patch["metadata"]["resourceVersion"] = json!(pod.identity.resource_version.to_string());
        let removed = self.patch_pod(pod, &patch, |pod| !creation::is_tracked(&pod.metadata)).await;
        removed.map_err(|error| self.failed_on_pod(UNTRACK, pod, error).error)
    }

    async fn untrack_of(&self, job: &JobView, pod: &PodView) -> Result<(), FailedWrite> {
        self.untrack_pod(pod).await.map_err(|error| self.failed(job, UNTRACK, Some(pod), error))
    }

    async fn untrack_pod(&self, pod: &PodView) -> Result<(), WriteError> {
        self.patch_pod(pod, &pod::untracking(pod.identity.uid.as_str()), |pod| !creation::is_tracked(&pod.metadata))
            .await
    }

    /// Patches a pod; the patch names its UID, so that another pod of its name is left alone. One that is gone is
    /// patched enough. A patch that is accepted without effect has failed.
    async fn patch_pod(
        &self,
        pod: &PodView,
        patch: &Value,
        took_effect: impl Fn(&WirePod) -> bool,
    ) -> Result<(), WriteError> {
        let identity = &pod.identity;
        let pods: Api<WirePod> = self.context.namespaced(&identity.namespace);
        let patch = Patch::Strategic(patch);
        match self.context.write_gate.run(pods.patch(&identity.name, &patch_params(), &patch)).await {
            Ok(patched) => {
                let took_effect = took_effect(&patched);
                self.apply_pod(patched);
                if took_effect { Ok(()) } else { Err(WriteError::Altered(creation::REVERTED)) }
            }
            Err(error) if self.is_outdated(pod, &error).await => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns whether a write failed because its pod is gone, or is another than we know; the cache then knows so too. A
    /// webhook may answer with any code, and a UID that cannot be changed may mean that another pod has the name, so the
    /// API server is asked.
    async fn is_outdated(&self, pod: &PodView, error: &WriteError) -> bool {
        if !(error.is_not_found() || error.is_conflict() || error.is_invalid()) {
            return false;
        }
        let identity = &pod.identity;
        let pods: Api<WirePod> = self.context.namespaced(&identity.namespace);
        let Ok(found) = pods.get_opt(&identity.name).await else { return false };
        let found = found.filter(|found| found.metadata.uid.as_deref() == Some(identity.uid.as_str()));
        let Some(found) = found else {
            self.remove_pod(pod);
            return true;
        };
        let version = found.metadata.resource_version.as_deref().and_then(ResourceVersion::parse);
        let has_changed = version.is_some_and(|version| version > identity.resource_version);
        self.apply_pod(found);
        has_changed && !error.is_invalid()
    }

    /// Takes in what the API server answered about a pod.
    fn apply_pod(&self, pod: WirePod) {
        let no_grace = pod.metadata.deletion_grace_period_seconds == Some(0);
        let Some(pod) = PodView::parse(pod) else { return };
        let uid = pod.identity.uid.clone();
        let is_final_update = !pod.tracked && !self.is_watched(&pod);
        if pod.deleting && no_grace && !pod.has_finalizers {
            // Nothing keeps it: the answer is the last that is heard of it.
            self.remove_pod(&pod);
        } else if let Some(change) = self.pods.apply(pod, Source::Answer) {
            self.metrics.pod_changed(&change);
            self.enqueue_owners(&change);
            if is_final_update {
                // It would stay here as it is now for ever.
                self.forget_pod(&uid);
            }
        }
    }

    /// Whether the watch tells of this pod.
    pub fn is_watched(&self, pod: &PodView) -> bool {
        *self.all_pods.borrow() || pod.labels.contains_key(CONTROLLER_UID_LABEL)
    }

    /// Lets go of a pod that exists but is none of our business.
    pub fn forget_pod(&self, uid: &Uid) {
        self.forget_uncounted_deletion(uid);
        if let Some(change) = self.pods.forget(uid) {
            self.metrics.pod_changed(&change);
        }
    }

    /// What an answer says first, the watch does not say again: a pod that has lost its owner, or has another, concerns
    /// more than the Job at hand.
    fn enqueue_owners(&self, change: &Change<PodView>) {
        let owner = |pod: &Option<Arc<PodView>>| pod.as_ref().and_then(|pod| pod.owner.clone());
        let (before, after) = (owner(&change.before), owner(&change.after));
        if change.before.is_some() && before != after {
            for owner in [&before, &after].into_iter().flatten().filter(|owner| owner.is_job) {
                self.queue.add(Key::Job(owner.uid.clone()));
            }
        }
        if let Some(orphan) = change.after.as_ref().filter(|pod| pod.owner.is_none() && pod.tracked) {
            self.queue.add(Key::Orphan(orphan.identity.uid.clone()));
        }
    }

    /// Forgets which pods we were deleting.
    pub fn clear_uncounted_deletions(&self) {
        self.uncounted_deletions.lock().clear();
    }

    /// Whether we are deleting this pod uncounted.
    pub fn is_deleted_uncounted(&self, pod: &Uid) -> bool {
        self.uncounted_deletions.lock().contains(pod)
    }

    /// Forgets that we were deleting a pod.
    pub fn forget_uncounted_deletion(&self, pod: &Uid) {
        self.uncounted_deletions.lock().remove(pod);
    }

    /// Takes note that a pod is gone.
    fn remove_pod(&self, pod: &PodView) {
        self.forget_uncounted_deletion(&pod.identity.uid);
        if let Some(change) = self.pods.remove(&pod.identity.uid) {
            self.metrics.pod_changed(&change);
        }
    }

    async fn claim(&self, job: &JobView, adopt: &[Arc<PodView>], release: &[Arc<PodView>]) -> Result<(), StepError> {
        let releases = release.iter().map(|pod| self.release(job, pod));
        all(join_all(releases).await)?;
        if adopt.is_empty() {
            return Ok(());
        }
        // The cache may not know yet that the Job is being deleted; its pods would then be kept from the garbage collector.
        let fresh = self.refresh_job(job).await.map_err(|error| StepError::Other(error.into()))?;
        if fresh.is_none_or(|fresh| fresh.deleting) {
            return Ok(());
        }
        let adoptions = adopt.iter().map(|pod| self.adopt(job, pod));
        all(join_all(adoptions).await)
    }

    /// Makes a pod the Job's, if it is still as we know it: in another version it may have other labels.
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

    /// Stores a status.
    async fn write_status(
        &self,
        job: &JobView,
        status: &JobStatus,
        report: Option<&FailureReport>,
    ) -> Result<(), StepError> {
        let mut patch = json!({"status": status.to_patch()});
        // With the status they take no request and no permission more.
        if let Some(report) = report {
            patch["metadata"]["annotations"][FAILURE_ANNOTATION] = json!(report.to_text());
        }
        // Of a started Job, the annotation says that it has no place; it stays until the Job is admitted again.
        let starts = status.start_time.is_some() && job.status.start_time.is_none();
        if job.admission_info.published_waiting.is_some() && (starts || status.has_outcome()) {
            patch["metadata"]["annotations"][WAITING_ANNOTATION] = Value::Null;
        }
        let is_stored = |written: &JobView| written.status != job.status || *status == job.status;
        self.patch_status(job, STATUS, patch, is_stored).await?;
        self.metrics.status_written(job, status);
        Ok(())
    }

    /// Patches the status, and annotations, on the version of the Job that it was decided from. A patch that is accepted
    /// without effect has failed.
    async fn patch_status(
        &self,
        job: &JobView,
        kind: WriteKind,
        mut patch: Value,
        took_effect: impl Fn(&JobView) -> bool,
    ) -> Result<(), StepError> {
        let identity = &job.identity;
        patch["metadata"]["uid"] = json!(identity.uid);
        patch["metadata"]["resourceVersion"] = json!(identity.resource_version.to_string());
        let jobs: Api<WireJob> = self.context.namespaced(&job.identity.namespace);
        let patch = Patch::Merge(&patch);
        let params = patch_params();
        match self.context.write_gate.run(jobs.patch_status(&identity.name, &params, &patch)).await {
            Ok(written) => {
                let Some(written) = JobView::parse(written) else { return Ok(()) };
                let took_effect = took_effect(&written);
                self.jobs.apply(written, Source::Answer);
                if took_effect {
                    return Ok(());
                }
                Err(StepError::Writes(vec![self.failed(job, kind, None, WriteError::Altered(creation::REVERTED))]))
            }
            Err(error) => {
                if error.is_conflict() || error.is_not_found() {
                    let fresh = self.refresh_job(job).await.map_err(|error| StepError::Other(error.into()))?;
                    let known = identity.resource_version;
                    // A webhook may answer with any code: only another version, or none, is a conflict.
                    if fresh.is_none_or(|fresh| fresh.identity.resource_version != known) {
                        return Err(StepError::Changed);
                    }
                }
                Err(StepError::Writes(vec![self.failed(job, kind, None, error)]))
            }
        }
    }
}

/// The first error, but that something may have been done unheard goes before all else.
fn first_error(results: Vec<Result<(), WriteError>>) -> Result<(), WriteError> {
    let mut errors: Vec<WriteError> = results.into_iter().filter_map(Result::err).collect();
    let preferred = errors.iter().position(WriteError::is_ambiguous).unwrap_or_default();
    if errors.is_empty() { Ok(()) } else { Err(errors.swap_remove(preferred)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_something_may_have_been_done_unheard_goes_before_what_was_refused() {
        let both = || vec![Ok(()), Err(WriteError::Closed), Err(WriteError::Aborted), Ok(())];
        assert!(matches!(first_error(both()), Err(WriteError::Aborted)));
        assert!(matches!(first_error(both().into_iter().take(2).collect()), Err(WriteError::Closed)));
        assert!(first_error(vec![Ok(())]).is_ok());
    }
}
