//! Actions on Jobs and schedules: the request of each, and the command that does the same. Pure functions.

pub(crate) mod of_job;
pub(crate) mod of_schedule;
pub(crate) mod request;

use serde_json::Value;

use self::request::PlannedRequest;
use crate::client::names::{Kind, ObjectName};
use crate::client::suggest::Suggestions;
use crate::client::suspend::{Change, change, patch};
use jiff::Timestamp;

/// Action that is ready to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Request that is sent.
    pub request: PlannedRequest,
    /// Command that does the same.
    pub command: String,
    /// Notes for the user.
    pub notes: Vec<String>,
    /// Object to show afterwards: the new Job, or the changed object.
    pub result: ObjectName,
}

/// Object that an action changes, as the API server returned it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// Kind of the object.
    pub kind: Kind,
    /// The object.
    pub object: &'a Value,
    /// Writes the commands.
    pub suggest: &'a Suggestions,
}

impl Subject<'_> {
    fn text(&self, field: &str) -> &str {
        self.object["metadata"][field].as_str().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.text("name")
    }

    fn object_name(&self) -> ObjectName {
        ObjectName { kind: self.kind, name: self.name().to_owned() }
    }

    fn patch(&self, patch: Value) -> PlannedRequest {
        PlannedRequest::patch(self.kind, (self.text("namespace"), self.name()), self.text("uid"), patch)
    }

    fn check_not_deleted(&self) -> Result<(), String> {
        let is_deleted = !self.object["metadata"]["deletionTimestamp"].is_null();
        if is_deleted { Err(format!("{} is being deleted", self.object_name())) } else { Ok(()) }
    }

    /// Plans to suspend or to resume the object. `at` becomes the value of the annotation that resumes a JobSchedule.
    ///
    /// # Errors
    /// The change is not needed, or would have no effect.
    pub(crate) fn suspend(&self, suspend: bool, at: Timestamp) -> Result<Plan, String> {
        let name = self.object_name();
        let (verb, done) = if suspend { ("suspend", "suspended") } else { ("resume", "resumed") };
        let change = change(self.kind, self.object, suspend);
        let patch = match (patch(&change, suspend, at), &change) {
            (Some(patch), _) => patch,
            (None, Change::Useless(why)) => return Err(format!("{name} is not {done}: {why}")),
            (None, _) if suspend => return Err(format!("{name} is suspended already")),
            (None, _) => return Err(format!("{name} is not suspended")),
        };
        let notes = match change {
            Change::Set { note } => note.into_iter().collect(),
            _ => Vec::new(),
        };
        let command = self.suggest.jobwright(&format!("{verb} {name}"));
        Ok(Plan { request: self.patch(patch), command, notes, result: name })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn object_is_suspended_and_resumed_by_a_patch() {
        let suggest = Suggestions::new("jobwright", Some("etl".to_owned()), Vec::new());
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        let plan = |kind, change: &dyn Fn(&mut Value), suspend| {
            let mut object = json!({"metadata": {"name": "n", "namespace": "etl", "uid": "u"}, "spec": {}});
            change(&mut object);
            Subject { kind, object: &object, suggest: &suggest }.suspend(suspend, at)
        };
        let suspended = plan(Kind::Job, &|_| {}, true).unwrap();
        assert_eq!(suspended.request.path, "/apis/batch/v1/namespaces/etl/jobs/n");
        assert_eq!(suspended.request.body, json!({"metadata": {"uid": "u"}, "spec": {"suspend": true}}));
        assert_eq!((&*suspended.command, suspended.notes.len()), ("jobwright suspend job/n -n etl", 0));
        assert_eq!(plan(Kind::CronJob, &|_| {}, false).unwrap_err(), "cronjob/n is not suspended");
        let is_suspended = |object: &mut Value| object["spec"]["suspend"] = json!(true);
        assert_eq!(plan(Kind::CronJob, &is_suspended, true).unwrap_err(), "cronjob/n is suspended already");
        assert_eq!(plan(Kind::CronJob, &is_suspended, false).unwrap().request.body["spec"]["suspend"], false);
        let failed = |object: &mut Value| {
            object["status"]["conditions"] =
                json!([{"type": "Suspended", "status": "True", "reason": "TooManyFailures"}]);
        };
        let resumed = plan(Kind::JobSchedule, &failed, false).unwrap();
        let annotations = json!({"jobwright.dev/resume": "2026-01-01T00:00:00Z"});
        assert_eq!(resumed.request.body, json!({"metadata": {"uid": "u", "annotations": annotations}}));
        let ended = |object: &mut Value| {
            object["status"]["conditions"] = json!([{"type": "Complete", "status": "True"}]);
        };
        assert_eq!(plan(Kind::Job, &ended, true).unwrap_err(), "job/n is not suspended: it is finished");
        let queued = |object: &mut Value| {
            object["metadata"]["labels"] = json!({"kueue.x-k8s.io/queue-name": "q"});
        };
        assert!(plan(Kind::Job, &queued, true).unwrap().notes[0].contains("the queue q"));
    }
}
