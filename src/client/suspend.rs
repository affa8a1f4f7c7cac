//! Whether an object has to be changed to suspend or resume it.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::client::names::Kind;
use crate::job::view::kueue::QUEUE_LABEL;
use crate::schedule::job_schedule::RESUME;
use crate::schedule::job_schedule::conditions::SUSPENDED;
use crate::schedule::job_schedule::suspension::TOO_MANY_FAILURES;

/// What to do with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// `spec.suspend` has the wanted value already.
    None,
    /// `spec.suspend` has to be set. The note names another controller that sets the field.
    Set { note: Option<String> },
    /// The JobSchedule is suspended after failed runs; a new value of its annotation resumes it.
    Annotate,
    /// The change would have no effect, for this reason.
    Useless(&'static str),
}

/// Returns whether a JobSchedule is suspended because runs have failed.
fn is_suspended_after_failures(object: &Value) -> bool {
    has_true_condition(object, |condition| condition["type"] == SUSPENDED && condition["reason"] == TOO_MANY_FAILURES)
}

/// Returns the change that sets `spec.suspend` of an object to `suspend`.
pub(crate) fn change(kind: Kind, object: &Value, suspend: bool) -> Change {
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Change::Useless("it is being deleted");
    }
    if kind == Kind::Job && is_finished(object) {
        return Change::Useless("it is finished");
    }
    if object["spec"]["suspend"].as_bool().unwrap_or_default() == suspend {
        if !suspend && kind == Kind::JobSchedule && is_suspended_after_failures(object) {
            return Change::Annotate;
        }
        return Change::None;
    }
    let queue = object["metadata"]["labels"][QUEUE_LABEL].as_str().filter(|_| kind == Kind::Job);
    let note = queue.map(|queue| {
        format!(
            "Kueue sets spec.suspend of this Job too, because it is in the queue {queue}; Kueue may undo the change"
        )
    });
    Change::Set { note }
}

/// Returns the merge patch for a change. `at` becomes the value of the annotation that resumes a JobSchedule. `None` if
/// nothing is to be changed.
pub(crate) fn patch(change: &Change, suspend: bool, at: Timestamp) -> Option<Value> {
    match change {
        Change::None | Change::Useless(_) => None,
        Change::Set { .. } => Some(json!({"spec": {"suspend": suspend}})),
        Change::Annotate => Some(json!({"metadata": {"annotations": {RESUME: at.to_string()}}})),
    }
}

fn is_finished(job: &Value) -> bool {
    has_true_condition(job, |condition| condition["type"] == "Complete" || condition["type"] == "Failed")
}

fn has_true_condition(object: &Value, fits: impl Fn(&Value) -> bool) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["status"] == "True" && fits(condition))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_that_can_change_are_changed() {
        let set = Change::Set { note: None };
        let cases = [
            (Kind::Job, json!({}), true, set.clone()),
            (Kind::Job, json!({}), false, Change::None),
            (Kind::CronJob, json!({"spec": {"suspend": true}}), true, Change::None),
            (Kind::CronJob, json!({"spec": {"suspend": true}}), false, set.clone()),
            (Kind::JobSchedule, json!({"spec": {"suspend": false}}), true, set.clone()),
            (Kind::Job, json!({"metadata": {"deletionTimestamp": "x"}}), true, Change::Useless("it is being deleted")),
            (
                Kind::Job,
                json!({"status": {"conditions": [{"type": "Complete", "status": "True"}]}}),
                true,
                Change::Useless("it is finished"),
            ),
            (Kind::Job, json!({"status": {"conditions": [{"type": "Failed", "status": "False"}]}}), true, set),
        ];
        let failed = json!({"status": {"conditions": [
            {"type": "Suspended", "status": "True", "reason": "TooManyFailures"},
        ]}});
        let failed = [
            (Kind::JobSchedule, failed.clone(), false, Change::Annotate),
            (Kind::JobSchedule, failed.clone(), true, Change::Set { note: None }),
            (Kind::Job, failed, false, Change::None),
        ];
        for (kind, object, suspend, expected) in cases.into_iter().chain(failed) {
            assert_eq!(change(kind, &object, suspend), expected, "{object}");
        }
        let queued = json!({"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "q"}}, "spec": {"suspend": true}});
        let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let patches = [Change::None, Change::Annotate].map(|change| patch(&change, false, at));
        let resumed = json!({"metadata": {"annotations": {"jobwright.dev/resume": "2026-01-01T00:00:00Z"}}});
        assert_eq!(patches, [None, Some(resumed)]);
        let Change::Set { note: Some(note) } = change(Kind::Job, &queued, false) else { panic!("the Job is changed") };
        assert!(note.contains("the queue q"), "{note}");
    }
}
