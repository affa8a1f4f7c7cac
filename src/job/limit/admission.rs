//! Whose turn it is: a pure function from limits and Jobs to who goes on and who waits for what.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Waiting;
use super::view::LimitView;
use crate::job::view::{JobView, Labels};
use crate::runtime::identity::Uid;

/// A Job that limits may be for.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Which.
    pub uid: Uid,
    /// Its name.
    pub name: Arc<str>,
    /// Its labels.
    pub labels: Labels,
    /// The higher the sooner.
    pub priority: i32,
    /// The older the sooner.
    pub created: Timestamp,
    /// How many pods it may have at once.
    pub pods: usize,
    /// It is under way: it takes room, and nobody stops it.
    pub active: bool,
}

impl Candidate {
    /// A Job as limits see it; none if no limit is for it: it is over, or suspended, or in the hands of Kueue. `active` says
    /// whether it is under way though nothing of that is stored yet.
    pub fn of(job: &JobView, active: bool) -> Option<Self> {
        if job.status.is_finished() || job.spec.suspend || job.standing.in_queue {
            return None;
        }
        let active = active || job.status.start_time.is_some();
        if job.deleting && !active {
            return None;
        }
        let parallelism = usize::try_from(job.spec.parallelism).unwrap_or_default();
        let left = job.spec.completions.map(|completions| completions.saturating_sub(job.status.succeeded));
        let left = left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or_default());
        Some(Self {
            uid: job.identity.uid.clone(),
            name: job.identity.name.clone(),
            labels: job.standing.labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            priority: job.standing.priority,
            created: job.standing.created,
            pods: parallelism.min(left),
            active,
        })
    }
}

/// Whether a Job may go on; one that no limit is for is not told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Admitted,
    /// It waits.
    Waits(Waiting),
}

/// Room that is taken.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    jobs: usize,
    pods: usize,
}

/// Says of each Job that a limit is for whether it may go on.
///
/// Those under way take their room first. Then each that waits is looked at in order: it goes on if there is room for it in
/// every limit that is for it, and nobody before it waits for one of these. So a large Job is not overtaken for ever by
/// small ones.
pub fn admit(limits: &[Arc<LimitView>], mut candidates: Vec<Candidate>) -> HashMap<Uid, Verdict> {
    let mut verdicts = HashMap::new();
    let mut taken = vec![Taken::default(); limits.len()];
    let mut waiting = vec![0_usize; limits.len()];
    candidates.sort_by_cached_key(|job| (!job.active, Reverse(job.priority), job.created, job.name.clone()));
    for job in candidates {
        let own: Vec<usize> = (0..limits.len()).filter(|at| limits[*at].covers(&job.labels)).collect();
        if own.is_empty() {
            continue;
        }
        let full = |at: &usize| !has_room(&limits[*at], taken[*at], job.pods);
        let blocked = own.iter().copied().find(|at| !job.active && (waiting[*at] > 0 || full(at)));
        let verdict = match blocked {
            None => {
                for at in own {
                    taken[at].jobs += 1;
                    taken[at].pods += job.pods;
                }
                Verdict::Admitted
            }
            Some(at) => {
                waiting[at] += 1;
                // The one that it waits for; in the others it is in nobody's way.
                let (limit, position) = (&limits[at], waiting[at]);
                let message = message(limit, taken[at], &job, position);
                Verdict::Waits(Waiting { limit: limit.identity.name.to_string(), position, message })
            }
        };
        verdicts.insert(job.uid, verdict);
    }
    verdicts
}

fn has_room(limit: &LimitView, taken: Taken, pods: usize) -> bool {
    limit.jobs.is_none_or(|most| taken.jobs < most) && limit.pods.is_none_or(|most| taken.pods + pods <= most)
}

