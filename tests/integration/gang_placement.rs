//! A scheduler with gang scheduling places the pods of a gang together or not at all. kwok simulates the nodes.

use anyhow::{Context, Result};
use jobwright::job::gang::names;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::scheduling::v1beta1::PodGroup;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::{Cluster, Options, control_plane, kwok};

use crate::gang_scheduling::{explained, is_older_than_the_api};
use crate::harness::*;

/// Returns the spec of a Job with three pods, two of which fit on two nodes with one processor each.
fn spec(scheduling: Value) -> Value {
    let container = json!({"name": "main", "image": "i", "resources": {"requests": {"cpu": "700m"}}});
    json!({
        "parallelism": 3, "completions": 3, "scheduling": scheduling,
        "template": {"spec": {"tolerations": [{"operator": "Exists"}], "containers": [container]}},
    })
}

fn is_placed(pod: &&Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_gang_are_placed_together_or_not_at_all() -> Result<()> {
    if is_older_than_the_api()? {
        return Ok(());
    }
    let gates = "--feature-gates=GenericWorkload=true,WorkloadWithJob=true".to_owned();
    let served = "--runtime-config=scheduling.k8s.io/v1beta1=true".to_owned();
    let control_plane = control_plane::Options {
        apiserver_flags: vec![gates.clone(), served],
        controller_manager_flags: vec![gates],
        scheduler: true,
        scheduler_flags: vec!["--feature-gates=GenericWorkload=true".to_owned()],
        ..control_plane::Options::default()
    };
    let cluster: &'static Cluster =
        Box::leak(Box::new(Cluster::start(&Options { control_plane, ..Options::default() }).await?));
    let mut scene = Scene::on(cluster, "placement", &["--feature-gates=WorkloadWithJob=true"]).await?;
    scene.start_controller().await?;
    let control = cluster.control.as_ref().context("the cluster runs in this process")?;
    let _kwok = kwok::run(&cluster.dir().context("the cluster has no folder")?.join("kwok"), control)?;
    for name in ["small-0", "small-1"] {
        kwok::node(&scene.client, name, "1").await?;
    }
    let created = scene.create("gang", spec(json!({"schedulingPolicy": {"gang": {"minCount": 3}}}))).await?;
    scene.active("gang", 3).await?;
    let workload = names::workload("gang", &created.uid().unwrap_or_default().as_str().into());
    let groups: Api<PodGroup> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let name = names::pod_group(&workload, &names::template("gang"));
    let reported = || async {
        let status = groups.get(&name).await?.status;
        let mut conditions = status.iter().flat_map(|status| &status.conditions).flatten();
        let unplaced = conditions.any(|condition| condition.status == "False" && condition.reason == "Unschedulable");
        Ok(if unplaced { Ok(()) } else { Err(format!("{status:#?}")) })
    };
    until("the scheduler to report that the gang has no room", reported).await?;
    stays(2.0, || async {
        let pods = scene.pods_of("gang").await?;
        assert_eq!((pods.len(), pods.iter().filter(is_placed).count()), (3, 0), "two of the three pods would fit");
        Ok(())
    })
    .await?;
    explained(&scene, "gang", &format!("The scheduler has not placed the PodGroup {name}: Unschedulable")).await?;
    // The same Job without a gang uses the room that there is.
    scene.create("plain", spec(json!({"schedulingPolicy": {"basic": {}}}))).await?;
    scene.condition("plain", "Complete").await?;
    assert_eq!(scene.pods_of("gang").await?.iter().filter(is_placed).count(), 0);

    kwok::node(&scene.client, "small-2", "1").await?;
    scene.condition("gang", "Complete").await?;
    let pods = scene.pods_of("gang").await?;
    assert_eq!(pods.iter().filter(is_placed).count(), 3);
    scene.nothing_tracked().await
}
