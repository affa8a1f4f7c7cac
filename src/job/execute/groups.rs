//! Creates the Workload and the PodGroup of a Job, sets the size of its gang, and stores the responses.

use kube::api::{ListParams, Patch};
use serde_json::Value;

use super::{FailedWrite, StepError, StepExecutor};
use crate::job::creation;
use crate::job::gang::plan::GroupWrite;
use crate::job::gang::view::{PodGroupView, WirePodGroup, WireWorkload, WorkloadView};
use crate::job::gang::{compile, plan};
use crate::job::pod;
use crate::job::view::{JobView, controlling_owner};
use crate::runtime::cache::{Cache, Cached, Source};
use crate::runtime::codec::Encoded;
use crate::runtime::errors::WriteError;
use crate::runtime::events::EventText;
use crate::runtime::identity::Identity;
use crate::runtime::write_gate::patch_params;

impl StepExecutor {
    /// Writes the Workload or the PodGroup of a Job.
    pub(super) async fn write_group(&self, job: &JobView, write: GroupWrite) -> Result<(), StepError> {
        let result = match &write {
            GroupWrite::CreateWorkload => self.create_workload(job).await,
            GroupWrite::CreatePodGroup { workload, template, is_of_job } => {
                self.create_pod_group(job, workload, template, *is_of_job).await
            }
            GroupWrite::ResizeWorkload { workload, min_count } => {
                let patch = compile::resized_workload(workload, *min_count);
                let size = |workload: &WorkloadView| workload.templates.first().and_then(|first| first.min_count);
                let is_resized = |workload: &WorkloadView| size(workload) == Some(*min_count);
                self.patch_group(job, &workload.identity, &patch, &self.workloads, (WorkloadView::parse, is_resized))
                    .await
            }
            GroupWrite::ResizePodGroup { group, min_count } => {
                let patch = compile::resized_pod_group(group, *min_count);
                let is_resized = |group: &PodGroupView| group.min_count == Some(*min_count);
                self.patch_group(job, &group.identity, &patch, &self.pod_groups, (PodGroupView::parse, is_resized))
                    .await
            }
        };
        result.map_err(|error| StepError::Writes(vec![self.failed_group(job, &write, error)]))
    }

    async fn create_workload(&self, job: &JobView) -> Result<(), WriteError> {
        let template = job.template.wire.as_ref().map(|template| template.facts()).unwrap_or_default();
        let workload = compile::workload(job, template.priority_class_name.as_deref(), pod::owner_reference(job));
        // The plan finds the Workload by this key.
        let key = plan::workload_key(job);
        let fits = |workload: &WorkloadView| workload.reference == key;
        match self.context.create::<WireWorkload>(&job.identity, encoded(&workload)?).await {
            Ok(created) => {
                let name = created.metadata.name.clone().unwrap_or_default();
                self.stored(&self.workloads, WorkloadView::parse(created), fits)?;
                let text = format!("Created Workload {name} for Job {}", job.identity.name);
                self.record_event(job, EventText::normal("WorkloadCreated", text));
                Ok(())
            }
            Err(error) => {
                self.found(job, name_of(&workload), &self.workloads, (WorkloadView::parse, fits), error).await
            }
        }
    }

    async fn create_pod_group(
        &self,
        job: &JobView,
        workload: &WorkloadView,
        template: &str,
        is_of_job: bool,
    ) -> Result<(), WriteError> {
        // The plan names a template of this version of the Workload.
        let Some(template) = workload.template(template) else { return Ok(()) };
        let group = compile::pod_group(workload, template, pod::owner_reference(job), is_of_job);
        // The plan finds the PodGroup by this reference.
        let fits = |group: &PodGroupView| group.workload.as_deref() == Some(&*workload.identity.name);
        match self.context.create::<WirePodGroup>(&job.identity, encoded(&group)?).await {
            Ok(created) => {
                let name = created.metadata.name.clone().unwrap_or_default();
                self.stored(&self.pod_groups, PodGroupView::parse(created), fits)?;
                let text = format!("Created PodGroup {name} for Job {}", job.identity.name);
                self.record_event(job, EventText::normal("PodGroupCreated", text));
                Ok(())
            }
            Err(error) => self.found(job, name_of(&group), &self.pod_groups, (PodGroupView::parse, fits), error).await,
        }
    }

