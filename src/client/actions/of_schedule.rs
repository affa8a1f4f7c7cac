//! Actions on a CronJob or JobSchedule: start a Job now, and run past times.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::CronJob;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::request::PlannedRequest;
use super::{Plan, Subject};
use crate::client::backfill as plan;
use crate::client::creation::parameters::checked;
use crate::client::names::{Kind, ObjectName};
use crate::client::suggest::quoted;
use crate::client::trigger::{Name, job_now, of_cron_job, of_job_schedule};
use crate::schedule::backfill::Order;
use crate::schedule::calendar::types::Calendar;
use crate::schedule::job_schedule::types::JobSchedule;
use crate::schedule::parameters::{Parameter, ParameterValue};

/// Largest number of active Jobs of a backfill.
const MAX_ACTIVE: u32 = 1000;

/// Returns the parameters that a schedule declares; a CronJob has none.
pub(crate) fn parameters(kind: Kind, object: &Value) -> Vec<Parameter> {
    if kind != Kind::JobSchedule {
        return Vec::new();
    }
    serde_json::from_value(object["spec"]["parameters"].clone()).unwrap_or_default()
}

/// Plans a Job of the schedule that starts now. The letters are the end of its name.
///
/// # Errors
/// The schedule is being deleted or not valid, or has no parameter of one of the names.
pub(crate) fn trigger(schedule: &Subject<'_>, letters: &str, set: &[ParameterValue]) -> Result<Plan, String> {
    schedule.check_not_deleted()?;
    let template = match schedule.kind {
        Kind::CronJob => of_cron_job(&typed::<CronJob>(schedule.object)?),
        _ => of_job_schedule(&typed(schedule.object)?).map_err(|error| format!("spec.jobTemplate.spec: {error}"))?,
    };
    let set = checked(&schedule.object_name(), &template.parameters, set)?;
    let job = job_now(template, Name::Letters(letters), &set);
    let name = job["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let command = format!("trigger {} --name={name}{}", schedule.object_name(), set_flags(&set));
    Ok(Plan {
        request: PlannedRequest::create(Kind::Job, schedule.text("namespace"), job),
        command: schedule.suggest.jobwright(&command),
        notes: Vec::new(),
        result: ObjectName { kind: Kind::Job, name },
    })
}

fn typed<T: serde::de::DeserializeOwned>(object: &Value) -> Result<T, String> {
    serde_json::from_value(object.clone()).map_err(|error| error.to_string())
}

fn set_flags(set: &[ParameterValue]) -> String {
    set.iter().map(|one| format!(" --set={}", quoted(&format!("{}={}", one.name, one.value)))).collect()
}

/// Backfill that a user asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// First time, as the user wrote it.
    pub from: String,
    /// Last time, as the user wrote it.
    pub to: String,
    /// Order of the runs.
    pub order: Order,
    /// Maximum number of active Jobs, as the user wrote it; empty for the default.
    pub max_active: String,
    /// Values of parameters.
    pub set: Vec<ParameterValue>,
}

/// What a backfill depends on, besides the schedule.
pub(crate) struct Known<'a> {
    /// Jobs of the schedule by their scheduled times.
    pub runs: BTreeMap<Timestamp, String>,
    /// Calendars that the schedule may name.
    pub calendars: &'a [Calendar],
    /// Present time.
    pub now: Timestamp,
}

