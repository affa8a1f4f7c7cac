//! Patches the status and the annotations of a Job.

use std::time::Duration;

use kube::Api;
use kube::api::{LogParams, Patch};
use serde_json::{Value, json};

use super::{StepError, StepExecutor};
use crate::job::admission::{WAITING_ANNOTATION, WaitingStatus};
use crate::job::creation;
use crate::job::decide::failure_report::FailureReport;
use crate::job::status::JobStatus;
use crate::job::transitions::{Transition, transitions};
use crate::job::view::JobView;
use crate::job::view::policy_annotations::PolicyAnnotations;
use crate::job::wire::WireJob;
use crate::job::write_kinds::{ANNOTATE, STATUS, SUSPEND, WAITING};
use crate::job::{FAILURE_ANNOTATION, RESULT_ANNOTATION};
use crate::runtime::cache::Source;
use crate::runtime::errors::{WriteError, message};
use crate::runtime::refusals::WriteKind;
use crate::runtime::write_gate::patch_params;

/// Maximum time to wait for a node to send a log. The end of the Job waits for it.
const LOG_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of bytes of a log that are read. More does not fit into the annotation.
const MAX_LOG_BYTES: i64 = 64 * 1024;

/// Returns whether a log is the text that a kubelet sends, with the code 200, in place of the log of a container that it
/// has removed.
fn is_removed(log: &str) -> bool {
    log.starts_with("unable to retrieve container logs for ") && log.trim_end().lines().count() == 1
}

/// What is stored with a status.
pub(super) struct Extra<'a> {
    /// Failure report of a Job that fails.
    pub report: Option<&'a FailureReport>,
    /// Annotations about the policy of the Job.
    pub annotations: Option<&'a PolicyAnnotations>,
    /// Results of pods, as the text of the annotation.
    pub result: Option<String>,
}

/// Adds the changed annotations about the policy of a Job to a patch of the Job.
fn set(patch: &mut Value, job: &JobView, annotations: &PolicyAnnotations) {
    let stored = job.policy.as_deref().cloned().unwrap_or_default();
    for (key, value) in annotations.changes(&stored) {
        patch["metadata"]["annotations"][key] = json!(value);
    }
}

impl StepExecutor {
    /// Writes the annotation that states which limit a Job waits for.
    pub(super) async fn publish_waiting(&self, job: &JobView, waiting: &WaitingStatus) -> Result<(), StepError> {
        let text = serde_json::to_string(waiting).unwrap_or_default();
        let patch = json!({"metadata": {"annotations": {WAITING_ANNOTATION: text}}});
        self.patch_status(job, WAITING, patch, |written| written.admission_info.published_waiting.is_some()).await
    }

    /// Removes that annotation.
    pub(super) async fn remove_waiting(&self, job: &JobView) -> Result<(), StepError> {
        let patch = json!({"metadata": {"annotations": {WAITING_ANNOTATION: null}}});
        self.patch_status(job, WAITING, patch, |written| written.admission_info.published_waiting.is_none()).await
    }

    /// Returns the last lines of the log of the container that failed, if the settings ask for them and the node sends
    /// them in time.
    pub(super) async fn last_lines(&self, job: &JobView, report: &FailureReport, count: u32) -> Vec<String> {
        let Some(container) = report.cause.container.clone().filter(|_| count > 0) else { return Vec::new() };
        let pods: Api<k8s_openapi::api::core::v1::Pod> = self.context.namespaced(&job.identity.namespace);
        let lines = |previous| LogParams {
            container: Some(container.clone()),
            tail_lines: Some(count.into()),
            limit_bytes: Some(MAX_LOG_BYTES),
            previous,
            ..LogParams::default()
        };
        // If a container was restarted, the previous container failed. Once the next one has failed as well, the node
        // removes the previous one, and the log of the current one has the failure.
        let is_restarted = report.unfinished && report.cause.exit_code.is_some();
        for previous in if is_restarted { [true, false].as_slice() } else { &[false] } {
            let log = tokio::time::timeout(LOG_TIMEOUT, pods.logs(&report.pod, &lines(*previous))).await;
            match log {
                Ok(Ok(log)) if is_removed(&log) => {}
                Ok(Ok(log)) => return log.lines().map(str::to_owned).collect(),
                Ok(Err(error)) => {
                    tracing::warn!(pod = %report.pod, error = %message(&error), "no log to store");
                    return Vec::new();
                }
                Err(_) => {
                    tracing::warn!(pod = %report.pod, "no log to store: the node of the pod does not answer");
                    return Vec::new();
                }
            }
        }
        tracing::warn!(pod = %report.pod, "no log to store: the node has removed the container");
        Vec::new()
    }

