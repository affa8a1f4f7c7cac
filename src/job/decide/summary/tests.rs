//! Tests of the summary: what it counts, and that changes lead to the same summary as a new computation.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::fixtures::*;
use super::*;
use crate::job::status::FAILURE_TARGET;
use crate::runtime::identity::ResourceVersion;

fn pod_names(set: &PodSet) -> Vec<String> {
    names(&set.iter().cloned().collect::<Vec<_>>())
}

#[test]
fn finished_pod_counts_once_whether_new_uncounted_or_counted() {
    let job = Job::new().counted(3, 2).uncounted(&["uid-b"], &["uid-d"]);
    let pods = [
        pod("a").succeeded(5),
        pod("b").succeeded(5),
        pod("c").failed(5),
        pod("d").failed(5),
        pod("e").untracked().succeeded(5),
    ];
    let summary = job.summary(&pods);
    assert_eq!((summary.succeeded(), summary.failed()), (3 + 1 + 1, 2 + 1 + 1));
    assert_eq!(pod_names(summary.new_succeeded()), ["a"]);
    assert_eq!(pod_names(summary.new_failed()), ["c"]);
}

#[test]
fn pod_being_deleted_is_terminating_and_failed_but_not_active() {
    let pods = [pod("a").running(1).ready(2).deleting(9), pod("b").running(1).ready(2), pod("c").running(1)];
    let summary = Job::new().summary(&pods);
    assert_eq!((summary.active(), summary.ready(), summary.terminating(), summary.failed()), (2, 1, 1, 1));
    let waits = Job::new().replace_only_failed().summary(&pods);
    assert_eq!((waits.terminating(), waits.failed()), (1, 0), "podReplacementPolicy: Failed waits for the phase");
}

#[test]
fn pod_listed_as_failed_does_not_count_as_succeeded() {
    let job = Job::new().work_queue().uncounted(&[], &["uid-a"]);
    let summary = job.summary(&[pod("a").deleting(3).succeeded(5)]);
    assert_eq!((summary.succeeded(), summary.failed()), (0, 1));
}

#[test]
fn failures_that_a_policy_ignores_do_not_count() {
    let job = Job::new().rule("Ignore", 42);
    let summary = job.summary(&[pod("a").failed(5).exit("main", 42), pod("b").failed(5).exit("main", 1)]);
    assert_eq!((summary.failed(), summary.new_failed().len()), (1, 2));
}

#[test]
fn only_pods_with_a_valid_index_of_an_indexed_job_count() {
    let job = Job::new().indexed(2).completed("0").counted(1, 0);
    let pods = [
        pod("again").index(0).succeeded(5),
        pod("new").index(1).succeeded(5),
        pod("beyond").index(2).succeeded(5),
        pod("none").failed(5),
        pod("bad").index(1).failed(5),
    ];
    let summary = job.summary(&pods);
    assert_eq!((summary.succeeded(), summary.failed()), (2, 1));
    assert_eq!(
        pod_names(summary.inactive()),
        ["none", "again", "bad", "new", "beyond"],
        "tracked pods are in order of their indexes"
    );
}

#[test]
fn pod_that_the_selector_does_not_match_counts_only_as_unended() {
    let summary = Job::new().summary(&[pod("a").label("app", "other"), pod("b").orphan()]);
    assert_eq!((summary.len(), summary.unended(), summary.active(), summary.is_idle()), (1, 1, 0, true));
    assert_eq!(pod_names(summary.unselected()), ["a"]);
}

