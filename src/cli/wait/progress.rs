//! What `jobwright wait` waits for: the Jobs that were selected at its start, and which of them have finished.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

use crate::client::cluster::end;
use crate::client::explain::cause::{Finding, State};
use crate::client::one_line::one_line;

/// Outcome of one Job.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// The Job is unfinished. Holds the last printed state.
    Unfinished(Option<String>),
    Complete,
    Failed,
    /// The Job was deleted before it finished.
    Deleted,
}

/// Job that the command waits for.
#[derive(Clone, Debug)]
struct Target {
    /// Name as it is printed: with the namespace if Jobs of several namespaces are waited for.
    label: String,
    outcome: Outcome,
}

/// Jobs that the command waits for, by UID.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(BTreeMap<String, Target>);

/// Result of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All Jobs are complete.
    Complete,
    /// All Jobs are finished, and at least one has failed.
    Failed,
    /// All Jobs are finished or deleted, and at least one was deleted before it finished.
    Deleted,
}

impl Verdict {
    /// Returns the exit code of the command.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Failed => 1,
            Self::Deleted => super::ERROR,
        }
    }
}

impl Progress {
    /// Returns the progress of these Jobs, none of which is known to be finished yet.
    pub(super) fn new(jobs: &[Job], namespaces: bool) -> Self {
        let target = |job: &Job| {
            let (name, namespace) = (job.name_any(), job.namespace().unwrap_or_default());
            let label = if namespaces { format!("{namespace}/job/{name}") } else { format!("job/{name}") };
            Some((job.uid()?, Target { label, outcome: Outcome::Unfinished(None) }))
        };
        Self(jobs.iter().filter_map(target).collect())
    }

    /// Takes the current state of a Job. Returns the line to print if the Job has finished.
    pub(super) fn observe(&mut self, job: &Job, now: Timestamp) -> Option<String> {
        let target = self.0.get_mut(&job.uid()?)?;
        let status = job.status.as_ref()?;
        let end = end(status).filter(|_| matches!(target.outcome, Outcome::Unfinished(_)))?;
        let complete = end.type_ == "Complete";
        target.outcome = if complete { Outcome::Complete } else { Outcome::Failed };
        let started = status.start_time.as_ref().map(|time| time.0);
        let ended = end.last_transition_time.as_ref().map_or(now, |time| time.0);
        let took = started
            .map_or_else(String::new, |started| format!(" after {}", crate::client::explain::span(started, ended)));
        let (what, why) = if complete {
            ("complete", String::new())
        } else {
            let [reason, message] = [&end.reason, &end.message].map(|text| text.clone().unwrap_or_default());
            ("failed", format!(": {}", one_line(&format!("{reason}: {message}"))))
        };
        Some(format!("{} {what}{took}{why}", target.label))
    }

    /// Takes the deletion of a Job. Returns the line to print if the Job was unfinished.
    pub(super) fn deleted(&mut self, uid: &str) -> Option<String> {
        let target = self.0.get_mut(uid).filter(|target| matches!(target.outcome, Outcome::Unfinished(_)))?;
        target.outcome = Outcome::Deleted;
        Some(format!("{} was deleted before it finished", target.label))
    }

    /// Takes the state of an unfinished Job and its cause. Returns the line to print if the state has changed.
    pub(super) fn explain(&mut self, uid: &str, finding: &Finding) -> Option<String> {
        let target = self.0.get_mut(uid)?;
        let Outcome::Unfinished(last) = &mut target.outcome else { return None };
        if matches!(finding.state, State::Complete | State::Failed) {
            return None;
        }
        let line = match finding.state {
            State::Running => format!("{}: {}", target.label, finding.cause),
            state => format!("{} is {}: {}", target.label, state.word().to_lowercase(), finding.cause),
        };
        if last.as_deref() == Some(&line) {
            return None;
        }
        *last = Some(line.clone());
        Some(line)
    }

