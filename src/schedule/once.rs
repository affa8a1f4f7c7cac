//! Events that are recorded once for each object instead of at each sync.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::runtime::events::EventText;
use crate::runtime::identity::Uid;
use crate::runtime::maps::FastMap;

/// Reason of the Warning event that the name of the Job to create belongs to a Job of another owner.
pub const NAME_TAKEN: &str = "NameTaken";
/// Reason of the Warning event that `status.lastScheduleTime` is later than now.
pub const SCHEDULE_TIME_IN_FUTURE: &str = "ScheduleTimeInFuture";

const ONCE: [&str; 2] = [NAME_TAKEN, SCHEDULE_TIME_IN_FUTURE];

/// Last message of each event that is recorded once, by object.
#[derive(Debug, Default)]
pub struct Once {
    last: Mutex<FastMap<Uid, HashMap<&'static str, String>>>,
}

impl Once {
    /// Returns whether to record this event. An event with one of the reasons above is recorded only if its message
    /// differs from the last one of this object. All other events are recorded each time.
    pub fn is_new(&self, uid: &Uid, event: &EventText) -> bool {
        let Some(reason) = ONCE.into_iter().find(|reason| *reason == event.reason) else { return true };
        let mut last = self.last.lock();
        let before = last.entry(uid.clone()).or_default().insert(reason, event.message.clone());
        before.as_ref() != Some(&event.message)
    }

    /// Forgets an object that was deleted.
    pub fn forget(&self, uid: &Uid) {
        self.last.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_warning_is_recorded_once_for_each_object() {
        let once = Once::default();
        let taken = |job: &str| EventText::warning(NAME_TAKEN, format!("Job {job} exists"));
        let (one, two): (Uid, Uid) = ("one".to_owned().into(), "two".to_owned().into());
        assert!(once.is_new(&one, &taken("a")) && !once.is_new(&one, &taken("a")));
        assert!(once.is_new(&two, &taken("a")));
        assert!(once.is_new(&one, &taken("b")) && !once.is_new(&one, &taken("b")));
        let other = EventText::normal("SuccessfulCreate", "Created job a");
        assert!(
            once.is_new(&one, &other) && once.is_new(&one, &other),
            "events with other reasons are recorded each time"
        );
        once.forget(&one);
        assert!(once.is_new(&one, &taken("b")));
    }
}