/// One change of a Job or of one of its pods.
#[derive(Clone, Debug)]
enum Event {
    /// A pod is set to another version.
    Pod(Box<Pod>),
    /// A pod leaves the Job.
    Gone(u8),
    /// The status lists these pods as succeeded and as failed.
    Uncounted(Vec<u8>, Vec<u8>),
    /// The status stores these indexes as completed and as failed, and these numbers of pods.
    Stored { completed: Vec<u32>, failed: Vec<u32>, counts: (i32, i32) },
    /// The number of completions changes.
    Completions(i32),
    /// The annotation that lists the indexes changes.
    Indexes(&'static str),
    /// The Job gets its outcome.
    Outcome,
}

fn name(number: u8) -> String {
    format!("{number:03}")
}

fn changed_pod() -> impl Strategy<Value = Pod> {
    let flags = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.8), prop::bool::weighted(0.9));
    let numbers = (prop::option::weighted(0.9, 0_u32..6), 0_i32..3, 0_i32..3, 0_i64..50);
    (0_u8..8, 0_u8..5, flags, numbers, prop::sample::select(&[0, 1, 42, 43][..])).prop_map(
        |(number, phase, (deleting, ready, tracked, own), (index, restarts, failures, at), code)| {
            let made =
                pod(&name(number)).running(at).restarts(restarts).failures(failures, restarts).exit("main", code);
            let made = match index {
                Some(index) => made.index(index),
                None => made,
            };
            let made = match phase {
                0 => made.with(|pod| pod.phase = Phase::Pending),
                1 => made,
                2 => made.unknown(),
                3 => made.succeeded(at),
                _ => made.failed(at),
            };
            let made = if deleting { made.deleting(at) } else { made };
            let made = if ready { made.ready(at) } else { made };
            let made = if tracked { made } else { made.untracked() };
            if own { made } else { made.label("app", "other") }
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let pods = || prop::collection::vec(0_u8..8, 0..4);
    let indexes = || prop::collection::vec(0_u32..6, 0..4);
    let stored = (indexes(), indexes(), (0_i32..4, 0_i32..4));
    prop_oneof![
        8 => changed_pod().prop_map(|pod| Event::Pod(Box::new(pod))),
        2 => (0_u8..8).prop_map(Event::Gone),
        2 => (pods(), pods()).prop_map(|(succeeded, failed)| Event::Uncounted(succeeded, failed)),
        2 => stored.prop_map(|(completed, failed, counts)| Event::Stored { completed, failed, counts }),
        1 => (1_i32..7).prop_map(Event::Completions),
        1 => listed_indexes().prop_map(Event::Indexes),
        1 => Just(Event::Outcome),
    ]
}

/// Returns lists of indexes, of which some are invalid for a Job with few completions.
fn listed_indexes() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["0", "1,3", "2-5", "0-4", "x"][..])
}

fn job_of_any_kind() -> impl Strategy<Value = Job> {
    (any::<[bool; 4]>(), prop::option::of(0_i32..3), prop::option::weighted(0.3, listed_indexes())).prop_map(
        |([indexed, policy, waits_for_end, index_policy], per_index, listed)| {
            let job = Job::new().completions(5).parallelism(3);
            let job = if indexed { job.indexed(5) } else { job };
            let job = listed.into_iter().fold(job, Job::indexes);
            let job = match per_index.filter(|_| indexed) {
                Some(limit) if index_policy => job.per_index(limit).rule("FailIndex", 43),
                Some(limit) => job.per_index(limit),
                None => job,
            };
            let job = if policy { job.rule("Ignore", 42).rule("FailJob", 1) } else { job };
            if waits_for_end { job.replace_only_failed() } else { job }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// After each of any changes, the summary equals a new one.
    #[test]
    fn summary_after_any_changes_equals_a_new_one(
        job in job_of_any_kind(),
        events in prop::collection::vec(event(), 1..40),
    ) {
        let (mut job, mut pods, mut version) = (job, BTreeMap::new(), 1);
        let mut summary = PodSummary::new(&job.view, []);
        for event in events {
            match event.clone() {
                Event::Pod(changed) => {
                    version += 1;
                    let changed = changed.with(|pod| pod.identity.resource_version = ResourceVersion(version));
                    let pod = Arc::new(changed.view);
                    let uid = pod.identity.uid.clone();
                    summary.set_pod(&job.view, &uid, Some(pod.clone()));
                    pods.insert(uid, pod);
                }
                Event::Gone(number) => {
                    let uid = format!("uid-{}", name(number)).into();
                    summary.set_pod(&job.view, &uid, None);
                    pods.remove(&uid);
                }
                Event::Uncounted(succeeded, failed) => {
                    let uids = |numbers: Vec<u8>| -> Vec<Uid> {
                        numbers.into_iter().map(|number| format!("uid-{}", name(number)).into()).collect()
                    };
                    let (succeeded, failed) = (uids(succeeded), uids(failed));
                    job = job.with(|job| {
                        (job.status.uncounted.succeeded, job.status.uncounted.failed) = (succeeded, failed);
                    });
                }
                Event::Stored { completed, failed, counts } => {
                    let text = |indexes: Vec<u32>| indexes.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
                    job = job.completed(&text(completed)).failed_indexes(&text(failed)).counted(counts.0, counts.1);
                }
                Event::Completions(completions) => job = job.completions(completions),
                Event::Indexes(listed) => job = job.indexes(listed),
                Event::Outcome => job = job.condition(FAILURE_TARGET),
            }
            summary.set_job(&job.view);
            let computed = PodSummary::new(&job.view, pods.values().cloned());
            prop_assert!(summary == computed, "after {:?}: {:#?} differs from {:#?}", event, summary, computed);
        }
    }
}
