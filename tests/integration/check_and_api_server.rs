//! `jobwright check` against the API server: manifests with one changed value each are sent as a dry run, and both have
//! to refuse the same ones.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use serde_json::{Value, json};
use testbed::Version;

use crate::harness::*;

/// Number of requests in flight.
const CONCURRENCY: usize = 16;

/// Main container of the pods.
fn container() -> Value {
    json!({
        "name": "main", "image": "etl:1", "imagePullPolicy": "IfNotPresent", "command": ["run"], "args": ["a"],
        "workingDir": "/work", "terminationMessagePolicy": "FallbackToLogsOnError",
        "env": [
            {"name": "MODE", "value": "full"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "token"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "envFrom": [{"configMapRef": {"name": "settings"}}],
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "livenessProbe": {
            "httpGet": {"path": "/", "port": 8080, "scheme": "HTTP"},
            "initialDelaySeconds": 1, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
        },
        "readinessProbe": {"exec": {"command": ["true"]}},
        "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "privileged": false, "allowPrivilegeEscalation": false},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "config", "mountPath": "/etc/etl"}],
    })
}

/// Spec of the pods of the Job.
fn pod() -> Value {
    json!({
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 10, "activeDeadlineSeconds": 600,
        "serviceAccountName": "etl", "dnsPolicy": "ClusterFirst", "nodeSelector": {"disk": "ssd"},
        "hostname": "etl", "subdomain": "jobs", "schedulingGates": [{"name": "example.com/ready"}],
        "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
        "imagePullSecrets": [{"name": "registry"}],
        "tolerations": [{"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}],
        "initContainers": [
            {"name": "proxy", "image": "proxy:1", "restartPolicy": "Always"},
            {"name": "setup", "image": "setup:1", "command": ["true"]},
        ],
        "containers": [container()],
        "volumes": [
            {"name": "data", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "config", "configMap": {"name": "settings"}},
            {"name": "secret", "secret": {"secretName": "token"}},
            {"name": "claim", "persistentVolumeClaim": {"claimName": "etl"}},
        ],
    })
}

/// A Job with many fields, which the API server accepts.
fn job() -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "etl", "labels": {"app": "etl"}, "annotations": {"example.com/note": "a"}},
        "spec": {
            "parallelism": 2, "completions": 4, "completionMode": "Indexed", "backoffLimit": 6, "backoffLimitPerIndex": 1,
            "maxFailedIndexes": 2, "activeDeadlineSeconds": 600, "ttlSecondsAfterFinished": 60, "suspend": false,
            "podReplacementPolicy": "Failed", "managedBy": "jobwright.dev/controller",
            "successPolicy": {"rules": [{"succeededIndexes": "0,2-3", "succeededCount": 1}]},
            "podFailurePolicy": {"rules": [
                {"action": "FailIndex", "onExitCodes": {"containerName": "main", "operator": "In", "values": [3, 42]}},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]},
            "template": {"metadata": {"labels": {"app": "etl"}, "annotations": {"example.com/note": "a"}}, "spec": pod()},
        },
    })
}

/// A CronJob with all fields of its spec, which the API server accepts.
fn cron_job() -> Value {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "etl:1"}]}});
    json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly", "labels": {"app": "etl"}},
        "spec": {
            "schedule": "30 4 * * *", "timeZone": "Europe/Paris", "startingDeadlineSeconds": 60, "concurrencyPolicy": "Forbid",
            "suspend": false, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
            "jobTemplate": {"metadata": {"labels": {"app": "etl"}}, "spec": {"backoffLimit": 2, "template": template}},
        },
    })
}

/// Values that take the place of each value.
fn replacements() -> Vec<Value> {
    vec![
        Value::Null,
        json!(-1),
        json!(0),
        json!(100_001),
        json!(""),
        json!("Not Valid!"),
        json!("-a"),
        json!("a".repeat(64)),
        json!([]),
        json!({}),
        json!(true),
    ]
}

/// Returns the JSON pointers of all values below `at`.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = format!("{at}/{}", escaped(key));
                found.push(path.clone());
                pointers(value, &path, found);
            }
        }
        Value::Array(items) => {
            for (place, value) in items.iter().enumerate() {
                let path = format!("{at}/{place}");
                found.push(path.clone());
                pointers(value, &path, found);
            }
        }
        _ => {}
    }
}

/// A manifest with one change, and a description of the change.
struct Case {
    what: String,
    manifest: Value,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for manifest in [job(), cron_job()] {
        let kind = manifest["kind"].as_str().unwrap_or_default().to_owned();
        cases.push(Case { what: format!("{kind} unchanged"), manifest: manifest.clone() });
        let mut all = Vec::new();
        pointers(&manifest, "", &mut all);
        for pointer in all.iter().filter(|pointer| !matches!(&pointer[..], "/apiVersion" | "/kind")) {
            let mut add = |what: String, change: &dyn Fn(&mut Value)| {
                let mut changed = manifest.clone();
                change(&mut changed);
                cases.push(Case { what: format!("{kind} {pointer} {what}"), manifest: changed });
            };
            for value in replacements() {
                add(format!("= {value}"), &|changed| {
                    if let Some(place) = changed.pointer_mut(pointer) {
                        *place = value.clone();
                    }
                });
            }
            let (parent, key) = pointer.rsplit_once('/').unwrap_or_default();
            add("with a misspelt name".to_owned(), &|changed| {
                if let Some(fields) = changed.pointer_mut(parent).and_then(Value::as_object_mut)
                    && let Some(value) = fields.remove(key)
                {
                    fields.insert(format!("{key}x"), value);
                }
            });
        }
    }
    cases
}

