//! Installation by one `kubectl apply` or by the chart, and the reports of missing permissions and of a second
//! installation.

use std::fs;

use anyhow::{Context, Result};
use testbed::Kubectl;

use crate::environment::{Environment, SYSTEM, file, processes};
use crate::harness::until;
use crate::outcomes;

#[tokio::test(flavor = "multi_thread")]
async fn installation_by_one_command_runs_every_example() -> Result<()> {
    let Some(environment) = Environment::exclusive().await? else { return Ok(()) };
    // The manifest has objects in two namespaces, so kubectl gets no namespace.
    let kubectl = Kubectl::new(environment.cluster, String::new())?;
    let manifest = file("deploy/install.yaml");
    kubectl.run(&["apply", "-f", &manifest]).await?;
    environment.rolled_out().await?;
    assert_eq!(environment.pods().await?.len(), 2);
    if environment.is_ours() {
        confined().await?;
    }
    for pod in environment.pods().await? {
        assert_eq!(environment.get(&pod, "/readyz").await?, "ok\n");
        let metrics = environment.get(&pod, "/metrics").await?;
        let leads = u8::from(pod == environment.leader().await?);
        assert!(metrics.contains(&format!("\njobwright_leader {leads}\n")), "{pod}: {metrics}");
    }
    let user = environment.user("examples").await?;
    outcomes::check_outcomes(&user).await?;
    environment.cluster.delete_namespace(&user.namespace).await?;
    kubectl.run(&["delete", "-f", &manifest, "--timeout=90s"]).await?;
    Ok(())
}

/// Checks that the processes run as an unprivileged user, on a read-only file system and without capabilities.
async fn confined() -> Result<()> {
    let processes = processes()?;
    assert_eq!(processes.len(), 2, "{processes:?}");
    for (pid, pod) in processes {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(field("Uid:"), "65532 65532 65532 65532", "{pod}");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{pod} {set}");
        }
        assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".to_owned(), "2".to_owned()), "{pod}");
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
        let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).context("missing root")?;
        let options = root.split(' ').nth(5).context("missing mount options")?;
        assert!(options.split(',').any(|option| option == "ro"), "{pod}: {root}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_permissions_are_logged_and_detected_once_granted() -> Result<()> {
    let Some(environment) = Environment::exclusive().await? else { return Ok(()) };
    environment.install(SYSTEM, "jobwright", &["--set", "rbac.create=false", "--set", "replicas=1"])?;
    let kubectl = environment.kubectl()?;
    let named = "get, list, patch, watch jobs in all namespaces; ";
    until("the log to name the missing permissions", || async {
        let log = kubectl.run(&["logs", "deployment/jobwright"]).await.unwrap_or_default();
        Ok(if log.contains(named) { Ok(()) } else { Err(log) })
    })
    .await?;
    let pod = environment.pods().await?.pop().context("missing pod")?;
    // The error of the API server contains the text of the response.
    let answer = environment.get(&pod, "/readyz").await.expect_err("the replica must not be ready").to_string();
    assert!(answer.contains("permissions") || answer.contains("503") || answer.contains("unable"), "{answer}");
    let ready = ["get", "deployment", "jobwright", "--output=jsonpath={.status.readyReplicas}"];
    assert_eq!(kubectl.run(&ready).await?, "");
    assert_eq!(environment.get(&pod, "/livez").await?, "ok\n", "missing permissions must not fail the liveness probe");
    // The replica detects granted permissions without a restart.
    environment.install_ready(&["--set", "replicas=1"]).await?;
    assert_eq!(environment.pods().await?, [pod]);
    environment.uninstall(SYSTEM, "jobwright").await
}

#[tokio::test(flavor = "multi_thread")]
async fn second_installation_stays_idle_and_logs_the_reason() -> Result<()> {
    let Some(environment) = Environment::exclusive().await? else { return Ok(()) };
    environment.install_ready(&["--set", "replicas=1"]).await?;
    let leader = environment.leader().await?;
    environment.install("jobwright-too", "second", &["--set", "replicas=1"])?;
    let second = Kubectl::new(environment.cluster, "jobwright-too".to_owned())?;
    let message =
        "another installation of Jobwright (jobwright-system/jobwright, claim=managed-by) works on this cluster";
    until("the log to give the reason", || async {
        let log = second.run(&["logs", "deployment/jobwright-second"]).await.unwrap_or_default();
        Ok(if log.contains(message) { Ok(()) } else { Err(log) })
    })
    .await?;
    let ready = ["get", "deployment", "jobwright-second", "--output=jsonpath={.status.readyReplicas}"];
    assert_eq!(second.run(&ready).await?, "", "the second installation must not be ready");
    assert_eq!(environment.leader().await?, leader);
    environment.uninstall("jobwright-too", "second").await?;
    environment.uninstall(SYSTEM, "jobwright").await
}
