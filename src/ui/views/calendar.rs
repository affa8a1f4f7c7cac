//! The calendar of what was, and of what will be due.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::known::{Known, of};
use super::schedules::zone_links;
use crate::ui::charts::{Calendar, View, zone_name};
use crate::ui::components::{Level, Tab, filter_form, hidden, notice, section, tabs, text_field};
use crate::ui::console::Console;
use crate::ui::error::PageError;
use crate::ui::identity::User;
use crate::ui::layout::{Content, Freshness, Section};
use crate::ui::schedules::calendar::{CalendarQuery, Events, MAX_SCHEDULES, clock_changes, max_times};
use crate::ui::schedules::runs::ByOwner;
use crate::ui::schedules::{Plan, Record};
use crate::ui::text::{counted, neutral};

pub(super) async fn content(console: &Console, user: &User, query: &str) -> Result<Content, PageError> {
    let now = crate::client::now();
    let query = CalendarQuery::parse(query, now).map_err(PageError::Invalid)?;
    let known = Known::read(console, user, query.namespace.as_deref()).await?;
    let mut plans = known.plans();
    if let Some(namespace) = &query.namespace {
        plans.retain(|plan| *plan.identity().namespace == **namespace);
    }
    let jobs = known.jobs_of(&plans);
    let content = main(&mut plans, &jobs, &query, &console.zone, now);
    let main = html! { h1 { "Calendar" } (known.notices()) (content) };
    Ok(Content::new("Calendar", Section::Calendar, Freshness::ChangesAndTime(known.interests()), main))
}

/// Returns the content for these schedules. `local` is the zone of the machine.
pub(in crate::ui) fn main(
    plans: &mut Vec<Plan>,
    jobs: &ByOwner,
    query: &CalendarQuery,
    local: &TimeZone,
    now: Timestamp,
) -> Markup {
    plans.sort_by_cached_key(|plan| (plan.identity().namespace.clone(), plan.identity().name.clone(), plan.kind()));
    let left_out = plans.len().saturating_sub(MAX_SCHEDULES);
    plans.truncate(MAX_SCHEDULES);
    let (mut events, mut changes) = (Events::default(), Vec::new());
    if let Some(period) = query.view.range(query.date, &query.zone) {
        let max = max_times(plans.len());
        for plan in plans.iter() {
            let record = Record::of(of(jobs, plan.uid()), plan.stored(), now);
            let identity = plan.identity();
            let label = match &query.namespace {
                Some(_) => identity.name.to_string(),
                None => format!("{}/{}", identity.namespace, identity.name),
            };
            events.add(plan, &record, &label, period, (now, max));
        }
        changes = clock_changes(plans.iter(), &query.zone, period);
    }
    let day_link = |date| query.with(|query| (query.view, query.date) = (View::Day, date)).url();
    let hour_link =
        |date, hour| query.with(|query| (query.view, query.date, query.hour) = (View::Day, date, Some(hour))).url();
    let calendar = Calendar {
        zone: &query.zone,
        now,
        events: &events.events,
        day_link: &day_link,
        hour_link: &hour_link,
        hour: query.hour,
    };
    html! {
        (controls(query, local, now))
        (limits(&events, left_out))
        h2 {
            (query.view.heading(query.date))
            @if let Some(hour) = query.hour { ", " (format!("{hour:02}:00")) }
        }
        @if query.hour.is_some() { p { a href=(day_link(query.date)) { "Show all hours of the day" } } }
        (calendar.table(query.view, query.date))
        @if !changes.is_empty() {
            (section("clock-changes", "Clock changes in the zones of schedules", html! {
                ul { @for change in &changes { li { (neutral(change)) } } }
            }))
        }
    }
}

fn controls(query: &CalendarQuery, local: &TimeZone, now: Timestamp) -> Markup {
    let links = View::ALL.map(|view| query.with(|query| query.view = view).url());
    let label = |view| match view {
        View::Day => "Day",
        View::Week => "Week",
        View::Month => "Month",
    };
    let views: Vec<Tab<'_>> = View::ALL
        .into_iter()
        .zip(&links)
        .map(|(view, href)| Tab { label: label(view), href, count: None, is_current: view == query.view })
        .collect();
    let at = |date| query.with(|query| query.date = date).url();
    let today = now.to_zoned(query.zone.clone()).date();
    let fields = [
        text_field("namespace", "Namespace", query.namespace.as_deref().unwrap_or_default(), "All"),
        text_field("date", "Date", &query.date.to_string(), "2026-03-29"),
        text_field("zone", "Time zone", zone_name(&query.zone), "UTC"),
        hidden("view", query.view.word()),
    ];
    let reset = query.namespace.is_some().then(|| query.with(|query| query.namespace = None).url());
    html! {
        (filter_form("/calendar", &fields, reset.as_deref()))
        (tabs("Period", &views))
        nav.pager aria-label="Periods" {
            @if let Some(previous) = query.view.previous(query.date) { a.button rel="prev" href=(at(previous)) { "Previous" } }
            a.button href=(at(today)) { "Today" }
            @if let Some(next) = query.view.next(query.date) { a.button rel="next" href=(at(next)) { "Next" } }
        }
        (zone_links(&query.zone, local, |zone| query.with(|query| query.zone = zone.clone()).url()))
    }
}

/// Returns notices about runs that are not shown.
fn limits(events: &Events, left_out: usize) -> Markup {
    let count = |number: usize| u64::try_from(number).unwrap_or_default();
    html! {
        @if left_out > 0 {
            (notice(Level::Warning, "Schedules are left out", html! {
                p { "The calendar shows " (count(MAX_SCHEDULES)) " schedules; " (counted(count(left_out), "schedule is", "schedules are")) " left out. Filter by namespace." }
            }))
        }
        @if events.cut > 0 {
            (notice(Level::Info, "Frequent schedules are shown in part", html! {
                p { "Of " (counted(count(events.cut), "schedule", "schedules")) " only the first runs of the period are shown. Choose a shorter period." }
            }))
        }
        @if events.with_calendars > 0 {
            (notice(Level::Info, "Schedules with Calendars are shown in part", html! {
                p { "Of " (counted(count(events.with_calendars), "schedule", "schedules")) " with Calendars only the next run is shown." }
            }))
        }
    }
}
