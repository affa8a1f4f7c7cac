//! `jobwright trigger`: a CronJob's or JobSchedule's Job, now.

use std::collections::BTreeMap;
use std::process::ExitCode;

use futures::TryStreamExt;
use k8s_openapi::api::batch::v1::{CronJob, Job, JobSpec, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use thiserror::Error;

use super::cluster::{ClusterReadError, NamespaceArguments, ScheduleRef, end, exit_with};
use crate::runtime::errors::{is_ambiguous, message};
use crate::schedule::job_schedule::types::JobSchedule;

/// The annotation that `kubectl create job --from` sets too.
const INSTANTIATE_ANNOTATION: (&str, &str) = ("cronjob.kubernetes.io/instantiate", "manual");
/// The longest name of which there is room for what is added to it: pods of a Job get six characters more.
const LONGEST_NAME: usize = 47;
/// The characters that the API server takes for generated names.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// The exit code when the Job failed; 1 is for when there was no Job.
const FAILED: u8 = 2;

/// The flags of `jobwright trigger`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The CronJob or JobSchedule, as cronjob/NAME or jobschedule/NAME
    #[arg(value_parser = ScheduleRef::parse)]
    subject: ScheduleRef,
    /// The Job's name; without it the subject's, "-manual-" and five letters
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Follow the Job to its end; the exit code is 0 if it completes and 2 if it fails
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    target: NamespaceArguments,
}

/// What a Job is made from.
struct Template {
    owner: OwnerReference,
    annotations: BTreeMap<String, String>,
    labels: Option<BTreeMap<String, String>>,
    spec: Option<JobSpec>,
}

/// Why there is no Job, or no more is known of it.
#[derive(Debug, Error)]
enum TriggerError {
    #[error(transparent)]
    Ask(#[from] ClusterReadError),
    #[error("{subject} in namespace {namespace} started no Job: {reason}")]
    Refused { subject: ScheduleRef, namespace: String, reason: String },
    #[error(
        "the API server did not say whether it created job/{name} for {subject}: {reason}; \
         to find out, run: kubectl get job {name} --namespace {namespace}"
    )]
    Unknown { subject: ScheduleRef, namespace: String, name: String, reason: String },
    #[error("job/{name} was deleted before it had ended")]
    Deleted { name: String },
    #[error("job/{name} cannot be watched: {reason}; it goes on")]
    Unwatchable { name: String, reason: String },
}

/// Starts the Job and, if asked to, follows it.
pub fn main(arguments: &Arguments) -> ExitCode {
    exit_with(run(arguments))
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: &Arguments) -> Result<ExitCode, TriggerError> {
    let context = arguments.target.open().await.map_err(ClusterReadError::from)?;
    let subject = &arguments.subject;
    let refused = |reason: String| TriggerError::Refused {
        subject: subject.clone(),
        namespace: context.namespace.clone(),
        reason,
    };
    let unreadable = context.unreadable(&subject.to_string());
    let template = match subject {
        ScheduleRef::CronJob(name) => of_cron_job(&context.api::<CronJob>().get(name).await.map_err(unreadable)?),
        ScheduleRef::JobSchedule(name) => {
            let schedule = context.api::<JobSchedule>().get(name).await.map_err(unreadable)?;
            of_job_schedule(&schedule).map_err(|error| refused(format!("spec.jobTemplate.spec: {error}")))?
        }
    };
    let jobs = context.api::<Job>();
    let job = job_now(template, arguments.name.as_deref());
    let created = jobs.create(&PostParams::default(), &job).await.map_err(|error| {
        let reason = message(&error);
        if is_ambiguous(&error) {
            let (subject, namespace, name) = (subject.clone(), context.namespace.clone(), job.name_any());
            TriggerError::Unknown { subject, namespace, name, reason }
        } else {
            refused(reason)
        }
    })?;
    println!("job/{} created", created.name_any());
    if arguments.watch { follow(&jobs, &created).await } else { Ok(ExitCode::SUCCESS) }
}

fn owner(api_version: &str, kind: &str, object: &impl ResourceExt) -> OwnerReference {
    OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        controller: Some(true),
        ..OwnerReference::default()
    }
}

fn of_cron_job(cron_job: &CronJob) -> Template {
    let template = &cron_job.spec.job_template;
    let given = template.metadata.clone().unwrap_or_default();
    Template {
        owner: owner(crate::job::API_VERSION, crate::schedule::cron_job::KIND, cron_job),
        annotations: given.annotations.unwrap_or_default(),
        labels: given.labels,
        spec: template.spec.clone(),
    }
}

fn of_job_schedule(schedule: &JobSchedule) -> serde_json::Result<Template> {
    let template = &schedule.spec.job_template;
    let given = template.metadata.clone().unwrap_or_default();
    Ok(Template {
        owner: owner(crate::schedule::job_schedule::API_VERSION, crate::schedule::job_schedule::KIND, schedule),
        annotations: given.annotations,
        labels: Some(given.labels),
        spec: Some(serde_json::from_value(template.spec.clone())?),
    })
}

