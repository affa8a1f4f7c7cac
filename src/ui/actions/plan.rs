//! Reads the object of an action with the permissions of the user, and plans the request.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::form::{AT, Form, SEED};
use super::{Action, Target};
use crate::client::actions::of_schedule::{Known, parameters};
use crate::client::actions::request::PlannedRequest;
use crate::client::actions::{Plan, Subject, of_job, of_schedule};
use crate::client::backfill::runs;
use crate::client::calendars;
use crate::client::cluster::ClusterContext;
use crate::client::explain::collect::Scope;
use crate::client::leases::Leases;
use crate::client::lists::ListEach;
use crate::client::selected;
use crate::runtime::errors::message;
use crate::schedule::job_schedule::types::JobSchedule;
use crate::schedule::job_schedule::view::CalendarNames;
use crate::schedule::parameters::Parameter;
use crate::ui::access::Permission;
use crate::ui::console::Console;
use crate::ui::error::PageError;
use crate::ui::identity::User;

/// Action of an object that was read.
pub(super) struct Prepared {
    /// The object.
    pub object: Value,
    /// Parameters that the schedule declares.
    pub parameters: Vec<Parameter>,
    /// The request, or the reason why there is none. `None` before the form is filled in.
    pub plan: Option<Result<Plan, String>>,
    /// Values that the confirmation sends back, so that the same request is planned.
    pub seeds: Vec<(&'static str, String)>,
}

/// Reads the object, and plans the request.
pub(super) async fn prepare(
    console: &Console,
    user: &User,
    target: &Target<'_>,
    form: &Form,
) -> Result<Prepared, PageError> {
    let Target { kind, namespace, name, action } = *target;
    let context = console.context(user, namespace);
    let found = selected::api(&context, kind, &Scope::Namespace(namespace.to_owned())).get(name).await;
    let get = Permission { verb: "get", group: kind.group(), resource: kind.plural() };
    let object = found.map_err(|error| PageError::of_read(&error, get, namespace, &target.object()))?;
    let object = serde_json::to_value(object)
        .map_err(|error| PageError::Unreadable { what: target.object(), error: error.to_string() })?;
    let subject = Subject { kind, object: &object, suggest: &context.suggest };
    let (letters, at) = (form.letters(), form.at());
    let mut seeds = Vec::new();
    let plan = match action {
        Action::Rerun => Some(of_job::rerun(&subject, &letters, None)),
        Action::RerunFailed => {
            let leases = Leases::read(&context.client, namespace).await;
            Some(of_job::rerun(&subject, &letters, Some(&leases)))
        }
        Action::Suspend | Action::Resume => Some(subject.suspend(action == Action::Suspend, at)),
        Action::Delete => Some(of_job::delete(&subject)),
        Action::Priority => form.has("priority").then(|| of_job::priority(&subject, form.get("priority").trim())),
        Action::Trigger => Some(of_schedule::trigger(&subject, &letters, &form.parameters())),
        Action::Backfill if form.has("from") => Some(backfill(&context, &subject, form).await),
        Action::Backfill => None,
    };
    match action {
        Action::Rerun | Action::RerunFailed | Action::Trigger => seeds.push((SEED, letters)),
        Action::Resume => seeds.push((AT, at.to_string())),
        _ => {}
    }
    let parameters = match action {
        Action::Trigger | Action::Backfill => parameters(kind, &object),
        _ => Vec::new(),
    };
    Ok(Prepared { parameters, plan, seeds, object })
}

async fn backfill(context: &ClusterContext, subject: &Subject<'_>, form: &Form) -> Result<Plan, String> {
    let wish = form.backfill()?;
    let schedule: JobSchedule = serde_json::from_value(subject.object.clone()).map_err(|error| error.to_string())?;
    let jobs = context.api::<Job>().list_each(&ListParams::default()).await;
    let jobs = jobs.map_err(|error| format!("cannot read the Jobs of the schedule: {}", message(&error)))?;
    let calendars = calendars::read(context, &CalendarNames::of(&schedule.spec)).await;
    let calendars = calendars.map_err(|error| format!("cannot read the calendars: {}", message(&error)))?;
    let history = schedule.status.as_ref().map_or(&[][..], |status| &status.history);
    let uid = schedule.metadata.uid.as_deref().unwrap_or_default();
    let now: Timestamp = crate::client::now();
    of_schedule::backfill(subject, &wish, &Known { runs: runs(&jobs, uid, history), calendars: &calendars, now })
}

/// Returns the SHA-256 of a request, in hexadecimal digits.
pub(super) fn digest(request: &PlannedRequest) -> String {
    let PlannedRequest { method, path, content_type, .. } = request;
    let text = format!("{method}\n{path}\n{content_type}\n{}", request.text());
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::names::Kind;

    #[test]
    fn digest_covers_every_part_of_the_request() {
        let request = PlannedRequest::patch(Kind::Job, ("n", "a"), "u", json!({"spec": {"suspend": true}}));
        let mut digests = vec![digest(&request)];
        assert!(digests[0].len() == 64 && digests[0] == digest(&request.clone()));
        digests.push(digest(&PlannedRequest { method: http::Method::POST, ..request.clone() }));
        digests.push(digest(&PlannedRequest { path: "/x".to_owned(), ..request.clone() }));
        digests.push(digest(&PlannedRequest { content_type: "application/json", ..request.clone() }));
        digests.push(digest(&PlannedRequest { body: json!({}), ..request }));
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), 5);
    }
}
