//! `jobwright next`: prints the next times of a schedule, CronJob or JobSchedule, and the clock changes that affect
//! them.

use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;

use super::global::GlobalArguments;
use crate::client::cluster::{ClusterReadError, exit_with};
use crate::client::format::Format;
use crate::client::names::{Kind, SCHEDULES, Selection, SelectionArguments, SelectorArguments};
use crate::client::output;
use crate::client::scheduled_object::{self, Due, ScheduledObject, ScheduledObjectError};
use crate::schedule::clock_changes::{self, ClockChange};
use crate::schedule::cron_job::decide::time_in_future;
use crate::schedule::job_schedule::timetable::Dst;

/// The flags of `jobwright next`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// A schedule, such as "30 2 * * *", or cronjob/NAME or jobschedule/NAME in the cluster
    #[arg(value_name = "SCHEDULE|TYPE/NAME", required_unless_present = "filename", conflicts_with = "filename")]
    subject: Vec<String>,
    /// File or folder with manifests of CronJobs and JobSchedules; - is standard input
    #[arg(short, long, value_name = "FILE")]
    filename: Option<PathBuf>,
    /// IANA time zone of a schedule given as text; default: the zone of this machine
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Print times after this one, such as 2026-01-01 or 2026-01-01T08:00:00Z; default: now
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Timestamp>,
    /// Number of times, at most 1000
    #[arg(short, long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    #[command(flatten)]
    selectors: SelectorArguments,
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

/// Parses a time: RFC 3339, or a date or a local time, which are in UTC.
fn time(text: &str) -> Result<Timestamp, String> {
    let utc =
        || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    let time = text.parse().ok().or_else(utc);
    time.ok_or_else(|| "must be a date such as 2026-01-01, or a time such as 2026-01-01T08:00:00Z".to_owned())
}

/// Next times of one schedule, as the output for programs has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NextTimes {
    /// Kind of the object: CronJob or JobSchedule. Unset for a schedule given as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Namespace of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Schedules as they are written.
    pub schedules: Vec<String>,
    /// IANA name of the time zone.
    pub time_zone: String,
    /// Whether the object is suspended, so that it starts no Jobs.
    pub suspended: bool,
    /// Next times at which the schedule is due, in UTC (RFC 3339).
    pub times: Vec<String>,
    /// Times at which the Jobs are started: those of `times`, each with its jitter.
    pub starts: Vec<String>,
    /// Notes on the times.
    pub notes: Vec<String>,
}

/// Times of one schedule.
struct Answer {
    subject: ScheduledObject,
    /// Next times, in ascending order.
    times: Vec<Timestamp>,
    /// Clock changes before the last of these times that skip or repeat a scheduled time.
    changes: Vec<ClockChange>,
}

