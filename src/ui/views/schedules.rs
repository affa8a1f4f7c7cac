//! The table of CronJobs and JobSchedules.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::known::{Known, of};
use crate::schedule::cron_job::view::CronJobView;
use crate::schedule::job_schedule::view::JobScheduleView;
use crate::ui::charts::{outcome_legend, outcome_strip, sparkline, zone_name};
use crate::ui::components::{
    Choice, Filter, Header, Order, Pager, chips, empty, filter_form, hidden, pager, search_field, section,
    select_field, state, table, table_region, text_field,
};
use crate::ui::console::Console;
use crate::ui::error::PageError;
use crate::ui::identity::User;
use crate::ui::jobs::selection::page;
use crate::ui::layout::{Content, Freshness, Section};
use crate::ui::schedules::plan::{STATES, severity};
use crate::ui::schedules::query::{Keys, word};
use crate::ui::schedules::runs::ByOwner;
use crate::ui::schedules::{Column, Plan, Record, ScheduleKind, ScheduleQuery};
use crate::ui::text::{counted, name, relative_time, truncated};

/// Maximum number of characters of a name in the table.
const NAME: usize = 40;
/// Number of rows of a page. Rows are larger than those of Jobs: each has two charts.
const ROWS: usize = 15;
/// Maximum number of outcomes in the strip of a row.
const STRIP: usize = 10;
/// Maximum number of late schedules in the overview.
const LISTED: usize = 10;

pub(super) async fn content(console: &Console, user: &User, query: &str) -> Result<Content, PageError> {
    let query = ScheduleQuery::parse(query).map_err(PageError::Invalid)?;
    let known = Known::read(console, user, query.namespace.as_deref()).await?;
    let plans = known.plans();
    let jobs = known.jobs_of(&plans);
    let content = main(&plans, &jobs, &query, &console.zone, crate::client::now());
    let main = html! { h1 { "Schedules" } (known.notices()) (content) };
    Ok(Content::new("Schedules", Section::Schedules, Freshness::ChangesAndTime(known.interests()), main))
}

/// One page of schedules.
struct Selection<'a> {
    rows: Vec<(&'a Plan, Record<'a>, Keys)>,
    first: usize,
    total: usize,
    counts: [u64; STATES.len()],
}

impl<'a> Selection<'a> {
    fn of(plans: &'a [Plan], jobs: &'a ByOwner, query: &ScheduleQuery, now: Timestamp) -> Self {
        let mut counts = [0; STATES.len()];
        let mut found = Vec::new();
        for plan in plans.iter().filter(|plan| query.matches(plan)) {
            let record = Record::of(of(jobs, plan.uid()), plan.stored(), now);
            let keys = Keys::of(plan, &record, now);
            counts[severity(keys.state)] += 1;
            if query.state.is_none_or(|wanted| wanted == keys.state) {
                found.push((plan, record, keys));
            }
        }
        let total = found.len();
        let (rows, first) =
            page(found, (query.page, ROWS), |one, other| query.compare((one.0, &one.2), (other.0, &other.2)));
        Self { rows, first, total, counts }
    }
}

/// Returns the content for these schedules. `local` is the zone of the machine.
pub(in crate::ui) fn main(
    plans: &[Plan],
    jobs: &ByOwner,
    query: &ScheduleQuery,
    local: &TimeZone,
    now: Timestamp,
) -> Markup {
    let selection = Selection::of(plans, jobs, query, now);
    let links: Vec<String> = Column::ALL.iter().map(|column| query.sorted_by(*column).url()).collect();
    let zones = |zone: &TimeZone| query.with(|query| query.zone = zone.clone()).url();
    html! {
        (filters(query, &selection))
        (zone_links(&query.zone, local, zones))
        @if selection.rows.is_empty() {
            @if query.is_filtered() {
                (empty("No schedule passes the filters.", html! { a href="/schedules" { "Show all schedules" } }))
            } @else {
                (empty("There are no schedules.", html! { p { "A CronJob or a JobSchedule appears here when it is created." } }))
            }
        } @else {
            @let rows = html! { @for (plan, record, keys) in &selection.rows { (row(plan, record, keys, query, now)) } };
            (table_region("Schedules", table("Schedules", &headers(query, &links), rows)))
            (outcome_legend())
        }
        (pages(query, &selection))
    }
}

