//! Runs of all schedules in a period: those that were, and those that will be due.
//!
//! The work is bounded: the times of a schedule are computed up to a maximum that depends on the number of schedules.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::query::parse_zone;
use super::{Plan, Record, Run};
use crate::ui::charts::{CalendarEvent, Outcome, View, zone_name};

/// Maximum number of schedules in a calendar.
pub const MAX_SCHEDULES: usize = 2_000;
/// Maximum number of future runs of all schedules.
const MAX_TIMES: usize = 40_000;
/// Maximum number of zones whose clock changes are listed.
const MAX_ZONES: usize = 20;

/// Period, zone and filter of a calendar, as they are in the URL.
#[derive(Clone, Debug, PartialEq)]
pub struct CalendarQuery {
    /// Period.
    pub view: View,
    /// Date in the period.
    pub date: Date,
    /// Zone of the viewer.
    pub zone: TimeZone,
    /// Namespace of the schedules.
    pub namespace: Option<String>,
    /// Hour of the clock to which the view of a day is limited.
    pub hour: Option<i8>,
}

impl CalendarQuery {
    /// Parses the query of a URL. Without a date, the period contains the present day.
    ///
    /// # Errors
    /// A value is not accepted. The error is a sentence for the user.
    pub fn parse(query: &str, now: Timestamp) -> Result<Self, String> {
        let (mut view, mut date, mut zone, mut namespace, mut hour) =
            (View::default(), None, TimeZone::UTC, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.trim();
            match &*name {
                _ if value.is_empty() => {}
                "view" => {
                    view = View::from_word(value).ok_or_else(|| format!("{value:?} is no view of the calendar."))?
                }
                "date" => {
                    let parsed: Option<Date> = value.parse().ok();
                    date = Some(parsed.ok_or_else(|| format!("{value:?} is no date such as 2026-03-29."))?);
                }
                "zone" => zone = parse_zone(value)?,
                "hour" => {
                    let parsed = value.parse().ok().filter(|hour: &i8| (0..24).contains(hour));
                    hour = Some(parsed.ok_or_else(|| format!("{value:?} is no hour from 0 to 23."))?);
                }
                "namespace" => namespace = Some(value.to_owned()),
                _ => {}
            }
        }
        let date = date.unwrap_or_else(|| now.to_zoned(zone.clone()).date());
        let hour = hour.filter(|_| view == View::Day);
        Ok(Self { view, date, zone, namespace, hour })
    }

    /// Returns the path and query of the page.
    pub fn url(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("view", self.view.word()).append_pair("date", &self.date.to_string());
        if self.zone != TimeZone::UTC {
            query.append_pair("zone", zone_name(&self.zone));
        }
        if let Some(namespace) = &self.namespace {
            query.append_pair("namespace", namespace);
        }
        if let Some(hour) = self.hour {
            query.append_pair("hour", &hour.to_string());
        }
        format!("/calendar?{}", query.finish())
    }

    /// Returns the same calendar with a change, of all hours.
    pub fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = Self { hour: None, ..self.clone() };
        change(&mut changed);
        changed
    }
}

/// Runs of schedules in a period.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// Runs in no particular order.
    pub events: Vec<CalendarEvent>,
    /// Number of schedules of which not all future runs are shown.
    pub cut: usize,
    /// Number of schedules of which only the next run is known.
    pub with_calendars: usize,
}

impl Events {
    /// Adds the runs of a schedule. `max` is the maximum number of future runs.
    pub fn add(
        &mut self,
        plan: &Plan,
        record: &Record<'_>,
        label: &str,
        (from, to): (Timestamp, Timestamp),
        (now, max): (Timestamp, usize),
    ) {
        let page = plan.path();
        let event = |time: Timestamp, end: Option<Timestamp>, outcome: Outcome| CalendarEvent {
            time,
            end,
            label: label.to_owned(),
            link: Some(page.clone()),
            page: Some(page.clone()),
            outcome,
        };
        for run in &record.runs {
            let time = run.scheduled.unwrap_or(run.started);
            let end = run.ended.unwrap_or(now);
            // A run that began before the period can overlap the first run of the period.
            if time < to && end >= from {
                let link = job_link(plan, run);
                let found = event(time, Some(end), run.outcome);
                self.events.push(CalendarEvent { link: link.or(found.link), ..found });
            }
        }
        if let Some(late) = plan.late_since(now).filter(|late| *late < to) {
            self.events.push(event(late, None, Outcome::Missed));
        }
        let median = record.median().unwrap_or(SignedDuration::ZERO);
        let begin = now.max(from.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(from));
        // The number of runs that are left counts from now, so a limited schedule is followed from now.
        let mut times = plan.upcoming_after(now, begin).take_while(|time| *time < to);
        for time in times.by_ref().take(max) {
            self.events.push(event(time, time.checked_add(median).ok(), Outcome::Due));
        }
        self.cut += usize::from(times.next().is_some());
        self.with_calendars += usize::from(plan.has_calendars());
    }
}

fn job_link(plan: &Plan, run: &Run<'_>) -> Option<String> {
    run.exists().then(|| crate::ui::views::job_path(&plan.identity().namespace, run.job()))
}

/// Returns the maximum number of future runs of each schedule, given the number of schedules.
pub fn max_times(schedules: usize) -> usize {
    (MAX_TIMES / schedules.max(1)).clamp(20, 2_000)
}