    /// Stores a status.
    pub(super) async fn write_status(
        &self,
        job: &JobView,
        status: &JobStatus,
        Extra { report, annotations, result }: Extra<'_>,
    ) -> Result<(), StepError> {
        let mut patch = json!({"status": status.to_patch()});
        if let Some(annotations) = annotations {
            set(&mut patch, job, annotations);
        }
        // In the patch of the status, the annotation needs neither a request nor a permission of its own.
        if let Some(report) = report {
            patch["metadata"]["annotations"][FAILURE_ANNOTATION] = json!(report.to_text());
        }
        if let Some(result) = result {
            patch["metadata"]["annotations"][RESULT_ANNOTATION] = json!(result);
        }
        // On a started Job, the annotation states that the Job is not admitted. It stays until the Job is admitted again.
        let starts = status.start_time.is_some() && job.status.start_time.is_none();
        if job.admission_info.published_waiting.is_some() && (starts || status.has_outcome()) {
            patch["metadata"]["annotations"][WAITING_ANNOTATION] = Value::Null;
        }
        let is_stored = |written: &JobView| written.status != job.status || *status == job.status;
        self.patch_status(job, STATUS, patch, is_stored).await?;
        self.metrics.status_written(job, status, self.context.clock.now());
        transitions(&job.status, status).iter().for_each(Transition::log);
        Ok(())
    }

    /// Writes the annotations about the policy of a Job.
    pub(super) async fn annotate(&self, job: &JobView, annotations: &PolicyAnnotations) -> Result<(), StepError> {
        let mut patch = json!({});
        set(&mut patch, job, annotations);
        let is_stored = |written: &JobView| written.policy.as_deref().cloned().unwrap_or_default() == *annotations;
        self.patch_status(job, ANNOTATE, patch, is_stored).await
    }

    /// Suspends a Job.
    pub(super) async fn suspend(&self, job: &JobView) -> Result<(), StepError> {
        let jobs = self.context.objects_in::<WireJob>(&job.identity.namespace);
        let patch = json!({"spec": {"suspend": true}});
        let write = |patch| async move { jobs.patch(&job.identity.name, &patch_params(), &Patch::Merge(&patch)).await };
        self.patch(job, SUSPEND, patch, write, |written| written.spec.suspend).await
    }

    /// Patches the status and the annotations of the version of the Job that the step was decided from. A patch that is
    /// accepted without effect has failed.
    async fn patch_status(
        &self,
        job: &JobView,
        kind: WriteKind,
        patch: Value,
        took_effect: impl Fn(&JobView) -> bool,
    ) -> Result<(), StepError> {
        let jobs = self.context.objects_in::<WireJob>(&job.identity.namespace);
        let write =
            |patch| async move { jobs.patch_status(&job.identity.name, &patch_params(), &Patch::Merge(&patch)).await };
        self.patch(job, kind, patch, write, took_effect).await
    }

    /// Patches the version of the Job that the step was decided from, by this request. A patch that is accepted without
    /// effect has failed.
    async fn patch<R: Future<Output = kube::Result<WireJob>>>(
        &self,
        job: &JobView,
        kind: WriteKind,
        mut patch: Value,
        write: impl FnOnce(Value) -> R,
        took_effect: impl Fn(&JobView) -> bool,
    ) -> Result<(), StepError> {
        let identity = &job.identity;
        patch["metadata"]["uid"] = json!(identity.uid);
        patch["metadata"]["resourceVersion"] = json!(identity.resource_version.to_string());
        match self.context.write_gate.run(&identity.uid, write(patch)).await {
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
                    // A webhook can answer with any code: only another version of the Job, or its absence, is a conflict.
                    if fresh.is_none_or(|fresh| fresh.identity.resource_version != known) {
                        return Err(StepError::Changed);
                    }
                }
                Err(StepError::Writes(vec![self.failed(job, kind, None, error)]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_removed;

    #[test]
    fn text_in_place_of_a_removed_log_is_no_log() {
        assert!(is_removed("unable to retrieve container logs for containerd://9aab3969b14d"));
        assert!(!is_removed(""));
        assert!(!is_removed("looking for the disk\nunable to retrieve container logs for containerd://9aab"));
    }
}
