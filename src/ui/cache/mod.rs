//! What the console knows of the cluster: slim rows of Jobs, and CronJobs, JobSchedules, Calendars and JobLimits, kept up
//! to date by watches.
//!
//! The caches are shared between users. A page reaches the objects through [`Visible`] alone, which has been reduced to
//! what its user is allowed to list. Pods are not cached: they are read for one Job with the permissions of the user.

mod interest;
mod job_row;
mod visible;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::interest::ChangeLog;
pub use self::interest::Interest;
pub use self::job_row::{JobRow, Numbers, Owner, WireJobRow};
pub use self::visible::Visible;
use super::access::Permission;
use crate::client::explain::collect::Scope;
use crate::limit::view::{LimitView, WireJobLimit};
use crate::runtime::cache::{Cache, Cached, Change};
use crate::runtime::codec::{Encoding, WireObject};
use crate::runtime::objects::Objects;
use crate::runtime::watch::{CacheEvent, LiveScope, Synced, Watch, WatchMetrics};
use crate::schedule::calendar::view::{CalendarView, WireCalendar};
use crate::schedule::cron_job::view::CronJobView;
use crate::schedule::cron_job::wire::WireCronJob;
use crate::schedule::job_schedule::API_VERSION;
use crate::schedule::job_schedule::view::{JobScheduleView, WireJobSchedule};

/// Time after which the API server is asked again which resources it has, after an error.
const RETRY: Duration = Duration::from_secs(2);

/// Whether a cluster has a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// The API server has not answered yet.
    Unknown,
    /// The cluster does not have the resource.
    No,
    /// The cluster has the resource.
    Yes,
}

/// Objects of one kind.
struct Feed<T> {
    cache: Cache<T>,
    synced: Synced,
    installed: Mutex<Installed>,
    permission: Permission,
    log: ChangeLog,
}

/// Kind of object that the console caches.
pub trait Kept: Cached + Sized {
    /// Returns the objects of this kind.
    #[doc(hidden)]
    fn feed(caches: &Caches) -> FeedOf<'_, Self>;
}

/// Objects of one kind, for this module only.
#[doc(hidden)]
pub struct FeedOf<'a, T>(&'a Feed<T>);

/// Caches of one console.
pub struct Caches {
    scope: Scope,
    jobs: Feed<JobRow>,
    cron_jobs: Feed<CronJobView>,
    job_schedules: Feed<JobScheduleView>,
    calendars: Feed<CalendarView>,
    job_limits: Feed<LimitView>,
    changes: watch::Sender<u64>,
}

macro_rules! kept {
    ($type:ty, $field:ident) => {
        impl Kept for $type {
            fn feed(caches: &Caches) -> FeedOf<'_, Self> {
                FeedOf(&caches.$field)
            }
        }
    };
}

kept!(JobRow, jobs);
kept!(CronJobView, cron_jobs);
kept!(JobScheduleView, job_schedules);
kept!(CalendarView, calendars);
kept!(LimitView, job_limits);

impl fmt::Debug for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caches").field("scope", &self.scope).field("jobs", &self.jobs.cache.len()).finish()
    }
}

impl<T: Cached> Feed<T> {
    fn new(group: &'static str, resource: &'static str, installed: Installed) -> Self {
        Self {
            cache: Cache::default(),
            synced: Synced::default(),
            installed: Mutex::new(installed),
            permission: Permission { verb: "list", group, resource },
            log: ChangeLog::default(),
        }
    }

    /// Returns the namespaces that have objects.
    fn namespaces(&self) -> BTreeSet<Arc<str>> {
        let mut namespaces = BTreeSet::new();
        self.cache.for_each(|object| {
            let namespace = &object.identity().namespace;
            if !namespaces.contains(namespace) {
                namespaces.insert(namespace.clone());
            }
        });
        namespaces
    }
}

impl Caches {
    /// Returns empty caches for the objects of this scope.
    pub(crate) fn new(scope: Scope) -> Self {
        Self {
            scope,
            jobs: Feed::new("batch", "jobs", Installed::Yes),
            cron_jobs: Feed::new("batch", "cronjobs", Installed::Yes),
            job_schedules: Feed::new("jobwright.dev", "jobschedules", Installed::Unknown),
            calendars: Feed::new("jobwright.dev", "calendars", Installed::Unknown),
            job_limits: Feed::new("jobwright.dev", "joblimits", Installed::Unknown),
            changes: watch::Sender::new(0),
        }
    }

