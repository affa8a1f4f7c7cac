//! Warning events of an object and of its pods: the newest of each kind, with the number of repetitions.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;

use super::explanation::Hint;
use super::span;
use crate::client::suggest::Suggestions;

/// Time for which a refusal is assumed to continue after its last event: a refusal that continues records an event at
/// least every five minutes.
const REFUSAL_LASTS: SignedDuration = SignedDuration::from_mins(6);
/// Maximum number of different warnings that an explanation lists.
const MAX_SHOWN: usize = 5;

/// Returns the time at which an event was last observed.
pub(crate) fn seen_at(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let event_time = event.event_time.as_ref().map(|time| time.0);
    series.or_else(|| event.last_timestamp.as_ref().map(|time| time.0)).or(event_time)
}

/// Returns whether an event is recent enough that its cause probably continues.
pub(crate) fn is_recent(event: &Event, now: Timestamp) -> bool {
    seen_at(event).is_some_and(|at| now.duration_since(at) < REFUSAL_LASTS)
}

/// Returns the message of the newest warning with one of these reasons, if the warning is recent enough that the
/// refusal probably continues.
pub(crate) fn refusal<'a>(events: &'a [Event], reasons: &[&str], now: Timestamp) -> Option<&'a str> {
    let has_reason = |event: &&Event| event.reason.as_deref().is_some_and(|reason| reasons.contains(&reason));
    events.iter().filter(|event| is_recent(event, now)).find(has_reason)?.message.as_deref()
}

/// Returns a hint at the admission policy or webhook that refuses the writes, if the events name one.
pub(crate) fn policy_hint(events: &[Event], suggest: &Suggestions) -> Option<Hint> {
    let has =
        |text: &str| events.iter().any(|event| event.message.as_deref().is_some_and(|message| message.contains(text)));
    let (purpose, kinds) = if has("AdmissionPolicy") || has("admission policy") {
        let kinds = "validatingadmissionpolicies,mutatingadmissionpolicies,mutatingwebhookconfigurations";
        ("list the policies, and change the one that is named above", kinds)
    } else if has("webhook") {
        let kinds = "validatingwebhookconfigurations,mutatingwebhookconfigurations";
        ("list the webhooks, and fix the one that is named above", kinds)
    } else if has("exceeded quota") {
        return Some(Hint::new("see the quota", suggest.kubectl("describe resourcequota")));
    } else {
        return None;
    };
    Some(Hint::new(purpose, suggest.kubectl_elsewhere(&format!("get {kinds}"))))
}

/// Formats the newest warnings: age, reason and message of each. Warnings that differ in the generated names of pods only
/// are one warning.
pub(crate) fn lines<'a>(events: impl IntoIterator<Item = &'a Event>, owner: &str, now: Timestamp) -> Vec<String> {
    let mut groups: Vec<(String, &Event, i32, Option<Timestamp>)> = Vec::new();
    for event in events {
        let (reason, message) =
            (event.reason.as_deref().unwrap_or_default(), event.message.as_deref().unwrap_or_default());
        let key = format!("{reason}: {}", without_generated_names(message, owner));
        let count = event.series.as_ref().and_then(|series| series.count).or(event.count).unwrap_or(1).max(1);
        let first = event.first_timestamp.as_ref().map(|time| time.0);
        let first = first.or_else(|| event.event_time.as_ref().map(|time| time.0)).or_else(|| seen_at(event));
        match groups.iter_mut().find(|(known, ..)| *known == key) {
            Some((_, _, total, oldest)) => {
                *total = total.saturating_add(count);
                *oldest = [*oldest, first].into_iter().flatten().min();
            }
            None => groups.push((key, event, count, first)),
        }
    }
    let more = groups.len().saturating_sub(MAX_SHOWN);
    let format = |(_, event, count, first): &(String, &Event, i32, Option<Timestamp>)| {
        let ago = seen_at(event).map_or_else(String::new, |at| format!(" {} ago", span(at, now)));
        let times = match (count, first) {
            (1, _) => String::new(),
            (count, Some(first)) => format!(" ({count} times in {})", span(*first, now)),
            (count, None) => format!(" ({count} times)"),
        };
        let (reason, message) =
            (event.reason.as_deref().unwrap_or_default(), event.message.as_deref().unwrap_or_default());
        format!("Warning{ago}: {reason}: {message}{times}")
    };
    let mut lines: Vec<String> = groups.iter().take(MAX_SHOWN).map(format).collect();
    if more > 0 {
        lines.push(format!("{more} more kinds of warnings are left out."));
    }
    lines
}

/// Replaces the generated end of each name that begins with `owner` and a hyphen by `*`.
fn without_generated_names(message: &str, owner: &str) -> String {
    let prefix = format!("{owner}-");
    let mut text = String::new();
    let mut rest = message;
    while let Some((before, after)) = rest.split_once(&prefix) {
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(after.len());
        text += before;
        text += &prefix;
        text.push('*');
        rest = &after[end..];
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(reason: &str, message: &str, at: &str, count: i32) -> Event {
        serde_json::from_value(json!({
            "metadata": {}, "involvedObject": {}, "type": "Warning", "reason": reason, "message": message, "count": count,
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": at,
        }))
        .unwrap()
    }

    #[test]
    fn repeated_warnings_are_one_line_with_their_number() {
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        let refused = |pod: &str| format!("Error creating: pods \"two-{pod}\" is forbidden: exceeded quota: q");
        let events = [
            event("FailedCreate", &refused("stvv8"), "2026-01-01T00:04:00Z", 1),
            event("FailedCreate", &refused("x2b4q"), "2026-01-01T00:03:00Z", 3),
            event("Other", "once", "2026-01-01T00:01:00Z", 1),
        ];
        assert_eq!(
            lines(&events, "two", now),
            [
                "Warning 1 min ago: FailedCreate: Error creating: pods \"two-stvv8\" is forbidden: exceeded quota: q (4 times in 5 min)",
                "Warning 4 min ago: Other: once",
            ]
        );
        let hint = policy_hint(&events, &Suggestions::default()).unwrap();
        assert_eq!(hint.command.as_deref(), Some("kubectl describe resourcequota"));
    }

    #[test]
    fn refusal_is_recent() {
        let events = [event("FailedCreate", "no", "2026-01-01T00:04:00Z", 1)];
        let at = |text: &str| text.parse().unwrap();
        assert_eq!(refusal(&events, &["FailedCreate"], at("2026-01-01T00:05:00Z")), Some("no"));
        assert_eq!(refusal(&events, &["FailedCreate"], at("2026-01-01T00:15:00Z")), None);
        assert_eq!(refusal(&events, &["FailedDelete"], at("2026-01-01T00:05:00Z")), None);
    }
}
