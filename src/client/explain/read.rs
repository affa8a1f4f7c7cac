//! Reads the objects from which an explanation is made. What the user is not allowed to read is named, and the rest is
//! explained.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use k8s_openapi::api::scheduling::v1beta1::PodGroup;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::explanation::{Explanation, Unread};
use super::groups::{self, GroupState};
use super::next_step::job_view;
use super::pod::{NodeState, doubtful_node};
use super::policy::PolicyState;
use super::warnings::seen_at;
use super::{cron_job, job, job_limit, job_schedule};
use crate::client::calendars;
use crate::client::cluster::{ClusterContext, ClusterReadError, end};
use crate::client::leases::Leases;
use crate::client::lists::ListEach;
use crate::client::names::{Kind, ObjectName};
use crate::job::admission::{Admission, WAITING_ANNOTATION};
use crate::job::config::SyncConfig;
use crate::job::decide::after;
use crate::job::view::JobView;
use crate::job::wire::WireJob;
use crate::limit::admission::{AdmissionState, Admissions};
use crate::limit::view::{LimitView, WireJobLimit};
use crate::limit::workload::Workload;
use crate::policy::view::{PolicyView, WireJobPolicy};
use crate::runtime::errors::message;
use crate::runtime::identity::Uid;
use crate::schedule::job_schedule::view::{JobScheduleView, WireJobSchedule};

/// What an explanation lacks without the pods of a Job.
const PODS_UNKNOWN: &str = "the states of its pods are not known";
/// Maximum number of nodes that are read.
const MAX_NODES: usize = 20;

/// Reads an object and what belongs to it, and explains it.
///
/// # Errors
/// The object itself cannot be read.
pub(crate) async fn explained(context: &ClusterContext, object: &ObjectName) -> Result<Explanation, ClusterReadError> {
    let unreadable = context.unreadable(&object.to_string());
    let mut reader = Reader { context, unread: Vec::new() };
    match object.kind {
        Kind::Job => {
            let job = context.api::<Job>().get(&object.name).await.map_err(unreadable)?;
            let pods = context.pods_of(&job).await;
            let pods = reader.noted("pods", pods, PODS_UNKNOWN);
            Ok(reader.job(&job, pods.as_deref()).await)
        }
        Kind::CronJob => {
            let cron_job = context.api::<CronJob>().get(&object.name).await.map_err(unreadable)?;
            Ok(reader.cron_job(&cron_job).await)
        }
        Kind::JobLimit => job_limit::read(context, &object.name).await,
        Kind::JobSchedule => {
            let found = context.api::<WireJobSchedule>().get(&object.name).await.map_err(unreadable)?;
            let incomplete = || ClusterReadError::Unreadable {
                what: object.to_string(),
                scope: format!("in namespace {}", context.namespace),
                reason: "it lacks what every stored object has".to_owned(),
            };
            let schedule = JobScheduleView::parse(found).ok_or_else(incomplete)?;
            let calendars = calendars::read(context, &schedule.calendars).await;
            let effect = "the next run is that without calendars";
            let calendars = reader.noted("calendars", calendars, effect);
            let find = |name: &str| calendars::find(calendars.as_deref()?, &context.namespace, name);
            let schedule = calendars.as_ref().and_then(|_| schedule.with_calendars(find)).unwrap_or(schedule);
            Ok(reader.job_schedule(&schedule).await)
        }
    }
}

/// Explains a Job that was read with its pods, and reads what else belongs to it.
#[cfg(feature = "ui")]
pub(crate) async fn explained_job(context: &ClusterContext, job: &Job, pods: &kube::Result<Vec<Pod>>) -> Explanation {
    let mut reader = Reader { context, unread: Vec::new() };
    if let Err(error) = pods {
        reader.note("pods", error, PODS_UNKNOWN);
    }
    reader.job(job, pods.as_deref().ok()).await
}

/// Returns whether a Job waits for other ones among these of its namespace.
pub(crate) fn waits_for_jobs(job: &JobView, jobs: &[JobView]) -> bool {
    after::waiting(job, |name| named(name, jobs)).is_some()
}

fn named(name: &str, jobs: &[JobView]) -> Option<Arc<JobView>> {
    jobs.iter().find(|job| &*job.identity.name == name).cloned().map(Arc::new)
}

