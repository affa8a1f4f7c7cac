//! Installing: by one plain `kubectl apply`, with what goes wrong named.

use std::fs;

use anyhow::{Context, Result};
use testbed::Kubectl;

use crate::environment::{Environment, SYSTEM, file, processes};
use crate::harness::until;
use crate::outcomes;

#[tokio::test(flavor = "multi_thread")]
async fn installation_by_one_command_runs_every_example() -> Result<()> {
    let Some(environment) = Environment::turn().await? else { return Ok(()) };
    // Its objects are in two namespaces, so none is given.
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
    outcomes::come_true(&user).await?;
    environment.cluster.delete_namespace(&user.namespace).await?;
    kubectl.run(&["delete", "-f", &manifest, "--timeout=90s"]).await?;
    Ok(())
}

/// The processes run as nobody in particular, on a file system they cannot change, without any capability.
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
        let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).context("a root")?;
        let options = root.split(' ').nth(5).context("mount options")?;
        assert!(options.split(',').any(|option| option == "ro"), "{pod}: {root}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_permissions_are_logged_and_detected_once_granted() -> Result<()> {
    let Some(environment) = Environment::turn().await? else { return Ok(()) };
    environment.install(SYSTEM, "jobwright", &["--set", "rbac.create=false", "--set", "replicas=1"])?;
    let kubectl = environment.kubectl()?;
    let named = "get, list, watch jobs in all namespaces; ";
    until("the log to name them", || async {
        let log = kubectl.run(&["logs", "deployment/jobwright"]).await.unwrap_or_default();
        Ok(if log.contains(named) { Ok(()) } else { Err(log) })
    })
    .await?;
    let pod = environment.pods().await?.pop().context("a pod")?;
    // The API server passes a refusal's text on in its error.
    let answer = environment.get(&pod, "/readyz").await.expect_err("it is not ready").to_string();
    assert!(answer.contains("permissions") || answer.contains("503") || answer.contains("unable"), "{answer}");
    let ready = ["get", "deployment", "jobwright", "--output=jsonpath={.status.readyReplicas}"];
    assert_eq!(kubectl.run(&ready).await?, "");
    assert_eq!(environment.get(&pod, "/livez").await?, "ok\n", "it need not be started again for it");
    // Granted, they are found without a restart.
    environment.install_ready(&["--set", "replicas=1"]).await?;
    assert_eq!(environment.pods().await?, [pod]);
    environment.uninstall(SYSTEM, "jobwright").await
}

#[tokio::test(flavor = "multi_thread")]
async fn second_installation_stays_idle_and_logs_the_reason() -> Result<()> {
    let Some(environment) = Environment::turn().await? else { return Ok(()) };
    environment.install_ready(&["--set", "replicas=1"]).await?;
    let leader = environment.leader().await?;
    environment.install("jobwright-too", "second", &["--set", "replicas=1"])?;
    let second = Kubectl::new(environment.cluster, "jobwright-too".to_owned())?;
    let message =
        "another installation of Jobwright (jobwright-system/jobwright, claim=managed-by) works on this cluster";
    until("the log to say why", || async {
        let log = second.run(&["logs", "deployment/jobwright-second"]).await.unwrap_or_default();
        Ok(if log.contains(message) { Ok(()) } else { Err(log) })
    })
    .await?;
    let ready = ["get", "deployment", "jobwright-second", "--output=jsonpath={.status.readyReplicas}"];
    assert_eq!(second.run(&ready).await?, "", "it does not look as if all were well");
    assert_eq!(environment.leader().await?, leader);
    environment.uninstall("jobwright-too", "second").await?;
    environment.uninstall(SYSTEM, "jobwright").await
}
