//! The order of the steps of a Job whose pods the scheduler places as a group.

use serde_json::{Value, json};

use super::fixtures::*;
use super::*;
use crate::job::admission::WaitingStatus;
use crate::job::gang::view::{PodGroupView, WorkloadView};
use crate::job::view::scheduling::{Delegation, reference_key};
use crate::job::write_kinds::{POD_GROUP, RESIZE, WORKLOAD};

fn metadata(name: &str) -> Value {
    json!({
        "name": name, "namespace": "default", "uid": name, "resourceVersion": "5",
        "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": "job-uid", "controller": true}],
    })
}

fn workload(templates: usize, min_count: i32) -> Arc<WorkloadView> {
    let template = json!({"name": "job-pgt-0", "schedulingPolicy": {"gang": {"minCount": min_count}}});
    let reference = json!({"apiGroup": "batch", "kind": "Job", "name": "job"});
    let spec = json!({"controllerRef": reference, "podGroupTemplates": vec![template; templates]});
    let wire = json!({"metadata": metadata("workload"), "spec": spec});
    Arc::new(WorkloadView::parse(serde_json::from_value(wire).unwrap()).unwrap())
}

fn pod_group(min_count: i32) -> Arc<PodGroupView> {
    let reference = json!({"workloadName": "workload", "templateName": "job-pgt-0"});
    let spec = json!({"workloadRef": reference, "schedulingPolicy": {"gang": {"minCount": min_count}}});
    let wire = json!({"metadata": metadata("group"), "spec": spec});
    Arc::new(PodGroupView::parse(serde_json::from_value(wire).unwrap()).unwrap())
}

fn gang_job() -> Job {
    let scheduling = json!({"schedulingPolicy": {"gang": {"minCount": 3}}});
    let parsed = crate::job::view::scheduling::Scheduling::parse(serde_json::from_value(scheduling).unwrap());
    Job::new().completions(3).parallelism(3).with(|job| job.spec.scheduling = Some(Box::new(parsed)))
}

fn step(job: &Job) -> String {
    format!("{:?}", job.decide(&[]).step.summary())
}

#[test]
fn pods_and_status_come_after_the_workload_and_the_pod_group() {
    let (workload, group) = (workload(1, 3), pod_group(3));
    for job in [gang_job(), gang_job().suspend(true)] {
        assert_eq!(step(&job.clone().groups(&[], &[])), "create the Workload");
        assert_eq!(step(&job.groups(std::slice::from_ref(&workload), &[])), "create the PodGroup");
    }
    let ready = gang_job().groups(&[workload], &[group]);
    let Step::CreatePods { pods, group, .. } = ready.decide(&[]).step else { panic!() };
    assert_eq!((pods.len(), group.as_deref()), (3, Some("group")));
    assert!(matches!(ready.suspend(true).decide(&[]).step, Step::WriteStatus { .. }));
    let Step::CreatePods { group, .. } = gang_job().decide(&[]).step else { panic!() };
    assert_eq!(group, None, "the gate is off");
}

#[test]
fn new_job_whose_objects_are_refused_waits_without_a_status() {
    let without_workload = gang_job().groups(&[], &[]).refuses(WORKLOAD, None);
    let without_group = gang_job().groups(&[workload(1, 3)], &[]).refuses(POD_GROUP, None);
    for job in [without_workload, without_group] {
        assert_eq!(step(&job), "nothing");
        // A status would show that the Job was suspended, and that it is no new Job.
        assert_eq!(step(&job.suspend(true)), "nothing");
    }
}

#[test]
fn refused_resize_delays_new_pods_and_nothing_else() {
    let job = gang_job().started(0).groups(&[workload(1, 2)], &[pod_group(2)]);
    assert_eq!(step(&job), "set minCount 3 in the Workload");
    let refused = job.refuses(RESIZE, None);
    let pods = [pod("a").running(1), pod("b").succeeded(5)];
    assert!(matches!(refused.decide(&pods).step, Step::WriteStatus { .. }), "the end of b is counted");
    let surplus = refused.parallelism(1).decide(&[pod("a").running(1), pod("b").running(1)]);
    assert!(matches!(surplus.step, Step::DeletePods { .. }));
}

#[test]
fn unusable_workload_is_reported_and_keeps_new_pods_away() {
    let job = gang_job().started(0).groups(&[workload(2, 3)], &[]);
    let Step::WriteStatus { .. } = job.decide(&[pod("a").succeeded(5)]).step else { panic!("the end is counted") };
    let Step::WriteStatus { status, .. } = job.decide(&[]).step else { panic!("a status is due") };
    let settled = job.with_status(*status).decide(&[]);
    let Step::RejectInvalid(event) = settled.step else { panic!("{:?}", settled.step.summary()) };
    assert_eq!(event.reason, "InvalidWorkload");
}

#[test]
fn finished_and_deleted_jobs_write_no_groups() {
    let jobs = [gang_job().deleting(), gang_job().condition("FailureTarget"), gang_job().condition("Failed")];
    for job in jobs {
        let step = job.groups(&[], &[]).decide(&[]).step;
        assert!(!matches!(step, Step::WriteGroup(_)), "{:?}", step.summary());
    }
}

#[test]
fn waiting_job_gets_its_objects_when_a_limit_admits_it_and_before_that_is_stored() {
    let waiting = WaitingStatus {
        limit: "l".into(),
        position: 1,
        reason: crate::job::admission::Reason::Queue,
        message: "m".into(),
    };
    let job = gang_job().groups(&[], &[]);
    let pending = job.decide_admitted(&[], &Admission::Pending(waiting)).step;
    assert!(matches!(pending, Step::PublishWaiting { .. }), "{:?}", pending.summary());
    let admitted = job.decide_admitted(&[], &Admission::Admitted).step;
    assert!(matches!(admitted, Step::WriteGroup(_)), "{:?}", admitted.summary());
}

#[test]
fn delegated_job_reads_the_workload_of_its_owner_before_its_first_pod() {
    let parent = reference_key("example.com", "Team", "a");
    let job = Job::new().groups(&[], &[]).with(|job| {
        job.owner = Some("team-uid".into());
        job.delegation = Some(Box::new(Delegation { parent, template: "workers".into() }));
    });
    assert!(matches!(job.decide(&[]).step, Step::ReadParentWorkload));
}
