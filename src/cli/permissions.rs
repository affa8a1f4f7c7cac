//! What a run needs to be allowed to do, and asking the API server whether it is.

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use thiserror::Error;

use crate::runtime::errors::message;

/// Permissions are missing.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("missing permissions: {}; grant them by RBAC to the user or service account that jobwright runs as", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Forbidden(Vec<Missing>);

/// What is missing on one resource.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{} {resource} {scope}", .verbs.join(", "))]
struct Missing {
    resource: &'static str,
    scope: String,
    verbs: Vec<&'static str>,
}

/// Rights that are asked for together.
#[derive(Clone, Debug)]
pub struct PermissionCheck {
    /// In this namespace; in all if none.
    pub namespace: Option<String>,
    /// On the object of this name; on all if none.
    pub name: Option<String>,
    /// Which.
    pub permissions: Vec<Permission>,
}

/// A right that the controller needs: group, resource (with subresource), verb.
pub type Permission = (&'static str, &'static str, &'static str);

/// What the Job controller does.
pub const JOB: &[Permission] = &[
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
pub const CRON_JOB: &[Permission] = &[
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
pub const TTL: &[Permission] = &[
    ("batch", "jobs", "get"),
    ("batch", "jobs", "list"),
    ("batch", "jobs", "watch"),
    ("batch", "jobs", "delete"),
    ("", "events", "create"),
    ("", "events", "patch"),
];

/// What the JobSchedule controller does.
pub const JOB_SCHEDULE: &[Permission] = &[
    ("jobwright.dev", "jobschedules", "get"),
    ("jobwright.dev", "jobschedules", "list"),
    ("jobwright.dev", "jobschedules", "watch"),
    ("jobwright.dev", "jobschedules/status", "patch"),
    ("jobwright.dev", "jobschedules/finalizers", "update"),
    ("batch", "jobs", "get"),
    ("batch", "jobs", "list"),
    ("batch", "jobs", "watch"),
    ("batch", "jobs", "create"),
    ("batch", "jobs", "delete"),
    ("", "events", "create"),
    ("", "events", "patch"),
];

/// What is read of the namespaces' defaults.
pub const NAMESPACES: &[Permission] =
    &[("", "namespaces", "get"), ("", "namespaces", "list"), ("", "namespaces", "watch")];

/// What heeding JobLimits takes.
pub const JOB_LIMITS: &[Permission] =
    &[("jobwright.dev", "joblimits", "list"), ("jobwright.dev", "joblimits", "watch")];

/// What keeping the last lines of a log takes.
pub const LOGS: &[Permission] = &[("", "pods/log", "get")];

/// What leader election does.
pub const LEASE: &[Permission] = &[
    ("coordination.k8s.io", "leases", "get"),
    ("coordination.k8s.io", "leases", "list"),
    ("coordination.k8s.io", "leases", "watch"),
    ("coordination.k8s.io", "leases", "create"),
    ("coordination.k8s.io", "leases", "update"),
];

impl PermissionCheck {
    fn scope(&self) -> String {
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            (Some(namespace), None) => format!("in namespace {namespace}"),
            (None, _) => "in all namespaces".to_owned(),
        }
    }

    fn review(&self, (group, resource, verb): Permission) -> SelfSubjectAccessReview {
        let (plain, subresource) = resource.split_once('/').map_or((resource, None), |(plain, sub)| (plain, Some(sub)));
        SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    group: Some(group.to_owned()),
                    resource: Some(plain.to_owned()),
                    subresource: subresource.map(str::to_owned),
                    verb: Some(verb.to_owned()),
                    namespace: self.namespace.clone(),
                    // What does not exist yet has no name that a rule could be about.
                    name: self.name.clone().filter(|_| verb != "create"),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        }
    }
}

/// Asks the API server whether we may do what we are going to do.
///
/// # Errors
/// We may not; the error says what is missing.
pub async fn check(client: &Client, checks: &[PermissionCheck]) -> Result<(), Forbidden> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let questions =
        checks.iter().flat_map(|check| check.permissions.iter().map(move |permission| (check, *permission)));
    let answers = questions.map(|(check, permission)| {
        let reviews = &reviews;
        async move {
            let (_, resource, verb) = permission;
            let (params, review) = (PostParams::default(), check.review(permission));
            let allowed = match reviews.create(&params, &review).await {
                Ok(review) => review.status.is_some_and(|status| status.allowed),
                Err(error) => {
                    // Who may not even ask may still be allowed to act.
                    tracing::warn!(%resource, verb, error = %message(&error), "could not ask for a permission");
                    true
                }
            };
            (!allowed).then(|| (resource, check.scope(), verb))
        }
    });
    let mut missing: Vec<Missing> = Vec::new();
    for (resource, scope, verb) in join_all(answers).await.into_iter().flatten() {
        match missing.iter_mut().find(|missing| missing.resource == resource && missing.scope == scope) {
            Some(missing) => missing.verbs.push(verb),
            None => missing.push(Missing { resource, scope, verbs: vec![verb] }),
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Forbidden(missing)) }
}
