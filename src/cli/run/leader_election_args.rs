//! The flags of leader election, named as those of the built-in components, and who this process is in it.

use std::time::Duration;

use super::duration;
use crate::job::managed_by::Claim;
use crate::runtime::election::Settings;
use crate::runtime::election::lease::ReplicaIdentity;

/// Where the Lease is kept when all namespaces are worked in.
const SYSTEM_NAMESPACE: &str = "kube-system";

/// The flags of leader election.
#[derive(Clone, Debug, clap::Args)]
pub struct LeaderElectionArguments {
    /// Work only while holding a Lease, so that of several replicas one works
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
    /// How long the other replicas wait after the last renewal before one of them takes over
    #[arg(long, env = "JOBWRIGHT_LEADER_ELECT_LEASE_DURATION", value_name = "DURATION", default_value = "15s", value_parser = duration)]
    leader_elect_lease_duration: Duration,
    /// How long after its last renewal the leader goes on; shorter than the lease duration
    #[arg(long, env = "JOBWRIGHT_LEADER_ELECT_RENEW_DEADLINE", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    leader_elect_renew_deadline: Duration,
    /// How often the leader renews; shorter than the renew deadline
    #[arg(long, env = "JOBWRIGHT_LEADER_ELECT_RETRY_PERIOD", value_name = "DURATION", default_value = "2s", value_parser = duration)]
    leader_elect_retry_period: Duration,
    /// The Lease's name
    #[arg(long, env = "JOBWRIGHT_LEADER_ELECT_RESOURCE_NAME", value_name = "NAME", default_value = "jobwright")]
    leader_elect_resource_name: String,
    /// The Lease's namespace; without it --namespace, or kube-system where all namespaces are worked in
    #[arg(long, env = "JOBWRIGHT_LEADER_ELECT_RESOURCE_NAMESPACE", value_name = "NAME")]
    leader_elect_resource_namespace: Option<String>,
    /// Which installation this replica belongs to; replicas of another one that hold the Lease are reported as a mistake
    #[arg(long, env = "JOBWRIGHT_INSTALLATION", value_name = "NAMESPACE/NAME", default_value = "jobwright")]
    installation: String,
    /// The pod this process runs in, by the downward API
    #[arg(long, env = "POD_NAME", value_name = "NAME", hide = true)]
    pod_name: Option<String>,
    /// That pod's UID: a container that is started again in it takes its own Lease back at once
    #[arg(long, env = "POD_UID", value_name = "UID", hide = true)]
    pod_uid: Option<String>,
}

impl LeaderElectionArguments {
    /// How the Lease is held; none where there is no election.
    ///
    /// # Errors
    /// The times do not fit together; the error names the flag.
    pub fn settings(&self, namespace: Option<&str>) -> Result<Option<Settings>, String> {
        if !self.leader_elect {
            return Ok(None);
        }
        if self.leader_elect_lease_duration < Duration::from_secs(1) {
            return Err("--leader-elect-lease-duration must be at least 1s: a Lease counts in whole seconds".to_owned());
        }
        // Other replicas read it from the Lease, in whole seconds.
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

    /// Who we are.
    pub fn replica_identity(&self, claim: Claim) -> ReplicaIdentity {
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
    fn without_flags_it_is_as_the_built_in_components_are() {
        let settings = settings(&[]).unwrap().unwrap();
        assert_eq!((settings.namespace.as_str(), settings.name.as_str()), ("kube-system", "jobwright"));
        let times = [settings.lease_duration, settings.renew_deadline, settings.retry_period];
        assert_eq!(times.map(|time| time.as_secs()), [15, 10, 2]);
        assert!(super::tests::settings(&["--leader-elect=false"]).unwrap().is_none());
    }

    #[test]
    fn times_that_do_not_fit_together_are_refused_by_name() {
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
