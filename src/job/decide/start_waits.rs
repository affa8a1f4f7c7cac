//! Pods that have not started, with the time since which the cause of each has held without interruption.
//!
//! A stored pod does not show when its present cause began: the reason of a waiting container has no time. So the times
//! are remembered. After a restart of the controller, they count again: a pod that fails late can be repaired, and a pod
//! that fails too early cannot.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::job::view::start::StartCause;
use crate::job::view::{Phase, PodView};
use crate::runtime::identity::Uid;
use crate::runtime::maps::{FastMap, FastSet};

/// Pods of one Job that have not started.
#[derive(Clone, Debug, Default)]
pub struct StartWaits {
    /// Whether all pods of the Job have been observed, so that the changes of pods keep this up to date.
    is_complete: bool,
    pods: FastMap<Uid, Wait>,
    /// Pods whose cause counts, by cause and in the order of the time since which it has held.
    order: BTreeSet<(StartCause, Timestamp, Uid)>,
}

/// Cause why a pod has not started, and the time since which it has held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait {
    /// None while something holds the start back on purpose.
    cause: Option<StartCause>,
    since: Timestamp,
}

impl StartWaits {
    /// Records the present version of a pod; none if it is gone.
    pub fn observe(&mut self, uid: &Uid, pod: Option<&PodView>, now: Timestamp) {
        let before = self.pods.get(uid).copied();
        let present = pod.and_then(|pod| wait(pod, before, now));
        if present == before {
            return;
        }
        if let Some(Wait { cause: Some(cause), since }) = before {
            self.order.remove(&(cause, since, uid.clone()));
        }
        match present {
            None => drop(self.pods.remove(uid)),
            Some(present) => {
                self.pods.insert(uid.clone(), present);
                if let Some(cause) = present.cause {
                    self.order.insert((cause, present.since, uid.clone()));
                }
            }
        }
    }

    /// Records all pods of the Job. Other pods are forgotten.
    pub fn observe_all<'a>(&mut self, pods: impl Iterator<Item = &'a PodView>, now: Timestamp) {
        let mut present = FastSet::default();
        for pod in pods {
            self.observe(&pod.identity.uid, Some(pod), now);
            present.insert(pod.identity.uid.clone());
        }
        let gone: Vec<Uid> = self.pods.keys().filter(|uid| !present.contains(*uid)).cloned().collect();
        gone.iter().for_each(|uid| self.observe(uid, None, now));
        self.is_complete = true;
    }

    /// Returns whether all pods of the Job have been observed.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Records that changes of pods may have been missed, so that all pods are to be observed again.
    pub fn interrupted(&mut self) {
        self.is_complete = false;
    }

    /// Returns the pods that this cause keeps from starting, with the time since which it does, the earliest first.
    pub fn of(&self, cause: StartCause) -> impl Iterator<Item = (Timestamp, &Uid)> {
        let waiting = self.order.iter().skip_while(move |(of, ..)| *of < cause);
        waiting.take_while(move |(of, ..)| *of == cause).map(|(_, since, uid)| (*since, uid))
    }

    /// Returns whether no pod waits.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }
}

