//! One history: a story told to a cluster and to Jobwright, until nothing is left to be done.

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
use crate::replica::Replica;
use crate::scenario::{Action, Scenario};
use crate::store::Store;
use crate::world::{NAMESPACE, World};

/// When a history begins.
const BEGIN: &str = "2026-01-01T00:00:00Z";
/// How long all may take to come to its end once nothing stands in the way.
const PATIENCE: Duration = Duration::from_secs(3 * 3600);
/// How long nothing may be asked for after that.
const QUIET: Duration = Duration::from_secs(1800);
/// How long schedules may take to catch up once nothing stands in the way.
const CATCHES_UP: Duration = Duration::from_secs(400);
/// More requests than a history of this size can need.
const TOO_MANY: u64 = 30_000;

/// What came of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// A number that all that was asked and answered went into.
    pub digest: u64,
    pub requests: u64,
    pub faults: u64,
    pub crashes: u64,
    pub jobs: u64,
    pub pods: u64,
    /// How long it was, in seconds.
    pub seconds: u64,
}

/// Sums over histories.
#[derive(Default)]
pub struct Totals {
    histories: u64,
    sum: History,
}

impl Totals {
    /// Adds one.
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

    /// Whether much of what can go wrong has.
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

/// Tells a story; says what was wrong, if anything was.
///
/// # Errors
/// An invariant was broken, or there was no good end.
pub fn run(scenario: &Scenario, prints: bool) -> Result<History, String> {
    simulated(scenario.seed, async { Stage::new(scenario, prints).play(scenario).await })
}

/// Runs this on a stopped clock, in one thread, with the same random numbers for the same seed.
///
/// # Errors
/// It fails with one, or there is no runtime.
pub fn simulated<T>(seed: u64, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    fastrand::seed(seed);
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

/// A cluster with its replicas.
pub struct Stage {
    pub server: Server,
    clock: Clock,
    world: World,
    /// Our own resources are installed.
    extended: bool,
    /// Pods go on within milliseconds.
    hasty: bool,
    begun: Instant,
    replicas: Vec<Option<Replica>>,
    /// Replicas that begin later, and when.
    coming: Vec<(Instant, usize)>,
    back_at: Option<Instant>,
    names: u64,
    crashes: u64,
}

impl Stage {
    /// Must be called where tokio's clock runs.
    pub fn new(scenario: &Scenario, prints: bool) -> Self {
        let begin: Timestamp = BEGIN.parse().expect("a time");
        let clock = Clock::following_tokio(begin);
        let mut state = State {
            store: Store::new(clock.clone()),
            checks: Checks::new(scenario),
            faults: scenario.faults,
            random: fastrand::Rng::with_seed(scenario.seed ^ 0x5eed),
            away: false,
            quota: false,
            admission: Admission::default(),
            hushed: BTreeMap::new(),
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
                later: Vec::new(),
            },
            extended: scenario.extended,
            hasty: scenario.hasty,
            begun,
            replicas: (0..scenario.replicas).map(|_| None).collect(),
            coming: (0..scenario.replicas).map(|place| (begun + Duration::from_millis(place as u64), place)).collect(),
            back_at: None,
            names: 0,
            crashes: 0,
        }
    }

    async fn play(mut self, scenario: &Scenario) -> Result<History, String> {
        for (at, action) in &scenario.actions {
            self.go_on_until(self.begun + Duration::from_millis(*at)).await?;
            self.action(action);
        }
        let calm_at = Instant::now() + Duration::from_secs(20);
        self.go_on_until(calm_at).await?;
        self.back_at = None;
        self.world.calm(&mut self.server.lock());
        self.server.lock().checks.progress.obstacle(false);
        if self.extended {
            // Whatever was missed is caught up on.
            self.go_on_until(Instant::now() + CATCHES_UP).await?;
            let state = &*self.server.lock();
            if let Some(behind) = state.checks.schedules.behind(&state.store) {
                return Err(behind);
            }
        }
        self.world.suspend_schedules(&mut self.server.lock());
        self.settle().await?;
        if self.extended {
            let limited = self.server.lock().store.of("joblimits").next().is_some();
            if limited && self.world.has_waiting(&self.server.lock()) {
                self.be_quiet().await?;
            }
            self.world.lift_limits(&mut self.server.lock());
            self.settle().await?;
        }
        self.be_quiet().await?;
        self.compare_caches()?;
        let state = &mut *self.server.lock();
        state.checks.end(&state.store)?;
        let made =
            |resource| state.store.log.iter().filter(|one| one.resource == resource && one.before.is_none()).count();
        Ok(History {
            digest: state.digest,
            requests: state.requests,
            faults: state.faults_made,
            crashes: self.crashes,
            jobs: made("jobs") as u64,
            pods: made("pods") as u64,
            seconds: self.begun.elapsed().as_secs(),
        })
    }

    /// Lets time go by until nothing is left to be done.
    async fn settle(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.go_on_until(Instant::now() + Duration::from_secs(5)).await?;
            let unsettled = self.world.unsettled(&self.server.lock().store);
            match unsettled {
                None => return Ok(()),
                Some(what) if Instant::now() > deadline => return Err(format!("never comes to an end: {what}")),
                Some(_) => {}
            }
        }
    }

