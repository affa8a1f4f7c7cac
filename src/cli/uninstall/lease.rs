//! Finds out by the Lease whether a controller is running, and stops a running controller by taking its Lease.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::time::Instant;

use super::UninstallError;
use crate::client::output;
use crate::runtime::clock::Moment;
use crate::runtime::election::lease::{CLAIM, INSTALLATION, LAST_WRITES, ObservedLease, ReplicaIdentity};
use crate::runtime::errors::message;
use crate::runtime::write_gate::post_params;

/// Longest time to wait for a renewal by the holder, whatever the duration of its Lease.
const MAX_LEASE_WAIT: Duration = Duration::from_secs(120);
/// Time between two reads of the Lease.
const POLL: Duration = Duration::from_secs(1);
/// Length of the Lease once it is taken. The controllers stay stopped for that long after the last renewal.
pub(super) const LEASE_DURATION: Duration = Duration::from_secs(60);
/// Time between two renewals of a Lease that was taken.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// Maximum number of attempts to take the Lease, which fail while the holder renews it.
const ATTEMPTS: usize = 10;

/// The flags that name the Lease, with the names that `jobwright run` uses.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LeaseArguments {
    /// Name of the controller's Lease
    #[arg(long, env = "JOBWRIGHT_LEADER_ELECT_RESOURCE_NAME", value_name = "NAME", default_value = "jobwright")]
    leader_elect_resource_name: String,
    /// Namespace of the controller's Lease
    #[arg(long, env = "JOBWRIGHT_LEADER_ELECT_RESOURCE_NAMESPACE", value_name = "NAME", default_value = "kube-system")]
    leader_elect_resource_namespace: String,
}

/// A Lease that a running controller holds.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    leases: Api<Lease>,
    name: String,
    lease: Lease,
}

impl LeaseArguments {
    /// Returns the running controller. `None` if no controller holds the Lease, or if its holder does not renew it. A
    /// held Lease is watched for its own duration, because the clocks of two machines may differ.
    ///
    /// # Errors
    /// The Lease cannot be read.
    pub(crate) async fn running(&self, client: &Client) -> Result<Option<Running>, UninstallError> {
        let name = &self.leader_elect_resource_name;
        let leases: Api<Lease> = Api::namespaced(client.clone(), &self.leader_elect_resource_namespace);
        let read = || async {
            let found = leases.get_opt(name).await;
            found.map_err(|error| UninstallError::Lease { name: self.lease_name(), reason: message(&error) })
        };
        let first = read().await?;
        let Some(expires_at) = first.as_ref().and_then(lease_duration).map(|held| Instant::now() + held) else {
            return Ok(None);
        };
        output::error_line(format!(
            "watching the Lease {}: {} holds it",
            self.lease_name(),
            holder(first.as_ref()).unwrap_or_default()
        ));
        loop {
            tokio::time::sleep(POLL).await;
            let now = read().await?;
            if holder(now.as_ref()).is_none() {
                return Ok(None);
            }
            if let Some(lease) = now.filter(|now| renewals(Some(now)) != renewals(first.as_ref())) {
                return Ok(Some(Running { leases: leases.clone(), name: name.clone(), lease }));
            }
            if Instant::now() >= expires_at {
                return Ok(None);
            }
        }
    }

    fn lease_name(&self) -> String {
        format!("{}/{}", self.leader_elect_resource_namespace, self.leader_elect_resource_name)
    }
}

impl Running {
    /// Returns the identity of the process that holds the Lease.
    pub(crate) fn holder(&self) -> &str {
        holder(Some(&self.lease)).unwrap_or_default()
    }

    /// Returns the installation that the holder belongs to, if the Lease names one.
    pub(crate) fn installation(&self) -> Option<&str> {
        annotation(&self.lease, INSTALLATION)
    }

    /// Takes the Lease from the running controller, which then stops writing. Returns once that controller cannot begin
    /// a write any more.
    ///
    /// # Errors
    /// The Lease cannot be written.
    pub(crate) async fn stop(self) -> Result<Stopped, UninstallError> {
        let before = lease_duration(&self.lease).unwrap_or(LEASE_DURATION);
        let me = ReplicaIdentity {
            identity: format!("uninstall-check_{:016x}", fastrand::u64(..)),
            // With the same installation and claim, the replicas stand by as for a leader of their own installation.
            installation: self.installation().unwrap_or_default().to_owned(),
            claim: annotation(&self.lease, CLAIM).unwrap_or_default().to_owned(),
        };
        let mut stopped = Stopped { leases: self.leases, name: self.name, me, lease: self.lease };
        stopped.write(true).await?;
        // The controller may write until a renewal fails. Its next renewal does, because of the new holder.
        let settled = tokio::time::sleep(before);
        stopped.holding(settled).await;
        Ok(stopped)
    }
}

