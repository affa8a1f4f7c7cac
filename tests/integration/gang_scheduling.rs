//! Workloads and PodGroups of Jobs on an API server with the feature gate WorkloadWithJob.

use anyhow::{Context, Result};
use jobwright::job::gang::names;
use jobwright::job::view::scheduling::GROUP_TEMPLATE_ANNOTATION;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ResourceQuota};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::scheduling::v1beta1::{PodGroup, Workload};
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::{Cluster, Options, control_plane};
use tokio::sync::OnceCell;

use crate::harness::*;
use crate::metrics::get;
use crate::user_commands::run;

pub const GATE: &str = "--feature-gates=WorkloadWithJob=true";
const GATES: &str = "GenericWorkload=true,WorkloadWithJob=true,TopologyAwareWorkloadScheduling=true";

/// Returns whether the tested Kubernetes is older than the API of Workloads and PodGroups that Jobwright uses.
pub fn is_older_than_the_api() -> Result<bool> {
    let is_older = testbed::Version::selected()? < testbed::Version::new(37);
    if is_older {
        testbed::skipped!("scheduling.k8s.io/v1beta1 is served from Kubernetes 1.37 on");
    }
    Ok(is_older)
}

/// Starts a cluster whose components have the feature gates.
async fn start(served: bool) -> Result<&'static Cluster> {
    let mut apiserver_flags = vec![format!("--feature-gates={GATES}")];
    apiserver_flags.extend(served.then(|| "--runtime-config=scheduling.k8s.io/v1beta1=true".to_owned()));
    let control_plane = control_plane::Options {
        apiserver_flags,
        // The controller that removes the finalizers of PodGroups.
        controller_manager_flags: if served { vec![format!("--feature-gates={GATES}")] } else { Vec::new() },
        ..control_plane::Options::default()
    };
    let cluster = Cluster::start(&Options { control_plane, ..Options::default() }).await?;
    // Leaked because a scene borrows its cluster for 'static. The cluster's processes end with this process.
    Ok(Box::leak(Box::new(cluster)))
}

/// Returns the cluster that the tests of this file share.
pub async fn cluster() -> Result<&'static Cluster> {
    static CLUSTER: OnceCell<&'static Cluster> = OnceCell::const_new();
    CLUSTER.get_or_try_init(|| start(true)).await.copied()
}

/// Creates a scene on a cluster with the feature gates.
pub async fn scene(prefix: &str, flags: &[&str]) -> Result<Scene> {
    let mut scene = Scene::on(cluster().await?, prefix, flags).await?;
    scene.start_controller().await?;
    Ok(scene)
}

pub fn workloads(scene: &Scene) -> Api<Workload> {
    Api::namespaced(scene.client.clone(), &scene.namespace)
}

fn pod_groups(scene: &Scene) -> Api<PodGroup> {
    Api::namespaced(scene.client.clone(), &scene.namespace)
}

/// Returns the names that the Workload and the PodGroup of a Job have.
pub fn names_of(job: &Job) -> (String, String) {
    let name = job.name_any();
    let workload = names::workload(&name, &job.uid().unwrap_or_default().as_str().into());
    let group = names::pod_group(&workload, &names::template(&name));
    (workload, group)
}

async fn groups_of(scene: &Scene, job: &str) -> Result<(Workload, PodGroup)> {
    let (workload, group) = names_of(&scene.jobs.get(job).await?);
    until("the Workload and the PodGroup", || async {
        let found = (workloads(scene).get_opt(&workload).await?, pod_groups(scene).get_opt(&group).await?);
        Ok(match found {
            (Some(workload), Some(group)) => Ok((workload, group)),
            found => Err(format!("{found:#?}")),
        })
    })
    .await
}

async fn counts(scene: &Scene) -> Result<(usize, usize)> {
    let workloads = workloads(scene).list(&Default::default()).await?.items.len();
    Ok((workloads, pod_groups(scene).list(&Default::default()).await?.items.len()))
}

fn group_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.scheduling_group.as_ref()?.pod_group_name.as_deref()
}

pub fn gang(count: i32, min_count: i32) -> Value {
    json!({
        "completions": count, "parallelism": count, "completionMode": "Indexed",
        "scheduling": {"schedulingPolicy": {"gang": {"minCount": min_count}}},
    })
}

