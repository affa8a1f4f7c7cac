//! The changes of the caches that an open page reacts to.
//!
//! A page is rendered again only after a change of objects that its user is allowed to see. If a change elsewhere rendered it
//! again, the ages in it would differ, and the event would reveal the activity of another tenant.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Caches;
use crate::runtime::identity::{ResourceVersion, Uid};
use crate::ui::access::Allowed;

/// Cached objects from which a page was rendered.
#[derive(Clone, Debug)]
pub enum Interest {
    /// All objects of a resource in the namespaces of the user.
    Objects {
        /// Plural name of the resource.
        resource: &'static str,
        /// Namespaces that the user is allowed to see.
        allowed: Allowed,
    },
    /// One Job that was read with the permissions of the user.
    Job {
        /// UID of the Job.
        uid: Uid,
        /// Version that was read.
        seen: ResourceVersion,
    },
}

/// Number of the last change in each namespace.
#[derive(Default)]
pub(super) struct ChangeLog {
    namespaces: Mutex<HashMap<Arc<str>, u64>>,
    everywhere: Mutex<u64>,
}

impl ChangeLog {
    pub(super) fn of_namespace(&self, namespace: &Arc<str>, number: u64) {
        self.namespaces.lock().insert(namespace.clone(), number);
    }

    /// Records a change that concerns all users, such as that the cache is complete.
    pub(super) fn everywhere(&self, number: u64) {
        *self.everywhere.lock() = number;
    }

    fn has_changed(&self, allowed: &Allowed, since: u64) -> bool {
        let namespaces = self.namespaces.lock();
        let seen = |(namespace, number): (&Arc<str>, &u64)| *number > since && allowed.contains(namespace);
        *self.everywhere.lock() > since || namespaces.iter().any(seen)
    }
}

impl Caches {
    /// Returns whether objects have changed after this number of a change.
    pub fn has_changed(&self, interests: &[Interest], since: u64) -> bool {
        interests.iter().any(|interest| match interest {
            Interest::Objects { resource, allowed } => {
                let log = match *resource {
                    "jobs" => &self.jobs.log,
                    "cronjobs" => &self.cron_jobs.log,
                    "jobschedules" => &self.job_schedules.log,
                    "calendars" => &self.calendars.log,
                    _ => &self.job_limits.log,
                };
                log.has_changed(allowed, since)
            }
            Interest::Job { uid, seen } => {
                self.jobs.cache.get(uid).is_some_and(|job| job.identity.resource_version > *seen)
            }
        })
    }
}
