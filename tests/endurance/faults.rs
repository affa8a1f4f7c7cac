//! What goes wrong, one thing after the other, with calm between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use rustix::process::Signal;
use testbed::control_plane::ControlPlane;
use testbed::wire::Silence;

use crate::proxy::{Spell, Weather};
use crate::replicas::{LEASE, Replicas};

/// A thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillLeader,
    KillStandby,
    PauseLeaderPastItsLease,
    KillApiserver,
    KillEtcd,
    BadWeather,
    /// All connections of the leader go silent; new ones work.
    SilentLeader,
    /// All connections of both replicas go silent; new ones work.
    Silence,
    /// One connection of the leader goes silent, perhaps that of a watch.
    SilentConnection,
    /// The idle connections of both replicas go silent, as after the expiry of a NAT entry.
    HalfOpenConnections,
    /// Writes take effect and are answered 504.
    LostWrites,
    /// Writes are refused with 429 and a `Retry-After`.
    Overload,
    /// Answers come one byte each second.
    SlowAnswers,
}

const FAULTS: [Fault; 13] = [
    Fault::KillLeader,
    Fault::BadWeather,
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
    Fault::SlowAnswers,
];

/// How long a fault may keep every replica from holding the Lease, after it or from its beginning.
const TAKEOVER: Duration = LEASE.saturating_add(Duration::from_secs(5));

/// What there is to harm.
pub struct Faults<'a> {
    pub control: &'a ControlPlane,
    pub replicas: &'a mut Replicas,
    pub weather: &'static Weather,
    /// How often each went wrong.
    pub made: BTreeMap<String, usize>,
}

impl Faults<'_> {
    /// Lets things go wrong until then; everything runs again afterwards.
    ///
    /// # Errors
    /// Something could not be started again, or a replica ended by itself.
    pub async fn run(&mut self, until: Instant) -> Result<()> {
        let mut coming = Vec::new();
        while Instant::now() < until {
            let fault = match coming.pop() {
                Some(fault) => fault,
                // Each comes once before one comes again.
                None => {
                    coming = FAULTS.to_vec();
                    fastrand::shuffle(&mut coming);
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

    /// Lets something go wrong with every other request for a while; one replica leads soon after.
    async fn spell(&self, spell: Spell, time: impl Future<Output = ()>) -> Result<()> {
        self.weather.cast(spell);
        time.await;
        self.weather.cast(Spell::None);
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
            Fault::BadWeather => {
                self.weather.set(true);
                pause(4.0, 10.0).await;
                self.weather.set(false);
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
            Fault::LostWrites => self.spell(Spell::LostWrites, pause(3.0, 8.0)).await,
            Fault::Overload => self.spell(Spell::Overloaded, pause(1.0, 4.0)).await,
            Fault::SlowAnswers => self.spell(Spell::Dripping, pause(3.0, 8.0)).await,
        }
    }
}

/// Waits between so many and so many seconds.
async fn pause(least: f64, most: f64) {
    tokio::time::sleep(Duration::from_secs_f64(least + (most - least) * fastrand::f64())).await;
}
