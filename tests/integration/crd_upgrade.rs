//! Objects that were stored before the CustomResourceDefinitions had all of their rules continue to work.

use anyhow::{Context, Result};
use jobwright::schedule::job_schedule::types::JobSchedule;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, CustomResourceExt};
use serde_json::{Value, json};

use crate::harness::*;

const CRD: &str = "jobschedules.jobwright.dev";

/// Removes all rules and patterns from a schema.
fn without_rules(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for name in ["x-kubernetes-validations", "pattern", "maxLength"] {
                if !fields.get(name).is_some_and(Value::is_object) {
                    fields.remove(name);
                }
            }
            fields.values_mut().for_each(without_rules);
        }
        Value::Array(items) => items.iter_mut().for_each(without_rules),
        _ => {}
    }
}

/// JobSchedules that break a rule each: their names, restart policies and excluded periods.
const OLD: [(&str, &str, &str); 2] =
    [("always", "Always", "2026-12-03T00:00"), ("reversed", "Never", "2026-11-01T00:00")];

fn schedule(name: &str, restart_policy: &str, to: &str) -> Result<JobSchedule> {
    let template = json!({"spec": {"restartPolicy": restart_policy, "containers": [{"name": "main", "image": "i"}]}});
    Ok(serde_json::from_value(json!({
        "apiVersion": "jobwright.dev/v1beta1", "kind": "JobSchedule", "metadata": {"name": name},
        "spec": {
            "schedules": ["0 0 1 1 *"],
            "exclude": [{"date": "2026-12-25"}, {"from": "2026-12-01T00:00", "to": to}],
            "jobTemplate": {"spec": {"template": template}},
        },
    }))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_job_schedule_that_breaks_a_new_rule_keeps_its_status() -> Result<()> {
    let mut scene = Scene::on_new_cluster("crd-upgrade", &[]).await?;
    let crds: Api<CustomResourceDefinition> = Api::all(scene.client.clone());
    let schedules: Api<JobSchedule> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let now = crds.get(CRD).await?;
    let mut before = serde_json::to_value(&now)?;
    without_rules(&mut before["spec"]["versions"]);
    crds.replace(CRD, &PostParams::default(), &serde_json::from_value(before)?).await?;
    for (name, restart_policy, to) in OLD {
        until("an invalid JobSchedule to be accepted", || async {
            let created = schedules.create(&PostParams::default(), &schedule(name, restart_policy, to)?).await;
            Ok(created.map(drop).map_err(|error| error.to_string()))
        })
        .await?;
    }
    let latest = crds.get(CRD).await?;
    let mut after = JobSchedule::crd();
    after.spec = now.spec.clone();
    after.metadata.resource_version = latest.metadata.resource_version;
    crds.replace(CRD, &PostParams::default(), &after).await?;
    until("an invalid JobSchedule to be refused", || async {
        let created = schedules.create(&PostParams::default(), &schedule("new", "Always", OLD[0].2)?).await;
        Ok(match created {
            Err(error) if error.to_string().contains("restartPolicy must be Never or OnFailure") => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(_) => {
                schedules.delete("new", &Default::default()).await?;
                Err("the JobSchedule was accepted".to_owned())
            }
        })
    })
    .await?;

    scene.start_controller().await?;
    for (name, ..) in OLD {
        next_is(&scene, name, "-01-01T00:00").await?;
        // A change of another field is accepted, and the status follows it.
        let patch = json!({"spec": {"schedules": ["0 0 2 1 *"]}});
        schedules.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.context("a valid change")?;
        next_is(&scene, name, "-01-02T00:00").await?;
        let worse = json!({"spec": {"exclude": [{"from": "2026-12-01T00:00", "to": "2026-10-01T00:00"}]}});
        let refused = schedules.patch(name, &PatchParams::default(), &Patch::Merge(&worse)).await;
        let refused = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains("each entry of spec.exclude must have a to after its from"), "{refused}");
    }
    Ok(())
}

/// Waits until the status of a JobSchedule has a next time that contains this text.
async fn next_is(scene: &Scene, name: &str, text: &str) -> Result<()> {
    let schedules: Api<JobSchedule> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let found = until(&format!("{name} to be due next at {text}"), || async {
        let status = schedules.get(name).await?.status.unwrap_or_default();
        let fits = status.next_schedule_time.as_deref().is_some_and(|next| next.contains(text));
        Ok(if fits { Ok(()) } else { Err(format!("{status:?}")) })
    })
    .await;
    found.with_context(|| scene.controller.as_ref().map_or_else(String::new, |one| one.process.log_tail(30)))
}

#[tokio::test(flavor = "multi_thread")]
async fn annotation_without_effect_is_reported_once() -> Result<()> {
    let scene = Scene::new("annotations").await?;
    let mut typo = job("typo", json!({}))?;
    typo.metadata.annotations = Some([("jobwright.dev/ttl-after-success".to_owned(), "60".to_owned())].into());
    scene.jobs.create(&PostParams::default(), &typo).await?;
    let mut priority = job("priority", json!({}))?;
    priority.metadata.annotations = Some([("jobwright.dev/priority".to_owned(), "high".to_owned())].into());
    scene.jobs.create(&PostParams::default(), &priority).await?;
    scene.event("typo", "InvalidAnnotation", "metadata.annotations[jobwright.dev/ttl-after-success]").await?;
    scene.event("priority", "InvalidAnnotation", "\"high\" is not a whole number, so the priority is 0").await?;
    for name in ["typo", "priority"] {
        let pod = scene.active(name, 1).await?.remove(0);
        scene.kubelet.succeed(&pod).await?;
        scene.condition(name, "Complete").await?;
    }
    let events: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let events = events.list(&Default::default()).await?.items;
    let counts: Vec<_> = events
        .iter()
        .filter(|event| event.reason.as_deref() == Some("InvalidAnnotation"))
        .map(|event| event.count)
        .collect();
    assert_eq!(counts, [Some(1), Some(1)]);
    Ok(())
}
