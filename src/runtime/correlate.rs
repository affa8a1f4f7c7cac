//! Aggregation of events: which Event object records an event, and whether the event is written at all.
//!
//! The rules are those of client-go's `EventCorrelator`: identical events increment the count of one object; once ten
//! different messages with one reason about one object arrive within ten minutes of each other, further ones are
//! combined into one object; and each object has a budget of 25 writes, refilled by one every five minutes. There are two
//! differences: the budget is one for each reason, so that the events of many pods cannot use up the budget for the end
//! of their Job, and repetitions leave a part of it to new messages, so that a new cause is reported.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use super::events::{EventText, EventType};
use super::identity::Uid;
use super::lru::Lru;

/// Maximum number of entries in each of the three memories: groups, series and budgets.
pub const REMEMBERED: usize = 4096;
/// Maximum time between two messages that are combined.
const SIMILAR_WITHIN: Duration = Duration::from_secs(600);
/// Number of different messages in a group from which on further ones are combined.
const SIMILAR: usize = 10;
/// Maximum number of writes for one reason about one object in quick succession.
const BURST: f64 = 25.0;
/// Part of the budget that only new messages may use. One object has at most ten of them within ten minutes.
const RESERVED: f64 = 10.0;
/// Time after which the budget allows one more write.
const REFILL: Duration = Duration::from_secs(300);
/// Prefix of the message of a combined event.
const COMBINED: &str = "(combined from similar events): ";

/// Group of events about one object with one type and one reason.
type Group = (Uid, EventType, Cow<'static, str>);

/// Events that one Event object records: one message of a group, by its hash, or all combined ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Series {
    group: Group,
    message: Option<u64>,
}

/// Event to write.
#[derive(Debug, PartialEq, Eq)]
pub struct Observed {
    /// Series of the event, which determines the Event object.
    pub series: Series,
    /// Message to store.
    pub message: String,
    /// Number of events observed in the series.
    pub count: u64,
    /// Name of the Event object, if it was created before.
    pub name: Option<String>,
}

/// Different messages of one group, by their hashes.
struct Similar {
    messages: HashSet<u64>,
    last: Instant,
}

#[derive(Default)]
struct Recorded {
    count: u64,
    name: Option<String>,
}

struct Budget {
    left: f64,
    refilled: Instant,
}

/// Memory of the events observed so far.
pub struct Correlator {
    hasher: RandomState,
    similar: Lru<Group, Similar>,
    recorded: Lru<Series, Recorded>,
    budgets: Lru<Group, Budget>,
}

impl Default for Correlator {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            similar: Lru::new(REMEMBERED),
            recorded: Lru::new(REMEMBERED),
            budgets: Lru::new(REMEMBERED),
        }
    }
}

impl Correlator {
    /// Records an event and returns what to write, or `None` if the budget is used up.
    pub fn observe(&mut self, about: &Uid, text: &EventText, now: Instant) -> Option<Observed> {
        let group: Group = (about.clone(), text.type_, text.reason.clone());
        let hash = self.hasher.hash_one(&text.message);
        let similar = self.similar.entry(&group, || Similar { messages: HashSet::new(), last: now });
        if now.duration_since(similar.last) > SIMILAR_WITHIN {
            similar.messages.clear();
        }
        similar.last = now;
        let is_combined = similar.messages.len() + 1 >= SIMILAR && !similar.messages.contains(&hash);
        if !is_combined {
            similar.messages.insert(hash);
        }
        let series = Series { group: group.clone(), message: (!is_combined).then_some(hash) };
        let recorded = self.recorded.entry(&series, Recorded::default);
        recorded.count += 1;
        let (count, name) = (recorded.count, recorded.name.clone());
        let budget = self.budgets.entry(&group, || Budget { left: BURST, refilled: now });
        let refill = now.duration_since(budget.refilled).as_secs_f64() / REFILL.as_secs_f64();
        (budget.left, budget.refilled) = ((budget.left + refill).min(BURST), now);
        let reserved = if name.is_some() { RESERVED } else { 0.0 };
        if budget.left < 1.0 + reserved {
            return None;
        }
        budget.left -= 1.0;
        let message = if is_combined { format!("{COMBINED}{}", text.message) } else { text.message.clone() };
        Some(Observed { series, message, count, name })
    }

