//! Table tests of the plans, and of the objects that the plans write.

use serde_json::{Value, json};

use super::*;
use crate::job::decide::fixtures::{self, Job};
use crate::job::gang::names;
use crate::job::status::Condition;
use crate::job::view::scheduling::{Delegation, Scheduling, reference_key};

fn workload_of(reference: Value, owner: &str, templates: Value) -> Arc<WorkloadView> {
    let wire = json!({
        "metadata": {
            "name": "train-w", "namespace": "default", "uid": "w-uid", "resourceVersion": "5",
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": owner, "controller": true}],
        },
        "spec": {"controllerRef": reference, "podGroupTemplates": templates},
    });
    Arc::new(WorkloadView::parse(serde_json::from_value(wire).unwrap()).unwrap())
}

fn template(policy: &Value) -> Value {
    json!({"name": "job-pgt-0", "schedulingPolicy": policy})
}

fn workload(policy: &Value) -> Arc<WorkloadView> {
    workload_of(json!({"apiGroup": "batch", "kind": "Job", "name": "job"}), "job-uid", json!([template(policy)]))
}

fn group_from(workload: &str, policy: &Value) -> Arc<PodGroupView> {
    let wire = json!({
        "metadata": {
            "name": "train-g", "namespace": "default", "uid": "g-uid", "resourceVersion": "6",
            "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": "job-uid", "controller": true},
            ],
        },
        "spec": {"workloadRef": {"workloadName": workload, "templateName": "job-pgt-0"}, "schedulingPolicy": policy},
    });
    Arc::new(PodGroupView::parse(serde_json::from_value(wire).unwrap()).unwrap())
}

fn group(policy: &Value) -> Arc<PodGroupView> {
    group_from("train-w", policy)
}

fn gang(min_count: i32) -> Value {
    json!({"gang": {"minCount": min_count}})
}

fn job(scheduling: Value) -> Job {
    let parsed = Scheduling::parse(serde_json::from_value(scheduling).unwrap());
    Job::new().completions(4).parallelism(4).with(|job| job.spec.scheduling = Some(Box::new(parsed)))
}

fn gang_job(min_count: Option<i32>) -> Job {
    job(json!({"schedulingPolicy": {"gang": {"minCount": min_count}}}))
}

fn delegated_job(template: &str) -> Job {
    let parent = reference_key("example.com", "Team", "a");
    Job::new().with(|job| {
        job.owner = Some("team-uid".into());
        job.delegation = Some(Box::new(Delegation { parent, template: template.into() }));
    })
}

fn planned(job: &Job, workloads: &[Arc<WorkloadView>], pod_groups: &[Arc<PodGroupView>]) -> String {
    let pods = PodSummary::new(&job.view, []);
    text(&plan(&job.view, &pods, GroupObjects::Known { workloads, pod_groups, parent_read: true }))
}

fn text(plan: &Plan) -> String {
    match plan {
        Plan::Write(GroupWrite::CreatePodGroup { template, is_of_job, .. }) => {
            format!("create the PodGroup from {template}, of the Job: {is_of_job}")
        }
        Plan::Write(write) => write.summary(),
        Plan::Grouped(name) => format!("pods of {name}"),
        Plan::Ungrouped => "pods without a group".to_owned(),
        Plan::ReadParent => "read the parent".to_owned(),
        Plan::Unusable(problem) => problem.clone(),
    }
}

const UNGROUPED: &str = "pods without a group";

#[test]
fn workload_comes_first_then_the_pod_group_then_the_pods() {
    let basic = json!({"basic": {}});
    for job in [Job::new(), gang_job(Some(4)), job(json!({"schedulingPolicy": {"basic": {}}}))] {
        let policy = min_count(&job.view).map_or_else(|| basic.clone(), gang);
        let workloads = [workload(&policy)];
        assert_eq!(planned(&job, &[], &[]), "create the Workload");
        assert_eq!(planned(&job, &workloads, &[]), "create the PodGroup from job-pgt-0, of the Job: true");
        assert_eq!(planned(&job, &workloads, &[group(&policy)]), "pods of train-g");
    }
}

#[test]
fn job_that_has_started_gets_no_objects_and_keeps_those_that_it_has() {
    let condition = |value: bool| {
        let condition = Condition::new(SUSPENDED, value, "R", "m", fixtures::time(1));
        Job::new().with(|job| job.status.conditions.push(condition))
    };
    let cases = [
        ("start time", Job::new().started(0)),
        ("succeeded", Job::new().with(|job| job.status.succeeded = 1)),
        ("failed", Job::new().with(|job| job.status.failed = 1)),
        ("uncounted", Job::new().uncounted(&["uid-a"], &[])),
        ("suspended", condition(true)),
        ("resumed", condition(false)),
    ];
    let basic = json!({"basic": {}});
    for (name, job) in cases {
        assert_eq!(planned(&job, &[], &[]), UNGROUPED, "{name}");
        assert_eq!(planned(&job, &[workload(&basic)], &[]), UNGROUPED, "{name}");
        assert_eq!(planned(&job, &[workload(&basic)], &[group(&basic)]), "pods of train-g", "{name}");
    }
    let job = Job::new();
    let pods = job.summary(&[fixtures::pod("a").running(1)]);
    let objects = GroupObjects::Known { workloads: &[], pod_groups: &[], parent_read: true };
    assert_eq!(text(&plan(&job.view, &pods, objects)), UNGROUPED, "a pod exists");
    assert_eq!(text(&plan(&job.view, &PodSummary::new(&job.view, []), GroupObjects::Unmanaged)), UNGROUPED, "gate off");
}

