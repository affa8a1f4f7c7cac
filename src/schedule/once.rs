//! Events that are recorded once and not at each sync.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::runtime::events::EventText;
use crate::runtime::identity::Uid;

/// Warning event: the name of the Job to create belongs to a Job of another owner.
pub const NAME_TAKEN: &str = "NameTaken";
/// Warning event: `status.lastScheduleTime` is later than now.
pub const SCHEDULE_TIME_IN_FUTURE: &str = "ScheduleTimeInFuture";

const ONCE: [&str; 2] = [NAME_TAKEN, SCHEDULE_TIME_IN_FUTURE];

/// The last message of each event that is recorded once, by object.
#[derive(Debug, Default)]
pub struct Once {
    last: Mutex<HashMap<Uid, HashMap<&'static str, String>>>,
}

impl Once {
    /// Returns whether this event is to be recorded: it says something that was not recorded of this object before, or it is
    /// of a kind that is recorded each time.
    pub fn is_new(&self, uid: &Uid, event: &EventText) -> bool {
        let Some(reason) = ONCE.into_iter().find(|reason| *reason == event.reason) else { return true };
        let mut last = self.last.lock();
        let before = last.entry(uid.clone()).or_default().insert(reason, event.message.clone());
        before.as_ref() != Some(&event.message)
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &Uid) {
        self.last.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_warning_is_recorded_once_for_each_object() {
        let once = Once::default();
        let taken = |job: &str| EventText::warning(NAME_TAKEN, format!("Job {job} exists"));
        let (one, two): (Uid, Uid) = ("one".to_owned().into(), "two".to_owned().into());
        assert!(once.is_new(&one, &taken("a")) && !once.is_new(&one, &taken("a")));
        assert!(once.is_new(&two, &taken("a")));
        assert!(once.is_new(&one, &taken("b")) && !once.is_new(&one, &taken("b")));
        let other = EventText::normal("SuccessfulCreate", "Created job a");
        assert!(once.is_new(&one, &other) && once.is_new(&one, &other), "all others are recorded each time");
        once.forget(&one);
        assert!(once.is_new(&one, &taken("b")));
    }
}
