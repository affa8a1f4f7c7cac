//! The page that shows the request of an action and asks for a confirmation.

use std::sync::Arc;

use http::StatusCode;
use maud::{Markup, html};
use serde_json::Value;

use super::form::{DIGEST, Form, ORDERS, parameter_field};
use super::plan::{Prepared, digest, prepare};
use super::{Action, Target};
use crate::client::actions::Plan;
use crate::client::actions::of_job::current_priority;
use crate::client::names::Kind;
use crate::schedule::parameters::Parameter;
use crate::ui::access::{Decision, Permission};
use crate::ui::components::{
    Choice, Crumb, Level, breadcrumb, command, hidden, notice, request, section, select_field, text_field,
};
use crate::ui::console::Console;
use crate::ui::error::{PageError, needed};
use crate::ui::identity::User;
use crate::ui::jobs::JobQuery;
use crate::ui::layout::{Content, Freshness, Section};
use crate::ui::text::neutral;
use crate::ui::views::job::hide;

/// Returns the page of an action.
///
/// # Errors
/// The console makes no changes, or the user may not read the object.
pub(in crate::ui) async fn content(
    console: &Console,
    user: &User,
    target: &Target<'_>,
    query: &str,
) -> Result<Content, PageError> {
    if console.read_only {
        return Err(PageError::ReadOnly);
    }
    let form = Form::parse(query.as_bytes());
    let prepared = prepare(console, user, target, &form).await?;
    let permitted = permitted(console, user, target).await;
    let main = main(target, &form, &prepared, &permitted, None);
    let is_possible = !matches!(prepared.plan, Some(Err(_)));
    Ok(new_content(target, if is_possible { StatusCode::OK } else { StatusCode::CONFLICT }, main))
}

/// Returns whether the user is allowed to send the request. The error is a sentence.
pub(super) async fn permitted(console: &Console, user: &User, target: &Target<'_>) -> Result<(), String> {
    let permission = target.action.permission(target.kind);
    allowed(console, user, permission, target.namespace).await
}

/// Returns whether the user has a permission in a namespace. The error is a sentence.
pub(super) async fn allowed(
    console: &Console,
    user: &User,
    permission: Permission,
    namespace: &str,
) -> Result<(), String> {
    let place: Arc<str> = namespace.into();
    match console.access.check(user, permission, Some(&place)).await {
        Decision::Allowed => Ok(()),
        Decision::Refused => Err(format!("You are not allowed to {}.", needed(permission, Some(namespace)))),
        Decision::Failed(error) => Err(format!(
            "The API server did not answer whether you are allowed to {}: {error}",
            needed(permission, Some(namespace))
        )),
    }
}

/// Returns the page after a confirmation of another request than the present one.
pub(super) fn changed(
    target: &Target<'_>,
    form: &Form,
    prepared: &Prepared,
    permitted: &Result<(), String>,
) -> Content {
    let heading = format!("{} has changed since the page was shown", target.object());
    let body =
        html! { p { "Nothing was sent. Confirm the action again if the request below is the one that you want." } };
    let main = main(target, form, prepared, permitted, Some(notice(Level::Warning, &heading, body)));
    new_content(target, StatusCode::CONFLICT, main)
}

/// Returns the page after a request that the API server did not accept.
pub(super) fn refused(
    target: &Target<'_>,
    plan: &Plan,
    error: &kube::Error,
    is_ambiguous: bool,
    message: &str,
) -> Content {
    let code = match error {
        kube::Error::Api(status) => StatusCode::from_u16(status.code).unwrap_or(StatusCode::BAD_GATEWAY),
        _ => StatusCode::BAD_GATEWAY,
    };
    let heading = match code {
        StatusCode::FORBIDDEN => "Not allowed",
        _ if is_ambiguous => "It is unknown whether the API server carried out the request",
        _ => "The API server refused the request",
    };
    let body = html! {
        p { (neutral(message)) }
        @if is_ambiguous { p { "Open " a href=(target.object_path()) { (neutral(&target.object())) } " to find out." } }
        @else { p { "Nothing was changed." } }
    };
    let main = html! {
        (crumbs(target))
        h1 { (title(target)) }
        (notice(Level::Error, heading, body))
        (request_section(plan))
        p { a href=(target.path()) { "Back to the action" } }
    };
    new_content(target, code, main)
}

fn new_content(target: &Target<'_>, status: StatusCode, main: Markup) -> Content {
    let section = if target.kind == Kind::Job { Section::Jobs } else { Section::Schedules };
    Content { status, ..Content::new(title(target), section, Freshness::Never, main) }
}

fn title(target: &Target<'_>) -> String {
    format!("{}: {}", target.action.label(), target.object())
}

fn crumbs(target: &Target<'_>) -> Markup {
    let path = target.object_path();
    let (label, href) = if target.kind == Kind::Job { ("Jobs", "/jobs") } else { ("Schedules", "/schedules") };
    let namespace = match target.kind {
        Kind::Job => JobQuery::of_namespace(target.namespace).url(),
        _ => format!("/schedules?namespace={}", target.namespace),
    };
    breadcrumb(&[
        Crumb { label, href: Some(href) },
        Crumb { label: target.namespace, href: Some(&namespace) },
        Crumb { label: target.name, href: Some(&path) },
        Crumb { label: target.action.label(), href: None },
    ])
}

