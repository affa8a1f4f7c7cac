//! Time of the last change of a CronJob's schedule or time zone.
//!
//! A time of the new schedule before this change starts no Job. The object itself stores all that is known about the
//! change. An annotation records the observed schedule and the time of its change. `metadata.managedFields` holds the
//! time of the last write by the current owner of `spec.schedule`. This time is not earlier than the change, but it is
//! later if the owner has written something else since. It is therefore used only once, when the schedule differs from
//! the recorded one.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::view::CronJobSpec;
use crate::runtime::clock::whole_seconds;
use crate::runtime::hash::hash;

/// Annotation of a CronJob that records hashes of its schedule and time zone. If they were changed after the creation
/// of the CronJob, the annotation also holds the time of the change.
pub const ANNOTATION: &str = "jobwright.dev/schedule-observed";

const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// Stored data about changes of a schedule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScheduleChanges {
    record: Option<Record>,
    /// Time at which an owner of `spec.schedule` last wrote the object.
    schedule_written: Option<Timestamp>,
    /// Time at which an owner of `spec.timeZone` last wrote the object.
    time_zone_written: Option<Timestamp>,
}

/// Content of the annotation.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    schedule: String,
    time_zone: String,
    since: Option<Timestamp>,
}

impl ScheduleChanges {
    /// Parses the metadata of a CronJob. A malformed annotation counts as absent.
    pub fn parse(metadata: &ObjectMeta) -> Self {
        let annotation = metadata.annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION));
        // Each owner holds the current value, so the earliest write is the one closest to the change.
        let written = |field: &str| {
            let owners = metadata.managed_fields.iter().flatten();
            let owners = owners.filter(|entry| {
                entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(&format!("/f:spec/{field}")).is_some())
            });
            owners.filter_map(|entry| entry.time.as_ref().map(|time| time.0)).min()
        };
        Self {
            record: annotation.and_then(|text| Record::parse(text)),
            schedule_written: written("f:schedule"),
            time_zone_written: written("f:timeZone"),
        }
    }

    /// Returns the time of the last change of the schedule or the time zone, as far as it is known; none if there was
    /// no change since the creation of the CronJob. Scheduled times up to this time are not due.
    pub fn last(&self, spec: &CronJobSpec, created: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let present = Record::of(spec, None);
        let written = self.schedule_written.max(self.time_zone_written.filter(|_| spec.time_zone.is_some()));
        let Some(record) = &self.record else {
            // The write may have changed the schedule or something else. A run that was due in that second therefore
            // stays due.
            let written = written?.checked_sub(SECOND).ok()?;
            return Some(written.min(now)).filter(|written| *written > created);
        };
        if record.is_same(&present) {
            return record.since;
        }
        // A removed field has no owner.
        let removed = spec.time_zone.is_none() && record.time_zone != present.time_zone;
        let written = written.filter(|written| !removed && Some(*written) >= record.since);
        Some(written.unwrap_or(now).min(whole_seconds(now)))
    }

    /// Returns the value of the annotation to store; none if this value is stored already.
    pub fn to_record(&self, spec: &CronJobSpec, created: Timestamp, now: Timestamp) -> Option<String> {
        let present = Record::of(spec, self.last(spec, created, now));
        (self.record.as_ref() != Some(&present)).then(|| present.to_text())
    }

    #[cfg(test)]
    pub(crate) fn recorded_for(spec: &CronJobSpec, since: Option<Timestamp>, written: Option<Timestamp>) -> Self {
        Self { record: Some(Record::of(spec, since)), schedule_written: written, time_zone_written: None }
    }
}

impl Record {
    fn of(spec: &CronJobSpec, since: Option<Timestamp>) -> Self {
        let text = |text: &str| format!("{:016x}", hash([text.as_bytes()]));
        let zone = spec.time_zone.as_deref().unwrap_or_default();
        Self { schedule: text(&spec.schedule), time_zone: text(zone), since: since.map(whole_seconds) }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.schedule == other.schedule && self.time_zone == other.time_zone
    }

    fn parse(text: &str) -> Option<Self> {
        let (hashes, since) = match text.split_once(' ') {
            Some((hashes, since)) => (hashes, Some(since.parse().ok()?)),
            None => (text, None),
        };
        let (schedule, time_zone) = hashes.split_once('-')?;
        Some(Self { schedule: schedule.to_owned(), time_zone: time_zone.to_owned(), since })
    }