    /// Keeps the caches up to date for as long as the future is polled. The client reads with the permissions of the
    /// console.
    pub async fn feed(self: Arc<Self>, client: Client) {
        let mut watches = JoinSet::new();
        watches.spawn(self.clone().watch::<WireJobRow, _>(client.clone(), JobRow::parse));
        watches.spawn(self.clone().watch::<WireCronJob, _>(client.clone(), CronJobView::parse));
        let own = loop {
            match client.list_api_group_resources(API_VERSION).await {
                Ok(found) => break found.resources.into_iter().map(|resource| resource.name).collect(),
                Err(kube::Error::Api(status)) if status.code == 404 => break Vec::new(),
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        };
        let has = |name: &str| if own.iter().any(|own| own == name) { Installed::Yes } else { Installed::No };
        *self.job_schedules.installed.lock() = has("jobschedules");
        *self.calendars.installed.lock() = has("calendars");
        *self.job_limits.installed.lock() = has("joblimits");
        if has("jobschedules") == Installed::Yes {
            watches.spawn(self.clone().watch::<WireJobSchedule, _>(client.clone(), JobScheduleView::parse));
        }
        if has("calendars") == Installed::Yes {
            watches.spawn(self.clone().watch::<WireCalendar, _>(client.clone(), CalendarView::parse));
        }
        if has("joblimits") == Installed::Yes {
            watches.spawn(self.clone().watch::<WireJobLimit, _>(client, LimitView::parse));
        }
        self.note(|number| {
            self.job_schedules.log.everywhere(number);
            self.calendars.log.everywhere(number);
            self.job_limits.log.everywhere(number);
        });
        watches.join_all().await;
    }

    async fn watch<W, T>(self: Arc<Self>, client: Client, parse: fn(W) -> Option<T>)
    where
        W: Resource<DynamicType = (), Scope = NamespaceResourceScope> + WireObject,
        NamespaceResourceScope: LiveScope<W>,
        T: Kept,
    {
        let api: Api<W> = self.scope.api(&client);
        let objects = Objects::new(api, Encoding::Json);
        let watch = Watch { objects, label: None, parse, metrics: WatchMetrics::default() };
        let FeedOf(feed) = T::feed(&self);
        let complete = async {
            feed.synced.wait().await;
            self.note(|number| feed.log.everywhere(number));
            std::future::pending().await
        };
        let changed = |event: CacheEvent<T>| {
            let CacheEvent::Changed(Change { before, after }) = event else { return };
            if let Some(object) = after.or(before) {
                self.note(|number| feed.log.of_namespace(&object.identity().namespace, number));
            }
        };
        tokio::select! {
            () = watch.feed(&feed.cache, &feed.synced, changed) => {}
            () = complete => {}
        }
    }

    /// Returns the number of the last change. A page learns from [`Self::has_changed`] whether it may know of the change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Numbers a change, records it by `record`, and wakes the open pages.
    fn note(&self, record: impl FnOnce(u64)) {
        self.changes.send_modify(|number| {
            *number += 1;
            record(*number);
        });
    }

    /// Returns whether the cluster has the resource of a kind.
    pub fn installed<T: Kept>(&self) -> Installed {
        *T::feed(self).0.installed.lock()
    }

    /// Returns whether the objects of a kind are known, or the cluster does not have the resource.
    pub fn is_complete<T: Kept>(&self) -> bool {
        let FeedOf(feed) = T::feed(self);
        *feed.installed.lock() == Installed::No || feed.synced.is_done()
    }

    /// Returns the namespace to which the console is limited. `None` for a console of all namespaces.
    pub fn only_namespace(&self) -> Option<&str> {
        match &self.scope {
            Scope::All => None,
            Scope::Namespace(namespace) => Some(namespace),
        }
    }
}

#[cfg(test)]
impl Caches {
    /// Returns complete caches with these Jobs.
    pub(crate) fn of_jobs(scope: Scope, jobs: impl IntoIterator<Item = serde_json::Value>) -> Self {
        let caches = Self::new(scope);
        for job in jobs {
            let row = JobRow::parse(serde_json::from_value(job).unwrap()).unwrap();
            caches.jobs.cache.apply(row, crate::runtime::cache::Source::List);
        }
        caches.jobs.synced.set(tokio::time::Instant::now());
        caches
    }

    /// Adds CronJobs, JobSchedules, Calendars and JobLimits to complete caches.
    pub(crate) fn with(self, objects: impl IntoIterator<Item = serde_json::Value>) -> Self {
        let source = crate::runtime::cache::Source::List;
        for object in objects {
            match object["kind"].as_str() {
                Some("CronJob") => {
                    // A raw value is read from a text only.
                    let wire = serde_json::from_str(&object.to_string()).unwrap();
                    _ = self.cron_jobs.cache.apply(CronJobView::parse(wire).unwrap(), source);
                }
                Some("JobSchedule") => {
                    let wire = serde_json::from_value(object).unwrap();
                    _ = self.job_schedules.cache.apply(JobScheduleView::parse(wire).unwrap(), source);
                }
                Some("Calendar") => {
                    let wire = serde_json::from_value(object).unwrap();
                    _ = self.calendars.cache.apply(CalendarView::parse(wire).unwrap(), source);
                }
                _ => {
                    let wire = serde_json::from_value(object).unwrap();
                    _ = self.job_limits.cache.apply(LimitView::parse(wire).unwrap(), source);
                }
            }
        }
        *self.job_schedules.installed.lock() = Installed::Yes;
        *self.calendars.installed.lock() = Installed::Yes;
        *self.job_limits.installed.lock() = Installed::Yes;
        let now = tokio::time::Instant::now();
        self.cron_jobs.synced.set(now);
        self.job_schedules.synced.set(now);
        self.calendars.synced.set(now);
        self.job_limits.synced.set(now);
        self
    }

    /// Adds a Job, as an event of the watch does.
    pub(crate) fn put_job(&self, job: serde_json::Value) {
        let row = JobRow::parse(serde_json::from_value(job).unwrap()).unwrap();
        let namespace = row.identity.namespace.clone();
        self.jobs.cache.apply(row, crate::runtime::cache::Source::Watch);
        self.note(|number| self.jobs.log.of_namespace(&namespace, number));
    }
}
