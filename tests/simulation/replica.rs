//! A replica of Jobwright: all of its controllers, assembled as `jobwright run` assembles them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Parser;
use jobwright::cli::run::Arguments;
use jobwright::cli::run::controllers::Controllers;
use jobwright::cli::run::discovery::InstalledResources;
use jobwright::cli::run::replica::{Stop, work};
use jobwright::job::gang::GangScheduling;
use jobwright::runtime::clock::Clock;
use jobwright::runtime::codec::Encoding;
use jobwright::runtime::context::ControllerContext;
use jobwright::runtime::election::lease::ReplicaIdentity;
use jobwright::runtime::election::{Election, Settings};
use jobwright::runtime::events;
use jobwright::runtime::health::Health;
use jobwright::runtime::worker::SyncMetrics;
use jobwright::runtime::write_gate::WriteGate;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::{Line, Server};

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    run: Arguments,
}

/// What the cluster of a scenario has.
#[derive(Clone, Copy, Debug)]
pub struct Installed {
    /// Whether JobSchedules, Calendars and JobLimits are installed.
    pub extended: bool,
    /// Whether JobPolicies are installed.
    pub job_policies: bool,
    /// Whether the feature gate WorkloadWithJob is on.
    pub gangs: bool,
}

/// A running replica.
pub struct Replica {
    pub line: Line,
    pub controllers: Arc<Controllers>,
    stop: watch::Sender<bool>,
    tasks: [JoinHandle<()>; 2],
}

impl Replica {
    /// Starts a replica. `elects`: only the holder of the Lease runs its controllers.
    pub fn start(server: &Server, clock: &Clock, name: &str, elects: bool, installed: Installed) -> Self {
        let Installed { extended, job_policies, gangs } = installed;
        let line = Line::default();
        let client = server.client(name.to_owned(), line.clone());
        // A short back-off keeps histories short.
        // Jobs have few pods here. Their summaries are kept nevertheless, because they are under test.
        let flags = [
            "jobwright",
            "--claim=all",
            "--pod-failure-backoff=2s",
            "--pod-failure-backoff-max=60s",
            "--min-pods-for-summary=0",
        ];
        let arguments = CommandLine::parse_from(flags).run;
        let mut registry = Registry::default();
        let (recorder, writer) = events::recorder(client.clone(), clock.clone());
        let context = ControllerContext {
            client: client.clone(),
            namespace: None,
            encoding: Encoding::Json,
            write_gate: Arc::new(WriteGate::new(20)),
            recorder,
            clock: clock.clone(),
            syncs: SyncMetrics::new(&mut registry),
        };
        let election = elects.then(|| {
            let settings = Settings {
                namespace: "kube-system".to_owned(),
                name: "jobwright".to_owned(),
                lease_duration: Duration::from_secs(15),
                renew_deadline: Duration::from_secs(10),
                retry_period: Duration::from_secs(2),
            };
            let replica_identity = ReplicaIdentity {
                identity: name.to_owned(),
                installation: "simulated".to_owned(),
                claim: "all".to_owned(),
            };
            Election::new(
                client,
                settings,
                replica_identity,
                context.write_gate.clone(),
                clock.clone(),
                Arc::new(Health::default()),
            )
        });
        let gang_scheduling = if gangs { GangScheduling::Enabled } else { GangScheduling::Disabled };
        let controllers = Arc::new(Controllers::new(&arguments, &context, &mut registry));
        controllers.set_installed(InstalledResources {
            job_schedules: extended,
            calendars: extended,
            job_limits: extended,
            job_policies,
            gang_scheduling,
        });
        let working = controllers.clone();
        let (sender, stop) = Stop::new();
        let working = tokio::spawn(async move {
            let _ = work(&working, election, &AtomicBool::new(false), &stop).await;
        });
        Self { line, controllers, stop: sender, tasks: [working, tokio::spawn(writer.run())] }
    }

    /// Asks the replica to stop, as SIGTERM does, and does not wait for its end.
    pub fn stop(self) {
        self.stop.send_replace(true);
    }

    /// Aborts the replica immediately, at any point. Requests that were already sent take effect.
    pub fn crash(self) {
        self.line.sever();
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
