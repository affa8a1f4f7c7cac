//! Actions on Jobs: a page that shows the exact request and asks for confirmation, and the request itself.
//!
//! The form of the page has the SHA-256 of the request. The console plans the request again when the form is sent, and sends
//! nothing if the Job has changed so that the request would be another one than the user confirmed.

pub mod plan;
#[cfg(test)]
mod tests;

use http::{Request, StatusCode};
use kube::api::DynamicObject;
use maud::{Markup, html};
use serde_json::Value;

pub use self::plan::Action;
use self::plan::{Plan, PlannedRequest, is_seed, plan};
use crate::client::creation::random_letters;
use crate::client::explain::collect::Scope;
use crate::client::names::Kind;
use crate::client::rerun::copy::LETTERS;
use crate::client::selected;
use crate::runtime::errors::message;
use crate::ui::access::{Decision, Permission};
use crate::ui::components::{Crumb, Level, breadcrumb, command, hidden, notice, request};
use crate::ui::console::Console;
use crate::ui::error::PageError;
use crate::ui::identity::User;
use crate::ui::layout::{Content, Freshness, Section};
use crate::ui::text::neutral;
use crate::ui::views::job_path;

/// Result of a form that a user sent.
pub enum Outcome {
    /// The request succeeded. The browser opens this path.
    Done(String),
    /// The request was not sent. The page asks again.
    AskAgain(Box<Content>),
}

/// Returns the buttons of the actions on a Job that are possible and that the user is allowed to take.
pub async fn buttons(console: &Console, user: &User, namespace: &str, job: &Value) -> Markup {
    if console.read_only {
        return html! {};
    }
    let name = job["metadata"]["name"].as_str().unwrap_or_default();
    let mut shown = Vec::new();
    for action in Action::ALL {
        let is_possible = plan(action, job, "aaaaa", &console.suggest).is_ok();
        let allowed = async { console.access.check(user, action.permission(), Some(&namespace.into())).await };
        if is_possible && allowed.await == Decision::Allowed {
            shown.push((format!("{}/{}", job_path(namespace, name), action.word()), action));
        }
    }
    html! {
        @if !shown.is_empty() {
            div.actions { @for (path, action) in &shown { a.button href=(path) { (action.label()) } } }
        }
    }
}

/// Returns the page that shows the request of an action and asks for confirmation.
///
/// # Errors
/// The Job cannot be read, or the action is not possible.
pub async fn ask(console: &Console, user: &User, object: (&str, &str), action: Action) -> Result<Content, PageError> {
    if console.read_only {
        return Err(PageError::ReadOnly);
    }
    let seed = random_letters(LETTERS);
    let plan = planned(console, user, object, action, &seed).await?;
    Ok(content(object, action, &plan, &seed, None))
}

/// Carries out the action that a user confirmed in a form.
///
/// # Errors
/// The form is not valid, the Job cannot be read, or the API server refuses the request.
pub async fn carry_out(
    console: &Console,
    user: &User,
    object: (&str, &str),
    action: Action,
    form: &[u8],
) -> Result<Outcome, PageError> {
    let field = |wanted: &str| {
        let found = form_urlencoded::parse(form).find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let (seed, confirmed) = (field("seed"), field("request"));
    if !is_seed(&seed) {
        return Err(PageError::Invalid("The form is not complete. Open the page of the action again.".to_owned()));
    }
    let plan = planned(console, user, object, action, &seed).await?;
    if plan.request.digest() != confirmed {
        let changed =
            "The Job has changed since the page was shown, so that the request is another one. Nothing was sent.";
        return Ok(Outcome::AskAgain(Box::new(content(object, action, &plan, &seed, Some(changed)))));
    }
    send(user, &plan.request).await?;
    Ok(Outcome::Done(plan.then))
}

async fn planned(
    console: &Console,
    user: &User,
    (namespace, name): (&str, &str),
    action: Action,
    seed: &str,
) -> Result<Plan, PageError> {
    let context = console.context(user, namespace);
    let scope = Scope::Namespace(namespace.to_owned());
    let get = Permission { verb: "get", group: "batch", resource: "jobs" };
    let found: kube::Result<DynamicObject> = selected::api(&context, Kind::Job, &scope).get(name).await;
    let job = found.map_err(|error| PageError::of_read(&error, get, namespace, &format!("job/{name}")))?;
    let job = serde_json::to_value(job).map_err(|error| PageError::Internal(error.to_string()))?;
    plan(action, &job, seed, &context.suggest).map_err(PageError::NotPossible)
}

/// Sends a request with the permissions of the user.
async fn send(user: &User, planned: &PlannedRequest) -> Result<(), PageError> {
    let request = Request::builder()
        .method(planned.method)
        .uri(&planned.path)
        .header(http::header::CONTENT_TYPE, planned.content_type)
        .body(planned.text().into_bytes())
        .map_err(|error| PageError::Internal(error.to_string()))?;
    match user.client().request::<Value>(request).await {
        Ok(_) => Ok(()),
        Err(error) => Err(PageError::Refused(message(&error))),
    }
}

fn content((namespace, name): (&str, &str), action: Action, plan: &Plan, seed: &str, warning: Option<&str>) -> Content {
    let page = job_path(namespace, name);
    let crumbs = [
        Crumb { label: "Jobs", href: Some("/jobs") },
        Crumb { label: name, href: Some(&page) },
        Crumb { label: action.label(), href: None },
    ];
    let class = if action == Action::Delete { "danger" } else { "primary" };
    let main = html! {
        (breadcrumb(&crumbs))
        h1 { (action.label()) ": " (neutral(name)) }
        @if let Some(warning) = warning { (notice(Level::Warning, "Not sent", html! { p { (warning) } })) }
        form.confirm method="post" action={ (page) "/" (action.word()) } {
            p { "The console sends this request with your permissions, when you confirm:" }
            (request(plan.request.method, &plan.request.path, &plan.request.text()))
            @for note in &plan.notes { p { (neutral(note)) } }
            p { "The same on the command line:" }
            (command(&plan.command))
            (hidden("seed", seed))
            (hidden("request", &plan.request.digest()))
            div.actions {
                button class=(class) type="submit" { (action.label()) }
                a.button href=(page) { "Cancel" }
            }
        }
    };
    let mut content = Content::new(format!("{} job/{name}", action.label()), Section::Jobs, Freshness::Never, main);
    if warning.is_some() {
        content.status = StatusCode::CONFLICT;
    }
    content
}
