//! A CronJob or JobSchedule as the pages show it: when it is due, and whether it is late.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::times::Rules;
use crate::client::names::Kind;
use crate::runtime::identity::{Identity, Uid};
use crate::schedule::cron_job::decide::{time_in_future, unserved};
use crate::schedule::cron_job::view::{self, CronJobView};
use crate::schedule::job_schedule::suspension::{Suspension, failures, suspension};
use crate::schedule::job_schedule::types::{ConcurrencyPolicy, Run};
use crate::schedule::job_schedule::view::JobScheduleView;
use crate::ui::components::State;
use crate::ui::views::object_path;

/// Time after which a run that was due, and has no Job, is late.
pub const GRACE: SignedDuration = SignedDuration::from_secs(30);

/// Maximum number of times that are followed one by one.
const FOLLOWED: usize = 10_000;

/// Kind of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScheduleKind {
    /// CronJob of Kubernetes.
    CronJob,
    /// JobSchedule of Jobwright.
    JobSchedule,
}

impl ScheduleKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::CronJob, Self::JobSchedule];

    /// Returns the kind with this name in a URL.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Returns the kind as kubectl names it, which is its name in a URL.
    pub fn word(self) -> &'static str {
        self.of_client().singular()
    }

    /// Returns the kind as the API names it.
    pub fn kind(self) -> &'static str {
        self.of_client().kind()
    }

    pub(crate) fn of_client(self) -> Kind {
        match self {
            Self::CronJob => Kind::CronJob,
            Self::JobSchedule => Kind::JobSchedule,
        }
    }
}

/// Object of which a schedule was made.
#[derive(Clone, Debug)]
enum Source {
    CronJob(Arc<CronJobView>),
    JobSchedule(Arc<JobScheduleView>),
}

/// Schedule as the pages show it.
#[derive(Clone, Debug)]
pub struct Plan {
    source: Source,
    /// Rules by which times are due, or why there are none.
    pub rules: Result<Rules, String>,
    /// Whether the rules lack the Calendars that the object names.
    lacks_calendars: bool,
}

impl Plan {
    /// Returns the schedule of a CronJob.
    pub fn of_cron_job(cron_job: &Arc<CronJobView>) -> Self {
        Self {
            rules: Rules::of_cron_job(&cron_job.spec),
            source: Source::CronJob(cron_job.clone()),
            lacks_calendars: false,
        }
    }

    /// Returns the schedule of a JobSchedule.
    pub fn of_job_schedule(schedule: &Arc<JobScheduleView>) -> Self {
        Self { lacks_calendars: !schedule.calendars.is_empty(), ..Self::with_known_calendars(schedule) }
    }

    /// Returns the schedule of a JobSchedule whose timetable has the periods of its Calendars.
    pub fn with_known_calendars(schedule: &Arc<JobScheduleView>) -> Self {
        let rules = schedule.timetable.clone().map(Rules::Table);
        Self { rules, source: Source::JobSchedule(schedule.clone()), lacks_calendars: false }
    }

    fn base(&self) -> &CronJobView {
        match &self.source {
            Source::CronJob(cron_job) => cron_job,
            Source::JobSchedule(schedule) => &schedule.base,
        }
    }

    /// Returns the kind of the object.
    pub fn kind(&self) -> ScheduleKind {
        match self.source {
            Source::CronJob(_) => ScheduleKind::CronJob,
            Source::JobSchedule(_) => ScheduleKind::JobSchedule,
        }
    }

    /// Returns namespace, name and UID.
    pub fn identity(&self) -> &Identity {
        &self.base().identity
    }

    /// Returns the UID, by which Jobs name their owner.
    pub fn uid(&self) -> &Uid {
        &self.base().identity.uid
    }

    /// Returns the path of the page of the schedule.
    pub fn path(&self) -> String {
        let Identity { namespace, name, .. } = self.identity();
        object_path(self.kind().of_client(), namespace, name)
    }

    /// Returns the schedules as the object has them.
    pub fn text(&self) -> String {
        match &self.source {
            Source::CronJob(cron_job) => cron_job.spec.schedule.clone(),
            Source::JobSchedule(schedule) => schedule.schedules.join(", "),
        }
    }

    /// Returns the runs that the status stores, the newest first.
    pub fn stored(&self) -> &[Run] {
        match &self.source {
            Source::CronJob(_) => &[],
            Source::JobSchedule(schedule) => &schedule.stored.history,
        }
    }

    /// Returns the last scheduled time that the controller has served.
    pub fn last(&self) -> Option<Timestamp> {
        self.base().status.last_schedule
    }

    /// Returns whether the times depend on Calendars, which are not cached.
    pub fn has_calendars(&self) -> bool {
        self.lacks_calendars
    }

    /// Returns whether no Jobs are started until a user changes something.
    pub fn is_suspended(&self) -> bool {
        match &self.source {
            Source::CronJob(cron_job) => cron_job.spec.suspend,
            Source::JobSchedule(schedule) => suspension(schedule, &failures(schedule, &[])) != Suspension::None,
        }
    }

