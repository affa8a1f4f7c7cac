//! `status.ready` informs people and decides nothing, so a change of it alone is not worth a write of its own at once: it
//! goes with the next write, or after a pause. The built-in controller's second between looks has the same effect.

use jiff::Timestamp;

use super::{Decision, Step};
use crate::job::view::JobView;
use crate::runtime::config::Limits;

/// Puts off a write that would store nothing but another `status.ready`. `since` is when there was first one to put off.
pub fn put_off(
    mut decision: Decision,
    job: &JobView,
    since: Option<Timestamp>,
    now: Timestamp,
    limits: &Limits,
) -> Decision {
    let Step::WriteStatus { status, events } = &decision.step else { return decision };
    let mut but_for_ready = status.clone();
    but_for_ready.ready = job.status.ready;
    if !events.is_empty() || *but_for_ready != job.status {
        return decision;
    }
    let since = since.unwrap_or(now);
    let Some(due) = since.checked_add(limits.ready_pause).ok().filter(|due| now < *due) else { return decision };
    decision.step = Step::Nothing;
    decision.wake = Some(decision.wake.map_or(due, |wake| wake.min(due)));
    decision.ready_stale = Some(since);
    decision
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::decide::fixtures::{Job, pod, time};

    fn limits() -> Limits {
        Limits { ready_pause: Duration::from_secs(1), ..Limits::default() }
    }

    /// A Job that has stored its one active pod.
    fn started() -> Job {
        let new = Job::new().started(0);
        let Step::WriteStatus { status, .. } = new.decide(&[pod("a").running(1)]).step else { panic!() };
        new.with_status(*status)
    }

    #[test]
    fn a_pod_that_becomes_ready_waits_for_company_and_no_longer_than_the_pause() {
        let job = started();
        let decision = job.decide(&[pod("a").running(1).ready(2)]);
        assert!(matches!(decision.step, Step::WriteStatus { .. }), "without a pause it is written at once");
        let first = put_off(decision.clone(), &job.view, None, time(10), &limits());
        assert!(matches!(first.step, Step::Nothing));
        assert_eq!((first.wake, first.ready_stale), (Some(time(11)), Some(time(10))));
        let due = put_off(decision, &job.view, first.ready_stale, time(11), &limits());
        assert!(matches!(due.step, Step::WriteStatus { .. }));
        assert_eq!(due.ready_stale, None);
    }

    #[test]
    fn whatever_else_changes_is_written_at_once() {
        let job = started();
        let ended = job.decide(&[pod("a").succeeded(5)]);
        let decision = put_off(ended, &job.view, None, time(10), &limits());
        assert!(matches!(decision.step, Step::WriteStatus { .. }));
    }
}
