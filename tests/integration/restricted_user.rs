//! Every command for users with a user who may read little or nothing: what cannot be read is named, the rest is
//! answered, and no answer is wrong.

use std::path::PathBuf;

use anyhow::{Context, Result};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::harness::*;
use crate::job_limits;

/// A user of the scene's namespace with these rules.
struct User {
    kubeconfig: PathBuf,
    _dir: tempfile::TempDir,
}

impl User {
    /// Returns `None` on a given cluster, which issues no certificates for test users.
    async fn new(scene: &Scene, name: &str, rules: Value) -> Result<Option<Self>> {
        let Some(control) = &scene.cluster.control else {
            testbed::skipped!("a given cluster issues no certificates for test users");
            return Ok(None);
        };
        let user = format!("{}-{name}", scene.namespace);
        let roles: Api<Role> = Api::namespaced(scene.client.clone(), &scene.namespace);
        let bindings: Api<RoleBinding> = Api::namespaced(scene.client.clone(), &scene.namespace);
        let role = json!({"metadata": {"name": name}, "rules": &rules});
        roles.create(&PostParams::default(), &serde_json::from_value(role)?).await?;
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        bindings.create(&PostParams::default(), &serde_json::from_value(binding)?).await?;
        until(&format!("permissions of {user}"), || async {
            let denied = denied(scene, &user, &rules).await?;
            Ok(if denied.is_empty() { Ok(()) } else { Err(denied.join("\n")) })
        })
        .await?;
        let dir = tempfile::tempdir()?;
        let kubeconfig = dir.path().join(format!("{user}.kubeconfig"));
        control.authority.kubeconfig(&kubeconfig, &control.server, &user, &[])?;
        Ok(Some(Self { kubeconfig, _dir: dir }))
    }

