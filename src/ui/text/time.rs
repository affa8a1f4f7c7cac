//! Times and durations.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

/// Returns a duration as `kubectl get` prints it, in one or two units: `90s`, `5m30s`, `125m`, `3h5m`, `30h`, `3d4h`.
///
/// The limits are those of `HumanDuration` in `k8s.io/apimachinery`. A negative duration is zero.
pub fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let (minutes, hours, days, years) = (seconds / 60, seconds / 3600, seconds / 86_400, seconds / (86_400 * 365));
    let two = |large: i64, large_unit: char, small: i64, small_unit: char| match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit}{small}{small_unit}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(years, 'y', days % 365, 'd'),
        _ => format!("{years}y"),
    }
}

/// Returns a duration with its value in seconds for programs: `<time datetime="PT90S">90s</time>`.
pub fn duration_markup(length: SignedDuration) -> Markup {
    html! { time datetime=(format_args!("PT{}S", length.as_secs().max(0))) { (duration(length)) } }
}

/// Returns the distance from a time to now, such as `5m30s ago` or `in 30h`.
pub fn ago(time: Timestamp, now: Timestamp) -> String {
    let past = now.duration_since(time);
    match past.as_secs() {
        0 => "now".to_owned(),
        1.. => format!("{} ago", duration(past)),
        _ => format!("in {}", duration(-past)),
    }
}

/// Returns the distance from a time to now. The attribute `title` has the time in this zone.
pub fn relative_time(time: Timestamp, now: Timestamp, zone: &TimeZone) -> Markup {
    html! { time datetime=(machine(time)) title=(exact(time, zone)) { (ago(time, now)) } }
}

/// Returns the time in a zone, such as `2026-03-29 03:00:00 CEST`.
pub fn exact(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// Returns the time for programs, in whole seconds of UTC.
pub(in crate::ui) fn machine(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn duration_is_printed_as_by_kubectl() {
        const MINUTE: i64 = 60;
        const HOUR: i64 = 3600;
        const DAY: i64 = 86_400;
        // The table of the tests of k8s.io/apimachinery/pkg/util/duration, with the limits of each range.
        let cases = [
            (-5, "0s"),
            (0, "0s"),
            (1, "1s"),
            (119, "119s"),
            (120, "2m"),
            (123, "2m3s"),
            (599, "9m59s"),
            (600, "10m"),
            (179 * MINUTE + 59, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 5 * MINUTE, "3h5m"),
            (8 * HOUR - 1, "7h59m"),
            (8 * HOUR, "8h"),
            (48 * HOUR - 1, "47h"),
            (2 * DAY, "2d"),
            (3 * DAY + 4 * HOUR, "3d4h"),
            (8 * DAY - 1, "7d23h"),
            (8 * DAY, "8d"),
            (2 * 365 * DAY - 1, "729d"),
            (2 * 365 * DAY, "2y"),
            (2 * 365 * DAY + DAY, "2y1d"),
            (8 * 365 * DAY - 1, "7y364d"),
            (8 * 365 * DAY, "8y"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(SignedDuration::from_secs(seconds)), expected, "{seconds}");
        }
        assert_eq!(duration(SignedDuration::MAX), "292471208677y");
        assert_eq!(
            duration_markup(SignedDuration::from_secs(125)).into_string(),
            "<time datetime=\"PT125S\">2m5s</time>"
        );
    }

    #[test]
    fn relative_time_names_the_direction_and_the_exact_time() {
        let now = at("2026-03-29T01:00:00Z");
        assert_eq!(ago(at("2026-03-29T00:59:55.5Z"), now), "4s ago");
        assert_eq!(ago(at("2026-03-29T01:02:00Z"), now), "in 2m");
        assert_eq!(ago(at("2026-03-29T01:00:00.9Z"), now), "now");
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(
            relative_time(at("2026-03-29T00:59:00.123Z"), now, &zone).into_string(),
            "<time datetime=\"2026-03-29T00:59:00Z\" title=\"2026-03-29 01:59:00 CET\">59s ago</time>"
        );
        assert_eq!(ago(Timestamp::MIN, Timestamp::MAX), "20012y ago");
    }
}
