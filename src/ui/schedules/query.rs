//! Filters, order, page and zone of the table of schedules, as they are in the URL.

use std::cmp::Ordering;

use form_urlencoded::Serializer;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::plan::{STATES, severity};
use super::{Plan, Record, ScheduleKind};
use crate::schedule::zones;
use crate::ui::charts::zone_name;
use crate::ui::components::State;
use crate::ui::jobs::selection::page_number;

/// Column by which the table is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Name of the schedule.
    Name,
    /// Namespace of the schedule.
    Namespace,
    /// State, the worst one first.
    State,
    /// Next time, the earliest first.
    Next,
    /// Start of the last run, the newest first.
    Last,
    /// Share of the runs that succeeded.
    Success,
    /// Median of the durations.
    Duration,
}

impl Column {
    /// All columns by which the table can be sorted.
    pub const ALL: [Self; 7] =
        [Self::Name, Self::Namespace, Self::State, Self::Next, Self::Last, Self::Success, Self::Duration];

    /// Returns the name of the column in the URL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Namespace => "namespace",
            Self::State => "state",
            Self::Next => "next",
            Self::Last => "last",
            Self::Success => "success",
            Self::Duration => "duration",
        }
    }
}

/// Values by which a schedule is compared with others, computed once for each page.
#[derive(Clone, Debug)]
pub struct Keys {
    /// State of the schedule.
    pub state: State,
    /// Next time.
    pub next: Option<Timestamp>,
    /// Start of the last run.
    pub last: Option<Timestamp>,
    /// Share of the runs that succeeded, in percent.
    pub success: Option<u64>,
    /// Median of the durations.
    pub median: Option<SignedDuration>,
}

impl Keys {
    /// Returns the values of a schedule with its runs.
    pub fn of(plan: &Plan, record: &Record<'_>, now: Timestamp) -> Self {
        Self {
            state: plan.state(now),
            next: plan.next(now),
            last: record.last().map(|run| run.started).or(plan.last()),
            success: record.success_rate(),
            median: record.median(),
        }
    }
}

/// Filters, order, page and zone.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleQuery {
    /// Namespace of the schedules.
    pub namespace: Option<String>,
    /// Kind of the schedules.
    pub kind: Option<ScheduleKind>,
    /// State of the schedules.
    pub state: Option<State>,
    /// Text in the name or the schedule.
    pub text: Option<String>,
    /// Zone of the viewer.
    pub zone: TimeZone,
    /// Column of the order.
    pub sort: Column,
    /// Whether the order is reversed.
    pub descending: bool,
    /// Page, from 1.
    pub page: usize,
}

impl Default for ScheduleQuery {
    fn default() -> Self {
        let (sort, zone) = (Column::State, TimeZone::UTC);
        Self { namespace: None, kind: None, state: None, text: None, zone, sort, descending: false, page: 1 }
    }
}

/// Returns the zone that a URL names.
///
/// # Errors
/// There is no such zone. The error is a sentence for the user.
pub fn parse_zone(name: &str) -> Result<TimeZone, String> {
    zones::zone(name).ok_or_else(|| format!("{name:?} is not an IANA time zone such as Europe/Paris."))
}

