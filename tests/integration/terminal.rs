//! Output of the commands for users on a terminal of a certain size, and where the output is closed or cannot be stored.

use std::fs::File;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};
use serde_json::json;

use crate::harness::*;
use crate::pseudo_terminal::{Terminal, lines_on, visible};

#[tokio::test(flavor = "multi_thread")]
async fn width_and_colors_follow_the_terminal() -> Result<()> {
    let scene = Scene::new("terminal").await?;
    let long = "nightly-report-of-all-shops";
    scene.create(long, json!({"completions": 3, "parallelism": 2})).await?;
    let pod = scene.active(long, 2).await?.remove(0);
    scene.kubelet.fail(&pod, 3).await?;
    scene.job_until(long, "1 failed", |status| status.failed == Some(1)).await?;
    let config = format!("--kubeconfig={}", scene.cluster.kubeconfig.display());
    let (namespace, job) = (format!("-n={}", scene.namespace), format!("job/{long}"));
    tokio::task::spawn_blocking(move || {
        let commands: [&[&str]; 5] =
            [&["timeline", &job], &["top", "--once"], &["explain", &job], &["explain"], &["history", &job]];
        for command in commands {
            let args = [command, &[&namespace, &config]].concat();
            for columns in [40, 60, 80, 120] {
                let lines = lines_on(&args, columns, &[])?;
                // Commands are not wrapped, so that they can be copied.
                let text = lines.iter().filter(|line| !line.contains("kubectl "));
                let widest = text.map(|line| visible(line)).max().unwrap_or_default();
                assert!(widest <= usize::from(columns), "{command:?} at {columns}: {lines:#?}");
                assert!(lines.iter().any(|line| line.contains("\u{1b}[")), "{command:?} has colors: {lines:#?}");
            }
            let never = [&args[..], &["--color=never"]].concat();
            for (args, env) in [(&never, &[][..]), (&args, &[("NO_COLOR", "1")][..]), (&args, &[("TERM", "dumb")][..])]
            {
                let lines = lines_on(args, 80, env)?;
                assert!(!lines.iter().any(|line| line.contains('\u{1b}')), "{command:?} {env:?}: {lines:#?}");
            }
            let columns = lines_on(&args, 120, &[("COLUMNS", "50")])?;
            let text = columns.iter().filter(|line| !line.contains("kubectl "));
            assert!(text.map(|line| visible(line)).all(|width| width <= 50), "{command:?}: {columns:#?}");
        }
        Ok(())
    })
    .await?
}

#[tokio::test(flavor = "multi_thread")]
async fn top_keeps_its_header_scrolls_sorts_and_quits() -> Result<()> {
    let scene = Scene::without_controller("top", &[]).await?;
    for number in 0..30 {
        scene.create(&format!("job-{number:02}"), json!({"suspend": true})).await?;
    }
    let config = format!("--kubeconfig={}", scene.cluster.kubeconfig.display());
    let namespace = format!("-n={}", scene.namespace);
    tokio::task::spawn_blocking(move || {
        let mut terminal = Terminal::start(&["top", &namespace, &config], (80, 12), &[])?;
        let first = terminal.wait_for("1-10 of 30")?;
        assert!(first.contains("NAME") && first.contains("job-09") && !first.contains("job-10"), "{first:?}");
        assert!(first.contains("\u{1b}[?1049h"), "the table is on the alternate screen: {first:?}");
        terminal.press("G")?;
        let last = terminal.wait_for("21-30 of 30")?;
        assert!(last.contains("NAME") && last.contains("job-29"), "the header stays: {last:?}");
        terminal.press("\u{1b}[A")?;
        terminal.wait_for("20-29 of 30")?;
        terminal.press("s")?;
        terminal.wait_for("sort: name")?;
        terminal.press("q")?;
        let (code, rest) = terminal.end()?;
        assert_eq!(code, Some(0), "{rest}");
        assert!(rest.contains("\u{1b}[?1049l") && rest.contains("\u{1b}[?25h"), "the terminal is restored: {rest:?}");
        Ok(())
    })
    .await?
}

fn jobwright(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobwright"));
    command.args(args).env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    command
}

/// Commands that print without a cluster. The examples exist in the folder of the tests.
const OFFLINE: &[&[&str]] = &[
    &["crds"],
    &["version"],
    &["version", "-o", "json"],
    &["completions", "bash"],
    &["man"],
    &["next", "* * * * *", "-c", "1000"],
    &["check", "-R", "-f", "examples", "--min-severity=info", "--fail-on=error"],
    &["check", "--rules"],
    &["--help"],
    &["explain", "--help"],
];

#[test]
fn closed_pipe_ends_a_command_silently() -> Result<()> {
    for args in OFFLINE {
        let mut child = jobwright(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        drop(child.stdout.take().context("the pipe")?);
        let Output { status, stderr, .. } = child.wait_with_output()?;
        let stderr = String::from_utf8(stderr)?;
        assert_eq!(stderr, "", "{args:?}");
        // Help is printed by the parser of the command line, and may be complete before the pipe is closed.
        assert!(matches!(status.code(), Some(0 | 141)), "{args:?}: {status}");
    }
    Ok(())
}

#[test]
fn full_disk_is_reported_in_one_line() -> Result<()> {
    if !std::path::Path::new("/dev/full").exists() {
        testbed::skipped!("this system has no /dev/full");
        return Ok(());
    }
    for args in OFFLINE.iter().filter(|args| !args.contains(&"--help")) {
        let output = jobwright(args).stdout(File::options().write(true).open("/dev/full")?).output()?;
        let stderr = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains("cannot write to standard output: no space left"), "{args:?}: {stderr}");
        assert!(!stderr.contains("panicked") && !stderr.contains("stack backtrace"), "{args:?}: {stderr}");
    }
    // An error that cannot be reported is no reason to panic either.
    let full = || File::options().write(true).open("/dev/full");
    let status = jobwright(&["crds"]).stdout(full()?).stderr(full()?).status()?;
    assert_eq!(status.code(), Some(1));
    Ok(())
}