/// Returns the content of the page of an action.
fn main(
    target: &Target<'_>,
    form: &Form,
    prepared: &Prepared,
    permitted: &Result<(), String>,
    above: Option<Markup>,
) -> Markup {
    let fields = fields(target, form, prepared);
    html! {
        (crumbs(target))
        h1 { (neutral(&title(target))) }
        @if let Some(above) = above { (above) }
        @if let Err(reason) = permitted {
            (notice(Level::Warning, "Not allowed", html! { p { (neutral(reason)) } }))
        }
        @if !fields.is_empty() {
            form.filters method="get" action=(target.path()) {
                @for field in &fields { (field) }
                div.actions { button type="submit" { "Show the request" } }
            }
        }
        @match &prepared.plan {
            None => p { "Nothing is sent before you have seen the request and confirmed it." },
            Some(Err(reason)) => (notice(Level::Error, "The action is not possible", html! { p { (neutral(reason)) } })),
            Some(Ok(plan)) => (confirmation(target, form, prepared, plan, permitted.is_ok())),
        }
    }
}

fn confirmation(target: &Target<'_>, form: &Form, prepared: &Prepared, plan: &Plan, is_permitted: bool) -> Markup {
    let class = if target.action == Action::Delete { "danger" } else { "primary" };
    html! {
        div.confirm {
            @for note in &plan.notes { (notice(Level::Info, note, html! {})) }
            (request_section(plan))
            (section("command", "The same on the command line", command(&plan.command)))
            @if is_permitted {
                form method="post" action=(target.path()) {
                    (hidden(DIGEST, &digest(&plan.request)))
                    @for (name, value) in &prepared.seeds { (hidden(name, value)) }
                    @for (name, value) in kept(target, form, prepared) { (hidden(&name, &value)) }
                    div.actions {
                        button type="submit" class=(class) { (target.action.label()) }
                        " " a href=(target.object_path()) { "Cancel" }
                    }
                }
            }
        }
    }
}

fn request_section(plan: &Plan) -> Markup {
    let mut shown = plan.request.body.clone();
    let is_hidden = hide(&mut shown);
    let path = &plan.request.path;
    let body = html! {
        (request(plan.request.method.as_str(), path, &format!("{shown:#}")))
        p { "Content type: " code { (plan.request.content_type) } }
        @if is_hidden { p { "Values of environment variables are hidden here. The request has them." } }
    };
    section("request", "Request to the API server", body)
}

/// Returns the fields of the action, with the values of the form or of the object.
fn fields(target: &Target<'_>, form: &Form, prepared: &Prepared) -> Vec<Markup> {
    let text = |name: &str, label: &str, placeholder: &str| text_field(name, label, form.get(name), placeholder);
    let mut fields = match target.action {
        Action::Priority => {
            let current = current_priority(&prepared.object).unwrap_or("0");
            let value = if form.has("priority") { form.get("priority") } else { current };
            vec![text_field("priority", "Priority", value, "0")]
        }
        Action::Backfill => {
            let choices = ORDERS.map(|(value, label)| Choice { value, label });
            let order = if form.get("order").is_empty() { ORDERS[0].0 } else { form.get("order") };
            let zone = zone(&prepared.object);
            vec![
                text("from", &format!("First time ({zone})"), "2026-01-05"),
                text("to", &format!("Last time ({zone})"), "2026-01-05T06:00"),
                select_field("order", "Order", &choices, order),
                text("maxActive", "Maximum number of active Jobs", "1"),
            ]
        }
        _ => Vec::new(),
    };
    let parameter = |one: &Parameter| {
        let field = parameter_field(&one.name);
        let value = if form.has(&field) { form.get(&field) } else { &one.default };
        text_field(&field, &neutral(&one.name), value, "")
    };
    fields.extend(prepared.parameters.iter().map(parameter));
    // A name that was shown stays when another value is chosen.
    let seeds = prepared.seeds.iter().map(|(name, value)| hidden(name, value));
    if !fields.is_empty() {
        fields.extend(seeds);
    }
    fields
}

fn zone(schedule: &Value) -> String {
    neutral(schedule["spec"]["timeZone"].as_str().unwrap_or("UTC")).into_owned()
}

/// Returns the values of the fields that the confirmation sends back.
fn kept(target: &Target<'_>, form: &Form, prepared: &Prepared) -> Vec<(String, String)> {
    let own: &[&str] = match target.action {
        Action::Priority => &["priority"],
        Action::Backfill => &["from", "to", "order", "maxActive"],
        _ => &[],
    };
    let parameters = prepared.parameters.iter().map(|one| parameter_field(&one.name));
    let names = own.iter().map(|name| (*name).to_owned()).chain(parameters);
    names.filter(|name| form.has(name)).map(|name| (name.clone(), form.get(&name).to_owned())).collect()
}