    /// Checks that nothing is asked for where there is nothing to do.
    async fn be_quiet(&mut self) -> Result<(), String> {
        // What is still on its way, what is due by its time to live, and watches that end by themselves and find that the API
        // server has forgotten where they were.
        self.go_on_until(Instant::now() + Duration::from_secs(330)).await?;
        let before = self.server.lock().requests;
        self.go_on_until(Instant::now() + QUIET).await?;
        let asked = self.server.lock().requests - before;
        if asked > 0 {
            return Err(format!("{asked} requests in {QUIET:?} in which there was nothing to do"));
        }
        Ok(())
    }

    /// Lets time go by.
    pub async fn go_on_until(&mut self, until: Instant) -> Result<(), String> {
        loop {
            let range = if self.hasty { 5..150 } else { 200..1500 };
            let pause = Duration::from_millis(self.world.random.u64(range));
            // Where nothing moves, nobody has to look.
            let quiet = self.world.unsettled(&self.server.lock().store).is_none();
            let tick = Instant::now() + if quiet { pause.max(Duration::from_millis(200)) * 20 } else { pause };
            let comes = self.coming.iter().map(|(at, _)| *at).chain(self.back_at).min().unwrap_or(until);
            tokio::time::sleep_until(tick.min(until).min(comes)).await;
            let now = Instant::now();
            if self.back_at.is_some_and(|at| at <= now) {
                self.back_at = None;
                self.server.lock().away = false;
            }
            self.start_replicas(now);
            let state = &mut *self.server.lock();
            self.world.tick(state);
            state.checks.observe(&state.store);
            if let Some(stuck) = state.checks.progress.stuck(&state.store) {
                state.checks.breaks(stuck);
            }
            if let Some(broken) = state.checks.broken.take() {
                return Err(format!("after {} s: {broken}", self.begun.elapsed().as_secs()));
            }
            if state.requests > TOO_MANY {
                return Err(format!("{} requests", state.requests));
            }
            if now >= until {
                return Ok(());
            }
        }
    }

    fn start_replicas(&mut self, now: Instant) {
        let due: Vec<usize> = self.coming.iter().filter(|(at, _)| *at <= now).map(|(_, place)| *place).collect();
        self.coming.retain(|(at, _)| *at > now);
        for place in due {
            self.names += 1;
            let name = format!("replica-{}", self.names);
            let elects = self.replicas.len() > 1;
            self.replicas[place] = Some(Replica::start(&self.server, &self.clock, &name, elects, self.extended));
            self.server.lock().checks.refusals.begin_again();
        }
    }

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
                    self.coming.push((now + Duration::from_millis(*pause), place));
                }
            }
            Action::Deafen(place, pause) => {
                let place = place % self.replicas.len();
                if let Some(replica) = &self.replicas[place] {
                    replica.line.deafen(now + Duration::from_millis(*pause));
                }
            }
            Action::Stop(place, pause) => {
                let place = place % self.replicas.len();
                if let Some(replica) = self.replicas[place].take() {
                    replica.stop();
                    self.server.lock().checks.refusals.lose_events();
                    self.coming.push((now + Duration::from_millis(*pause), place));
                }
            }
            Action::Silence(place, idle) => {
                let place = place % self.replicas.len();
                if let Some(replica) = &self.replicas[place] {
                    replica.line.silence(*idle);
                    self.server.lock().checks.refusals.lose_events();
                }
            }
            Action::Away(pause) => self.back_at = Some(now + Duration::from_millis(*pause)),
            _ => {}
        }
        self.world.action(&mut self.server.lock(), action);
    }

    /// Takes note of what stands in the way of all work.
    fn note_obstacle(&self, action: &Action, now: Instant) {
        let progress = &mut self.server.lock().checks.progress;
        match action {
            Action::Crash(_, pause)
            | Action::Stop(_, pause)
            | Action::Deafen(_, pause)
            | Action::Away(pause)
            | Action::Hush(_, pause) => {
                progress.is_free_from(now + Duration::from_millis(*pause));
            }
            Action::Quota(begins) | Action::Strip(begins) => progress.obstacle(*begins),
            Action::Forbid(_) => progress.obstacle(true),
            Action::Permit(_) => progress.obstacle(false),
            _ => {}
        }
    }

    /// All caches hold what the server does.
    fn compare_caches(&self) -> Result<(), String> {
        let state = self.server.lock();
        for replica in self.replicas.iter().flatten() {
            // Every Job is finished or gone. The time of one that is kept is remembered until it comes, even if the Job is to be
            // kept for ever since.
            let kept = state.store.of("jobs").count();
            for (what, entries) in replica.controllers.remembered() {
                let expected = if what == "times to live" { kept } else { 0 };
                if entries > expected {
                    return Err(format!("{entries} entries of {what} are left, {expected} are needed"));
                }
            }
            for (resource, cache) in replica.controllers.caches() {
                let watched = |object: &serde_json::Value| {
                    resource != "pods" || crate::watches::selects(CONTROLLER_UID_LABEL, object)
                };
                let count = state.store.of(resource).filter(|(_, object)| watched(object)).count();
                if cache.len != count {
                    return Err(format!("a cache holds {} {resource} of {count}", cache.len));
                }
            }
        }
        Ok(())
    }
}
