//! The annotation `jobwright.dev/after`: whether the Jobs after which a Job starts have ended.
//!
//! A Job that waits is like one that a limit keeps from starting: it has no start time and no pods, and the annotation
//! `jobwright.dev/waiting` states what it waits for. Once it has started, the other Jobs no longer matter.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::job::admission::{Reason, WaitingStatus};
use crate::job::status::{COMPLETE, FAILED};
use crate::job::view::JobView;
use crate::job::view::after::{After, Ending};
use crate::runtime::text::beginning;

/// Maximum number of Jobs that the search for a cycle visits.
const MAX_VISITED: usize = 100;
/// Maximum number of bytes of a message.
const MAX_MESSAGE: usize = 1024;

/// Returns what a Job waits for, if it starts after other Jobs and these have not all ended as it needs. `find` returns the
/// Job of this name in the same namespace.
pub fn waiting(job: &JobView, find: impl Fn(&str) -> Option<Arc<JobView>>) -> Option<WaitingStatus> {
    let after = job.after.as_deref().filter(|_| is_held(job))?;
    let message = match after {
        After::Invalid(problem) => problem.to_string(),
        After::Jobs(jobs) => {
            let mut waits = Vec::new();
            for (name, ending) in jobs {
                let problem = match find(name) {
                    None => Some(format!("Job {name}, which does not exist")),
                    Some(other) => unmet(&other, *ending),
                };
                waits.extend(problem);
            }
            if waits.is_empty() {
                return None;
            }
            let cycle =
                cycle(job, &find).map(|cycle| format!("; this is a cycle: {cycle}; change the annotation of one"));
            format!("The Job starts after {}{}", waits.join(", and "), cycle.unwrap_or_default())
        }
    };
    let message = beginning(&message, MAX_MESSAGE).to_owned();
    Some(WaitingStatus { limit: String::new(), position: 0, reason: Reason::After, message })
}

/// Returns whether a Job that starts after other Jobs has not started. A suspended Job waits to be resumed.
pub fn is_held(job: &JobView) -> bool {
    let may_start = !job.spec.suspend && !job.status.has_outcome() && !job.deleting;
    job.after.is_some() && job.status.start_time.is_none() && may_start
}

/// Returns what a Job has not done yet, or has done otherwise.
fn unmet(other: &JobView, ending: Ending) -> Option<String> {
    let name = &other.identity.name;
    let succeeded = other.status.true_condition(COMPLETE).is_some();
    let failed = other.status.true_condition(FAILED).is_some();
    match (ending, succeeded, failed) {
        (Ending::Succeeded, true, _) | (Ending::Failed, _, true) => None,
        (Ending::Finished, succeeded, failed) if succeeded || failed => None,
        (Ending::Succeeded, _, true) => Some(format!("the success of Job {name}, which has failed")),
        (Ending::Failed, true, _) => Some(format!("the failure of Job {name}, which has succeeded")),
        (Ending::Succeeded, ..) => Some(format!("the success of Job {name}")),
        (Ending::Failed, ..) => Some(format!("the failure of Job {name}")),
        (Ending::Finished, ..) => Some(format!("the end of Job {name}")),
    }
}

/// Returns a cycle of Jobs that wait for each other and that leads back to this one, as `a, b, a`.
fn cycle(job: &JobView, find: &impl Fn(&str) -> Option<Arc<JobView>>) -> Option<String> {
    let own = &*job.identity.name;
    let mut visited: BTreeSet<Box<str>> = BTreeSet::new();
    let mut paths: Vec<Vec<Box<str>>> = vec![vec![own.into()]];
    while let Some(path) = paths.pop() {
        let last = path.last()?;
        let next = if **last == *own {
            job.after.clone()
        } else {
            find(last)?.after.clone().filter(|_| visited.len() < MAX_VISITED)
        };
        for (name, _) in next.iter().flat_map(|after| after.jobs()) {
            let with = || path.iter().cloned().chain([name.clone()]).collect::<Vec<_>>();
            if **name == *own {
                return Some(with().join(", "));
            }
            let waits = find(name).is_some_and(|other| is_held(&other));
            if waits && visited.insert(name.clone()) {
                paths.push(with());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;
    use crate::job::view::after::AFTER_ANNOTATION;

    fn named(name: &str, after: Option<&str>) -> Job {
        let annotations = after.map(|text| [(AFTER_ANNOTATION.to_owned(), text.to_owned())].into());
        Job::new().with(|job| {
            job.identity.name = name.into();
            job.after = After::parse(annotations.as_ref()).map(Box::new);
        })
    }

    fn message(job: &Job, others: &[Job]) -> Option<String> {
        let find = |name: &str| {
            others.iter().find(|job| &*job.view.identity.name == name).map(|job| Arc::new(job.view.clone()))
        };
        waiting(&job.view, find).map(|waiting| waiting.message)
    }

    #[test]
    fn job_waits_until_the_others_have_ended_as_it_needs() {
        let (complete, failed) = (named("a", None).condition("Complete"), named("a", None).condition("Failed"));
        let running = named("a", None).started(1);
        let cases = [
            ("job/a", &complete, None),
            ("job/a", &running, Some("The Job starts after the success of Job a")),
            ("job/a", &failed, Some("The Job starts after the success of Job a, which has failed")),
            ("job/a:failed", &failed, None),
            ("job/a:failed", &complete, Some("The Job starts after the failure of Job a, which has succeeded")),
            ("job/a:finished", &complete, None),
            ("job/a:finished", &failed, None),
            ("job/a:finished", &running, Some("The Job starts after the end of Job a")),
        ];
        for (text, other, expected) in cases {
            assert_eq!(message(&named("job", Some(text)), std::slice::from_ref(other)).as_deref(), expected, "{text}");
        }
        let two = named("job", Some("job/a,job/b"));
        let text = message(&two, &[running]).unwrap();
        assert_eq!(text, "The Job starts after the success of Job a, and Job b, which does not exist");
    }

    #[test]
    fn cycle_is_reported_and_a_chain_is_none() {
        let job = named("job", Some("job/a"));
        let cyclic = [named("a", Some("job/b")), named("b", Some("job/job"))];
        let text = message(&job, &cyclic).unwrap();
        assert!(text.contains("this is a cycle: job, a, b, job; "), "{text}");
        let chain = [named("a", Some("job/b")), named("b", None)];
        assert_eq!(message(&job, &chain).as_deref(), Some("The Job starts after the success of Job a"));
        let own = message(&named("job", Some("job/job")), &[named("job", Some("job/job"))]).unwrap();
        assert!(own.contains("this is a cycle: job, job"), "{own}");
        let others = [named("a", Some("job/b")), named("b", Some("job/a"))];
        assert!(!message(&job, &others).unwrap().contains("cycle"), "the cycle of other Jobs is theirs");
    }

    #[test]
    fn job_that_has_started_or_ends_waits_for_nothing_and_an_invalid_annotation_prevents_the_start() {
        let job = named("job", Some("job/none"));
        assert_eq!(message(&job.clone().started(1), &[]), None);
        assert_eq!(message(&job.clone().suspend(true), &[]), None);
        assert_eq!(message(&job.deleting(), &[]), None);
        assert_eq!(message(&named("job", None), &[]), None);
        assert!(message(&named("job", Some("none")), &[]).unwrap().starts_with("metadata.annotations["));
    }
}
