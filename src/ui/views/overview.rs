//! The overview: what needs attention now, numbers by state, and the last 24 hours.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use crate::client::explain::cause::{Finding, State};
use crate::runtime::identity::Uid;
use crate::ui::cache::{JobRow, Visible};
use crate::ui::charts::{Hour, hours};
use crate::ui::components::{Header, Tile, empty, figure, section, state, table, table_region, tiles};
use crate::ui::console::Console;
use crate::ui::error::PageError;
use crate::ui::identity::User;
use crate::ui::jobs::query::STATES;
use crate::ui::layout::{Content, Freshness, Section};
use crate::ui::text::{counted, name, relative_time, truncated};

/// Number of hours of the chart.
const HOURS: usize = 24;
/// Time for which a failed Job is listed.
const RECENT: SignedDuration = SignedDuration::from_hours(HOURS as i64);
/// Maximum number of Jobs in the list.
const LISTED: usize = 20;
/// Maximum number of Jobs whose pods are read.
const READ: usize = 12;
/// Maximum number of characters of a cause.
const CAUSE: usize = 240;
/// Maximum number of characters of a name.
const NAME: usize = 50;

/// What one pass over the Jobs finds.
#[derive(Default)]
struct Summary {
    counts: [u64; STATES.len()],
    hours: Vec<Hour>,
    /// Jobs that need attention according to their status.
    trouble: Vec<Arc<JobRow>>,
    /// Jobs whose pods do not run.
    waiting: Vec<Arc<JobRow>>,
}

/// Job in the list.
struct Item {
    job: Arc<JobRow>,
    state: State,
    cause: String,
    since: Option<Timestamp>,
}

pub(super) async fn content(console: &Console, user: &User) -> Result<Content, PageError> {
    let jobs = console.visible::<JobRow>(user, None).await?;
    let now = crate::client::now();
    let summary = Summary::of(&jobs, now);
    let findings = console.pods.findings(user, &summary.waiting, |namespace| console.context(user, namespace)).await;
    let (late, mut interests) = super::schedules::late(console, user, now).await;
    let main = main(&jobs, &summary, &findings, &late, now, &console.zone);
    interests.push(jobs.interest());
    let freshness = Freshness::ChangesAndTime(interests);
    Ok(Content::new("Overview", Section::Overview, freshness, main))
}

impl Summary {
    fn of(jobs: &Visible<'_, JobRow>, now: Timestamp) -> Self {
        let mut summary = Self { hours: empty_hours(now), ..Self::default() };
        jobs.for_each(|job| summary.add(job, now));
        // The Jobs that have waited for the longest time come first.
        summary.waiting.sort_unstable_by_key(|job| (job.started, job.identity.uid.clone()));
        summary.waiting.truncate(READ);
        summary
    }

    fn add(&mut self, job: &Arc<JobRow>, now: Timestamp) {
        let state = job.state(now);
        self.counts[state as usize] += 1;
        let age = job.ended.map(|ended| now.duration_since(ended));
        if let Some(hour) = job.ended.and_then(|ended| hour_of(&mut self.hours, ended)) {
            match state {
                State::Failed => hour.failed += 1,
                _ => hour.succeeded += 1,
            }
        }
        let is_recent = age.is_none_or(|age| age < RECENT);
        if matches!(state, State::Failed | State::Stuck | State::Failing | State::Waiting) && is_recent {
            self.trouble.push(job.clone());
        }
        if job.has_waiting_pods(now) {
            self.waiting.push(job.clone());
        }
    }
}

/// Returns the hours of the chart, the oldest first.
fn empty_hours(now: Timestamp) -> Vec<Hour> {
    let this = now.as_second().div_euclid(3600);
    let hours = (0..HOURS as i64).rev().filter_map(|ago| Timestamp::from_second((this - ago) * 3600).ok());
    hours.map(|begin| Hour { begin, succeeded: 0, failed: 0 }).collect()
}

fn hour_of(hours: &mut [Hour], time: Timestamp) -> Option<&mut Hour> {
    let first = hours.first()?.begin;
    let place = time.duration_since(first).as_secs().div_euclid(3600);
    usize::try_from(place).ok().and_then(|place| hours.get_mut(place))
}

/// Returns the place of a state in the list. A Job that a user can still save comes before one that has failed.
fn severity(state: State) -> u8 {
    match state {
        State::Stuck => 0,
        State::Failing => 1,
        State::Failed => 2,
        _ => 3,
    }
}

