//! Prints the logs of all pods of a Job, also of those that are created later, until the Job has finished.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

use super::LogsError;
use super::printer::{Printer, report};
use crate::client::cluster::{ClusterContext, end};
use crate::client::logs::follow::{Followed, JobLogs};
use crate::client::logs::sources::Filter;
use crate::client::logs::tail::Part;
use crate::client::one_line::one_line;
use crate::client::output;

/// Prints the logs until the Job has finished. Returns the exit code: 0 if the Job is complete, and 1 if it has failed.
pub(super) async fn follow(
    context: &ClusterContext,
    job: &Job,
    filter: &Filter,
    part: Part,
    printer: &Printer,
) -> Result<u8, LogsError> {
    let mut logs = JobLogs::new(context, job, (filter.clone(), part), usize::MAX, BTreeMap::new());
    loop {
        match logs.next().await? {
            Followed::Line(source, line) => printer.print(&source.pod, &source.container, line.time, &line.text),
            Followed::Unreadable(source, reason) => report(&source, &reason),
            Followed::TooMany => {}
            Followed::Finished(job) => {
                let (code, line) = outcome(&job);
                output::error_line(format!("jobwright: {line}"));
                return Ok(code);
            }
        }
    }
}

/// Returns the exit code for a finished Job, and how the Job has ended.
fn outcome(job: &Job) -> (u8, String) {
    let name = job.name_any();
    match job.status.as_ref().and_then(end) {
        Some(end) if end.type_ != "Complete" => {
            let [reason, message] = [&end.reason, &end.message].map(|text| text.clone().unwrap_or_default());
            (1, format!("job/{name} failed: {}", one_line(&format!("{reason}: {message}"))))
        }
        _ => (0, format!("job/{name} is complete")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn exit_code_is_the_outcome_of_the_job() {
        let of = |type_: &str| {
            let condition = json!({"type": type_, "status": "True", "reason": "R", "message": "a\nb"});
            let job = json!({"metadata": {"name": "a"}, "status": {"conditions": [condition]}});
            outcome(&serde_json::from_value(job).unwrap())
        };
        assert_eq!(of("Complete"), (0, "job/a is complete".to_owned()));
        assert_eq!(of("Failed"), (1, "job/a failed: R: a b".to_owned()));
    }
}