/// A Lease that was taken from the controllers: they stand by for as long as it is held.
pub(crate) struct Stopped {
    leases: Api<Lease>,
    name: String,
    me: ReplicaIdentity,
    lease: Lease,
}

impl Stopped {
    /// Renews the Lease while `work` runs.
    pub(crate) async fn holding<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(RENEW_EVERY) => {}
            }
            tokio::select! {
                biased;
                done = &mut work => return done,
                renewed = self.write(false) => if let Err(error) = renewed {
                    output::error_line(format!("{error}"));
                },
            }
        }
    }

    /// Releases the Lease, so that the controllers work again.
    pub(crate) async fn release(mut self) {
        let spec = self.lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        // Without a record of last writes, the next leader lists everything again.
        self.lease.metadata.annotations.get_or_insert_default().remove(LAST_WRITES);
        if let Err(error) = self.leases.replace(&self.name, &post_params(), &self.lease).await {
            output::error_line(format!(
                "cannot release the Lease: {}; it expires after {} s",
                message(&error),
                LEASE_DURATION.as_secs()
            ));
        }
    }

    /// Writes the Lease with this process as its holder. Another holder is replaced only if `takes` is set.
    async fn write(&mut self, takes: bool) -> Result<(), UninstallError> {
        let failed = |reason: String| UninstallError::Lease { name: self.name.clone(), reason };
        for _ in 0..ATTEMPTS {
            let seen = ObservedLease { lease: Some(self.lease.clone()), at: Moment::default() };
            let lease = seen.acquired_by(&self.me, LEASE_DURATION, crate::client::now());
            match self.leases.replace(&self.name, &post_params(), &lease).await {
                Ok(lease) => {
                    self.lease = lease;
                    return Ok(());
                }
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    let found = self.leases.get(&self.name).await.map_err(|error| failed(message(&error)))?;
                    let held = holder(Some(&found));
                    if !takes && held.is_some_and(|held| held != self.me.identity) {
                        return Err(failed(format!("{} has taken it", held.unwrap_or_default())));
                    }
                    self.lease = found;
                }
                Err(error) => return Err(failed(message(&error))),
            }
        }
        Err(failed("its holder renews it too often".to_owned()))
    }
}

fn holder(lease: Option<&Lease>) -> Option<&str> {
    lease?.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn annotation<'a>(lease: &'a Lease, name: &str) -> Option<&'a str> {
    lease.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Returns the duration of a Lease that is held, at least 1 s and at most [`MAX_LEASE_WAIT`].
fn lease_duration(lease: &Lease) -> Option<Duration> {
    holder(Some(lease))?;
    let seconds = lease.spec.as_ref()?.lease_duration_seconds.unwrap_or_default();
    let length = Duration::from_secs(seconds.max(1).unsigned_abs().into());
    Some(length.min(MAX_LEASE_WAIT))
}

/// Returns the fields that a renewal changes: the holder and the time of the renewal.
fn renewals(lease: Option<&Lease>) -> Option<(Option<&str>, Option<Timestamp>)> {
    let renewed = lease?.spec.as_ref()?.renew_time.as_ref().map(|time| time.0);
    Some((holder(lease), renewed))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lease(holder: Option<&str>, seconds: Option<i32>) -> Lease {
        let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": seconds});
        serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
    }

    #[test]
    fn held_lease_is_watched_for_its_own_duration_within_bounds() {
        let cases = [
            (None, Some(15), None),
            (Some(""), Some(15), None),
            (Some("me"), Some(15), Some(15)),
            (Some("me"), None, Some(1)),
            (Some("me"), Some(-5), Some(1)),
            (Some("me"), Some(i32::MAX), Some(MAX_LEASE_WAIT.as_secs())),
        ];
        for (holder, seconds, held) in cases {
            let found = lease_duration(&lease(holder, seconds)).map(|held| held.as_secs());
            assert_eq!(found, held, "{holder:?} {seconds:?}");
        }
        assert_eq!(lease_duration(&Lease::default()), None);
    }
}
