//! Jobs made from the template of a CronJob.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::cron_job::view::CronJobView;
use super::{SCHEDULED_ANNOTATION, parameters, zones};
use crate::job::{API_VERSION, KIND};

/// Kind of the object that owns the Job, for the owner reference.
#[derive(Clone, Copy, Debug)]
pub struct OwnerKind {
    /// API version of the kind, such as `batch/v1`.
    pub api_version: &'static str,
    /// Name of the kind, such as `CronJob`.
    pub kind: &'static str,
}

/// What a Job gets in addition to its template. The Jobs of CronJobs get nothing, as with the built-in controller.
#[derive(Clone, Copy, Debug)]
pub struct Additions<'a> {
    /// Environment variable of the containers that holds the scheduled time.
    pub variable: &'static str,
    /// Values of the parameters.
    pub parameters: &'a BTreeMap<String, String>,
    /// Labels of the Job and its pods.
    pub labels: &'a [(&'static str, &'a str)],
}

/// Returns the JSON of the Job to create for a scheduled time.
///
/// # Errors
/// Returns an error if the template is not a JSON object. The API server stores no such CronJob.
pub fn from_template(
    cron_job: &CronJobView,
    owner: OwnerKind,
    name: &str,
    scheduled: Timestamp,
    additions: Option<Additions<'_>>,
) -> serde_json::Result<Vec<u8>> {
    let mut template: Map<String, Value> = serde_json::from_str(cron_job.spec.job_template.get())?;
    let mut given = match template.remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    };
    let mut annotations = match given.remove("annotations") {
        Some(Value::Object(annotations)) => annotations,
        _ => Map::new(),
    };
    let time = stamp(cron_job, scheduled);
    annotations.insert(SCHEDULED_ANNOTATION.to_owned(), json!(time));
    let values = additions.and_then(|additions| parameters::annotation(additions.parameters));
    annotations.extend(values.map(|values| (parameters::ANNOTATION.to_owned(), json!(values))));
    let identity = &cron_job.identity;
    let mut metadata = json!({
        "name": name,
        "annotations": annotations,
        "ownerReferences": [{
            "apiVersion": owner.api_version, "kind": owner.kind, "name": &*identity.name, "uid": identity.uid,
            "controller": true, "blockOwnerDeletion": true,
        }],
    });
    if let Some(labels) = given.remove("labels") {
        metadata["labels"] = labels;
    }
    let mut spec = template.remove("spec").unwrap_or_default();
    if let Some(Additions { variable, parameters, labels }) = additions {
        parameters::set_variables(&mut spec, parameters);
        parameters::set_variables(&mut spec, &[(variable.to_owned(), time)].into());
        for (label, value) in labels {
            set_label(&mut metadata, label, value);
            if let Some(pod) = spec.pointer_mut("/template").and_then(Value::as_object_mut) {
                set_label(pod.entry("metadata").or_insert_with(|| json!({})), label, value);
            }
        }
    }
    serde_json::to_vec(&json!({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}))
}

/// Sets a label in the metadata of a Job or of a pod template.
fn set_label(metadata: &mut Value, label: &str, value: &str) {
    if metadata.is_null() {
        *metadata = json!({});
    }
    let Some(metadata) = metadata.as_object_mut() else { return };
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    if labels.is_null() {
        *labels = json!({});
    }
    if let Some(labels) = labels.as_object_mut() {
        labels.insert(label.to_owned(), json!(value));
    }
}

