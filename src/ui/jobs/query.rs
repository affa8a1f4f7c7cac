//! Filters, order and page of the table of Jobs, as they are in the URL.

use std::cmp::Ordering;

use form_urlencoded::Serializer;
use jiff::Timestamp;

use super::selection::page_number;
use super::selector;
use crate::client::explain::cause::State;
use crate::job::view::Selector;
use crate::ui::cache::JobRow;

/// States in the order of severity.
pub(crate) const STATES: [State; 7] =
    [State::Failed, State::Stuck, State::Failing, State::Waiting, State::Suspended, State::Running, State::Complete];

/// Column by which the table is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Name of the Job.
    Name,
    /// Namespace of the Job.
    Namespace,
    /// State, the worst one first.
    State,
    /// Number of pods that succeeded.
    Succeeded,
    /// Number of pods that failed.
    Failed,
    /// Number of active pods.
    Active,
    /// Duration of the Job.
    Duration,
    /// Age of the Job.
    Age,
    /// Controller that owns the Job.
    Owner,
    /// Cause of the state.
    Cause,
}

impl Column {
    /// All columns, in the order of the table.
    pub const ALL: [Self; 10] = [
        Self::Name,
        Self::Namespace,
        Self::State,
        Self::Succeeded,
        Self::Failed,
        Self::Active,
        Self::Duration,
        Self::Age,
        Self::Owner,
        Self::Cause,
    ];

    /// Returns the name of the column in the URL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Namespace => "namespace",
            Self::State => "state",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Active => "active",
            Self::Duration => "duration",
            Self::Age => "age",
            Self::Owner => "owner",
            Self::Cause => "cause",
        }
    }

    /// Returns whether the first click sorts the largest value first.
    fn descends(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Active | Self::Duration)
    }
}

/// Order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// Column.
    pub column: Column,
    /// Whether the largest value is first.
    pub descending: bool,
}

impl Sort {
    /// Order without a choice of the user: the youngest Job is first.
    const DEFAULT: Self = Self { column: Column::Age, descending: false };

    fn parse(text: &str) -> Option<Self> {
        let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
        let column = Column::ALL.into_iter().find(|column| column.name() == name)?;
        Some(Self { column, descending })
    }

    fn text(self) -> String {
        format!("{}{}", if self.descending { "-" } else { "" }, self.column.name())
    }

    /// Returns the order after a click on a column.
    pub fn clicked(self, column: Column) -> Self {
        let descending = if self.column == column { !self.descending } else { column.descends() };
        Self { column, descending }
    }
}

/// Filters, order and page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobQuery {
    /// Namespace of the Jobs.
    pub namespace: Option<String>,
    /// State of the Jobs.
    pub(crate) state: Option<State>,
    /// Owner of the Jobs: KIND/NAME, or a name.
    pub owner: Option<String>,
    /// Label selector, as the user wrote it and parsed.
    pub label: Option<(String, Selector)>,
    /// Text in name, owner, reason or cause.
    pub text: Option<String>,
    /// Order.
    pub sort: Sort,
    /// Page, from 1.
    pub page: usize,
}

impl Default for JobQuery {
    fn default() -> Self {
        let sort = Sort::DEFAULT;
        Self { namespace: None, state: None, owner: None, label: None, text: None, sort, page: 1 }
    }
}

