//! A Job from a CronJob's template.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::view::CronJobView;
use super::{SCHEDULED_ANNOTATION, decide, zones};
use crate::job::{API_VERSION, KIND};

/// The Job to create for a time, as the API server takes it.
///
/// # Errors
/// The template is not a JSON object; the API server stores no such CronJob.
pub fn from_template(cron_job: &CronJobView, scheduled: Timestamp) -> serde_json::Result<Vec<u8>> {
    let mut template: Map<String, Value> = serde_json::from_str(cron_job.spec.job_template.get())?;
    let mut given = match template.remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    };
    let mut annotations = match given.remove("annotations") {
        Some(Value::Object(annotations)) => annotations,
        _ => Map::new(),
    };
    annotations.insert(SCHEDULED_ANNOTATION.to_owned(), json!(stamp(cron_job, scheduled)));
    let identity = &cron_job.identity;
    let mut metadata = json!({
        "name": decide::job_name(cron_job, scheduled),
        "annotations": annotations,
        "ownerReferences": [{
            "apiVersion": API_VERSION, "kind": super::KIND, "name": &*identity.name, "uid": identity.uid,
            "controller": true, "blockOwnerDeletion": true,
        }],
    });
    if let Some(labels) = given.remove("labels") {
        metadata["labels"] = labels;
    }
    serde_json::to_vec(&json!({
        "apiVersion": API_VERSION, "kind": KIND, "metadata": metadata,
        "spec": template.remove("spec").unwrap_or_default(),
    }))
}

/// The time in the CronJob's zone, which is UTC unless it names one.
fn stamp(cron_job: &CronJobView, scheduled: Timestamp) -> String {
    let zone = cron_job.spec.time_zone.as_deref().and_then(zones::zone).unwrap_or(TimeZone::UTC);
    let local = scheduled.to_zoned(zone);
    let offset = if local.offset().seconds() == 0 { "Z".to_owned() } else { local.strftime("%:z").to_string() };
    format!("{}{offset}", local.strftime("%Y-%m-%dT%H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cronjob::fixtures::cron_job;

    fn made(zone: Option<&str>) -> Value {
        let mut cron_job = cron_job("* * * * *");
        cron_job.spec.time_zone = zone.map(str::to_owned);
        let job = from_template(&cron_job, "2026-01-05T10:30:00Z".parse().unwrap()).unwrap();
        serde_json::from_slice(&job).unwrap()
    }

    #[test]
    fn a_job_is_named_after_its_time_and_owned_by_its_cron_job() {
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
    fn its_time_is_written_in_the_zone() {
        let stamp = |zone| made(Some(zone))["metadata"]["annotations"][SCHEDULED_ANNOTATION].clone();
        assert_eq!(stamp("Asia/Kolkata"), "2026-01-05T16:00:00+05:30");
        assert_eq!(stamp("Europe/London"), "2026-01-05T10:30:00Z");
        assert_eq!(stamp("America/St_Johns"), "2026-01-05T07:00:00-03:30");
    }
}
