//! Runs one history: the actions of a scenario against a simulated cluster and replicas of Jobwright, until no work is
//! left.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jobwright::job::CONTROLLER_UID_LABEL;
use jobwright::runtime::clock::Clock;
use serde_json::json;
use tokio::time::Instant;

use crate::admission::Admission;
use crate::api::{Server, State};
use crate::checks::Checks;
use crate::replica::{Installed, Replica};
use crate::scenario::{Action, Scenario};
use crate::store::Store;
use crate::world::{NAMESPACE, World};

/// Simulated time at which a history begins.
const BEGIN: &str = "2026-01-01T00:00:00Z";
/// Maximum time until all work is finished after the last fault has ended.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(3 * 3600);
/// Time after that in which the controllers must not send any request.
const QUIET_PERIOD: Duration = Duration::from_secs(1800);
/// Maximum time until schedules have caught up after the last fault has ended.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(400);
/// Maximum number of requests of one history; a history of this size cannot need more.
const MAX_REQUESTS: u64 = 30_000;

/// Figures of a finished history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Hash of all requests and responses, in order.
    pub digest: u64,
    pub requests: u64,
    pub faults: u64,
    pub crashes: u64,
    pub jobs: u64,
    pub pods: u64,
    /// Simulated duration, in seconds.
    pub seconds: u64,
}

/// Sums of the figures of all histories.
#[derive(Default)]
pub struct Totals {
    histories: u64,
    sum: History,
}

impl Totals {
    /// Adds the figures of one history.
    pub fn add(&mut self, history: &History) {
        self.histories += 1;
        let sum = &mut self.sum;
        sum.requests += history.requests;
        sum.faults += history.faults;
        sum.crashes += history.crashes;
        sum.jobs += history.jobs;
        sum.pods += history.pods;
        sum.seconds += history.seconds;
    }

    /// Returns whether the histories contain enough faults, crashes and Jobs: more than one for every two histories.
    pub fn is_varied(&self) -> bool {
        let all = [self.sum.faults, self.sum.crashes, self.sum.jobs];
        all.iter().all(|count| *count > self.histories / 2)
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let History { requests, faults, crashes, jobs, pods, seconds, .. } = &self.sum;
        write!(
            f,
            "{} histories of {} hours: {jobs} Jobs, {pods} pods, {requests} requests, {faults} faults, {crashes} crashes",
            self.histories,
            seconds / 3600
        )
    }
}

/// Runs a scenario.
///
/// # Errors
/// Returns the invariant that was broken, or the work that was never finished.
pub fn run(scenario: &Scenario, prints: bool) -> Result<History, String> {
    simulated(scenario.seed, async { Stage::new(scenario, prints).run(scenario).await })
}

