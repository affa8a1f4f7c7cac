//! `wait`, `rerun` and `logs` on Jobs whose pods run on a real node.

use std::process::{Output, Stdio};

use anyhow::{Context, Result};
use testbed::Kubectl;

use crate::harness::*;
use crate::scene;

async fn run(scene: &Scene, args: &[&str]) -> Result<(Option<i32>, String, String)> {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_jobwright"));
    command.arg(format!("--namespace={}", scene.namespace));
    command.arg(format!("--kubeconfig={}", scene.cluster.kubeconfig.display())).args(args).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().await?;
    let (out, error) = (String::from_utf8(stdout)?, String::from_utf8(stderr)?);
    println!("$ jobwright {}\n{}{error}", args.join(" "), out.escape_debug().to_string().replace("\\n", "\n"));
    Ok((status.code(), out, error))
}

/// Returns the manifest of an Indexed Job that runs this script of a shell.
fn job(name: &str, completions: usize, script: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  managedBy: jobwright.dev/controller\n  \
         completionMode: Indexed\n  backoffLimit: 0\n  parallelism: {completions}\n  completions: {completions}\n  \
         template:\n    spec:\n      restartPolicy: Never\n      containers:\n      - name: main\n        \
         image: busybox:1.36\n        command: [sh, -c, {script:?}]\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_all_pods_are_followed_to_the_end_of_the_job() -> Result<()> {
    let Some(scene) = scene("logs").await? else { return Ok(()) };
    let kubectl = Kubectl::new(scene.cluster, scene.namespace.clone())?;
    kubectl
        .apply(&job("count", 2, "for n in 1 2 3; do echo \"line $n of $JOB_COMPLETION_INDEX\"; sleep 1; done"))
        .await?;
    let (code, out, error) = run(&scene, &["logs", "job/count", "--follow"]).await?;
    assert_eq!(code, Some(0), "{out}{error}");
    assert_eq!(error, "jobwright: job/count is complete\n");
    for index in 0..2 {
        for line in 1..=3 {
            let end = format!("/main] line {line} of {index}");
            let found = out.lines().filter(|line| line.starts_with("[pod/count-") && line.ends_with(&end)).count();
            assert_eq!(found, 1, "{end} in {out}");
        }
    }
    let (_, out, _) = run(&scene, &["logs", "count", "--index=1", "--tail=1", "--no-prefix"]).await?;
    assert_eq!(out, "line 3 of 1\n");
    let (_, out, _) =
        run(&scene, &["logs", "count", "--index=0", "--timestamps", "--no-prefix", "--container=main"]).await?;
    assert!(out.lines().all(|line| line.starts_with("20") && line.contains("Z line ")), "{out}");
    let (code, out, error) = run(&scene, &["logs", "count", "--failed"]).await?;
    assert_eq!((code, out.as_str()), (Some(0), ""));
    assert!(error.contains("no container of job/count has a log that the flags select"), "{error}");
    scene.cluster.delete_namespace(&scene.namespace).await
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_job_is_waited_for_and_run_again_with_another_command() -> Result<()> {
    let Some(scene) = scene("again").await? else { return Ok(()) };
    let kubectl = Kubectl::new(scene.cluster, scene.namespace.clone())?;
    kubectl.apply(&job("etl", 1, "echo going; printf '\\033[2Jbroken\\n'; exit 4")).await?;
    let (code, out, error) = run(&scene, &["wait", "job/etl", "--timeout=60s"]).await?;
    assert_eq!(code, Some(1), "{out}{error}");
    let (code, out, _) = run(&scene, &["logs", "job/etl", "--failed", "--no-prefix"]).await?;
    assert_eq!((code, out.as_str()), (Some(0), "going\n\u{1b}[2Jbroken\n"), "a pipe gets the log unchanged");
    let (code, table, _) = run(&scene, &["explain"]).await?;
    assert!(code == Some(1) && table.contains("exit code 4"), "{table}");
    let args = ["rerun", "job/etl", "--watch", "--env=WORD=fixed", "--", "sh", "-c", "echo $WORD"];
    let (code, out, error) = run(&scene, &args).await?;
    assert_eq!(code, Some(0), "{out}{error}");
    let name = out.lines().next().and_then(|line| line.strip_suffix(" created")).context("no name")?;
    let (_, out, _) = run(&scene, &["logs", name, "--no-prefix"]).await?;
    assert_eq!(out, "fixed\n");
    let (_, table, _) = run(&scene, &["history", "job/etl"]).await?;
    assert!(table.contains("Rerun of etl") && table.contains("Succeeded") && table.contains("Failed"), "{table}");
    scene.cluster.delete_namespace(&scene.namespace).await
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_indexes_run_again_alone() -> Result<()> {
    let Some(scene) = scene("failed-indexes").await? else { return Ok(()) };
    let kubectl = Kubectl::new(scene.cluster, scene.namespace.clone())?;
    let script =
        "echo part $JOB_COMPLETION_INDEX on $HOSTNAME; test \"$MODE\" = fixed || test $JOB_COMPLETION_INDEX != 1";
    let manifest = job("parts", 3, script).replace("backoffLimit:", "backoffLimitPerIndex:");
    kubectl.apply(&manifest).await?;
    let (code, out, error) = run(&scene, &["wait", "job/parts", "--timeout=60s"]).await?;
    assert_eq!(code, Some(1), "{out}{error}");
    let args = ["rerun", "job/parts", "--failed-indexes", "--watch", "--env=MODE=fixed"];
    let (code, out, error) = run(&scene, &args).await?;
    assert_eq!(code, Some(0), "{out}{error}");
    assert!(error.contains("note: the new Job runs 1 of 3 indexes: 1"), "{error}");
    let name = out.lines().next().and_then(|line| line.strip_suffix(" created")).context("no name")?;
    let (_, logs, _) = run(&scene, &["logs", name, "--no-prefix"]).await?;
    let job = name.trim_start_matches("job.batch/");
    assert_eq!(logs, format!("part 1 on {job}-1\n"), "the index and the hostname are those of index 1");
    let (_, explained, _) = run(&scene, &["explain", name]).await?;
    assert!(explained.contains("The Job ran 1 of 3 indexes: 1"), "{explained}");
    scene.cluster.delete_namespace(&scene.namespace).await
}
