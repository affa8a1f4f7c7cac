//! Test of a leader whose caches never become complete: it has to release the Lease to another replica.

use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use crate::faults::Faults;
use crate::objects::has_condition;
use crate::run::{Stage, simulated};
use crate::scenario::{Action, Scenario};
use crate::world::job_key;

/// Returns a scenario of two replicas and one Job of three pods, without faults.
fn scenario() -> Scenario {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "simulated"}]}});
    let job = json!({"spec": {"completions": 3, "parallelism": 3, "template": template}});
    Scenario {
        seed: 1,
        replicas: 2,
        failing: 0,
        graceful: 0,
        faults: Faults::default(),
        extended: false,
        job_policies: false,
        gangs: false,
        fast_pods: false,
        actions: vec![(0, Action::CreateJob(0, job))],
    }
}

/// Returns the holder of the Lease; empty if there is no Lease.
fn holder(stage: &Stage) -> String {
    let state = stage.server.lock();
    let leases: Vec<&Value> = state.store.of("leases").map(|(_, lease)| lease).collect();
    leases.iter().filter_map(|lease| lease["spec"]["holderIdentity"].as_str()).collect()
}

#[test]
fn leader_whose_lists_are_never_answered_releases_the_lease_after_two_minutes() {
    simulated(1, async {
        let scenario = scenario();
        let mut stage = Stage::new(&scenario, false);
        stage.server.lock().unanswered = vec!["replica-1".to_owned(), "replica-2".to_owned()];
        let begun = Instant::now();
        stage.run_until(begun).await?;
        stage.action(&scenario.actions[0].1);
        stage.run_until(begun + Duration::from_secs(5)).await?;
        let first = holder(&stage);
        stage.server.lock().unanswered = vec![first.clone()];
        stage.run_until(begun + Duration::from_secs(110)).await?;
        assert_eq!(holder(&stage), first, "the leader keeps the Lease for two minutes while it catches up");
        stage.run_until(begun + Duration::from_secs(120 + 15 + 5)).await?;
        assert!(
            ![String::new(), first].contains(&holder(&stage)),
            "the other replica holds the Lease after two minutes"
        );
        stage.run_until(begun + Duration::from_secs(200)).await?;
        let complete = stage.server.lock().store.get(&job_key(0)).is_ok_and(|job| has_condition(job, "Complete"));
        assert!(complete, "the other replica completes the Job");
        Ok(())
    })
    .unwrap();
}
