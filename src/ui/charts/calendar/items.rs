//! Content of a cell: single runs, or a summary.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use maud::{Markup, html};

use super::super::counts_text;
use super::{CalendarEvent, Outcome};
use crate::ui::text::{counted, cut, local_link, machine, neutral};

/// Maximum number of characters of a label.
const LABEL: usize = 40;

/// Event with its place in a calendar.
#[derive(Clone, Debug)]
pub(super) struct Event<'a> {
    /// Event.
    pub event: &'a CalendarEvent,
    /// Time of the event in the zone of the calendar.
    pub local: Zoned,
    /// Whether the run begins before an earlier run of the same schedule has ended.
    pub overlaps: bool,
}

/// Label and page of a schedule. A CronJob and a JobSchedule can have the same label.
type Key<'a> = (&'a str, Option<&'a str>);

fn key(event: &CalendarEvent) -> Key<'_> {
    (&event.label, event.page.as_deref())
}

/// Returns the events in a period in ascending order, and which of them overlap an earlier one of the same schedule.
pub(super) fn overlapping<'a>(
    events: &'a [CalendarEvent],
    from: Timestamp,
    to: Timestamp,
    zone: &TimeZone,
) -> Vec<Event<'a>> {
    let mut sorted: Vec<&CalendarEvent> = events.iter().filter(|event| event.time < to).collect();
    sorted.sort_by(|one, other| (one.time, &one.label).cmp(&(other.time, &other.label)));
    let mut ends: BTreeMap<Key<'_>, Timestamp> = BTreeMap::new();
    let mut found = Vec::new();
    for event in sorted {
        let end = ends.entry(key(event)).or_insert(Timestamp::MIN);
        let overlaps = event.time < *end;
        *end = (*end).max(event.end.unwrap_or(event.time));
        if event.time >= from {
            found.push(Event { event, local: event.time.to_zoned(zone.clone()), overlaps });
        }
    }
    found
}

/// Returns the list of the events of a cell: at most `max` events or summaries of schedules, and a link to the rest. If the
/// maximum is zero, the cell has the number of its runs alone.
pub(super) fn items(events: &[&Event<'_>], max: usize, rest: Option<&str>) -> Markup {
    html! {
        @if events.len() <= max {
            @if !events.is_empty() { ul { @for event in events { li { (single(event)) } } } }
        } @else if max == 0 {
            (total(events))
        } @else {
            (summaries(events, max, rest))
        }
    }
}

fn single(event: &Event<'_>) -> Markup {
    let Event { event, local, overlaps } = event;
    let text = html! {
        time datetime=(machine(event.time)) { (local.strftime("%H:%M")) } " " (label(&event.label))
        span.vh { " " (event.outcome.word()) }
        @if *overlaps { (mark("overlaps the previous run")) }
    };
    linked(event.link.as_deref(), event.outcome, &text)
}

fn label(label: &str) -> String {
    cut(&neutral(label), LABEL).into_owned()
}

fn linked(link: Option<&str>, outcome: Outcome, text: &Markup) -> Markup {
    let class = format!("s {}", outcome.class());
    html! {
        @match link.and_then(local_link) {
            Some(link) => a class=(class) href=(link) { (text) },
            None => span class=(class) { (text) },
        }
    }
}

fn mark(text: &str) -> Markup {
    html! { span.overlap title=(text) { span.vh { ", " (text) } } }
}

/// Runs of one schedule in a cell, or of all.
struct Summary<'a> {
    first: &'a CalendarEvent,
    counts: BTreeMap<usize, u64>,
    overlaps: u64,
}

impl<'a> Summary<'a> {
    fn new(first: &'a CalendarEvent) -> Self {
        Self { first, counts: BTreeMap::new(), overlaps: 0 }
    }

    fn add(&mut self, event: &Event<'_>) {
        *self.counts.entry(event.event.outcome as usize).or_default() += 1;
        self.overlaps += u64::from(event.overlaps);
    }

    fn runs(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Returns the page of the only run, or that of the schedule.
    fn link(&self) -> Option<&str> {
        let link = if self.runs() > 1 { &self.first.page } else { &self.first.link };
        link.as_deref()
    }

    /// Returns the worst outcome.
    fn outcome(&self) -> Outcome {
        let has = |outcome: Outcome| self.counts.contains_key(&(outcome as usize));
        let order = [Outcome::Failed, Outcome::Missed, Outcome::Running, Outcome::Replaced, Outcome::Due];
        order.into_iter().find(|outcome| has(*outcome)).unwrap_or(Outcome::Succeeded)
    }

    /// Returns the number of runs, and the numbers of those that need attention.
    fn text(&self) -> String {
        let count = |outcome: Outcome| self.counts.get(&(outcome as usize)).copied().unwrap_or_default();
        let special = [Outcome::Failed, Outcome::Missed].map(|outcome| (count(outcome), outcome.word()));
        match counts_text(special) {
            none if none.is_empty() => counted(self.runs(), "run", "runs"),
            special => format!("{}, {special}", counted(self.runs(), "run", "runs")),
        }
    }
}

fn total(events: &[&Event<'_>]) -> Markup {
    let Some(first) = events.first() else { return Markup::default() };
    let mut all = Summary::new(first.event);
    events.iter().for_each(|event| all.add(event));
    html! { span class={ "s " (all.outcome().class()) } { (all.text()) } }
}

fn summaries(events: &[&Event<'_>], max: usize, link: Option<&str>) -> Markup {
    let mut by_schedule: BTreeMap<Key<'_>, Summary<'_>> = BTreeMap::new();
    for event in events {
        by_schedule.entry(key(event.event)).or_insert_with(|| Summary::new(event.event)).add(event);
    }
    let mut all: Vec<Summary<'_>> = by_schedule.into_values().collect();
    // The schedules that need attention come first.
    let rank = |outcome: Outcome| match outcome {
        Outcome::Failed => 0,
        Outcome::Missed => 1,
        _ => 2,
    };
    all.sort_by_key(|summary| (rank(summary.outcome()), summary.first.time));
    let (shown, rest) = all.split_at(all.len().min(max));
    html! {
        ul {
            @for summary in shown {
                li {
                    (linked(summary.link(), summary.outcome(), &html! { (label(&summary.first.label)) " " i { (summary.text()) } }))
                    @if summary.overlaps > 0 { (mark(&format!("{} overlap the previous run", counted(summary.overlaps, "run", "runs")))) }
                }
            }
            @if !rest.is_empty() {
                li {
                    @let runs = counted(rest.iter().map(Summary::runs).sum(), "run", "runs");
                    @let more = html! { (counted(rest.len() as u64, "more schedule", "more schedules")) " " i { (runs) } };
                    @match link.and_then(local_link) {
                        Some(link) => a href=(link) { (more) },
                        None => (more),
                    }
                }
            }
        }
    }
}

/// Returns the events of a day.
pub(super) fn of_day<'a, 'b>(events: &'b [Event<'a>], date: Date) -> impl Iterator<Item = &'b Event<'a>> {
    let begin = events.partition_point(|event| event.local.date() < date);
    events[begin..].iter().take_while(move |event| event.local.date() == date)
}
