//! Queues of Kueue, read with the permissions of the user where the cluster has them, and kept for some seconds.

use std::sync::Arc;

use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt};

use super::access::{Access, Decision, Permission};
use super::identity::User;
use super::recent::Recent;
use crate::runtime::errors::message;

const GROUP: &str = "kueue.x-k8s.io";
/// Maximum number of queues of each kind that are read.
pub const MAX_QUEUES: u32 = 500;

const LOCAL: Permission = Permission { verb: "list", group: GROUP, resource: "localqueues" };
const CLUSTER: Permission = Permission { verb: "list", group: GROUP, resource: "clusterqueues" };

/// Queue of Kueue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Namespace of a LocalQueue. A ClusterQueue has none.
    pub namespace: Option<String>,
    /// Name of the queue.
    pub name: String,
    /// ClusterQueue of a LocalQueue, or cohort of a ClusterQueue.
    pub parent: String,
    /// Number of workloads that wait.
    pub pending: i64,
    /// Number of workloads that are admitted.
    pub admitted: i64,
}

impl Queue {
    fn of(object: &DynamicObject) -> Self {
        let (spec, status) = (&object.data["spec"], &object.data["status"]);
        let parent = ["clusterQueue", "cohortName", "cohort"].into_iter().find_map(|field| spec[field].as_str());
        let count = |field: &str| status[field].as_i64().unwrap_or_default();
        Self {
            namespace: object.namespace(),
            name: object.name_any(),
            parent: parent.unwrap_or_default().to_owned(),
            pending: count("pendingWorkloads"),
            admitted: count("admittedWorkloads"),
        }
    }
}

/// Queues that a user is allowed to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// LocalQueues.
    pub local: Vec<Queue>,
    /// ClusterQueues.
    pub cluster: Vec<Queue>,
    /// Error of a read that failed.
    pub failed: Option<String>,
}

/// Queues that were read in the last seconds.
#[derive(Default)]
pub struct QueueReads {
    known: Recent<(Arc<str>, Option<String>), Queues>,
}

impl QueueReads {
    /// Returns the queues of a namespace, or of all namespaces, that a user is allowed to list.
    pub async fn read(&self, access: &Access, user: &User, namespace: Option<&str>) -> Queues {
        let key = (user.key().clone(), namespace.map(str::to_owned));
        self.known.get(key, read(access, user, namespace)).await
    }
}

async fn read(access: &Access, user: &User, namespace: Option<&str>) -> Queues {
    let client = user.client();
    let Some(version) = version(&client).await else { return Queues::default() };
    let place = namespace.map(Arc::from);
    let (local, cluster) = tokio::join!(access.check(user, LOCAL, place.as_ref()), access.check(user, CLUSTER, None));
    let mut queues = Queues::default();
    let resource = |kind: &str, plural: &str| {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, &version, kind), plural)
    };
    if local == Decision::Allowed {
        let resource = resource("LocalQueue", "localqueues");
        let api = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        queues.local = list(&api, &mut queues.failed).await;
    }
    if cluster == Decision::Allowed {
        let api = Api::all_with(client.clone(), &resource("ClusterQueue", "clusterqueues"));
        queues.cluster = list(&api, &mut queues.failed).await;
    }
    queues
}

/// Returns the preferred version of the API of Kueue. `None` if the cluster does not have it.
async fn version(client: &Client) -> Option<String> {
    let groups = client.list_api_groups().await.ok()?;
    let group = groups.groups.into_iter().find(|group| group.name == GROUP)?;
    let first = group.versions.into_iter().next();
    group.preferred_version.or(first).map(|version| version.version)
}

async fn list(api: &Api<DynamicObject>, failed: &mut Option<String>) -> Vec<Queue> {
    match api.list(&ListParams::default().limit(MAX_QUEUES)).await {
        Ok(found) => found.items.iter().map(Queue::of).collect(),
        // The group can lack the resource, as after the deletion of the CRD.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Vec::new(),
        Err(error) => {
            *failed = Some(message(&error));
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn queue_has_its_parent_and_its_numbers() {
        let local = object(json!({"metadata": {"namespace": "n", "name": "q"}, "spec": {"clusterQueue": "c"},
            "status": {"pendingWorkloads": 3, "admittedWorkloads": 2}}));
        let expected =
            Queue { namespace: Some("n".into()), name: "q".into(), parent: "c".into(), pending: 3, admitted: 2 };
        assert_eq!(Queue::of(&local), expected);
        let cluster =
            object(json!({"metadata": {"name": "c"}, "spec": {"cohort": "all"}, "status": {"pendingWorkloads": "x"}}));
        assert_eq!((Queue::of(&cluster).parent.as_str(), Queue::of(&cluster).pending), ("all", 0));
    }
}
