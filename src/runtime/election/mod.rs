//! Leader election with a Lease: one of several replicas works.
//!
//! The holder renews its Lease. A holder that cannot renew the Lease stops writing well before another replica can
//! acquire it, because the [`WriteGate`] closes automatically. The other replicas watch the Lease. One of them
//! therefore acquires a released Lease immediately, and a waiting replica sends no requests. Each request has a
//! deadline, and one attempt to renew takes at most half of the renew deadline: a dead connection costs one attempt,
//! and the next attempt uses another connection. Flags and defaults are those of the built-in components. The existing
//! crates (kube-leader-election, kube-lease-manager) trust the clocks of all machines, have no such gate, and poll the
//! Lease instead of watching it.

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

/// Readiness part for a Lease that another installation holds.
const PART: &str = "leader election";
/// Readiness part for a Lease that has no holder and that this replica cannot acquire.
const LEASE: &str = "lease";

/// Settings of the Lease. Their names are those of the flags of the built-in components.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Time that the other replicas wait after the last observed renewal before they acquire the Lease.
    pub lease_duration: Duration,
    /// Time for which a holder continues to work after its last renewal; shorter than `lease_duration`.
    pub renew_deadline: Duration,
    /// Interval of renewals, and wait after a failed attempt to acquire or renew the Lease.
    pub retry_period: Duration,
}

/// Election of one replica: acquires, renews and releases the Lease.
pub struct Election {
    leases: Api<Lease>,
    settings: Settings,
    me: ReplicaIdentity,
    write_gate: Arc<WriteGate>,
    clock: Clock,
    health: Arc<Health>,
    /// Last observed state of the Lease.
    observed: Mutex<ObservedLease>,
    /// Whether a request that makes this replica the holder was sent and its outcome is unknown.
    in_doubt: AtomicBool,
    /// When writes that this replica abandoned, because it lost the Lease, have ended for certain.
    abandoned_until: Mutex<Moment>,
}

impl Election {
    /// Creates an election and closes the write gate until the Lease is [acquired](Self::acquire).
    pub fn new(
        client: Client,
        settings: Settings,
        me: ReplicaIdentity,
        write_gate: Arc<WriteGate>,
        clock: Clock,
        health: Arc<Health>,
    ) -> Self {
        // The write gate stays closed until the Lease is acquired.
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

    /// Acquires the Lease if no other replica holds it.
    pub async fn acquire_if_available(&self) -> Option<Handover> {
        self.read_lease().await.ok()?;
        let observed = self.observed();
        if observed.acquirable_at(&self.me) > self.clock.moment() {
            return None;
        }
        let until = self.try_acquire_or_renew(&observed).await.ok()?;
        Some(self.acquired(&observed, until))
    }

    /// Waits until this replica has acquired the Lease.
    pub async fn acquire(&self) -> Handover {
        if let Err(error) = self.read_lease().await {
            tracing::warn!(
                namespace = %self.settings.namespace,
                name = %self.settings.name,
                error = %message(&error),
                "cannot read the Lease; retrying"
            );
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
                // Another replica holds the Lease, so this replica stands by and has no problem to report.
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
                            tracing::warn!(
                                namespace = %self.settings.namespace,
                                name = %self.settings.name,
                                error = %message(&error),
                                "cannot acquire the Lease; retrying"
                            );
                            self.health.set(LEASE, Some(format!("cannot acquire the Lease: {}", message(&error))));
                        }
                        // The watch of the Lease may be broken, so its current state is read.
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

    /// Opens the write gate after the Lease was acquired, and returns the handover from the previous holder.
    fn acquired(&self, before: &ObservedLease, until: Moment) -> Handover {
        self.write_gate.open_until(self.clock.deadline(until));
        self.health.set(PART, None);
        self.health.set(LEASE, None);
        tracing::info!(
            namespace = %self.settings.namespace,
            name = %self.settings.name,
            identity = %self.me.identity,
            "leading"
        );
        before.handover()
    }

    fn observed(&self) -> ObservedLease {
        self.observed.lock().clone()
    }

    /// Returns the time of the last renewal of the Lease, or of the first observation of its current state.
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

    /// Reads the Lease and records the observed state.
    async fn read_lease(&self) -> kube::Result<()> {
        let lease = within(self.longest_attempt(), self.leases.get_opt(&self.settings.name)).await?;
        self.note(lease);
        Ok(())
    }

    /// Returns the timeout of one attempt to read or write the Lease.
    fn longest_attempt(&self) -> Duration {
        self.settings.renew_deadline / 2
    }

    /// Writes the Lease with this replica as its holder, based on the observed state. Returns the time until which this
    /// replica can rely on the Lease.
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
        // The outcome is in doubt until the answer arrives, because the caller can drop this future at any time.
        self.in_doubt.store(true, Ordering::Relaxed);
        let result = within(self.longest_attempt(), write).await;
        if !result.as_ref().is_err_and(is_ambiguous) {
            self.in_doubt.store(false, Ordering::Relaxed);
        }
        self.note_at(Some(result?), begun);
        // The other replicas count from the time when they observe this write, which is later.
        Ok(begun + self.settings.renew_deadline)
    }

    /// Logs the leader once for each holder. A leader of another installation is also reported as not ready.
    fn log_leader(&self, observed: &ObservedLease, logged_holder: &mut Option<String>) {
        let holder = observed.holder().map(str::to_owned);
        let foreign_holder = observed.foreign_holder(&self.me).map(|(installation, claim)| {
            format!(
                "another installation of Jobwright ({installation}, claim={claim}) works on this cluster; \
                 this installation ({}, claim={}) stays idle: remove one of the two",
                self.me.installation, self.me.claim
            )
        });
        if holder.is_some() && *logged_holder != holder {
            match &foreign_holder {
                Some(problem) => tracing::warn!(
                    namespace = %self.settings.namespace,
                    name = %self.settings.name,
                    leader = holder,
                    %problem,
                    "idle: another installation leads"
                ),
                None => tracing::info!(
                    namespace = %self.settings.namespace,
                    name = %self.settings.name,
                    leader = holder,
                    "standing by"
                ),
            }
        }
        self.health.set(PART, foreign_holder);
        *logged_holder = holder;
    }
}