fn message(limit: &LimitView, taken: Taken, job: &Candidate, position: usize) -> String {
    let name = &limit.identity.name;
    if let Some(most) = limit.pods.filter(|most| job.pods > *most) {
        return format!(
            "JobLimit {name} allows {most} active pods, and this Job may have {} at once: lower spec.parallelism, or raise spec.maxActivePods of the limit",
            job.pods
        );
    }
    let jobs = limit.jobs.map(|most| format!("{} of {most} Jobs", taken.jobs));
    let pods = limit.pods.map(|most| format!("{} of {most} pods", taken.pods));
    let taken: Vec<String> = [jobs, pods].into_iter().flatten().collect();
    format!("position {position} at JobLimit {name}: {} are taken", taken.join(" and "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::view::WireJobLimit;
    use super::*;

    fn limit(name: &str, spec: &Value) -> Arc<LimitView> {
        let wire =
            json!({"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "1"}, "spec": spec});
        let wire: WireJobLimit = serde_json::from_str(&wire.to_string()).unwrap();
        Arc::new(LimitView::parse(wire).unwrap())
    }

    fn job(name: &str, age: i64) -> Candidate {
        Candidate {
            uid: name.into(),
            name: name.into(),
            labels: Labels::new(),
            priority: 0,
            created: Timestamp::from_second(1_000 - age).unwrap(),
            pods: 1,
            active: false,
        }
    }

    fn position(verdicts: &HashMap<Uid, Verdict>, name: &str) -> Option<usize> {
        match verdicts.get(&Uid::from(name)) {
            Some(Verdict::Waits(waiting)) => Some(waiting.position),
            Some(Verdict::Admitted) => Some(0),
            None => None,
        }
    }

    #[test]
    fn the_first_go_on_and_the_others_wait_in_order() {
        let limits = [limit("two", &json!({"maxActiveJobs": 2}))];
        let mut urgent = job("urgent", 1);
        urgent.priority = 5;
        let under_way = Candidate { active: true, ..job("under-way", 0) };
        let verdicts = admit(&limits, vec![job("old", 9), job("older", 10), urgent, under_way]);
        let positions = ["under-way", "urgent", "older", "old"].map(|name| position(&verdicts, name));
        assert_eq!(positions, [Some(0), Some(0), Some(1), Some(2)]);
        let Verdict::Waits(waiting) = &verdicts[&Uid::from("older")] else { panic!() };
        assert_eq!(waiting.message, "position 1 at JobLimit two: 2 of 2 Jobs are taken");
    }

    #[test]
    fn a_large_one_is_not_overtaken_and_an_impossible_one_is_told_so() {
        let limits = [limit("pods", &json!({"maxActivePods": 10}))];
        let with = |pods, job: Candidate| Candidate { pods, ..job };
        let running = Candidate { active: true, ..with(5, job("running", 20)) };
        let verdicts = admit(&limits, vec![running, with(8, job("large", 10)), with(1, job("small", 5))]);
        assert_eq!((position(&verdicts, "large"), position(&verdicts, "small")), (Some(1), Some(2)));
        let verdicts = admit(&limits, vec![with(11, job("huge", 10))]);
        let Verdict::Waits(waiting) = &verdicts[&Uid::from("huge")] else { panic!() };
        assert!(waiting.message.contains("lower spec.parallelism"), "{}", waiting.message);
    }

    #[test]
    fn a_limit_is_for_the_jobs_it_selects_and_none_for_the_rest() {
        let limits = [
            limit("a", &json!({"maxActiveJobs": 0, "selector": {"matchLabels": {"team": "a"}}})),
            limit(
                "all",
                &json!({"maxActiveJobs": 5, "selector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}}),
            ),
        ];
        let team =
            |name: &str, job: Candidate| Candidate { labels: [("team".to_owned(), name.to_owned())].into(), ..job };
        let verdicts = admit(&limits, vec![team("a", job("a1", 9)), team("b", job("b1", 8)), job("free", 7)]);
        assert_eq!(
            (position(&verdicts, "a1"), position(&verdicts, "b1")),
            (Some(1), Some(0)),
            "a1 stands in b1's way nowhere"
        );
        assert_eq!(position(&verdicts, "free"), None);
    }

    proptest! {
        #[test]
        fn no_limit_is_ever_exceeded_and_no_room_is_left_that_the_next_could_use(
            jobs in prop::collection::vec((0_i32..3, 0_i64..50, 1_usize..4, 0_u8..3), 0..40),
            most in (0_usize..6, 0_usize..12),
        ) {
            let limits = [
                limit("one", &json!({"maxActiveJobs": most.0, "selector": {"matchLabels": {"l0": "1"}}})),
                limit("two", &json!({"maxActivePods": most.1, "selector": {"matchLabels": {"l1": "1"}}})),
            ];
            let candidates: Vec<Candidate> = jobs.iter().enumerate().map(|(at, (priority, age, pods, of))| Candidate {
                priority: *priority, pods: *pods,
                labels: (0..2).filter(|bit| ((of + 1) >> bit) & 1 == 1).map(|bit| (format!("l{bit}"), "1".to_owned())).collect(),
                ..job(&format!("job-{at}"), *age)
            }).collect();
            let verdicts = admit(&limits, candidates.clone());
            let admitted = |limit: &LimitView| {
                candidates.iter().filter(|job| limit.covers(&job.labels) && verdicts[&job.uid] == Verdict::Admitted).collect::<Vec<_>>()
            };
            let (one, two) = (admitted(&limits[0]), admitted(&limits[1]));
            prop_assert!(one.len() <= most.0);
            prop_assert!(two.iter().map(|job| job.pods).sum::<usize>() <= most.1);
            // Whoever is first in a queue does not fit.
            for job in &candidates {
                if let Verdict::Waits(waiting) = &verdicts[&job.uid] && waiting.position == 1 {
                    let full = if waiting.limit == "one" { one.len() == most.0 } else {
                        two.iter().map(|job| job.pods).sum::<usize>() + job.pods > most.1
                    };
                    prop_assert!(full, "{job:?} could go on");
                }
            }
        }
    }
}