/// Reads objects, and remembers what could not be read.
struct Reader<'a> {
    context: &'a ClusterContext,
    unread: Vec<Unread>,
}

impl Reader<'_> {
    async fn job(&mut self, job: &Job, pods: Option<&[Pod]>) -> Explanation {
        let now = crate::client::now();
        let events = self.warnings(&format!("involvedObject.uid={}", job.uid().unwrap_or_default())).await;
        let live = pods.is_some_and(|pods| pods.iter().any(super::pod::is_live));
        let pod_events = if live { self.warnings("involvedObject.kind=Pod").await } else { Vec::new() };
        let nodes = self.nodes(pods.unwrap_or_default(), now).await;
        let unfinished = job.status.as_ref().is_none_or(|status| end(status).is_none());
        let admission = if unfinished { self.admission(job).await } else { Admission::Unlimited };
        let leases = if unfinished { self.leases().await } else { Leases::default() };
        let group = if unfinished { self.group(job).await } else { None };
        let policy = if unfinished { self.policy(job).await } else { PolicyState::Nothing };
        let facts = job::Facts {
            job,
            pods,
            events: &events,
            pod_events: &pod_events,
            nodes: &nodes,
            limits: &SyncConfig::default(),
            policy: &policy,
            group: group.as_ref(),
            admission: &admission,
            leases: &leases,
            suggest: &self.context.suggest,
            unread: &self.unread,
        };
        job::explain(&facts, now)
    }

    /// Returns which JobPolicy governs a Job.
    async fn policy(&mut self, job: &Job) -> PolicyState {
        match self.context.api::<WireJobPolicy>().list_each(&ListParams::default()).await {
            Ok(found) => {
                let policies: Vec<_> = found.into_iter().filter_map(PolicyView::parse).map(Arc::new).collect();
                PolicyState::of(job, &policies)
            }
            // The cluster has no JobPolicies.
            Err(kube::Error::Api(status)) if status.code == 404 => PolicyState::Nothing,
            Err(error) => {
                self.noted::<()>("jobpolicies", Err(error), "whether a JobPolicy governs the Job is not known");
                PolicyState::Nothing
            }
        }
    }

    /// Returns the PodGroup of a Job with `spec.scheduling`.
    async fn group(&mut self, job: &Job) -> Option<GroupState> {
        let name = groups::expected_group(job)?;
        let read = GroupState::of(self.context.api::<PodGroup>().get(&name).await);
        self.noted("podgroups", read, "whether its pods are placed together is not known")
    }

    async fn cron_job(&mut self, cron_job: &CronJob) -> Explanation {
        let jobs = self.context.api::<Job>().list_each(&ListParams::default()).await;
        let jobs = self.noted("jobs", jobs, "the Jobs of the CronJob are not known");
        let events = self.warnings(&format!("involvedObject.uid={}", cron_job.uid().unwrap_or_default())).await;
        let leases = self.leases().await;
        let facts = cron_job::Facts {
            cron_job,
            jobs: jobs.as_deref(),
            events: &events,
            leases: &leases,
            suggest: &self.context.suggest,
            unread: &self.unread,
        };
        cron_job::explain(&facts, crate::client::now())
    }

    async fn job_schedule(&mut self, schedule: &JobScheduleView) -> Explanation {
        let events = self.warnings(&format!("involvedObject.uid={}", schedule.base.identity.uid)).await;
        let leases = self.leases().await;
        let facts = job_schedule::Facts {
            schedule,
            events: &events,
            leases: &leases,
            suggest: &self.context.suggest,
            unread: &self.unread,
        };
        job_schedule::explain(&facts, crate::client::now())
    }

    /// Returns the result of a request. An error is noted with what the explanation lacks therefore.
    fn noted<T>(&mut self, resource: &str, result: kube::Result<T>, effect: &str) -> Option<T> {
        match result {
            Ok(found) => Some(found),
            Err(error) => {
                self.note(resource, &error, effect);
                None
            }
        }
    }

    fn note(&mut self, resource: &str, error: &kube::Error, effect: &str) {
        let (resource, effect) = (resource.to_owned(), effect.to_owned());
        self.unread.push(Unread { resource, reason: message(error), effect });
    }

    async fn leases(&self) -> Leases {
        Leases::read(&self.context.client, &self.context.namespace).await
    }

    /// Returns the warning events that the field selector matches, the newest first.
    async fn warnings(&mut self, about: &str) -> Vec<Event> {
        let about = ListParams::default().fields(&format!("{about},type=Warning"));
        let events = self.context.api::<Event>().list_each(&about).await;
        if self.unread.iter().any(|unread| unread.resource == "events") {
            return Vec::new();
        }
        let mut events = self.noted("events", events, "warnings are not known").unwrap_or_default();
        events.sort_by_key(|event| std::cmp::Reverse(seen_at(event)));
        events
    }

    /// Returns the states of the nodes of pods that may be lost.
    async fn nodes(&mut self, pods: &[Pod], now: jiff::Timestamp) -> BTreeMap<String, NodeState> {
        let mut names: Vec<&str> = pods.iter().filter_map(|pod| doubtful_node(pod, now)).collect();
        names.sort_unstable();
        names.dedup();
        names.truncate(MAX_NODES);
        let nodes: Api<Node> = Api::all(self.context.client.clone());
        let nodes = &nodes;
        let read = names.into_iter().map(|name| async move { (name, nodes.get_opt(name).await) });
        let mut states = BTreeMap::new();
        for (name, node) in join_all(read).await {
            match node {
                Ok(node) => {
                    states.insert(name.to_owned(), NodeState::of(node.as_ref()));
                }
                Err(error) => {
                    self.noted::<()>("nodes", Err(error), "whether the nodes of its pods are ready is not known");
                    break;
                }
            }
        }
        states
    }

    /// Returns the admission of a Job by JobLimits, as the controller would evaluate it. Where JobLimits or Jobs cannot
    /// be read, the annotation of the Job decides, which the controller writes.
    async fn admission(&mut self, job: &Job) -> Admission {
        if let Some(view) = job_view(job).filter(after::is_held) {
            let jobs = self.context.api::<WireJob>().list_each(&ListParams::default()).await;
            let jobs = self.noted("jobs", jobs, "whether the Job waits for other Jobs is not known");
            let jobs: Vec<JobView> = jobs.unwrap_or_default().into_iter().filter_map(JobView::parse).collect();
            if let Some(waiting) = after::waiting(&view, |name| named(name, &jobs)) {
                return Admission::Pending(waiting);
            }
        }
        match self.evaluated(job).await {
            Ok(admission) => admission,
            // The cluster has no JobLimits.
            Err(kube::Error::Api(status)) if status.code == 404 => Admission::Unlimited,
            Err(error) => {
                let waiting = job.annotations().get(WAITING_ANNOTATION);
                let waiting = waiting.and_then(|text| serde_json::from_str(text).ok());
                let started = job.status.as_ref().is_some_and(|status| status.start_time.is_some());
                if waiting.is_some() || !started {
                    let effect = match waiting {
                        Some(_) => "the queue position is the one that the controller published",
                        None => "whether the Job waits for a JobLimit is not known",
                    };
                    self.noted::<()>("joblimits", Err(error), effect);
                }
                waiting.map_or(Admission::Unlimited, Admission::Pending)
            }
        }
    }

    async fn evaluated(&self, job: &Job) -> kube::Result<Admission> {
        let limits = self.context.api::<WireJobLimit>().list_each(&ListParams::default()).await?;
        let limits: Vec<Arc<LimitView>> = limits.into_iter().filter_map(LimitView::parse).map(Arc::new).collect();
        if limits.is_empty() {
            return Ok(Admission::Unlimited);
        }
        let jobs = self.context.api::<WireJob>().list_each(&ListParams::default()).await?;
        let all: Vec<JobView> = jobs.into_iter().filter_map(JobView::parse).collect();
        let of_one_controller = |one: &&JobView| {
            one.spec.managed_by.as_deref() == job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref())
        };
        let mut admissions = Admissions::default();
        let workload = |view: &JobView| Workload::of(view, waits_for_jobs(view, &all), || 0);
        admissions.load(limits, all.iter().filter(of_one_controller).filter_map(workload));
        let uid = Uid::from(job.uid().unwrap_or_default().as_str());
        Ok(match (admissions.state(&uid), admissions.describe_waiting_status(&uid)) {
            (AdmissionState::Unlimited, _) => Admission::Unlimited,
            (_, Some(waiting)) => Admission::Pending(waiting),
            (_, None) => Admission::Admitted,
        })
    }
}
