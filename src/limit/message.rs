//! Messages about the reason why a Job waits, for its annotation, its event and `jobwright explain`.

use super::admission::{AdmissionState, Admissions, Entry, Usage};
use crate::job::admission::{PublishedWaiting, Reason, WaitingStatus};
use crate::runtime::identity::Uid;

/// Maximum number of admitted Jobs that a message names.
const NAMED: usize = 3;

impl Admissions {
    /// Returns what a Job waits for; none if it does not wait. If the annotation of the Job is up to date, the result
    /// repeats the annotation without a message. No write is needed in this case, and the exact position would have to
    /// be counted.
    pub fn waiting_status(&self, uid: &Uid) -> Option<WaitingStatus> {
        let entry = self.pending_entry(uid)?;
        match &entry.workload.published {
            Some(published) if !self.is_publication_outdated(entry) => {
                let PublishedWaiting { limit, position, reason, message } = published.clone();
                Some(WaitingStatus { limit, position, reason, message })
            }
            _ => Some(self.describe(entry)),
        }
    }

    /// Returns what a Job waits for, with its exact position and a message; none if it does not wait.
    pub fn describe_waiting_status(&self, uid: &Uid) -> Option<WaitingStatus> {
        self.pending_entry(uid).map(|entry| self.describe(entry))
    }

    /// Returns what the Jobs of a limit use, and the names of the Jobs that use it; none if there is no such limit.
    pub fn usage_of(&self, limit: &str) -> Option<(Usage, Vec<&str>)> {
        let limit = self.limits().find(|one| &*one.view.identity.name == limit)?;
        Some((limit.used, limit.users.iter().map(|key| &*key.2).collect()))
    }

    fn pending_entry(&self, uid: &Uid) -> Option<&Entry> {
        self.entry(uid).filter(|entry| !matches!(entry.state, AdmissionState::Unlimited | AdmissionState::Admitted))
    }

    fn describe(&self, entry: &Entry) -> WaitingStatus {
        let (at, reason) = self.reason(entry);
        let position = if reason.is_queue() { self.position(&entry.queue_key(), at) } else { 0 };
        let limit = self.limit(at).view.identity.name.to_string();
        let need = pods(entry.workload.need);
        let max = |count: Option<usize>| count.unwrap_or_default();
        let message = match reason {
            Reason::NoPods => format!("is not admitted by JobLimit {limit} while spec.parallelism is 0"),
            Reason::TooLarge => format!(
                "needs {need}, but JobLimit {limit} allows {}: lower spec.parallelism, or raise spec.maxActivePods of the limit",
                max(self.limit(at).view.pods)
            ),
            // No limit has the reason After.
            Reason::Queue | Reason::After => self.queued(entry, at, position),
            Reason::Group => {
                let text = self.queued(entry, at, position);
                let all = self.group_exceeds(entry, at).unwrap_or_default();
                let view = &self.limit(at).view;
                let exceeded = match view.jobs.filter(|max| all.jobs > *max) {
                    Some(max) => format!("{} Jobs, but the limit allows {max}", all.jobs),
                    None => format!("{}, but the limit allows {}", pods(all.pods), max(view.pods)),
                };
                let group = entry.workload.group.as_deref().unwrap_or_default();
                format!("{text}. The Jobs of {group} may wait for each other forever: they need {exceeded}")
            }
        };
        WaitingStatus { limit, position, reason, message }
    }

    fn queued(&self, entry: &Entry, at: usize, position: usize) -> String {
        let limit = self.limit(at);
        let jobs = limit.view.jobs.map(|max| format!("{} of {max} Jobs", limit.used.jobs));
        let used = limit.view.pods.map(|max| format!("{} of {max} pods", limit.used.pods));
        let used: Vec<String> = [jobs, used].into_iter().flatten().collect();
        let used = used.join(" and ");
        let name = &limit.view.identity.name;
        let users: Vec<&str> = limit.users.iter().map(|key| &*key.2).take(NAMED).collect();
        let by = match limit.users.len() {
            0 => String::new(),
            all if all > NAMED => format!(" by {} and {} more", users.join(", "), all - NAMED),
            _ => format!(" by {}", users.join(", ")),
        };
        let need = match (limit.view.pods, entry.workload.need) {
            (Some(_), need) if need > 1 => format!(", {} needed", pods(need)),
            _ => String::new(),
        };
        format!("position {position} at JobLimit {name}: {used} in use{by}{need}")
    }
}

fn pods(count: usize) -> String {
    if count == 1 { "1 pod".to_owned() } else { format!("{count} pods") }
}
