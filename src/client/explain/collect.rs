//! Reads many Jobs with their pods and warnings: one list of each, whatever the number of Jobs.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::cause::{Finding, JobFacts, find};
use super::explanation::Unread;
use super::warnings::seen_at;
use crate::client::lists::ListEach;
use crate::job::view::controlling_owner;
use crate::runtime::errors::message;

/// Label of the pods of every Job with a generated selector.
const CONTROLLER_UID_LABEL: &str = crate::job::CONTROLLER_UID_LABEL;

/// Namespaces from which objects are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All namespaces.
    All,
    /// One namespace.
    Namespace(String),
}

impl Scope {
    /// Returns the API for the objects of one kind in the scope.
    pub(crate) fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match self {
            Self::All => Api::all(client.clone()),
            Self::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => write!(f, "all namespaces"),
            Self::Namespace(namespace) => write!(f, "namespace {namespace}"),
        }
    }
}

/// Pods and warnings of Jobs, by the UID of the Job.
#[derive(Debug, Default)]
pub(crate) struct Related {
    pods: HashMap<String, Vec<Pod>>,
    warnings: HashMap<String, Vec<Event>>,
    /// What could not be read.
    pub(crate) unread: Vec<Unread>,
}

impl Related {
    /// Reads the pods and warnings of these Jobs. What cannot be read is left out and named in `unread`.
    pub(crate) async fn read(client: &Client, scope: &Scope, jobs: &[Job]) -> Self {
        // The API server sets no label for a Job whose selector was given.
        let manual = jobs.iter().any(|job| job.spec.as_ref().is_some_and(|spec| spec.manual_selector == Some(true)));
        let of_jobs = ListParams::default();
        let of_jobs = if manual { of_jobs } else { of_jobs.labels(CONTROLLER_UID_LABEL) };
        let (pods, events) = (scope.api::<Pod>(client), scope.api::<Event>(client));
        let warnings = ListParams::default().fields("type=Warning");
        let (pods, events) = tokio::join!(pods.list_each(&of_jobs), events.list_each(&warnings));
        let mut related = Self::default();
        let mut missing = |resource: &str, error: kube::Error, effect: &str| {
            let (resource, effect) = (resource.to_owned(), effect.to_owned());
            related.unread.push(Unread { resource, reason: message(&error), effect });
        };
        let pods = pods.unwrap_or_else(|error| {
            missing("pods", error, "the states of pods are not known");
            Vec::new()
        });
        let events = events.unwrap_or_else(|error| {
            missing("events", error, "warnings are not known");
            Vec::new()
        });
        related.sort(jobs, pods, events);
        related
    }

    /// Assigns pods and events to the Jobs that they concern, the newest event first.
    fn sort(&mut self, jobs: &[Job], pods: Vec<Pod>, mut events: Vec<Event>) {
        let known: BTreeSet<String> = jobs.iter().filter_map(ResourceExt::uid).collect();
        let mut job_of_pod: HashMap<String, String> = HashMap::new();
        for pod in pods {
            let Some(uid) =
                controlling_owner(&pod.metadata).map(|owner| owner.uid.clone()).filter(|uid| known.contains(uid))
            else {
                continue;
            };
            job_of_pod.extend(pod.uid().map(|pod| (pod, uid.clone())));
            self.pods.entry(uid).or_default().push(pod);
        }
        events.sort_by_key(|event| std::cmp::Reverse(seen_at(event)));
        for event in events {
            let Some(about) = event.involved_object.uid.clone() else { continue };
            let job = if known.contains(&about) { Some(about) } else { job_of_pod.get(&about).cloned() };
            if let Some(job) = job {
                self.warnings.entry(job).or_default().push(event);
            }
        }
    }

    /// Returns a line for each resource that could not be read in the scope.
    pub(crate) fn unread_lines(&self, scope: &Scope) -> Vec<String> {
        let line = |one: &Unread| format!("{} cannot be read in {scope}: {}", one.resource, one.reason);
        self.unread.iter().map(line).collect()
    }

    /// Returns the pods of a Job.
    pub(crate) fn pods(&self, job: &Job) -> &[Pod] {
        job.uid().and_then(|uid| self.pods.get(&uid)).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns the state of a Job and its cause.
    pub(crate) fn find(&self, job: &Job, now: Timestamp) -> Finding {
        let pods: Vec<&Pod> = self.pods(job).iter().collect();
        let warnings = job.uid().and_then(|uid| self.warnings.get(&uid)).map(Vec::as_slice).unwrap_or_default();
        find(&JobFacts { job, pods: &pods, pods_known: true, warnings }, now)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_and_warnings_are_assigned_to_their_job() {
        let job =
            |uid: &str| -> Job { serde_json::from_value(json!({"metadata": {"name": uid, "uid": uid}})).unwrap() };
        let pod = |uid: &str, owner: &str| -> Pod {
            let owner =
                json!({"apiVersion": "batch/v1", "kind": "Job", "name": owner, "uid": owner, "controller": true});
            serde_json::from_value(json!({"metadata": {"name": uid, "uid": uid, "ownerReferences": [owner]}})).unwrap()
        };
        let event = |uid: &str, at: &str| -> Event {
            serde_json::from_value(json!({"metadata": {}, "involvedObject": {"uid": uid}, "lastTimestamp": at}))
                .unwrap()
        };
        let jobs = [job("a"), job("b")];
        let mut related = Related::default();
        let events = vec![
            event("p", "2026-01-01T00:00:00Z"),
            event("a", "2026-01-01T00:01:00Z"),
            event("q", "2026-01-01T00:00:00Z"),
        ];
        related.sort(&jobs, vec![pod("p", "a"), pod("q", "other")], events);
        assert_eq!(related.pods(&jobs[0]).len(), 1);
        assert_eq!(related.pods(&jobs[1]).len(), 0);
        let about: Vec<_> =
            related.warnings["a"].iter().filter_map(|event| event.involved_object.uid.clone()).collect();
        assert_eq!(about, ["a", "p"]);
        assert_eq!(related.warnings.len(), 1);
    }
}
