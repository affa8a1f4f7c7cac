//! Actions on a Job: run it again, delete it, and change its priority.

use serde_json::{Value, json};

use super::request::PlannedRequest;
use super::{Plan, Subject};
use crate::client::leases::Leases;
use crate::client::names::{Kind, ObjectName};
use crate::client::rerun::{copy, repeat};
use crate::job::admission::PRIORITY_ANNOTATION;

/// Plans a Job that runs this one again. The letters are the end of its name. With `leases`, the new Job runs the failed
/// indexes alone.
///
/// # Errors
/// The Job is not finished, or its failed indexes cannot be run alone.
pub(crate) fn rerun(job: &Subject<'_>, letters: &str, leases: Option<&Leases>) -> Result<Plan, String> {
    let name = copy::name(job.name(), letters);
    let copied = repeat(job.object, &name, false, leases).map_err(|error| error.to_string())?;
    let mut command = format!("rerun {} --name={name}", job.object_name());
    if leases.is_some() {
        command.push_str(" --failed-indexes");
    }
    Ok(Plan {
        request: PlannedRequest::create(Kind::Job, job.text("namespace"), copied.job),
        command: job.suggest.jobwright(&command),
        notes: copied.notes,
        result: ObjectName { kind: Kind::Job, name },
    })
}

/// Plans the deletion of a Job and its pods.
///
/// # Errors
/// The Job is being deleted.
pub(crate) fn delete(job: &Subject<'_>) -> Result<Plan, String> {
    job.check_not_deleted()?;
    let (namespace, name) = (job.text("namespace"), job.name());
    let is_running = job.object["status"]["active"].as_i64().is_some_and(|active| active > 0);
    let note = "The Job has active pods, which are stopped and deleted".to_owned();
    Ok(Plan {
        request: PlannedRequest::delete(Kind::Job, (namespace, name), job.text("uid")),
        command: job.suggest.kubectl(&format!("delete job {name} --cascade=background")),
        notes: is_running.then_some(note).into_iter().collect(),
        result: job.object_name(),
    })
}

/// Plans another priority of a Job.
///
/// # Errors
/// The priority is no whole number, the Job has it already, or the Job is finished or being deleted.
pub(crate) fn priority(job: &Subject<'_>, text: &str) -> Result<Plan, String> {
    job.check_not_deleted()?;
    let priority: i32 =
        text.parse().map_err(|_| format!("the priority {text:?} is not a whole number such as 10 or -5"))?;
    let name = job.object_name();
    if is_finished(job.object) {
        return Err(format!("{name} is finished, so that a priority has no effect"));
    }
    if current_priority(job.object) == Some(&*priority.to_string()) {
        return Err(format!("{name} has the priority {priority} already"));
    }
    let annotations = json!({PRIORITY_ANNOTATION: priority.to_string()});
    let starts = "A JobLimit admits waiting Jobs with a higher priority first; an active Job is not stopped".to_owned();
    Ok(Plan {
        request: job.patch(json!({"metadata": {"annotations": annotations}})),
        command: job
            .suggest
            .kubectl(&format!("annotate job {} {PRIORITY_ANNOTATION}={priority} --overwrite", job.name())),
        notes: vec![starts],
        result: name,
    })
}

/// Returns the priority of a Job, as its annotation has it.
pub(crate) fn current_priority(job: &Value) -> Option<&str> {
    job["metadata"]["annotations"][PRIORITY_ANNOTATION].as_str()
}

/// Returns whether a Job is complete or has failed.
pub(crate) fn is_finished(job: &Value) -> bool {
    has_ended(job, "Complete") || has_ended(job, "Failed")
}

/// Returns whether a Job is Indexed and has failed, so that failed indexes may be run again alone.
pub(crate) fn may_have_failed_indexes(job: &Value) -> bool {
    job["spec"]["completionMode"] == "Indexed" && has_ended(job, "Failed")
}

