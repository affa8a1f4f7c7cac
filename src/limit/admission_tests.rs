//! Table tests of the admission of Jobs, and random histories whose steps are compared with an evaluation from scratch.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::admission::{AdmissionState, Admissions};
use super::view::{LimitView, WireJobLimit};
use super::workload::{Reservation, Workload};
use crate::job::admission::{PublishedWaiting, Reason};
use crate::job::view::Labels;
use crate::runtime::identity::Uid;

fn limit(name: &str, spec: &Value) -> Arc<LimitView> {
    let wire = json!({"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "1"}, "spec": spec});
    let wire: WireJobLimit = serde_json::from_str(&wire.to_string()).unwrap();
    Arc::new(LimitView::parse(wire).unwrap())
}

/// Returns a Job that requests a reservation for one pod. A lower `created` makes the Job older.
fn job(name: &str, created: i64) -> Workload {
    Workload {
        uid: name.into(),
        name: name.into(),
        labels: Labels::default(),
        priority: 0,
        created: Timestamp::from_second(created).unwrap(),
        group: None,
        reservation: Reservation::Requested,
        need: 1,
        live: 0,
        published: None,
    }
}

fn labelled(job: Workload, value: &str) -> Workload {
    Workload { labels: [("team", value)].into_iter().collect(), ..job }
}

fn needs(need: usize, job: Workload) -> Workload {
    Workload { need, ..job }
}

fn holds(job: Workload) -> Workload {
    Workload { reservation: Reservation::Reserved, ..job }
}

fn load(limits: &[Arc<LimitView>], jobs: &[Workload]) -> Admissions {
    let mut admissions = Admissions::default();
    admissions.load(limits.to_vec(), jobs.to_vec());
    admissions
}

fn state(admissions: &Admissions, name: &str) -> AdmissionState {
    admissions.state(&name.into())
}

/// Returns the position and the message of a waiting Job.
fn published(admissions: &Admissions, name: &str) -> (usize, String) {
    let waiting = admissions.describe_waiting_status(&name.into()).unwrap();
    (waiting.position, waiting.message)
}

#[test]
fn jobs_are_admitted_by_priority_then_age_and_messages_name_the_admitted_jobs() {
    let urgent = Workload { priority: 5, ..job("urgent", 9) };
    let jobs = [job("old", 2), job("older", 1), urgent, holds(job("running", 20))];
    let mut admissions = load(&[limit("two", &json!({"maxActiveJobs": 2}))], &jobs);
    assert_eq!(state(&admissions, "urgent"), AdmissionState::Admitted);
    assert_eq!(
        published(&admissions, "older"),
        (1, "position 1 at JobLimit two: 2 of 2 Jobs in use by urgent, running".to_owned())
    );
    assert_eq!(published(&admissions, "old").0, 2);
    assert_eq!(admissions.remove_job(&"running".into()), [Uid::from("older")]);
    assert_eq!(published(&admissions, "old").0, 1);
}

#[test]
fn messages_name_a_bounded_number_of_jobs() {
    let mut jobs: Vec<Workload> = (0..5).map(|at| holds(job(&format!("j{at}"), at))).collect();
    jobs.push(job("waits", 9));
    let admissions = load(&[limit("l", &json!({"maxActiveJobs": 5}))], &jobs);
    assert_eq!(
        published(&admissions, "waits").1,
        "position 1 at JobLimit l: 5 of 5 Jobs in use by j0, j1, j2 and 2 more"
    );
}

#[test]
fn large_job_is_not_overtaken_and_a_job_that_can_never_fit_blocks_no_other() {
    let limits = [limit("pods", &json!({"maxActivePods": 10}))];
    let running = holds(needs(5, job("running", 1)));
    let admissions = load(&limits, &[running.clone(), needs(8, job("large", 2)), job("small", 3)]);
    assert_eq!(
        (state(&admissions, "large"), state(&admissions, "small")),
        (AdmissionState::Pending, AdmissionState::Pending)
    );
    assert_eq!(
        published(&admissions, "large").1,
        "position 1 at JobLimit pods: 5 of 10 pods in use by running, 8 pods needed"
    );
    let admissions = load(&limits, &[running, needs(11, job("huge", 2)), job("small", 3)]);
    assert_eq!(
        (state(&admissions, "huge"), state(&admissions, "small")),
        (AdmissionState::TooLarge(0), AdmissionState::Admitted)
    );
    let waiting = admissions.describe_waiting_status(&"huge".into()).unwrap();
    assert_eq!((waiting.position, waiting.reason), (0, Reason::TooLarge));
    assert!(
        waiting.message.starts_with("needs 11 pods, but JobLimit pods allows 10: lower spec.parallelism"),
        "{waiting:?}"
    );
}

#[test]
fn terminating_pods_of_a_job_without_a_reservation_use_pod_capacity_only() {
    let limits = [limit("l", &json!({"maxActiveJobs": 2, "maxActivePods": 4}))];
    let resumed = Workload { live: 3, ..needs(3, job("resumed", 1)) };
    let mut admissions = load(&limits, &[resumed.clone(), holds(job("a", 2)), holds(job("b", 3))]);
    assert_eq!(state(&admissions, "resumed"), AdmissionState::Pending, "both Jobs are reserved");
    admissions.remove_job(&"a".into());
    // The live pods of the Job are not counted twice.
    assert_eq!(state(&admissions, "resumed"), AdmissionState::Admitted);
    let suspended = Workload { reservation: Reservation::None, need: 0, ..resumed };
    let admissions = load(&limits, &[suspended, needs(2, job("c", 4)), job("d", 5)]);
    assert_eq!(state(&admissions, "c"), AdmissionState::Pending, "3 of 4 pods are in use");
    assert_eq!(state(&admissions, "d"), AdmissionState::Pending, "d does not overtake c");
    assert_eq!(state(&admissions, "resumed"), AdmissionState::Unlimited);
}

#[test]
fn only_the_first_job_of_a_queue_blocks_jobs_of_other_queues() {
    let selects = |label: &str| json!({"matchLabels": {label: "1"}});
    let limits = [
        limit("jobs", &json!({"maxActiveJobs": 1, "selector": selects("l1")})),
        limit("pods", &json!({"maxActivePods": 4, "selector": selects("l2")})),
    ];
    let labels = |labels: &[&str]| labels.iter().map(|label| (*label, "1")).collect();
    let both = |job| Workload { labels: labels(&["l1", "l2"]), ..job };
    let active = holds(both(needs(1, job("active", 0))));
    let first = both(needs(1, job("first", 1)));
    let second = both(needs(4, job("second", 2)));
    let small = Workload { labels: labels(&["l2"]), ..needs(1, job("small", 3)) };
    let admissions = load(&limits, &[active, first, second.clone(), small.clone()]);
    // The limit "pods" has no capacity for "second", but "second" has to wait for "jobs" in any case.
    assert_eq!(state(&admissions, "first"), AdmissionState::Pending);
    assert_eq!(state(&admissions, "second"), AdmissionState::Pending);
    assert_eq!(state(&admissions, "small"), AdmissionState::Admitted);
    let admissions = load(&limits, &[holds(both(needs(1, job("active", 0)))), second, small]);
    assert_eq!(state(&admissions, "small"), AdmissionState::Pending, "\"second\" is the first of its queue");
}

#[test]
fn job_with_parallelism_zero_has_no_reservation_once_its_release_is_stored() {
    let limits = [limit("one", &json!({"maxActiveJobs": 1}))];
    let zero = |reserved| Workload { reservation: Reservation::Zero { reserved }, need: 0, ..job("zero", 1) };
    let mut admissions = load(&limits, &[zero(true), job("next", 2)]);
    assert_eq!(
        (state(&admissions, "zero"), state(&admissions, "next")),
        (AdmissionState::NoPods, AdmissionState::Pending)
    );
    assert_eq!(admissions.set_job(zero(false)), [Uid::from("next")]);
    assert_eq!(published(&admissions, "zero").1, "is not admitted by JobLimit one while spec.parallelism is 0");
    admissions.set_job(job("zero", 1));
    assert_eq!(state(&admissions, "zero"), AdmissionState::Pending, "a Job that is scaled up again waits");
}

#[test]
fn unstored_reservation_is_kept_and_a_released_one_is_not() {
    let limits = [limit("one", &json!({"maxActiveJobs": 1}))];
    let mut admissions = load(&limits, &[job("a", 5)]);
    admissions.set_job(Workload { priority: 9, ..job("urgent", 1) });
    admissions.set_job(needs(3, job("a", 5)));
    assert_eq!(
        (state(&admissions, "a"), state(&admissions, "urgent")),
        (AdmissionState::Admitted, AdmissionState::Pending)
    );
    admissions.set_job(holds(job("a", 5)));
    // The condition Suspended was stored before, and now the Job is resumed.
    assert_eq!(admissions.set_job(job("a", 5)), [Uid::from("urgent")]);
    assert_eq!(state(&admissions, "a"), AdmissionState::Pending);
}

#[test]
fn job_scaled_up_past_the_limit_stays_admitted_and_blocks_others() {
    let limits = [limit("pods", &json!({"maxActivePods": 4}))];
    let mut admissions = load(&limits, &[holds(needs(2, job("a", 1)))]);
    admissions.set_job(holds(needs(9, job("a", 1))));
    admissions.set_job(job("b", 2));
    assert_eq!((state(&admissions, "a"), state(&admissions, "b")), (AdmissionState::Admitted, AdmissionState::Pending));
}

#[test]
fn job_blocks_others_only_at_limits_without_capacity_for_it() {
    let limits = [
        limit("a", &json!({"maxActiveJobs": 1, "selector": {"matchLabels": {"team": "a"}}})),
        limit(
            "all",
            &json!({"maxActiveJobs": 3, "selector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}}),
        ),
    ];
    let jobs =
        [holds(labelled(job("a0", 1), "a")), labelled(job("a1", 2), "a"), labelled(job("b1", 3), "b"), job("free", 4)];
    let mut admissions = load(&limits, &jobs);
    let states = ["a1", "b1", "free"].map(|name| state(&admissions, name));
    assert_eq!(states, [AdmissionState::Pending, AdmissionState::Admitted, AdmissionState::Unlimited]);
    // A limit that admits no Job at all does not block Jobs at other limits.
    let closed = limit("a", &json!({"maxActiveJobs": 0, "selector": {"matchLabels": {"team": "a"}}}));
    admissions.set_limits(vec![closed, limits[1].clone()]);
    admissions.set_job(labelled(job("b2", 5), "b"));
    assert_eq!(
        (state(&admissions, "a1"), state(&admissions, "b2")),
        (AdmissionState::Pending, AdmissionState::Admitted)
    );
}

#[test]
fn group_that_needs_more_than_the_limit_is_reported() {
    let train = |name: &str, created| Workload { group: Some("JobSet train".into()), ..job(name, created) };
    let limits = [limit("two", &json!({"maxActiveJobs": 2}))];
    let mut admissions = load(&limits, &[train("t0", 1), train("t1", 2), train("t2", 3), job("other", 4)]);
    let waiting = admissions.describe_waiting_status(&"t2".into()).unwrap();
    assert_eq!(waiting.reason, Reason::Group);
    assert!(
        waiting.message.ends_with(
            "The Jobs of JobSet train may wait for each other forever: they need 3 Jobs, but the limit allows 2"
        ),
        "{waiting:?}"
    );
    assert_eq!(admissions.describe_waiting_status(&"other".into()).unwrap().reason, Reason::Queue);
    admissions.remove_job(&"t0".into());
    admissions.set_job(holds(job("big", 0)));
    admissions.set_job(train("t3", 9));
    assert_eq!(admissions.describe_waiting_status(&"t3".into()).unwrap().reason, Reason::Group, "t1, t2 and t3 need 3");
}

#[test]
fn event_syncs_only_the_admitted_job_and_the_first_in_the_queue() {
    let limits = [limit("one", &json!({"maxActiveJobs": 1}))];
    let published = |position| {
        Some(PublishedWaiting { limit: "one".into(), position, reason: Reason::Queue, message: String::new() })
    };
    let mut jobs: Vec<Workload> = (1..1000)
        .map(|at| Workload { published: published(at), ..job(&format!("j{at:04}"), at.try_into().unwrap()) })
        .collect();
    jobs.push(holds(job("running", 0)));
    let mut admissions = load(&limits, &jobs);
    assert_eq!(admissions.remove_job(&"running".into()), [Uid::from("j0001"), "j0002".into()]);
    // Another Job displaces the first one. Only the displaced Job is synced.
    admissions.set_job(Workload { published: published(1), ..jobs[1].clone() });
    let urgent = Workload { priority: 1, ..job("urgent", 5000) };
    assert_eq!(admissions.set_job(urgent), [Uid::from("j0002")]);
    // An update of a Job in the middle of the queue syncs no other Job, and the first Job is not synced again.
    assert_eq!(admissions.set_job(jobs[500].clone()), []);
    assert_eq!(admissions.waiting_status(&"j0500".into()).unwrap().position, 500, "the position of the annotation");
    assert_eq!(admissions.describe_waiting_status(&"j0500".into()).unwrap().position, 500);
}

/// Event of a random history.
#[derive(Clone, Debug)]
enum Event {
    Job(Workload),
    Gone(u8),
    Limits(Vec<(u8, Option<usize>, Option<usize>, u8)>),
}

fn a_job() -> impl Strategy<Value = Workload> {
    let reservation = prop_oneof![
        6 => Just(Reservation::Requested),
        2 => Just(Reservation::Reserved),
        1 => Just(Reservation::None),
        1 => any::<bool>().prop_map(|reserved| Reservation::Zero { reserved }),
    ];
    (0_u8..12, 0_i32..2, reservation, 1_usize..5, prop_oneof![3 => Just(0_usize), 1 => 0_usize..4], 0_u8..8, 0_u8..3)
        .prop_map(|(name, priority, reservation, need, live, labels, group)| {
            let labels = (0..3).filter(|bit| (labels >> bit) & 1 == 1).map(|bit| (format!("l{bit}"), "1"));
            let need = if matches!(reservation, Reservation::Zero { .. } | Reservation::None) { 0 } else { need };
            let group = (group > 0).then(|| format!("Set {group}").into());
            // Jobs with equal priorities are ordered by age, and Jobs of equal age by name.
            let base = job(&format!("job-{name:02}"), i64::from(name % 5));
            Workload { priority, reservation, need, live, labels: labels.collect(), group, ..base }
        })
}

fn an_event() -> impl Strategy<Value = Event> {
    let max = || prop_oneof![Just(None), (0_usize..7).prop_map(Some)];
    prop_oneof![
        8 => a_job().prop_map(Event::Job),
        3 => (0_u8..12).prop_map(Event::Gone),
        1 => prop::collection::vec((0_u8..4, max(), max(), 0_u8..4), 0..4).prop_map(Event::Limits),
    ]
}

/// Returns the limits of an event. Each limit selects Jobs by one label, or all Jobs.
fn limits_of(limits: &[(u8, Option<usize>, Option<usize>, u8)]) -> Vec<Arc<LimitView>> {
    let by_name: BTreeMap<u8, _> = limits.iter().map(|limit| (limit.0, limit)).collect();
    let views = by_name.into_values().map(|(name, jobs, pods, label)| {
        let selector = if *label < 3 { json!({"matchLabels": {format!("l{label}"): "1"}}) } else { json!({}) };
        let jobs = if jobs.is_none() && pods.is_none() { Some(1) } else { *jobs };
        limit(&format!("limit-{name}"), &json!({"maxActiveJobs": jobs, "maxActivePods": pods, "selector": selector}))
    });
    views.collect()
}

/// Reference model that evaluates all Jobs from scratch after each event.
#[derive(Default)]
struct Model {
    limits: Vec<Arc<LimitView>>,
    jobs: BTreeMap<Uid, (Workload, bool)>,
}

impl Model {
    fn selects(limit: &LimitView, job: &Workload) -> bool {
        limit.covers(&job.labels)
    }

    /// Returns the number of Jobs and pods that use capacity of a limit.
    fn used(&self, limit: &LimitView) -> (usize, usize) {
        let selected = self.jobs.values().filter(|(job, _)| Self::selects(limit, job));
        selected.fold((0, 0), |(jobs, pods), (job, admitted)| {
            if *admitted { (jobs + 1, pods + job.need.max(job.live)) } else { (jobs, pods + job.live) }
        })
    }

    fn has_room(&self, limit: &LimitView, job: &Workload) -> bool {
        let (jobs, pods) = self.used(limit);
        let more = job.need.max(job.live) - job.live;
        limit.jobs.is_none_or(|max| jobs < max) && limit.pods.is_none_or(|max| pods + more <= max)
    }

    fn apply(&mut self, event: &Event) {
        match event {
            _ if self.limits.is_empty() && !matches!(event, Event::Limits(_)) => {}
            Event::Gone(name) => drop(self.jobs.remove(&Uid::from(format!("job-{name:02}").as_str()))),
            Event::Job(job) => {
                let before = self.jobs.get(&job.uid);
                let keeps =
                    before.is_some_and(|(before, admitted)| *admitted && before.reservation == Reservation::Requested);
                let admitted = match job.reservation {
                    Reservation::Reserved | Reservation::Zero { reserved: true } => true,
                    Reservation::Requested => keeps,
                    Reservation::None | Reservation::Zero { reserved: false } => false,
                };
                self.jobs.insert(job.uid.clone(), (job.clone(), admitted));
            }
            Event::Limits(limits) => {
                self.limits = limits_of(limits);
                if self.limits.is_empty() {
                    self.jobs.clear();
                }
            }
        }
        let mut waiting: Vec<Workload> = self
            .jobs
            .values()
            .filter(|(job, admitted)| job.reservation == Reservation::Requested && !admitted)
            .map(|(job, _)| job.clone())
            .collect();
        waiting.sort_by_key(|job| (Reverse(job.priority), job.created, job.name.clone()));
        let mut held_back = BTreeSet::new();
        // Sets of limits for which a Job waits already. Only the first Job of each set blocks others.
        let mut queued = BTreeSet::new();
        for job in waiting {
            let own: Vec<Arc<LimitView>> =
                self.limits.iter().filter(|limit| Self::selects(limit, &job)).cloned().collect();
            let never = own.iter().any(|limit| limit.jobs == Some(0) || limit.pods.is_some_and(|max| job.need > max));
            let names: Vec<_> = own.iter().map(|limit| limit.identity.name.clone()).collect();
            if own.is_empty() || never || queued.contains(&names) {
                continue;
            }
            let full: Vec<_> = own.iter().filter(|limit| !self.has_room(limit, &job)).collect();
            let waits = !full.is_empty() || own.iter().any(|limit| held_back.contains(&limit.identity.name));
            held_back.extend(full.into_iter().map(|limit| limit.identity.name.clone()));
            if waits {
                queued.insert(names);
            } else if let Some((_, admitted)) = self.jobs.get_mut(&job.uid) {
                *admitted = true;
            }
        }
    }

    fn expected(&self, job: &Workload, admitted: bool) -> AdmissionState {
        let own: Vec<usize> = (0..self.limits.len()).filter(|at| Self::selects(&self.limits[*at], job)).collect();
        match job.reservation {
            _ if own.is_empty() => AdmissionState::Unlimited,
            Reservation::None => AdmissionState::Unlimited,
            Reservation::Zero { .. } => AdmissionState::NoPods,
            _ if admitted => AdmissionState::Admitted,
            _ => {
                let large = own.iter().find(|at| self.limits[**at].pods.is_some_and(|max| job.need > max));
                large.map_or(AdmissionState::Pending, |at| AdmissionState::TooLarge(*at))
            }
        }
    }
}

/// Compares the incremental state with the model. Without limits, neither of them keeps admissions.
fn check(model: &Model, admissions: &Admissions) -> Result<(), TestCaseError> {
    for (job, admitted) in model.jobs.values() {
        prop_assert_eq!(admissions.state(&job.uid), model.expected(job, *admitted), "{:?}", job);
        if let Some(waiting) = admissions.describe_waiting_status(&job.uid)
            && waiting.reason.is_queue()
        {
            let limit = model.limits.iter().find(|limit| *limit.identity.name == *waiting.limit).unwrap();
            let key = |job: &Workload| (Reverse(job.priority), job.created, job.name.clone());
            let ahead = model.jobs.values().filter(|(other, admitted)| {
                model.expected(other, *admitted) == AdmissionState::Pending
                    && Model::selects(limit, other)
                    && key(other) < key(job)
            });
            prop_assert_eq!(waiting.position, 1 + ahead.count());
        }
    }
    for (at, limit) in model.limits.iter().enumerate() {
        let used = admissions.limit(at).used;
        prop_assert_eq!((used.jobs, used.pods), model.used(limit), "{:?}", limit);
        let load = admissions.load_of(&limit.identity.name);
        let state = |job: &Workload, admitted: bool| model.expected(job, admitted);
        let selected = || model.jobs.values().filter(|(job, _)| Model::selects(limit, job));
        let mut queued: Vec<&Workload> = selected()
            .filter(|(job, admitted)| state(job, *admitted) == AdmissionState::Pending)
            .map(|(job, _)| job)
            .collect();
        queued.sort_by_key(|job| (Reverse(job.priority), job.created, job.name.clone()));
        let is_too_large =
            |(job, admitted): &&(Workload, bool)| matches!(state(job, *admitted), AdmissionState::TooLarge(_));
        prop_assert_eq!(load.waiting, queued.len() + selected().filter(is_too_large).count());
        prop_assert_eq!(load.used, used);
        let first: Vec<Arc<str>> = queued.iter().take(5).map(|job| job.name.clone()).collect();
        prop_assert_eq!(load.next, first);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn every_event_gives_the_result_of_an_evaluation_from_scratch(events in prop::collection::vec(an_event(), 1..60)) {
        let (mut model, mut admissions) = (Model::default(), Admissions::default());
        let first = Event::Limits(vec![(0, Some(2), None, 3), (1, None, Some(5), 0)]);
        for event in std::iter::once(first).chain(events) {
            let before: Vec<Uid> = model.jobs.values().filter(|(_, admitted)| *admitted).map(|(job, _)| job.uid.clone()).collect();
            model.apply(&event);
            let changed = match &event {
                Event::Job(job) => admissions.set_job(job.clone()),
                Event::Gone(name) => admissions.remove_job(&format!("job-{name:02}").as_str().into()),
                Event::Limits(limits) if admissions.is_unlimited() || limits.is_empty() => admissions.load(limits_of(limits), []),
                Event::Limits(limits) => admissions.set_limits(limits_of(limits)),
            };
            check(&model, &admissions)?;
            for (job, admitted) in model.jobs.values() {
                let newly = *admitted && job.reservation == Reservation::Requested && !before.contains(&job.uid);
                if newly && admissions.state(&job.uid) == AdmissionState::Admitted {
                    prop_assert!(changed.contains(&job.uid), "{} is admitted but not returned for a sync", job.name);
                    for limit in model.limits.iter().filter(|limit| Model::selects(limit, job)) {
                        let (jobs, pods) = model.used(limit);
                        prop_assert!(limit.jobs.is_none_or(|max| jobs <= max) && limit.pods.is_none_or(|max| pods <= max));
                    }
                }
            }
        }
    }
}