    fn runs_left(&self) -> Option<usize> {
        match &self.source {
            Source::CronJob(_) => None,
            Source::JobSchedule(schedule) => schedule.runs_left(&schedule.base.status),
        }
    }

    fn active(&self) -> usize {
        match &self.source {
            Source::CronJob(cron_job) => cron_job.status.active.len(),
            Source::JobSchedule(schedule) => usize::try_from(schedule.stored.active_count).unwrap_or_default(),
        }
    }

    /// Returns whether no Job is started while an earlier one is active.
    fn waits_for_active(&self) -> bool {
        match &self.source {
            Source::CronJob(cron_job) => cron_job.spec.concurrency_policy == view::ConcurrencyPolicy::Forbid,
            Source::JobSchedule(schedule) => {
                matches!(schedule.policy, ConcurrencyPolicy::Forbid | ConcurrencyPolicy::Queue)
            }
        }
    }

    /// Returns the times after now at which Jobs will be started. A suspended schedule has none. Of a schedule with
    /// Calendars, only the next time is known, which its controller has stored.
    pub fn upcoming(&self, now: Timestamp) -> Box<dyn Iterator<Item = Timestamp> + '_> {
        self.upcoming_after(now, now)
    }

    /// Returns those of the upcoming times that are after another time. Without a maximum number of runs, the cost does
    /// not depend on how far the other time is away.
    pub fn upcoming_after(&self, now: Timestamp, begin: Timestamp) -> Box<dyn Iterator<Item = Timestamp> + '_> {
        if self.is_suspended() || self.base().deleting {
            return Box::new(std::iter::empty());
        }
        if self.has_calendars() {
            return Box::new(self.stored_next().into_iter().filter(move |next| *next > begin.max(now)));
        }
        let Ok(rules) = &self.rules else { return Box::new(std::iter::empty()) };
        let after = time_in_future(self.last(), now).unwrap_or(now);
        match (self.runs_left(), rules) {
            // An interval of a CronJob counts from its last time, so the search cannot begin later.
            (None, Rules::Plain(schedule, _)) if schedule.every().is_some() => {
                Box::new(rules.times(after).take(FOLLOWED).filter(move |time| *time > begin))
            }
            (None, _) => Box::new(rules.times(after.max(begin))),
            (Some(left), _) => Box::new(rules.times(after).take(left.min(FOLLOWED)).filter(move |time| *time > begin)),
        }
    }

    /// Returns the next time at which a Job will be started.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.upcoming(now).next()
    }

    fn stored_next(&self) -> Option<Timestamp> {
        match &self.source {
            Source::CronJob(_) => None,
            Source::JobSchedule(schedule) => schedule.stored.next.as_deref()?.parse().ok(),
        }
    }

    /// Returns the first time that was due, and for which no Job was created.
    ///
    /// A CronJob is due after the last time that its status has. The controller of a JobSchedule stores the next time,
    /// and replaces it when the time has passed.
    pub fn late_since(&self, now: Timestamp) -> Option<Timestamp> {
        if self.is_suspended() || self.base().deleting || self.runs_left() == Some(0) {
            return None;
        }
        let rules = self.rules.as_ref().ok()?;
        let due = match &self.source {
            Source::CronJob(cron_job) => {
                let served = cron_job.status.last_schedule.unwrap_or(cron_job.created);
                rules.times(served).next()?
            }
            Source::JobSchedule(_) => self.stored_next()?,
        };
        let allowed = GRACE.checked_add(rules.jitter())?;
        (now.duration_since(due) > allowed).then_some(due)
    }

    /// Returns whether the start of each time that was due is too late (`startingDeadlineSeconds`).
    fn is_too_late(&self, now: Timestamp) -> bool {
        let base = self.base();
        if base.spec.starting_deadline.is_none() {
            return false;
        }
        let Ok(rules) = &self.rules else { return false };
        rules.times(unserved(base, &base.status, now)).next().is_none_or(|next| next > now)
    }

    /// Returns the state of the schedule.
    pub fn state(&self, now: Timestamp) -> State {
        if self.base().deleting {
            return State::Terminating;
        }
        if self.rules.is_err() {
            return State::Invalid;
        }
        if self.is_suspended() {
            return State::Suspended;
        }
        let is_active = self.active() > 0;
        match self.late_since(now) {
            Some(_) if is_active && self.waits_for_active() => State::Blocked,
            Some(_) if self.is_too_late(now) => State::Missed,
            Some(_) => State::Late,
            None if is_active => State::Running,
            None if self.next(now).is_none() => State::NeverDue,
            None => State::Scheduled,
        }
    }
}

/// States of schedules, the worst first.
pub const STATES: [State; 9] = [
    State::Late,
    State::Missed,
    State::Invalid,
    State::Blocked,
    State::NeverDue,
    State::Suspended,
    State::Running,
    State::Scheduled,
    State::Terminating,
];

