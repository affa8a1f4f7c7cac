//! `remove-finalizers` and `uninstall-check`: after an uninstallation, no pod stays in deletion because of a finalizer.

use std::process::{Output, Stdio};

use anyhow::Result;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, PropagationPolicy};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::harness::*;

/// Flags for leader election with a Lease that expires after 2 s.
const ELECTION: [&str; 4] = [
    "--leader-elect=true",
    "--leader-elect-lease-duration=2s",
    "--leader-elect-renew-deadline=1s",
    "--leader-elect-retry-period=200ms",
];

impl Scene {
    /// Runs a subcommand on the scene's namespace, which also contains the Lease. Returns success, stdout and stderr.
    async fn jobwright_uninstall(&self, args: &[&str]) -> Result<(bool, String, String)> {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_jobwright"));
        command.args(args).stdin(Stdio::null());
        command.arg(format!("--namespace={}", self.namespace));
        command.arg(format!("--leader-elect-resource-namespace={}", self.namespace));
        command.arg(format!("--kubeconfig={}", self.cluster.kubeconfig.display()));
        let Output { status, stdout, stderr } = command.output().await?;
        Ok((status.success(), String::from_utf8(stdout)?, String::from_utf8(stderr)?))
    }

    async fn delete_in_foreground(&self, job: &str) -> Result<()> {
        let params =
            DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..DeleteParams::default() };
        self.jobs.delete(job, &params).await?;
        until("all pods to be in deletion", || async {
            let pods = self.pods_of(job).await?;
            let waiting = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count();
            Ok(if waiting == 0 { Ok(()) } else { Err(format!("{waiting} pods are not in deletion")) })
        })
        .await
    }

    async fn tracked(&self) -> Result<usize> {
        Ok(self.pods.list(&Default::default()).await?.iter().filter(|pod| is_tracked(pod)).count())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn finalizers_are_removed_once_the_controller_has_stopped_and_the_namespace_terminates() -> Result<()> {
    let mut scene = Scene::with_flags("uninstalled", &ELECTION).await?;
    scene.create("deleted", json!({"parallelism": 2, "completions": 2})).await?;
    scene.create("unfinished", json!({})).await?;
    scene.create("foreign", json!({"managedBy": "example.com/other"})).await?;
    let pods = scene.active("deleted", 2).await?;
    scene.active("unfinished", 1).await?;

    let (done, _, error) = scene.jobwright_uninstall(&["remove-finalizers"]).await?;
    assert!(!done && error.contains("refused: a Jobwright controller is running"), "{error}");
    assert_eq!(scene.tracked().await?, 3);

    // Dropping the controller kills it. Its Lease stays held and is no longer renewed.
    scene.controller = None;
    scene.delete_in_foreground("deleted").await?;
    let namespaces: Api<Namespace> = Api::all(scene.client.clone());
    stays(1.0, || async {
        anyhow::ensure!(
            scene.jobs.get_opt("deleted").await?.is_some(),
            "the Job was deleted although its pods have the finalizer"
        );
        Ok(())
    })
    .await?;

    for mode in ["client", "server"] {
        let (done, text, error) =
            scene.jobwright_uninstall(&["remove-finalizers", &format!("--dry-run={mode}")]).await?;
        assert!(done && text.contains(&format!("pod/{} in namespace {}", pods[0], scene.namespace)), "{text}{error}");
        assert!(text.contains("job/deleted is being deleted") && text.contains("dry run)"), "{text}");
        assert_eq!(scene.tracked().await?, 3, "--dry-run={mode}");
    }

    let (done, text, error) = scene.jobwright_uninstall(&["remove-finalizers", "--output=json"]).await?;
    assert!(done, "{error}");
    let report: Value = serde_json::from_str(&text)?;
    let results = report["pods"].as_array().into_iter().flatten();
    let mut states: Vec<_> =
        results.map(|pod| (pod["job"].as_str(), pod["jobState"].as_str(), pod["result"].as_str())).collect();
    states.sort();
    let removed = |job, state| (Some(job), Some(state), Some("Removed"));
    assert_eq!(
        states,
        [removed("deleted", "Deleting"), removed("deleted", "Deleting"), removed("unfinished", "Unfinished")],
        "{text}"
    );
    assert!(error.contains(&format!("  job/unfinished in namespace {}\n", scene.namespace)), "{error}");
    assert!(!error.contains("job/deleted in"), "{error}");
    assert_eq!(scene.tracked().await?, 0);
    until("the Job to be gone", || async {
        Ok(if scene.jobs.get_opt("deleted").await?.is_none() { Ok(()) } else { Err("the Job still exists".to_owned()) })
    })
    .await?;

    let (done, text, _) = scene.jobwright_uninstall(&["remove-finalizers"]).await?;
    assert!(done && text.starts_with("no pod carries"), "{text}");
    scene.cluster.delete_namespace(&scene.namespace).await?;
    until("the namespace to be gone", || async {
        let found = namespaces.get_opt(&scene.namespace).await?;
        Ok(found.map_or(Ok(()), |found| Err(format!("{:?}", found.status))))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstalling_is_refused_while_pods_would_hang() -> Result<()> {
    let mut scene = Scene::with_flags("uninstall-check", &ELECTION).await?;
    let check = |args: &'static [&'static str]| {
        let scene = &scene;
        async move { scene.jobwright_uninstall(&[&["uninstall-check"], args].concat()).await }
    };
    scene.create("job", json!({})).await?;
    let pod = scene.active("job", 1).await?.remove(0);
    let (done, _, error) = check(&["--timeout=0s"]).await?;
    assert!(!done && error.contains("uninstall refused") && error.contains("of unfinished Jobs: 1"), "{error}");
    assert!(error.contains(&format!("  job/job in namespace {}: 1 pod\n", scene.namespace)), "{error}");
    let (done, text, _) = check(&["--timeout=0s", "--installation=elsewhere/second"]).await?;
    assert!(done && text.contains("another installation of Jobwright (jobwright) works on these Jobs"), "{text}");

    // The check waits until the Job has finished.
    let (checked, ended) = tokio::join!(check(&["--timeout=60s"]), async {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        scene.kubelet.succeed(&pod).await
    });
    ended?;
    let (done, text, error) = checked?;
    assert!(done && text.starts_with("no Job of Jobwright has pods with the finalizer"), "{text}{error}");
    assert_eq!(scene.condition("job", "Complete").await?.succeeded, Some(1));

    scene.create("stopped", json!({"parallelism": 2, "completions": 2})).await?;
    let pods = scene.active("stopped", 2).await?;
    let (done, text, error) = check(&["--timeout=0s", "--remove-finalizers"]).await?;
    assert!(
        done && text.contains(&format!("pod/{} in namespace {}: finalizer removed", pods[0], scene.namespace)),
        "{text}{error}"
    );
    // While the Lease is held, the controller stands by. It creates and tracks no pods.
    scene.kubelet.succeed(&pods[0]).await?;
    stays(1.5, || async {
        anyhow::ensure!(
            scene.pods_of("stopped").await?.len() == 2 && scene.tracked().await? == 0,
            "the controller still works"
        );
        Ok(())
    })
    .await?;
    scene.delete_in_foreground("stopped").await?;
    until("the Job to be gone", || async {
        Ok(if scene.jobs.get_opt("stopped").await?.is_none() { Ok(()) } else { Err("the Job still exists".to_owned()) })
    })
    .await?;
    let left: Vec<String> = scene.pods_of("stopped").await?.iter().map(ResourceExt::name_any).collect();
    assert!(left.is_empty(), "{left:?}");
    scene.controller = None;
    Ok(())
}
