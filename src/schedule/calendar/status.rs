//! Status of a Calendar: the periods that apply, and those before the last changes. A pure function.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::types::{CalendarStatus, EarlierPeriods};
use super::view::CalendarView;
use crate::runtime::clock::whole_seconds;

/// Maximum number of changes whose earlier periods are kept. A time before all of them is treated as the oldest one.
const MAX_EARLIER: usize = 5;

/// Returns the status to store; none if it is stored already, or the spec is invalid.
pub fn status(calendar: &CalendarView, now: Timestamp) -> Option<CalendarStatus> {
    let periods = calendar.spec.as_ref().ok().filter(|_| !calendar.deleting)?;
    let stored = &calendar.stored;
    let mut earlier = stored.earlier.clone();
    if let Some(before) = stored.periods.as_ref().filter(|before| *before != periods) {
        // The clock of an earlier leader can have been ahead.
        let last = earlier.first().map_or(Timestamp::MIN, |last| last.until.0);
        let until = Time(whole_seconds(now).max(last));
        earlier.insert(0, EarlierPeriods { until, periods: before.clone() });
        earlier.truncate(MAX_EARLIER);
    }
    let status = CalendarStatus {
        observed_generation: calendar.generation,
        count: i32::try_from(periods.len()).unwrap_or(i32::MAX),
        periods: Some(periods.clone()),
        earlier,
    };
    (status != *stored).then_some(status)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn calendar(generation: i64, days: &[&str], status: &Value) -> CalendarView {
        let periods: Vec<Value> = days.iter().map(|day| json!({"date": day})).collect();
        let metadata = json!({
            "name": "holidays", "namespace": "default", "uid": "u", "resourceVersion": "7", "generation": generation,
        });
        let wire = json!({"metadata": metadata, "spec": {"periods": periods}, "status": status});
        CalendarView::parse(serde_json::from_str(&wire.to_string()).unwrap()).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn change_keeps_the_earlier_periods_for_times_up_to_it() {
        let first = calendar(1, &["12-25"], &json!({}));
        let stored = status(&first, at("2026-01-05T10:00:00.5Z")).unwrap();
        assert_eq!(
            json!(stored),
            json!({"observedGeneration": 1, "count": 1, "periods": [{"date": "12-25"}]}),
            "a new Calendar applies to all times"
        );
        assert_eq!(status(&calendar(1, &["12-25"], &json!(stored)), at("2026-01-05T11:00:00Z")), None);

        let changed = calendar(2, &["12-25", "12-26"], &json!(stored));
        assert_eq!(changed.versions, first.versions, "the change does not apply before it is stored");
        let stored = status(&changed, at("2026-01-05T12:00:00.5Z")).unwrap();
        let earlier = json!([{"until": "2026-01-05T12:00:00Z", "periods": [{"date": "12-25"}]}]);
        assert_eq!((stored.count, json!(stored.earlier)), (2, earlier));

        let mut last = stored;
        for (generation, day) in (3..10).zip(["01-01", "01-02", "01-03", "01-04", "01-05", "01-06", "01-07"]) {
            // The clock goes backwards.
            last = status(&calendar(generation, &[day], &json!(last)), at("2026-01-05T11:00:00Z")).unwrap();
        }
        assert_eq!(last.earlier.len(), MAX_EARLIER);
        assert!(last.earlier.iter().all(|earlier| earlier.until.0 == at("2026-01-05T12:00:00Z")), "{last:?}");
    }

    #[test]
    fn invalid_spec_and_deleted_calendar_change_nothing() {
        let stored = json!({"observedGeneration": 1, "count": 1, "periods": [{"date": "12-25"}]});
        let invalid = calendar(2, &["02-30"], &stored);
        assert_eq!((status(&invalid, at("2026-01-05T10:00:00Z")), invalid.versions.unwrap().current.len()), (None, 1));
        assert!(invalid.spec.unwrap_err().starts_with("spec.periods[0]: this day or time does not exist"));
        assert_eq!(calendar(1, &["02-30"], &json!({})).versions, None, "it must not exclude nothing");
        let mut deleted = calendar(2, &["12-26"], &stored);
        deleted.deleting = true;
        assert_eq!(status(&deleted, at("2026-01-05T10:00:00Z")), None);
    }
}
