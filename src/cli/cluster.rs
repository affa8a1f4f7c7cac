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
use crate::cli::lists::ListEach;
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
        unreadable(what, format!("in namespace {}", self.namespace))
    }

    /// Returns the same function for a list of this namespace or of all namespaces.
    pub fn unreadable_in(&self, what: &str, all_namespaces: bool) -> impl Fn(kube::Error) -> ClusterReadError + use<> {
        if all_namespaces {
            unreadable(what, "in all namespaces".to_owned())
        } else {
            unreadable(what, format!("in namespace {}", self.namespace))
        }
    }

    /// Returns the namespaces and names of all objects of these kinds that the selectors match, sorted by kind. Kinds
    /// that the cluster does not have are left out.
    ///
    /// # Errors
    /// The objects of a kind cannot be listed.
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
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(self.unreadable_in(kind.plural(), all)(error)),
            }
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
        pods.retain(|pod| {
            pod.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.uid == uid)
        });
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
    move |error| ClusterReadError::Unreadable { what: what.clone(), scope: scope.clone(), reason: message(&error) }
}

/// Returns the condition of this type if its status is `True`.
pub fn condition<'a>(status: &'a JobStatus, type_: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|one| one.type_ == type_ && one.status == "True")
}

/// Returns the condition that ends a Job: `Complete` or `Failed`. `None` if the Job is unfinished.
pub fn end(status: &JobStatus) -> Option<&JobCondition> {
    condition(status, "Complete").or_else(|| condition(status, "Failed"))
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
