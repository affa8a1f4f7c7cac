//! Two runs side by side. The Jobs are read with the permissions of the user.

use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

use crate::client::cluster::ClusterContext;
use crate::client::explain::collect::Scope;
use crate::client::names::Kind;
use crate::client::selected;
use crate::ui::access::Permission;
use crate::ui::components::{Level, notice, section, table, table_region};
use crate::ui::error::PageError;
use crate::ui::schedules::compare::{Comparison, Field, compare};
use crate::ui::schedules::{Record, Run};
use crate::ui::text::{duration, neutral, truncated};

/// Permission that a comparison needs.
const GET: Permission = Permission { verb: "get", group: "batch", resource: "jobs" };
/// Maximum number of characters of a value.
const VALUE: usize = 200;

pub(super) async fn read(
    context: &ClusterContext,
    (one, other): (&str, &str),
    record: &Record<'_>,
    now: Timestamp,
) -> Markup {
    let run = |name: &str| record.runs.iter().find(|run| run.job() == name && run.exists()).copied();
    // Only runs of the schedule are compared.
    let (Some(first), Some(second)) = (run(one), run(other)) else {
        return notice(
            Level::Warning,
            "The runs cannot be compared",
            html! {
                p { "The schedule has no such Jobs any more." }
            },
        );
    };
    match tokio::try_join!(job(context, one), job(context, other)) {
        Ok((one, other)) => shown((&first, &second), &compare(&one, &other), now),
        Err(error) => notice(Level::Warning, "The runs cannot be compared", html! { p { (neutral(&error.text())) } }),
    }
}

async fn job(context: &ClusterContext, name: &str) -> Result<Value, PageError> {
    let namespace = &context.namespace;
    let found = selected::api(context, Kind::Job, &Scope::Namespace(namespace.clone())).get(name).await;
    let found = found.map_err(|error| PageError::of_read(&error, GET, namespace, &format!("job/{name}")))?;
    Ok(serde_json::to_value(found).unwrap_or_default())
}

/// Returns two runs side by side.
pub(super) fn shown((one, other): (&Run<'_>, &Run<'_>), comparison: &Comparison, now: Timestamp) -> Markup {
    let Comparison { containers, differences, more } = comparison;
    let length = |run: &Run<'_>| run.duration().map(duration).unwrap_or_default();
    let field =
        |name: &str, one: String, other: String| Field { differs: one != other, name: name.to_owned(), one, other };
    let fixed = [
        field("Outcome", one.outcome.word().to_owned(), other.outcome.word().to_owned()),
        field("Reason", one.reason(now).to_owned(), other.reason(now).to_owned()),
        field("Duration", length(one), length(other)),
    ];
    let headers = crate::ui::views::headers(["Field", one.job(), other.job(), "Differs"]);
    let rows = html! { @for one in fixed.iter().chain(containers).chain(differences) { (row(one)) } };
    section(
        "comparison",
        "Two runs side by side",
        html! {
            (table_region("Two runs", table("Two runs side by side", &headers, rows)))
            @if differences.is_empty() { p { "The specs do not differ in other fields." } }
            @if *more > 0 { p { (more) " more differences are not listed." } }
            p.hint { "Values of environment variables are hidden." }
        },
    )
}

fn row(field: &Field) -> Markup {
    html! {
        tr {
            th scope="row" { (truncated(&field.name, VALUE)) }
            td data-l="First" { (truncated(&field.one, VALUE)) }
            td data-l="Second" { (truncated(&field.other, VALUE)) }
            td data-l="Differs" { @if field.differs { b { "yes" } } @else { "no" } }
        }
    }
}
