//! `jobwright logs` on a terminal and in a pipe: prefixes, colors, control characters and widths.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::fake_api::FakeApi;
use crate::pseudo_terminal::{lines_on, visible};

/// Line with a color, a sequence that changes the title of the terminal, and more characters than a narrow terminal.
const LINE: &str =
    "\u{1b}[31merror\u{1b}[0m \u{1b}]0;title\u{7} the disk of the shop is full, and nothing more can be stored on it";

fn list(kind: &str, items: Value) -> Value {
    json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
}

/// Returns a server with a failed Job, two pods and their logs.
fn server() -> Result<FakeApi> {
    let owner = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "etl", "uid": "u", "controller": true}]);
    let pod = move |name: &str, created: &str| {
        let ended = json!({"terminated": {"exitCode": 1, "finishedAt": created, "startedAt": created}});
        let status =
            json!([{"name": "main", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": ended}]);
        json!({
            "metadata": {"name": name, "namespace": "n", "uid": name, "creationTimestamp": created, "ownerReferences": owner},
            "spec": {"containers": [{"name": "main", "image": "i"}]},
            "status": {"phase": "Failed", "containerStatuses": status},
        })
    };
    let pods = list("PodList", json!([pod("etl-1", "2026-01-01T00:00:00Z"), pod("etl-2", "2026-01-01T00:00:01Z")]));
    let job = |name: &str, uid: &str| {
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "n", "uid": uid},
            "spec": {"selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}, "template": {}},
        })
    };
    let jobs = list("JobList", json!([job("etl", "u"), job("other", "v")]));
    FakeApi::start(move |path| {
        let (path, _) = path.split_once('?').unwrap_or((path, ""));
        match path {
            "/apis/batch/v1/namespaces/n/jobs" => Some((200, jobs.clone())),
            "/apis/batch/v1/namespaces/n/jobs/etl" => Some((200, jobs["items"][0].clone())),
            "/apis/batch/v1/namespaces/n/jobs/other" => Some((200, jobs["items"][1].clone())),
            "/api/v1/namespaces/n/pods" => Some((200, pods.clone())),
            "/api/v1/namespaces/n/pods/etl-1/log" => {
                Some((200, json!(format!("2026-01-01T00:00:00Z {LINE}\n2026-01-01T00:00:01Z second\n"))))
            }
            "/api/v1/namespaces/n/pods/etl-2/log" => Some((200, json!("2026-01-01T00:00:02Z third\n"))),
            _ => None,
        }
    })
}

#[test]
fn lines_have_a_colored_prefix_and_harmless_control_characters_on_a_terminal() -> Result<()> {
    let server = server()?;
    let args = ["logs", "job/etl", &server.flag()];
    for columns in [40, 120] {
        let lines = lines_on(&args, columns, &[])?;
        let prefix = |line: &str, pod: &str| -> Result<String> {
            let (before, _) =
                line.split_once(&format!("[pod/{pod}/main] \u{1b}[0m")).ok_or_else(|| anyhow::anyhow!("{line:?}"))?;
            ensure!(before.starts_with("\u{1b}[") && before.ends_with('m'), "{line:?}");
            Ok(before.to_owned())
        };
        let (first, second, third) =
            (prefix(&lines[0], "etl-1")?, prefix(&lines[1], "etl-1")?, prefix(&lines[2], "etl-2")?);
        assert_eq!(first, second, "a pod has one color");
        assert_ne!(first, third, "two pods have two colors");
        assert!(lines[0].contains("\u{1b}[31merror\u{1b}[0m ^[]0;title^G the disk"), "{:?}", lines[0]);
        // The terminal wraps long lines. The program does not cut them, because their end is often the cause.
        assert!(lines[0].contains("nothing more can be stored on it") && visible(&lines[0]) > 100, "{:?}", lines[0]);
    }
    for (args, env) in [
        ([&args[..], &["--color=never"]].concat(), &[][..]),
        (args.to_vec(), &[("NO_COLOR", "1")][..]),
        (args.to_vec(), &[("TERM", "dumb")][..]),
    ] {
        let lines = lines_on(&args, 80, env)?;
        assert!(lines[0].starts_with("[pod/etl-1/main] error ^[]0;title^G the disk"), "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains('\u{1b}')), "{env:?}: {lines:?}");
    }
    Ok(())
}

#[test]
fn pipe_gets_the_log_unchanged() -> Result<()> {
    let server = server()?;
    let stdout = |args: &[&str]| -> Result<String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jobwright"));
        let output = command.args(args).arg(server.flag()).env_remove("NO_COLOR").stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let expected = format!("[pod/etl-1/main] {LINE}\n[pod/etl-1/main] second\n[pod/etl-2/main] third\n");
    assert_eq!(stdout(&["logs", "job/etl"])?, expected);
    for several in [&["logs", "job/other", "job/etl"][..], &["logs", "job", "etl", "other"], &["logs", "-l", "app=etl"]]
    {
        assert_eq!(stdout(several)?, expected, "{several:?}");
    }
    assert_eq!(stdout(&["logs", "etl", "--no-prefix"])?, format!("{LINE}\nsecond\nthird\n"));
    let colored = stdout(&["logs", "etl", "--color=always"])?;
    assert!(colored.starts_with("\u{1b}[") && colored.contains(LINE), "{colored:?}");
    let timed = stdout(&["logs", "etl", "--timestamps", "--no-prefix"])?;
    assert!(timed.ends_with("2026-01-01T00:00:02Z third\n"), "{timed:?}");
    Ok(())
}