impl ScheduleQuery {
    /// Parses the query of a URL. Unknown parameters are ignored.
    ///
    /// # Errors
    /// A value is not accepted. The error is a sentence for the user.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut parsed = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            match &*name {
                "namespace" => parsed.namespace = Some(value.to_owned()),
                "kind" => {
                    let kind = ScheduleKind::from_word(&value.to_lowercase());
                    parsed.kind = Some(kind.ok_or_else(|| format!("{value:?} is no kind of schedules."))?);
                }
                "state" => {
                    let state = STATES.into_iter().find(|state| word(*state).eq_ignore_ascii_case(value));
                    parsed.state = Some(state.ok_or_else(|| format!("{value:?} is no state of a schedule."))?);
                }
                "q" => parsed.text = Some(value.to_owned()),
                "zone" => parsed.zone = parse_zone(value)?,
                "sort" => {
                    let (name, descending) = value.strip_prefix('-').map_or((value, false), |name| (name, true));
                    let column = Column::ALL.into_iter().find(|column| column.name() == name);
                    parsed.sort = column.ok_or_else(|| format!("{value:?} is no column of the table."))?;
                    parsed.descending = descending;
                }
                "page" => parsed.page = page_number(value)?,
                _ => {}
            }
        }
        Ok(parsed)
    }

    /// Returns the path and query of the page.
    pub fn url(&self) -> String {
        let mut query = Serializer::new(String::new());
        let zone = (self.zone != TimeZone::UTC).then(|| zone_name(&self.zone));
        let state = self.state.map(word);
        let texts = [
            ("namespace", self.namespace.as_deref()),
            ("kind", self.kind.map(ScheduleKind::word)),
            ("state", state.as_deref()),
            ("q", self.text.as_deref()),
            ("zone", zone),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        if let Some(sort) = self.sort_text() {
            query.append_pair("sort", &sort);
        }
        if self.page > 1 {
            query.append_pair("page", &self.page.to_string());
        }
        let query = query.finish();
        if query.is_empty() { "/schedules".to_owned() } else { format!("/schedules?{query}") }
    }

    /// Returns the order in the URL. `None` for the usual one.
    pub fn sort_text(&self) -> Option<String> {
        let is_usual = self.sort == Column::State && !self.descending;
        (!is_usual).then(|| format!("{}{}", if self.descending { "-" } else { "" }, self.sort.name()))
    }

    /// Returns the same filters with a change, on the first page.
    pub fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = Self { page: 1, ..self.clone() };
        change(&mut changed);
        changed
    }

    /// Returns the query after a click on a column.
    pub fn sorted_by(&self, column: Column) -> Self {
        self.with(|query| {
            query.descending = query.sort == column && !query.descending;
            query.sort = column;
        })
    }

    /// Returns whether a filter is set.
    pub fn is_filtered(&self) -> bool {
        self.namespace.is_some() || self.kind.is_some() || self.state.is_some() || self.text.is_some()
    }

    /// Returns whether a schedule passes all filters but that by state.
    pub fn matches(&self, plan: &Plan) -> bool {
        let has = |text: &str| {
            let text = text.to_lowercase();
            plan.identity().name.contains(&text) || plan.text().to_lowercase().contains(&text)
        };
        self.namespace.as_deref().is_none_or(|namespace| *plan.identity().namespace == *namespace)
            && self.kind.is_none_or(|kind| plan.kind() == kind)
            && self.text.as_deref().is_none_or(has)
    }

    /// Compares two schedules by the order of the table. Equal ones are ordered by namespace, name and kind.
    pub fn compare(&self, (one, of_one): (&Plan, &Keys), (other, of_other): (&Plan, &Keys)) -> Ordering {
        // A missing value is last in the usual order.
        let missing_last = |keys: &Keys| (keys.next.is_none(), keys.next);
        let by_column = match self.sort {
            Column::Name => one.identity().name.cmp(&other.identity().name),
            Column::Namespace => one.identity().namespace.cmp(&other.identity().namespace),
            Column::State => severity(of_one.state).cmp(&severity(of_other.state)),
            Column::Next => missing_last(of_one).cmp(&missing_last(of_other)),
            Column::Last => of_other.last.cmp(&of_one.last),
            Column::Success => {
                (of_one.success.is_none(), of_one.success).cmp(&(of_other.success.is_none(), of_other.success))
            }
            Column::Duration => of_other.median.cmp(&of_one.median),
        };
        let by_column = if self.descending { by_column.reverse() } else { by_column };
        let name = |plan: &Plan| (plan.identity().namespace.clone(), plan.identity().name.clone(), plan.kind());
        by_column.then_with(|| name(one).cmp(&name(other)))
    }
}

/// Returns the name of a state in a URL.
pub fn word(state: State) -> String {
    format!("{state:?}").to_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn query_and_url_are_inverse() {
        for query in [
            "",
            "namespace=a&kind=cronjob&state=late&q=x+y&zone=Europe%2FParis&sort=-next&page=3",
            "sort=-state",
            "state=neverdue",
        ] {
            let parsed = ScheduleQuery::parse(query).unwrap();
            let url = parsed.url();
            assert_eq!(url, if query.is_empty() { "/schedules".to_owned() } else { format!("/schedules?{query}") });
            assert_eq!(ScheduleQuery::parse(url.split_once('?').map_or("", |(_, query)| query)).unwrap(), parsed);
        }
        for wrong in ["kind=job", "state=x", "zone=Mars", "sort=x", "page=0"] {
            assert!(ScheduleQuery::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn second_click_reverses_the_order() {
        let once = ScheduleQuery::default().sorted_by(Column::Next);
        assert_eq!(
            (once.url(), once.sorted_by(Column::Next).url()),
            ("/schedules?sort=next".into(), "/schedules?sort=-next".into())
        );
        assert_eq!(once.sorted_by(Column::Next).sorted_by(Column::Name).sort_text().as_deref(), Some("name"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_query_is_parsed_or_refused(query in any::<String>()) {
            if let Ok(parsed) = ScheduleQuery::parse(&query) {
                prop_assert!(parsed.url().starts_with("/schedules"));
            }
        }
    }
}
