//! History of runs. The status keeps a bounded number of runs after their Jobs are deleted (kubernetes/kubernetes issue
//! 97840).

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::types::Run;
use crate::job::FAILURE_ANNOTATION;
use crate::job::decide::failure_report::FailureReport;
use crate::job::status::{COMPLETE, Condition, FAILED};
use crate::job::view::JobView;
use crate::runtime::clock::whole_seconds;
use crate::runtime::text::beginning;
use crate::schedule::source::EndedRun;
use crate::schedule::{SCHEDULED_ANNOTATION, parameters};

/// Maximum number of bytes kept of a message.
const MAX_MESSAGE_BYTES: usize = 512;
/// Maximum number of bytes kept of a reason.
const MAX_REASON_BYTES: usize = 128;

/// Returns the history with the ended runs added, the newest first, truncated to `limit` runs.
pub fn added(history: &[Run], ended: &[EndedRun], limit: usize, now: Timestamp) -> Vec<Run> {
    let mut runs: Vec<Run> = ended.iter().map(|ended| run(ended, now)).collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.finished.as_ref().map(|time| time.0)));
    // An earlier write whose response was lost may have added the run already.
    runs.retain(|run| !history.iter().any(|known| known.job == run.job && known.started == run.started));
    runs.extend(history.iter().cloned());
    runs.truncate(limit);
    runs
}

/// Returns the outcome of a run: `Succeeded`, `Failed`, `Replaced` or `Deleted`.
pub fn outcome(ended: &EndedRun) -> &'static str {
    match &ended.end {
        Some((job, _)) if job.status.true_condition(COMPLETE).is_some() => "Succeeded",
        Some((job, _)) if job.status.true_condition(FAILED).is_some() => "Failed",
        _ if ended.replaced => "Replaced",
        _ => "Deleted",
    }
}

/// Returns the time at which the Job of a run finished; none if the Job was deleted.
pub fn finished(ended: &EndedRun) -> Option<Timestamp> {
    let (job, _) = ended.end.as_ref()?;
    end(job)?.last_transition_time
}

/// Returns the condition with which a Job finished.
fn end(job: &JobView) -> Option<&Condition> {
    job.status.true_condition(COMPLETE).or_else(|| job.status.true_condition(FAILED))
}

fn run(ended: &EndedRun, now: Timestamp) -> Run {
    let mut run = Run { job: ended.job.name.clone(), outcome: outcome(ended).to_owned(), ..Run::default() };
    let Some((job, wire)) = &ended.end else {
        // The time at which the run ended is unknown. The time of this observation is recorded instead.
        run.finished = Some(Time(whole_seconds(now)));
        return run;
    };
    let annotation = |key| wire.metadata.annotations.as_ref().and_then(|annotations| annotations.get(key));
    run.scheduled = annotation(SCHEDULED_ANNOTATION).and_then(|text| text.parse().ok()).map(Time);
    run.started = job.status.start_time.map(Time);
    run.parameters = parameters::recorded(annotation(parameters::ANNOTATION).map(String::as_str));
    if let Some(end) = end(job) {
        run.finished = end.last_transition_time.map(Time);
        run.reason = beginning(&end.reason, MAX_REASON_BYTES).to_owned();
        if end.type_ == FAILED {
            run.message = brief(&end.message);
        }
    }
    if let Some(report) =
        annotation(FAILURE_ANNOTATION).and_then(|text| serde_json::from_str::<FailureReport>(text).ok())
    {
        run.exit_code = report.cause.exit_code;
        run.message = brief(&report.event().message);
    }
    run
}

fn brief(message: &str) -> String {
    beginning(message, MAX_MESSAGE_BYTES).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::job::wire::WireJob;
    use crate::schedule::cron_job::view::ActiveJob;
    use crate::schedule::fixtures;

    fn now() -> Timestamp {
        "2026-01-05T12:00:00.5Z".parse().unwrap()
    }

    fn ended(name: &str, condition: &str, at: &str, annotations: &serde_json::Value) -> EndedRun {
        let job = fixtures::job(name, Some(condition), at);
        let wire = json!({"metadata": {"name": name, "annotations": annotations}, "spec": {"template": {}}});
        let wire: WireJob = serde_json::from_str(&wire.to_string()).unwrap();
        EndedRun { job: ActiveJob::new(&job), end: Some(((*job).clone(), wire)), replaced: false }
    }

    #[test]
    fn run_records_the_outcome_and_the_failure_report_of_its_job() {
        let report = json!({"pod": "p", "container": "main", "exitCode": 3, "message": "no disk"}).to_string();
        let annotations = json!({SCHEDULED_ANNOTATION: "2026-01-05T11:00:00+01:00", FAILURE_ANNOTATION: report});
        let bad = ended("bad", FAILED, "2026-01-05T10:00:05Z", &annotations);
        let runs = added(&[], &[bad], 10, now());
        let expected = json!([{
            "job": "bad", "scheduled": "2026-01-05T10:00:00Z", "started": "2026-01-05T10:00:05Z",
            "finished": "2026-01-05T10:00:05Z", "outcome": "Failed", "exitCode": 3,
            "message": "Pod p, container main: exit code 3: no disk",
        }]);
        assert_eq!(json!(runs), expected);
    }

    #[test]
    fn newest_runs_are_kept_once_each() {
        let good = |name: &str, at: &str| ended(name, COMPLETE, at, &json!({}));
        let (one, two) = (good("one", "2026-01-05T10:00:00Z"), good("two", "2026-01-05T11:00:00Z"));
        let history = added(&[], &[one.clone(), two], 10, now());
        assert_eq!(history.iter().map(|run| &*run.job).collect::<Vec<_>>(), ["two", "one"]);
        assert_eq!(added(&history, &[one], 10, now()), history, "the run is in the history already");
        let three = added(&history, &[good("three", "2026-01-05T11:30:00Z")], 2, now());
        assert_eq!(three.iter().map(|run| &*run.job).collect::<Vec<_>>(), ["three", "two"]);
        assert_eq!(added(&history, &[], 0, now()), []);
    }

    #[test]
    fn run_of_a_deleted_job_is_recorded() {
        let job = ended("gone", COMPLETE, "2026-01-05T10:00:00Z", &json!({})).job;
        let gone = EndedRun { job, end: None, replaced: false };
        assert_eq!(outcome(&gone), "Deleted");
        assert_eq!(json!(added(&[], std::slice::from_ref(&gone), 1, now())[0].finished), "2026-01-05T12:00:00Z");
        assert_eq!(outcome(&EndedRun { replaced: true, ..gone }), "Replaced");
    }
}
