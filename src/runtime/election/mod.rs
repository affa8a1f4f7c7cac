//! Leader election by a Lease: of several replicas, one works.
//!
//! The holder renews its Lease; who cannot renew stops writing (the gate, [`WriteGate`], closes by itself) well before
//! anybody else may take it. The others watch the Lease, so a holder that lets it go is followed at once, and a
//! waiting replica costs no requests. Each request has a deadline, and one attempt to renew takes at most half of the renew
//! deadline: a connection that died costs one attempt, and the next one uses another connection. Flags and defaults are those of the built-in components. The crates for this
//! (kube-leader-election, kube-lease-manager) trust the clocks of all machines, have no such gate, and ask again and
//! again instead of watching.

mod hold;
pub mod lease;
pub mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_stream};
use kube::{Api, Client};
use parking_lot::Mutex;

use self::lease::{Handover, ObservedLease, ReplicaIdentity};
use super::clock::{Clock, Moment};
use super::errors::{is_ambiguous, message};
use super::health::Health;
use super::transport::deadline::within;
use super::watch::Reconnect;
use super::write_gate::{WriteGate, post_params};

/// The part of the readiness answer that election speaks for.
const PART: &str = "leader election";
/// Part of the readiness answer: a Lease that nobody holds, and that this replica cannot take.
const LEASE: &str = "lease";

/// How the Lease is held; the names are those of the built-in components' flags.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// How long others wait after the last renewal they saw before they take the Lease.
    pub lease_duration: Duration,
    /// How long after its last renewal a holder goes on; shorter than `lease_duration`.
    pub renew_deadline: Duration,
    /// How often a holder renews, and how long after a failure one tries again.
    pub retry_period: Duration,
}

/// Takes, keeps and releases the Lease.
pub struct Election {
    leases: Api<Lease>,
    settings: Settings,
    me: ReplicaIdentity,
    write_gate: Arc<WriteGate>,
    clock: Clock,
    health: Arc<Health>,
    /// The Lease as we last saw it.
    observed: Mutex<ObservedLease>,
    /// A request that makes us the holder was sent, and it is not known what it did.
    in_doubt: AtomicBool,
    /// When writes that this replica abandoned, because it lost the Lease, have ended for certain.
    abandoned_until: Mutex<Moment>,
}

impl Election {
    /// An election that begins when the Lease is first [taken](Self::acquire).
    pub fn new(
        client: Client,
        settings: Settings,
        me: ReplicaIdentity,
        write_gate: Arc<WriteGate>,
        clock: Clock,
        health: Arc<Health>,
    ) -> Self {
        // Until the Lease is taken.
        write_gate.abort_in_flight();
        let leases = Api::namespaced(health.pulse().recorded_by(client), &settings.namespace);
        let observed = Mutex::new(ObservedLease { lease: None, at: clock.moment() });
        Self {
            leases,
            settings,
            me,
            write_gate,
            clock,
            health,
            observed,
            in_doubt: AtomicBool::new(false),
            abandoned_until: Mutex::default(),
        }
    }

    /// Takes the Lease if nobody holds it.
    pub async fn acquire_if_available(&self) -> Option<Handover> {
        self.read_lease().await.ok()?;
        let observed = self.observed();
        if observed.acquirable_at(&self.me) > self.clock.moment() {
            return None;
        }
        let until = self.try_acquire_or_renew(&observed).await.ok()?;
        Some(self.acquired(&observed, until))
    }

