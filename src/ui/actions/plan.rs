//! The request of each action on a Job: pure functions from the Job to the request that the page shows and the console sends.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::client::names::Kind;
use crate::client::rerun::copy;
use crate::client::suggest::Suggestions;
use crate::client::suspend::{Change, change};
use crate::ui::access::Permission;

/// Action on a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Create a Job with the same template.
    Rerun,
    /// Set `spec.suspend`.
    Suspend,
    /// Remove `spec.suspend`.
    Resume,
    /// Delete the Job and its pods.
    Delete,
}

/// Request to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRequest {
    /// Method of HTTP.
    pub method: &'static str,
    /// Path with the query.
    pub path: String,
    /// Type of the body.
    pub content_type: &'static str,
    /// Body.
    pub body: Value,
}

/// What an action would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Request that the console sends.
    pub request: PlannedRequest,
    /// Command that does the same.
    pub command: String,
    /// Notes for the user.
    pub notes: Vec<String>,
    /// Path of the page to open afterwards.
    pub then: String,
}

impl Action {
    /// All actions, in the order of their buttons.
    pub const ALL: [Self; 4] = [Self::Rerun, Self::Suspend, Self::Resume, Self::Delete];

    /// Returns the last part of the path of its page.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rerun => "rerun",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Delete => "delete",
        }
    }

    /// Returns the action with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.word() == word)
    }

    /// Returns the text of its button.
    pub fn label(self) -> &'static str {
        match self {
            Self::Rerun => "Run again",
            Self::Suspend => "Suspend",
            Self::Resume => "Resume",
            Self::Delete => "Delete",
        }
    }

    /// Returns the permission that the action needs.
    pub fn permission(self) -> Permission {
        let verb = match self {
            Self::Rerun => "create",
            Self::Suspend | Self::Resume => "patch",
            Self::Delete => "delete",
        };
        Permission { verb, group: "batch", resource: "jobs" }
    }
}

impl PlannedRequest {
    /// Returns the body as it is sent and shown.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(&self.body).unwrap_or_default()
    }

    /// Returns the SHA-256 of the request in hexadecimal digits.
    pub fn digest(&self) -> String {
        let text = [self.method, &self.path, self.content_type, &self.text()].join("\n");
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Returns whether a text can be the random end of a name.
pub fn is_seed(text: &str) -> bool {
    text.len() == copy::LETTERS && text.bytes().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit())
}

