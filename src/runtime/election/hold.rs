//! Holder of the Lease: renewal of the Lease, and its release at the end.

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

/// Longest time to release the Lease, including all attempts.
pub(crate) const RELEASE: Duration = Duration::from_secs(6);
/// Timeout of one attempt to release the Lease.
const RELEASE_ATTEMPT: Duration = Duration::from_secs(2);
/// Wait between two attempts to release the Lease.
const RELEASE_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Error of a renewal.
enum RenewError {
    /// Another replica holds the Lease.
    Taken(String),
    /// The renew deadline has passed.
    TooLate,
    /// The request failed. The next attempt may succeed.
    Failed(kube::Error),
}

impl Election {
    /// Renews the Lease until the Lease is lost or `finish` resolves. A renewal in flight is awaited before `finish`
    /// takes effect. When the Lease is lost, the write gate aborts all writes.
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
                Ok(Err(RenewError::Taken(holder))) => format!("{holder} holds the Lease now"),
                Ok(Err(RenewError::Failed(error))) => {
                    tracing::warn!(
                        namespace = %self.settings.namespace,
                        name = %self.settings.name,
                        error = %message(&error),
                        "cannot renew the Lease; retrying"
                    );
                    if self.clock.moment() < deadline {
                        continue;
                    }
                    message(&error)
                }
                Err(_) => {
                    if self.clock.moment() < deadline {
                        // The attempt has already waited for its timeout. The next attempt uses another connection.
                        tracing::warn!(
                            namespace = %self.settings.namespace,
                            name = %self.settings.name,
                            "renewal of the Lease timed out; retrying on another connection"
                        );
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
            tracing::error!(
                namespace = %self.settings.namespace,
                name = %self.settings.name,
                reason = %lost,
                "no longer leading: writes stop until this replica acquires the Lease again"
            );
            return;
        }
    }

    /// Returns the timeout of an attempt to renew, given the time that is left until the renew deadline: half of that
    /// time, so that another attempt can follow, but at least a quarter of the renew deadline for a slow API server.
    fn attempt(&self, left: Duration) -> Duration {
        let least = self.settings.renew_deadline / 4;
        (left / 2).max(least).min(left)
    }

    /// Renews the Lease, unless the deadline has passed: after the deadline, another replica may have held the Lease.
    async fn renew(&self, deadline: Moment) -> Result<Moment, RenewError> {
        if self.clock.moment() >= deadline {
            return Err(RenewError::TooLate);
        }
        match self.try_acquire_or_renew(&self.observed()).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            result => return result.map_err(RenewError::Failed),
        }
        // Another client wrote or deleted the Lease, or an earlier renewal took effect and its answer was lost.
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

    /// Releases the Lease if this replica holds it, and stores the record for the next leader. All writes must have
    /// ended. The release takes at most `RELEASE`.
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
                    tracing::info!(
                        namespace = %self.settings.namespace,
                        name = %self.settings.name,
                        "released the Lease"
                    );
                    return;
                }
                Ok(false) => return,
                Err(error) => error,
            };
            // The attempt may have taken effect, or another client may have written the Lease, so the next attempt
            // reads the Lease first.
            refresh = true;
            if Instant::now() + RELEASE_RETRY_INTERVAL >= deadline {
                tracing::warn!(
                    namespace = %self.settings.namespace,
                    name = %self.settings.name,
                    error = %message(&error),
                    "cannot release the Lease; the Lease expires after its duration"
                );
                return;
            }
            tracing::debug!(
                namespace = %self.settings.namespace,
                name = %self.settings.name,
                error = %message(&error),
                "attempt to release the Lease failed; retrying"
            );
            tokio::time::sleep(RELEASE_RETRY_INTERVAL).await;
        }
    }

    /// Makes one attempt to release the Lease; `refresh` reads the Lease first. Returns whether this replica held the
    /// Lease.
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

    /// Returns the time that has to pass after a leader stopped writing and before another replica writes: as long as
    /// after the loss of the Lease. Abandoned writes end during this time.
    pub fn margin(&self) -> Duration {
        self.settings.lease_duration.saturating_sub(self.settings.renew_deadline)
    }

    /// Returns the duration of the Lease.
    pub fn lease_duration(&self) -> Duration {
        self.settings.lease_duration
    }
}
