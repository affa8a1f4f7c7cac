//! The Leases of the controllers: which controller works on Jobs, and whether it is running.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use crate::job::managed_by::{BUILTIN_MANAGED_BY, MANAGED_BY};
use crate::runtime::election::lease::{CLAIM, INSTALLATION};

/// Name of the Lease of Jobwright, unless a flag sets another one.
pub const JOBWRIGHT: &str = "jobwright";
/// Name and namespace of the Lease of the built-in controllers.
const BUILTIN: (&str, &str) = ("kube-controller-manager", "kube-system");
/// Difference between the clock of this machine and that of a controller that is tolerated.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(30);

/// State of a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseState {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Identity of the holder. `None` if the Lease was released.
    pub holder: Option<String>,
    /// Installation of the holder, such as `jobwright-system/jobwright`.
    pub installation: Option<String>,
    /// Jobs that the holder claims: `managed-by` or `all`. `None` for the built-in controllers.
    pub claim: Option<String>,
    /// Time of the last renewal.
    pub renewed: Option<Timestamp>,
    /// Time for which a renewal is valid.
    pub duration: SignedDuration,
}

/// Leases of all controllers that the user may read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    /// Leases that exist.
    pub found: Vec<LeaseState>,
    /// Error of the API server, if a Lease of Jobwright cannot be read.
    pub unread: Option<String>,
    /// Error of the API server, if the Lease of the built-in controllers cannot be read.
    pub unread_builtin: Option<String>,
}

/// Whether the controller of a Job is running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Liveness<'a> {
    /// The controller renews its Lease.
    Alive(&'a LeaseState),
    /// The controller has not renewed its Lease, or has released it.
    Stopped(&'a LeaseState),
    /// There is no Lease. Controllers without leader election have none.
    NoLease,
    /// The Leases cannot be read.
    Unknown,
}

impl LeaseState {
    /// Returns the state of a stored Lease.
    pub fn of(lease: &Lease) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        let annotation = |name: &str| lease.annotations().get(name).cloned();
        Self {
            namespace: lease.namespace().unwrap_or_default(),
            name: lease.name_any(),
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            installation: annotation(INSTALLATION),
            claim: annotation(CLAIM),
            renewed: spec.renew_time.map(|time| time.0),
            duration: SignedDuration::from_secs(spec.lease_duration_seconds.unwrap_or_default().into()),
        }
    }

    /// Returns whether the holder renews the Lease.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        let renewed = |renewed: Timestamp| now.duration_since(renewed) <= self.duration + CLOCK_SKEW;
        self.holder.is_some() && self.renewed.is_some_and(renewed)
    }

    /// Returns whether a controller of Jobwright holds or held the Lease.
    fn is_own(&self) -> bool {
        self.installation.is_some() || self.name == JOBWRIGHT
    }

    /// Returns whether this is the Lease of the built-in controllers.
    pub fn is_builtin(&self) -> bool {
        self.name == BUILTIN.0
    }

    /// Returns whether this is the Lease of a Jobwright that claims all Jobs.
    fn claims_all(&self) -> bool {
        !self.is_builtin() && self.claim.as_deref() == Some("all")
    }
}

impl Leases {
    /// Reads the Leases of Jobwright in all namespaces, or else in `namespace` and in those where the chart puts them,
    /// and the Lease of the built-in controllers.
    pub async fn read(client: &Client, namespace: &str) -> Self {
        let named = ListParams::default().fields(&format!("metadata.name={JOBWRIGHT}"));
        Self::read_matching(client, namespace, &named).await
    }

    /// Reads the same Leases, and those of Jobwright with other names. This lists all Leases of the cluster, of which
    /// each node has one.
    pub async fn read_all(client: &Client, namespace: &str) -> Self {
        Self::read_matching(client, namespace, &ListParams::default()).await
    }

    async fn read_matching(client: &Client, namespace: &str, everywhere: &ListParams) -> Self {
        let mut leases = Self::default();
        let mut wanted = vec![BUILTIN];
        match Api::<Lease>::all(client.clone()).list(everywhere).await {
            Ok(list) => leases.found.extend(list.items.iter().map(LeaseState::of).filter(LeaseState::is_own)),
            Err(_) => wanted.extend(["kube-system", "jobwright-system", namespace].map(|at| (JOBWRIGHT, at))),
        }
        wanted.sort_unstable();
        wanted.dedup();
        for (name, at) in wanted {
            match Api::<Lease>::namespaced(client.clone(), at).get_opt(name).await {
                Ok(lease) => leases.found.extend(lease.as_ref().map(LeaseState::of)),
                Err(error) => {
                    let unread = if name == JOBWRIGHT { &mut leases.unread } else { &mut leases.unread_builtin };
                    *unread = Some(crate::runtime::errors::message(&error));
                }
            }
        }
        leases
    }

