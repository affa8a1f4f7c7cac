//! The Job of a CronJob or JobSchedule that a user starts independently of the schedule.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{CronJob, Job, JobSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use serde_json::Value;

use super::cluster::INSTANTIATE_ANNOTATION;
use crate::schedule::job_schedule::NAME_LABEL;
use crate::schedule::job_schedule::types::JobSchedule;
use crate::schedule::parameters::{self, Parameter, ParameterValue};

/// Longest name of a CronJob or JobSchedule that is not shortened: the name of the Job gets a suffix, and the names of
/// its pods get six further characters.
const LONGEST_NAME: usize = 47;
/// Number of random letters at the end of the name of the Job.
pub(crate) const LETTERS: usize = 5;

/// Name of the Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    /// Name that the user chose.
    Given(&'a str),
    /// Name of the owner with these letters at its end.
    Letters(&'a str),
}

/// Parts of a CronJob or JobSchedule from which its Job is built.
pub(crate) struct Template {
    owner: OwnerReference,
    annotations: BTreeMap<String, String>,
    labels: Option<BTreeMap<String, String>>,
    spec: Option<JobSpec>,
    /// Parameters; a CronJob has none.
    pub parameters: Vec<Parameter>,
}

fn owner(api_version: &str, kind: &str, object: &impl ResourceExt) -> OwnerReference {
    OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        controller: Some(true),
        ..OwnerReference::default()
    }
}

/// Returns the template of a CronJob.
pub(crate) fn of_cron_job(cron_job: &CronJob) -> Template {
    let template = &cron_job.spec.job_template;
    let given = template.metadata.clone().unwrap_or_default();
    Template {
        owner: owner(crate::job::API_VERSION, crate::schedule::cron_job::KIND, cron_job),
        annotations: given.annotations.unwrap_or_default(),
        labels: given.labels,
        spec: template.spec.clone(),
        parameters: Vec::new(),
    }
}

/// Returns the template of a JobSchedule.
///
/// # Errors
/// The specification of the Job is invalid.
pub(crate) fn of_job_schedule(schedule: &JobSchedule) -> serde_json::Result<Template> {
    let template = &schedule.spec.job_template;
    let mut given = template.metadata.clone().unwrap_or_default();
    let mut spec: JobSpec = serde_json::from_value(template.spec.clone())?;
    let name = schedule.name_any();
    given.labels.insert(NAME_LABEL.to_owned(), name.clone());
    let pod = spec.template.metadata.get_or_insert_default();
    pod.labels.get_or_insert_default().insert(NAME_LABEL.to_owned(), name);
    Ok(Template {
        owner: owner(crate::schedule::job_schedule::API_VERSION, crate::schedule::job_schedule::KIND, schedule),
        annotations: given.annotations,
        labels: Some(given.labels),
        spec: Some(spec),
        parameters: schedule.spec.parameters.clone(),
    })
}

/// Builds the Job of a template. The Job belongs to no time of the schedule.
pub(crate) fn job_now(template: Template, name: Name<'_>, set: &[ParameterValue]) -> Value {
    let Template { owner, mut annotations, labels, spec, parameters } = template;
    let values = parameters::values(&parameters, set);
    annotations.insert(INSTANTIATE_ANNOTATION.to_owned(), "manual".to_owned());
    annotations.extend(parameters::annotation(&values).map(|values| (parameters::ANNOTATION.to_owned(), values)));
    // The name is generated here and not by the API server: if the response is lost, the user has to know which name to
    // search for.
    let name = match name {
        Name::Given(name) => name.to_owned(),
        Name::Letters(letters) => {
            let prefix: String = owner.name.chars().take(LONGEST_NAME).collect();
            format!("{prefix}-manual-{letters}")
        }
    };
    let job = Job {
        metadata: ObjectMeta {
            name: Some(name),
            annotations: Some(annotations),
            labels,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec,
        ..Job::default()
    };
    let mut job = serde_json::to_value(job).unwrap_or_default();
    parameters::set_variables(&mut job["spec"], &values);
    job
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn job_equals_the_one_that_kubectl_creates() {
        let cron_job: CronJob = serde_json::from_value(json!({
            "metadata": {"name": "n".repeat(52), "uid": "u"},
            "spec": {"schedule": "* * * * *", "jobTemplate": {
                "metadata": {"name": "ignored", "labels": {"app": "a"}, "annotations": {"note": "b"}},
                "spec": {"completions": 3, "template": {}},
            }},
        }))
        .unwrap();
        let made = job_now(of_cron_job(&cron_job), Name::Letters("abcde"), &[]);
        assert_eq!(made["metadata"]["name"], format!("{}-manual-abcde", "n".repeat(47)));
        assert_eq!(made["metadata"]["labels"], json!({"app": "a"}));
        assert_eq!(
            made["metadata"]["annotations"],
            json!({"note": "b", "cronjob.kubernetes.io/instantiate": "manual"})
        );
        assert_eq!(
            made["metadata"]["ownerReferences"],
            json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "n".repeat(52), "uid": "u", "controller": true}])
        );
        assert_eq!(made["spec"]["completions"], 3);
        assert_eq!(job_now(of_cron_job(&cron_job), Name::Given("mine"), &[])["metadata"]["name"], "mine");
    }

    #[test]
    fn job_of_a_job_schedule_is_built_from_its_template() {
        let schedule: JobSchedule = serde_json::from_value(json!({
            "apiVersion": "jobwright.dev/v1beta1", "kind": "JobSchedule", "metadata": {"name": "s", "uid": "u"},
            "spec": {
                "schedules": ["H * * * *"], "parameters": [{"name": "REGION", "default": "eu"}, {"name": "DAY"}],
                "jobTemplate": {"spec": {"completions": 3, "template": {"spec": {"containers": [{"name": "main"}]}}}},
            },
        }))
        .unwrap();
        let set = ParameterValue { name: "DAY".to_owned(), value: "$1".to_owned() };
        let made = job_now(of_job_schedule(&schedule).unwrap(), Name::Letters("abcde"), &[set]);
        assert_eq!(made["metadata"]["annotations"][parameters::ANNOTATION], r#"{"DAY":"$1","REGION":"eu"}"#);
        let env = json!([{"name": "DAY", "value": "$$1"}, {"name": "REGION", "value": "eu"}]);
        assert_eq!(made["spec"]["template"]["spec"]["containers"][0]["env"], env);
        assert_eq!((&made["metadata"]["name"], &made["spec"]["completions"]), (&json!("s-manual-abcde"), &json!(3)));
        assert_eq!(made["metadata"]["ownerReferences"][0]["kind"], "JobSchedule");
        assert_eq!(made["metadata"]["labels"], json!({NAME_LABEL: "s"}));
        assert_eq!(made["spec"]["template"]["metadata"]["labels"], json!({NAME_LABEL: "s"}));
    }
}
