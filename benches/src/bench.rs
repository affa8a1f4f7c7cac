//! Order of the measurements: which system does which work on which control plane.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::arguments::Arguments;
use crate::crowded::{self, Size};
use crate::environment::{Environment, NodeKind};
use crate::report::{Figures, Report, figure_text};
use crate::system::System;
use crate::work::{Mode, Work};
use crate::{cron, fair, growth, hand_over, limit, page, policy, ready, rest, scale, ui};

/// Sizes up to which the bursts are repeated, because their measurements vary most.
const REPEATED: usize = 1000;

/// Returns the pieces of work that consist of Jobs only.
fn short_work(quick: bool) -> Vec<Work> {
    let less = |full: usize, quick_: usize| if quick { quick_ } else { full };
    let (waves, burst) = (less(1000, 300), less(1000, 300));
    vec![
        Work::new("chain", 1, less(20, 10), 1, Mode::Plain),
        Work::new("waves", 1, waves, 50, Mode::Plain),
        Work::new("burst", 1, burst, burst, Mode::Indexed),
        Work::new("many", less(300, 100), 1, 1, Mode::Plain),
        Work::new("stair", less(100, 30), 5, 1, Mode::Indexed),
    ]
}

/// Returns the pieces of work for the built-in controllers with their default limits, under which larger ones would
/// take too long.
fn work_as_shipped() -> Vec<Work> {
    vec![Work::new("burst-200", 1, 200, 200, Mode::Indexed), Work::new("many-50", 50, 1, 1, Mode::Plain)]
}

/// The benchmark.
pub struct Bench {
    pub arguments: Arguments,
    pub report: Report,
    /// File of the report. It is written after each measurement, so that an interrupted run is not lost.
    pub file: PathBuf,
}

impl Bench {
    /// Takes all selected measurements.
    pub async fn run(&mut self) -> Result<()> {
        if self.arguments.scale {
            return self.scale().await;
        }
        if let Some(binary) = self.arguments.console.clone() {
            return self.console(&binary).await;
        }
        self.short().await?;
        self.as_shipped().await?;
        self.growth().await?;
        self.fair().await?;
        self.ready().await?;
        self.cron().await?;
        self.crowded().await?;
        self.finished().await?;
        self.limit().await?;
        self.policy().await
    }

    fn wants(&self, name: &str) -> bool {
        self.arguments.wants(name)
    }

