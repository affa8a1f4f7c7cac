//! Schedules and their Jobs that a user is allowed to see.

use std::collections::HashMap;
use std::sync::Arc;

use maud::{Markup, html};

use crate::runtime::identity::{Identity, Uid};
use crate::schedule::calendar::versions::Versions;
use crate::schedule::calendar::view::CalendarView;
use crate::schedule::cron_job::view::CronJobView;
use crate::schedule::job_schedule::view::JobScheduleView;
use crate::ui::access::Permission;
use crate::ui::cache::{Installed, Interest, JobRow, Visible};
use crate::ui::components::{Level, notice};
use crate::ui::console::Console;
use crate::ui::error::PageError;
use crate::ui::identity::User;
use crate::ui::schedules::Plan;
use crate::ui::schedules::runs::{ByOwner, by_owner};
use crate::ui::text::neutral;

/// Periods of Calendars by namespace and name.
type Calendars = HashMap<Arc<str>, HashMap<String, Arc<Versions>>>;

/// Schedules and their Jobs that a user is allowed to see.
pub(super) struct Known<'a> {
    cron_jobs: Option<Visible<'a, CronJobView>>,
    job_schedules: Option<Visible<'a, JobScheduleView>>,
    /// Calendars, unless the cache is not complete or the user is not allowed to list any.
    calendars: Option<Visible<'a, CalendarView>>,
    jobs: Option<Visible<'a, JobRow>>,
    /// Errors of the kinds that are left out.
    refused: Vec<PageError>,
}

impl<'a> Known<'a> {
    /// Reads the caches for a user. A kind that the user is not allowed to list is left out.
    ///
    /// # Errors
    /// The user is allowed to list neither CronJobs nor JobSchedules, or the API server cannot be asked.
    pub(super) async fn read(console: &'a Console, user: &User, namespace: Option<&str>) -> Result<Self, PageError> {
        let (cron_jobs, job_schedules, calendars, jobs) = tokio::join!(
            console.visible::<CronJobView>(user, namespace),
            async {
                match console.caches.installed::<JobScheduleView>() {
                    Installed::No => None,
                    _ => Some(console.visible::<JobScheduleView>(user, namespace).await),
                }
            },
            async {
                // No page waits for Calendars: the next times that their controller has stored are known without them.
                let caches = &console.caches;
                let are_known =
                    caches.installed::<CalendarView>() == Installed::Yes && caches.is_complete::<CalendarView>();
                match are_known {
                    true => console.visible::<CalendarView>(user, namespace).await.ok(),
                    false => None,
                }
            },
            console.visible::<JobRow>(user, namespace),
        );
        let mut refused = Vec::new();
        let job_schedules = job_schedules.and_then(|found| found.map_err(|error| refused.push(error)).ok());
        let cron_jobs = match cron_jobs {
            Ok(found) => Some(found),
            // The permission for CronJobs is the one that the page names first.
            Err(error) if job_schedules.is_none() => return Err(error),
            Err(error) => {
                refused.push(error);
                None
            }
        };
        let jobs = jobs.map_err(|error| refused.push(error)).ok();
        Ok(Self { cron_jobs, job_schedules, calendars, jobs, refused })
    }

    /// Returns the schedules.
    pub(super) fn plans(&self) -> Vec<Plan> {
        let cron_jobs = self.cron_jobs.iter().flat_map(|found| found.all(|_| true));
        let job_schedules = self.job_schedules.iter().flat_map(|found| found.all(|_| true));
        let cron_jobs = cron_jobs.map(|cron_job| Plan::of_cron_job(&cron_job));
        let calendars = self.calendars_by_name();
        cron_jobs.chain(job_schedules.map(|schedule| self.plan(&schedule, &calendars))).collect()
    }

    fn calendars_by_name(&self) -> Calendars {
        let mut found = Calendars::new();
        if let Some(calendars) = &self.calendars {
            calendars.for_each(|calendar| {
                if let Some(versions) = &calendar.versions {
                    let Identity { namespace, name, .. } = &calendar.identity;
                    found.entry(namespace.clone()).or_default().insert(name.to_string(), versions.clone());
                }
            });
        }
        found
    }

