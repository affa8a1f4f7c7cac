//! Watches Calendars, and stores in their status from when on a change applies.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use kube::api::Patch;
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::status::status;
use super::types::CalendarStatus;
use super::versions::Versions;
use super::view::{CalendarView, WireCalendar};
use super::{API_VERSION, KIND};
use crate::runtime::cache::{Cache, Source};
use crate::runtime::context::ControllerContext;
use crate::runtime::controller;
use crate::runtime::errors::WriteError;
use crate::runtime::events::EventText;
use crate::runtime::identity::Uid;
use crate::runtime::maps::FastMap;
use crate::runtime::queue::Queue;
use crate::runtime::refusals::{self, ObjectRefusals};
use crate::runtime::watch::{CacheEvent, CacheState, Synced, Watch, WatchMetrics};
use crate::runtime::worker::{Target, work};
use crate::runtime::write_gate::patch_params;
use crate::schedule::write_kinds::STATUS;

/// Name of the controller in metrics and logs.
const NAME: &str = "calendar";
/// Reason of the event about an invalid spec.
const INVALID: &str = "InvalidCalendar";

/// The Calendars of the cluster, by namespace and name.
#[derive(Clone, Default)]
pub struct Calendars(Arc<Cache<CalendarView>>);

impl Calendars {
    /// Returns the periods of a Calendar; none if it does not exist, or has never had valid ones.
    pub fn find(&self, namespace: &Arc<str>, name: &str) -> Option<Arc<Versions>> {
        let found = self.0.orphans(namespace, |calendar| &*calendar.identity.name == name);
        found.first()?.versions.clone()
    }

    /// Returns the cache, whose changes a controller can subscribe to.
    pub fn cache(&self) -> &Cache<CalendarView> {
        &self.0
    }
}

/// The controller of Calendars.
pub struct Controller {
    context: ControllerContext,
    calendars: Calendars,
    synced: Synced,
    watched: WatchMetrics,
    queue: Queue<Uid>,
    refusals: ObjectRefusals,
    /// Generation of each Calendar whose spec was reported as invalid.
    reported: Mutex<FastMap<Uid, Option<i64>>>,
}

impl Controller {
    /// Creates a controller that neither watches nor writes yet.
    pub fn new(context: ControllerContext, calendars: Calendars) -> Self {
        Self {
            context,
            calendars,
            synced: Synced::default(),
            watched: WatchMetrics::default(),
            queue: Queue::closed(),
            refusals: ObjectRefusals::default(),
            reported: Mutex::default(),
        }
    }

    /// Keeps the Calendars in step with the API server for as long as the future is polled.
    async fn watch_calendars(&self) {
        let objects = self.context.watched(&self.watched);
        let watch: Watch<WireCalendar, CalendarView> =
            Watch { objects, label: None, parse: CalendarView::parse, metrics: self.watched.clone() };
        let on_event = |event: CacheEvent<CalendarView>| match event {
            CacheEvent::WatchRecovered => self.queue.retry_now(),
            CacheEvent::Changed(change) => {
                if let Some(calendar) = change.after.as_ref().or(change.before.as_ref()) {
                    self.queue.add(calendar.identity.uid.clone());
                }
            }
        };
        watch.feed(&self.calendars.0, &self.synced, on_event).await;
    }

    /// Syncs all Calendars until the future is dropped.
    async fn run(&self) {
        self.queue.open();
        self.refusals.clear();
        self.calendars.0.all(|_| true).iter().for_each(|calendar| self.queue.add(calendar.identity.uid.clone()));
        let target = |uid: &Uid| Target {
            kind: KIND,
            uid: uid.clone(),
            identity: self.calendars.0.get(uid).map(|calendar| calendar.identity.clone()),
        };
        let sync = |uid| async move { self.sync(&uid).await };
        work(&self.queue, NAME, &self.context.syncs, target, sync).await;
    }

