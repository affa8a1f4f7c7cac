//! Finding and checking the cluster before anything begins: each way to fail is one sentence that says what to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use thiserror::Error;

use crate::runtime::errors::message;

/// How long an API server may take to answer at the start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no cluster to work with.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ConnectError {
    #[error("cannot use the kubeconfig {}: {reason}; give --kubeconfig a readable kubeconfig file", .path.display())]
    Kubeconfig { path: PathBuf, reason: String },
    #[error("no cluster to work with: {reason}; give --kubeconfig a file, set KUBECONFIG, or run inside a cluster")]
    NoCluster { reason: String },
    #[error(
        "cannot reach the API server at {server}: {reason}; check that it runs and that the kubeconfig names it rightly"
    )]
    Unreachable { server: String, reason: String },
    #[error(
        "the API server at {server} does not know us: {reason}; check the credentials in the kubeconfig or the service account"
    )]
    Unauthorized { server: String, reason: String },
    #[error("missing permissions: {}; grant them by RBAC to the user or service account that jobwright runs as", .missing.join(", "))]
    Forbidden { missing: Vec<String> },
}

/// The flags that say which cluster to work with.
#[derive(Clone, Debug, clap::Args)]
pub struct ClusterArguments {
    /// Kubeconfig file; without it KUBECONFIG, ~/.kube/config, then the cluster we run in
    #[arg(long, env = "JOBWRIGHT_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, env = "JOBWRIGHT_CONTEXT", value_name = "NAME")]
    context: Option<String>,
}

impl ClusterArguments {
    /// Connects to the cluster that the flags, the environment or the pod we run in name.
    ///
    /// # Errors
    /// There is none, or it does not answer us; the error says what to do.
    pub async fn connect(&self) -> Result<Client, ConnectError> {
        connect(self.kubeconfig.as_deref(), self.context.as_deref()).await
    }
}

async fn connect(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Client, ConnectError> {
    let config = load(kubeconfig, context).await?;
    let server = config.cluster_url.to_string();
    let unreachable = |reason: String| ConnectError::Unreachable { server: server.clone(), reason };
    let client = Client::try_from(config).map_err(|error| unreachable(message(&error)))?;
    match tokio::time::timeout(PATIENCE, client.apiserver_version()).await {
        Ok(Ok(_)) => Ok(client),
        Ok(Err(kube::Error::Api(status))) if status.code == 401 => {
            Err(ConnectError::Unauthorized { server, reason: status.message.clone() })
        }
        Ok(Err(error)) => Err(unreachable(message(&error))),
        Err(_) => Err(unreachable(format!("no answer in {} s", PATIENCE.as_secs()))),
    }
}

async fn load(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Config, ConnectError> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    if let Some(path) = kubeconfig {
        let broken = |error: kube::config::KubeconfigError| ConnectError::Kubeconfig {
            path: path.to_owned(),
            reason: with_causes(&error),
        };
        let file = Kubeconfig::read_from(path).map_err(broken)?;
        return Config::from_custom_kubeconfig(file, &options).await.map_err(broken);
    }
    match Config::from_kubeconfig(&options).await {
        Ok(config) => Ok(config),
        // A context is only found in a kubeconfig, and inside a cluster there is none.
        Err(error) if context.is_some() => Err(ConnectError::NoCluster { reason: with_causes(&error) }),
        Err(error) => Config::incluster().map_err(|_| ConnectError::NoCluster { reason: with_causes(&error) }),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// A right that the controller needs: group, resource (with subresource), verb.
pub type Right = (&'static str, &'static str, &'static str);

/// What the Job controller does.
pub const JOB_RIGHTS: &[Right] = &[
    ("batch", "jobs", "get"),
    ("batch", "jobs", "list"),
    ("batch", "jobs", "watch"),
    ("batch", "jobs/status", "patch"),
    // Where the admission plugin OwnerReferencesPermissionEnforcement is on, a pod that blocks its owner's deletion needs it.
    ("batch", "jobs/finalizers", "update"),
    ("", "pods", "get"),
    ("", "pods", "list"),
    ("", "pods", "watch"),
    ("", "pods", "create"),
    ("", "pods", "delete"),
    ("", "pods", "patch"),
    ("", "events", "create"),
    ("", "events", "patch"),
];

/// What the CronJob controller does.
pub const CRON_JOB_RIGHTS: &[Right] = &[
    ("batch", "cronjobs", "get"),
    ("batch", "cronjobs", "list"),
    ("batch", "cronjobs", "watch"),
    ("batch", "cronjobs/status", "patch"),
    ("batch", "cronjobs/finalizers", "update"),
    ("batch", "jobs", "get"),
    ("batch", "jobs", "list"),
    ("batch", "jobs", "watch"),
    ("batch", "jobs", "create"),
    ("batch", "jobs", "delete"),
    ("", "events", "create"),
    ("", "events", "patch"),
];

/// What the TTL controller does.
pub const TTL_RIGHTS: &[Right] =
    &[("batch", "jobs", "get"), ("batch", "jobs", "list"), ("batch", "jobs", "watch"), ("batch", "jobs", "delete")];

/// Asks the API server whether we may do what we are going to do.
pub async fn check_rights(client: &Client, namespace: Option<&str>, rights: &[Right]) -> Result<(), ConnectError> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let asked = rights.iter().map(|&(group, resource, verb)| {
        let reviews = reviews.clone();
        let (plain, subresource) = resource.split_once('/').map_or((resource, None), |(plain, sub)| (plain, Some(sub)));
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    group: Some(group.to_owned()),
                    resource: Some(plain.to_owned()),
                    subresource: subresource.map(str::to_owned),
                    verb: Some(verb.to_owned()),
                    namespace: namespace.map(str::to_owned),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        async move {
            match reviews.create(&PostParams::default(), &review).await {
                Ok(review) => review.status.is_some_and(|status| status.allowed),
                Err(error) => {
                    // Who may not even ask may still be allowed to act.
                    tracing::warn!(%resource, verb, error = %message(&error), "could not ask for a permission");
                    true
                }
            }
        }
    });
    let allowed = join_all(asked).await;
    let place = namespace.map_or("in all namespaces".to_owned(), |namespace| format!("in namespace {namespace}"));
    let missing: Vec<String> = rights
        .iter()
        .zip(allowed)
        .filter(|(_, allowed)| !allowed)
        .map(|((_, resource, verb), _)| format!("{verb} {resource} {place}"))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(ConnectError::Forbidden { missing }) }
}
