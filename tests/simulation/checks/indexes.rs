//! Checks of Jobs that run some of their indexes: only listed indexes get pods, and the Job ends when these have ended.
//!
//! A status is written to the version of the Job from which the controller decided, so the list of that version has to
//! justify the outcome. A pod can be created while a user changes the list.

use std::collections::BTreeMap;

use jobwright::job::view::index_subset::INDEXES_ANNOTATION;
use serde_json::Value;

use crate::objects::{has_condition, indexes, is_decided, is_deleting, number};

/// Indexes that a Job runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// All indexes of the Job.
    All,
    /// These indexes.
    Only(Vec<i64>),
    /// None, because the list is not valid.
    Invalid,
}

/// Returns the indexes that a Job runs.
pub fn listed(job: &Value) -> Listed {
    let Some(text) = job["metadata"]["annotations"][INDEXES_ANNOTATION].as_str() else { return Listed::All };
    if job["spec"]["completionMode"] != "Indexed" {
        return Listed::Invalid;
    }
    let completions = number(job, "/spec/completions");
    let mut all: Vec<i64> = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) else { return Listed::Invalid };
        if first > last || last >= completions || all.last().is_some_and(|before| *before >= first) {
            return Listed::Invalid;
        }
        all.extend(first..=last);
    }
    Listed::Only(all)
}

/// Lists of each Job, by UID, each with the second since when it has been in force.
pub struct Indexes {
    /// Maximum time, in seconds, until a controller has observed a change.
    observation_delay: i64,
    jobs: BTreeMap<String, Vec<(i64, Listed)>>,
}

impl Indexes {
    /// Returns the checks. `observation_delay` is the maximum time, in seconds, until a controller has observed a
    /// change.
    pub fn new(observation_delay: i64) -> Self {
        Self { observation_delay, jobs: BTreeMap::new() }
    }

    /// Records a version of a Job. Returns whether the list has changed.
    pub fn observe(&mut self, job: &Value, now: i64) -> bool {
        let uid = job["metadata"]["uid"].as_str().unwrap_or_default();
        let lists = self.jobs.entry(uid.to_owned()).or_default();
        let listed = listed(job);
        if lists.last().is_some_and(|(_, last)| *last == listed) {
            return false;
        }
        lists.push((now, listed));
        lists.len() > 1
    }

    /// Checks that a list of the Job allows a pod for this index.
    ///
    /// # Errors
    /// Returns the lists that have been in force since a controller must have observed the change.
    pub fn created(&self, job: &str, index: &Value, now: i64) -> Result<(), String> {
        let Some(lists) = self.jobs.get(job) else { return Ok(()) };
        let index = index.as_str().and_then(|index| index.parse::<i64>().ok());
        let ends = lists.iter().skip(1).map(|(at, _)| *at).chain([i64::MAX]);
        let mut recent = lists.iter().zip(ends).filter(|(_, end)| *end >= now - self.observation_delay);
        let allows = |list: &Listed| match list {
            Listed::All => true,
            Listed::Only(listed) => index.is_some_and(|index| listed.contains(&index)),
            Listed::Invalid => false,
        };
        if recent.any(|((_, list), _)| allows(list)) {
            return Ok(());
        }
        Err(format!("a pod is created for index {index:?}, which is not listed: {lists:?}"))
    }

    /// Checks that the start and the outcome of a Job agree with the list of the version from which the controller
    /// decided.
    ///
    /// # Errors
    /// Returns the contradiction.
    pub fn status_written(&self, before: &Value, after: &Value) -> Result<(), String> {
        let list = listed(before);
        let name = &after["metadata"]["name"];
        let starts = before["status"]["startTime"].is_null() && !after["status"]["startTime"].is_null();
        if starts && list == Listed::Invalid && !is_deleting(before) && !is_decided(after) {
            return Err(format!("{name} starts although its list of indexes is invalid"));
        }
        let Listed::Only(listed) = list else { return Ok(()) };
        let gets = |type_: &str, reason: &str| {
            let conditions = after["status"]["conditions"].as_array().into_iter().flatten();
            let mut conditions = conditions.filter(|one| one["type"] == type_ && one["status"] == "True");
            !has_condition(before, type_) && conditions.any(|one| one["reason"] == reason)
        };
        let completed = indexes(&after["status"]["completedIndexes"]);
        let failed = indexes(&after["status"]["failedIndexes"]);
        let succeeds = gets("SuccessCriteriaMet", "CompletionsReached");
        if succeeds && !listed.iter().all(|index| completed.contains(index)) {
            return Err(format!("{name} succeeds before its indexes {listed:?}: {}", after["status"]));
        }
        let is_over = |index: &i64| completed.contains(index) || failed.contains(index);
        if gets("FailureTarget", "FailedIndexes") && !listed.iter().all(is_over) {
            return Err(format!("{name} fails before its indexes {listed:?} have ended: {}", after["status"]));
        }
        Ok(())
    }
}