/// Prints the next times, or the error. The exit code is 1 if a schedule has no next time.
pub fn main(arguments: &Arguments, global: &GlobalArguments) -> ExitCode {
    exit_with(run(arguments, global).map(|(text, due)| {
        output::print(text);
        if due { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }))
}

/// Returns the output, and whether each schedule has a next time.
fn run(arguments: &Arguments, global: &GlobalArguments) -> Result<(String, bool), ScheduledObjectError> {
    let now = crate::client::now();
    let from = arguments.from.unwrap_or(now);
    let count = usize::from(arguments.count);
    let answers = subjects(arguments, global, from)?.into_iter().map(|subject| answer(subject, from, now, count));
    let answers: Vec<Answer> = answers.collect();
    let due = answers.iter().all(|answer| !answer.times.is_empty());
    let structured: Vec<NextTimes> = answers.iter().map(structured).collect();
    let text = arguments.output.objects(&structured, true);
    Ok((text.unwrap_or_else(|| answers.iter().map(text_of).collect::<Vec<_>>().join("\n")), due))
}

fn subjects(
    arguments: &Arguments,
    global: &GlobalArguments,
    from: Timestamp,
) -> Result<Vec<ScheduledObject>, ScheduledObjectError> {
    let of_objects = arguments.filename.is_some() || names_objects(&arguments.subject);
    if of_objects && arguments.time_zone.is_some() {
        return Err(ScheduledObjectError::ZoneOfObject);
    }
    if let Some(path) = &arguments.filename {
        return scheduled_object::of_file(path, global.namespace.as_deref(), from);
    }
    if !of_objects && arguments.selectors.is_given() {
        return Err(ScheduledObjectError::SelectorOfText);
    }
    if !of_objects {
        return Ok(vec![ScheduledObject::of_text(&arguments.subject.join(" "), arguments.time_zone.as_deref())?]);
    }
    let selection = SelectionArguments { objects: arguments.subject.clone(), selectors: arguments.selectors.clone() };
    let selected = selection.resolve(SCHEDULES).map_err(ClusterReadError::from)?;
    of_cluster(&selected, &arguments.selectors, global)
}

/// Returns whether the words name objects, and are not the fields of a schedule.
fn names_objects(words: &[String]) -> bool {
    let Some(first) = words.first() else { return false };
    match first.split_once('/') {
        Some((type_, _)) => type_.len() > 1 && type_.chars().all(|c| c.is_ascii_alphanumeric() || c == '.'),
        None => first.split(',').all(|type_| Kind::parse(type_).is_some()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn of_cluster(
    selection: &Selection,
    selectors: &SelectorArguments,
    global: &GlobalArguments,
) -> Result<Vec<ScheduledObject>, ScheduledObjectError> {
    let context = global.open().await.map_err(ClusterReadError::from)?;
    let names = match selection {
        Selection::Named(names) => names.iter().map(|name| (context.namespace.clone(), name.clone())).collect(),
        Selection::Matching(kinds) => context.names_of(kinds, selectors).await?,
    };
    let mut objects = Vec::new();
    for (namespace, name) in &names {
        let object = ScheduledObject::of_cluster(name, &context.of_namespace(namespace)).await?;
        // Names of several namespaces may be equal.
        objects.push(ScheduledObject { with_namespace: selectors.all_namespaces, ..object });
    }
    Ok(objects)
}

fn answer(mut subject: ScheduledObject, from: Timestamp, now: Timestamp, count: usize) -> Answer {
    let ahead = time_in_future(subject.last, now);
    if let Some(last) = ahead {
        subject.notes.push(format!(
            "its status.lastScheduleTime is {last}, later than now: no Job is started before the first time after it"
        ));
    }
    let from = ahead.map_or(from, |last| last.max(from));
    let times: Vec<_> = match &subject.due {
        Due::Plain(schedule, zone) => {
            std::iter::successors(schedule.next(from, zone), |last| schedule.next(*last, zone)).take(count).collect()
        }
        Due::Timetable(table) => match subject.runs_left.as_mut() {
            None => table.times(from).take(count).collect(),
            Some(left) => {
                // The runs from now on use up spec.maxRuns, also those that are not printed.
                let begin = ahead.unwrap_or(now);
                let is_left = |time: &Timestamp| {
                    let is_left = *time <= begin || *left > 0;
                    *left -= usize::from(*time > begin && is_left);
                    is_left
                };
                let times = table.times(from.min(begin)).take_while(is_left);
                times.filter(|time| *time > from).take(count).collect()
            }
        },
    };
    let until = times.last().copied().unwrap_or(from);
    let changes = match &subject.due {
        Due::Plain(schedule, zone) => clock_changes::between(schedule, zone, from, until),
        Due::Timetable(table) => {
            let certain = table.schedules.iter().filter(|schedule| schedule.has_certain_hours());
            certain.flat_map(|schedule| clock_changes::between(schedule, &table.zone, from, until)).collect()
        }
    };
    Answer { subject, times, changes }
}

fn zone_name(subject: &ScheduledObject) -> &str {
    zone(subject).iana_name().unwrap_or("this machine's time zone")
}

fn zone(subject: &ScheduledObject) -> &TimeZone {
    match &subject.due {
        Due::Plain(_, zone) => zone,
        Due::Timetable(table) => &table.zone,
    }
}

fn text_of(answer: &Answer) -> String {
    let Answer { subject, times, .. } = answer;
    let schedules: Vec<String> = subject.schedules.iter().map(|schedule| format!("{schedule:?}")).collect();
    let mut text = match &subject.object {
        Some(name) => {
            let namespace = subject.namespace.as_deref().filter(|_| subject.with_namespace);
            let namespace = namespace.map_or_else(String::new, |namespace| format!("{namespace}/"));
            format!("{namespace}{name}: {} in {}\n", schedules.join(", "), zone_name(subject))
        }
        None => format!("{} in {}\n", subject.name(), zone_name(subject)),
    };
    for time in times {
        let local = time.to_zoned(zone(subject).clone()).strftime("%a %Y-%m-%d %H:%M:%S %:z");
        text.push_str(&format!("{local}   {time}"));
        if let Some(start) = start(subject, *time) {
            text.push_str(&format!(" (+jitter, starts at {start})"));
        }
        text.push('\n');
    }
    for note in notes(answer) {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

/// Returns when the Job of this time is started, if jitter delays it.
fn start(subject: &ScheduledObject, time: Timestamp) -> Option<Timestamp> {
    match &subject.due {
        Due::Plain(..) => None,
        Due::Timetable(table) => Some(table.start_of(time)).filter(|start| *start > time),
    }
}

fn notes(answer: &Answer) -> Vec<String> {
    let Answer { subject, times, changes } = answer;
    let mut notes = subject.notes.clone();
    if subject.runs_left == Some(0) {
        let after = if times.is_empty() { "it is never due again" } else { "it is not due after these times" };
        notes.push(format!("{after}: spec.maxRuns is reached"));
    }
    if times.is_empty() && subject.runs_left != Some(0) {
        notes.push(match &subject.due {
            Due::Plain(..) => "it is never due: no time within five years matches".to_owned(),
            Due::Timetable(_) => {
                "it is never due: every time within five years is excluded, or none matches".to_owned()
            }
        });
    }
    if subject.suspended {
        notes.push("it is suspended: no Jobs are started until spec.suspend is false".to_owned());
    }
    for ClockChange { from, to, skips, first, .. } in changes {
        let date = first.strftime("%Y-%m-%d");
        let [from, to, first] = [from, to, first].map(|at| at.strftime("%H:%M").to_string());
        let what = run_in_between(&subject.due, *skips);
        notes.push(if *skips {
            format!("on {date} there is no {first}: clocks go from {from} to {to}, and a run that is due in between {what}")
        } else {
            format!("on {date} {first} occurs twice: clocks go back from {to} to {from}, and a run that is due in between {what}")
        });
    }
    notes
}

/// Describes what happens to runs whose local time a clock change skips (`skips`) or repeats.
fn run_in_between(due: &Due, skips: bool) -> &'static str {
    match (due, skips) {
        (Due::Plain(..), true) => "is skipped",
        (Due::Plain(..), false) => "starts twice",
        (Due::Timetable(table), true) => match table.dst {
            Dst::Skip => "is skipped (dst: Skip)",
            Dst::Once => "starts later by that time (dst: Once)",
            Dst::Shift => "starts later by that time (dst: Shift)",
        },
        (Due::Timetable(table), false) => match table.dst {
            Dst::Once => "starts the first time only (dst: Once)",
            Dst::Shift => "starts twice (dst: Shift)",
            Dst::Skip => "starts twice (dst: Skip)",
        },
    }
}

fn structured(answer: &Answer) -> NextTimes {
    let Answer { subject, times, .. } = answer;
    let starts = times.iter().map(|time| start(subject, *time).unwrap_or(*time));
    NextTimes {
        kind: subject.object.as_ref().map(|object| object.kind.kind().to_owned()),
        namespace: subject.namespace.clone(),
        name: subject.object.as_ref().map(|object| object.name.clone()),
        schedules: subject.schedules.clone(),
        time_zone: zone_name(subject).to_owned(),
        suspended: subject.suspended,
        times: times.iter().map(ToString::to_string).collect(),
        starts: starts.map(|start| start.to_string()).collect(),
        notes: notes(answer),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[derive(clap::Parser)]
    struct Parsed {
        #[command(flatten)]
        global: GlobalArguments,
        #[command(flatten)]
        arguments: Arguments,
    }

    fn output(args: &[&str]) -> Result<String, ScheduledObjectError> {
        printed(args).map(|(text, _)| text)
    }

    fn printed(args: &[&str]) -> Result<(String, bool), ScheduledObjectError> {
        let Parsed { global, arguments } = <Parsed as clap::Parser>::parse_from(["next"].iter().chain(args));
        run(&arguments, &global)
    }

    fn of_manifest(text: &str, args: &[&str]) -> Result<String, ScheduledObjectError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        output(&[&["-f", file.path().to_str().unwrap()], args].concat())
    }

    #[test]
    fn times_are_printed_with_notes_on_clock_changes() {
        let printed =
            output(&["30 2 * * *", "--time-zone=Europe/Paris", "--from=2026-03-28T00:00:00Z", "-c2"]).unwrap();
        let expected = "schedule \"30 2 * * *\" in Europe/Paris\n\
            Sat 2026-03-28 02:30:00 +01:00   2026-03-28T01:30:00Z\n\
            Mon 2026-03-30 02:30:00 +02:00   2026-03-30T00:30:00Z\n\
            note: on 2026-03-29 there is no 02:30: clocks go from 02:00 to 03:00, and a run that is due in between is skipped\n";
        assert_eq!(printed, expected);
    }

    #[test]
    fn documentation_has_the_times_of_a_schedule() {
        let args = ["30 2 * * *", "--time-zone", "Europe/Paris", "--from", "2026-03-27T00:00:00Z", "-c", "3"];
        let line = r#"$ jobwright next "30 2 * * *" --time-zone Europe/Paris --from 2026-03-27T00:00:00Z -c 3"#;
        crate::client::transcripts::assert_in_page("cronjobs.md", &format!("{line}\n{}", output(&args).unwrap()));
    }

    const MANIFEST: &str = r#"{"apiVersion": "jobwright.dev/v1beta1", "kind": "JobSchedule", "metadata": {"name": "reports"},
        "spec": {"schedules": ["30 2 * * *", "H 12 1 * *"], "timeZone": "Europe/Paris", "suspend": true, "dst": "Once",
                 "exclude": [{"date": "2026-03-30"}], "jobTemplate": {"spec": {"template": {}}}}}"#;

    #[test]
    fn job_schedule_is_evaluated_with_all_of_its_fields() {
        let printed = of_manifest(MANIFEST, &["--from=2026-03-28T23:00:00Z", "-c3"]).unwrap();
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines[0], r#"jobschedule/reports: "30 2 * * *", "H 12 1 * *" in Europe/Paris"#);
        assert_eq!(
            lines[1], "Sun 2026-03-29 03:30:00 +02:00   2026-03-29T01:30:00Z",
            "a skipped time runs later by the length of the gap"
        );
        assert_eq!(lines[2], "Tue 2026-03-31 02:30:00 +02:00   2026-03-31T00:30:00Z", "an excluded day has no run");
        assert!(lines[4].contains(r#""H 12 1 * *" is ""#) && lines[4].ends_with("for default/reports"), "{printed}");
        assert!(
            printed.contains("it is suspended") && printed.contains("starts later by that time (dst: Once)"),
            "{printed}"
        );
    }

    #[test]
    fn jitter_delays_starts_differently_in_each_namespace() {
        let jittery = MANIFEST.replace(r#""suspend": true"#, r#""jitter": "10m""#);
        let starts = |namespace: &str| {
            let printed = of_manifest(&jittery, &["--from=2026-04-02T00:00:00Z", "-ojson", namespace]).unwrap();
            let json: Value = serde_json::from_str(&printed).unwrap();
            assert_eq!(json["times"].as_array().unwrap().len(), 5);
            assert!(
                json["times"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .zip(json["starts"].as_array().unwrap())
                    .all(|(due, start)| { due.as_str() <= start.as_str() })
            );
            json["starts"].clone()
        };
        assert_ne!(starts("--namespace=a"), starts("--namespace=b"));
    }

    #[test]
    fn times_before_a_future_last_schedule_time_are_left_out() {
        let far = crate::client::now() + jiff::SignedDuration::from_hours(24_000);
        let year = far.to_zoned(TimeZone::UTC).year() + 1;
        for (kind, spec) in [
            ("batch/v1\", \"kind\": \"CronJob", r#""schedule": "0 0 1 1 *", "timeZone": "UTC""#),
            ("jobwright.dev/v1beta1\", \"kind\": \"JobSchedule", r#""schedules": ["0 0 1 1 *"]"#),
        ] {
            let manifest = format!(
                r#"{{"apiVersion": "{kind}", "metadata": {{"name": "a"}}, "status": {{"lastScheduleTime": "{far:.0}"}},
                    "spec": {{{spec}, "jobTemplate": {{"spec": {{"template": {{}}}}}}}}}}"#
            );
            let printed = of_manifest(&manifest, &["-c1"]).unwrap();
            assert!(printed.contains(&format!("   {year}-01-01T00:00:00Z")), "{printed}");
            assert!(printed.contains("later than now: no Job is started before the first time after it"), "{printed}");
        }
    }

    #[test]
    fn error_names_the_object_and_the_field() {
        let wrong = |from: &str, to: &str| of_manifest(&MANIFEST.replace(from, to), &[]).unwrap_err().to_string();
        assert_eq!(
            wrong("Europe/Paris", "Paris"),
            r#"jobschedule/reports: spec.timeZone: "Paris" is not an IANA time zone such as Europe/Paris"#
        );
        assert!(wrong("H 12", "H(70) 12").contains("spec.schedules[1]: minute"));
        assert!(wrong(r#""JobSchedule""#, r#""Job""#).contains("cannot find a CronJob or JobSchedule"));
        let hashed = output(&["H * * * *"]).unwrap_err().to_string();
        assert!(hashed.contains("H is for JobSchedules"), "{hashed}");
        let job = output(&["job/hello"]).unwrap_err().to_string();
        assert!(job.contains("jobs are not accepted here; write cronjob/NAME or jobschedule/NAME"), "{job}");
    }

    #[test]
    fn cron_job_without_a_zone_is_shown_in_utc_with_a_note() {
        let manifest = r#"{"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "a"},
            "spec": {"schedule": "0 9 * * *", "jobTemplate": {"spec": {"template": {}}}}}"#;
        let printed = of_manifest(manifest, &["--from=2026-01-01", "-c1"]).unwrap();
        assert!(
            printed.starts_with(
                "cronjob/a: \"0 9 * * *\" in UTC\nThu 2026-01-01 09:00:00 +00:00   2026-01-01T09:00:00Z\n"
            ),
            "{printed}"
        );
        assert!(printed.contains("note: no spec.timeZone; shown in UTC"), "{printed}");
        let refused = of_manifest(manifest, &["--time-zone=Europe/London"]).unwrap_err().to_string();
        assert!(refused.contains("--time-zone is for a schedule given as text"), "{refused}");
        let selected = output(&["0 9 * * *", "-A"]).unwrap_err().to_string();
        assert!(selected.contains("selectors are for CronJobs and JobSchedules"), "{selected}");
    }

    #[test]
    fn schedule_that_is_never_due_is_distinguished() {
        let (text, due) = printed(&["0 0 30 2 *"]).unwrap();
        assert!(!due && text.contains("it is never due"), "{text}");
        assert!(printed(&["0", "0", "1", "1", "*"]).unwrap().1, "fields may be separate words");
    }

    #[test]
    fn types_and_names_are_distinguished_from_a_schedule() {
        let names = |text: &str| names_objects(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        for text in ["cronjob/a", "cj a", "cronjobs", "cj,jsched", "jobs.batch/a"] {
            assert!(names(text), "{text}");
        }
        for text in ["30 2 * * *", "1,2 * * * *", "*/5 * * * *", "@daily", "MON * * * *"] {
            assert!(!names(text), "{text}");
        }
    }

    #[test]
    fn time_is_a_date_or_a_time() {
        for text in ["2026-01-01", "2026-01-01T00:00", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00"] {
            assert_eq!(time(text).map(|time| time.to_string()), Ok("2026-01-01T00:00:00Z".to_owned()), "{text}");
        }
        assert!(time("yesterday").unwrap_err().contains("2026-01-01T08:00:00Z"));
    }
}
