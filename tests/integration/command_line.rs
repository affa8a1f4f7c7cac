//! Output of the binary for its version, for invalid flags, and without a usable cluster.

use std::process::{Command, Output};

use anyhow::Result;
use testbed::Cluster;

fn jobwright(args: &[&str]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobwright"));
    command.args(args).env_remove("KUBECONFIG").env("HOME", "/nonexistent");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("JOBWRIGHT_")) {
        command.env_remove(name);
    }
    Ok(command.output()?)
}

/// Runs a command that must fail, and returns its stderr.
fn stderr_of(args: &[&str]) -> Result<String> {
    let output = jobwright(args)?;
    assert!(!output.status.success(), "{args:?} should fail");
    Ok(String::from_utf8(output.stderr)?)
}

#[test]
fn version_prints_version_commit_and_kubernetes_api() -> Result<()> {
    let output = jobwright(&["version"])?;
    let text = String::from_utf8(output.stdout)?;
    assert!(output.status.success());
    assert!(
        text.contains(env!("CARGO_PKG_VERSION")) && text.contains("commit ") && text.contains("Kubernetes API 1.37"),
        "{text}"
    );
    Ok(())
}

#[test]
fn invalid_flag_or_value_is_named() -> Result<()> {
    assert!(stderr_of(&["run", "--claims=all"])?.contains("--claims"));
    let claim = stderr_of(&["run", "--claim=some"])?;
    assert!(claim.contains("some") && claim.contains("managed-by"), "{claim}");
    let backoff = stderr_of(&["run", "--pod-failure-backoff=ten"])?;
    assert!(backoff.contains("--pod-failure-backoff") && backoff.contains("10s"), "{backoff}");
    let concurrency = stderr_of(&["run", "--concurrency=0"])?;
    assert!(concurrency.contains("--concurrency") && concurrency.contains("at least 1"), "{concurrency}");
    Ok(())
}

#[test]
fn error_without_a_cluster_names_the_kubeconfig_and_the_flag() -> Result<()> {
    let none = stderr_of(&["run"])?;
    assert!(none.contains("no cluster to work with") && none.contains("--kubeconfig"), "{none}");
    let missing = stderr_of(&["run", "--kubeconfig=/nonexistent/config"])?;
    assert!(missing.contains("/nonexistent/config") && missing.contains("--kubeconfig"), "{missing}");
    assert_eq!(missing.trim().lines().count(), 1, "{missing}");
    Ok(())
}

fn kubeconfig(server: &str) -> Result<tempfile::NamedTempFile> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(
        file.path(),
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{{name: a, cluster: {{server: '{server}'}}}}]\n\
             contexts: [{{name: a, context: {{cluster: a, user: a}}}}]\nusers: [{{name: a, user: {{}}}}]\n"
        ),
    )?;
    Ok(file)
}

#[test]
fn an_unreachable_server_is_named() -> Result<()> {
    let [port] = testbed::control_plane::free_ports()?;
    let config = kubeconfig(&format!("https://127.0.0.1:{port}"))?;
    let text = stderr_of(&["run", &format!("--kubeconfig={}", config.path().display())])?;
    assert!(text.contains("cannot reach the API server") && text.contains(&port.to_string()), "{text}");
    Ok(())
}

#[test]
fn an_unknown_context_is_named() -> Result<()> {
    let config = kubeconfig("https://127.0.0.1:1")?;
    let text = stderr_of(&["run", &format!("--kubeconfig={}", config.path().display()), "--context=other"])?;
    assert!(text.contains("other"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_permissions_are_listed() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let Some(control) = &cluster.control else {
        testbed::skipped!("a given cluster issues no certificates for test users");
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("unprivileged.kubeconfig");
    control.authority.kubeconfig(&path, &control.server, "unprivileged-user", &[])?;
    let text = stderr_of(&["run", &format!("--kubeconfig={}", path.display()), "--namespace=default"])?;
    assert!(
        text.contains("missing permissions: ") && text.contains("patch, watch pods in namespace default"),
        "{text}"
    );
    assert!(text.contains("patch jobs/status in namespace default; ") && text.contains("RBAC"), "{text}");
    Ok(())
}