    fn to_text(&self) -> String {
        let since = self.since.map_or_else(String::new, |since| format!(" {since}"));
        format!("{}-{}{since}", self.schedule, self.time_zone)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::schedule::cron_job::view::CronJobView;
    use crate::schedule::cron_job::wire::WireCronJob;

    fn at(text: &str) -> Timestamp {
        format!("2026-01-05T{text}Z").parse().unwrap()
    }

    /// Returns a CronJob created at 10:00. Each owner is a subresource, the time of the last write, and the owned
    /// fields.
    fn owned(spec: Value, owners: &[(&str, &str, Value)], annotation: Option<&str>) -> CronJobView {
        let entries: Vec<Value> = owners
            .iter()
            .map(|(subresource, time, fields)| {
                json!({
                    "manager": "m", "operation": "Update", "apiVersion": "batch/v1", "subresource": subresource,
                    "time": format!("2026-01-05T{time}Z"), "fieldsType": "FieldsV1", "fieldsV1": fields,
                })
            })
            .collect();
        let mut wire = json!({
            "metadata": {
                "name": "a", "namespace": "default", "uid": "u", "resourceVersion": "1",
                "creationTimestamp": "2026-01-05T10:00:00Z", "managedFields": entries,
            },
            "spec": {"schedule": "0 5 * * *", "jobTemplate": {}},
        });
        spec.as_object().unwrap().iter().for_each(|(key, value)| wire["spec"][key] = value.clone());
        if let Some(annotation) = annotation {
            wire["metadata"]["annotations"] = json!({ANNOTATION: annotation});
        }
        CronJobView::parse(serde_json::from_str::<WireCronJob>(&wire.to_string()).unwrap()).unwrap()
    }

    fn last(view: &CronJobView, now: &str) -> Option<Timestamp> {
        view.changes.last(&view.spec, view.created, at(now))
    }

    fn recorded(view: &CronJobView, now: &str) -> Option<String> {
        view.changes.to_record(&view.spec, view.created, at(now))
    }

    const BOTH: &str = "f:schedule";

    fn fields(names: &[&str]) -> Value {
        let spec: serde_json::Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
        json!({"f:spec": spec})
    }

    #[test]
    fn new_cron_job_has_no_schedule_change() {
        let new = owned(json!({}), &[("", "10:00:00", fields(&[BOTH]))], None);
        assert_eq!(last(&new, "12:00:00"), None);
        let record = recorded(&new, "12:00:00").unwrap();
        let known = owned(json!({}), &[("", "11:00:00", fields(&[BOTH]))], Some(&record));
        assert_eq!(
            (last(&known, "12:00:00"), recorded(&known, "12:00:00")),
            (None, None),
            "the owner wrote another field"
        );
    }

    #[test]
    fn change_has_the_time_of_the_earliest_write_of_an_owner() {
        let before = owned(json!({"schedule": "0 23 * * *", "timeZone": "UTC"}), &[], None);
        let record = recorded(&before, "10:00:01").unwrap();
        let owners = [
            ("", "11:30:00", fields(&["f:schedule"])),
            ("", "11:10:00", fields(&["f:schedule"])),
            ("status", "11:00:00", fields(&["f:schedule"])),
            ("", "11:50:00", fields(&["f:suspend"])),
        ];
        let moved = owned(json!({"timeZone": "UTC"}), &owners, Some(&record));
        assert_eq!(last(&moved, "12:00:00"), Some(at("11:10:00")));
        let record = recorded(&moved, "12:00:00").unwrap();
        let later = owned(json!({"timeZone": "UTC"}), &[("", "13:00:00", fields(&["f:schedule"]))], Some(&record));
        assert_eq!((last(&later, "14:00:00"), recorded(&later, "14:00:00")), (Some(at("11:10:00")), None));
    }

    #[test]
    fn zone_change_has_the_time_of_its_write_and_zone_removal_the_time_of_its_observation() {
        let before = owned(json!({"timeZone": "UTC"}), &[], None);
        let record = recorded(&before, "10:00:01").unwrap();
        let owners = [("", "10:00:00", fields(&["f:schedule"])), ("", "11:10:00", fields(&["f:timeZone"]))];
        let moved = owned(json!({"timeZone": "Asia/Tokyo"}), &owners, Some(&record));
        assert_eq!(last(&moved, "12:00:00"), Some(at("11:10:00")));
        let removed = owned(json!({}), &owners[..1], Some(&record));
        assert_eq!(last(&removed, "12:00:00"), Some(at("12:00:00")));
        assert!(recorded(&removed, "12:00:00").unwrap().ends_with(" 2026-01-05T12:00:00Z"));
    }

    #[test]
    fn missing_or_malformed_record_falls_back_to_the_write_of_the_owner() {
        let owners = [("", "11:10:00", fields(&["f:schedule"]))];
        for annotation in [None, Some(""), Some("nonsense"), Some("a-b soon")] {
            let view = owned(json!({}), &owners, annotation);
            assert_eq!(last(&view, "12:00:00"), Some(at("11:09:59")), "{annotation:?}");
            assert!(recorded(&view, "12:00:00").is_some());
        }
        let ahead = owned(json!({}), &[("", "18:00:00", fields(&["f:schedule"]))], None);
        assert_eq!(last(&ahead, "12:00:00"), Some(at("12:00:00")), "a change is never in the future");
        let odd = owned(json!({}), &[("", "11:10:00", json!(5)), ("", "11:10:00", json!({"f:spec": []}))], None);
        assert_eq!(last(&odd, "12:00:00"), None);
    }
}
