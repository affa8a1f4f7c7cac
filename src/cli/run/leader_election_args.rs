//! The flags of leader election, with the names that the built-in components use, and the identity of this replica.

use std::time::Duration;

use crate::client::duration::duration;
use crate::job::managed_by::Claim;
use crate::runtime::election::Settings;
use crate::runtime::election::lease::ReplicaIdentity;

/// Default namespace of the Lease when the controller works in all namespaces.
const SYSTEM_NAMESPACE: &str = "kube-system";

/// The flags of leader election.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LeaderElectionArguments {
    /// Work only while this replica holds the Lease, so that one of several replicas is active
    #[arg(
        long,
        env = "JOBWRIGHT_LEADER_ELECT",
        value_name = "BOOL",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    leader_elect: bool,
    /// Time after the last renewal of the Lease until another replica takes over
    #[arg(long, env = "JOBWRIGHT_LEADER_ELECT_LEASE_DURATION", value_name = "DURATION", default_value = "15s", value_parser = duration)]
    leader_elect_lease_duration: Duration,
    /// Time after its last renewal until the leader stops working; shorter than the lease duration
    #[arg(long, env = "JOBWRIGHT_LEADER_ELECT_RENEW_DEADLINE", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    leader_elect_renew_deadline: Duration,
    /// Time between two renewals, and delay after a failed attempt; shorter than the renew deadline
    #[arg(long, env = "JOBWRIGHT_LEADER_ELECT_RETRY_PERIOD", value_name = "DURATION", default_value = "2s", value_parser = duration)]
    leader_elect_retry_period: Duration,
    /// Name of the Lease
    #[arg(long, env = "JOBWRIGHT_LEADER_ELECT_RESOURCE_NAME", value_name = "NAME", default_value = "jobwright")]
    leader_elect_resource_name: String,
    /// Namespace of the Lease; without it the one of --namespace, or kube-system
    #[arg(long, env = "JOBWRIGHT_LEADER_ELECT_RESOURCE_NAMESPACE", value_name = "NAME")]
    leader_elect_resource_namespace: Option<String>,
    /// Name of the installation; a replica reports a Lease that another installation holds
    #[arg(long, env = "JOBWRIGHT_INSTALLATION", value_name = "NAMESPACE/NAME", default_value = "jobwright")]
    installation: String,
    /// Name of the pod of this process, from the downward API
    #[arg(long, env = "POD_NAME", value_name = "NAME", hide = true)]
    pod_name: Option<String>,
    /// UID of the pod of this process: a restarted container takes the Lease of its pod back immediately
    #[arg(long, env = "POD_UID", value_name = "UID", hide = true)]
    pod_uid: Option<String>,
}

impl LeaderElectionArguments {
    /// Returns the settings of leader election. `None` if it is switched off.
    ///
    /// # Errors
    /// The durations contradict each other. The error names the flag to change.
    pub(crate) fn settings(&self, namespace: Option<&str>) -> Result<Option<Settings>, String> {
        if !self.leader_elect {
            return Ok(None);
        }
        if self.leader_elect_lease_duration < Duration::from_secs(1) {
            return Err("--leader-elect-lease-duration must be at least 1s: a Lease counts in whole seconds".to_owned());
        }
        // Other replicas read the duration from the Lease, which stores whole seconds.
        let lease_duration = Duration::from_secs(self.leader_elect_lease_duration.as_secs());
        if self.leader_elect_renew_deadline >= lease_duration {
            return Err(format!(
                "--leader-elect-renew-deadline ({:?}) must be shorter than --leader-elect-lease-duration ({lease_duration:?}, in whole seconds), or two replicas could write concurrently",
                self.leader_elect_renew_deadline
            ));
        }
        if self.leader_elect_retry_period.is_zero()
            || self.leader_elect_retry_period >= self.leader_elect_renew_deadline
        {
            return Err(format!(
                "--leader-elect-retry-period ({:?}) must be longer than 0s and shorter than --leader-elect-renew-deadline ({:?})",
                self.leader_elect_retry_period, self.leader_elect_renew_deadline
            ));
        }
        let lease_namespace = self.leader_elect_resource_namespace.as_deref().or(namespace).unwrap_or(SYSTEM_NAMESPACE);
        Ok(Some(Settings {
            namespace: lease_namespace.to_owned(),
            name: self.leader_elect_resource_name.clone(),
            lease_duration,
            renew_deadline: self.leader_elect_renew_deadline,
            retry_period: self.leader_elect_retry_period,
        }))
    }

    /// Returns the identity of this replica: the name of the pod or host, and a part that is unique to the pod or
    /// process.
    pub(crate) fn replica_identity(&self, claim: Claim) -> ReplicaIdentity {
        let name = self.pod_name.clone().or_else(host_name).unwrap_or_else(|| "jobwright".to_owned());
        let unique = self.pod_uid.clone().unwrap_or_else(|| format!("{:016x}", fastrand::u64(..)));
        ReplicaIdentity {
            identity: format!("{name}_{unique}"),
            installation: self.installation.clone(),
            claim: claim.as_str().to_owned(),
        }
    }
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        lead: LeaderElectionArguments,
    }

    fn settings(flags: &[&str]) -> Result<Option<Settings>, String> {
        let line = Line::try_parse_from(["test"].iter().chain(flags)).map_err(|error| error.to_string())?;
        line.lead.settings(None)
    }

    #[test]
    fn defaults_equal_those_of_the_built_in_components() {
        let settings = settings(&[]).unwrap().unwrap();
        assert_eq!((settings.namespace.as_str(), settings.name.as_str()), ("kube-system", "jobwright"));
        let times = [settings.lease_duration, settings.renew_deadline, settings.retry_period];
        assert_eq!(times.map(|time| time.as_secs()), [15, 10, 2]);
        assert!(super::tests::settings(&["--leader-elect=false"]).unwrap().is_none());
    }

    #[test]
    fn contradicting_durations_are_refused_with_the_name_of_the_flag() {
        let cases: [(&[&str], &str); 5] = [
            (&["--leader-elect-renew-deadline=15s"], "--leader-elect-renew-deadline"),
            (
                &["--leader-elect-lease-duration=15900ms", "--leader-elect-renew-deadline=15500ms"],
                "--leader-elect-renew-deadline",
            ),
            (&["--leader-elect-lease-duration=500ms"], "--leader-elect-lease-duration"),
            (&["--leader-elect-retry-period=10s"], "--leader-elect-retry-period"),
            (&["--leader-elect-retry-period=0s"], "--leader-elect-retry-period"),
        ];
        for (flags, named) in cases {
            let error = settings(flags).unwrap_err();
            assert!(error.starts_with(named), "{flags:?}: {error}");
        }
    }
}