/// Returns the place of a state among [`STATES`].
pub fn severity(state: State) -> usize {
    STATES.iter().position(|one| *one == state).unwrap_or(STATES.len() - 1)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn cron_job(spec: &Value, status: &Value) -> Plan {
        let mut full = json!({"schedule": "0 * * * *", "jobTemplate": {}});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let object = json!({"metadata": {"namespace": "n", "name": "c", "uid": "u", "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:30:00Z"}, "spec": full, "status": status});
        let wire = serde_json::from_str(&object.to_string()).unwrap();
        Plan::of_cron_job(&Arc::new(CronJobView::parse(wire).unwrap()))
    }

    fn job_schedule(spec: &Value, status: &Value) -> Plan {
        let mut full = json!({"schedules": ["0 * * * *"],
            "jobTemplate": {"spec": {"template": {"spec": {"containers": []}}}}});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let object = json!({"metadata": {"namespace": "n", "name": "s", "uid": "u", "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:30:00Z"}, "spec": full, "status": status});
        let wire = serde_json::from_value(object).unwrap();
        Plan::of_job_schedule(&Arc::new(JobScheduleView::parse(wire).unwrap()))
    }

    #[test]
    fn state_of_a_cron_job_follows_its_times() {
        let served = json!({"lastScheduleTime": "2026-01-01T01:00:00Z"});
        let active = json!({"lastScheduleTime": "2026-01-01T01:00:00Z", "active": [{"uid": "j", "name": "c-1"}]});
        let cases = [
            (json!({}), served.clone(), "2026-01-01T01:59:00Z", State::Scheduled),
            (json!({}), served.clone(), "2026-01-01T02:00:29Z", State::Scheduled),
            (json!({}), served.clone(), "2026-01-01T02:00:31Z", State::Late),
            (json!({}), json!({}), "2026-01-01T01:00:31Z", State::Late),
            (json!({}), active.clone(), "2026-01-01T01:30:00Z", State::Running),
            (json!({"concurrencyPolicy": "Forbid"}), active, "2026-01-01T02:30:00Z", State::Blocked),
            (json!({"startingDeadlineSeconds": 60}), served.clone(), "2026-01-01T02:00:50Z", State::Late),
            (json!({"startingDeadlineSeconds": 60}), served.clone(), "2026-01-01T02:30:00Z", State::Missed),
            (json!({"suspend": true}), served.clone(), "2026-01-01T05:00:00Z", State::Suspended),
            (json!({"schedule": "0 0 30 2 *"}), served.clone(), "2026-01-01T05:00:00Z", State::NeverDue),
            (json!({"schedule": "x"}), served.clone(), "2026-01-01T05:00:00Z", State::Invalid),
            (json!({"timeZone": "Mars/Base"}), served, "2026-01-01T05:00:00Z", State::Invalid),
        ];
        for (spec, status, now, expected) in cases {
            assert_eq!(cron_job(&spec, &status).state(at(now)), expected, "{spec} {status} {now}");
        }
    }

    #[test]
    fn job_schedule_is_late_after_the_time_that_its_controller_has_stored() {
        let status = json!({"nextScheduleTime": "2026-01-01T02:00:00Z", "lastScheduleTime": "2026-01-01T01:00:00Z"});
        let cases = [
            (json!({}), "2026-01-01T02:00:20Z", State::Scheduled),
            (json!({}), "2026-01-01T02:00:40Z", State::Late),
            (json!({"jitter": "5m"}), "2026-01-01T02:04:00Z", State::Scheduled),
            (json!({"maxRuns": 0}), "2026-01-01T02:10:00Z", State::NeverDue),
            (json!({"suspend": true}), "2026-01-01T02:10:00Z", State::Suspended),
            (json!({"excludeCalendars": ["holidays"]}), "2026-01-01T01:10:00Z", State::Scheduled),
        ];
        for (spec, now, expected) in cases {
            assert_eq!(job_schedule(&spec, &status).state(at(now)), expected, "{spec} {now}");
        }
        let failed = json!({"failedRunsInARow": 3});
        assert_eq!(
            job_schedule(&json!({"suspendAfterFailures": 3}), &failed).state(at("2026-01-01T02:10:00Z")),
            State::Suspended
        );
    }

    #[test]
    fn upcoming_times_end_where_no_job_will_be_started() {
        let now = at("2026-01-01T01:10:00Z");
        let status = json!({"nextScheduleTime": "2026-01-01T04:00:00Z"});
        assert_eq!(job_schedule(&json!({"maxRuns": 2}), &json!({})).upcoming(now).count(), 2);
        assert_eq!(job_schedule(&json!({"suspend": true}), &json!({})).next(now), None);
        let calendars: Vec<_> = job_schedule(&json!({"onlyCalendars": ["c"]}), &status).upcoming(now).collect();
        assert_eq!(calendars, [at("2026-01-01T04:00:00Z")], "without the Calendars, only the stored time is known");
        let ahead = cron_job(&json!({}), &json!({"lastScheduleTime": "2026-01-03T00:00:00Z"}));
        assert_eq!(ahead.next(now), Some(at("2026-01-03T01:00:00Z")), "the last time is in the future");
    }
}
