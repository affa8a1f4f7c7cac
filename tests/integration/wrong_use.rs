//! Every command for users with wrong input, on a cluster without the resources of Jobwright, with a closed pipe, and
//! interrupted by the user.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::fake_api::FakeApi;
use crate::pseudo_terminal::Terminal;

fn jobwright(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobwright"));
    command.args(args).env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    command
}

/// Runs a command. Returns its exit code, standard output and standard error.
fn run(args: &[&str]) -> Result<(Option<i32>, String, String)> {
    let Output { status, stdout, stderr } = jobwright(args).output()?;
    Ok((status.code(), String::from_utf8(stdout)?, String::from_utf8(stderr)?))
}

fn list(kind: &str, items: Value) -> Value {
    json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
}

/// Returns a server with one Job, no pods and no events, and without the resources of Jobwright. Watches stay silent.
fn server() -> Result<FakeApi> {
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "etl", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"completions": 1, "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}, "template": {}},
        "status": {"startTime": "2026-01-01T00:00:00Z"},
    });
    FakeApi::start(move |path| {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if query.contains("watch=") {
            std::thread::sleep(Duration::from_secs(60));
        }
        let group = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "batch/v1", "resources": []});
        match path {
            "/apis/batch/v1/namespaces/n/jobs/etl" => Some((200, job.clone())),
            "/apis/batch/v1/namespaces/n/jobs" | "/apis/batch/v1/jobs" => {
                Some((200, list("JobList", json!([job.clone()]))))
            }
            "/apis/batch/v1/namespaces/n/cronjobs" => Some((200, list("CronJobList", json!([])))),
            "/api/v1/namespaces/n/pods" | "/api/v1/pods" => Some((200, list("PodList", json!([])))),
            "/api/v1/namespaces/n/events" | "/api/v1/events" => Some((200, list("EventList", json!([])))),
            "/apis/batch/v1" => Some((200, group)),
            _ => None,
        }
    })
}

/// Commands that have no answer on this server, with their exit codes and what the error contains.
#[test]
fn cluster_without_jobschedules_and_joblimits_is_named_as_the_cause() -> Result<()> {
    let server = server()?;
    let install = "the cluster does not have this resource; to install it, run: jobwright crds | kubectl apply -f -";
    let commands: [&[&str]; 9] = [
        &["explain", "jobschedule/a"],
        &["explain", "jobschedules"],
        &["explain", "joblimit/a"],
        &["explain", "joblimits"],
        &["next", "jobschedule/a"],
        &["trigger", "jobschedule/a"],
        &["history", "jobschedule/a"],
        &["suspend", "jobschedule/a"],
        &["resume", "jobschedules", "--all"],
    ];
    for args in commands {
        let (code, out, error) = run(&[args, &[&server.flag()]].concat())?;
        assert_eq!((code, out.as_str()), (Some(1), ""), "{args:?}: {error}");
        assert!(error.contains(install) && error.lines().count() == 1, "{args:?}: {error}");
    }
    let (code, out, error) = run(&["explain", "job/etl", &server.flag()])?;
    assert!(code == Some(0) && out.starts_with("Job etl has no pods at the moment"), "{out}{error}");
    assert!(!out.contains("joblimits"), "a cluster without JobLimits limits nothing: {out}");
    let (code, out, error) = run(&["explain", &server.flag()])?;
    assert!(code == Some(0) && out.starts_with("None of 1 Job"), "{out}{error}");
    let (_, out, _) = run(&["status", &server.flag()])?;
    assert!(out.contains("JobSchedule and JobLimit are not installed"), "{out}");
    Ok(())
}

#[test]
fn selection_without_a_match_is_reported() -> Result<()> {
    let server = server()?;
    for args in [&["explain", "cronjobs"][..], &["next", "cronjobs"]] {
        let (code, out, error) = run(&[args, &[&server.flag()]].concat())?;
        assert_eq!((code, out.trim()), (Some(0), ""), "{args:?}");
        assert_eq!(error, "jobwright: no cronjobs match in namespace n\n", "{args:?}");
    }
    Ok(())
}