    /// Returns whether the controller is running that works on Jobs with this `spec.managedBy`.
    pub fn liveness(&self, managed_by: Option<&str>, now: Timestamp) -> Liveness<'_> {
        let all: Vec<&LeaseState> = self.found.iter().filter(|lease| lease.claims_all()).collect();
        let (responsible, unread) = match managed_by {
            Some(MANAGED_BY) => {
                let ours = self.found.iter().filter(|lease| !lease.is_builtin()).collect::<Vec<_>>();
                (ours, self.unread.is_some())
            }
            // Where Jobwright claims all Jobs, the built-in Job controller is off, although its process may run.
            None | Some(BUILTIN_MANAGED_BY) if !all.is_empty() => (all, self.unread.is_some()),
            None | Some(BUILTIN_MANAGED_BY) => {
                let builtin = self.found.iter().filter(|lease| lease.is_builtin()).collect::<Vec<_>>();
                (builtin, self.unread.is_some() || self.unread_builtin.is_some())
            }
            Some(_) => return Liveness::Unknown,
        };
        match responsible.into_iter().max_by_key(|lease| (lease.is_alive(now), lease.renewed)) {
            Some(lease) if lease.is_alive(now) => Liveness::Alive(lease),
            _ if unread => Liveness::Unknown,
            Some(lease) => Liveness::Stopped(lease),
            None => Liveness::NoLease,
        }
    }

    /// Returns whether the Leases show that Jobwright works on Jobs with this `spec.managedBy`, running or not.
    pub fn is_run_by_jobwright(&self, managed_by: Option<&str>) -> bool {
        match managed_by {
            Some(MANAGED_BY) => true,
            None | Some(BUILTIN_MANAGED_BY) => self.found.iter().any(LeaseState::claims_all),
            Some(_) => false,
        }
    }

    /// Returns the error of the API server, if a Lease cannot be read.
    pub fn error(&self) -> Option<&str> {
        self.unread.as_deref().or(self.unread_builtin.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(name: &str, claim: Option<&str>, renewed: &str) -> LeaseState {
        LeaseState {
            namespace: "kube-system".to_owned(),
            name: name.to_owned(),
            holder: Some("a".to_owned()),
            installation: None,
            claim: claim.map(str::to_owned),
            renewed: Some(renewed.parse().unwrap()),
            duration: SignedDuration::from_secs(15),
        }
    }

    const NOW: &str = "2026-01-01T01:00:00Z";
    const FRESH: &str = "2026-01-01T00:59:50Z";
    const OLD: &str = "2026-01-01T00:40:00Z";

    fn liveness(found: Vec<LeaseState>, managed_by: Option<&str>) -> String {
        let leases = Leases { found, ..Leases::default() };
        match leases.liveness(managed_by, NOW.parse().unwrap()) {
            Liveness::Alive(lease) => format!("{} alive", lease.name),
            Liveness::Stopped(lease) => format!("{} stopped", lease.name),
            Liveness::NoLease => "none".to_owned(),
            Liveness::Unknown => "unknown".to_owned(),
        }
    }

    #[test]
    fn responsible_controller_is_found_by_managed_by_and_claim() {
        let builtin = || lease("kube-controller-manager", None, FRESH);
        let ours = |claim, at| lease(JOBWRIGHT, Some(claim), at);
        assert_eq!(liveness(vec![builtin(), ours("managed-by", OLD)], None), "kube-controller-manager alive");
        assert_eq!(liveness(vec![builtin(), ours("managed-by", OLD)], Some(MANAGED_BY)), "jobwright stopped");
        assert_eq!(liveness(vec![builtin(), ours("all", OLD)], None), "jobwright stopped");
        assert_eq!(liveness(vec![builtin(), ours("all", FRESH)], None), "jobwright alive");
        assert_eq!(liveness(vec![builtin()], Some(MANAGED_BY)), "none");
        assert_eq!(liveness(vec![builtin()], Some("example.com/other")), "unknown");
    }

    #[test]
    fn unreadable_lease_is_unknown_and_not_stopped() {
        let found = vec![lease(JOBWRIGHT, Some("all"), OLD)];
        let leases = Leases { found, unread: Some("forbidden".to_owned()), ..Leases::default() };
        assert_eq!(leases.liveness(None, NOW.parse().unwrap()), Liveness::Unknown);
        // The Lease of the built-in controllers does not matter where Jobwright claims all Jobs.
        let leases = Leases { unread: None, unread_builtin: Some("forbidden".to_owned()), ..leases };
        assert!(matches!(leases.liveness(None, NOW.parse().unwrap()), Liveness::Stopped(_)));
    }

    #[test]
    fn released_lease_has_no_running_holder() {
        let mut released = lease(JOBWRIGHT, Some("all"), FRESH);
        released.holder = None;
        assert!(!released.is_alive(NOW.parse().unwrap()));
    }
}
