//! Completion of names, flags and values, in bash, zsh, fish and kubectl.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::harness::*;
use crate::pseudo_terminal::Terminal;
use crate::user_commands::expect;

/// A folder with the binary under both of its names, the completion script of kubectl, and kubectl.
struct Programs {
    dir: tempfile::TempDir,
}

impl Programs {
    async fn new(scene: &Scene) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let link = |from: &Path, name: &str| std::os::unix::fs::symlink(from, dir.path().join(name));
        let binary = Path::new(env!("CARGO_BIN_EXE_jobwright"));
        link(binary, "jobwright")?;
        link(binary, "kubectl-jobwright")?;
        if scene.cluster.control.is_some() {
            link(&testbed::assets::KUBECTL.path()?, "kubectl")?;
        }
        let script = dir.path().join("kubectl_complete-jobwright");
        std::fs::write(&script, expect(scene, 0, &["completions", "kubectl"]).await?)?;
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(Self { dir })
    }

    /// Writes the completion script of a shell to a file.
    async fn script(&self, scene: &Scene, shell: &str) -> Result<PathBuf> {
        let file = self.dir.path().join(format!("completion.{shell}"));
        std::fs::write(&file, expect(scene, 0, &["completions", shell]).await?)?;
        Ok(file)
    }

    /// Returns a shell that finds these programs first, and the cluster.
    fn shell(&self, scene: &Scene, shell: &str, args: &[&str]) -> Result<Command> {
        let mut command = Command::new(shell);
        command.args(args).env("PATH", format!("{}:{}", self.dir.path().display(), std::env::var("PATH")?));
        command.env("HOME", self.dir.path()).env("KUBECONFIG", &scene.cluster.kubeconfig).env("LC_ALL", "C.UTF-8");
        Ok(command)
    }
}

/// Returns whether a shell is installed. The test reports that it is skipped otherwise.
fn is_installed(shell: &str) -> bool {
    let found = Command::new(shell).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        testbed::skipped!("{shell} is not installed, so its completion is not tested");
    }
    found
}

