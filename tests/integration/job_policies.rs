//! JobPolicies on a real API server: which policy governs a Job, and what follows when its pods do not start, when it makes
//! no progress, and when it has ended.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use jobwright::policy::types::JobPolicy;
use k8s_openapi::api::core::v1::{LimitRange, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::harness::*;

const GOVERNED_BY: &str = "jobwright.dev/governed-by";
/// Finalizer of another controller.
const HOLD: &str = "example.com/hold";
const EXCEEDED: &str = "jobwright.dev/StartDeadlineExceeded";

fn policies(scene: &Scene) -> Api<JobPolicy> {
    Api::namespaced(scene.client.clone(), &scene.namespace)
}

async fn policy(scene: &Scene, name: &str, spec: Value) -> kube::Result<JobPolicy> {
    let manifest =
        json!({"apiVersion": "jobwright.dev/v1beta1", "kind": "JobPolicy", "metadata": {"name": name}, "spec": spec});
    policies(scene).patch(name, &PatchParams::apply("test").force(), &Patch::Apply(manifest)).await
}

/// Creates a policy, and waits until the controller has stored that it is valid.
async fn known(scene: &Scene, name: &str, spec: Value) -> Result<()> {
    policy(scene, name, spec).await?;
    governs(scene, name, None).await
}

/// Waits until the status of a valid policy has this number of governed Jobs.
async fn governs(scene: &Scene, name: &str, count: Option<i32>) -> Result<()> {
    until(&format!("the status of {name} to have {count:?} Jobs"), || async {
        let status = policies(scene).get(name).await?.status.unwrap_or_default();
        let ready = status.conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
        let counted = count.is_none_or(|count| status.governed_jobs == count);
        Ok(if ready && counted { Ok(()) } else { Err(format!("{status:?}")) })
    })
    .await
}

async fn create(scene: &Scene, name: &str, metadata: Value, spec: Value) -> Result<()> {
    let mut job = job(name, spec)?;
    let more: kube::api::ObjectMeta = serde_json::from_value(metadata)?;
    (job.metadata.labels, job.metadata.annotations) = (more.labels, more.annotations);
    scene.jobs.create(&PostParams::default(), &job).await?;
    Ok(())
}

async fn annotation(scene: &Scene, job: &str, key: &str, value: Option<&str>) -> Result<()> {
    until(&format!("{job} to have {key}={value:?}"), || async {
        let found = scene.jobs.get(job).await?.annotations().get(key).cloned();
        Ok(if found.as_deref() == value { Ok(()) } else { Err(format!("{found:?}")) })
    })
    .await
}

/// Gives a pod the state of one that has been placed on a node and whose container waits for this reason.
async fn waits(scene: &Scene, pod: &str, reason: &str, message: &str) -> Result<()> {
    let since = "2026-01-01T00:00:00Z";
    let status = json!({
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": since}],
        "containerStatuses": [{
            "name": "main", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": message}},
        }],
    });
    scene.kubelet.patch(pod, status).await?;
    Ok(())
}

fn image(seconds: i32, action: &str) -> Value {
    json!({"startDeadlines": {"image": {"seconds": seconds, "action": action}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn most_specific_policy_governs_a_job_and_an_annotation_names_it() -> Result<()> {
    let scene = Scene::new("policy-choice").await?;
    known(&scene, "all", image(3600, "FailJob")).await?;
    let team = json!({"selector": {"matchLabels": {"team": "a"}}, "logTailLines": 3});
    known(&scene, "team", team.clone()).await?;
    create(&scene, "plain", json!({}), json!({})).await?;
    create(&scene, "selected", json!({"labels": {"team": "a"}}), json!({})).await?;
    create(&scene, "named", json!({"annotations": {"jobwright.dev/policy": "team"}}), json!({})).await?;
    create(&scene, "lost", json!({"annotations": {"jobwright.dev/policy": "none"}}), json!({})).await?;
    for (job, governing) in
        [("plain", Some("all")), ("selected", Some("team")), ("named", Some("team")), ("lost", None)]
    {
        scene.active(job, 1).await?;
        annotation(&scene, job, GOVERNED_BY, governing).await?;
    }
    scene.event("lost", "PolicyNotFound", "no valid JobPolicy \"none\" is in the namespace").await?;
    governs(&scene, "all", Some(1)).await?;
    governs(&scene, "team", Some(2)).await?;
    // A Job follows the change of the policies while it runs.
    policies(&scene).delete("team", &DeleteParams::default()).await?;
    annotation(&scene, "selected", GOVERNED_BY, Some("all")).await?;
    annotation(&scene, "named", GOVERNED_BY, None).await?;
    policies(&scene).delete("all", &DeleteParams::default()).await?;
    annotation(&scene, "plain", GOVERNED_BY, None).await?;
    known(&scene, "none", team).await?;
    annotation(&scene, "lost", GOVERNED_BY, Some("none")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn default_policy_governs_the_jobs_that_no_other_one_selects() -> Result<()> {
    let mut scene = Scene::without_controller("policy-default", &["--pod-failure-backoff=50ms"]).await?;
    scene.flags.push(format!("--default-policy={}/of-cluster", scene.namespace));
    let nothing = json!({"selector": {"matchLabels": {"team": "none"}}, "runningDeadlineSeconds": 3600});
    policy(&scene, "of-cluster", nothing).await?;
    scene.start_controller().await?;
    scene.create("plain", json!({})).await?;
    // In another namespace, the annotation has the namespace of the policy too.
    annotation(&scene, "plain", GOVERNED_BY, Some("of-cluster")).await?;
    governs(&scene, "of-cluster", Some(1)).await?;
    known(&scene, "own", json!({"logTailLines": 1})).await?;
    annotation(&scene, "plain", GOVERNED_BY, Some("own")).await?;
    governs(&scene, "of-cluster", Some(0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn job_whose_image_cannot_be_pulled_fails_with_the_reason() -> Result<()> {
    let scene = Scene::new("policy-image").await?;
    known(&scene, "fast", image(1, "FailJob")).await?;
    // On a node, whose kubelet ends the pod.
    // Another finalizer keeps the pods, which must not delay the outcome.
    let template = json!({"metadata": {"finalizers": [HOLD]}, "spec": {"nodeName": "node-1"}});
    scene.create("typo", json!({"parallelism": 2, "completions": 2, "template": template})).await?;
    let pods = scene.active("typo", 2).await?;
    scene.kubelet.run(&pods[1], true).await?;
    waits(&scene, &pods[0], "ErrImagePull", "manifest unknown").await?;
    let expected = format!("Pod {} did not start within 1 s: ErrImagePull: container main: manifest unknown", pods[0]);
    scene.event("typo", "StartDeadlineExceeded", &expected).await?;
    let status =
        scene.job_until("typo", "to be failing", |status| condition(status, "FailureTarget").is_some()).await?;
    let target = condition(&status, "FailureTarget").context("the condition")?;
    assert_eq!(
        (target.reason.as_deref(), target.message.as_deref()),
        (Some("StartDeadlineExceeded"), Some(&*expected))
    );
    let report = scene.jobs.get("typo").await?.annotations()["jobwright.dev/failure"].clone();
    assert!(report.contains(&pods[0]) && report.contains("manifest unknown"), "{report}");
    scene.event("typo", "SuccessfulDelete", &pods[0]).await?;
    let pod = scene.pods.get(&pods[0]).await?;
    let conditions = pod.status.unwrap_or_default().conditions.unwrap_or_default();
    let exceeded = conditions.iter().find(|one| one.type_ == EXCEEDED).context("the condition of the pod")?;
    assert_eq!((exceeded.reason.as_deref(), exceeded.message.as_deref()), (Some("Image"), Some(&*expected)));
    assert!(pod.metadata.deletion_timestamp.is_some(), "its kubelet ends the pod");
    for pod in &pods {
        scene.kubelet.fail(pod, 137).await?;
    }
    let status = scene.condition("typo", "Failed").await?;
    assert_eq!((status.failed, status.active), (Some(2), None));
    scene.nothing_tracked().await?;
    for pod in scene.pods_of("typo").await? {
        assert_eq!(pod.finalizers(), [HOLD]);
        let release = json!({"metadata": {"finalizers": null}});
        scene.pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(release)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unschedulable_pod_fails_and_is_retried_and_the_failure_policy_can_match_it() -> Result<()> {
    let scene = Scene::new("policy-unschedulable").await?;
    let deadline = json!({"startDeadlines": {"unschedulable": {"seconds": 1, "action": "RetryPod"}}});
    known(&scene, "fast", deadline).await?;
    let pattern = json!([{"type": EXCEEDED, "status": "True"}]);
    scene.create("retried", json!({"backoffLimit": 1})).await?;
    scene
        .create(
            "ignored",
            json!({
                "backoffLimit": 0, "podReplacementPolicy": "Failed",
                "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": pattern}]},
            }),
        )
        .await?;
    let unschedulable = async |job: &str| -> Result<String> {
        let pod = scene.active(job, 1).await?.remove(0);
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        scene.kubelet.patch(&pod, json!({"conditions": [condition]})).await?;
        Ok(pod)
    };
    // No kubelet ends a pod without a node, so the controller sets its phase, and the pod stays.
    for job in ["retried", "ignored"] {
        let first = unschedulable(job).await?;
        until("the pod to fail", || async {
            let pod = scene.pods.get(&first).await?;
            Ok(if phase(&pod) == "Failed" { Ok(()) } else { Err(format!("{:?}", pod.status)) })
        })
        .await?;
        let pod = scene.pods.get(&first).await?;
        assert_eq!(pod.status.and_then(|status| status.reason).as_deref(), Some("StartDeadlineExceeded"));
        assert!(pod.metadata.deletion_timestamp.is_none());
    }
    unschedulable("retried").await?;
    let status = scene.condition("retried", "Failed").await?;
    assert_eq!(status.failed, Some(2));
    assert_eq!(condition(&status, "Failed").and_then(|one| one.reason.as_deref()), Some("BackoffLimitExceeded"));
    // The failure is ignored: the limit of 0 failures is not reached.
    let next = scene.active("ignored", 1).await?.remove(0);
    scene.kubelet.succeed(&next).await?;
    let status = scene.condition("ignored", "Complete").await?;
    assert_eq!((status.failed, status.succeeded), (None, Some(1)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn index_whose_configuration_is_wrong_fails_alone() -> Result<()> {
    let scene = Scene::new("policy-index").await?;
    let deadline = json!({"startDeadlines": {"config": {"seconds": 3600, "action": "FailIndex"}}});
    known(&scene, "index", deadline).await?;
    let spec = json!({"completionMode": "Indexed", "parallelism": 2, "completions": 2, "backoffLimitPerIndex": 3});
    scene.create("parts", spec).await?;
    scene.active("parts", 2).await?;
    let by_index: BTreeMap<String, String> = scene
        .pods_of("parts")
        .await?
        .iter()
        .map(|pod| (pod.annotations()["batch.kubernetes.io/job-completion-index"].clone(), pod.name_any()))
        .collect();
    // A key that does not exist is final: the hour is not waited for.
    waits(&scene, &by_index["1"], "CreateContainerConfigError", "cannot find key k in ConfigMap default/c").await?;
    scene.job_until("parts", "index 1 to fail", |status| status.failed_indexes.as_deref() == Some("1")).await?;
    scene.kubelet.succeed(&by_index["0"]).await?;
    scene.kubelet.fail(&by_index["1"], 137).await?;
    let status = scene.condition("parts", "Failed").await?;
    assert_eq!((status.succeeded, status.completed_indexes.as_deref()), (Some(1), Some("0")));
    assert_eq!(condition(&status, "Failed").and_then(|one| one.reason.as_deref()), Some("FailedIndexes"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn job_is_suspended_when_its_pods_do_not_start_or_are_refused() -> Result<()> {
    let scene = Scene::new("policy-suspend").await?;
    let deadlines = json!({"startDeadlines": {
        "image": {"seconds": 1, "action": "Suspend"}, "admission": {"seconds": 2, "action": "Suspend"},
    }});
    known(&scene, "careful", deadlines).await?;
    scene.create("typo", json!({})).await?;
    let pod = scene.active("typo", 1).await?.remove(0);
    waits(&scene, &pod, "ImagePullBackOff", "").await?;
    scene.event("typo", "StartDeadlineExceeded", "; the Job is suspended").await?;
    scene.condition("typo", "Suspended").await?;
    assert_eq!(scene.jobs.get("typo").await?.spec.and_then(|spec| spec.suspend), Some(true));
    // The user fixes the image and resumes the Job.
    scene.change("typo", json!({"suspend": false})).await?;
    let pod = scene.active("typo", 1).await?.remove(0);
    scene.kubelet.succeed(&pod).await?;
    let status = scene.condition("typo", "Complete").await?;
    assert_eq!(status.failed, None, "the pods of a suspended Job do not count");
    testbed::quota::enforce(&scene.client, &scene.namespace, "none", &[("pods", "0")]).await?;
    scene.create("refused", json!({})).await?;
    scene.event("refused", "StartDeadlineExceeded", "refused for 2 s to create pods").await?;
    scene.condition("refused", "Suspended").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_of_progress_and_of_running_fail_a_job_and_survive_a_restart() -> Result<()> {
    let mut scene = Scene::new("policy-progress").await?;
    let of = |name: &str, more: Value| {
        let mut spec = json!({"selector": {"matchLabels": {"policy": name}}});
        testbed::manifest::lay_over(&mut spec, &more);
        spec
    };
    known(&scene, "progress", of("progress", json!({"progressDeadline": {"seconds": 5, "action": "FailJob"}}))).await?;
    known(&scene, "report", of("report", json!({"progressDeadline": {"seconds": 2, "action": "Report"}}))).await?;
    known(&scene, "running", of("running", json!({"runningDeadlineSeconds": 6}))).await?;
    let spec = || json!({"parallelism": 1, "completions": 3});
    for name in ["progress", "report", "running"] {
        create(&scene, name, json!({"labels": {"policy": name}}), spec()).await?;
        scene.active(name, 1).await?;
    }
    let pod = scene.active("running", 1).await?.remove(0);
    scene.kubelet.run(&pod, true).await?;
    until("the time at which the first pod started", || async {
        let found = scene.jobs.get("running").await?.annotations().contains_key("jobwright.dev/running-since");
        Ok(if found { Ok(()) } else { Err(String::new()) })
    })
    .await?;
    scene.controller = None;
    scene.start_controller().await?;
    let failed = async |name: &str, reason: &str| -> Result<()> {
        let failing = |status: &_| condition(status, "FailureTarget").is_some();
        let status = scene.job_until(name, "to be failing", failing).await?;
        assert_eq!(condition(&status, "FailureTarget").and_then(|one| one.reason.as_deref()), Some(reason));
        Ok(())
    };
    failed("progress", "ProgressDeadlineExceeded").await?;
    failed("running", "RunningDeadlineExceeded").await?;
    scene.event("report", "ProgressDeadlineExceeded", "No pod of the Job has ended or become ready for 2 s").await?;
    let pod = scene.active("report", 1).await?.remove(0);
    assert!(scene.jobs.get("report").await?.annotations().contains_key("jobwright.dev/stalled-since"));
    scene.kubelet.succeed(&pod).await?;
    annotation(&scene, "report", "jobwright.dev/stalled-since", None).await
}

/// Returns limit and request of the container `main` of a pod, and the annotation with its memory.
fn memory(pod: &Pod) -> (Option<String>, Option<String>, Option<String>) {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.clone()).unwrap_or_default();
    let resources =
        containers.into_iter().find(|one| one.name == "main").and_then(|main| main.resources).unwrap_or_default();
    let of = |map: Option<BTreeMap<String, Quantity>>| map?.get("memory").map(|size| size.0.clone());
    (of(resources.limits), of(resources.requests), pod.annotations().get("jobwright.dev/memory").cloned())
}

#[tokio::test(flavor = "multi_thread")]
async fn replacement_of_an_oom_killed_pod_gets_more_memory_unless_that_is_refused() -> Result<()> {
    let mut scene = Scene::new("policy-memory").await?;
    let rule = json!({"retry": {"memory": [{"factor": "2", "max": "1Gi"}]}});
    known(&scene, "grow", rule).await?;
    let limits: LimitRange = serde_json::from_value(json!({
        "metadata": {"name": "most"}, "spec": {"limits": [{"type": "Container", "max": {"memory": "300Mi"}}]},
    }))?;
    let ranges: Api<LimitRange> = Api::namespaced(scene.client.clone(), &scene.namespace);
    ranges.create(&PostParams::default(), &limits).await?;
    let resources = json!({"limits": {"memory": "100Mi"}, "requests": {"memory": "50Mi"}});
    let container = json!({"name": "main", "image": "x", "resources": resources});
    scene.create("hungry", json!({"backoffLimit": 9, "template": {"spec": {"containers": [container]}}})).await?;
    let kill = async || -> Result<()> {
        let pod = scene.active("hungry", 1).await?.remove(0);
        let ended =
            json!({"exitCode": 137, "reason": "OOMKilled", "startedAt": null, "finishedAt": "2026-01-01T00:00:00Z"});
        let container = json!({"name": "main", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": ended}});
        scene.kubelet.patch(&pod, json!({"phase": "Failed", "containerStatuses": [container]})).await?;
        Ok(())
    };
    let pod = async || -> Result<Pod> { Ok(scene.pods.get(&scene.active("hungry", 1).await?.remove(0)).await?) };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(memory(&pod().await?), (text("100Mi"), text("50Mi"), None));
    kill().await?;
    until("a pod with more memory", || async {
        let found = scene.pods_of("hungry").await?.iter().filter(|pod| is_active(pod)).map(memory).next();
        let expected = (text("200Mi"), text("100Mi"), text(r#"{"main":"200Mi"}"#));
        Ok(if found == Some(expected) { Ok(()) } else { Err(format!("{found:?}")) })
    })
    .await?;
    scene.event("hungry", "MemoryRaised", "container main 200Mi").await?;
    annotation(&scene, "hungry", "jobwright.dev/memory", Some(r#"{"main":"200Mi"}"#)).await?;
    // 400Mi exceeds the LimitRange, so the next pod gets 200Mi again.
    kill().await?;
    scene.event("hungry", "MemoryRefused", "maximum memory usage per Container is 300Mi").await?;
    let next = pod().await?;
    assert_eq!(memory(&next).0, text("200Mi"));
    // The size outlasts the failed pods and a restart of the controller.
    ranges.delete("most", &DeleteParams::default()).await?;
    scene.controller = None;
    let pods = scene.pods.clone();
    let failed = pods.list(&ListParams::default()).await?.items.into_iter().filter(|pod| phase(pod) == "Failed");
    for pod in failed {
        pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await?;
    }
    scene.kubelet.fail(&next.name_any(), 1).await?;
    scene.start_controller().await?;
    until("a pod with the raised memory", || async {
        let found = scene.pods_of("hungry").await?.iter().filter(|pod| is_active(pod)).map(memory).next();
        let limit = found.clone().and_then(|found| found.0);
        Ok(if limit.as_deref() == Some("400Mi") { Ok(()) } else { Err(format!("{found:?}")) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_beyond_the_budget_of_a_policy_wait() -> Result<()> {
    let scene = Scene::new("policy-budget").await?;
    known(&scene, "budget", json!({"retry": {"perMinute": 2}})).await?;
    let names = ["a", "b", "c", "d"];
    for name in names {
        scene.create(name, json!({"backoffLimit": 9})).await?;
    }
    for name in names {
        let pod = scene.active(name, 1).await?.remove(0);
        scene.kubelet.fail(&pod, 1).await?;
    }
    let count = async || -> Result<usize> { Ok(scene.pods.list(&ListParams::default()).await?.items.len()) };
    until("two retries", || async {
        let count = count().await?;
        Ok(if count == 6 { Ok(()) } else { Err(count.to_string()) })
    })
    .await?;
    // The failures are counted while the other retries wait, and a new Job starts.
    for name in names {
        scene.job_until(name, "to count the failure", |status| status.failed == Some(1)).await?;
    }
    scene.create("new", json!({})).await?;
    scene.active("new", 1).await?;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(count().await?, 7, "two retries a minute, and the new Job");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_job_is_kept_as_its_policy_sets() -> Result<()> {
    let scene = Scene::new("policy-retention").await?;
    known(&scene, "brief", json!({"retention": {"secondsAfterSuccess": 0}})).await?;
    for (name, code) in [("good", 0), ("bad", 1)] {
        create(&scene, name, json!({}), json!({"backoffLimit": 0})).await?;
        let pod = scene.active(name, 1).await?.remove(0);
        if code == 0 {
            scene.kubelet.succeed(&pod).await?
        } else {
            scene.kubelet.fail(&pod, code).await?
        };
    }
    let gone = async |name: &str| {
        until(&format!("{name} to be gone"), || async {
            Ok(if scene.jobs.get_opt(name).await?.is_some() { Err(String::new()) } else { Ok(()) })
        })
        .await
    };
    gone("good").await?;
    scene.condition("bad", "Failed").await?;
    policy(&scene, "brief", json!({"retention": {"secondsAfterSuccess": 0, "secondsAfterFailure": 0}})).await?;
    gone("bad").await
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_policy_is_refused_with_the_field_and_the_fix() -> Result<()> {
    let scene = Scene::without_controller("policy-invalid", &[]).await?;
    let cases = [
        (json!({}), "spec: set at least one of startDeadlines, progressDeadline"),
        (
            json!({"startDeadlines": {"admission": {"seconds": 1, "action": "RetryPod"}}}),
            "spec.startDeadlines.admission.action must be FailJob or Suspend",
        ),
        (image(1, "Explode"), "spec.startDeadlines.image.action: Unsupported value: \"Explode\""),
        (image(-1, "FailJob"), "spec.startDeadlines.image.seconds"),
        (json!({"progressDeadline": {"seconds": 0, "action": "Report"}}), "spec.progressDeadline.seconds"),
    ];
    for (spec, message) in cases {
        let error = policy(&scene, "bad", spec.clone()).await.err().context("the API server accepts the policy")?;
        assert!(error.to_string().contains(message), "{spec}: {error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn replacement_of_a_pod_that_exceeded_its_deadline_gets_more_time() -> Result<()> {
    let scene = Scene::new("policy-pod-deadline").await?;
    known(&scene, "grow", json!({"retry": {"deadline": {"factor": "2", "maxSeconds": 30}}})).await?;
    let pod_spec = json!({"activeDeadlineSeconds": 20, "containers": [{"name": "main", "image": "x"}]});
    scene.create("slow", json!({"backoffLimit": 9, "template": {"spec": pod_spec}})).await?;
    for seconds in [20, 30] {
        let late = until(&format!("a pod with the deadline {seconds}"), || async {
            let pods = scene.pods_of("slow").await?;
            let Some(pod) = pods.iter().find(|pod| is_active(pod)) else { return Ok(Err("no active pod".to_owned())) };
            let found = pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
            Ok(if found == Some(seconds) { Ok(pod.name_any()) } else { Err(format!("{found:?}")) })
        })
        .await?;
        scene.kubelet.patch(&late, json!({"phase": "Failed", "reason": "DeadlineExceeded"})).await?;
    }
    scene.event("slow", "PodDeadlineRaised", "activeDeadlineSeconds 30").await?;
    annotation(&scene, "slow", "jobwright.dev/pod-deadline-seconds", Some("30")).await
}