/// Returns the Jobs of the list, the worst first, and how many are left out.
fn items(summary: &Summary, findings: &HashMap<Uid, Finding>, now: Timestamp) -> (Vec<Item>, usize) {
    let read = |job: &Arc<JobRow>| findings.get(&job.identity.uid);
    let by_status = summary.trouble.iter().filter(|job| read(job).is_none()).map(|job| Item {
        state: job.state(now),
        cause: cause(job.reason(now), job.cause(now)),
        since: job.since(),
        job: job.clone(),
    });
    let by_pods = summary.waiting.iter().filter_map(|job| {
        let finding = read(job).filter(|finding| finding.state <= State::Waiting)?;
        let cause = cause(&finding.reason, &finding.cause);
        Some(Item { state: finding.state, cause, since: finding.since, job: job.clone() })
    });
    let mut items: Vec<Item> = by_status.chain(by_pods).collect();
    items.sort_by(|one, other| {
        let key = |item: &Item| (severity(item.state), std::cmp::Reverse(item.since));
        let name = |item: &Item| (item.job.identity.namespace.clone(), item.job.identity.name.clone());
        key(one).cmp(&key(other)).then_with(|| name(one).cmp(&name(other)))
    });
    let more = items.len().saturating_sub(LISTED);
    items.truncate(LISTED);
    (items, more)
}

/// Returns the cause with its reason, unless the cause contains the reason.
fn cause(reason: &str, cause: &str) -> String {
    match cause {
        "" => reason.to_owned(),
        cause if cause.contains(reason) => cause.to_owned(),
        cause => format!("{reason}: {cause}"),
    }
}

fn main(
    jobs: &Visible<'_, JobRow>,
    summary: &Summary,
    findings: &HashMap<Uid, Finding>,
    late: &Markup,
    now: Timestamp,
    zone: &TimeZone,
) -> Markup {
    let (items, more) = items(summary, findings, now);
    let links: Vec<String> =
        STATES.iter().map(|state| format!("/jobs?state={}", state.word().to_lowercase())).collect();
    let counts: Vec<Tile<'_>> = STATES
        .iter()
        .zip(&links)
        .map(|(state, href)| Tile { state: super::shown(*state), count: summary.counts[*state as usize], href })
        .collect();
    html! {
        h1 { "Overview" }
        (super::notices(jobs))
        (tiles("Jobs by state", &counts))
        (section("attention", "Needs attention", attention(&items, more, now, zone)))
        (late)
        (figure("Last 24 hours", "Jobs that ended in each hour and still exist", hours(&summary.hours, zone)))
    }
}

fn attention(items: &[Item], more: usize, now: Timestamp, zone: &TimeZone) -> Markup {
    if items.is_empty() {
        let text = "No Job is stuck, failing or waiting, and none has failed in the last 24 hours.";
        return empty("Nothing needs attention.", html! { p { (text) } });
    }
    let column = |label| Header { label, ..Header::default() };
    let headers = [column("Job"), column("State"), column("Since"), column("Cause")];
    let rows = html! {
        @for Item { job, state: of, cause, since } in items {
            tr {
                th scope="row" {
                    a href=(super::job_path(&job.identity.namespace, &job.identity.name)) { (name(&job.identity.name, NAME)) }
                    " " small { (name(&job.identity.namespace, NAME)) }
                }
                td { (state(super::shown(*of))) }
                td { @if let Some(since) = since { (relative_time(*since, now, zone)) } }
                td { (truncated(cause, CAUSE)) }
            }
        }
    };
    html! {
        (table_region("Needs attention", table("Jobs that need attention, the worst first", &headers, rows)))
        @if more > 0 {
            @let more = counted(u64::try_from(more).unwrap_or_default(), "Job is", "Jobs are");
            p { (more) " not listed here; " a href="/jobs?sort=state" { "show all Jobs by state" } "." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chart_has_the_last_24_hours() {
        let now: Timestamp = "2026-01-02T10:30:00Z".parse().unwrap();
        let mut hours = empty_hours(now);
        assert_eq!((hours.len(), hours[0].begin.to_string()), (24, "2026-01-01T11:00:00Z".to_owned()));
        let mut place = |time: &str| hour_of(&mut hours, time.parse().unwrap()).map(|hour| hour.begin.to_string());
        assert_eq!(place("2026-01-02T10:00:00Z").as_deref(), Some("2026-01-02T10:00:00Z"));
        assert_eq!(place("2026-01-01T11:59:59Z").as_deref(), Some("2026-01-01T11:00:00Z"));
        assert_eq!((place("2026-01-01T10:59:59Z"), place("2026-01-02T11:00:00Z")), (None, None));
    }

    #[test]
    fn cause_has_its_reason_once() {
        assert_eq!(cause("DeadlineExceeded", ""), "DeadlineExceeded");
        assert_eq!(cause("Error", "exit code 3"), "Error: exit code 3");
        assert_eq!(cause("ErrImagePull", "ErrImagePull: no such image"), "ErrImagePull: no such image");
    }
}