#[test]
fn wrong_input_is_one_error_with_the_right_form() -> Result<()> {
    let server = server()?;
    let commands: [(&[&str], i32, &str); 18] = [
        (&["explain", "pod/a"], 1, "write job/NAME, cronjob/NAME, jobschedule/NAME or joblimit/NAME"),
        (&["explain", "job/a/b"], 1, "\"a/b\" is not the name of a Job"),
        (&["explain", "etl"], 1, "\"etl\" is no type"),
        (&["explain", "job/etl", "-A"], 1, "objects cannot be named with --all-namespaces"),
        (&["timeline", "job/etl", "job/etl", "-o", "svg"], 1, "-o svg draws one Job"),
        (&["history", "joblimit/a"], 1, "joblimits are not accepted here"),
        (&["history"], 1, "no objects are named; write cronjob/NAME"),
        (&["logs"], 2, "no Jobs are selected; name them as job/NAME"),
        (&["logs", "-l", "app=etl", "job/etl"], 2, "names and selectors cannot be combined"),
        (&["logs", "job/etl", "--index", "3-1"], 2, "must be indexes and ranges, such as 3,7-9"),
        (&["wait", "cronjob/a"], 2, "cronjobs are not accepted here; write job/NAME"),
        (&["wait", "job/etl", "--timeout", "soon"], 2, "must be a duration such as 10s or 1m"),
        (&["rerun", "job/etl"], 2, "cannot run job/etl again: the Job is not finished"),
        (&["rerun", "job/a", "job/b", "--name", "c"], 2, "--name is for one Job"),
        (&["trigger", "job/etl"], 1, "jobs are not accepted here; write cronjob/NAME or jobschedule/NAME"),
        (&["trigger", "cronjob/a", "--timeout", "1m"], 2, "--watch"),
        (&["suspend"], 1, "no objects are named"),
        (
            &["explain", "job/etl", "--context", "nope"],
            1,
            "context \"nope\" does not exist in the kubeconfig; it has a",
        ),
    ];
    for (args, expected, text) in commands {
        let (code, out, error) = run(&[args, &[&server.flag()]].concat())?;
        assert_eq!((code, out.as_str()), (Some(expected), ""), "{args:?}: {error}");
        assert!(error.contains(text) && !error.contains("panicked"), "{args:?}: {error}");
    }
    Ok(())
}

#[test]
fn wait_and_trigger_end_at_an_interruption_and_at_the_timeout() -> Result<()> {
    let server = server()?;
    let terminal = Terminal::start(&["wait", "job/etl", &server.flag()], (80, 24), &[])?;
    terminal.wait_for("job/etl is waiting: it has no pods at the moment")?;
    terminal.signal(rustix::process::Signal::INT)?;
    let (code, rest) = terminal.end()?;
    assert_eq!((code, rest.as_str()), (None, ""), "the signal ends the command, without a message");
    let (code, _, error) = run(&["wait", "job/etl", "--quiet", "--timeout=1s", &server.flag()])?;
    assert_eq!((code, error.as_str()), (Some(124), "jobwright: the timeout has passed; not finished: job/etl\n"));
    Ok(())
}

#[test]
fn closed_pipe_ends_the_commands_with_a_cluster_silently() -> Result<()> {
    let server = server()?;
    let commands: [&[&str]; 8] = [
        &["explain"],
        &["explain", "job/etl"],
        &["explain", "job/etl", "-o", "wide"],
        &["timeline", "job/etl"],
        &["top"],
        &["history", "job/etl"],
        &["status"],
        &["wait", "job/etl"],
    ];
    for args in commands {
        let mut child =
            jobwright(&[args, &[&server.flag()]].concat()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        drop(child.stdout.take().context("the pipe")?);
        let Output { status, stderr, .. } = child.wait_with_output()?;
        let stderr = String::from_utf8(stderr)?;
        ensure!(status.code() == Some(141) && stderr.is_empty(), "{args:?}: {status}: {stderr}");
    }
    Ok(())
}

#[test]
fn full_disk_is_reported_by_the_commands_with_a_cluster() -> Result<()> {
    if !std::path::Path::new("/dev/full").exists() {
        testbed::skipped!("this system has no /dev/full");
        return Ok(());
    }
    let server = server()?;
    for args in [&["explain"][..], &["explain", "job/etl"], &["timeline", "job/etl"], &["top"], &["status"]] {
        let full = std::fs::File::options().write(true).open("/dev/full")?;
        let output = jobwright(&[args, &[&server.flag()]].concat()).stdout(full).output()?;
        let stderr = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains("cannot write to standard output: no space left"), "{args:?}: {stderr}");
    }
    Ok(())
}