async fn scene_with_jobs(prefix: &str) -> Result<Scene> {
    let scene = Scene::without_controller(prefix, &[]).await?;
    for name in ["etl-one", "etl-two", "other"] {
        scene.create(name, json!({})).await?;
    }
    Ok(scene)
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_namespaces_are_completed() -> Result<()> {
    let scene = scene_with_jobs("complete").await?;
    let kubeconfig = format!("--kubeconfig={}", scene.cluster.kubeconfig.display());
    let namespace = format!("--namespace={}", scene.namespace);
    let args = ["__complete", "--", &kubeconfig, &namespace, "explain", "job/etl"];
    assert_eq!(expect(&scene, 0, &args).await?, "job/etl-one\njob/etl-two\n:4\n");
    let args = ["__complete", "--", &kubeconfig, &namespace, "wait", "jobs.batch/o"];
    assert_eq!(expect(&scene, 0, &args).await?, "jobs.batch/other\n:4\n");
    let part = &scene.namespace[..scene.namespace.len() - 1];
    let found = expect(&scene, 0, &["__complete", "--", &kubeconfig, "top", "-n", part]).await?;
    assert!(found.lines().any(|line| line == scene.namespace), "{found}");
    let unreachable = ["__complete", "--", "--server=http://127.0.0.1:1", "wait", "job/"];
    assert_eq!(expect(&scene, 0, &unreachable).await?, ":4\n");

    // The script of bash, as readline calls it.
    let programs = Programs::new(&scene).await?;
    let file = programs.script(&scene, "bash").await?;
    let binary = env!("CARGO_BIN_EXE_jobwright");
    let completed = |line: String| -> Result<String> {
        let call = "source \"$1\"; COMP_LINE=$2; COMP_POINT=${#2}; _jobwright; printf '%s\\n' \"${COMPREPLY[@]}\"";
        let output = Command::new("bash").args(["-c", call, "bash"]).arg(&file).arg(line).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    assert_eq!(completed(format!("{binary} {kubeconfig} {namespace} logs job/etl-t"))?, "job/etl-two\n");
    assert_eq!(completed(format!("{binary} resu"))?, "resume\n");
    assert_eq!(completed(format!("{binary} rerun --dry-run=s"))?, "server\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_completes_the_plugin() -> Result<()> {
    let scene = Scene::without_controller("kubectl-complete", &[]).await?;
    if scene.cluster.control.is_none() {
        testbed::skipped!("a given cluster has its own kubectl");
        return Ok(());
    }
    scene.create("etl", json!({})).await?;
    let programs = Programs::new(&scene).await?;
    let path = format!("{}:{}", programs.dir.path().display(), std::env::var("PATH")?);
    let mut kubectl = Command::new(testbed::assets::KUBECTL.path()?);
    kubectl.args(["__complete", "jobwright", "explain", "-n", &scene.namespace, "job/"]).env("PATH", &path);
    let output = kubectl.env("KUBECONFIG", &scene.cluster.kubeconfig).output()?;
    let text = String::from_utf8(output.stdout)?;
    assert!(text.starts_with("job/etl\n:4\n"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn fish_completes_the_program_and_the_plugin() -> Result<()> {
    if !is_installed("fish") {
        return Ok(());
    }
    let scene = scene_with_jobs("fish").await?;
    let programs = Programs::new(&scene).await?;
    let script = programs.script(&scene, "fish").await?;
    let completed = |load: &str, line: &str| -> Result<Vec<String>> {
        let call = format!("{load} | source; complete --do-complete={line:?}");
        let output = programs.shell(&scene, "fish", &["--no-config", "-c", &call])?.output()?;
        ensure!(output.status.success(), "{call}: {}", String::from_utf8_lossy(&output.stderr));
        // A description follows a candidate after a tab.
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect())
    };
    let own = format!("cat {}", script.display());
    let namespace = &scene.namespace;
    let jobs = completed(&own, &format!("jobwright -n {namespace} explain job/etl"))?;
    assert_eq!(jobs, ["job/etl-one", "job/etl-two"]);
    assert_eq!(completed(&own, &format!("jobwright wait -n {namespace} job/o"))?, ["job/other"]);
    assert_eq!(completed(&own, "jobwright resu")?, ["resume"]);
    assert_eq!(completed(&own, "jobwright rerun --dry-run=s")?, ["--dry-run=server"]);
    if scene.cluster.control.is_none() {
        testbed::report::skipped_part("the rest", "a given cluster has its own kubectl");
        return Ok(());
    }
    let plugin = completed("kubectl completion fish", &format!("kubectl jobwright explain -n {namespace} job/etl"))?;
    assert_eq!(plugin, ["job/etl-one", "job/etl-two"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn zsh_completes_the_program_and_the_plugin() -> Result<()> {
    // Zsh needs a controlling terminal, which setsid sets.
    if !is_installed("zsh") || !is_installed("setsid") {
        return Ok(());
    }
    let scene = scene_with_jobs("zsh").await?;
    let programs = Programs::new(&scene).await?;
    let script = programs.script(&scene, "zsh").await?;
    let with_kubectl = scene.cluster.control.is_some();
    let mut shell = programs.shell(&scene, "setsid", &["--ctty", "zsh", "-f", "-i"])?;
    shell.env("PS1", "prompt> ");
    let namespace = scene.namespace.clone();
    tokio::task::spawn_blocking(move || {
        let mut terminal = Terminal::of(shell, (200, 24), &[])?;
        terminal.press(&format!(
            "autoload -Uz compinit && compinit -u -D && source {}; echo rea''dy\r",
            script.display()
        ))?;
        terminal.wait_for("ready\r")?;
        // The completed command runs, so that its message has the whole name.
        terminal.press(&format!("jobwright -n {namespace} logs job/etl-t\t\r"))?;
        terminal.wait_for("jobwright: job/etl-two has no pods")?;
        terminal.press(&format!("jobwright timel\t -n {namespace} job/oth\t\r"))?;
        terminal.wait_for("job/other is running: 0 succeeded, 0 failed")?;
        if with_kubectl {
            terminal.press("source <(kubectl completion zsh); echo rea''dy\r")?;
            terminal.wait_for("ready\r")?;
            terminal.press(&format!("kubectl jobwright logs -n {namespace} job/etl-o\t\r"))?;
            terminal.wait_for("jobwright: job/etl-one has no pods")?;
        }
        terminal.press("exit\r")?;
        terminal.end()?;
        Ok(())
    })
    .await?
}
