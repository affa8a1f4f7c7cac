//! Checks of retries with more memory and more time: a pod gets more than the template states only after a pod of its Job had
//! too little, and never less than what the stored failures require.

use std::collections::BTreeMap;

use jobwright::runtime::quantity;
use serde_json::Value;

use super::job_policies::JobPolicies;
use crate::objects::controller;
use crate::store::Happened;

/// What a pod can have too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Resource {
    /// Memory of its container, in bytes.
    Memory,
    /// `activeDeadlineSeconds`.
    Time,
}

const RESOURCES: [Resource; 2] = [Resource::Memory, Resource::Time];

/// Facts about pods that had too little, and what the next pods of their Jobs need.
#[derive(Default)]
pub struct Raises {
    /// Size that each failed pod had too little with.
    too_little: BTreeMap<(String, Resource), i64>,
    /// Jobs with such a pod.
    jobs: BTreeMap<(String, Resource), ()>,
    /// Minimum size of new pods of a Job.
    least: BTreeMap<(String, Resource), i64>,
}

impl Raises {
    /// Records a change of a pod.
    pub fn pod_changed(&mut self, happened: &Happened, uid: &str) {
        let pod = &happened.object;
        for resource in RESOURCES.into_iter().filter(|resource| resource.is_exceeded(pod)) {
            self.too_little.insert((uid.to_owned(), resource), resource.of(&pod["spec"]));
            if let Some(job) = controller(pod) {
                self.jobs.insert((job.to_owned(), resource), ());
            }
        }
    }
}

impl JobPolicies {
    /// Checks a pod that a controller created.
    ///
    /// # Errors
    /// Returns what the pod has too much or too little of.
    pub fn pod_created(&self, job: &Value, pod: &Value) -> Result<(), String> {
        let (uid, name) = (job["metadata"]["uid"].as_str().unwrap_or_default(), &pod["metadata"]["name"]);
        for resource in RESOURCES {
            let (has, states) = (resource.of(&pod["spec"]), resource.of(&job["spec"]["template"]["spec"]));
            let key = (uid.to_owned(), resource);
            let most = self.specs().filter_map(|spec| resource.max(spec)).max().unwrap_or_default();
            if has < states || has > states && !(self.raises.jobs.contains_key(&key) && has <= most) {
                return Err(format!("pod {name} has {resource:?} {has}, the template states {states}"));
            }
            let least = self.raises.least.get(&key).copied().unwrap_or_default();
            if has < least && self.unchanged(resource.max_field(), job).is_some() {
                return Err(format!("pod {name} has {resource:?} {has}, it needs {least}"));
            }
        }
        Ok(())
    }

    /// Records that a controller lists these pods as failed in the status of a Job.
    pub fn listed_failed(&mut self, job: &Value, pods: &[&str], now: i64) {
        let uid = job["metadata"]["uid"].as_str().unwrap_or_default();
        for resource in RESOURCES {
            let Some((since, spec)) = self.unchanged(resource.max_field(), job) else { continue };
            let (Some(factor), Some(max)) = (resource.factor(spec), resource.max(spec)) else { continue };
            // A controller may not have observed a new policy.
            if since + self.observation_delay >= now {
                continue;
            }
            for pod in pods {
                let Some(size) = self.raises.too_little.get(&((*pod).to_owned(), resource)).copied() else { continue };
                let least = ((size as f64 * factor) as i64).min(max).max(size);
                let known = self.raises.least.entry((uid.to_owned(), resource)).or_default();
                *known = least.max(*known);
            }
        }
    }
}

impl Resource {
    fn of(self, spec: &Value) -> i64 {
        match self {
            Self::Memory => bytes(&spec["containers"][0]["resources"]["limits"]["memory"]),
            Self::Time => spec["activeDeadlineSeconds"].as_i64().unwrap_or_default(),
        }
    }

    fn is_exceeded(self, pod: &Value) -> bool {
        match self {
            Self::Memory => pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "OOMKilled",
            Self::Time => pod["status"]["reason"] == "DeadlineExceeded",
        }
    }

    fn max_field(self) -> &'static str {
        match self {
            Self::Memory => "/retry/memory/0/max",
            Self::Time => "/retry/deadline/maxSeconds",
        }
    }

    fn max(self, policy: &Value) -> Option<i64> {
        let max = policy.pointer(self.max_field())?;
        Some(max.as_i64().unwrap_or_else(|| bytes(max)))
    }

    fn factor(self, policy: &Value) -> Option<f64> {
        let factor = match self {
            Self::Memory => &policy["retry"]["memory"][0]["factor"],
            Self::Time => &policy["retry"]["deadline"]["factor"],
        };
        factor.as_str()?.parse().ok()
    }
}

fn bytes(size: &Value) -> i64 {
    size.as_str().and_then(quantity::bytes).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
}
