//! Lists the pods that carry the tracking finalizer, and the Jobs that decide which of these pods are selected.

use std::collections::HashMap;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::core::ObjectList;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Deserialize;

use super::UninstallError;
use super::select::{JobFacts, PodOwner, Selection, TrackedPod, select};
use crate::job::managed_by::Claim;
use crate::job::view::controlling_owner;
use crate::job::wire::WireJob;
use crate::job::{API_VERSION, KIND, TRACKING_FINALIZER};
use crate::runtime::errors::message;

/// Maximum number of objects in one response.
const PAGE: u32 = 500;
/// Maximum number of times that a list is begun. A list begins again when the snapshot of its later pages has expired.
const ATTEMPTS: usize = 3;

/// Selects the pods of one namespace, or of all namespaces, whose finalizer is to be removed.
///
/// # Errors
/// The pods or the Jobs cannot be listed.
pub(crate) async fn scan(client: &Client, namespace: Option<&str>, claim: Claim) -> Result<Selection, UninstallError> {
    let unreadable = |what| move |error: kube::Error| UninstallError::Unreadable { what, reason: message(&error) };
    // The pods come first: a Job that is missing from the later list does not exist.
    let pods: Api<Pod> = api(client, namespace);
    let list = |params: ListParams| {
        let pods = pods.clone();
        async move { pods.list_metadata(&params).await }
    };
    let pods = pages(list, |pod| tracked(&pod)).await.map_err(unreadable("pods"))?;
    if pods.is_empty() {
        return Ok(Selection::default());
    }
    let jobs: Api<WireJob> = api(client, namespace);
    let list = |params: ListParams| {
        let jobs = jobs.clone();
        async move { jobs.list(&params).await }
    };
    let jobs = pages(list, |job| Some((job.uid()?, facts(&job)))).await.map_err(unreadable("jobs"))?;
    Ok(select(pods, &HashMap::from_iter(jobs), claim))
}

fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(
    client: &Client,
    namespace: Option<&str>,
) -> Api<K> {
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

async fn pages<T, U, F>(list: impl Fn(ListParams) -> F, take: impl Fn(T) -> Option<U>) -> kube::Result<Vec<U>>
where
    T: Clone + Debug + for<'de> Deserialize<'de>,
    F: Future<Output = kube::Result<ObjectList<T>>>,
{
    let mut attempt = 1;
    loop {
        let mut taken = Vec::new();
        let mut params = ListParams::default().limit(PAGE);
        let expired = loop {
            match list(params.clone()).await {
                Ok(page) => {
                    taken.extend(page.items.into_iter().filter_map(&take));
                    match page.metadata.continue_.filter(|token| !token.is_empty()) {
                        Some(token) => params = params.continue_token(&token),
                        None => return Ok(taken),
                    }
                }
                Err(kube::Error::Api(status)) if status.code == 410 && attempt < ATTEMPTS => break status,
                Err(error) => return Err(error),
            }
        };
        tracing::debug!(error = %expired.message, "a page of the list expired; listing again");
        attempt += 1;
    }
}

fn tracked(pod: &impl ResourceExt) -> Option<TrackedPod> {
    if !pod.finalizers().iter().any(|finalizer| finalizer == TRACKING_FINALIZER) {
        return None;
    }
    let owner = match controlling_owner(pod.meta()) {
        None => PodOwner::Missing,
        Some(owner) if owner.kind == KIND && owner.api_version == API_VERSION => {
            PodOwner::Job { name: owner.name.clone(), uid: owner.uid.clone() }
        }
        Some(_) => PodOwner::Other,
    };
    Some(TrackedPod {
        namespace: pod.namespace()?,
        name: pod.name_any(),
        uid: pod.uid()?,
        resource_version: pod.resource_version()?,
        owner,
    })
}

fn facts(job: &WireJob) -> JobFacts {
    let ended = |type_: &str| type_ == "Complete" || type_ == "Failed";
    let conditions = job.status.conditions.as_deref().unwrap_or_default();
    JobFacts {
        namespace: job.namespace().unwrap_or_default(),
        managed_by: job.spec.managed_by.clone(),
        finished: conditions.iter().any(|one| ended(&one.type_) && one.status == "True"),
        deleting: job.metadata.deletion_timestamp.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kube::core::{ListMeta, Status, TypeMeta};
    use serde_json::json;

    use super::*;

    fn pod(metadata: serde_json::Value) -> Pod {
        let mut pod = json!({"metadata": {
            "namespace": "default", "name": "a", "uid": "u", "resourceVersion": "1", "finalizers": [TRACKING_FINALIZER],
        }});
        for (key, value) in metadata.as_object().unwrap() {
            pod["metadata"][key] = value.clone();
        }
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn tracked_pod_has_the_finalizer_and_its_controlling_owner() {
        assert_eq!(tracked(&pod(json!({"finalizers": ["example.com/other"]}))), None);
        let owner = |kind: &str, api_version: &str, controller: bool| {
            let owner =
                json!({"kind": kind, "apiVersion": api_version, "name": "o", "uid": "ou", "controller": controller});
            tracked(&pod(json!({"ownerReferences": [owner]}))).unwrap().owner
        };
        assert_eq!(owner("Job", "batch/v1", true), PodOwner::Job { name: "o".into(), uid: "ou".into() });
        assert_eq!(owner("Job", "batch/v1", false), PodOwner::Missing);
        assert_eq!(owner("Job", "example.com/v1", true), PodOwner::Other);
        assert_eq!(owner("ReplicaSet", "apps/v1", true), PodOwner::Other);
    }

    #[tokio::test]
    async fn list_is_read_in_pages_and_begins_again_after_an_expired_page() {
        let asked = AtomicUsize::new(0);
        let list = |params: ListParams| {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            async move {
                assert_eq!(params.limit, Some(PAGE));
                let token = params.continue_token;
                let page = |items: Vec<u32>, next: &str| {
                    let metadata = ListMeta { continue_: Some(next.to_owned()), ..ListMeta::default() };
                    Ok(ObjectList { types: TypeMeta::default(), metadata, items })
                };
                match (number, token.as_deref()) {
                    (0, None) => page(vec![1, 2], "second"),
                    (1, Some("second")) => {
                        Err(kube::Error::Api(Box::new(Status { code: 410, ..Status::failure("old", "Expired") })))
                    }
                    (2, None) => page(vec![1, 3], "second"),
                    (3, Some("second")) => page(vec![4], ""),
                    other => panic!("{other:?}"),
                }
            }
        };
        let found = pages(list, |number| (number != 3).then_some(number)).await.unwrap();
        assert_eq!(found, [1, 4]);
    }
}