#[test]
fn objects_of_other_owners_are_ignored_and_several_own_ones_are_not_used() {
    let basic = json!({"basic": {}});
    let reference = json!({"apiGroup": "batch", "kind": "Job", "name": "job"});
    let by_user = workload_of(reference, "another-job", json!([template(&basic)]));
    assert_eq!(planned(&Job::new(), std::slice::from_ref(&by_user), &[]), "create the Workload");
    let own = workload(&basic);
    assert_eq!(planned(&Job::new(), &[by_user, own.clone()], &[group(&basic)]), "pods of train-g");
    assert_eq!(planned(&Job::new(), &[own.clone(), own.clone()], &[group(&basic)]), UNGROUPED);
    assert_eq!(planned(&Job::new(), std::slice::from_ref(&own), &[group(&basic), group(&basic)]), UNGROUPED);
    let of_another = group_from("another", &basic);
    let expected = "create the PodGroup from job-pgt-0, of the Job: true";
    assert_eq!(planned(&Job::new(), &[own], &[of_another]), expected);
}

#[test]
fn job_with_its_own_group_or_an_owner_gets_no_objects() {
    let grouped = Job::new().with(|job| job.template.has_scheduling_group = true);
    let owned = gang_job(None).with(|job| job.owner = Some("cron".into()));
    for job in [&grouped, &owned] {
        assert_eq!(planned(job, &[], &[]), UNGROUPED);
        assert_eq!(workload_key(&job.view), None);
    }
    assert!(!asks_for_scheduling(&owned.view), "the owner takes precedence");
    assert!(asks_for_scheduling(&gang_job(None).view) && !asks_for_scheduling(&Job::new().view));
}

#[test]
fn changed_size_of_the_gang_is_written_to_the_workload_and_then_to_the_pod_group() {
    let job = gang_job(Some(6)).started(0);
    let (old, new) = (gang(4), gang(6));
    assert_eq!(planned(&job, &[workload(&old)], &[group(&old)]), "set minCount 6 in the Workload");
    assert_eq!(planned(&job, &[workload(&new)], &[group(&old)]), "set minCount 6 in the PodGroup");
    assert_eq!(planned(&job, &[workload(&new)], &[group(&new)]), "pods of train-g");
    assert_eq!(planned(&job, &[workload(&old)], &[]), "set minCount 6 in the Workload", "the PodGroup is gone");
    let by_parallelism = gang_job(None).parallelism(9).started(0);
    assert_eq!(planned(&by_parallelism, &[workload(&old)], &[group(&old)]), "set minCount 9 in the Workload");
    // A policy that the API server does not allow to change is left alone.
    assert_eq!(planned(&job, &[workload(&json!({"basic": {}}))], &[group(&json!({"basic": {}}))]), "pods of train-g");
    assert_eq!(planned(&Job::new().started(0), &[workload(&old)], &[group(&old)]), "pods of train-g");
}

#[test]
fn size_of_the_gang_is_the_min_count_or_the_parallelism_and_at_least_one() {
    let cases = [(Some(2), 4, Some(2)), (None, 4, Some(4)), (None, 0, Some(1))];
    for (given, parallelism, expected) in cases {
        assert_eq!(min_count(&gang_job(given).parallelism(parallelism).view), expected);
    }
    assert_eq!(min_count(&Job::new().view), None);
    assert_eq!(min_count(&job(json!({"disruptionMode": {"all": {}}})).view), None);
}

#[test]
fn workload_with_another_number_of_templates_is_unusable() {
    let reference = json!({"apiGroup": "batch", "kind": "Job", "name": "job"});
    let (one, policy) = (template(&gang(1)), gang(1));
    for templates in [json!([]), json!([one.clone(), one])] {
        let workloads = [workload_of(reference.clone(), "job-uid", templates)];
        let problem = planned(&Job::new(), &workloads, &[group(&policy)]);
        assert!(problem.contains("templates of PodGroups and needs exactly 1"), "{problem}");
    }
}