/// Plans an action on this version of a Job. `seed` is the random end of the name of a new Job.
///
/// # Errors
/// The action is not possible. The text is a sentence with the reason.
pub fn plan(action: Action, job: &Value, seed: &str, suggest: &Suggestions) -> Result<Plan, String> {
    let text = |field: &str| job["metadata"][field].as_str().unwrap_or_default().to_owned();
    let (namespace, name, uid) = (text("namespace"), text("name"), text("uid"));
    let jobs = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    let (path, page) = (format!("{jobs}/{name}"), format!("/jobs/{namespace}/{name}"));
    match action {
        Action::Rerun => {
            let new = copy::name(&name, seed);
            let copied = copy::copy(job, &new, false).map_err(|_| "The Job is not finished.".to_owned())?;
            let content_type = "application/json";
            Ok(Plan {
                request: PlannedRequest { method: "POST", path: jobs, content_type, body: copied.job },
                command: suggest.jobwright(&format!("rerun job/{name}")),
                notes: copied.notes,
                then: format!("/jobs/{namespace}/{new}"),
            })
        }
        Action::Suspend | Action::Resume => {
            let suspend = action == Action::Suspend;
            let note = match change(Kind::Job, job, suspend) {
                Change::Set { note } => note,
                Change::None | Change::Annotate if suspend => return Err("The Job is suspended already.".to_owned()),
                Change::None | Change::Annotate => return Err("The Job is not suspended.".to_owned()),
                Change::Useless(reason) => return Err(format!("The change would have no effect: {reason}.")),
            };
            // Another Job of the same name is not changed.
            let body = json!({"metadata": {"uid": uid}, "spec": {"suspend": suspend}});
            let content_type = "application/merge-patch+json";
            let verb = if suspend { "suspend" } else { "resume" };
            Ok(Plan {
                request: PlannedRequest { method: "PATCH", path, content_type, body },
                command: suggest.jobwright(&format!("{verb} job/{name}")),
                notes: note.into_iter().collect(),
                then: page,
            })
        }
        Action::Delete => {
            if !job["metadata"]["deletionTimestamp"].is_null() {
                return Err("The Job is being deleted already.".to_owned());
            }
            let body = json!({
                "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background", "preconditions": {"uid": uid},
            });
            Ok(Plan {
                request: PlannedRequest { method: "DELETE", path, content_type: "application/json", body },
                command: suggest.kubectl(&format!("delete job {name}")),
                notes: vec!["The pods of the Job and their logs are deleted too.".to_owned()],
                then: format!("/jobs?namespace={namespace}"),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(spec: &Value, conditions: &Value) -> Value {
        json!({
            "metadata": {"namespace": "n", "name": "a", "uid": "u"}, "spec": spec, "status": {"conditions": conditions},
        })
    }

    fn planned(action: Action, job: &Value) -> Result<Plan, String> {
        plan(action, job, "abcde", &Suggestions::new("jobwright", None, Vec::new()))
    }

    #[test]
    fn request_of_each_action_concerns_this_job_alone() {
        let complete = json!([{"type": "Complete", "status": "True"}]);
        let spec = json!({"template": {"spec": {"containers": []}}});
        let rerun = planned(Action::Rerun, &job(&spec, &complete)).unwrap();
        assert_eq!((rerun.request.method, &*rerun.request.path), ("POST", "/apis/batch/v1/namespaces/n/jobs"));
        assert_eq!(rerun.request.body["metadata"]["name"], "a-rerun-abcde");
        assert_eq!(rerun.then, "/jobs/n/a-rerun-abcde");
        let suspend = planned(Action::Suspend, &job(&spec, &json!([]))).unwrap().request;
        assert_eq!(suspend.body, json!({"metadata": {"uid": "u"}, "spec": {"suspend": true}}));
        assert_eq!((suspend.method, suspend.content_type), ("PATCH", "application/merge-patch+json"));
        let resume = planned(Action::Resume, &job(&json!({"suspend": true}), &json!([]))).unwrap().request;
        assert_eq!(resume.body["spec"]["suspend"], false);
        let delete = planned(Action::Delete, &job(&spec, &json!([]))).unwrap().request;
        assert_eq!((delete.method, &delete.body["preconditions"]["uid"]), ("DELETE", &json!("u")));
    }

    #[test]
    fn action_without_effect_states_why() {
        let running = job(&json!({}), &json!([]));
        let suspended = job(&json!({"suspend": true}), &json!([]));
        let complete = job(&json!({}), &json!([{"type": "Complete", "status": "True"}]));
        let cases = [
            (Action::Rerun, &running, "not finished"),
            (Action::Suspend, &suspended, "suspended already"),
            (Action::Resume, &running, "not suspended"),
            (Action::Suspend, &complete, "it is finished"),
        ];
        for (action, job, part) in cases {
            assert!(planned(action, job).unwrap_err().contains(part), "{action:?}");
        }
    }

    #[test]
    fn digest_differs_for_each_part_of_a_request() {
        let request = PlannedRequest { method: "PATCH", path: "/a".into(), content_type: "x", body: json!({"a": 1}) };
        let others = [
            PlannedRequest { method: "POST", ..request.clone() },
            PlannedRequest { path: "/b".into(), ..request.clone() },
            PlannedRequest { content_type: "y", ..request.clone() },
            PlannedRequest { body: json!({"a": 2}), ..request.clone() },
        ];
        assert!(others.iter().all(|other| other.digest() != request.digest()));
        assert_eq!(request.digest().len(), 64);
        assert!(is_seed("ab12z") && ["", "abcd", "abcdef", "ABCDE", "a/../"].iter().all(|text| !is_seed(text)));
    }
}
