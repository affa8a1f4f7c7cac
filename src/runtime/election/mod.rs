//! Leader election by a Lease: of several replicas, one works.
//!
//! The holder renews its Lease; who cannot renew stops writing (the gate, [`Writes`], closes by itself) well before
//! anybody else may take it. The others watch the Lease, so a holder that lets it go is followed at once, and a
//! waiting replica costs no requests. Flags and defaults are those of the built-in components. The crates for this
//! (kube-leader-election, kube-lease-manager) trust the clocks of all machines, have no such gate, and ask again and
//! again instead of watching.

pub mod lease;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_stream};
use kube::{Api, Client};
use tokio::time::Instant;

use self::lease::{Candidate, Handover, LastWrites, Seen};
use super::clock::Clock;
use super::errors::message;
use super::health::Health;
use super::watch::Reconnect;
use super::writes::{Writes, post_params};

/// The part of the readiness answer that election speaks for.
const PART: &str = "leader election";

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
    me: Candidate,
    writes: Arc<Writes>,
    clock: Clock,
    health: Arc<Health>,
    /// The Lease as we last saw it.
    seen: Mutex<Seen>,
}

impl Election {
    /// An election that begins when the Lease is first [taken](Self::take).
    pub fn new(
        client: Client,
        settings: Settings,
        me: Candidate,
        writes: Arc<Writes>,
        clock: Clock,
        health: Arc<Health>,
    ) -> Self {
        // Until the Lease is taken.
        writes.cut();
        let leases = Api::namespaced(client, &settings.namespace);
        let seen = Mutex::new(Seen { lease: None, at: Instant::now() });
        Self { leases, settings, me, writes, clock, health, seen }
    }

    /// Takes the Lease if nobody holds it.
    pub async fn take_if_free(&self) -> Option<Handover> {
        self.look().await.ok()?;
        let seen = self.seen();
        if seen.free_at(&self.me) > Instant::now() {
            return None;
        }
        let until = self.try_take(&seen).await.ok()?;
        Some(self.taken(&seen, until))
    }