#[test]
fn delegated_pod_group_comes_from_the_template_of_the_owner() {
    let reference = json!({"apiGroup": "example.com", "kind": "Team", "name": "a"});
    let templates = json!([
        {"name": "driver", "schedulingPolicy": {"basic": {}}},
        {"name": "workers", "schedulingPolicy": {"gang": {"minCount": 3}}},
    ]);
    let parent = workload_of(reference, "another", templates);
    let workloads = [parent];
    let job = delegated_job("workers");
    assert_eq!(workload_key(&job.view), Some(reference_key("example.com", "Team", "a")));
    assert_eq!(planned(&job, &workloads, &[]), "create the PodGroup from workers, of the Job: false");
    assert_eq!(planned(&job, &workloads, &[group(&gang(3))]), "pods of train-g");
    assert_eq!(planned(&job, &workloads, &[group(&gang(2))]), "set minCount 3 in the PodGroup");
    assert_eq!(planned(&delegated_job(""), &workloads, &[]), "create the PodGroup from driver, of the Job: false");
    assert_eq!(planned(&delegated_job("unknown"), &workloads, &[]), UNGROUPED);
    assert_eq!(planned(&job.clone().started(0), &workloads, &[]), UNGROUPED);
    assert_eq!(planned(&job, &[], &[]), UNGROUPED, "the API server has no Workload of the owner");
    let unread = GroupObjects::Known { workloads: &[], pod_groups: &[], parent_read: false };
    let pods = PodSummary::new(&job.view, []);
    assert_eq!(text(&plan(&job.view, &pods, unread)), "read the parent");
}

#[test]
fn written_objects_have_the_fields_of_the_builtin_controller() {
    let job = job(json!({
        "schedulingPolicy": {"gang": {"minCount": 2}}, "disruptionMode": {"all": {}},
        "schedulingConstraints": {"topology": [{"key": "example.com/rack"}]},
        "resourceClaims": [{"name": "gpu", "resourceClaimName": "shared"}],
    }));
    let owner = json!({"kind": "Job"});
    let written = compile::workload(&job.view, Some("high"), owner.clone());
    let name = names::workload("job", &"job-uid".into());
    let fields = json!({
        "name": "job-pgt-0",
        "schedulingPolicy": {"gang": {"minCount": 2}},
        "disruptionMode": {"all": {}},
        "schedulingConstraints": {"topology": [{"key": "example.com/rack"}]},
        "resourceClaims": [{"name": "gpu", "resourceClaimName": "shared"}],
        "priorityClassName": "high",
    });
    let expected = json!({
        "apiVersion": "scheduling.k8s.io/v1beta1", "kind": "Workload",
        "metadata": {"name": name, "namespace": "default", "ownerReferences": [owner.clone()]},
        "spec": {
            "controllerRef": {"apiGroup": "batch", "kind": "Job", "name": "job"},
            "podGroupTemplates": [fields.clone()],
        },
    });
    assert_eq!(written, expected);
    let plain = compile::workload(&Job::new().view, None, owner.clone());
    let only = json!([{"name": "job-pgt-0", "schedulingPolicy": {"basic": {}}}]);
    assert_eq!(plain["spec"]["podGroupTemplates"], only, "a Job without spec.scheduling has the Basic policy");

    let mut stored = fields.clone();
    stored["priority"] = json!(7);
    stored["preemptionPolicy"] = json!("Never");
    let reference = json!({"apiGroup": "batch", "kind": "Job", "name": "job"});
    let workload = workload_of(reference, "job-uid", json!([stored]));
    let mut spec = fields;
    spec.as_object_mut().unwrap().remove("name");
    spec["priority"] = json!(7);
    spec["workloadRef"] = json!({"workloadName": "train-w", "templateName": "job-pgt-0"});
    let of_job = compile::pod_group(&workload, &workload.templates[0], owner.clone(), true);
    assert_eq!(of_job["spec"], spec);
    assert_eq!(of_job["metadata"]["name"], names::pod_group("train-w", "job-pgt-0"));
    let second =
        json!({"apiVersion": "scheduling.k8s.io/v1beta1", "kind": "Workload", "name": "train-w", "uid": "w-uid"});
    assert_eq!(of_job["metadata"]["ownerReferences"], json!([owner.clone(), second]));
    let delegated = compile::pod_group(&workload, &workload.templates[0], owner.clone(), false);
    assert_eq!(
        delegated["metadata"]["ownerReferences"],
        json!([owner]),
        "the owner of the Job owns its Workload alone"
    );

    let resized = compile::resized_workload(&workload, 5);
    assert_eq!(resized["spec"]["podGroupTemplates"][0]["schedulingPolicy"], gang(5));
    assert_eq!(resized["spec"]["podGroupTemplates"][0]["preemptionPolicy"], "Never", "the other fields are as stored");
    assert_eq!(resized["metadata"], json!({"uid": "w-uid", "resourceVersion": "5"}));
    let resized = compile::resized_pod_group(&group(&gang(2)), 5);
    assert_eq!(resized, json!({"metadata": {"uid": "g-uid"}, "spec": {"schedulingPolicy": gang(5)}}));
}