    async fn sync(&self, uid: &Uid) -> Result<(), WriteError> {
        let Some(calendar) = self.calendars.0.get(uid) else {
            self.refusals.forget(uid);
            self.reported.lock().remove(uid);
            self.queue.cancel(uid);
            return Ok(());
        };
        if let Err(error) = &calendar.spec
            && self.reported.lock().insert(uid.clone(), calendar.generation) != Some(calendar.generation)
        {
            let event = EventText::warning(INVALID, format!("{error}; the periods stay as they were"));
            self.context.record_event(API_VERSION, KIND, &calendar.identity, event);
        }
        let now = self.context.clock.now();
        let Some(status) = status(&calendar, now) else { return Ok(()) };
        let next = self.refusals.of(uid, |refusals| {
            refusals.seen(calendar.generation);
            refusals.until(STATUS, None, now)
        });
        if let Some(next) = next {
            self.queue.add_at(uid.clone(), self.context.clock.instant_of(next));
            return Ok(());
        }
        self.write(&calendar, &status).await
    }

    async fn write(&self, calendar: &CalendarView, status: &CalendarStatus) -> Result<(), WriteError> {
        let identity = &calendar.identity;
        let patch = json!({
            "metadata": {"uid": identity.uid, "resourceVersion": identity.resource_version.to_string()},
            "status": status,
        });
        let api = self.context.namespaced::<WireCalendar>(&identity.namespace);
        let (params, patch) = (patch_params(), Patch::Merge(&patch));
        let write = api.patch_status(&identity.name, &params, &patch);
        match self.context.write_gate.run(&identity.uid, write).await {
            Ok(written) => {
                self.refusals.forget(&identity.uid);
                if let Some(written) = CalendarView::parse(written) {
                    self.calendars.0.apply(written, Source::Answer);
                }
                Ok(())
            }
            Err(error) if error.is_gate_closed() => Err(error),
            Err(error) => {
                let known = self.calendars.0.get(&identity.uid);
                let is_newest = known.is_some_and(|known| known.identity.resource_version == identity.resource_version);
                let is_outdated = error.is_conflict() || error.is_not_found();
                if is_outdated && !is_newest {
                    // The watch has delivered the newer version, or the deletion, and its event has queued the Calendar.
                    return Ok(());
                }
                if is_outdated || !error.is_refusal() {
                    return Err(error);
                }
                self.context.record_event(API_VERSION, KIND, identity, refusals::event(STATUS, None, &error));
                tracing::warn!(controller = NAME, namespace = %identity.namespace, name = %identity.name, reason = STATUS.reason, %error, "a write failed");
                let now = self.context.clock.now();
                let next = self.refusals.of(&identity.uid, |refusals| {
                    // The refusals of another generation are forgotten first.
                    refusals.seen(calendar.generation);
                    refusals.refuse(STATUS, None, &error, now);
                    refusals.next(now)
                });
                if let Some(next) = next {
                    self.queue.add_at(identity.uid.clone(), self.context.clock.instant_of(next));
                }
                Err(WriteError::Deferred)
            }
        }
    }
}

impl controller::Controller for Controller {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watch(self: Arc<Self>, tasks: &mut JoinSet<()>) {
        tasks.spawn(async move { self.watch_calendars().await });
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        self.synced.wait().boxed()
    }

    fn require_since(&self, since: Instant) {
        self.synced.require_since(since);
    }

    fn begin(self: Arc<Self>, tasks: &mut JoinSet<()>) {
        tasks.spawn(async move { self.run().await });
    }

    fn end(&self) {
        self.queue.close();
    }

    fn caches(&self) -> Vec<(&'static str, CacheState)> {
        vec![("calendars", CacheState::of(&self.calendars.0, self.synced.is_done(), &self.watched))]
    }

    fn queue_depth(&self) -> Option<usize> {
        Some(self.queue.len())
    }
}