/// Formats a scheduled time in the time zone of the CronJob, or in UTC if the CronJob names no zone.
pub fn stamp(cron_job: &CronJobView, scheduled: Timestamp) -> String {
    let zone = cron_job.spec.time_zone.as_deref().and_then(zones::zone).unwrap_or(TimeZone::UTC);
    let local = scheduled.to_zoned(zone);
    let offset = if local.offset().seconds() == 0 { "Z".to_owned() } else { local.strftime("%:z").to_string() };
    format!("{}{offset}", local.strftime("%Y-%m-%dT%H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::fixtures::cron_job;

    fn made(zone: Option<&str>) -> Value {
        let mut cron_job = cron_job("* * * * *");
        cron_job.spec.time_zone = zone.map(str::to_owned);
        made_of(&cron_job, None)
    }

    fn made_of(cron_job: &CronJobView, additions: Option<Additions<'_>>) -> Value {
        let owner = OwnerKind { api_version: "batch/v1", kind: "CronJob" };
        let scheduled = "2026-01-05T10:30:00Z".parse().unwrap();
        let job = from_template(cron_job, owner, "nightly-29460150", scheduled, additions).unwrap();
        serde_json::from_slice(&job).unwrap()
    }

    #[test]
    fn scheduled_time_is_injected_into_containers_that_do_not_define_the_variable() {
        let mut cron_job = cron_job("* * * * *");
        let containers =
            json!([{"name": "a"}, {"name": "b", "env": [{"name": "T", "value": "mine"}]}, {"name": "c", "env": null}]);
        let template =
            json!({"spec": {"template": {"spec": {"containers": containers, "initContainers": [{"name": "i"}]}}}});
        cron_job.spec.job_template = serde_json::value::to_raw_value(&template).unwrap().into();
        let additions =
            Additions { variable: "T", parameters: &BTreeMap::new(), labels: &[("example.com/owner", "nightly")] };
        let pod = &made_of(&cron_job, Some(additions))["spec"]["template"]["spec"];
        let injected = json!([{"name": "T", "value": "2026-01-05T10:30:00Z"}]);
        assert_eq!(
            (&pod["containers"][0]["env"], &pod["containers"][2]["env"], &pod["initContainers"][0]["env"]),
            (&injected, &injected, &injected)
        );
        assert_eq!(pod["containers"][1]["env"], json!([{"name": "T", "value": "mine"}]));
        assert_eq!(made_of(&cron_job, None)["spec"], template["spec"]);
    }

    #[test]
    fn label_with_the_name_of_the_owner_is_set_on_the_job_and_its_pods() {
        let additions = Some(Additions {
            variable: "T",
            parameters: &BTreeMap::new(),
            labels: &[("example.com/owner", "nightly")],
        });
        let pod_metadata = [
            (json!({"spec": {}}), json!({"example.com/owner": "nightly"})),
            (json!({"metadata": null, "spec": {}}), json!({"example.com/owner": "nightly"})),
            (
                json!({"metadata": {"labels": {"app": "a", "example.com/owner": "other"}}}),
                json!({"app": "a", "example.com/owner": "nightly"}),
            ),
        ];
        for (pod, labels) in pod_metadata {
            let mut cron_job = cron_job("* * * * *");
            let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"template": pod}});
            cron_job.spec.job_template = serde_json::value::to_raw_value(&template).unwrap().into();
            let job = made_of(&cron_job, additions);
            assert_eq!(job["metadata"]["labels"], json!({"app": "a", "example.com/owner": "nightly"}));
            assert_eq!(job["spec"]["template"]["metadata"]["labels"], labels);
            assert_eq!(made_of(&cron_job, None)["spec"], template["spec"], "a Job of a CronJob gets no label");
        }
    }

    #[test]
    fn job_is_named_after_its_time_and_owned_by_its_cron_job() {
        let job = made(None);
        assert_eq!(
            job["metadata"],
            json!({
                "name": "nightly-29460150",
                "labels": {"app": "a"},
                "annotations": {"note": "kept", SCHEDULED_ANNOTATION: "2026-01-05T10:30:00Z"},
                "ownerReferences": [{
                    "apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": "cron-uid",
                    "controller": true, "blockOwnerDeletion": true,
                }],
            })
        );
        assert_eq!(job["spec"]["fieldOfTheFuture"], 1);
    }

    #[test]
    fn scheduled_time_is_written_in_the_zone_of_the_cron_job() {
        let stamp = |zone| made(Some(zone))["metadata"]["annotations"][SCHEDULED_ANNOTATION].clone();
        assert_eq!(stamp("Asia/Kolkata"), "2026-01-05T16:00:00+05:30");
        assert_eq!(stamp("Europe/London"), "2026-01-05T10:30:00Z");
        assert_eq!(stamp("America/St_Johns"), "2026-01-05T07:00:00-03:30");
    }
}