/// Returns the zone in which times are shown, and links to other ones.
pub(super) fn zone_links(zone: &TimeZone, local: &TimeZone, url: impl Fn(&TimeZone) -> String) -> Markup {
    let mut others = vec![TimeZone::UTC];
    if local.iana_name().is_some_and(|name| !["UTC", "Etc/UTC"].contains(&name)) {
        others.push(local.clone());
    }
    html! {
        p.hint {
            "Times are in the zone " b { (zone_name(zone)) } "."
            @for other in others.iter().filter(|other| *other != zone) { " " a href=(url(other)) { "Show " (zone_name(other)) } }
        }
    }
}

fn filters(query: &ScheduleQuery, selection: &Selection<'_>) -> Markup {
    let shown = |(state, count): &(_, u64)| *count > 0 || query.state == Some(*state);
    let states: Vec<(String, String)> = STATES
        .into_iter()
        .zip(selection.counts)
        .filter(shown)
        .map(|(state, count)| (word(state), format!("{} ({count})", state.words())))
        .collect();
    let mut choices = vec![Choice { value: "", label: "All" }];
    choices.extend(states.iter().map(|(value, label)| Choice { value, label }));
    let mut kinds = vec![Choice { value: "", label: "All" }];
    kinds.extend(ScheduleKind::ALL.map(|kind| Choice { value: kind.word(), label: kind.kind() }));
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let state = query.state.map(word).unwrap_or_default();
    let fields = [
        search_field("q", "Search", &text(&query.text), "Name or schedule"),
        text_field("namespace", "Namespace", &text(&query.namespace), "All"),
        select_field("kind", "Kind", &kinds, query.kind.map(ScheduleKind::word).unwrap_or_default()),
        select_field("state", "State", &choices, &state),
        text_field("zone", "Time zone", zone_name(&query.zone), "UTC"),
        query.sort_text().map(|sort| hidden("sort", &sort)).unwrap_or_default(),
    ];
    let set = [
        ("Search", query.text.clone(), query.with(|query| query.text = None).url()),
        ("Namespace", query.namespace.clone(), query.with(|query| query.namespace = None).url()),
        ("Kind", query.kind.map(|kind| kind.kind().to_owned()), query.with(|query| query.kind = None).url()),
        ("State", query.state.map(|state| state.words().to_owned()), query.with(|query| query.state = None).url()),
    ];
    let set: Vec<Filter<'_>> = set
        .iter()
        .filter_map(|(label, value, without)| Some(Filter { label, value: value.as_deref()?, without }))
        .collect();
    html! { (filter_form("/schedules", &fields, query.is_filtered().then_some("/schedules"))) (chips(&set)) }
}

fn headers<'a>(query: &ScheduleQuery, links: &'a [String]) -> Vec<Header<'a>> {
    let order = if query.descending { Order::Descending } else { Order::Ascending };
    let sorted = |(column, href): (&Column, &'a String)| {
        let (label, is_number) = match column {
            Column::Name => ("Schedule", false),
            Column::Namespace => ("Namespace", false),
            Column::State => ("State", false),
            Column::Next => ("Next", false),
            Column::Last => ("Last", true),
            Column::Success => ("Success", true),
            Column::Duration => ("Duration", false),
        };
        Header { label, href: Some(href), order: (query.sort == *column).then_some(order), is_number }
    };
    let mut headers: Vec<Header<'_>> = Column::ALL.iter().zip(links).map(sorted).collect();
    // The times of the schedule and the outcomes have no order.
    headers.insert(3, Header { label: "Due", ..Header::default() });
    headers.insert(6, Header { label: "Outcomes", ..Header::default() });
    headers
}

fn row(plan: &Plan, record: &Record<'_>, keys: &Keys, query: &ScheduleQuery, now: Timestamp) -> Markup {
    let identity = plan.identity();
    let outcomes = record.outcomes();
    let durations = record.durations();
    html! {
        tr {
            th scope="row" { a href=(with_zone(plan.path(), &query.zone)) { (name(&identity.name, NAME)) } }
            td data-l="Namespace" { (name(&identity.namespace, NAME)) }
            td data-l="State" {
                (state(keys.state))
                @if let Some(late) = plan.late_since(now) { " " small { "due " (relative_time(late, now, &query.zone)) } }
            }
            td data-l="Due" { code { (truncated(&plan.text(), NAME)) } }
            td data-l="Next" { @if let Some(next) = keys.next { (next_time(plan, next, &query.zone, now)) } }
            td.n data-l="Last" { @if let Some(last) = keys.last { (relative_time(last, now, &query.zone)) } }
            td data-l="Outcomes" { (outcome_strip(&outcomes[outcomes.len().saturating_sub(STRIP)..])) }
            td.n data-l="Success" { @if let Some(rate) = keys.success { (rate) " %" } }
            td data-l="Duration" { @if !durations.is_empty() { (sparkline(&durations[durations.len().saturating_sub(STRIP)..])) } }
        }
    }
}

