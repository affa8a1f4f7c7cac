//! Checks of calendars: a JobSchedule runs no time that they exclude, and all others. A change applies to times after it,
//! from when the controller has seen it.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::store::Happened;

/// Longest time without a time that calendars allow, in seconds. All windows are near the creation of a calendar.
const SEARCHED: i64 = 86_400;

/// Facts about all calendars.
#[derive(Default)]
pub struct Calendars {
    /// Maximum time, in seconds, until a controller has observed a change.
    observation_delay: i64,
    /// Versions of the calendars, by name.
    versions: BTreeMap<String, Vec<Version>>,
}

/// Periods of a calendar, and the time since which the spec has had them.
struct Version {
    since: i64,
    periods: Vec<(i64, i64)>,
}

impl Calendars {
    /// Returns the checks, for this maximum time, in seconds, until a controller has observed a change.
    pub fn new(observation_delay: i64) -> Self {
        Self { observation_delay, versions: BTreeMap::new() }
    }

    /// Records a change of a calendar.
    pub fn observe(&mut self, happened: &Happened) {
        let name = happened.object["metadata"]["name"].as_str().unwrap_or_default();
        let versions = self.versions.entry(name.to_owned()).or_default();
        let entries = happened.object["spec"]["periods"].as_array().into_iter().flatten();
        let period = |entry: &Value| Some((second(&entry["from"])?, second(&entry["to"])?));
        let periods: Vec<(i64, i64)> = entries.filter_map(period).collect();
        if versions.last().is_none_or(|last| last.periods != periods) {
            versions.push(Version { since: happened.at, periods });
        }
    }

    /// Returns whether the calendars of a JobSchedule allow a time in a version that can apply to it, and whether they do
    /// in all these versions.
    pub fn allow(&self, schedule: &Value, time: i64) -> (bool, bool) {
        let names = |field: &str| schedule["spec"][field].as_array().cloned().unwrap_or_default();
        let (mut possibly, mut certainly) = (true, true);
        for (name, excludes) in names("excludeCalendars")
            .iter()
            .map(|name| (name, true))
            .chain(names("onlyCalendars").iter().map(|name| (name, false)))
        {
            let allowed = self.applicable(name, time).map(|version| {
                let is_covered = version.periods.iter().any(|(from, to)| *from <= time && time < *to);
                is_covered != excludes
            });
            let allowed: Vec<bool> = allowed.collect();
            possibly &= allowed.contains(&true);
            certainly &= !allowed.contains(&false);
        }
        (possibly, certainly)
    }

    /// Returns whether a JobSchedule names calendars.
    pub fn are_used(schedule: &Value) -> bool {
        !(schedule["spec"]["excludeCalendars"].is_null() && schedule["spec"]["onlyCalendars"].is_null())
    }

    /// Returns the first of these times that is certainly due, or a time in the far future.
    pub fn first_certain(&self, schedule: &Value, first: i64, next: impl Fn(i64) -> i64) -> i64 {
        let times = std::iter::successors(Some(first), |time| Some(next(*time)));
        let mut near = times.take_while(|time| *time - first < SEARCHED);
        near.find(|time| self.allow(schedule, *time).1).unwrap_or(i64::MAX)
    }

    /// Returns the versions that can apply to a time: no version that is later than the time, and no version that was
    /// changed so long before that the controller has seen it.
    fn applicable(&self, name: &Value, time: i64) -> impl Iterator<Item = &Version> {
        let versions = name.as_str().and_then(|name| self.versions.get(name)).map(Vec::as_slice).unwrap_or_default();
        let created = versions.first().map_or(i64::MIN, |first| first.since);
        let delay = self.observation_delay;
        versions
            .iter()
            .enumerate()
            .filter(move |(place, version)| {
                // What a controller sees first applies to all times.
                let begins = version.since <= time || version.since - created <= delay;
                let end = versions.get(place + 1).map_or(i64::MAX, |next| next.since);
                begins && end.saturating_add(delay) >= time
            })
            .map(|(_, version)| version)
    }
}

/// Returns the second of a local time in UTC.
fn second(text: &Value) -> Option<i64> {
    TimeZone::UTC.to_timestamp(text.as_str()?.parse::<DateTime>().ok()?).ok().map(|time| time.as_second())
}
