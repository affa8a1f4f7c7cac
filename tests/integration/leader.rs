//! Leader election: one replica works, and another replica takes over when the leader stops, crashes, pauses or loses
//! the API server.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::DeleteParams;
use rustix::process::Signal;
use serde_json::json;
use testbed::{Cluster, Options};

use crate::harness::*;
use crate::metrics::get;

/// Leader election with periods that are short enough for a test.
const SHORT_PERIODS: [&str; 4] = [
    "--leader-elect=true",
    "--leader-elect-lease-duration=5s",
    "--leader-elect-renew-deadline=4s",
    "--leader-elect-retry-period=300ms",
];

impl Scene {
    /// Starts another replica with the flags of the scene and these flags.
    async fn replica(&self, flags: &[&str]) -> Result<Controller> {
        let flags: Vec<String> = self.flags.iter().cloned().chain(flags.iter().map(|&flag| flag.to_owned())).collect();
        Controller::start(&self.kubeconfig, &flags).await
    }

    async fn lease(&self) -> Result<Lease> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        Ok(leases.get("jobwright").await?)
    }

    /// Creates Jobs of ten pods, two at a time, and returns their names.
    async fn many_jobs(&self, count: usize) -> Result<Vec<String>> {
        let names: Vec<String> = (0..count).map(|number| format!("job-{number}")).collect();
        for name in &names {
            let spec = json!({"completions": 10, "parallelism": 2, "completionMode": "Indexed", "backoffLimit": 0});
            self.create(name, spec).await?;
        }
        Ok(names)
    }

    /// Waits until these Jobs are complete, and checks that each pod was created and counted once.
    async fn all_exact(&self, jobs: &[String]) -> Result<()> {
        for job in jobs {
            let status = self.condition(job, "Complete").await?;
            assert_eq!((status.succeeded, status.failed), (Some(10), None), "{job}");
            assert_eq!(self.pods_of(job).await?.len(), 10, "{job}: no pod was created in excess");
        }
        self.nothing_tracked().await
    }

    async fn some_succeeded(&self, job: &str) -> Result<()> {
        self.job_until(job, "some done", |status| status.succeeded.unwrap_or_default() > 2).await?;
        Ok(())
    }
}

impl Controller {
    /// Waits until the log contains this text.
    async fn logs(&self, text: &str) -> Result<()> {
        until(&format!("the log line {text:?}"), || async {
            let log = self.process.log_tail(100_000);
            Ok(if log.contains(text) { Ok(()) } else { Err(self.process.log_tail(20)) })
        })
        .await
    }

