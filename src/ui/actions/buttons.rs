//! Links to the actions of an object. An action that the user is not allowed to do has its reason instead of a link.

use maud::{Markup, html};
use serde_json::Value;

use super::page::allowed;
use super::{Action, object_path};
use crate::client::actions::of_job::{is_finished, may_have_failed_indexes};
use crate::client::names::Kind;
use crate::ui::console::Console;
use crate::ui::identity::User;
use crate::ui::text::neutral;

/// Returns the actions of a Job. Empty if the console makes no changes.
pub(in crate::ui) async fn of_job(
    console: &Console,
    user: &User,
    (namespace, name): (&str, &str),
    job: &Value,
) -> Markup {
    links(console, user, (Kind::Job, namespace, name), &offered(job)).await
}

/// Returns the actions of a CronJob or JobSchedule. Empty if the console makes no changes.
pub async fn of_schedule(
    console: &Console,
    user: &User,
    (kind, namespace, name): (Kind, &str, &str),
    is_suspended: bool,
) -> Markup {
    let change = if is_suspended { Action::Resume } else { Action::Suspend };
    let mut actions = vec![Action::Trigger, change];
    if kind == Kind::JobSchedule {
        actions.push(Action::Backfill);
    }
    links(console, user, (kind, namespace, name), &actions).await
}

/// Returns the actions that are useful in the state of a Job.
fn offered(job: &Value) -> Vec<Action> {
    let is_deleted = !job["metadata"]["deletionTimestamp"].is_null();
    let is_suspended = job["spec"]["suspend"] == true;
    match (is_finished(job), is_deleted) {
        (true, is_deleted) => {
            let failed = may_have_failed_indexes(job).then_some(Action::RerunFailed);
            let delete = (!is_deleted).then_some(Action::Delete);
            [Some(Action::Rerun), failed, delete].into_iter().flatten().collect()
        }
        (false, true) => Vec::new(),
        (false, false) => {
            let change = if is_suspended { Action::Resume } else { Action::Suspend };
            vec![change, Action::Priority, Action::Delete]
        }
    }
}

async fn links(
    console: &Console,
    user: &User,
    (kind, namespace, name): (Kind, &str, &str),
    actions: &[Action],
) -> Markup {
    if console.read_only || actions.is_empty() {
        return html! {};
    }
    let path = object_path(kind, namespace, name);
    let mut links = Vec::with_capacity(actions.len());
    for action in actions {
        links.push((*action, allowed(console, user, action.permission(kind), namespace).await));
    }
    rendered(&path, &links)
}

/// Returns the links of actions; a reason stands for an action that is not allowed.
fn rendered(path: &str, links: &[(Action, Result<(), String>)]) -> Markup {
    let mut reasons: Vec<&str> =
        links.iter().filter_map(|(_, allowed)| Some(allowed.as_ref().err()?.as_str())).collect();
    reasons.dedup();
    html! {
        div.actions role="group" aria-label="Actions" {
            @for (action, allowed) in links {
                @match allowed {
                    Ok(()) => a.button href={ (path) "/" (action.word()) } { (action.label()) },
                    Err(reason) => span.button aria-disabled="true" title=(neutral(reason)) { (action.label()) },
                }
            }
            @if !reasons.is_empty() { small { @for reason in &reasons { (neutral(reason)) " " } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(job: Value) -> Vec<&'static str> {
        offered(&job).into_iter().map(Action::word).collect()
    }

    #[test]
    fn actions_depend_on_the_state_of_the_job() {
        let ended = |type_: &str| json!({"conditions": [{"type": type_, "status": "True"}]});
        assert_eq!(words(json!({})), ["suspend", "priority", "delete"]);
        assert_eq!(words(json!({"spec": {"suspend": true}})), ["resume", "priority", "delete"]);
        assert_eq!(words(json!({"status": ended("Complete")})), ["rerun", "delete"]);
        assert_eq!(words(json!({"status": ended("Failed")})), ["rerun", "delete"]);
        let indexed = json!({"spec": {"completionMode": "Indexed"}, "status": ended("Failed")});
        assert_eq!(words(indexed), ["rerun", "rerun-failed-indexes", "delete"]);
        let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert_eq!(words(json!({"metadata": deleted})), [""; 0]);
        assert_eq!(words(json!({"metadata": deleted, "status": ended("Failed")})), ["rerun"]);
    }

    #[test]
    fn action_that_is_not_allowed_has_its_reason_and_no_link() {
        let links = [(Action::Suspend, Ok(())), (Action::Delete, Err("You may <not>.".to_owned()))];
        let text = rendered("/jobs/n/a", &links).into_string();
        assert!(text.contains("<a class=\"button\" href=\"/jobs/n/a/suspend\">Suspend</a>"), "{text}");
        assert!(!text.contains("/delete") && text.contains("aria-disabled=\"true\""), "{text}");
        assert!(text.contains("<small>You may &lt;not&gt;. </small>"), "{text}");
    }
}