/// Returns a time in the zone of the viewer, and in that of the schedule if it differs.
pub(super) fn next_time(plan: &Plan, next: Timestamp, zone: &TimeZone, now: Timestamp) -> Markup {
    let at = |zone: &TimeZone| next.to_zoned(zone.clone()).strftime("%a %H:%M").to_string();
    let own = plan.rules.as_ref().ok().map(|rules| rules.zone());
    html! {
        (relative_time(next, now, zone)) " " small { (at(zone)) }
        @if let Some(own) = own.filter(|own| *own != zone) { " " small { (at(own)) " " (zone_name(own)) } }
    }
}

/// Returns the path with the zone of the viewer.
pub(super) fn with_zone(path: String, zone: &TimeZone) -> String {
    if *zone == TimeZone::UTC {
        return path;
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("zone", zone_name(zone));
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{path}{separator}{}", query.finish())
}

fn pages(query: &ScheduleQuery, selection: &Selection<'_>) -> Markup {
    let Selection { rows, first, total, .. } = selection;
    let (number, last) = (first / ROWS + 1, total.div_ceil(ROWS).max(1));
    let url = |number: usize| ScheduleQuery { page: number, ..query.clone() }.url();
    let (previous, next) = ((number > 1).then(|| url(number - 1)), (number < last).then(|| url(number + 1)));
    let place = |number: usize| u64::try_from(number).unwrap_or_default();
    pager(&Pager {
        first: place(first + usize::from(!rows.is_empty())),
        last: place(first + rows.len()),
        total: place(*total),
        noun: "schedules",
        previous: previous.as_deref(),
        next: next.as_deref(),
    })
}

/// Returns the section of the overview with the schedules that are late, the one that is late for the longest time first.
/// A user who is not allowed to list schedules gets none.
pub(super) async fn late(console: &Console, user: &User, now: Timestamp) -> (Markup, Vec<crate::ui::cache::Interest>) {
    let caches = &console.caches;
    // The overview does not wait for schedules.
    if !caches.is_complete::<CronJobView>() || !caches.is_complete::<JobScheduleView>() {
        return (Markup::default(), Vec::new());
    }
    let Ok(known) = Known::read(console, user, None).await else { return (Markup::default(), Vec::new()) };
    (late_section(&known.plans(), &console.zone, now), known.interests())
}

fn late_section(plans: &[Plan], zone: &TimeZone, now: Timestamp) -> Markup {
    let mut late: Vec<_> =
        plans.iter().filter_map(|plan| Some((plan, plan.late_since(now)?, plan.state(now)))).collect();
    late.sort_by_key(|(plan, since, of)| (severity(*of), *since, plan.identity().uid.clone()));
    let more = late.len().saturating_sub(LISTED);
    late.truncate(LISTED);
    if late.is_empty() {
        return Markup::default();
    }
    let column = |label| Header { label, ..Header::default() };
    let headers = [column("Schedule"), column("State"), column("Due since"), column("Schedule of times")];
    let rows = html! {
        @for (plan, since, of) in &late {
            tr {
                th scope="row" {
                    a href=(plan.path()) { (name(&plan.identity().name, NAME)) }
                    " " small { (name(&plan.identity().namespace, NAME)) }
                }
                td { (state(*of)) }
                td { (relative_time(*since, now, zone)) }
                td { code { (truncated(&plan.text(), NAME)) } }
            }
        }
    };
    section(
        "late",
        "Late schedules",
        html! {
            (table_region("Late schedules", table("Schedules that are late, the worst first", &headers, rows)))
            @if more > 0 {
                p {
                    (counted(u64::try_from(more).unwrap_or_default(), "schedule is", "schedules are")) " not listed here; "
                    a href="/schedules?sort=state" { "show all schedules by state" } "."
                }
            }
        },
    )
}