impl JobQuery {
    /// Returns the query for all Jobs of a namespace.
    pub fn of_namespace(namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..Self::default() }
    }

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
                "state" => {
                    let state = STATES.into_iter().find(|state| state.word().eq_ignore_ascii_case(value));
                    parsed.state = Some(state.ok_or_else(|| format!("{value:?} is no state of a Job."))?);
                }
                "owner" => parsed.owner = Some(value.to_owned()),
                "label" => {
                    let parsed_label =
                        selector::parse(value).map_err(|error| format!("The label selector: {error}."))?;
                    parsed.label = Some((value.to_owned(), parsed_label));
                }
                "q" => parsed.text = Some(value.to_owned()),
                "sort" => {
                    parsed.sort = Sort::parse(value).ok_or_else(|| format!("{value:?} is no column of the table."))?;
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
        let texts = [
            ("namespace", self.namespace.as_deref()),
            ("state", self.state.map(State::word)),
            ("owner", self.owner.as_deref()),
            ("label", self.label.as_ref().map(|(text, _)| text.as_str())),
            ("q", self.text.as_deref()),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        if self.sort != Sort::DEFAULT {
            query.append_pair("sort", &self.sort.text());
        }
        if self.page > 1 {
            query.append_pair("page", &self.page.to_string());
        }
        let query = query.finish();
        if query.is_empty() { "/jobs".to_owned() } else { format!("/jobs?{query}") }
    }

    /// Returns the same filters with a change, on the first page.
    pub fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = Self { page: 1, ..self.clone() };
        change(&mut changed);
        changed
    }

    /// Returns whether a filter is set.
    pub fn is_filtered(&self) -> bool {
        let texts = [&self.namespace, &self.owner, &self.text];
        texts.into_iter().any(Option::is_some) || self.state.is_some() || self.label.is_some()
    }

    /// Returns whether a Job passes all filters but that by state.
    pub fn matches(&self, job: &JobRow, now: Timestamp) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| *job.identity.namespace == *namespace)
            && self.owner.as_deref().is_none_or(|owner| is_owned_by(job, owner))
            && self.label.as_ref().is_none_or(|(_, selector)| selector.matches(&job.labels))
            && self.text.as_deref().is_none_or(|text| has_text(job, text, now))
    }

    /// Compares two Jobs by the order of the table. Equal ones are ordered by namespace and name.
    pub fn compare(&self, one: &JobRow, other: &JobRow, now: Timestamp) -> Ordering {
        let by_column = match self.sort.column {
            Column::Name => one.identity.name.cmp(&other.identity.name),
            Column::Namespace => one.identity.namespace.cmp(&other.identity.namespace),
            Column::State => one.state(now).cmp(&other.state(now)),
            Column::Succeeded => one.numbers.succeeded.cmp(&other.numbers.succeeded),
            Column::Failed => one.numbers.failed.cmp(&other.numbers.failed),
            Column::Active => one.numbers.active.cmp(&other.numbers.active),
            Column::Duration => one.duration(now).cmp(&other.duration(now)),
            // The youngest Job has the lowest age.
            Column::Age => other.created.cmp(&one.created),
            Column::Owner => owner_key(one).cmp(&owner_key(other)),
            Column::Cause => one.cause(now).cmp(other.cause(now)),
        };
        let by_column = if self.sort.descending { by_column.reverse() } else { by_column };
        by_column
            .then_with(|| one.identity.namespace.cmp(&other.identity.namespace))
            .then_with(|| one.identity.name.cmp(&other.identity.name))
    }
}

fn owner_key(job: &JobRow) -> Option<(&str, &str)> {
    job.owner.as_ref().map(|owner| (owner.kind.as_str(), &*owner.name))
}

fn is_owned_by(job: &JobRow, wanted: &str) -> bool {
    let Some(owner) = &job.owner else { return false };
    match wanted.split_once('/') {
        Some((kind, name)) => owner.kind.eq_ignore_ascii_case(kind) && *owner.name == *name,
        None => *owner.name == *wanted,
    }
}

fn has_text(job: &JobRow, text: &str, now: Timestamp) -> bool {
    let owner = job.owner.as_ref().map(|owner| &*owner.name).unwrap_or_default();
    [&*job.identity.name, owner, job.reason(now), job.cause(now)].iter().any(|place| contains(place, text))
}