/// Plans runs for past times of a JobSchedule.
///
/// # Errors
/// The schedule cannot begin the backfill, or a value is not valid.
pub(crate) fn backfill(subject: &Subject<'_>, wish: &Wish, known: &Known<'_>) -> Result<Plan, String> {
    subject.check_not_deleted()?;
    let schedule: JobSchedule = typed(subject.object)?;
    let Wish { from, to, order, max_active, set } = wish;
    let (range, _) = plan::range(from, to, *order, schedule.spec.time_zone.as_deref())?;
    let max = match &**max_active {
        "" => None,
        text => Some(
            text.parse()
                .ok()
                .filter(|max| (1..=MAX_ACTIVE).contains(max))
                .ok_or_else(|| format!("--max-active: {text:?} is not a number from 1 to {MAX_ACTIVE}"))?,
        ),
    };
    let name = subject.object_name();
    let set = checked(&name, &schedule.spec.parameters, set)?;
    let cancel = subject.suggest.jobwright(&format!("backfill {name} --cancel"));
    plan::check(&schedule, &range, &cancel)?;
    let times = plan::Subject {
        namespace: subject.text("namespace"),
        name: subject.name(),
        spec: &schedule.spec,
        created: schedule.creation_timestamp().map(|time| time.0),
        calendars: known.calendars,
    };
    let planned = plan::wanted(&times, &range, &known.runs, known.now)?;
    let skipped = planned.iter().filter(|planned| planned.run.is_some()).count();
    let count = planned.len() - skipped;
    let word = match order {
        Order::OldestFirst => "oldest-first",
        Order::NewestFirst => "newest-first",
    };
    let limit = max.map_or_else(String::new, |max| format!(" --max-active={max}"));
    let command =
        format!("backfill {name} --from={} --to={} --order={word}{limit}{}", quoted(from), quoted(to), set_flags(&set));
    let body = json!({"spec": {"backfill": plan::spec(&range, max, &[], &set)}});
    Ok(Plan {
        request: subject.patch(body),
        command: subject.suggest.jobwright(&command),
        notes: vec![format!("At this moment, {count} past times of the range have no run, and {skipped} have one")],
        result: name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::suggest::Suggestions;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn schedule() -> Value {
        json!({
            "apiVersion": "jobwright.dev/v1beta1", "kind": "JobSchedule",
            "metadata": {"name": "n", "namespace": "etl", "uid": "u", "creationTimestamp": "2025-12-01T00:00:00Z"},
            "spec": {"schedules": ["0 * * * *"], "parameters": [{"name": "DAY", "default": "x"}],
                "jobTemplate": {"spec": {"template": {"spec": {"containers": [{"name": "main"}]}}}}},
        })
    }

    fn planned<T>(kind: Kind, object: &Value, plan: impl Fn(&Subject<'_>) -> T) -> T {
        let suggest = Suggestions::new("jobwright", Some("etl".to_owned()), Vec::new());
        plan(&Subject { kind, object, suggest: &suggest })
    }

    #[test]
    fn job_of_a_schedule_gets_its_parameters() {
        let set = |name: &str| [ParameterValue { name: name.to_owned(), value: "a b".to_owned() }];
        let plan = planned(Kind::JobSchedule, &schedule(), |one| trigger(one, "bcdfg", &set("DAY"))).unwrap();
        assert_eq!(plan.request.body["metadata"]["name"], "n-manual-bcdfg");
        let env = json!([{"name": "DAY", "value": "a b"}]);
        assert_eq!(plan.request.body["spec"]["template"]["spec"]["containers"][0]["env"], env);
        assert_eq!(plan.command, "jobwright trigger jobschedule/n --name=n-manual-bcdfg --set='DAY=a b' -n etl");
        let unknown = planned(Kind::JobSchedule, &schedule(), |one| trigger(one, "bcdfg", &set("NONE")));
        assert!(unknown.unwrap_err().contains("no such parameter"));
        let cron_job = json!({"metadata": {"name": "c", "namespace": "etl", "uid": "u"},
            "spec": {"schedule": "0 * * * *", "jobTemplate": {"spec": {"template": {}}}}});
        let plan = planned(Kind::CronJob, &cron_job, |one| trigger(one, "bcdfg", &[])).unwrap();
        assert_eq!(plan.result.to_string(), "job/c-manual-bcdfg");
        assert!(planned(Kind::CronJob, &cron_job, |one| trigger(one, "bcdfg", &set("DAY"))).is_err());
        assert_eq!(parameters(Kind::JobSchedule, &schedule()).len(), 1);
        assert_eq!(parameters(Kind::CronJob, &schedule()).len(), 0);
    }

    #[test]
    fn backfill_sets_its_range_and_counts_the_runs() {
        let known = || Known {
            runs: [(at("2026-01-01T02:00:00Z"), "run".to_owned())].into(),
            calendars: &[],
            now: at("2026-02-01T00:00:00Z"),
        };
        let wish = Wish {
            from: "2026-01-01".to_owned(),
            to: "2026-01-01T05:30".to_owned(),
            order: Order::NewestFirst,
            max_active: "3".to_owned(),
            set: Vec::new(),
        };
        let with = |wish: &Wish| planned(Kind::JobSchedule, &schedule(), |one| backfill(one, wish, &known()));
        let plan = with(&wish).unwrap();
        let spec = &plan.request.body["spec"]["backfill"];
        assert_eq!((&spec["from"], &spec["to"]), (&json!("2026-01-01T00:00:00Z"), &json!("2026-01-01T05:30:00Z")));
        assert_eq!((&spec["order"], &spec["maxActive"]), (&json!("NewestFirst"), &json!(3)));
        assert!(plan.notes[0].contains("5 past times of the range have no run, and 1 have one"), "{:?}", plan.notes);
        let command = "jobwright backfill jobschedule/n --from=2026-01-01 --to=2026-01-01T05:30 --order=newest-first \
                       --max-active=3 -n etl";
        assert_eq!(plan.command, command);
        for (change, expected) in [
            (Wish { max_active: "0".to_owned(), ..wish.clone() }, "--max-active"),
            (Wish { from: "x".to_owned(), ..wish.clone() }, "--from"),
            (
                Wish { from: "2026-01-01T01:10".to_owned(), to: "2026-01-01T01:20".to_owned(), ..wish.clone() },
                "no scheduled",
            ),
            (Wish { set: vec![ParameterValue { name: "A".to_owned(), value: String::new() }], ..wish }, "--set A"),
        ] {
            let refused = with(&change).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
