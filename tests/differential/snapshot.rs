//! Snapshots of what a user can see of one side of a scenario, without the times and random names that always differ.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::api::scheduling::v1beta1::{PodGroup, Workload};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use serde_json::{Value, json};
use testbed::Version;
use testbed::report::Feature;

/// Maximum number of events of one side that are compared. Above it, both controllers combine and drop events, each in
/// its own order.
const EVENTS_COMPARED: usize = 20;
/// Maximum number of events of one reason that are compared, for the same cause.
const SIMILAR_EVENTS_COMPARED: usize = 10;
/// Event reason that only Jobwright records, with the cause of a Job's failure.
const MORE_THAN_BUILT_IN: &str = "FailureCause";

/// All observed objects of one namespace.
#[derive(Clone, Debug, Default)]
pub struct Side {
    pub namespace: String,
    pub jobs: BTreeMap<String, Job>,
    pub pods: BTreeMap<String, Pod>,
    pub events: BTreeMap<String, Event>,
    pub workloads: BTreeMap<String, Workload>,
    pub pod_groups: BTreeMap<String, PodGroup>,
    /// Names of all pods that were ever observed, with the patterns that replace them.
    pub names: BTreeMap<String, String>,
}

/// Comparable state of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub jobs: BTreeMap<String, Value>,
    /// One description for each pod, sorted.
    pub pods: Vec<String>,
    pub events: Events,
    /// One description for each Workload and PodGroup.
    pub groups: Vec<String>,
}

/// Events as sets of type and message, by reason.
#[derive(Clone, Debug)]
pub struct Events {
    of_reason: BTreeMap<String, BTreeSet<(String, String)>>,
    /// Number of event objects of each reason.
    counts: BTreeMap<String, usize>,
}

impl PartialEq for Events {
    fn eq(&self, other: &Self) -> bool {
        let total = |events: &Self| events.counts.values().sum::<usize>();
        if total(self).max(total(other)) > EVENTS_COMPARED {
            return true;
        }
        let reasons: BTreeSet<_> = self.of_reason.keys().chain(other.of_reason.keys()).collect();
        reasons.into_iter().all(|reason| {
            let count = |events: &Self| events.counts.get(reason).copied().unwrap_or_default();
            count(self).max(count(other)) >= SIMILAR_EVENTS_COMPARED
                || self.of_reason.get(reason) == other.of_reason.get(reason)
        })
    }
}

impl Eq for Events {}

impl Side {
    /// Records the name of a pod.
    pub fn record(&mut self, pod: &Pod) {
        let pattern = pod.metadata.generate_name.as_ref().map_or_else(|| pod.name_any(), |prefix| format!("{prefix}*"));
        self.names.insert(pod.name_any(), pattern);
    }

    /// Returns the comparable state. The start time of suspended Jobs is compared in versions whose built-in controller
    /// removes it.
    pub fn snapshot(&self, version: Version) -> Snapshot {
        let removes_start_time = version >= Feature::MutableSchedulingDirectives.since();
        let mut pods: Vec<String> =
            self.pods.values().filter(|pod| !self.is_abandoned(pod)).map(|pod| self.pod(pod)).collect();
        pods.sort();
        Snapshot {
            jobs: self.jobs.iter().map(|(name, job)| (name.clone(), self.job(job, removes_start_time))).collect(),
            pods,
            events: self.events(),
            groups: self.groups(),
        }
    }

    /// Returns whether the garbage collector deletes a pod of a Job that is gone, and only its node, which does not exist,
    /// keeps it. Each controller can create such a pod if it sees the deletion of the Job later than that of its pods.
    fn is_abandoned(&self, pod: &Pod) -> bool {
        let is_known = |owner: &OwnerReference| self.jobs.values().any(|job| job.uid().as_deref() == Some(&*owner.uid));
        let mut owners = pod.owner_references().iter().filter(|owner| owner.controller == Some(true));
        pod.metadata.deletion_timestamp.is_some()
            && pod.finalizers().is_empty()
            && owners.next().is_some_and(|owner| owner.kind == "Job" && !is_known(owner))
    }

    /// Records a Workload. Its name contains a hash of the UID of its Job.
    pub fn insert_workload(&mut self, workload: Workload) -> bool {
        self.names.insert(workload.name_any(), "<workload>".to_owned());
        self.workloads.insert(workload.name_any(), workload).is_some()
    }

    /// Records a PodGroup. Its name contains the one of its Workload.
    pub fn insert_pod_group(&mut self, group: PodGroup) -> bool {
        self.names.insert(group.name_any(), "<pod group>".to_owned());
        self.pod_groups.insert(group.name_any(), group).is_some()
    }

    fn groups(&self) -> Vec<String> {
        let owners = |owners: &[OwnerReference]| -> Vec<Value> {
            let fields = |owner: &OwnerReference| {
                json!([
                    owner.api_version,
                    owner.kind,
                    self.plain(&owner.name),
                    owner.controller,
                    owner.block_owner_deletion
                ])
            };
            owners.iter().map(fields).collect()
        };
        let workloads = self.workloads.values().map(|workload| {
            let owners = owners(workload.owner_references());
            let spec = serde_json::to_value(&workload.spec).unwrap_or_default();
            format!(
                "workload {} owners {owners:?} spec {}",
                self.plain(&workload.name_any()),
                self.plain(&spec.to_string())
            )
        });
        let groups = self.pod_groups.values().map(|group| {
            let owners = owners(group.owner_references());
            let spec = serde_json::to_value(&group.spec).unwrap_or_default();
            format!(
                "pod group {} owners {owners:?} spec {}",
                self.plain(&group.name_any()),
                self.plain(&spec.to_string())
            )
        });
        workloads.chain(groups).collect()
    }

