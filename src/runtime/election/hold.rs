//! What the holder of the Lease does with it: it renews the Lease, and releases it in the end.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::Election;
use super::lease::ObservedLease;
use super::record::LastWrites;
use crate::runtime::clock::Moment;
use crate::runtime::errors::message;
use crate::runtime::transport::deadline::within;
use crate::runtime::write_gate::post_params;

/// How long the release of the Lease may take, with all its attempts.
pub const RELEASE: Duration = Duration::from_secs(6);
/// How long one attempt to release it may take.
const RELEASE_ATTEMPT: Duration = Duration::from_secs(2);
/// The wait between two attempts.
const RELEASE_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Why a renewal did not succeed.
enum RenewError {
    /// Another replica holds the Lease.
    Taken(String),
    /// The renew deadline has passed.
    TooLate,
    /// It may succeed next time.
    Failed(kube::Error),
}

impl Election {
    /// Renews the Lease for as long as it can, or until `finish` resolves; a renewal in flight is awaited first. Returns when
    /// the Lease is lost, with all writes abandoned, or when it is finished.
    pub async fn keep(&self, finish: impl Future<Output = ()>) {
        let mut finish = std::pin::pin!(finish);
        let mut pause = self.settings.retry_period;
        loop {
            let deadline = self.renewed_at() + self.settings.renew_deadline;
            let left = || deadline.saturating_duration_since(self.clock.moment());
            tokio::select! {
                biased;
                () = &mut finish => return,
                () = tokio::time::sleep(pause.min(left())) => {}
            }
            pause = self.settings.retry_period;
            let late = || format!("no renewal within {:?}", self.settings.renew_deadline);
            let lost = match tokio::time::timeout(self.attempt(left()), self.renew(deadline)).await {
                Ok(Ok(until)) => {
                    if self.write_gate.extend(self.clock.deadline(until)) {
                        continue;
                    }
                    late()
                }
                Ok(Err(RenewError::TooLate)) => late(),
                Ok(Err(RenewError::Taken(holder))) => format!("{holder} holds it now"),
                Ok(Err(RenewError::Failed(error))) => {
                    tracing::warn!(lease = %self.settings.name, error = %message(&error), "cannot renew the Lease; trying again");
                    if self.clock.moment() < deadline {
                        continue;
                    }
                    message(&error)
                }
                Err(_) => {
                    if self.clock.moment() < deadline {
                        // The time is used up by waiting; the next attempt uses another connection.
                        tracing::warn!(lease = %self.settings.name, "no answer to a renewal of the Lease; trying again on another connection");
                        pause = Duration::ZERO;
                        continue;
                    }
                    late()
                }
            };
            if self.write_gate.in_flight() > 0 {
                let expiry = self.renewed_at() + self.settings.lease_duration;
                *self.abandoned_until.lock() = expiry;
            }
            self.write_gate.abort_in_flight();
            tracing::error!(lease = %self.settings.name, reason = %lost, "no longer leading: writes stop until the Lease is ours again");
            return;
        }
    }

    /// How long an attempt to renew may take when so much is left until the deadline: half of it, so that there is time for
    /// others, but not too little for a slow API server.
    fn attempt(&self, left: Duration) -> Duration {
        let least = self.settings.renew_deadline / 4;
        (left / 2).max(least).min(left)
    }

    /// Renews the Lease, if its holder may still count on it: after the deadline, another one may have held it meanwhile.
    async fn renew(&self, deadline: Moment) -> Result<Moment, RenewError> {
        if self.clock.moment() >= deadline {
            return Err(RenewError::TooLate);
        }
        match self.try_acquire_or_renew(&self.observed()).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            result => return result.map_err(RenewError::Failed),
        }
        // Somebody else wrote the Lease, or it was deleted; or an earlier renewal took effect, and its answer was lost.
        let read = self.leases.get_opt(&self.settings.name);
        let lease = within(self.longest_attempt(), read).await.map_err(RenewError::Failed)?;
        let now = ObservedLease { lease, at: self.renewed_at() };
        match now.holder() {
            Some(holder) if holder != self.me.identity => {
                let lost = RenewError::Taken(holder.to_owned());
                self.note(now.lease);
                Err(lost)
            }
            _ => self.try_acquire_or_renew(&now).await.map_err(RenewError::Failed),
        }
    }

    /// Releases the Lease, if it is ours, with the record of what the next leader has to know. All writes must have ended.
    /// Takes at most [`RELEASE`].
    pub async fn release(&self, record: Option<&LastWrites>) {
        let mut refresh = self.in_doubt.load(Ordering::Relaxed);
        if !refresh && self.observed().holder() != Some(&self.me.identity) {
            return;
        }
        self.write_gate.abort_in_flight();
        let deadline = Instant::now() + RELEASE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match within(RELEASE_ATTEMPT.min(left), self.try_release(record, refresh)).await {
                Ok(true) => {
                    tracing::info!(lease = %self.settings.name, "released the Lease");
                    return;
                }
                Ok(false) => return,
                Err(error) => error,
            };
            // Whether it took effect, or something else wrote the Lease meanwhile: what is there now says.
            refresh = true;
            if Instant::now() + RELEASE_RETRY_INTERVAL >= deadline {
                tracing::warn!(lease = %self.settings.name, error = %message(&error), "cannot release the Lease; it expires after its duration");
                return;
            }
            tracing::debug!(lease = %self.settings.name, error = %message(&error), "the Lease is not released yet; trying again");
            tokio::time::sleep(RELEASE_RETRY_INTERVAL).await;
        }
    }

    /// One attempt, after a look at the Lease if that is asked for. Returns whether the Lease was ours.
    async fn try_release(&self, record: Option<&LastWrites>, refresh: bool) -> kube::Result<bool> {
        if refresh {
            self.read_lease().await?;
        }
        let observed = self.observed();
        if observed.holder() != Some(&self.me.identity) {
            return Ok(false);
        }
        let released = observed.released(record, self.clock.now());
        let lease = self.leases.replace(&self.settings.name, &post_params(), &released).await?;
        self.note(Some(lease));
        Ok(true)
    }

    /// How long after it stopped writing a leader has to wait before another replica may write: as long as it waits when it
    /// loses the Lease. Writes that were abandoned end meanwhile.
    pub fn margin(&self) -> Duration {
        self.settings.lease_duration.saturating_sub(self.settings.renew_deadline)
    }

    /// The length of the Lease.
    pub fn lease_duration(&self) -> Duration {
        self.settings.lease_duration
    }
}