    /// Returns the time of the first log line with this text.
    fn logged_at(&self, text: &str) -> Result<Timestamp> {
        let log = self.process.log_tail(100_000);
        let line =
            log.lines().find(|line| line.contains(text)).with_context(|| format!("no log line contains {text:?}"))?;
        Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_leader_releases_its_lease_to_the_next_replica() -> Result<()> {
    let scene = Scene::without_controller("handover", &[]).await?;
    // With the default Lease duration of 15 s, only a released Lease explains a quick successor.
    let mut first = scene.replica(&["--leader-elect=true"]).await?;
    first.logs("working").await?;
    let second = scene.replica(&["--leader-elect=true"]).await?;
    second.logs("standing by").await?;
    let _playing = scene.succeed_all();
    let jobs = scene.many_jobs(10).await?;
    scene.some_succeeded(&jobs[9]).await?;
    let signalled = Timestamp::now();
    let status = first.process.stop(Duration::from_secs(10))?;
    assert!(status.success(), "{status}");
    second.logs("working").await?;
    let handover = second.logged_at("working")?.duration_since(signalled);
    println!("hand-over of a leader that was stopped: {} ms", handover.as_millis());
    assert!(handover.as_secs() < 10, "the Lease was not released: {}", second.process.log_tail(100_000));
    scene.all_exact(&jobs).await?;
    let lease = scene.lease().await?.spec.context("the Lease has no spec")?;
    assert_eq!((lease.lease_transitions, lease.lease_duration_seconds), (Some(1), Some(15)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_leader_is_replaced_after_its_lease_has_expired() -> Result<()> {
    let scene = Scene::without_controller("killed", &[]).await?;
    let mut first = scene.replica(&SHORT_PERIODS).await?;
    first.logs("working").await?;
    let second = scene.replica(&SHORT_PERIODS).await?;
    let _playing = scene.succeed_all();
    let jobs = scene.many_jobs(10).await?;
    scene.some_succeeded(&jobs[0]).await?;
    let killed = Instant::now();
    first.process.kill();
    second.logs("working").await?;
    println!("hand-over of a leader that was killed: {} ms of a Lease of 5 s", killed.elapsed().as_millis());
    scene.all_exact(&jobs).await
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_container_of_the_same_pod_acquires_its_own_lease_again() -> Result<()> {
    let scene = Scene::without_controller("again", &[]).await?;
    let flags = ["--leader-elect=true", "--pod-name=jobwright-0", "--pod-uid=11111111-2222-3333-4444-555555555555"];
    let mut first = scene.replica(&flags).await?;
    first.logs("working").await?;
    first.process.kill();
    let killed = Timestamp::now();
    let again = scene.replica(&flags).await?;
    again.logs("working").await?;
    let handover = again.logged_at("working")?.duration_since(killed);
    assert!(handover.as_secs() < 10, "the replica waited {handover:?}, until the Lease expired");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_paused_beyond_its_lease_stops_writing() -> Result<()> {
    let scene = Scene::without_controller("asleep", &[]).await?;
    let first = scene.replica(&SHORT_PERIODS).await?;
    first.logs("working").await?;
    let second = scene.replica(&SHORT_PERIODS).await?;
    let _playing = scene.succeed_all();
    let jobs = scene.many_jobs(10).await?;
    scene.some_succeeded(&jobs[0]).await?;
    first.process.signal(Signal::STOP);
    second.logs("working").await?;
    first.process.signal(Signal::CONT);
    first.logs("no longer leading").await?;
    scene.all_exact(&jobs).await?;
    // The first replica stands by, and leads again when the second one stops.
    first.logs("standing by").await?;
    drop(second);
    scene.create("after", json!({"completions": 10, "parallelism": 10})).await?;
    scene.all_exact(&["after".to_owned()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_lease_is_recreated_by_its_holder() -> Result<()> {
    let scene = Scene::without_controller("deleted", &[]).await?;
    let leader = scene.replica(&SHORT_PERIODS).await?;
    leader.logs("working").await?;
    let leases: Api<Lease> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let before = scene.lease().await?;
    leases.delete("jobwright", &DeleteParams::default()).await?;
    until("a new Lease of the same holder", || async {
        let lease = leases.get_opt("jobwright").await?;
        let same = lease.as_ref().and_then(|lease| lease.spec.as_ref()).and_then(|spec| spec.holder_identity.as_ref())
            == before.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
        let new = lease.as_ref().is_some_and(|lease| lease.metadata.uid != before.metadata.uid);
        Ok(if same && new { Ok(()) } else { Err(format!("{lease:?}")) })
    })
    .await?;
    let _playing = scene.succeed_all();
    let jobs = scene.many_jobs(1).await?;
    scene.all_exact(&jobs).await?;
    assert!(!leader.process.log_tail(100_000).contains("no longer leading"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_without_an_api_server_stops_writing_and_leads_again_later() -> Result<()> {
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(&Options::default()).await?));
    let control = cluster.control.as_ref().context("the cluster has no control plane of its own")?;
    let scene = Scene::on(cluster, "away", &[]).await?;
    let leader = scene.replica(&SHORT_PERIODS).await?;
    leader.logs("working").await?;
    let _playing = scene.succeed_all();
    let jobs = scene.many_jobs(10).await?;
    scene.some_succeeded(&jobs[0]).await?;
    control.kill_apiserver().await;
    leader.logs("no longer leading").await?;
    control.restart_apiserver().await?;
    scene.all_exact(&jobs).await
}

#[tokio::test(flavor = "multi_thread")]
async fn second_installation_with_the_same_claim_stays_idle_and_reports_the_reason() -> Result<()> {
    let [port] = testbed::control_plane::free_ports()?;
    let listen = format!("--listen=127.0.0.1:{port}");
    let scene = Scene::without_controller("twice", &[]).await?;
    let mut first = scene.replica(&[&SHORT_PERIODS[..], &["--installation=one/jobwright"]].concat()).await?;
    first.logs("working").await?;
    let second = scene.replica(&[&SHORT_PERIODS[..], &["--installation=two/jobwright", &listen]].concat()).await?;
    let message = "another installation of Jobwright (one/jobwright, claim=managed-by) works on this cluster";
    second.logs(message).await?;
    let (code, text) = get(port, "/readyz").await?;
    assert!(code == 503 && text.contains(message) && text.contains("two/jobwright"), "{code} {text}");
    let leader = get(port, "/metrics").await?.1;
    assert!(leader.contains("\njobwright_leader 0\n"), "{leader}");
    // The second installation takes over when the first one stops, so that the Jobs keep a controller.
    first.process.stop(Duration::from_secs(10))?;
    second.logs("working").await?;
    until("readiness", || async {
        let (code, text) = get(port, "/readyz").await?;
        Ok(if code == 200 { Ok(()) } else { Err(text) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn last_writes_of_the_previous_leader_are_known_before_the_first_decision() -> Result<()> {
    let scene = Scene::without_controller("relay", &[]).await?;
    let _playing = scene.succeed_all();
    scene.create("job", json!({"completions": 150, "parallelism": 5})).await?;
    let mut leader = scene.replica(&["--leader-elect=true"]).await?;
    leader.logs("working").await?;
    // Each leader works for a fraction of a second, so that writes are in flight at every hand-over.
    for number in 0..8 {
        let next = scene.replica(&["--leader-elect=true"]).await?;
        tokio::time::sleep(Duration::from_millis(20 * number)).await;
        leader.process.stop(Duration::from_secs(10))?;
        next.logs("working").await?;
        let relisted = next.process.log_tail(100_000).matches("working").count();
        assert_eq!(relisted, 1);
        leader = next;
    }
    let status = scene.condition("job", "Complete").await?;
    assert_eq!((status.succeeded, status.failed), (Some(150), None));
    assert_eq!(scene.pods_of("job").await?.len(), 150, "no pod was created in excess");
    scene.nothing_tracked().await
}