    /// Returns the labels of the unfinished Jobs.
    pub(super) fn unfinished(&self) -> Vec<&str> {
        let unfinished = |target: &&Target| matches!(target.outcome, Outcome::Unfinished(_));
        self.0.values().filter(unfinished).map(|target| target.label.as_str()).collect()
    }

    /// Returns the UIDs of the Jobs that are not among these, and that are unfinished.
    pub(super) fn missing(&self, present: &[Job]) -> Vec<String> {
        let present: Vec<String> = present.iter().filter_map(ResourceExt::uid).collect();
        let unfinished = |(_, target): &(&String, &Target)| matches!(target.outcome, Outcome::Unfinished(_));
        self.0.iter().filter(unfinished).map(|(uid, _)| uid.clone()).filter(|uid| !present.contains(uid)).collect()
    }

    /// Returns the result once no Job is unfinished.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        if !self.unfinished().is_empty() {
            return None;
        }
        let any = |outcome: &Outcome| self.0.values().any(|target| target.outcome == *outcome);
        Some(match (any(&Outcome::Deleted), any(&Outcome::Failed)) {
            (true, _) => Verdict::Deleted,
            (_, true) => Verdict::Failed,
            _ => Verdict::Complete,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(name: &str, conditions: Value) -> Job {
        let status = json!({"startTime": "2026-01-01T00:00:00Z", "conditions": conditions});
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n", "uid": name}, "status": status}))
            .unwrap()
    }

    fn ended(name: &str, type_: &str) -> Job {
        let end = json!({"type": type_, "status": "True", "reason": "R", "message": "no\nmore", "lastTransitionTime": "2026-01-01T00:01:05Z"});
        job(name, json!([end]))
    }

    #[test]
    fn verdict_is_given_once_every_job_has_finished() {
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let start = Progress::new(&[job("a", json!([])), job("b", json!([]))], false);
        assert_eq!((start.verdict(), start.unfinished()), (None, vec!["job/a", "job/b"]));
        let mut both = start.clone();
        assert_eq!(both.observe(&job("a", json!([])), now), None);
        assert_eq!(both.observe(&ended("a", "Complete"), now).unwrap(), "job/a complete after 1 min 5 s");
        assert_eq!(both.observe(&ended("a", "Complete"), now), None, "a Job is reported once");
        assert_eq!(both.observe(&ended("other", "Complete"), now), None);
        assert_eq!(both.verdict(), None);
        let mut failed = both.clone();
        assert_eq!(failed.observe(&ended("b", "Failed"), now).unwrap(), "job/b failed after 1 min 5 s: R: no more");
        assert_eq!(failed.verdict().map(Verdict::code), Some(1));
        let mut complete = both.clone();
        complete.observe(&ended("b", "Complete"), now);
        assert_eq!(complete.verdict().map(Verdict::code), Some(0));
        assert_eq!(both.missing(&[job("a", json!([]))]), ["b"]);
        assert_eq!(both.deleted("b").unwrap(), "job/b was deleted before it finished");
        assert_eq!((both.verdict().map(Verdict::code), both.deleted("a")), (Some(2), None));
    }

    #[test]
    fn state_is_printed_when_it_changes() {
        let mut progress = Progress::new(&[job("a", json!([]))], true);
        let finding =
            |state, cause: &str| Finding { state, reason: String::new(), cause: cause.to_owned(), since: None };
        let stuck = finding(State::Stuck, "no node");
        assert_eq!(progress.explain("a", &stuck).unwrap(), "n/job/a is stuck: no node");
        assert_eq!(progress.explain("a", &stuck), None);
        assert_eq!(progress.explain("a", &finding(State::Running, "1 active")).unwrap(), "n/job/a: 1 active");
        assert_eq!(progress.explain("a", &finding(State::Complete, "")), None);
        assert_eq!(progress.explain("other", &stuck), None);
    }
}
