//! Interface between the controllers and the JobPolicies.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::job::policy::PolicyRules;
use crate::job::view::JobView;

/// JobPolicies that govern Jobs.
pub trait PolicySource: Send + Sync {
    /// Returns what governs a Job.
    fn governing(&self, job: &JobView) -> Governing;

    /// Returns what governs a Job, with the JobPolicies of its namespace read from the API server.
    fn governing_live<'a>(&'a self, job: &'a JobView) -> BoxFuture<'a, kube::Result<Governing>>;

    /// Returns the changes of policies from now on, as the Jobs that each concerns.
    fn subscribe(&self) -> UnboundedReceiver<Concerned>;
}

/// What governs a Job.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Governing {
    /// No JobPolicy.
    #[default]
    Nothing,
    /// The JobPolicy that the Job names does not exist, or is not valid. No other one governs the Job.
    Missing,
    /// The JobPolicy with these rules.
    Policy(Arc<PolicyRules>),
}

impl Governing {
    /// Returns the rules, if there are any.
    pub fn rules(&self) -> Option<&PolicyRules> {
        match self {
            Self::Policy(rules) => Some(rules),
            Self::Nothing | Self::Missing => None,
        }
    }
}

/// Jobs that a changed policy concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concerned {
    /// Jobs of this namespace.
    Namespace(Arc<str>),
    /// Jobs of all namespaces.
    Cluster,
}

impl Concerned {
    /// Returns whether these Jobs include this one.
    pub fn includes(&self, job: &JobView) -> bool {
        match self {
            Self::Namespace(namespace) => *namespace == job.identity.namespace,
            Self::Cluster => true,
        }
    }
}