fn has_ended(job: &Value, type_: &str) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == type_ && one["status"] == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::leases::{JOBWRIGHT, LeaseState};
    use crate::client::suggest::Suggestions;

    fn planned<T>(change: impl Fn(&mut Value), plan: impl Fn(&Subject<'_>) -> T) -> T {
        let mut object = json!({
            "metadata": {"name": "n", "namespace": "etl", "uid": "u"},
            "spec": {"completions": 3, "completionMode": "Indexed", "managedBy": "jobwright.dev/controller",
                "template": {"spec": {"containers": []}}},
            "status": {"conditions": [{"type": "Failed", "status": "True"}], "completedIndexes": "0", "failedIndexes": "2"},
        });
        change(&mut object);
        let suggest = Suggestions::new("jobwright", Some("etl".to_owned()), Vec::new());
        plan(&Subject { kind: Kind::Job, object: &object, suggest: &suggest })
    }

    #[test]
    fn rerun_creates_a_job_with_the_given_letters() {
        let plan = planned(|_| {}, |job| rerun(job, "bcdfg", None)).unwrap();
        assert_eq!(plan.request.path, "/apis/batch/v1/namespaces/etl/jobs");
        assert_eq!(plan.request.body["metadata"]["name"], "n-rerun-bcdfg");
        assert_eq!(plan.command, "jobwright rerun job/n --name=n-rerun-bcdfg -n etl");
        assert_eq!(plan.result.to_string(), "job/n-rerun-bcdfg");
        let again = planned(|_| {}, |job| rerun(job, "bcdfg", None)).unwrap();
        assert_eq!(plan, again, "the same letters give the same request");
        let running = planned(|job| job["status"] = json!({}), |job| rerun(job, "bcdfg", None));
        assert!(running.unwrap_err().contains("not finished"));
        let lease = LeaseState {
            namespace: "jobwright-system".to_owned(),
            name: JOBWRIGHT.to_owned(),
            holder: Some("a".to_owned()),
            installation: None,
            claim: Some("all".to_owned()),
            renewed: None,
            duration: jiff::SignedDuration::ZERO,
        };
        let leases = Leases { found: vec![lease], ..Leases::default() };
        let plan = planned(|_| {}, |job| rerun(job, "bcdfg", Some(&leases))).unwrap();
        assert_eq!(plan.request.body["metadata"]["annotations"]["jobwright.dev/indexes"], "1,2");
        assert!(plan.command.contains(" --failed-indexes -n etl") && plan.notes[0].contains("2 of 3 indexes"));
    }

    #[test]
    fn deletion_names_active_pods() {
        let plan = planned(|_| {}, delete).unwrap();
        assert_eq!((plan.request.method.as_str(), plan.notes.len()), ("DELETE", 0));
        assert_eq!(plan.command, "kubectl delete job n --cascade=background -n etl");
        assert_eq!(planned(|job| job["status"]["active"] = json!(2), delete).unwrap().notes.len(), 1);
        let deleted = |job: &mut Value| job["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(planned(deleted, delete).unwrap_err(), "job/n is being deleted");
    }

    #[test]
    fn priority_is_a_whole_number_that_differs() {
        let running = |job: &mut Value| job["status"] = json!({});
        let plan = planned(running, |job| priority(job, "7")).unwrap();
        let annotations = json!({"jobwright.dev/priority": "7"});
        assert_eq!(plan.request.body, json!({"metadata": {"uid": "u", "annotations": annotations}}));
        assert_eq!(plan.command, "kubectl annotate job n jobwright.dev/priority=7 --overwrite -n etl");
        for wrong in ["", "x", "1.5", "99999999999", "1 "] {
            assert!(planned(running, |job| priority(job, wrong)).unwrap_err().contains("whole number"), "{wrong}");
        }
        let same = |job: &mut Value| {
            job["status"] = json!({});
            job["metadata"]["annotations"] = json!({"jobwright.dev/priority": "7"});
        };
        assert!(planned(same, |job| priority(job, "7")).unwrap_err().contains("already"));
        assert!(planned(same, |job| priority(job, "-7")).is_ok());
        assert!(planned(|_| {}, |job| priority(job, "7")).unwrap_err().contains("finished"));
    }

    #[test]
    fn failed_indexes_are_those_of_a_failed_indexed_job() {
        assert!(planned(|_| {}, |job| may_have_failed_indexes(job.object)));
        let complete = |job: &mut Value| job["status"]["conditions"][0]["type"] = json!("Complete");
        assert!(!planned(complete, |job| may_have_failed_indexes(job.object)));
        assert!(planned(complete, |job| is_finished(job.object)));
        assert!(!planned(
            |job| job["spec"]["completionMode"] = json!("NonIndexed"),
            |job| may_have_failed_indexes(job.object)
        ));
    }
}