    fn has_calendars_of(&self, namespace: &Arc<str>) -> bool {
        self.calendars.as_ref().is_some_and(|found| found.allowed().contains(namespace))
    }

    /// Returns whether JobSchedules name Calendars that are not known.
    fn lacks_calendars(&self) -> bool {
        let mut lacks = false;
        if let Some(schedules) = &self.job_schedules {
            schedules.for_each(|schedule| {
                lacks |= !schedule.calendars.is_empty() && !self.has_calendars_of(&schedule.base.identity.namespace);
            });
        }
        lacks
    }

    /// Returns a JobSchedule with its Calendars, if the user is allowed to list those of its namespace.
    fn plan(&self, schedule: &Arc<JobScheduleView>, calendars: &Calendars) -> Plan {
        let namespace = &schedule.base.identity.namespace;
        if !self.has_calendars_of(namespace) {
            return Plan::of_job_schedule(schedule);
        }
        match schedule.with_calendars(|name| calendars.get(namespace)?.get(name).cloned()) {
            Some(with) => Plan::with_known_calendars(&Arc::new(with)),
            None => Plan::of_job_schedule(schedule),
        }
    }

    /// Returns the Jobs of these schedules.
    pub(super) fn jobs_of(&self, plans: &[Plan]) -> ByOwner {
        self.jobs.as_ref().map(|jobs| by_owner(jobs, plans)).unwrap_or_default()
    }

    /// Returns the changes after which the page is rendered again.
    pub(super) fn interests(&self) -> Vec<Interest> {
        let all = [
            self.cron_jobs.as_ref().map(Visible::interest),
            self.job_schedules.as_ref().map(Visible::interest),
            self.calendars.as_ref().map(Visible::interest),
            self.jobs.as_ref().map(Visible::interest),
        ];
        all.into_iter().flatten().collect()
    }

    /// Returns notices about what the page lacks.
    pub(super) fn notices(&self) -> Markup {
        let complete = [
            self.cron_jobs.as_ref().is_none_or(Visible::is_complete),
            self.job_schedules.as_ref().is_none_or(Visible::is_complete),
            self.jobs.as_ref().is_none_or(Visible::is_complete),
        ];
        let failed = [
            self.cron_jobs.as_ref().and_then(|found| found.allowed().failed.clone()),
            self.job_schedules.as_ref().and_then(|found| found.allowed().failed.clone()),
            self.jobs.as_ref().and_then(|found| found.allowed().failed.clone()),
        ];
        html! {
            @if complete.contains(&false) {
                (notice(Level::Warning, "The page is not complete yet", html! { p { "The console is still reading the cluster." } }))
            }
            @for error in &self.refused { (left_out(error)) }
            @if self.lacks_calendars() {
                (notice(Level::Info, "Calendars are not known", html! {
                    p { "Of JobSchedules with Calendars that you are not allowed to list, only the next time is shown, which their controller has stored." }
                }))
            }
            @if let Some(error) = failed.into_iter().flatten().next() {
                (notice(Level::Warning, "Permissions are not known everywhere", html! {
                    p { "Objects of some namespaces are left out, because the API server did not answer: " (neutral(&error)) }
                }))
            }
        }
    }
}

/// Returns a notice about objects that are left out because of an error.
pub(super) fn left_out(error: &PageError) -> Markup {
    let what = match error {
        PageError::Forbidden { permission: Permission { resource, .. }, .. }
        | PageError::Unreviewed { permission: Permission { resource, .. }, .. } => match *resource {
            "jobs" => "Runs",
            "cronjobs" => "CronJobs",
            "jobschedules" => "JobSchedules",
            _ => "Some objects",
        },
        _ => "Some objects",
    };
    notice(Level::Warning, &format!("{what} are left out"), html! { p { (neutral(&error.text())) } })
}

/// Returns the Jobs of one owner.
pub(super) fn of<'a>(jobs: &'a ByOwner, uid: &Uid) -> &'a [Arc<JobRow>] {
    jobs.get(uid).map(Vec::as_slice).unwrap_or_default()
}
