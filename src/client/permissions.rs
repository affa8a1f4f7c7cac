//! The permissions that `jobwright run` needs, and the check of these permissions by the API server.

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use thiserror::Error;

use crate::runtime::errors::message;

/// Error that permissions are missing, with all of them.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("missing permissions: {}; grant them by RBAC to the user or service account that jobwright runs as", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Forbidden(Vec<Missing>);

/// Missing verbs on one resource.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{} {resource} {scope}", .verbs.join(", "))]
struct Missing {
    resource: &'static str,
    scope: String,
    verbs: Vec<&'static str>,
}

/// Permissions that are checked in the same scope.
#[derive(Clone, Debug)]
pub struct PermissionCheck {
    /// Namespace of the check. `None` stands for all namespaces.
    pub namespace: Option<String>,
    /// Name of the only object that the permissions concern. `None` stands for all objects.
    pub name: Option<String>,
    /// Permissions to check.
    pub permissions: Vec<Permission>,
}

/// A permission: API group, resource (with subresource after a slash), and verb.
pub type Permission = (&'static str, &'static str, &'static str);

/// Permissions of the Job controller.
pub const JOB: &[Permission] = &[
    ("batch", "jobs", "get"),
    ("batch", "jobs", "list"),
    ("batch", "jobs", "watch"),
    ("batch", "jobs/status", "patch"),
    // The admission plugin OwnerReferencesPermissionEnforcement requires this permission to create a pod whose owner
    // reference has blockOwnerDeletion.
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

/// Permissions of the CronJob controller.
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

/// Permissions of the TTL controller.
pub const TTL: &[Permission] = &[
    ("batch", "jobs", "get"),
    ("batch", "jobs", "list"),
    ("batch", "jobs", "watch"),
    ("batch", "jobs", "delete"),
    ("", "events", "create"),
    ("", "events", "patch"),
];

/// Permissions of the JobSchedule controller.
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

/// Permissions to read the default TTLs in the annotations of namespaces.
pub const NAMESPACES: &[Permission] =
    &[("", "namespaces", "get"), ("", "namespaces", "list"), ("", "namespaces", "watch")];

/// Permissions to apply JobLimits.
pub const JOB_LIMITS: &[Permission] = &[
    ("jobwright.dev", "joblimits", "list"),
    ("jobwright.dev", "joblimits", "watch"),
    ("jobwright.dev", "joblimits/status", "patch"),
];

/// Permissions to apply JobPolicies.
pub const JOB_POLICIES: &[Permission] = &[
    ("jobwright.dev", "jobpolicies", "list"),
    ("jobwright.dev", "jobpolicies", "watch"),
    ("jobwright.dev", "jobpolicies/status", "patch"),
];

/// Permissions for the start deadlines of JobPolicies.
pub const START_DEADLINES: &[Permission] = &[
    // A pod that did not start in time gets a condition.
    ("", "pods/status", "patch"),
    // A Job is suspended if its pods do not start in time and its policy states that.
    ("batch", "jobs", "patch"),
];

/// Permissions to apply Calendars.
pub const CALENDARS: &[Permission] = &[
    ("jobwright.dev", "calendars", "list"),
    ("jobwright.dev", "calendars", "watch"),
    ("jobwright.dev", "calendars/status", "patch"),
];

/// Permissions to manage Workloads and PodGroups.
pub const GANG_SCHEDULING: &[Permission] = &[
    ("scheduling.k8s.io", "workloads", "get"),
    ("scheduling.k8s.io", "workloads", "list"),
    ("scheduling.k8s.io", "workloads", "watch"),
    ("scheduling.k8s.io", "workloads", "create"),
    ("scheduling.k8s.io", "workloads", "patch"),
    ("scheduling.k8s.io", "podgroups", "get"),
    ("scheduling.k8s.io", "podgroups", "list"),
    ("scheduling.k8s.io", "podgroups", "watch"),
    ("scheduling.k8s.io", "podgroups", "create"),
    ("scheduling.k8s.io", "podgroups", "patch"),
];

/// Permissions for `--log-tail`, which reads container logs.
pub const LOGS: &[Permission] = &[("", "pods/log", "get")];

/// Permissions of leader election, on the Lease.
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
                    // RBAC cannot restrict `create` by name: the name of a new object is not known at authorization
                    // time.
                    name: self.name.clone().filter(|_| verb != "create"),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        }
    }
}

/// Checks the permissions with SelfSubjectAccessReviews, all concurrently. A permission that cannot be checked counts
/// as granted.
///
/// # Errors
/// Permissions are missing. The error names all of them.
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
                    // An account that is not allowed to create reviews may still have the permission itself.
                    tracing::warn!(%resource, verb, error = %message(&error), "cannot check a permission");
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