    /// Runs a command. Returns its exit code, standard output and standard error.
    async fn run(&self, scene: &Scene, args: &[&str]) -> Result<(Option<i32>, String, String)> {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_jobwright"));
        command.args(args).arg("-n").arg(&scene.namespace).env("RUST_BACKTRACE", "1");
        command.arg(format!("--kubeconfig={}", self.kubeconfig.display()));
        let output = command.output().await?;
        Ok((output.status.code(), String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
    }
}

/// Returns the requests of the rules that a user may not send yet, because the authorizer reads roles from an informer.
async fn denied(scene: &Scene, user: &str, rules: &Value) -> Result<Vec<String>> {
    let reviews: Api<SubjectAccessReview> = Api::all(scene.client.clone());
    let rules: Vec<PolicyRule> = serde_json::from_value(rules.clone())?;
    let mut denied = Vec::new();
    for rule in &rules {
        for (group, resource) in
            rule.api_groups.iter().flatten().flat_map(|g| rule.resources.iter().flatten().map(move |r| (g, r)))
        {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            for verb in &rule.verbs {
                let attributes = json!({
                    "namespace": scene.namespace, "group": group, "resource": resource, "subresource": subresource,
                    "verb": verb, "name": rule.resource_names.iter().flatten().next(),
                });
                let review = json!({"metadata": {}, "spec": {"user": user, "resourceAttributes": attributes}});
                let review = reviews.create(&PostParams::default(), &serde_json::from_value(review)?).await?;
                if !review.status.is_some_and(|status| status.allowed) {
                    denied.push(attributes.to_string());
                }
            }
        }
    }
    Ok(denied)
}

fn read(group: &str, resources: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": ["get", "list", "watch"]})
}

#[tokio::test(flavor = "multi_thread")]
async fn user_without_permissions_gets_one_line_from_every_command() -> Result<()> {
    let scene = Scene::without_controller("nothing", &[]).await?;
    scene.create("a", json!({})).await?;
    let Some(user) = User::new(&scene, "nothing", json!([])).await? else { return Ok(()) };
    let commands: [(i32, &[&str]); 23] = [
        (1, &["explain", "job/a"]),
        (1, &["explain", "cronjob/a"]),
        (1, &["explain", "jobschedule/a"]),
        (1, &["explain", "joblimit/a"]),
        (1, &["explain", "jobs"]),
        (2, &["explain"]),
        (2, &["explain", "--failed", "-o", "json"]),
        (1, &["timeline", "job/a"]),
        (1, &["top", "--once"]),
        (1, &["top", "--once", "-o", "json"]),
        (1, &["next", "cronjob/a"]),
        (1, &["trigger", "cronjob/a"]),
        (1, &["trigger", "jobschedule/a", "--dry-run=client"]),
        (2, &["wait", "job/a"]),
        (2, &["wait", "-l", "app=a"]),
        (2, &["rerun", "job/a"]),
        (2, &["logs", "job/a"]),
        (2, &["logs", "job/a", "--follow"]),
        (1, &["history", "job/a"]),
        (1, &["history", "cronjob/a"]),
        (1, &["suspend", "job/a"]),
        (1, &["resume", "cronjobs", "--all"]),
        (1, &["remove-finalizers", "--dry-run=server"]),
    ];
    for (expected, args) in commands {
        let (code, stdout, stderr) = user.run(&scene, args).await?;
        assert_eq!(code, Some(expected), "{args:?}: {stdout}{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        assert!(stderr.contains("forbidden") && stderr.starts_with("jobwright: cannot "), "{args:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    }
    let all = user.run(&scene, &["top", "--once", "-A"]).await?;
    assert!(all.2.contains("cannot read jobs in all namespaces"), "{all:?}");
    let (code, status, error) = user.run(&scene, &["status"]).await?;
    assert!(code == Some(1) && status.contains("API server:  v1.") && error.is_empty(), "{status}{error}");
    assert!(status.contains("Replicas:    unknown: ") && status.contains("Missing:     get jobs"), "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_answers_with_what_can_be_read() -> Result<()> {
    let scene = Scene::new("some").await?;
    scene.create("running", json!({})).await?;
    scene.active("running", 1).await?;
    scene.job_until("running", "1 active", |status| status.active == Some(1)).await?;
    let Some(user) = User::new(&scene, "jobs", json!([read("batch", &["jobs", "cronjobs"])])).await? else {
        return Ok(());
    };
    let (code, text, _) = user.run(&scene, &["explain", "job/running"]).await?;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("Job running has active pods, which cannot be read: 0 of 1 succeeded"), "{text}");
    assert!(text.contains("Not read: pods (") && text.contains("Not read: events ("), "{text}");
    let (code, text, _) = user.run(&scene, &["explain", "job/running", "-o", "json"]).await?;
    let json: Value = serde_json::from_str(&text)?;
    let unread: Vec<_> =
        json["unread"].as_array().context("unread")?.iter().map(|one| one["resource"].clone()).collect();
    assert!(code == Some(0) && unread.contains(&json!("pods")) && unread.contains(&json!("events")), "{json}");
    let (code, text, _) = user.run(&scene, &["top", "--once"]).await?;
    assert!(code == Some(0) && text.contains("running") && text.contains("Not read: pods ("), "{text}");
    let (code, _, error) = user.run(&scene, &["timeline", "job/running"]).await?;
    assert!(code == Some(1) && error.contains("cannot read the pods of job/running"), "{error}");

    let crons: Api<CronJob> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let cron = json!({"metadata": {"name": "nightly"}, "spec": {"schedule": "0 3 * * *", "timeZone": "UTC",
        "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}]}}}}}});
    crons.create(&PostParams::default(), &serde_json::from_value(cron)?).await?;
    let Some(user) = User::new(&scene, "crons", json!([read("batch", &["cronjobs"])])).await? else { return Ok(()) };
    let (code, text, _) = user.run(&scene, &["explain", "cronjob/nightly"]).await?;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("CronJob nightly: next run at ") && text.contains("Not read: jobs ("), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn job_that_waits_for_a_limit_is_explained_without_the_permission_to_read_limits() -> Result<()> {
    let known = job_limits::scene("waiting").await?;
    job_limits::limit_known(&known, "lim", json!({"maxActiveJobs": 0})).await?;
    let scene = known.0;
    scene.create("held", json!({})).await?;
    until("the annotation of the waiting Job", || async {
        let annotations = scene.jobs.get("held").await?.metadata.annotations.unwrap_or_default();
        Ok(annotations.get("jobwright.dev/waiting").map(|_| ()).ok_or_else(|| format!("{annotations:?}")))
    })
    .await?;
    let rules = json!([read("batch", &["jobs"]), read("", &["pods", "events"])]);
    let Some(user) = User::new(&scene, "view", rules).await? else { return Ok(()) };
    let (code, text, _) = user.run(&scene, &["explain", "job/held"]).await?;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("Job held waits for a JobLimit: ") && text.contains("JobLimit lim"), "{text}");
    assert!(text.contains("Not read: joblimits ("), "{text}");
    let (_, table, _) = user.run(&scene, &["top", "--once"]).await?;
    assert!(table.contains("pending") && table.contains("JobLimit lim #1"), "{table}");
    Ok(())
}