/// Returns the clock changes of the zones of schedules in a period, as sentences.
pub fn clock_changes<'a>(
    plans: impl Iterator<Item = &'a Plan>,
    viewer: &TimeZone,
    (from, to): (Timestamp, Timestamp),
) -> Vec<String> {
    let mut zones: Vec<TimeZone> = Vec::new();
    for zone in plans.filter_map(|plan| plan.rules.as_ref().ok()).map(super::times::Rules::zone) {
        if zone != viewer && !zones.contains(zone) && zones.len() < MAX_ZONES {
            zones.push(zone.clone());
        }
    }
    let mut found: Vec<(Timestamp, String)> = Vec::new();
    for zone in &zones {
        let since = from.checked_sub(SignedDuration::from_secs(1)).unwrap_or(from);
        for change in zone.following(since).take_while(|change| change.timestamp() < to).take(4) {
            let at = change.timestamp();
            let Ok(before) = at.checked_sub(SignedDuration::from_secs(1)) else { continue };
            let (old, new) = (zone.to_offset_info(before), zone.to_offset_info(at));
            if old.offset() == new.offset() {
                continue;
            }
            let clock = |info: &jiff::tz::TimeZoneOffsetInfo<'_>| {
                format!("{} {}", info.offset().to_datetime(at).strftime("%H:%M"), info.abbreviation())
            };
            let date = old.offset().to_datetime(at).strftime("%Y-%m-%d");
            found.push((at, format!("{}: on {date}, {} becomes {}.", zone_name(zone), clock(&old), clock(&new))));
        }
    }
    found.sort();
    found.into_iter().map(|(_, text)| text).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::schedule::cron_job::view::CronJobView;

    fn plan(schedule: &str, zone: &str) -> Plan {
        let object = json!({"metadata": {"namespace": "n", "name": "c", "uid": "u", "resourceVersion": "1",
            "creationTimestamp": "2026-03-28T00:00:00Z"},
            "spec": {"schedule": schedule, "timeZone": zone, "jobTemplate": {}},
            "status": {"lastScheduleTime": "2026-03-28T00:00:00Z"}});
        let wire = serde_json::from_str(&object.to_string()).unwrap();
        Plan::of_cron_job(&Arc::new(CronJobView::parse(wire).unwrap()))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn period() -> (Timestamp, Timestamp) {
        (at("2026-03-28T00:00:00Z"), at("2026-03-29T00:00:00Z"))
    }

    #[test]
    fn late_run_and_future_runs_are_in_the_period() {
        let mut events = Events::default();
        let (plan, now) = (plan("0 */6 * * *", "UTC"), at("2026-03-28T07:00:00Z"));
        events.add(&plan, &Record::default(), "c", period(), (now, 100));
        let found: Vec<_> = events.events.iter().map(|event| (event.time, event.outcome)).collect();
        assert_eq!(
            found,
            [
                (at("2026-03-28T06:00:00Z"), Outcome::Missed),
                (at("2026-03-28T12:00:00Z"), Outcome::Due),
                (at("2026-03-28T18:00:00Z"), Outcome::Due),
            ]
        );
        assert_eq!(events.cut, 0);
        let mut later = Events::default();
        later.add(&plan, &Record::default(), "c", (at("2026-04-01T00:00:00Z"), at("2026-04-02T00:00:00Z")), (now, 100));
        assert_eq!(later.events.iter().filter(|event| event.outcome == Outcome::Due).count(), 4, "{later:?}");
    }

    #[test]
    fn work_is_bounded_however_many_runs_are_due() {
        let mut events = Events::default();
        events.add(&plan("* * * * *", "UTC"), &Record::default(), "c", period(), (at("2026-03-28T00:00:10Z"), 20));
        assert_eq!((events.events.len(), events.cut), (20, 1));
        for schedules in [0, 1, 500, MAX_SCHEDULES, 1_000_000] {
            assert!(max_times(schedules) * schedules.min(MAX_SCHEDULES) <= MAX_TIMES, "{schedules}");
        }
    }

    #[test]
    fn clock_changes_of_the_schedules_are_listed_once() {
        let plans = [plan("0 1 * * *", "Europe/Paris"), plan("0 2 * * *", "Europe/Paris"), plan("0 2 * * *", "UTC")];
        let week = (at("2026-03-23T00:00:00Z"), at("2026-03-30T00:00:00Z"));
        assert_eq!(
            clock_changes(plans.iter(), &TimeZone::UTC, week),
            ["Europe/Paris: on 2026-03-29, 02:00 CET becomes 03:00 CEST."]
        );
        assert_eq!(clock_changes(plans.iter(), &TimeZone::UTC, period()), Vec::<String>::new());
    }

    #[test]
    fn query_and_url_are_inverse() {
        let now = at("2026-03-28T23:30:00Z");
        let parsed = CalendarQuery::parse("view=month&zone=Europe%2FParis&namespace=a", now).unwrap();
        assert_eq!(parsed.url(), "/calendar?view=month&date=2026-03-29&zone=Europe%2FParis&namespace=a");
        assert_eq!(CalendarQuery::parse(parsed.url().split_once('?').unwrap().1, now).unwrap(), parsed);
        let hour = CalendarQuery::parse("view=day&date=2026-03-29&hour=2", now).unwrap();
        assert_eq!(hour.url(), "/calendar?view=day&date=2026-03-29&hour=2");
        assert_eq!(hour.with(|query| query.view = View::Week).url(), "/calendar?view=week&date=2026-03-29");
        assert_eq!(CalendarQuery::parse("view=week&hour=2", now).unwrap().hour, None);
        for wrong in ["view=year", "date=x", "date=2026-02-30", "zone=x", "hour=24", "hour=-1"] {
            assert!(CalendarQuery::parse(wrong, now).is_err(), "{wrong}");
        }
    }
}
