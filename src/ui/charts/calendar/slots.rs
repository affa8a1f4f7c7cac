//! Hours of a day in a zone, and clock changes.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Hour of a day, or the part of an hour before or after a clock change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Begin of the slot.
    pub from: Timestamp,
    /// End of the slot, which is the begin of the next.
    pub to: Timestamp,
    /// Begin in the zone, such as `14:00`. On a day with a clock change, the label has the abbreviation of the offset.
    pub label: String,
    /// Clock change at the begin of the slot.
    pub change: Option<String>,
}

/// Change of the offset of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClockChange {
    /// Time of the change.
    pub time: Timestamp,
    /// Local times before and after it, such as `02:00 CET becomes 03:00 CEST`.
    pub text: String,
}

/// Returns the begin of a day.
pub(super) fn midnight(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    date.to_zoned(zone.clone()).ok().map(|midnight| midnight.timestamp())
}

/// Returns the clock changes of a day.
pub(super) fn clock_changes(date: Date, zone: &TimeZone) -> Vec<ClockChange> {
    let Some((from, to)) = midnight(date, zone).zip(date.tomorrow().ok().and_then(|next| midnight(next, zone))) else {
        return Vec::new();
    };
    let before = from.checked_sub(SignedDuration::from_secs(1)).unwrap_or(from);
    let transitions = zone.following(before).take_while(|transition| transition.timestamp() < to);
    let changes = transitions.filter_map(|transition| {
        let time = transition.timestamp();
        let earlier = zone.to_offset_info(time.checked_sub(SignedDuration::from_nanos(1)).ok()?);
        if earlier.offset() == transition.offset() {
            return None;
        }
        let clock =
            |offset: jiff::tz::Offset, name: &str| format!("{} {name}", offset.to_datetime(time).strftime("%H:%M"));
        let (old, new) =
            (clock(earlier.offset(), earlier.abbreviation()), clock(transition.offset(), transition.abbreviation()));
        Some(ClockChange { time, text: format!("{old} becomes {new}") })
    });
    changes.collect()
}

/// Returns the hours of a day in ascending order: 24, or fewer or more on the day of a clock change.
pub(super) fn slots(date: Date, zone: &TimeZone) -> Vec<Slot> {
    let Some((from, to)) = midnight(date, zone).zip(date.tomorrow().ok().and_then(|next| midnight(next, zone))) else {
        return Vec::new();
    };
    let changes = clock_changes(date, zone);
    let format = if changes.is_empty() { "%H:%M" } else { "%H:%M %Z" };
    let mut slots = Vec::new();
    let mut at = from;
    while at < to {
        let local = at.to_zoned(zone.clone());
        let into_hour = i64::from(local.minute()) * 60 + i64::from(local.second());
        let hour = at.checked_add(SignedDuration::from_secs(3600 - into_hour)).unwrap_or(to).min(to);
        let next = changes.iter().map(|change| change.time).filter(|time| *time > at).fold(hour, Timestamp::min);
        let change = changes.iter().find(|change| change.time == at).map(|change| change.text.clone());
        slots.push(Slot { from: at, to: next, label: local.strftime(format).to_string(), change });
        at = next;
    }
    slots
}

/// Relation of an hour of the clock to a clock change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hour {
    /// The hour occurs once.
    Normal,
    /// The clock skips the hour or a part of it.
    Skipped,
    /// The clock shows the hour or a part of it twice.
    Repeated,
}

/// Returns how often an hour of the clock occurs.
pub(super) fn hour(date: Date, hour: i8, zone: &TimeZone) -> Hour {
    let minutes = [0, 15, 30, 45].map(|minute| zone.to_ambiguous_timestamp(date.at(hour, minute, 0, 0)).offset());
    if minutes.iter().any(|offset| matches!(offset, jiff::tz::AmbiguousOffset::Gap { .. })) {
        return Hour::Skipped;
    }
    let is_repeated = minutes.iter().any(|offset| matches!(offset, jiff::tz::AmbiguousOffset::Fold { .. }));
    if is_repeated { Hour::Repeated } else { Hour::Normal }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn of(zone: &str, day: Date) -> (usize, Vec<String>) {
        let zone = TimeZone::get(zone).unwrap();
        let slots = slots(day, &zone);
        assert!(slots.windows(2).all(|pair| pair[0].to == pair[1].from && pair[0].from < pair[0].to));
        (slots.len(), clock_changes(day, &zone).into_iter().map(|change| change.text).collect())
    }

    #[test]
    fn day_has_its_hours() {
        assert_eq!(of("Europe/Berlin", date(2026, 3, 28)), (24, vec![]));
        assert_eq!(of("Europe/Berlin", date(2026, 3, 29)), (23, vec!["02:00 CET becomes 03:00 CEST".to_owned()]));
        assert_eq!(of("Europe/Berlin", date(2026, 10, 25)), (25, vec!["03:00 CEST becomes 02:00 CET".to_owned()]));
        // Half an hour.
        assert_eq!(of("Australia/Lord_Howe", date(2026, 4, 5)), (25, vec!["02:00 +11 becomes 01:30 +1030".to_owned()]));
        // A change at midnight, and a day that does not exist.
        assert_eq!(of("America/Sao_Paulo", date(2018, 11, 4)), (23, vec!["00:00 -03 becomes 01:00 -02".to_owned()]));
        assert!(of("Pacific/Apia", date(2011, 12, 30)).0 <= 1);
    }

    #[test]
    fn hour_of_the_clock_is_skipped_or_repeated() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!([1, 2, 3].map(|at| hour(date(2026, 3, 29), at, &zone)), [Hour::Normal, Hour::Skipped, Hour::Normal]);
        assert_eq!(
            [1, 2, 3].map(|at| hour(date(2026, 10, 25), at, &zone)),
            [Hour::Normal, Hour::Repeated, Hour::Normal]
        );
        let zone = TimeZone::get("Australia/Lord_Howe").unwrap();
        assert_eq!(hour(date(2026, 4, 5), 1, &zone), Hour::Repeated);
    }
}