    /// Patches a Workload or a PodGroup.
    async fn patch_group<W, T>(
        &self,
        job: &JobView,
        group: &Identity,
        patch: &Value,
        cache: &Cache<T>,
        (parse, has_effect): (fn(W) -> Option<T>, impl Fn(&T) -> bool),
    ) -> Result<(), WriteError>
    where
        W: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + crate::runtime::codec::WireObject,
        T: Cached,
    {
        let objects = self.context.objects_in::<W>(&job.identity.namespace);
        let (params, patch) = (patch_params(), Patch::Merge(patch));
        let patched =
            self.context.write_gate.run(&job.identity.uid, objects.patch(&group.name, &params, &patch)).await?;
        self.stored(cache, parse(patched), has_effect)
    }

    /// Handles a failed creation. If an object with the name exists, an earlier request may have created it, and its
    /// response was lost or the watch is behind: the object goes into the cache. Otherwise, and for an object in which
    /// the plan does not find what it needs, the creation has failed.
    async fn found<W, T>(
        &self,
        job: &JobView,
        name: &str,
        cache: &Cache<T>,
        (parse, fits): (fn(W) -> Option<T>, impl Fn(&T) -> bool),
        error: WriteError,
    ) -> Result<(), WriteError>
    where
        W: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + crate::runtime::codec::WireObject,
        T: Cached,
    {
        if !error.is_conflict() {
            return Err(error);
        }
        let Ok(Some(found)) = self.context.objects_in::<W>(&job.identity.namespace).get_opt(name).await else {
            return Err(error);
        };
        let is_own = controlling_owner(found.meta()).is_some_and(|owner| job.identity.uid.is(&owner.uid));
        let Some(found) = parse(found).filter(|found| is_own && fits(found)) else { return Err(error) };
        let uid = found.identity().uid.clone();
        cache.apply(found, Source::Answer);
        // A deleted object does not come back into the cache. The watch delivers its end.
        if cache.get(&uid).is_some() { Ok(()) } else { Err(error) }
    }

    /// Reads the Workloads of a namespace into the cache. The watch may be behind the owner of a Job, which creates its
    /// Workload before the Job.
    pub async fn list_workloads(&self, job: &JobView) -> kube::Result<()> {
        let workloads = self.context.objects_in::<WireWorkload>(&job.identity.namespace);
        for workload in workloads.list(&ListParams::default()).await?.items.into_iter().filter_map(Result::ok) {
            self.apply_workload(workload);
        }
        Ok(())
    }

    fn apply_workload(&self, workload: WireWorkload) {
        if let Some(workload) = WorkloadView::parse(workload) {
            self.workloads.apply(workload, Source::Answer);
        }
    }

    /// Puts the answer to a write into the cache. The write has failed if the answer lacks what was written: the plan
    /// would repeat it without end.
    fn stored<T: Cached>(
        &self,
        cache: &Cache<T>,
        written: Option<T>,
        has_effect: impl Fn(&T) -> bool,
    ) -> Result<(), WriteError> {
        let Some(written) = written else { return Ok(()) };
        let took_effect = has_effect(&written);
        cache.apply(written, Source::Answer);
        if took_effect { Ok(()) } else { Err(WriteError::Altered(creation::REVERTED)) }
    }

    /// Records a failed write of a Workload or a PodGroup: in the log, and in an event on the Job.
    fn failed_group(&self, job: &JobView, write: &GroupWrite, error: WriteError) -> FailedWrite {
        let (identity, kind) = (&job.identity, write.kind());
        if !error.is_gate_closed() && !error.is_namespace_terminating() {
            // The text of the built-in controller.
            let text = format!("{} {}: {error}", kind.failed, identity.name);
            self.record_event(job, EventText::warning(kind.reason, text));
            tracing::warn!(namespace = %identity.namespace, name = %identity.name, reason = kind.reason, %error, "a write failed");
        }
        FailedWrite { kind, pod: None, error, is_partial: false }
    }
}

fn encoded(object: &Value) -> Result<Encoded, WriteError> {
    let bytes = serde_json::to_vec(object).map_err(|error| WriteError::from(kube::Error::SerdeError(error)))?;
    Ok(Encoded::json(bytes))
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