/// Returns whether the API server refuses a manifest, with its message.
async fn refusal(scene: &Scene, manifest: &Value) -> Result<Option<String>> {
    let resource = if manifest["kind"] == "Job" { "jobs" } else { "cronjobs" };
    let path = format!("/apis/batch/v1/namespaces/{}/{resource}?dryRun=All&fieldValidation=Strict", scene.namespace);
    let request =
        http::Request::post(path).header("Content-Type", "application/json").body(manifest.to_string().into())?;
    match scene.client.request_text(request).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => Ok(Some(status.message.clone())),
        // The API server of Kubernetes 1.37 closes the connection at an Indexed Job with backoffLimitPerIndex and
        // without completions.
        Err(kube::Error::Service(error)) => Ok(Some(format!("{error:?}"))),
        Err(error) => Err(error.into()),
    }
}

/// Returns whether `check` refuses more than the API server of this version on purpose.
fn is_stricter(what: &str, version: Version) -> bool {
    // The API server stores a null in a list or map as an empty text, which is never intended.
    let entries = [
        "/labels/",
        "/annotations/",
        "/nodeSelector/",
        "/requests/",
        "/limits/",
        "/command/",
        "/args/",
        "/imagePullSecrets/",
    ];
    let null = what.ends_with("= null") && entries.iter().any(|entry| what.contains(entry));
    // The API server accepts the CronJob, and refuses each of its Jobs.
    // Before the feature ContainerRestartRules, the API server accepts any text.
    let restart_policy = version < Version::new(35) && what.contains("/initContainers/0/restartPolicy = ");
    null || restart_policy || what.starts_with("CronJob /spec/jobTemplate/metadata/")
}

#[tokio::test(flavor = "multi_thread")]
async fn check_refuses_what_the_api_server_refuses() -> Result<()> {
    let scene = Scene::without_controller("check", &[]).await?;
    let version = scene.cluster.version().await?;
    let cases = cases();
    let refusals: Vec<Result<Option<String>>> =
        futures::stream::iter(&cases).map(|case| refusal(&scene, &case.manifest)).buffered(CONCURRENCY).collect().await;
    let dir = tempfile::tempdir()?;
    for (number, case) in cases.iter().enumerate() {
        std::fs::write(dir.path().join(format!("{number:05}.json")), case.manifest.to_string())?;
    }
    let mut check = tokio::process::Command::new(env!("CARGO_BIN_EXE_jobwright"));
    check.args(["check", "-o", "json", "--min-severity=error", "-f"]).arg(dir.path());
    let output = check.output().await?;
    let found: Value = serde_json::from_slice(&output.stdout).context(String::from_utf8(output.stderr)?)?;
    let found: BTreeSet<usize> = found
        .as_array()
        .context("the findings")?
        .iter()
        .filter_map(|finding| {
            let file = finding["file"].as_str()?.rsplit_once('/')?.1;
            file.strip_suffix(".json")?.parse().ok()
        })
        .collect();
    let (mut missed, mut wrong) = (Vec::new(), Vec::new());
    let mut refused = 0;
    let invalid = "Job /spec/template/spec/initContainers/0/restartPolicy = \"Not Valid!\"";
    let at = cases.iter().position(|case| case.what == invalid).context("the case of an invalid restartPolicy")?;
    let accepted = matches!(refusals[at], Ok(None));
    assert_eq!(accepted, version < Version::new(35), "{invalid} on {version}");
    let text = if accepted { "accepted; `jobwright check` reports it" } else { "refused" };
    testbed::report::observed("invalid `restartPolicy` of an init container", text);
    for (number, (case, refusal)) in cases.iter().zip(refusals).enumerate() {
        match refusal.with_context(|| case.what.clone())? {
            Some(message) => {
                refused += 1;
                if !found.contains(&number) {
                    missed.push(format!("{}: {message}", case.what));
                }
            }
            None if found.contains(&number) && !is_stricter(&case.what, version) => wrong.push(case.what.clone()),
            None => {}
        }
    }
    eprintln!("{} manifests, {refused} refused by the API server", cases.len());
    ensure!(
        wrong.is_empty() && missed.is_empty(),
        "check refuses {} that the API server accepts:\n{}\ncheck accepts {} that the API server refuses:\n{}",
        wrong.len(),
        wrong.join("\n"),
        missed.len(),
        missed.join("\n")
    );
    Ok(())
}
