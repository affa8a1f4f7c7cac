//! Functions that the subcommands with a cluster share: connecting, reading objects, and finding how a Job ended.

use std::fmt::Display;
use std::process::ExitCode;

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use thiserror::Error;

use super::connect::{ClusterArguments, ConnectError};
use crate::runtime::errors::message;

/// The flags that select the cluster and the namespace.
#[derive(Clone, Debug, clap::Args)]
pub struct NamespaceArguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// The namespace; without it the context's
    #[arg(short, long, env = "JOBWRIGHT_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,
}

/// A client of a cluster, and the namespace that the flags select.
pub struct ClusterContext {
    /// Client of the cluster.
    pub client: Client,
    /// Namespace that the flags or the context select.
    pub namespace: String,
}

/// Kind and name of an object that starts Jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleRef {
    /// `cronjob/NAME`.
    CronJob(String),
    /// `jobschedule/NAME`.
    JobSchedule(String),
}

impl ScheduleRef {
    /// Parses `cronjob/NAME` or `jobschedule/NAME`; `cj` and `jsched` are accepted as short names.
    ///
    /// # Errors
    /// The text has another form. The error names the accepted forms.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once('/').filter(|(_, name)| !name.is_empty()).unwrap_or_default();
        match kind {
            "cronjob" | "cj" => Ok(Self::CronJob(name.to_owned())),
            "jobschedule" | "jsched" => Ok(Self::JobSchedule(name.to_owned())),
            _ => Err("must be cronjob/NAME or jobschedule/NAME".to_owned()),
        }
    }
}

impl Display for ScheduleRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CronJob(name) => write!(f, "cronjob/{name}"),
            Self::JobSchedule(name) => write!(f, "jobschedule/{name}"),
        }
    }
}

/// Reason why an object cannot be read from the cluster.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum ClusterReadError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot read {what} in namespace {namespace}: {reason}")]
    Unreadable { what: String, namespace: String, reason: String },
}

impl NamespaceArguments {
    /// Connects to the cluster and determines the namespace.
    ///
    /// # Errors
    /// No cluster is configured, or its API server does not answer or rejects the credentials.
    pub async fn open(&self) -> Result<ClusterContext, ConnectError> {
        let client = self.cluster.connect(None).await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        Ok(ClusterContext { client, namespace })
    }
}

impl ClusterContext {
    /// Returns the API for the objects of one kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Returns a function that turns an error of a request into the error that `what` cannot be read.
    pub fn unreadable(&self, what: &str) -> impl Fn(kube::Error) -> ClusterReadError + use<> {
        let (what, namespace) = (what.to_owned(), self.namespace.clone());
        move |error| ClusterReadError::Unreadable {
            what: what.clone(),
            namespace: namespace.clone(),
            reason: message(&error),
        }
    }

    /// Returns a Job and the pods that the Job controls.
    ///
    /// # Errors
    /// The Job or the pods cannot be read.
    pub async fn job_and_pods(&self, name: &str) -> Result<(Job, Vec<Pod>), ClusterReadError> {
        let unreadable = self.unreadable(&format!("job/{name}"));
        let job = self.api::<Job>().get(name).await.map_err(&unreadable)?;
        let mut pods = self.api::<Pod>().list(&ListParams::default()).await.map_err(&unreadable)?.items;
        let uid = job.uid().unwrap_or_default();
        pods.retain(|pod| {
            pod.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.uid == uid)
        });
        Ok((job, pods))
    }
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
        eprintln!("jobwright: {error}");
        ExitCode::FAILURE
    })
}

/// Prints the text to standard output, or the error to standard error, and returns the exit code.
pub fn print_result<E: Display>(result: Result<String, E>) -> ExitCode {
    exit_with(result.map(|text| {
        print!("{text}");
        ExitCode::SUCCESS
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_reference_is_distinguished_from_a_schedule() {
        assert_eq!(ScheduleRef::parse("cj/nightly"), Ok(ScheduleRef::CronJob("nightly".to_owned())));
        assert_eq!(ScheduleRef::parse("jobschedule/spread"), Ok(ScheduleRef::JobSchedule("spread".to_owned())));
        assert!(ScheduleRef::parse("*/5 * * * *").is_err());
        assert!(ScheduleRef::parse("@daily").is_err());
    }
}