    /// Waits until the Lease is ours.
    pub async fn take(&self) -> Handover {
        if let Err(error) = self.look().await {
            tracing::warn!(lease = %self.settings.name, error = %message(&error), "cannot read the Lease; trying again until it can be read");
        }
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.settings.name));
        let mut changes = std::pin::pin!(watch_stream(self.leases.clone(), config).backoff(Reconnect::default()));
        let mut not_before = Instant::now();
        let mut told = None;
        loop {
            let seen = self.seen();
            self.tell_who_leads(&seen, &mut told);
            let free_at = seen.free_at(&self.me).max(not_before);
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(free_at) => match self.try_take(&seen).await {
                    Ok(until) => return self.taken(&seen, until),
                    Err(error) => {
                        not_before = Instant::now() + self.settings.retry_period;
                        let lost = matches!(&error, kube::Error::Api(status) if status.code == 409);
                        if !lost {
                            tracing::warn!(lease = %self.settings.name, error = %message(&error), "cannot take the Lease; trying again");
                        }
                        // What is there now, whether or not the watch holds.
                        let _ = self.look().await;
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

    /// Renews the Lease for as long as it can; returns when it is lost. Writes are given up by then.
    pub async fn keep(&self) {
        loop {
            tokio::time::sleep(self.settings.retry_period).await;
            let deadline = self.renewed_at() + self.settings.renew_deadline;
            let lost = match tokio::time::timeout_at(deadline, self.renew()).await {
                Ok(Ok(until)) => {
                    self.writes.extend(until);
                    continue;
                }
                Ok(Err(Lost::Taken(holder))) => format!("{holder} holds it now"),
                Ok(Err(Lost::Failed(error))) => {
                    tracing::warn!(lease = %self.settings.name, error = %message(&error), "cannot renew the Lease; trying again");
                    if Instant::now() < deadline {
                        continue;
                    }
                    message(&error)
                }
                Err(_) => format!("no renewal within {:?}", self.settings.renew_deadline),
            };
            self.writes.cut();
            tracing::error!(lease = %self.settings.name, reason = %lost, "no longer leading: writes stop until the Lease is ours again");
            return;
        }
    }

    /// Lets the Lease go. All writes must have ended.
    pub async fn release(&self, last_writes: &LastWrites) {
        let seen = self.seen();
        if seen.holder() != Some(&self.me.identity) {
            return;
        }
        let released = seen.released(last_writes, self.clock.now());
        let params = post_params();
        let write = self.leases.replace(&self.settings.name, &params, &released);
        match tokio::time::timeout(self.settings.retry_period, write).await {
            Ok(Ok(lease)) => {
                self.note(Some(lease));
                tracing::info!(lease = %self.settings.name, "let the Lease go");
            }
            Ok(Err(error)) => {
                tracing::warn!(error = %message(&error), "cannot let the Lease go; it runs out by itself")
            }
            Err(_) => tracing::warn!("cannot let the Lease go: no answer; it runs out by itself"),
        }
    }

    /// The Lease is ours: writes may begin.
    fn taken(&self, before: &Seen, until: Instant) -> Handover {
        self.writes.open_until(until);
        self.health.set(PART, None);
        tracing::info!(lease = %self.settings.name, identity = %self.me.identity, "leading");
        before.handover()
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the Lease was last renewed, or first seen so.
    fn renewed_at(&self) -> Instant {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).at
    }

    fn note(&self, lease: Option<Lease>) {
        self.note_at(lease, Instant::now());
    }

    fn note_at(&self, lease: Option<Lease>, at: Instant) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.is_same(lease.as_ref()) {
            *seen = Seen { lease, at };
        }
    }

    async fn look(&self) -> kube::Result<()> {
        let lease = self.leases.get_opt(&self.settings.name).await?;
        self.note(lease);
        Ok(())
    }

    /// Writes the Lease with us as its holder, on top of what was seen; tells until when we may count on it.
    async fn try_take(&self, seen: &Seen) -> kube::Result<Instant> {
        let begun = Instant::now();
        let lease = seen.taken_by(&self.me, self.settings.lease_duration, self.clock.now());
        let write = async {
            if seen.lease.is_some() {
                self.leases.replace(&self.settings.name, &post_params(), &lease).await
            } else {
                let mut lease = lease;
                lease.metadata.name = Some(self.settings.name.clone());
                self.leases.create(&post_params(), &lease).await
            }
        };
        let held = tokio::time::timeout(self.settings.renew_deadline, write)
            .await
            .unwrap_or_else(|_| Err(kube::Error::Service("no answer within the renew deadline".into())))?;
        self.note_at(Some(held), begun);
        // Others count from when they see this, which is later.
        Ok(begun + self.settings.renew_deadline)
    }

    async fn renew(&self) -> Result<Instant, Lost> {
        match self.try_take(&self.seen()).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            result => return result.map_err(Lost::Failed),
        }
        // Somebody else wrote the Lease, or it was deleted.
        let lease = self.leases.get_opt(&self.settings.name).await.map_err(Lost::Failed)?;
        let now = Seen { lease, at: self.renewed_at() };
        match now.holder() {
            Some(holder) if holder != self.me.identity => {
                let lost = Lost::Taken(holder.to_owned());
                self.note(now.lease);
                Err(lost)
            }
            _ => self.try_take(&now).await.map_err(Lost::Failed),
        }
    }

    /// Says who leads, once for each holder; in the readiness answer only where it is another installation.
    fn tell_who_leads(&self, seen: &Seen, told: &mut Option<String>) {
        let holder = seen.holder().map(str::to_owned);
        let stranger = seen.stranger(&self.me).map(|(installation, claim)| {
            format!(
                "another installation of Jobwright ({installation}, claim={claim}) works on this cluster; this one ({}, claim={}) stays idle: remove one of the two",
                self.me.installation, self.me.claim
            )
        });
        if holder.is_some() && *told != holder {
            match &stranger {
                Some(text) => tracing::warn!(lease = %self.settings.name, "{text}"),
                None => tracing::info!(lease = %self.settings.name, leader = holder, "standing by"),
            }
        }
        self.health.set(PART, stranger);
        *told = holder;
    }
}

/// Why a renewal did not succeed.
enum Lost {
    /// Somebody else holds the Lease.
    Taken(String),
    /// It may succeed next time.
    Failed(kube::Error),
}