    /// Waits until the Lease is ours.
    pub async fn acquire(&self) -> Handover {
        if let Err(error) = self.read_lease().await {
            tracing::warn!(lease = %self.settings.name, error = %message(&error), "cannot read the Lease; trying again until it can be read");
        }
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.settings.name));
        let mut changes = std::pin::pin!(watch_stream(self.leases.clone(), config).backoff(Reconnect::default()));
        let mut not_before = Moment::default();
        let mut logged_holder = None;
        loop {
            let observed = self.observed();
            self.log_leader(&observed, &mut logged_holder);
            let acquirable_at = observed.acquirable_at(&self.me);
            if acquirable_at > self.clock.moment() {
                // Another replica holds the Lease, so that this one only stands by.
                self.health.set(LEASE, None);
            }
            // A write that was abandoned may still take effect. Another replica waits until the Lease has expired, and so does the
            // one that lost the Lease.
            let acquirable_at = acquirable_at.max(not_before).max(self.abandoned_until());
            tokio::select! {
                biased;
                () = self.clock.sleep_until(acquirable_at) => match self.try_acquire_or_renew(&observed).await {
                    Ok(until) => return self.acquired(&observed, until),
                    Err(error) => {
                        not_before = self.clock.moment() + self.settings.retry_period;
                        let lost = matches!(&error, kube::Error::Api(status) if status.code == 409);
                        if !lost {
                            tracing::warn!(lease = %self.settings.name, error = %message(&error), "cannot take the Lease; trying again");
                            self.health.set(LEASE, Some(format!("cannot take the Lease: {}", message(&error))));
                        }
                        // What is there now, whether or not the watch holds.
                        let _ = self.read_lease().await;
                    }
                },
                change = changes.try_next() => match change {
                    Ok(Some(Event::Apply(lease) | Event::InitApply(lease))) => self.note(Some(lease)),
                    Ok(Some(Event::Delete(_))) => self.note(None),
                    Ok(_) | Err(_) => {}
                },
            }
        }
    }

    /// The Lease is ours: writes may begin.
    fn acquired(&self, before: &ObservedLease, until: Moment) -> Handover {
        self.write_gate.open_until(self.clock.deadline(until));
        self.health.set(PART, None);
        self.health.set(LEASE, None);
        tracing::info!(lease = %self.settings.name, identity = %self.me.identity, "leading");
        before.handover()
    }

    fn observed(&self) -> ObservedLease {
        self.observed.lock().clone()
    }

    /// When the Lease was last renewed, or first seen so.
    fn renewed_at(&self) -> Moment {
        self.observed.lock().at
    }

    fn abandoned_until(&self) -> Moment {
        *self.abandoned_until.lock()
    }

    fn note(&self, lease: Option<Lease>) {
        self.note_at(lease, self.clock.moment());
    }

    fn note_at(&self, lease: Option<Lease>, at: Moment) {
        let mut observed = self.observed.lock();
        if !observed.is_same(lease.as_ref()) {
            *observed = ObservedLease { lease, at };
        }
    }

    /// Reads the Lease.
    async fn read_lease(&self) -> kube::Result<()> {
        let lease = within(self.longest_attempt(), self.leases.get_opt(&self.settings.name)).await?;
        self.note(lease);
        Ok(())
    }

    /// How long one attempt to read or write the Lease may take.
    fn longest_attempt(&self) -> Duration {
        self.settings.renew_deadline / 2
    }

    /// Writes the Lease with us as its holder, on top of what was seen; tells until when we may count on it.
    async fn try_acquire_or_renew(&self, observed: &ObservedLease) -> kube::Result<Moment> {
        let begun = self.clock.moment();
        let lease = observed.acquired_by(&self.me, self.settings.lease_duration, self.clock.now());
        let write = async {
            if observed.lease.is_some() {
                self.leases.replace(&self.settings.name, &post_params(), &lease).await
            } else {
                let mut lease = lease;
                lease.metadata.name = Some(self.settings.name.clone());
                self.leases.create(&post_params(), &lease).await
            }
        };
        // Until the answer is here: whoever asks for the Lease may stop waiting for it at any time.
        self.in_doubt.store(true, Ordering::Relaxed);
        let result = within(self.longest_attempt(), write).await;
        if !result.as_ref().is_err_and(is_ambiguous) {
            self.in_doubt.store(false, Ordering::Relaxed);
        }
        self.note_at(Some(result?), begun);
        // Others count from when they see this, which is later.
        Ok(begun + self.settings.renew_deadline)
    }

    /// Says who leads, once for each holder; in the readiness answer only where it is another installation.
    fn log_leader(&self, observed: &ObservedLease, logged_holder: &mut Option<String>) {
        let holder = observed.holder().map(str::to_owned);
        let foreign_holder = observed.foreign_holder(&self.me).map(|(installation, claim)| {
            format!(
                "another installation of Jobwright ({installation}, claim={claim}) works on this cluster; this one ({}, claim={}) stays idle: remove one of the two",
                self.me.installation, self.me.claim
            )
        });
        if holder.is_some() && *logged_holder != holder {
            match &foreign_holder {
                Some(text) => tracing::warn!(lease = %self.settings.name, "{text}"),
                None => tracing::info!(lease = %self.settings.name, leader = holder, "standing by"),
            }
        }
        self.health.set(PART, foreign_holder);
        *logged_holder = holder;
    }
}