    /// Stores the name of the Event object that records a series.
    pub fn created(&mut self, series: &Series, name: String) {
        if let Some(recorded) = self.recorded.peek_mut(series) {
            recorded.name = Some(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(message: &str) -> EventText {
        EventText::warning("FailedCreate", message)
    }

    /// Observes an event and records its Event object, as after a successful write to the API server.
    fn write(correlator: &mut Correlator, about: &str, text: &EventText, now: Instant) -> Option<(String, u64, bool)> {
        let observed = correlator.observe(&about.into(), text, now)?;
        let is_new = observed.name.is_none();
        if is_new {
            correlator.created(&observed.series, format!("{about}.{}", observed.count));
        }
        Some((observed.message, observed.count, is_new))
    }

    #[test]
    fn identical_events_increment_the_count_of_one_object() {
        let (mut correlator, now) = (Correlator::default(), Instant::now());
        for count in 1..=15 {
            let written = write(&mut correlator, "job", &text("refused"), now);
            assert_eq!(written, Some(("refused".to_owned(), count, count == 1)));
        }
        let other = write(&mut correlator, "other", &text("refused"), now);
        assert_eq!(other, Some(("refused".to_owned(), 1, true)), "another object has its own Event object");
    }

    #[test]
    fn similar_events_are_combined_from_the_tenth_message_on() {
        let (mut correlator, now) = (Correlator::default(), Instant::now());
        let mut next = |number: usize, now| write(&mut correlator, "job", &text(&format!("pod {number}")), now);
        for number in 1..10 {
            assert_eq!(next(number, now), Some((format!("pod {number}"), 1, true)));
        }
        for (count, number) in (10..13).enumerate() {
            let message = format!("(combined from similar events): pod {number}");
            assert_eq!(next(number, now), Some((message, count as u64 + 1, count == 0)));
        }
        assert_eq!(next(3, now), Some(("pod 3".to_owned(), 2, false)), "a message that has an Event object keeps it");
        let later = now + SIMILAR_WITHIN + Duration::from_secs(1);
        assert_eq!(next(99, later), Some(("pod 99".to_owned(), 1, true)));
    }

    #[test]
    fn after_15_repetitions_one_is_allowed_every_five_minutes_and_the_count_stays_correct() {
        let (mut correlator, now) = (Correlator::default(), Instant::now());
        let written = (0..500).filter(|_| write(&mut correlator, "job", &text("refused"), now).is_some()).count();
        assert_eq!(written, 15);
        let later = now + REFILL;
        assert_eq!(write(&mut correlator, "job", &text("refused"), later), Some(("refused".to_owned(), 501, false)));
        assert_eq!(write(&mut correlator, "job", &text("refused"), later), None);
        let end = EventText::normal("Completed", "Job completed");
        assert!(write(&mut correlator, "job", &end, later).is_some(), "another reason has its own budget");
    }

    #[test]
    fn new_messages_are_written_after_any_number_of_repetitions() {
        let (mut correlator, now) = (Correlator::default(), Instant::now());
        for _ in 0..500 {
            write(&mut correlator, "job", &text("pod 0"), now);
        }
        let written =
            (1..500).filter(|number| write(&mut correlator, "job", &text(&format!("pod {number}")), now).is_some());
        assert_eq!(written.count(), 9, "eight messages and the combined one");
    }

    proptest! {
        /// For any sequence of events, the number of Event objects is bounded and the writes stay within the budget.
        #[test]
        fn any_sequence_of_events_stays_within_bounds(events in prop::collection::vec((0_u32..3, 0_u32..30, 0_u64..400), 1..400)) {
            let mut correlator = Correlator::default();
            let start = Instant::now();
            let (mut elapsed, mut created, mut writes) = (0, [0_u32; 3], [0_u32; 3]);
            for (about, message, wait) in events {
                // Most events follow each other in quick succession.
                elapsed += if wait > 390 { wait } else { 0 };
                let now = start + Duration::from_secs(elapsed);
                let written = write(&mut correlator, &format!("job-{about}"), &text(&format!("pod {message}")), now);
                if let Some((_, _, is_new)) = written {
                    writes[about as usize] += 1;
                    created[about as usize] += u32::from(is_new);
                }
            }
            for (writes, created) in writes.into_iter().zip(created) {
                let allowed = 25 + elapsed / REFILL.as_secs();
                prop_assert!(u64::from(writes) <= allowed, "{writes} writes in {elapsed} s");
                prop_assert!(u64::from(created) <= 10 * (1 + elapsed / SIMILAR_WITHIN.as_secs()) + 9);
            }
        }
    }

    #[test]
    fn memory_is_bounded_for_any_number_of_objects() {
        let (mut correlator, now) = (Correlator::default(), Instant::now());
        for number in 0..3 * REMEMBERED {
            write(&mut correlator, &format!("job-{number}"), &text("refused"), now);
        }
        assert_eq!([correlator.similar.len(), correlator.recorded.len(), correlator.budgets.len()], [REMEMBERED; 3]);
    }
}
