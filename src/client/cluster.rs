//! Functions that the subcommands with a cluster share: connecting, reading objects, and finding how a Job ended.

use std::fmt::Display;
use std::process::ExitCode;

use k8s_openapi::api::batch::v1::{CronJob, Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::core::Selector;
use kube::{Api, Client, ResourceExt};
use thiserror::Error;

use super::connect::ConnectError;
use super::names::{Kind, NameError, ObjectName, SelectorArguments};
use super::output;
use super::suggest::Suggestions;
use crate::client::lists::ListEach;
use crate::job::view::controlling_owner;
use crate::limit::types::JobLimit;
use crate::runtime::errors::message;
use crate::schedule::job_schedule::types::JobSchedule;

/// Annotation of a Job that a user started from a CronJob or JobSchedule, with the value `manual`. `kubectl create job
/// --from` sets the same one.
pub const INSTANTIATE_ANNOTATION: &str = "cronjob.kubernetes.io/instantiate";

/// A client of a cluster, and the namespace that the flags select.
pub struct ClusterContext {
    /// Client of the cluster.
    pub client: Client,
    /// Namespace that the flags or the context select.
    pub namespace: String,
    /// Writes the commands that an answer suggests, with the flags that the user gave.
    pub suggest: Suggestions,
}

/// Reason why an object cannot be read from the cluster.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum ClusterReadError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("cannot read {what} {scope}: {reason}")]
    Unreadable { what: String, scope: String, reason: String },
}

impl ClusterContext {
    /// Returns the API for the objects of one kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Returns the API for the objects of one kind in this namespace, or in all namespaces.
    pub fn api_in<K>(&self, all_namespaces: bool) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        if all_namespaces { Api::all(self.client.clone()) } else { self.api() }
    }

    /// Returns the context of an object that was found in this namespace. Suggested commands name the namespace if it
    /// is another one.
    pub fn of_namespace(&self, namespace: &str) -> Self {
        let client = self.client.clone();
        if namespace == self.namespace {
            return Self { client, namespace: self.namespace.clone(), suggest: self.suggest.clone() };
        }
        Self { client, namespace: namespace.to_owned(), suggest: self.suggest.in_namespace(namespace) }
    }

    /// Returns a function that turns an error of a request into the error that `what` cannot be read.
    pub fn unreadable(&self, what: &str) -> impl Fn(kube::Error) -> ClusterReadError + use<> {
        unreadable(what, self.scope_text(false))
    }

    /// Returns the same function for a list of this namespace or of all namespaces.
    pub fn unreadable_in(&self, what: &str, all_namespaces: bool) -> impl Fn(kube::Error) -> ClusterReadError + use<> {
        unreadable(what, self.scope_text(all_namespaces))
    }

    fn scope_text(&self, all_namespaces: bool) -> String {
        if all_namespaces { "in all namespaces".to_owned() } else { format!("in namespace {}", self.namespace) }
    }

    /// Returns the namespaces and names of all objects of these kinds that the selectors match, sorted by kind. Prints a
    /// note to standard error if there are none, as kubectl does.
    ///
    /// # Errors
    /// The objects of a kind cannot be listed, or the cluster does not have the kind.
    pub async fn names_of(
        &self,
        kinds: &[Kind],
        selectors: &SelectorArguments,
    ) -> Result<Vec<(String, ObjectName)>, ClusterReadError> {
        let mut names = Vec::new();
        for kind in kinds {
            let all = selectors.all_namespaces;
            let listed = match kind {
                Kind::Job => self.listed::<Job>(selectors).await,
                Kind::CronJob => self.listed::<CronJob>(selectors).await,
                Kind::JobSchedule => self.listed::<JobSchedule>(selectors).await,
                Kind::JobLimit => self.listed::<JobLimit>(selectors).await,
            };
            match listed {
                Ok(found) => {
                    names.extend(
                        found.into_iter().map(|(namespace, name)| (namespace, ObjectName { kind: *kind, name })),
                    );
                }
                Err(error) => return Err(self.unreadable_in(kind.plural(), all)(error)),
            }
        }
        if names.is_empty() {
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.plural()).collect();
            let scope = self.scope_text(selectors.all_namespaces);
            output::error_line(format!("jobwright: no {} match {scope}", kinds.join(" or ")));
        }
        Ok(names)
    }

    async fn listed<K>(&self, selectors: &SelectorArguments) -> kube::Result<Vec<(String, String)>>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let list = self.api_in::<K>(selectors.all_namespaces).list_metadata(&selectors.list_params()).await?;
        Ok(list.items.iter().map(|one| (one.namespace().unwrap_or_default(), one.name_any())).collect())
    }

    /// Returns the pods that a Job controls.
    ///
    /// # Errors
    /// The pods cannot be read.
    pub async fn pods_of(&self, job: &Job) -> kube::Result<Vec<Pod>> {
        let selector = job.spec.as_ref().and_then(|spec| spec.selector.clone());
        let selector = selector.and_then(|selector| Selector::try_from(selector).ok()).unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &job.namespace().unwrap_or_default());
        let mut pods = pods.list_each(&ListParams::default().labels_from(&selector)).await?;
        let uid = job.uid().unwrap_or_default();
        pods.retain(|pod| controlling_owner(&pod.metadata).is_some_and(|owner| owner.uid == uid));
        Ok(pods)
    }

    /// Returns a Job and the pods that the Job controls.
    ///
    /// # Errors
    /// The Job or the pods cannot be read.
    pub async fn job_and_pods(&self, name: &str) -> Result<(Job, Vec<Pod>), ClusterReadError> {
        let job = self.api::<Job>().get(name).await.map_err(self.unreadable(&format!("job/{name}")))?;
        let pods = self.pods_of(&job).await.map_err(self.unreadable(&format!("the pods of job/{name}")))?;
        Ok((job, pods))
    }
}

