//! The completion indexes of an Indexed Job with their states, from the status and the pods that exist.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use maud::Markup;

use crate::job::INDEX_ANNOTATION;
use crate::job::index::IndexSet;
use crate::ui::charts::heat_map::{IndexRun, IndexState, heat_map};

/// Returns the grid of indexes; none for a Job that is not Indexed.
pub(super) fn grid(job: &Job, pods: &[Pod]) -> Option<Markup> {
    let (completions, runs) = runs(job, pods)?;
    Some(heat_map(completions, &runs))
}

/// Returns the number of completions and the indexes with their states.
fn runs(job: &Job, pods: &[Pod]) -> Option<(u32, Vec<IndexRun>)> {
    let spec = job.spec.as_ref().filter(|spec| spec.completion_mode.as_deref() == Some("Indexed"))?;
    let completions = u32::try_from(spec.completions?).ok()?;
    let status = job.status.clone().unwrap_or_default();
    let set = |text: &Option<String>| IndexSet::parse(text.as_deref().unwrap_or_default(), completions);
    let (succeeded, failed) = (set(&status.completed_indexes), set(&status.failed_indexes));
    let of = |set: &IndexSet, state: IndexState| {
        let runs: Vec<IndexRun> = set.runs().map(|(first, last)| IndexRun { first, last, state }).collect();
        runs
    };
    let mut runs = of(&succeeded, IndexState::Succeeded);
    runs.extend(of(&failed, IndexState::Failed));
    for pod in pods {
        let index = pod.annotations().get(INDEX_ANNOTATION).and_then(|index| index.parse().ok());
        let Some(index) = index.filter(|index| !succeeded.contains(*index) && !failed.contains(*index)) else {
            continue;
        };
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let state = match phase {
            Some("Failed") => IndexState::Retrying,
            Some("Succeeded") => IndexState::Succeeded,
            _ => IndexState::Running,
        };
        runs.push(IndexRun { first: index, last: index, state });
    }
    Some((completions, runs))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(spec: Value) -> Job {
        let status = json!({"completedIndexes": "0-2,5", "failedIndexes": "7"});
        serde_json::from_value(json!({"metadata": {"name": "j"}, "spec": spec, "status": status})).unwrap()
    }

    fn pod(index: &str, phase: &str) -> Pod {
        let metadata = json!({"name": format!("j-{index}"), "annotations": {INDEX_ANNOTATION: index}});
        serde_json::from_value(json!({"metadata": metadata, "status": {"phase": phase}})).unwrap()
    }

    #[test]
    fn state_of_an_index_is_that_of_the_status_or_else_of_its_pod() {
        let template = json!({"spec": {"containers": []}});
        let indexed = job(json!({"completionMode": "Indexed", "completions": 10, "template": template}));
        let pods =
            [pod("3", "Running"), pod("4", "Failed"), pod("5", "Failed"), pod("7", "Failed"), pod("x", "Running")];
        let (completions, runs) = runs(&indexed, &pods).unwrap();
        let run = |first, last, state| IndexRun { first, last, state };
        let expected = [
            run(0, 2, IndexState::Succeeded),
            run(5, 5, IndexState::Succeeded),
            run(7, 7, IndexState::Failed),
            run(3, 3, IndexState::Running),
            run(4, 4, IndexState::Retrying),
        ];
        assert_eq!((completions, &runs[..]), (10, &expected[..]));
        assert!(grid(&job(json!({"completions": 3, "template": template})), &[]).is_none());
        assert!(
            grid(&job(json!({"completionMode": "Indexed", "completions": 100_000, "template": template})), &[])
                .is_some()
        );
    }
}