    fn job(&self, job: &Job, removes_start_time: bool) -> Value {
        let mut status = job.status.clone().unwrap_or_default();
        let is_suspended = |condition: &JobCondition| condition.type_ == "Suspended" && condition.status == "True";
        if !removes_start_time && status.conditions.iter().flatten().any(is_suspended) {
            // Kept by the built-in controller, removed by Jobwright: see docs/differences.md.
            status.start_time = None;
        }
        let mut status = serde_json::to_value(status).unwrap_or_default();
        for field in ["startTime", "completionTime"] {
            if status.get(field).is_some() {
                status[field] = json!("some time");
            }
        }
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            condition["message"] = json!(self.plain(condition["message"].as_str().unwrap_or_default()));
            for field in ["lastProbeTime", "lastTransitionTime"] {
                if condition.get(field).is_some() {
                    condition[field] = json!("some time");
                }
            }
        }
        for list in ["succeeded", "failed"] {
            if let Some(uids) = status["uncountedTerminatedPods"][list].as_array() {
                status["uncountedTerminatedPods"][list] = json!(uids.len());
            }
        }
        json!({
            "status": status,
            "finalizers": job.finalizers(),
            "deleting": job.metadata.deletion_timestamp.is_some(),
        })
    }

    fn pod(&self, pod: &Pod) -> String {
        let spec = pod.spec.clone().unwrap_or_default();
        let env = |containers: &[k8s_openapi::api::core::v1::Container]| -> Vec<Value> {
            containers.iter().map(|container| json!({"name": container.name, "env": container.env})).collect()
        };
        let mut owners: Vec<Value> = Vec::new();
        for owner in pod.owner_references() {
            owners.push(json!([
                owner.api_version,
                owner.kind,
                owner.name,
                owner.controller,
                owner.block_owner_deletion
            ]));
        }
        let mut labels = pod.labels().clone();
        for key in ["controller-uid", "batch.kubernetes.io/controller-uid"] {
            if let Some(uid) = labels.get_mut(key) {
                *uid = "some uid".to_owned();
            }
        }
        let mut finalizers = pod.finalizers().to_vec();
        finalizers.sort();
        json!({
            "name": self.names.get(&pod.name_any()),
            "labels": labels,
            "annotations": pod.annotations(),
            "finalizers": finalizers,
            "owners": owners,
            "phase": pod.status.as_ref().and_then(|status| status.phase.clone()),
            "deleting": pod.metadata.deletion_timestamp.is_some(),
            "hostname": spec.hostname,
            "group": spec.scheduling_group.and_then(|group| group.pod_group_name).map(|name| self.plain(&name)),
            "nodeSelector": spec.node_selector,
            "containers": env(&spec.containers),
            "initContainers": env(spec.init_containers.as_deref().unwrap_or_default()),
        })
        .to_string()
    }

    fn events(&self) -> Events {
        let mut of_reason: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let about_jobs = self.events.values().filter(|event| event.involved_object.kind.as_deref() == Some("Job"));
        for event in about_jobs {
            let reason = event.reason.clone().unwrap_or_default();
            if reason == MORE_THAN_BUILT_IN {
                continue;
            }
            let message = self.plain(event.message.as_deref().unwrap_or_default());
            *counts.entry(reason.clone()).or_default() += 1;
            if !message.starts_with("(combined from similar events)") {
                of_reason.entry(reason).or_default().insert((event.type_.clone().unwrap_or_default(), message));
            }
        }
        Events { of_reason, counts }
    }

    /// Replaces the parts of a text that always differ between the sides.
    fn plain(&self, text: &str) -> String {
        let mut text = text.replace(&self.namespace, "<namespace>");
        // The name of a PodGroup begins with the one of its Workload, which comes before it.
        for (name, pattern) in self.names.iter().rev() {
            text = text.replace(name, pattern);
        }
        // A pod whose creation was refused has a name that was never observed: pods "job-x2k4l" is forbidden.
        while let Some(at) = text.find("pods \"") {
            let rest = &text[at + 6..];
            let Some(end) = rest.find('"') else { break };
            text = format!("{}pods <{}>{}", &text[..at], refused(&rest[..end]), &rest[end + 1..]);
        }
        text
    }
}

/// Returns the name of a refused pod without its random suffix.
fn refused(name: &str) -> &str {
    name.rsplit_once('-').map_or(name, |(start, _)| start)
}

/// Returns the lines in which two snapshots differ.
pub fn differences(builtin: &Snapshot, ours: &Snapshot) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    let lines = |snapshot: &Snapshot| -> Vec<String> {
        let mut lines = Vec::new();
        for (name, job) in &snapshot.jobs {
            lines.push(format!("job {name}: {}", job["status"]));
            lines.push(format!("job {name}: finalizers {} deleting {}", job["finalizers"], job["deleting"]));
        }
        let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
        snapshot.pods.iter().for_each(|pod| *counts.entry(pod).or_default() += 1);
        lines.extend(counts.iter().map(|(pod, count)| format!("{count} × pod {pod}")));
        lines.extend(snapshot.groups.iter().cloned());
        if builtin.events != ours.events {
            for (reason, messages) in &snapshot.events.of_reason {
                lines.extend(messages.iter().map(|(type_, message)| format!("event {type_} {reason}: {message}")));
            }
        }
        lines
    };
    let (left, right) = (lines(builtin), lines(ours));
    for line in left.iter().filter(|line| !right.contains(line)) {
        let _ = writeln!(text, "    built-in: {line}");
    }
    for line in right.iter().filter(|line| !left.contains(line)) {
        let _ = writeln!(text, "    ours:     {line}");
    }
    text
}
