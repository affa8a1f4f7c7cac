//! What goes wrong, one thing after the other, with calm between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;
use testbed::control_plane::ControlPlane;

use crate::proxy::Weather;
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
}

const FAULTS: [Fault; 6] = [
    Fault::KillLeader,
    Fault::BadWeather,
    Fault::PauseLeaderPastItsLease,
    Fault::KillApiserver,
    Fault::KillStandby,
    Fault::KillEtcd,
];

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
        }
    }
}

/// Waits between so many and so many seconds.
async fn pause(least: f64, most: f64) {
    tokio::time::sleep(Duration::from_secs_f64(least + (most - least) * fastrand::f64())).await;
}