/// Runs a future on a paused clock, in one thread, with the same random numbers for the same seed.
///
/// # Errors
/// Returns the error of the future, or the error of creating the runtime.
pub fn simulated<T>(seed: u64, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    fastrand::seed(seed);
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

/// A simulated cluster with its replicas of Jobwright.
pub struct Stage {
    pub server: Server,
    clock: Clock,
    world: World,
    installed: Installed,
    /// Whether pods change their phase within milliseconds.
    fast_pods: bool,
    begun: Instant,
    replicas: Vec<Option<Replica>>,
    /// Start times of replicas that are not running, with their places in `replicas`.
    starting: Vec<(Instant, usize)>,
    /// Time at which the API server is available again.
    back_at: Option<Instant>,
    /// Number of replicas started so far; each gets a new name.
    names: u64,
    crashes: u64,
}

impl Stage {
    /// Creates the cluster. Must be called inside a tokio runtime, whose clock the cluster uses.
    pub fn new(scenario: &Scenario, prints: bool) -> Self {
        let begin: Timestamp = BEGIN.parse().expect("a time");
        let clock = Clock::following_tokio(begin);
        let mut state = State {
            store: Store::new(clock.clone()),
            checks: Checks::new(scenario),
            faults: scenario.faults,
            random: fastrand::Rng::with_seed(scenario.seed ^ 0x5eed),
            unavailable: false,
            quota: false,
            admission: Admission::default(),
            paused_watches: BTreeMap::new(),
            unanswered: Vec::new(),
            http1: scenario.is_silent(),
            faults_made: 0,
            requests: 0,
            digest: 0xcbf2_9ce4_8422_2325,
            prints,
        };
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        state.store.create("namespaces", "", namespace).expect("a first namespace");
        let begun = Instant::now();
        Self {
            server: Server::new(state),
            clock,
            world: World {
                random: fastrand::Rng::with_seed(scenario.seed ^ 0xca5e),
                failing: scenario.failing,
                graceful: scenario.graceful,
                stuck: 98,
                later: Vec::new(),
            },
            installed: Installed {
                extended: scenario.extended,
                job_policies: scenario.job_policies,
                gangs: scenario.gangs,
            },
            fast_pods: scenario.fast_pods,
            begun,
            replicas: (0..scenario.replicas).map(|_| None).collect(),
            starting: (0..scenario.replicas)
                .map(|place| (begun + Duration::from_millis(place as u64), place))
                .collect(),
            back_at: None,
            names: 0,
            crashes: 0,
        }
    }

    async fn run(mut self, scenario: &Scenario) -> Result<History, String> {
        for (at, action) in &scenario.actions {
            self.run_until(self.begun + Duration::from_millis(*at)).await?;
            self.action(action);
        }
        let obstacles_end = Instant::now() + Duration::from_secs(20);
        self.run_until(obstacles_end).await?;
        self.back_at = None;
        self.world.remove_obstacles(&mut self.server.lock());
        self.server.lock().checks.progress.obstacle(false);
        if self.installed.extended {
            // Runs that were missed during faults must be caught up on within this time.
            self.run_until(Instant::now() + CATCH_UP_TIMEOUT).await?;
            let state = &*self.server.lock();
            if let Some(behind) = state.checks.schedules.behind(&state.store) {
                return Err(behind);
            }
        }
        self.world.suspend_schedules(&mut self.server.lock());
        self.settle().await?;
        if self.installed.extended {
            let limited = self.server.lock().store.of("joblimits").next().is_some();
            if limited && self.world.has_waiting(&self.server.lock()) {
                self.check_quiet().await?;
            }
            self.world.delete_all(&mut self.server.lock(), "joblimits");
            self.settle().await?;
        }
        self.check_quiet().await?;
        self.compare_caches()?;
        let state = &mut *self.server.lock();
        state.checks.end(&state.store)?;
        let created =
            |resource| state.store.log.iter().filter(|one| one.resource == resource && one.before.is_none()).count();
        Ok(History {
            digest: state.digest,
            requests: state.requests,
            faults: state.faults_made,
            crashes: self.crashes,
            jobs: created("jobs") as u64,
            pods: created("pods") as u64,
            seconds: self.begun.elapsed().as_secs(),
        })
    }

    /// Advances time until no work is left.
    async fn settle(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        loop {
            self.run_until(Instant::now() + Duration::from_secs(5)).await?;
            let unsettled = self.world.unsettled(&self.server.lock().store);
            match unsettled {
                None => return Ok(()),
                Some(what) if Instant::now() > deadline => return Err(format!("work is never finished: {what}")),
                Some(_) => {}
            }
        }
    }

    /// Checks that the controllers send no requests while there is no work.
    async fn check_quiet(&mut self) -> Result<(), String> {
        // Requests may still be sent for work in flight, for TTLs that expire, and by watches that reach their timeout
        // and find that the API server has compacted their resourceVersion.
        self.run_until(Instant::now() + Duration::from_secs(330)).await?;
        let before = self.server.lock().requests;
        self.run_until(Instant::now() + QUIET_PERIOD).await?;
        let sent = self.server.lock().requests - before;
        if sent > 0 {
            return Err(format!("{sent} requests in {QUIET_PERIOD:?} without any work to do"));
        }
        Ok(())
    }

    /// Advances time, and with it pods, replicas and checks.
    pub async fn run_until(&mut self, until: Instant) -> Result<(), String> {
        loop {
            let range = if self.fast_pods { 5..150 } else { 200..1500 };
            let pause = Duration::from_millis(self.world.random.u64(range));
            // Longer ticks while nothing changes make the simulation faster.
            let quiet = self.world.unsettled(&self.server.lock().store).is_none();
            let tick = Instant::now() + if quiet { pause.max(Duration::from_millis(200)) * 20 } else { pause };
            let next_start = self.starting.iter().map(|(at, _)| *at).chain(self.back_at).min().unwrap_or(until);
            tokio::time::sleep_until(tick.min(until).min(next_start)).await;
            let now = Instant::now();
            if self.back_at.is_some_and(|at| at <= now) {
                self.back_at = None;
                self.server.lock().unavailable = false;
            }
            self.start_replicas(now);
            let state = &mut *self.server.lock();
            self.world.tick(state);
            state.checks.observe(&state.store);
            let overdue = state.checks.job_policies.overdue(&state.store);
            if let Some(stuck) = state.checks.progress.stuck(&state.store).or(overdue) {
                state.checks.report_breach(stuck);
            }
            if let Some(broken) = state.checks.broken.take() {
                return Err(format!("after {} s: {broken}", self.begun.elapsed().as_secs()));
            }
            if state.requests > MAX_REQUESTS {
                return Err(format!("{} requests, more than {MAX_REQUESTS}", state.requests));
            }
            if now >= until {
                return Ok(());
            }
        }
    }

    fn start_replicas(&mut self, now: Instant) {
        let due: Vec<usize> = self.starting.iter().filter(|(at, _)| *at <= now).map(|(_, place)| *place).collect();
        self.starting.retain(|(at, _)| *at > now);
        for place in due {
            self.names += 1;
            let name = format!("replica-{}", self.names);
            let elects = self.replicas.len() > 1;
            self.replicas[place] = Some(Replica::start(&self.server, &self.clock, &name, elects, self.installed));
            self.server.lock().checks.refusals.reset_attempts();
        }
    }

    /// Carries out an action of the scenario.
    pub fn action(&mut self, action: &Action) {
        let now = Instant::now();
        self.note_obstacle(action, now);
        match action {
            Action::Crash(place, pause) => {
                let place = place % self.replicas.len();
                if let Some(replica) = self.replicas[place].take() {
                    replica.crash();
                    self.crashes += 1;
                    self.server.lock().checks.refusals.lose_events();
                    self.starting.push((now + Duration::from_millis(*pause), place));
                }
            }
            Action::DelayResponses(place, pause) => {
                let place = place % self.replicas.len();
                if let Some(replica) = &self.replicas[place] {
                    replica.line.delay_responses(now + Duration::from_millis(*pause));
                }
            }
            Action::Stop(place, pause) => {
                let place = place % self.replicas.len();
                if let Some(replica) = self.replicas[place].take() {
                    replica.stop();
                    self.server.lock().checks.refusals.lose_events();
                    self.starting.push((now + Duration::from_millis(*pause), place));
                }
            }
            Action::SilenceConnections(place, idle) => {
                let place = place % self.replicas.len();
                if let Some(replica) = &self.replicas[place] {
                    replica.line.silence(*idle);
                    self.server.lock().checks.refusals.lose_events();
                }
            }
            Action::ApiServerOutage(pause) => self.back_at = Some(now + Duration::from_millis(*pause)),
            _ => {}
        }
        self.world.action(&mut self.server.lock(), action);
    }

    /// Records that an action keeps all work from proceeding, or that it ends such an obstacle.
    fn note_obstacle(&self, action: &Action, now: Instant) {
        let progress = &mut self.server.lock().checks.progress;
        match action {
            Action::Crash(_, pause)
            | Action::Stop(_, pause)
            | Action::DelayResponses(_, pause)
            | Action::ApiServerOutage(pause)
            | Action::PauseWatches(_, pause) => {
                progress.block_until(now + Duration::from_millis(*pause));
            }
            Action::Quota(begins) | Action::RemoveFinalizers(begins) => progress.obstacle(*begins),
            Action::CreatePolicy(_) => progress.obstacle(true),
            Action::DeletePolicy(_) => progress.obstacle(false),
            _ => {}
        }
    }

    /// Checks that the caches of the replicas hold exactly the objects of the server, and that the controllers remember
    /// nothing about finished work.
    fn compare_caches(&self) -> Result<(), String> {
        let state = self.server.lock();
        for replica in self.replicas.iter().flatten() {
            // Every Job is finished or deleted. The TTL controller remembers the expiry of a Job until that time, even
            // if a later change keeps the Job without a limit.
            let kept = state.store.of("jobs").count();
            for (what, entries) in replica.controllers.remembered() {
                let expected = if what == "times to live" { kept } else { 0 };
                if entries > expected {
                    return Err(format!("{entries} entries of {what} are left, expected at most {expected}"));
                }
            }
            for (resource, cache) in replica.controllers.caches() {
                let watched = |object: &serde_json::Value| {
                    resource != "pods" || crate::watches::selects(CONTROLLER_UID_LABEL, object)
                };
                let count = state.store.of(resource).filter(|(_, object)| watched(object)).count();
                if cache.len != count {
                    return Err(format!("a cache holds {} {resource}, the server has {count}", cache.len));
                }
            }
        }
        Ok(())
    }
}
