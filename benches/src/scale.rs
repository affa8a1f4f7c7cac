//! Measurement of very many Jobs and of one very large Job: whether the cost of one pod stays the same from the first
//! fifth of the work to the last.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use testbed::kwok::NODE_NAME;

use crate::environment::Environment;
use crate::report::Figures;
use crate::system::Controller;
use crate::usage;
use crate::work::{Mode, Work};

/// Time between two samples.
const INTERVAL: Duration = Duration::from_secs(5);
/// Maximum duration of the work.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// Progress and usage at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Time since the beginning, in seconds.
    pub seconds: f64,
    /// Number of pods counted as succeeded so far.
    pub done: usize,
    /// Processor time of the controller so far, in seconds.
    pub cpu_s: f64,
    /// Memory of the controller, in MiB.
    pub mib: f64,
}

/// Returns the pieces of work.
pub fn work(quick: bool) -> [Work; 2] {
    let (jobs, indexes) = if quick { (2000, 5000) } else { (50_000, 100_000) };
    [Work::new("jobs", jobs, 1, 1, Mode::Plain), Work::new("indexes", 1, indexes, 1000, Mode::Indexed)]
}

/// Measures a piece of work that a running system does, and takes samples in the meantime.
pub async fn measure(
    environment: &Environment,
    controller: &Controller,
    work: &Work,
) -> Result<(Figures, Vec<Sample>)> {
    let namespace = environment.cluster.namespace(&work.name).await?;
    usage::reset_peak(controller.id())?;
    let done = AtomicUsize::new(0);
    let before = usage::of(controller.id())?;
    let begun = Instant::now();
    let sample = || -> Result<Sample> {
        let used = usage::of(controller.id())?;
        Ok(Sample {
            seconds: begun.elapsed().as_secs_f64(),
            done: done.load(Ordering::Relaxed),
            cpu_s: used.cpu_s - before.cpu_s,
            mib: used.now_mib,
        })
    };
    let mut samples = vec![sample()?];
    let running = work.run(&environment.client, &namespace, NODE_NAME, TIMEOUT, &done);
    let mut running = std::pin::pin!(running);
    let outcome = loop {
        tokio::select! {
            outcome = &mut running => break outcome?,
            () = tokio::time::sleep(INTERVAL) => {
                let now = sample()?;
                println!("{:<9} {:>4.0} s: {} pods done, {:.0} MiB, {:.1} s of processor", work.name, now.seconds, now.done, now.mib, now.cpu_s);
                samples.push(now);
            }
        }
    };
    samples.push(Sample { done: work.pods(), ..sample()? });
    let mut figures = Figures::from([
        ("wall_s", outcome.wall_s),
        ("pods_per_s", work.pods() as f64 / outcome.wall_s),
        ("controller_rss_mib", usage::of(controller.id())?.peak_mib),
        ("controller_cpu_s", usage::of(controller.id())?.cpu_s - before.cpu_s),
    ]);
    let fifth = work.pods() / 5;
    let names = [
        ["pods_per_s_first_fifth", "cpu_ms_per_pod_first_fifth"],
        ["pods_per_s_last_fifth", "cpu_ms_per_pod_last_fifth"],
    ];
    for (names, (from, to)) in names.into_iter().zip([(0, fifth), (work.pods() - fifth, work.pods())]) {
        let (begin, end) = (reached(&samples, from), reached(&samples, to));
        let pods = end.done.saturating_sub(begin.done) as f64;
        figures.insert(names[0], pods / (end.seconds - begin.seconds));
        figures.insert(names[1], (end.cpu_s - begin.cpu_s) * 1000.0 / pods);
    }
    Ok((figures, samples))
}

/// Returns the first sample with at least this number of pods done, or else the last sample.
fn reached(samples: &[Sample], done: usize) -> Sample {
    let last = samples[samples.len() - 1];
    samples.iter().copied().find(|sample| sample.done >= done).unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_pods_is_reached_at_the_first_sample_that_has_it() {
        let at = |seconds: f64, done| Sample { seconds, done, cpu_s: 0.0, mib: 0.0 };
        let samples = [at(0.0, 0), at(5.0, 40), at(10.0, 100)];
        assert_eq!(reached(&samples, 0).seconds, 0.0);
        assert_eq!(reached(&samples, 20).seconds, 5.0);
        assert_eq!(reached(&samples, 100).seconds, 10.0);
        assert_eq!(reached(&samples, 101).seconds, 10.0);
    }
}