    /// Returns the compared controllers.
    fn systems(&self) -> &'static [System] {
        if self.arguments.ours { &[System::Jobwright] } else { &[System::Jobwright, System::Builtin] }
    }

    fn add(&mut self, name: &str, what: &str, system: System, figures: Figures) -> Result<()> {
        let text: Vec<String> =
            figures.iter().map(|(figure, value)| format!("{figure} {}", figure_text(*value))).collect();
        println!("{name:<9} {:<18} {}", system.name(), text.join(", "));
        self.report.add(name, what, system, figures);
        Ok(fs::write(&self.file, serde_json::to_string_pretty(&self.report.json())? + "\n")?)
    }

    /// Measures pieces of work by one system on a new control plane, one after the other.
    async fn measure(&mut self, nodes: NodeKind, system: System, all: &[&Work]) -> Result<()> {
        let mut environment = Environment::start_on(nodes).await?;
        let mut controller = match system {
            System::Floor => None,
            controller => Some(environment.begin_warm(controller).await?),
        };
        for work in all {
            let figures = environment.measure(controller.as_ref(), work).await;
            let figures = figures.with_context(|| format!("{} {}", system.name(), work.name))?;
            self.add(&work.name, &work.what, system, figures)?;
            if let Some(controller) = &mut controller {
                controller.check()?;
            }
        }
        match controller {
            Some(controller) => environment.end(controller).await,
            None => Ok(()),
        }
    }

    /// Measures the floor of all pieces of work, then each system.
    async fn in_turn(&mut self, all: &[&Work]) -> Result<()> {
        if !self.arguments.no_floor {
            self.measure(self.arguments.nodes, System::Floor, all).await?;
        }
        for &system in self.systems() {
            self.measure(self.arguments.nodes, system, all).await?;
        }
        Ok(())
    }

    async fn short(&mut self) -> Result<()> {
        let all = short_work(self.arguments.quick);
        let all: Vec<&Work> = all.iter().filter(|work| self.wants(&work.name)).collect();
        if !all.is_empty() {
            for _ in 0..self.arguments.pairs() {
                self.in_turn(&all).await?;
            }
        }
        if self.wants("rest") {
            for &system in self.systems() {
                let mut environment = Environment::start_on(NodeKind::Lean).await?;
                let controller = environment.begin_warm(system).await?;
                let figures = rest::measure(&controller).await?;
                self.add("rest", "a controller after its first Job, of one pod", system, figures)?;
                environment.end(controller).await?;
            }
        }
        Ok(())
    }

    async fn as_shipped(&mut self) -> Result<()> {
        let all = work_as_shipped();
        let all: Vec<&Work> = all.iter().filter(|work| self.wants(&work.name)).collect();
        if self.arguments.quick || self.arguments.ours || all.is_empty() {
            return Ok(());
        }
        for system in [System::Jobwright, System::BuiltinAsShipped] {
            self.measure(self.arguments.nodes, system, &all).await?;
        }
        Ok(())
    }

    async fn growth(&mut self) -> Result<()> {
        if !self.wants("growth") {
            return Ok(());
        }
        let Arguments { quick, sizes, kinds, .. } = &self.arguments;
        let bursts = growth::bursts(*quick, sizes, kinds);
        if *quick {
            // A quick run uses the same control plane for all bursts of a system.
            let all: Vec<Work> = bursts.into_iter().flat_map(|bursts| bursts.work).collect();
            return self.in_turn(&all.iter().collect::<Vec<_>>()).await;
        }
        for bursts in &bursts {
            let pairs = if bursts.size <= REPEATED { self.arguments.pairs() } else { 1 };
            for _ in 0..pairs {
                self.bursts(&bursts.work).await?;
            }
        }
        if self.arguments.large {
            self.bursts(&[growth::large()]).await?;
        }
        Ok(())
    }

    /// Measures bursts of the same size, each on a new control plane. The floor is measured once for all of them.
    async fn bursts(&mut self, bursts: &[Work]) -> Result<()> {
        let first = bursts.first().filter(|_| !self.arguments.no_floor);
        if let Some(first) = first {
            let environment = Environment::start_on(self.arguments.nodes).await?;
            let figures = environment.measure(None, first).await?;
            for work in bursts {
                self.add(&work.name, &work.what, System::Floor, figures.clone())?;
            }
        }
        for work in bursts {
            for &system in self.systems() {
                self.measure(self.arguments.nodes, system, &[work]).await?;
            }
        }
        Ok(())
    }

    async fn fair(&mut self) -> Result<()> {
        if !self.wants("fair") {
            return Ok(());
        }
        let pods = if self.arguments.quick { 500 } else { 4000 };
        let what = format!(
            "While a Job of {pods} pods starts, a Job of one pod is created every 200 ms, and every 100 ms a pod of ten \
             other Jobs ends"
        );
        for &system in self.systems() {
            let mut environment = Environment::start_on(NodeKind::Lean).await?;
            let controller = environment.begin_warm(system).await?;
            let figures = fair::measure(&environment, &controller, pods).await.context(system.name())?;
            self.add("fair", &what, system, figures)?;
            environment.end(controller).await?;
        }
        Ok(())
    }

    async fn ready(&mut self) -> Result<()> {
        if !self.wants("ready") {
            return Ok(());
        }
        let size = if self.arguments.quick {
            ready::Size { jobs: 5, restarts: 1 }
        } else {
            ready::Size { jobs: 30, restarts: 5 }
        };
        let what = format!(
            "{} Jobs of {} pods, one after the other: the time from the last ready pod to `status.ready`. Then {} \
             restart(s) of the controller while the pods of a Job become ready: the time from the start of the process \
             to `status.ready`",
            size.jobs,
            ready::PODS,
            size.restarts
        );
        for &system in self.systems() {
            let mut environment = Environment::start_on(NodeKind::Lean).await?;
            let figures = ready::measure(&mut environment, system, size).await.context(system.name())?;
            self.add("ready", &what, system, figures)?;
        }
        Ok(())
    }

    async fn scale(&mut self) -> Result<()> {
        let mut series = Vec::new();
        for work in scale::work(self.arguments.quick) {
            if !self.wants(&work.name) {
                continue;
            }
            let mut environment = Environment::start().await?;
            let controller = environment.begin_warm(System::Jobwright).await?;
            let (figures, samples) = scale::measure(&environment, &controller, &work).await?;
            self.add(&work.name, &work.what, System::Jobwright, figures)?;
            environment.end(controller).await?;
            series.push((work, samples));
        }
        if self.arguments.page {
            page::write_scale(&self.report, &series, Path::new("docs/results"))?;
        }
        Ok(())
    }

    async fn cron(&mut self) -> Result<()> {
        if !self.arguments.wants_slow("cron") {
            return Ok(());
        }
        let count = if self.arguments.quick { 100 } else { 1000 };
        for &system in self.systems() {
            let mut environment = Environment::start().await?;
            let controller = environment.begin_warm(system).await?;
            let figures = cron::measure(&environment, &controller, cron::Kind::CronJob, count).await?;
            self.add("cron", &format!("{count} CronJobs due in the same minute"), system, figures)?;
            environment.end(controller).await?;
        }
        // The built-in controllers have no JobSchedules; compare with their CronJobs.
        let mut environment = Environment::start().await?;
        let controller = environment.begin_warm(System::Jobwright).await?;
        let figures = cron::measure(&environment, &controller, cron::Kind::JobSchedule, count).await?;
        let what = format!("{count} JobSchedules due in the same minute");
        self.add("schedules", &what, System::Jobwright, figures)?;
        environment.end(controller).await
    }

    /// Measures a JobLimit, with Jobwright alone, because the built-in controllers have no such limit.
    async fn limit(&mut self) -> Result<()> {
        if !self.wants("limit") {
            return Ok(());
        }
        let size = if self.arguments.quick {
            limit::Size { jobs: 500, length: Duration::from_secs(5) }
        } else {
            limit::Size { jobs: 10_000, length: Duration::from_secs(60) }
        };
        let mut environment = Environment::start().await?;
        let mut controller = environment.begin_warm(System::Jobwright).await?;
        let figures = limit::measure(&environment, &mut controller, size).await?;
        let what = format!(
            "{} Jobs wait for a JobLimit of 20 active Jobs; ten end each second for {} s, and a Job in another namespace starts \
             every half second",
            size.jobs,
            size.length.as_secs()
        );
        self.add("limit", &what, System::Jobwright, figures)?;
        environment.end(controller).await
    }

    /// Measures a JobPolicy, with Jobwright alone, because the built-in controllers have no such policy.
    async fn policy(&mut self) -> Result<()> {
        if !self.wants("policy") {
            return Ok(());
        }
        let count = if self.arguments.quick { 500 } else { 2_500 };
        let mut environment = Environment::start().await?;
        let mut controller = environment.begin_warm(System::Jobwright).await?;
        let figures = policy::measure(&environment, &mut controller, count).await?;
        let what = format!(
            "{count} Jobs of one pod, eight times: four times without and four times with a JobPolicy that has every rule"
        );
        self.add("policy", &what, System::Jobwright, figures)?;
        environment.end(controller).await
    }

    /// Measures the console.
    async fn console(&mut self, binary: &Path) -> Result<()> {
        let (jobs, schedules) = if self.arguments.quick { (5_000, 50) } else { (50_000, 500) };
        let environment = Environment::start().await?;
        let figures = ui::measure(&environment, binary, jobs, schedules).await?;
        self.add("console", &format!("{jobs} Jobs and {schedules} CronJobs"), System::Jobwright, figures)
    }

    async fn crowded(&mut self) -> Result<()> {
        let slow = |name| self.arguments.wants_slow(name);
        let wanted = [self.wants("restart"), slow("idle"), self.wants("hand-over"), slow("crowd")];
        if !wanted.contains(&true) {
            return Ok(());
        }
        let size = if self.arguments.quick {
            Size { jobs: 250, finished: 500, unrelated: 1000, idle: Duration::from_secs(10) }
        } else {
            Size { jobs: 5000, finished: 10_000, unrelated: 20_000, idle: Duration::from_secs(60) }
        };
        let mut environment = Environment::start().await?;
        crowded::fill(&mut environment, size).await?;
        if wanted[0] {
            let what = format!("{} Jobs with {} pods, {} finished Jobs", size.jobs, size.pods(), size.finished);
            for _ in 0..self.arguments.pairs() {
                for &system in self.systems() {
                    let figures = crowded::restart(&mut environment, system, size).await?;
                    self.add("restart", &what, system, figures)?;
                }
            }
        }
        if wanted[1] {
            let what = format!("the same, for {} s in which nothing happens", size.idle.as_secs());
            for &system in self.systems() {
                let figures = crowded::idle(&mut environment, system, size.idle).await?;
                self.add("idle", &what, system, figures)?;
            }
        }
        if wanted[2] {
            let figures = hand_over::measure(&mut environment, size).await?;
            let what = "the same, and the leader ends by SIGTERM while a second replica has a complete cache";
            self.add("hand-over", what, System::Jobwright, figures)?;
        }
        if wanted[3] {
            crowded::add_unrelated_pods(&environment, size.unrelated).await?;
            let what = format!("the same, and {} pods without a Job", size.unrelated);
            for &system in self.systems() {
                let figures = crowded::restart(&mut environment, system, size).await?;
                self.add("crowd", &what, system, figures)?;
            }
        }
        Ok(())
    }

    /// Measures the memory with very many finished Jobs.
    async fn finished(&mut self) -> Result<()> {
        if !self.arguments.large || !self.wants("finished") {
            return Ok(());
        }
        let size = Size { jobs: 0, finished: 50_000, unrelated: 0, idle: Duration::ZERO };
        let mut environment = Environment::start().await?;
        crowded::fill(&mut environment, size).await?;
        for &system in self.systems() {
            let figures = crowded::restart(&mut environment, system, size).await?;
            self.add("finished", &format!("a restart with {} finished Jobs", size.finished), system, figures)?;
        }
        Ok(())
    }
}