/// Waits until `jobwright explain` prints this text about a Job.
pub async fn explained(scene: &Scene, job: &str, text: &str) -> Result<()> {
    until(&format!("{text:?} of {job}"), || async {
        let (_, out, error) = run(scene, &["explain", &format!("job/{job}")]).await?;
        Ok(if out.contains(text) { Ok(()) } else { Err(format!("{out}\n{error}")) })
    })
    .await
}

/// Returns the size of the gang in a Workload and in a PodGroup.
fn sizes((workload, group): &(Workload, PodGroup)) -> (Option<i32>, Option<i32>) {
    let template = workload.spec.pod_group_templates.iter().flatten().next();
    let of_template = template.and_then(|template| template.scheduling_policy.gang.as_ref());
    let of_group = group.spec.scheduling_policy.gang.as_ref();
    (of_template.map(|gang| gang.min_count), of_group.map(|gang| gang.min_count))
}

pub async fn sized(scene: &Scene, job: &str, size: i32) -> Result<()> {
    until(&format!("minCount {size}"), || async {
        let found = sizes(&groups_of(scene, job).await?);
        Ok(if found == (Some(size), Some(size)) { Ok(()) } else { Err(format!("{found:?}")) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn job_gets_a_workload_and_a_pod_group_to_which_its_pods_belong() -> Result<()> {
    if is_older_than_the_api()? {
        return Ok(());
    }
    for wire in ["protobuf", "json"] {
        let scene = scene("gang", &[GATE, &format!("--wire={wire}")]).await?;
        let mut spec = gang(3, 2);
        spec["scheduling"]["disruptionMode"] = json!({"all": {}});
        spec["scheduling"]["schedulingConstraints"] = json!({"topology": [{"key": "example.com/rack"}]});
        let job = scene.create("train", spec).await?;
        let pods = scene.active("train", 3).await?;
        let (workload, group) = groups_of(&scene, "train").await?;
        let reference = workload.spec.controller_ref.clone().context("no controllerRef")?;
        assert_eq!((reference.kind.as_str(), reference.name.as_str()), ("Job", "train"));
        let template = workload.spec.pod_group_templates.clone().context("no templates")?.remove(0);
        assert_eq!(template.name, "train-pgt-0");
        assert!(template.disruption_mode.is_some_and(|mode| mode.all.is_some()));
        let topology = group.spec.scheduling_constraints.clone().and_then(|constraints| constraints.topology);
        assert_eq!(topology.context("no topology")?[0].key, "example.com/rack");
        assert!(group.spec.disruption_mode.clone().is_some_and(|mode| mode.all.is_some()));
        assert_eq!(sizes(&(workload.clone(), group.clone())), (Some(2), Some(2)));
        let owners = |owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference]| -> Vec<_> {
            owners.iter().map(|owner| (owner.kind.clone(), owner.uid.clone(), owner.controller)).collect()
        };
        let of_job = ("Job".to_owned(), job.uid().unwrap_or_default(), Some(true));
        let of_workload = ("Workload".to_owned(), workload.uid().unwrap_or_default(), None);
        assert_eq!(owners(workload.owner_references()), std::slice::from_ref(&of_job));
        assert_eq!(owners(group.owner_references()), [of_job, of_workload]);
        for pod in pods {
            let pod = scene.pods.get(&pod).await?;
            assert_eq!(group_name(&pod), Some(group.name_any().as_str()), "{wire}");
            assert_eq!(pod.owner_references().len(), 1);
        }
        let (workload, group) = (workload.name_any(), group.name_any());
        scene.event("train", "WorkloadCreated", &format!("Created Workload {workload} for Job train")).await?;
        scene.event("train", "PodGroupCreated", &format!("Created PodGroup {group} for Job train")).await?;
        let _playing = scene.succeed_all();
        scene.condition("train", "Complete").await?;
        scene.nothing_tracked().await?;
        scene.jobs.delete("train", &DeleteParams::background()).await?;
        until("the deletion of both objects", || async {
            let left = counts(&scene).await?;
            Ok(if left == (0, 0) { Ok(()) } else { Err(format!("{left:?}")) })
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn job_without_scheduling_gets_the_basic_policy() -> Result<()> {
    if is_older_than_the_api()? {
        return Ok(());
    }
    let scene = scene("gang-basic", &[GATE]).await?;
    let class = json!({"metadata": {"name": scene.namespace}, "value": 1000});
    let classes: Api<PriorityClass> = Api::all(scene.client.clone());
    classes.create(&PostParams::default(), &serde_json::from_value(class)?).await?;
    let of_class = |class: &str| {
        let template = json!({"spec": {"priorityClassName": class}});
        json!({"parallelism": 2, "completions": 5, "template": template})
    };
    scene.create("plain", of_class(&scene.namespace)).await?;
    let pods = scene.active("plain", 2).await?;
    let (workload, group) = groups_of(&scene, "plain").await?;
    assert!(group.spec.scheduling_policy.basic.is_some() && group.spec.scheduling_policy.gang.is_none());
    let template = workload.spec.pod_group_templates.context("no templates")?.remove(0);
    assert_eq!(template.priority_class_name.as_deref(), Some(scene.namespace.as_str()));
    assert_eq!(group.spec.priority, Some(1000));
    assert_eq!(group_name(&scene.pods.get(&pods[0]).await?), Some(group.name_any().as_str()));
    let grouped = json!({"template": {"spec": {"schedulingGroup": {"podGroupName": "of-the-user"}}}});
    scene.create("grouped", grouped).await?;
    let pod = scene.active("grouped", 1).await?.remove(0);
    assert_eq!(group_name(&scene.pods.get(&pod).await?), Some("of-the-user"));
    assert_eq!(counts(&scene).await?, (1, 1), "the user manages the group of the second Job");
    // The API server limits the priority of a PodGroup, and refuses those of the system.
    scene.create("system", of_class("system-cluster-critical")).await?;
    scene.event("system", "FailedPodGroupCreate", "spec.priority").await?;
    classes.delete(&scene.namespace, &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pod_is_created_while_the_pod_group_is_refused() -> Result<()> {
    if is_older_than_the_api()? {
        return Ok(());
    }
    let scene = scene("gang-order", &[GATE]).await?;
    let quotas: Api<ResourceQuota> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let no_groups = [("count/podgroups.scheduling.k8s.io", "0")];
    testbed::quota::enforce(&scene.client, &scene.namespace, "none", &no_groups).await?;
    let mut spec = gang(2, 2);
    spec["suspend"] = json!(true);
    scene.create("waits", gang(2, 2)).await?;
    scene.create("suspended", spec).await?;
    scene.event("waits", "FailedPodGroupCreate", "exceeded quota").await?;
    stays(2.0, || async {
        assert!(scene.pods_of("waits").await?.is_empty());
        for job in ["waits", "suspended"] {
            let status = scene.jobs.get(job).await?.status.unwrap_or_default();
            assert!(status.start_time.is_none() && status.conditions.is_none(), "{status:?}");
        }
        Ok(())
    })
    .await?;
    assert_eq!(counts(&scene).await?, (2, 0));
    quotas.delete("none", &DeleteParams::default()).await?;
    let pods = scene.active("waits", 2).await?;
    let (_, group) = groups_of(&scene, "waits").await?;
    for pod in pods {
        assert_eq!(group_name(&scene.pods.get(&pod).await?), Some(group.name_any().as_str()));
    }
    groups_of(&scene, "suspended").await?;
    scene.condition("suspended", "Suspended").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_size_of_a_running_gang_reaches_both_objects() -> Result<()> {
    if is_older_than_the_api()? {
        return Ok(());
    }
    let scene = scene("gang-elastic", &[GATE]).await?;
    scene.create("fixed", gang(8, 4)).await?;
    scene.active("fixed", 8).await?;
    sized(&scene, "fixed", 4).await?;
    scene.change("fixed", json!({"scheduling": {"schedulingPolicy": {"gang": {"minCount": 6}}}})).await?;
    sized(&scene, "fixed", 6).await?;
    // Without minCount, the size of the gang follows the parallelism.
    let follows = json!({"parallelism": 3, "scheduling": {"schedulingPolicy": {"gang": {}}}});
    scene.create("follows", follows).await?;
    scene.active("follows", 3).await?;
    sized(&scene, "follows", 3).await?;
    scene.change("follows", json!({"parallelism": 5})).await?;
    scene.active("follows", 5).await?;
    sized(&scene, "follows", 5).await?;
    let group = groups_of(&scene, "follows").await?.1.name_any();
    for pod in scene.pods_of("follows").await? {
        assert_eq!(group_name(&pod), Some(group.as_str()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_job_has_its_objects_before_its_pods_and_keeps_them() -> Result<()> {
    if is_older_than_the_api()? {
        return Ok(());
    }
    let scene = scene("gang-suspend", &[GATE]).await?;
    let mut spec = gang(2, 2);
    spec["suspend"] = json!(true);
    scene.create("job", spec).await?;
    let before = groups_of(&scene, "job").await?;
    scene.condition("job", "Suspended").await?;
    assert!(scene.pods_of("job").await?.is_empty());
    for suspend in [false, true, false] {
        scene.change("job", json!({"suspend": suspend})).await?;
        let pods = scene.active("job", if suspend { 0 } else { 2 }).await?;
        for pod in pods {
            assert_eq!(group_name(&scene.pods.get(&pod).await?), Some(before.1.name_any().as_str()));
        }
    }
    let after = groups_of(&scene, "job").await?;
    assert_eq!((before.0.uid(), before.1.uid()), (after.0.uid(), after.1.uid()));
    assert_eq!(counts(&scene).await?, (1, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_controller_completes_and_reuses_the_objects_of_a_job() -> Result<()> {
    if is_older_than_the_api()? {
        return Ok(());
    }
    let mut scene = Scene::on(cluster().await?, "gang-restart", &[GATE]).await?;
    let job = scene.create("job", gang(2, 2)).await?;
    // The state after a crash between the two creations.
    let (name, _) = names_of(&job);
    let owner = json!({
        "apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": job.uid(),
        "controller": true, "blockOwnerDeletion": true,
    });
    let template = json!({"name": "job-pgt-0", "schedulingPolicy": {"gang": {"minCount": 2}}});
    let half = json!({
        "metadata": {"name": name, "ownerReferences": [owner]},
        "spec": {
            "controllerRef": {"apiGroup": "batch", "kind": "Job", "name": "job"}, "podGroupTemplates": [template],
        },
    });
    let half = workloads(&scene).create(&PostParams::default(), &serde_json::from_value(half)?).await?;
    scene.start_controller().await?;
    scene.active("job", 2).await?;
    let (workload, group) = groups_of(&scene, "job").await?;
    assert_eq!(workload.uid(), half.uid());
    drop(scene.controller.take());
    scene.start_controller().await?;
    let pod = scene.active("job", 2).await?.remove(0);
    scene.kubelet.fail(&pod, 1).await?;
    scene.job_until("job", "1 failed", |status| status.failed == Some(1)).await?;
    for pod in scene.active("job", 2).await? {
        assert_eq!(group_name(&scene.pods.get(&pod).await?), Some(group.name_any().as_str()));
    }
    assert_eq!(counts(&scene).await?, (1, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn job_from_before_the_gate_keeps_pods_without_a_group() -> Result<()> {
    if is_older_than_the_api()? {
        return Ok(());
    }
    let mut scene = Scene::on(cluster().await?, "gang-before", &[GATE]).await?;
    // A Job that has a failed pod, and no Workload.
    scene.create("old", json!({"suspend": true})).await?;
    let status = json!({"status": {"failed": 1}});
    scene.jobs.patch_status("old", &PatchParams::default(), &Patch::Merge(&status)).await?;
    scene.start_controller().await?;
    scene.change("old", json!({"suspend": false})).await?;
    let pod = scene.active("old", 1).await?.remove(0);
    assert_eq!(group_name(&scene.pods.get(&pod).await?), None);
    assert_eq!(counts(&scene).await?, (0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn delegated_job_gets_its_pod_group_from_the_workload_of_its_owner() -> Result<()> {
    if is_older_than_the_api()? {
        return Ok(());
    }
    let scene = scene("gang-delegated", &[GATE]).await?;
    let parents: Api<ConfigMap> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let parent = ConfigMap {
        metadata: ObjectMeta { name: Some("team".to_owned()), ..Default::default() },
        ..Default::default()
    };
    let parent = parents.create(&PostParams::default(), &parent).await?;
    let size = |min_count: i32| json!([{"name": "workers", "schedulingPolicy": {"gang": {"minCount": min_count}}}]);
    let workload = json!({
        "metadata": {"name": "of-the-team"},
        "spec": {"controllerRef": {"kind": "ConfigMap", "name": "team"}, "podGroupTemplates": size(3)},
    });
    let workload = workloads(&scene).create(&PostParams::default(), &serde_json::from_value(workload)?).await?;
    let mut delegated = job("delegated", json!({"completions": 3, "parallelism": 3}))?;
    delegated.metadata.annotations = Some([(GROUP_TEMPLATE_ANNOTATION.to_owned(), "workers".to_owned())].into());
    let owner = json!([
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "team", "uid": parent.uid(), "controller": true},
    ]);
    delegated.metadata.owner_references = serde_json::from_value(owner)?;
    let mut owned = delegated.clone();
    (owned.metadata.name, owned.metadata.annotations) = (Some("owned".to_owned()), None);
    let created = scene.jobs.create(&PostParams::default(), &delegated).await?;
    let pods = scene.active("delegated", 3).await?;
    let name = names::pod_group("of-the-team", "workers");
    let group = pod_groups(&scene).get(&name).await?;
    let owners: Vec<_> = group.owner_references().iter().map(|owner| owner.uid.clone()).collect();
    assert_eq!(owners, [created.uid().unwrap_or_default()], "the owner of the Job owns its Workload alone");
    for pod in pods {
        assert_eq!(group_name(&scene.pods.get(&pod).await?), Some(name.as_str()));
    }
    let resize = json!({"spec": {"podGroupTemplates": size(2)}});
    workloads(&scene).patch("of-the-team", &PatchParams::default(), &Patch::Merge(&resize)).await?;
    until("minCount 2", || async {
        let gang = pod_groups(&scene).get(&name).await?.spec.scheduling_policy.gang;
        Ok(if gang.as_ref().is_some_and(|gang| gang.min_count == 2) { Ok(()) } else { Err(format!("{gang:?}")) })
    })
    .await?;
    scene.jobs.create(&PostParams::default(), &owned).await?;
    let pod = scene.active("owned", 3).await?.remove(0);
    assert_eq!(group_name(&scene.pods.get(&pod).await?), None, "nothing is delegated");
    assert_eq!(counts(&scene).await?, (1, 1));
    assert!(workloads(&scene).get(&workload.name_any()).await?.owner_references().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_gate_no_request_is_about_groups_and_an_event_says_so() -> Result<()> {
    if is_older_than_the_api()? {
        return Ok(());
    }
    let [port] = testbed::control_plane::free_ports()?;
    let scene = scene("gang-off", &[&format!("--listen=127.0.0.1:{port}")]).await?;
    scene.create("asks", gang(2, 2)).await?;
    scene.create("plain", json!({"parallelism": 2, "completions": 2})).await?;
    let pods = [scene.active("asks", 2).await?, scene.active("plain", 2).await?].concat();
    for pod in pods {
        assert_eq!(group_name(&scene.pods.get(&pod).await?), None);
    }
    scene.event("asks", "SchedulingIgnored", "the feature gate WorkloadWithJob of Jobwright is off").await?;
    explained(&scene, "asks", "was off when the Job started").await?;
    let _playing = scene.succeed_all();
    scene.condition("asks", "Complete").await?;
    let events: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let events = events.list(&Default::default()).await?.items;
    let ignored: Vec<_> = events.iter().filter(|event| event.reason.as_deref() == Some("SchedulingIgnored")).collect();
    assert_eq!(ignored.len(), 1, "{ignored:#?}");
    assert!(ignored[0].count.is_none_or(|count| count == 1), "{ignored:#?}");
    assert_eq!(counts(&scene).await?, (0, 0));
    let (_, text) = get(port, "/metrics").await?;
    let about_groups: Vec<_> =
        text.lines().filter(|line| line.contains("workloads") || line.contains("podgroups")).collect();
    assert!(text.contains("resource=\"pods\""), "{text}");
    assert!(about_groups.is_empty(), "{about_groups:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn api_server_that_does_not_serve_the_resources_is_named_in_an_event() -> Result<()> {
    if is_older_than_the_api()? {
        return Ok(());
    }
    let mut scene = Scene::on(start(false).await?, "gang-unserved", &[GATE]).await?;
    scene.start_controller().await?;
    scene.create("asks", gang(2, 2)).await?;
    scene.active("asks", 2).await?;
    scene.event("asks", "SchedulingIgnored", "the API server does not serve workloads and podgroups").await?;
    explained(&scene, "asks", "the API server does not serve workloads and podgroups").await?;
    Ok(())
}