/// Returns whether a text contains another one. The case of ASCII letters does not matter.
fn contains(text: &str, part: &str) -> bool {
    let (text, part) = (text.as_bytes(), part.as_bytes());
    part.is_empty() || text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-01-01T01:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn job(name: &str, namespace: &str, status: Value) -> JobRow {
        let owner =
            json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": "o", "controller": true}]);
        let job = json!({
            "metadata": {"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1",
                "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "etl"}, "ownerReferences": owner},
            "spec": {}, "status": status,
        });
        JobRow::parse(serde_json::from_value(job).unwrap()).unwrap()
    }

    fn query(text: &str) -> JobQuery {
        JobQuery::parse(text).unwrap()
    }

    #[test]
    fn each_filter_selects() {
        let failed = json!({"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "Too slow"}]});
        let job = job("alpha-1", "team-a", failed);
        for (text, expected) in [
            ("", true),
            ("namespace=team-a", true),
            ("namespace=team", false),
            ("owner=nightly", true),
            ("owner=cronjob/nightly", true),
            ("owner=CronJob%2Fnightly", true),
            ("owner=jobschedule/nightly", false),
            ("owner=night", false),
            ("label=app%3Detl", true),
            ("label=app!%3Detl", false),
            ("q=ALPHA", true),
            ("q=nightly", true),
            ("q=deadlineex", true),
            ("q=too+slow", true),
            ("q=other", false),
            ("q=alpha&namespace=other", false),
            ("unknown=x", true),
        ] {
            assert_eq!(query(text).matches(&job, now()), expected, "{text}");
        }
        assert_eq!(query("state=failed").state, Some(State::Failed));
    }

    #[test]
    fn wrong_value_is_named() {
        for text in ["state=broken", "sort=color", "sort=--age", "page=0", "page=x", "page=-1", "label=a+b"] {
            assert!(JobQuery::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_column_sorts_in_both_directions() {
        let running = |ready: i32, start: &str| json!({"startTime": start, "active": ready, "ready": ready, "succeeded": ready, "failed": 0});
        let one = job("a", "n", running(1, "2026-01-01T00:30:00Z"));
        let mut other = job("b", "o", running(2, "2026-01-01T00:20:00Z"));
        other.created = "2026-01-01T00:10:00Z".parse().unwrap();
        for (column, expected) in [
            ("name", Ordering::Less),
            ("namespace", Ordering::Less),
            ("state", Ordering::Less),
            ("succeeded", Ordering::Less),
            ("active", Ordering::Less),
            ("duration", Ordering::Less),
            ("age", Ordering::Greater),
            ("cause", Ordering::Less),
        ] {
            let ascending = query(&format!("sort={column}")).compare(&one, &other, now());
            assert_eq!(ascending, expected, "{column}");
            if !matches!(column, "state") {
                assert_eq!(
                    query(&format!("sort=-{column}")).compare(&one, &other, now()),
                    expected.reverse(),
                    "{column}"
                );
            }
        }
        let sort = query("sort=failed").sort.clicked(Column::Failed);
        assert!(sort.descending && !sort.clicked(Column::Name).descending && sort.clicked(Column::Active).descending);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn url_has_the_whole_query(
            texts in prop::collection::vec(prop::option::of("[^\\s]([^\\p{C}]{0,10}[^\\s])?"), 3),
            state in prop::option::of(0_usize..7),
            (column, descending) in (0_usize..10, any::<bool>()),
            page in 1_usize..1000,
        ) {
            let text = |at: usize| texts[at].clone().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
            let query = JobQuery {
                namespace: text(0),
                state: state.map(|at| STATES[at]),
                owner: text(1),
                label: Some(("app=a".to_owned(), selector::parse("app=a").unwrap())),
                text: text(2),
                sort: Sort { column: Column::ALL[column], descending },
                page,
            };
            let url = query.url();
            prop_assert!(url.is_ascii());
            prop_assert_eq!(JobQuery::parse(url.split_once('?').map_or("", |(_, query)| query)), Ok(query));
        }

        #[test]
        fn search_ignores_the_case(text in "[a-zA-Zé]{0,12}", part in "[a-zA-Z]{0,3}") {
            prop_assert_eq!(contains(&text, &part), text.to_ascii_lowercase().contains(&part.to_ascii_lowercase()));
        }
    }
}