/// The Job that would be started of a template, for no time of its schedule.
fn job_now(template: Template, name: Option<&str>) -> Job {
    let Template { owner, mut annotations, labels, spec } = template;
    let (key, value) = INSTANTIATE_ANNOTATION;
    annotations.insert(key.to_owned(), value.to_owned());
    let prefix: String = owner.name.chars().take(LONGEST_NAME).collect();
    Job {
        metadata: ObjectMeta {
            // Not left to the API server: where its answer is lost, the user has to know what to look for.
            name: Some(name.map_or_else(|| format!("{prefix}-manual-{}", random_letters()), str::to_owned)),
            annotations: Some(annotations),
            labels,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec,
        ..Job::default()
    }
}

/// Five of the characters that the API server takes for generated names.
fn random_letters() -> String {
    std::iter::repeat_with(|| fastrand::choice(LETTERS)).flatten().take(5).map(|letter| char::from(*letter)).collect()
}

/// Tells of each change until the Job is over.
async fn follow(jobs: &Api<Job>, job: &Job) -> Result<ExitCode, TriggerError> {
    let name = job.name_any();
    let selection = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = std::pin::pin!(watcher::watcher(jobs.clone(), selection).default_backoff());
    let mut last = String::new();
    loop {
        let event = match changes.try_next().await {
            Ok(Some(event)) => event,
            // It is begun again by itself, unless it is not allowed.
            Err(error) => {
                let reason = error.to_string();
                if reason.contains("orbidden") {
                    return Err(TriggerError::Unwatchable { name, reason });
                }
                continue;
            }
            Ok(None) => return Err(TriggerError::Unwatchable { name, reason: "the watch ended".to_owned() }),
        };
        let seen = match event {
            watcher::Event::Apply(seen) | watcher::Event::InitApply(seen) => seen,
            watcher::Event::Delete(seen) if seen.uid() == job.uid() => return Err(TriggerError::Deleted { name }),
            _ => continue,
        };
        if seen.uid() != job.uid() {
            return Err(TriggerError::Deleted { name });
        }
        let status = seen.status.unwrap_or_default();
        let now = progress(&status, seen.spec.as_ref().and_then(|spec| spec.completions));
        if now != last {
            println!("job/{name}: {now}");
            last = now;
        }
        if let Some(end) = end(&status) {
            let why = [&end.reason, &end.message].map(|text| text.clone().unwrap_or_default());
            println!("job/{name}: {} ({}: {})", end.type_, why[0], why[1]);
            return Ok(if end.type_ == "Complete" { ExitCode::SUCCESS } else { ExitCode::from(FAILED) });
        }
    }
}

fn progress(status: &JobStatus, completions: Option<i32>) -> String {
    let number = |count: Option<i32>| count.unwrap_or_default();
    let of = completions.map_or_else(String::new, |completions| format!(" of {completions}"));
    let (active, succeeded, failed) = (number(status.active), number(status.succeeded), number(status.failed));
    format!("{active} active, {succeeded}{of} succeeded, {failed} failed")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_job_is_the_one_that_kubectl_would_make() {
        let cron_job: CronJob = serde_json::from_value(json!({
            "metadata": {"name": "n".repeat(52), "uid": "u"},
            "spec": {"schedule": "* * * * *", "jobTemplate": {
                "metadata": {"name": "ignored", "labels": {"app": "a"}, "annotations": {"note": "b"}},
                "spec": {"completions": 3, "template": {}},
            }},
        }))
        .unwrap();
        let made: Value = serde_json::to_value(job_now(of_cron_job(&cron_job), None)).unwrap();
        let name = made["metadata"]["name"].as_str().unwrap();
        assert_eq!(name.strip_prefix(&format!("{}-manual-", "n".repeat(47))).map(str::len), Some(5), "{name}");
        assert_eq!(made["metadata"]["labels"], json!({"app": "a"}));
        assert_eq!(
            made["metadata"]["annotations"],
            json!({"note": "b", "cronjob.kubernetes.io/instantiate": "manual"})
        );
        assert_eq!(
            made["metadata"]["ownerReferences"],
            json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "n".repeat(52), "uid": "u", "controller": true}])
        );
        assert_eq!(made["spec"]["completions"], 3);
        assert_eq!(job_now(of_cron_job(&cron_job), Some("mine")).metadata.name.as_deref(), Some("mine"));
    }

    #[test]
    fn a_job_schedule_makes_one_too() {
        let schedule: JobSchedule = serde_json::from_value(json!({
            "apiVersion": "jobwright.dev/v1beta1", "kind": "JobSchedule", "metadata": {"name": "s", "uid": "u"},
            "spec": {"schedules": ["H * * * *"], "jobTemplate": {"spec": {"completions": 3, "template": {}}}},
        }))
        .unwrap();
        let made: Value = serde_json::to_value(job_now(of_job_schedule(&schedule).unwrap(), None)).unwrap();
        let name = made["metadata"]["name"].as_str().unwrap();
        assert!(name.starts_with("s-manual-") && made["spec"]["completions"] == json!(3), "{name}");
        assert_eq!(made["metadata"]["ownerReferences"][0]["kind"], "JobSchedule");
    }

    #[test]
    fn only_what_starts_jobs_is_triggered() {
        let named = |kind: fn(String) -> ScheduleRef| Ok(kind("a".to_owned()));
        assert_eq!(ScheduleRef::parse("cronjob/a"), named(ScheduleRef::CronJob));
        assert_eq!(ScheduleRef::parse("cj/a"), named(ScheduleRef::CronJob));
        assert_eq!(ScheduleRef::parse("jobschedule/a"), named(ScheduleRef::JobSchedule));
        assert!(["a", "job/a", "cronjob/", "jobschedule/"].iter().all(|text| ScheduleRef::parse(text).is_err()));
    }
}