/// Returns since when a pod waits for its start; none if it has started, has ended, or is recorded as failed.
fn wait(pod: &PodView, before: Option<Wait>, now: Timestamp) -> Option<Wait> {
    if !pod.is_active() || pod.start_failure.is_some() {
        return None;
    }
    let (cause, since, is_final) = match &pod.start {
        Some(state) => (state.cause, state.since, state.is_final),
        None if pod.phase != Phase::Pending => return None,
        // The scheduler has not tried to place the pod, or has just placed it.
        None => (Some(StartCause::Other), pod.created, false),
    };
    // No later attempt can succeed, so there is nothing to wait for.
    if is_final {
        return Some(Wait { cause, since: Timestamp::MIN });
    }
    let since = match before {
        // A container that has ended since was able to start.
        Some(before) if before.cause == cause => before.since.max(since.min(now)),
        Some(_) | None => now,
    };
    Some(Wait { cause, since })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;
    use crate::job::view::start::StartAction;

    fn since(waits: &StartWaits, cause: StartCause) -> Vec<(i64, String)> {
        let seconds =
            |at: Timestamp| if at == Timestamp::MIN { i64::MIN } else { at.as_second() - time(0).as_second() };
        waits.of(cause).map(|(at, uid)| (seconds(at), uid.text().to_string())).collect()
    }

    fn waits(observations: &[(i64, Option<&Pod>)]) -> StartWaits {
        let mut waits = StartWaits::default();
        for (at, pod) in observations {
            waits.observe(&"uid-a".into(), pod.map(|pod| &pod.view), time(*at));
        }
        waits
    }

    fn a(seconds: i64) -> Vec<(i64, String)> {
        vec![(seconds, "uid-a".to_owned())]
    }

    #[test]
    fn time_counts_from_the_first_observation_and_again_from_a_change_of_the_cause() {
        let image = pod("a").unstarted(StartCause::Image, 5);
        let config = pod("a").unstarted(StartCause::Config, 5);
        assert_eq!(since(&waits(&[(20, Some(&image))]), StartCause::Image), a(20));
        assert_eq!(since(&waits(&[(20, Some(&image)), (30, Some(&image))]), StartCause::Image), a(20));
        let changed = waits(&[(20, Some(&image)), (30, Some(&config))]);
        assert_eq!((since(&changed, StartCause::Image), since(&changed, StartCause::Config)), (vec![], a(30)));
        let flapping = waits(&[(20, Some(&image)), (30, Some(&config)), (40, Some(&image))]);
        assert_eq!(since(&flapping, StartCause::Image), a(40));
        let restarted = pod("a").unstarted(StartCause::Image, 25);
        assert_eq!(since(&waits(&[(20, Some(&image)), (30, Some(&restarted))]), StartCause::Image), a(25));
        let future = pod("a").unstarted(StartCause::Image, 50);
        let ahead = waits(&[(20, Some(&image)), (30, Some(&future))]);
        assert_eq!(since(&ahead, StartCause::Image), a(30), "the clock of the node is ahead");
    }

    #[test]
    fn pod_that_starts_ends_or_goes_no_longer_waits() {
        let image = pod("a").unstarted(StartCause::Image, 5);
        for after in [Some(pod("a").running(1)), Some(pod("a").failed(9)), Some(pod("a").deleting(9)), None] {
            let waits = waits(&[(20, Some(&image)), (30, after.as_ref())]);
            assert!(waits.is_empty() && waits.order.is_empty(), "{after:?}");
        }
        let recorded = image.clone().failed_start(StartAction::RetryPod);
        assert!(waits(&[(20, Some(&image)), (30, Some(&recorded))]).is_empty());
    }

    #[test]
    fn pod_without_a_known_cause_waits_for_another_one_and_a_gated_pod_for_none() {
        assert_eq!(since(&waits(&[(20, Some(&pod("a").unscheduled()))]), StartCause::Other), a(20));
        let gated = pod("a").unstarted(StartCause::Unschedulable, 2).with(|pod| {
            pod.start.as_mut().unwrap().cause = None;
        });
        let waits = waits(&[(20, Some(&gated)), (30, Some(&pod("a").unstarted(StartCause::Unschedulable, 2)))]);
        assert_eq!(since(&waits, StartCause::Unschedulable), a(30), "counted from the removal of the gate");
    }

    #[test]
    fn final_cause_has_waited_long_enough_at_any_time() {
        let mut invalid = pod("a").unstarted(StartCause::Image, 5);
        invalid = invalid.with(|pod| pod.start.as_mut().unwrap().is_final = true);
        assert_eq!(since(&waits(&[(20, Some(&invalid))]), StartCause::Image), a(i64::MIN));
    }

    #[test]
    fn observation_of_all_pods_forgets_the_others() {
        let mut waits = StartWaits::default();
        let pods = [pod("a").unstarted(StartCause::Image, 1), pod("b").unstarted(StartCause::Image, 2)];
        waits.observe_all(pods.iter().map(|pod| &pod.view), time(9));
        assert_eq!(waits.of(StartCause::Image).count(), 2);
        waits.observe_all(pods[..1].iter().map(|pod| &pod.view), time(9));
        assert_eq!(since(&waits, StartCause::Image), a(9));
    }
}
