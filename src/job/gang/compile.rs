//! Workloads and PodGroups that the controller creates, and the patches of their sizes, in JSON.

use serde_json::{Map, Value, json};

use super::names;
use super::view::{GroupTemplate, PodGroupView, WorkloadView};
use super::{API_VERSION, POD_GROUP_KIND, WORKLOAD_KIND, plan};
use crate::job::view::JobView;
use crate::job::view::scheduling::{DisruptionMode, Scheduling, SchedulingPolicy};

/// Fields of a template that a PodGroup takes. The built-in controller copies the same fields.
const COPIED: &[&str] =
    &["schedulingPolicy", "schedulingConstraints", "disruptionMode", "priorityClassName", "priority", "resourceClaims"];

/// Returns the Workload of a Job. `priority_class` is the one of the Job's pod template, and `owner` the reference to the
/// Job.
pub fn workload(job: &JobView, priority_class: Option<&str>, owner: Value) -> Value {
    let identity = &job.identity;
    json!({
        "apiVersion": API_VERSION,
        "kind": WORKLOAD_KIND,
        "metadata": {
            "name": names::workload(&identity.name, &identity.uid),
            "namespace": &*identity.namespace,
            "ownerReferences": [owner],
        },
        "spec": {
            "controllerRef": {"apiGroup": "batch", "kind": "Job", "name": &*identity.name},
            "podGroupTemplates": [group_template(job, priority_class)],
        },
    })
}

fn group_template(job: &JobView, priority_class: Option<&str>) -> Value {
    let scheduling = job.spec.scheduling.as_deref();
    let policy = match plan::min_count(job) {
        Some(min_count) => json!({"gang": {"minCount": min_count}}),
        None => json!({"basic": {}}),
    };
    let mut fields = Map::new();
    let mut set = |field: &str, value: Value| fields.insert(field.to_owned(), value);
    set("name", json!(names::template(&job.identity.name)));
    set("schedulingPolicy", policy);
    if let Some(class) = priority_class {
        set("priorityClassName", json!(class));
    }
    if let Some(Scheduling { topology, disruption_mode, resource_claims, .. }) = scheduling {
        if !topology.is_empty() {
            let keys: Vec<Value> = topology.iter().map(|key| json!({"key": key})).collect();
            set("schedulingConstraints", json!({"topology": keys}));
        }
        match disruption_mode {
            Some(DisruptionMode::Single) => drop(set("disruptionMode", json!({"single": {}}))),
            Some(DisruptionMode::All) => drop(set("disruptionMode", json!({"all": {}}))),
            None => {}
        }
        if !resource_claims.is_empty() {
            set("resourceClaims", json!(resource_claims));
        }
    }
    Value::Object(fields)
}

/// Returns the PodGroup of a Job from a template of a Workload. `owner` is the reference to the Job. If the Job owns the
/// Workload too, the PodGroup is also deleted with the Workload.
pub fn pod_group(workload: &WorkloadView, template: &GroupTemplate, owner: Value, is_of_job: bool) -> Value {
    let identity = &workload.identity;
    let mut owners = vec![owner];
    if is_of_job {
        // Without blockOwnerDeletion: the PodGroup does not delay the deletion of the Workload.
        owners.push(json!({
            "apiVersion": API_VERSION, "kind": WORKLOAD_KIND, "name": &*identity.name, "uid": identity.uid,
        }));
    }
    let mut spec = Map::new();
    spec.insert("workloadRef".to_owned(), json!({"workloadName": &*identity.name, "templateName": &*template.name}));
    for field in COPIED {
        if let Some(value) = template.fields.get(*field).filter(|value| !value.is_null()) {
            spec.insert((*field).to_owned(), value.clone());
        }
    }
    json!({
        "apiVersion": API_VERSION,
        "kind": POD_GROUP_KIND,
        "metadata": {
            "name": names::pod_group(&identity.name, &template.name),
            "namespace": &*identity.namespace,
            "ownerReferences": owners,
        },
        "spec": spec,
    })
}

/// Returns the merge patch that sets the size of the gang in the only template of a Workload. A merge patch replaces the
/// whole list, so that it contains the other fields as they are stored.
pub fn resized_workload(workload: &WorkloadView, min_count: i32) -> Value {
    let mut templates: Vec<Value> = workload.templates.iter().map(|template| template.fields.clone()).collect();
    if let Some(template) = templates.first_mut() {
        template["schedulingPolicy"]["gang"]["minCount"] = json!(min_count);
    }
    let version = workload.identity.resource_version.to_string();
    json!({
        "metadata": {"uid": workload.identity.uid, "resourceVersion": version},
        "spec": {"podGroupTemplates": templates},
    })
}

/// Returns the merge patch that sets the size of the gang of a PodGroup.
pub fn resized_pod_group(group: &PodGroupView, min_count: i32) -> Value {
    json!({
        "metadata": {"uid": group.identity.uid},
        "spec": {"schedulingPolicy": {"gang": {"minCount": min_count}}},
    })
}

/// Returns the size of the gang of a policy, if the policy is Gang: at least 1, because a Job that is scaled to 0 still
/// has a valid Workload.
pub(super) fn size_of(policy: SchedulingPolicy, parallelism: i32) -> Option<i32> {
    match policy {
        SchedulingPolicy::Basic => None,
        SchedulingPolicy::Gang { min_count } => Some(min_count.unwrap_or(parallelism.max(1))),
    }
}