fn unreadable(what: &str, scope: String) -> impl Fn(kube::Error) -> ClusterReadError + use<> {
    let what = what.to_owned();
    move |error| {
        let reason = if is_missing_resource(&error) { MISSING_RESOURCE.to_owned() } else { message(&error) };
        ClusterReadError::Unreadable { what: what.clone(), scope: scope.clone(), reason }
    }
}

/// Reason and remedy for a resource that the API server does not serve.
const MISSING_RESOURCE: &str =
    "the cluster does not have this resource; to install it, run: jobwright crds | kubectl apply -f -";

/// Returns whether the API server does not serve the resource. For an object that does not exist, the error names the
/// object.
fn is_missing_resource(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.code == 404 && status.details.as_ref().is_none_or(|details| details.name.is_empty())
}

/// Returns the condition of this type if its status is `True`.
pub fn condition<'a>(status: &'a JobStatus, type_: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|one| one.type_ == type_ && one.status == "True")
}

/// Returns the condition that ends a Job: `Complete` or `Failed`. `None` if the Job is unfinished.
pub fn end(status: &JobStatus) -> Option<&JobCondition> {
    condition(status, "Complete").or_else(|| condition(status, "Failed"))
}

/// Returns the controller that owns a Job, such as `cronjob/nightly`. `None` for a Job without one.
pub fn owner(job: &Job) -> Option<String> {
    let owner = controlling_owner(&job.metadata)?;
    Some(format!("{}/{}", owner.kind.to_lowercase(), owner.name))
}

/// Returns the exit code of a command. An error is printed to standard error and gives exit code 1.
pub fn exit_with<E: Display>(result: Result<ExitCode, E>) -> ExitCode {
    result.unwrap_or_else(|error| {
        output::error_line(format!("jobwright: {error}"));
        ExitCode::FAILURE
    })
}

/// Prints the text to standard output, or the error to standard error, and returns the exit code.
pub fn print_result<E: Display>(result: Result<String, E>) -> ExitCode {
    exit_with(result.map(|text| {
        output::print(text);
        ExitCode::SUCCESS
    }))
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    fn reason(status: serde_json::Value) -> String {
        let status: Status = serde_json::from_value(status).unwrap();
        let error = unreadable("joblimit/lim", "in namespace ux".to_owned())(kube::Error::Api(Box::new(status)));
        error.to_string()
    }

    #[test]
    fn missing_resource_is_distinguished_from_a_missing_object() {
        let resource = reason(json!({"status": "Failure", "message": "404 page not found", "reason": "", "code": 404}));
        assert_eq!(resource, format!("cannot read joblimit/lim in namespace ux: {MISSING_RESOURCE}"));
        let message = "joblimits.jobwright.dev \"lim\" not found";
        let object = reason(json!({"status": "Failure", "message": message, "reason": "NotFound", "code": 404,
            "details": {"name": "lim", "group": "jobwright.dev", "kind": "joblimits"}}));
        assert_eq!(object, format!("cannot read joblimit/lim in namespace ux: {message}"));
    }

    #[test]
    fn owner_is_the_controller_of_the_job() {
        let job = |controller: bool| -> Job {
            let owner = json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": "u", "controller": controller});
            serde_json::from_value(json!({"metadata": {"name": "a", "ownerReferences": [owner]}})).unwrap()
        };
        assert_eq!(owner(&job(true)).as_deref(), Some("cronjob/nightly"));
        assert_eq!(owner(&job(false)), None);
    }
}
