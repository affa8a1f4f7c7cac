//! Tests of scale: for a Job with 100,000 indexes, the work is linear in the number of indexes and the status stays
//! small.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::backoff::Backoff;
use super::fixtures::{Job, pod, time};
use super::start_waits::StartWaits;
use super::summary::PodSummary;
use super::{DecisionInput, Step, decide};
use crate::job::admission::Admission;
use crate::job::config::SyncConfig;
use crate::job::gang::plan::GroupObjects;
use crate::job::index::IndexSet;
use crate::job::status::JobStatus;
use crate::job::view::{Phase, PodView};
use crate::runtime::identity::Uid;
use crate::runtime::refusals::Refusals;

/// Maximum size of an object in etcd, in bytes.
const ETCD_LIMIT: usize = 1_500_000;
const INDEXES: u32 = 100_000;

#[test]
fn work_is_linear_in_the_number_of_indexes() {
    let mut job = Job::new().indexed(INDEXES.cast_signed()).parallelism(1_000).view;
    // Pods as the cache returns them: without those that have ended and are accounted for.
    let mut pods: BTreeMap<Uid, Arc<PodView>> = BTreeMap::new();
    let mut backoff = Backoff::default();
    let (mut evaluated, mut decisions, mut largest) = (0_usize, 0_usize, 0);
    while !job.status.is_finished() {
        let all: Vec<_> = pods.values().cloned().collect();
        evaluated += all.len();
        decisions += 1;
        let input = DecisionInput {
            admission: &Admission::Unlimited,
            groups: GroupObjects::Unmanaged,
            policy: None,
            refused_memory: None,
            retries: None,
            starts: &StartWaits::default(),
            job: &job,
            pods: &PodSummary::new(&job, all),
            orphans: &[],
            backoff: &backoff,
            last_untracked_deletion: None,
            counters_dirty_since: None,
            refusals: &Refusals::default(),
        };
        let decision = decide(&input, time(100), &SyncConfig::default());
        backoff = decision.backoff;
        match decision.step {
            Step::CreatePods { pods: new, .. } => {
                for new in new {
                    let mut pod = pod(&format!("{:06}", new.index.unwrap())).running(1).view;
                    pod.index = new.index;
                    pods.insert(pod.identity.uid.clone(), Arc::new(pod));
                }
                // Every third pod ends immediately, the others later, so that the completed indexes have gaps.
                end(&mut pods, |number| number.is_multiple_of(3));
            }
            Step::RemoveFinalizers(done) => done.iter().for_each(|pod| {
                pods.remove(&pod.identity.uid);
            }),
            Step::WriteStatus { status, .. } => {
                // The status as the API server returns it.
                let text = status.to_patch().to_string();
                largest = largest.max(text.len());
                job.status = JobStatus::parse(serde_json::from_str(&text).unwrap(), INDEXES);
            }
            Step::None => end(&mut pods, |_| true),
            step => panic!("unexpected step: {step:?}"),
        }
    }
    assert_eq!(job.status.succeeded, INDEXES.cast_signed());
    assert!(evaluated < 30 * INDEXES as usize, "{evaluated} pods were evaluated");
    assert!(decisions < INDEXES as usize / 50, "{decisions} decisions were made");
    assert!(largest < ETCD_LIMIT / 10, "the largest status has {largest} bytes");
}

fn end(pods: &mut BTreeMap<Uid, Arc<PodView>>, which: impl Fn(usize) -> bool) {
    for (number, pod) in pods.values_mut().enumerate() {
        if which(number) {
            Arc::make_mut(pod).phase = Phase::Succeeded;
        }
    }
}

#[test]
fn longest_list_of_indexes_is_far_below_the_limit_of_etcd() {
    let every_second = IndexSet::default().with((0..INDEXES).step_by(2));
    let length = every_second.to_string().len();
    assert!(length < ETCD_LIMIT / 4, "the list has {length} bytes");
}
