//! Sequence of injected faults, one at a time, with pauses between them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use rustix::process::Signal;
use testbed::control_plane::ControlPlane;
use testbed::wire::Silence;

use crate::proxy::{ProxyFault, ProxyFaults};
use crate::replicas::{LEASE, Replicas};

/// Fault that the test injects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillLeader,
    KillStandby,
    PauseLeaderPastItsLease,
    KillApiserver,
    KillEtcd,
    /// The proxies lose, delay, truncate and refuse requests, and cut watches.
    RandomProxyFaults,
    /// All connections of the leader go silent; new connections work.
    SilentLeader,
    /// All connections of both replicas go silent; new connections work.
    Silence,
    /// One connection of the leader goes silent, possibly that of a watch.
    SilentConnection,
    /// The idle connections of both replicas go silent, as after the expiry of a NAT entry.
    HalfOpenConnections,
    /// Writes take effect and get the response 504.
    LostWrites,
    /// Writes are refused with 429 and a `Retry-After`.
    Overload,
    /// Responses arrive one byte each second.
    SlowResponses,
}

const FAULTS: [Fault; 13] = [
    Fault::KillLeader,
    Fault::RandomProxyFaults,
    Fault::PauseLeaderPastItsLease,
    Fault::KillApiserver,
    Fault::KillStandby,
    Fault::KillEtcd,
    Fault::SilentLeader,
    Fault::Silence,
    Fault::SilentConnection,
    Fault::HalfOpenConnections,
    Fault::LostWrites,
    Fault::Overload,
    Fault::SlowResponses,
];

/// Maximum time without a renewal of the Lease, counted from the beginning of a connection fault or from the end of a
/// proxy fault.
const TAKEOVER: Duration = LEASE.saturating_add(Duration::from_secs(5));

/// Processes and proxies that faults are injected into.
pub struct Faults<'a> {
    pub control: &'a ControlPlane,
    pub replicas: &'a mut Replicas,
    pub proxy_faults: &'static ProxyFaults,
    /// Number of injections of each fault.
    pub made: BTreeMap<String, usize>,
}

impl Faults<'_> {
    /// Injects faults until a time; then waits until a replica leads.
    ///
    /// # Errors
    /// Returns an error if a process cannot be restarted, if a replica exits unexpectedly, or if no replica leads in
    /// time.
    pub async fn run(&mut self, until: Instant) -> Result<()> {
        let mut remaining = Vec::new();
        while Instant::now() < until {
            let fault = match remaining.pop() {
                Some(fault) => fault,
                // Every kind of fault occurs before any kind is repeated.
                None => {
                    remaining = FAULTS.to_vec();
                    fastrand::shuffle(&mut remaining);
                    continue;
                }
            };
            self.make(fault).await.with_context(|| format!("{fault:?}"))?;
            *self.made.entry(format!("{fault:?}")).or_default() += 1;
            pause(1.0, 4.0).await;
            self.replicas.check()?;
        }
        self.replicas.one_leads().await
    }

    /// Injects a fault into every second request for a time, and checks that a replica renews the Lease soon after.
    async fn with_proxy_fault(&self, fault: ProxyFault, time: impl Future<Output = ()>) -> Result<()> {
        self.proxy_faults.set(fault);
        time.await;
        self.proxy_faults.set(ProxyFault::None);
        self.replicas.renewed(Timestamp::now(), TAKEOVER).await
    }

    async fn make(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::KillLeader | Fault::KillStandby => {
                let leader = self.replicas.leader().await.unwrap_or_default();
                let victim = if fault == Fault::KillLeader { leader } else { 1 - leader };
                self.replicas.kill(victim);
                pause(0.0, 3.0).await;
                self.replicas.start_one(victim)
            }
            Fault::PauseLeaderPastItsLease => {
                let leader = self.replicas.leader().await.unwrap_or_default();
                self.replicas.signal(leader, Signal::STOP);
                tokio::time::sleep(LEASE.mul_f64(1.2 + fastrand::f64())).await;
                self.replicas.signal(leader, Signal::CONT);
                Ok(())
            }
            Fault::KillApiserver => {
                self.control.kill_apiserver().await;
                pause(0.0, 6.0).await;
                self.control.restart_apiserver().await
            }
            Fault::KillEtcd => {
                self.control.kill_etcd().await;
                pause(0.0, 4.0).await;
                self.control.restart_etcd().await
            }
            Fault::RandomProxyFaults => {
                self.proxy_faults.set_random(true);
                pause(4.0, 10.0).await;
                self.proxy_faults.set_random(false);
                Ok(())
            }
            Fault::SilentLeader | Fault::SilentConnection => {
                let leader = self.replicas.leader().await.unwrap_or_default();
                let which = if fault == Fault::SilentLeader { Silence::All } else { Silence::One };
                self.replicas.silence(leader, which);
                self.replicas.renewed(Timestamp::now(), TAKEOVER).await
            }
            Fault::Silence | Fault::HalfOpenConnections => {
                let which = if fault == Fault::Silence { Silence::All } else { Silence::Idle };
                (0..2).for_each(|number| {
                    self.replicas.silence(number, which);
                });
                self.replicas.renewed(Timestamp::now(), TAKEOVER).await
            }
            Fault::LostWrites => self.with_proxy_fault(ProxyFault::LostWrites, pause(3.0, 8.0)).await,
            Fault::Overload => self.with_proxy_fault(ProxyFault::Overloaded, pause(1.0, 4.0)).await,
            Fault::SlowResponses => self.with_proxy_fault(ProxyFault::Slow, pause(3.0, 8.0)).await,
        }
    }
}

/// Waits for a random time between `min` and `max` seconds.
async fn pause(min: f64, max: f64) {
    tokio::time::sleep(Duration::from_secs_f64(min + (max - min) * fastrand::f64())).await;
}
