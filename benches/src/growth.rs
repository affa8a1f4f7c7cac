//! Bursts of growing size: one Job whose pods are all created together. They show whether the cost of one pod depends on
//! the number of pods.

use clap::ValueEnum;

use crate::work::{Mode, Work};

/// Sizes of the bursts of Indexed Jobs.
pub const SIZES: [usize; 4] = [250, 1000, 4000, 10_000];
/// Sizes of the bursts of other Jobs.
const OTHER_SIZES: [usize; 2] = [1000, 4000];
/// Sizes of a quick run.
const QUICK_SIZES: [usize; 2] = [100, 400];
/// Number of pods that the rounds of a small burst have together, so that processor times are much longer than the
/// unit in which the kernel counts them.
const MIN_PODS: usize = 1000;
/// The same in a quick run.
const MIN_PODS_QUICK: usize = 300;

/// Kind of the bursts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Indexed Jobs
    Indexed,
    /// Indexed Jobs whose pods end only when all of them run
    Together,
    /// Jobs without indexes
    Plain,
    /// Indexed Jobs with backoffLimitPerIndex
    PerIndex,
    /// Indexed Jobs with backoffLimitPerIndex, of which half of the indexes fail
    Failing,
}

impl Kind {
    /// All kinds, in the order of the benchmark.
    pub const ALL: [Self; 5] = [Self::Indexed, Self::Together, Self::Plain, Self::PerIndex, Self::Failing];

    /// Returns the name of the kind in names of work.
    pub fn name(self) -> &'static str {
        match self {
            Self::Indexed => "indexed",
            Self::Together => "together",
            Self::Plain => "plain",
            Self::PerIndex => "per-index",
            Self::Failing => "failing",
        }
    }

    /// Returns a description of the Jobs.
    pub fn title(self) -> &'static str {
        match self {
            Self::Indexed => "Indexed Jobs",
            Self::Together => "Indexed Jobs whose pods end together",
            Self::Plain => "NonIndexed Jobs",
            Self::PerIndex => "Jobs with backoffLimitPerIndex",
            Self::Failing => "Jobs with failing pods",
        }
    }

    /// Returns the sizes of the bursts of this kind in a full run.
    pub fn sizes(self) -> &'static [usize] {
        match self {
            Self::Indexed | Self::Together => &SIZES,
            Self::Plain | Self::PerIndex | Self::Failing => &OTHER_SIZES,
        }
    }

    /// Returns the name of the bursts of this kind and size.
    pub fn work_name(self, size: usize) -> String {
        format!("growth-{}-{size}", self.name())
    }
}

/// The bursts of one size.
#[derive(Clone, Debug)]
pub struct Bursts {
    /// Number of pods of one burst.
    pub size: usize,
    /// One piece of work for each kind. The lower bound is the same for all.
    pub work: Vec<Work>,
}

/// Returns the bursts by size. `sizes` and `kinds` select some of them, or if they are empty, the usual ones.
pub fn bursts(quick: bool, sizes: &[usize], kinds: &[Kind]) -> Vec<Bursts> {
    let is_usual = |kind: Kind, size: usize| match (quick, kind) {
        (true, Kind::Indexed) => true,
        (true, _) => kind == Kind::Failing && size == QUICK_SIZES[0],
        (false, kind) => kind.sizes().contains(&size),
    };
    let all: &[usize] = if quick { &QUICK_SIZES } else { &SIZES };
    let min_pods = if quick { MIN_PODS_QUICK } else { MIN_PODS };
    let given = !sizes.is_empty();
    let sizes = if given { sizes } else { all };
    let wanted = |kind: Kind, size: usize| {
        if kinds.is_empty() { given || is_usual(kind, size) } else { kinds.contains(&kind) }
    };
    let of_size = |size: usize| {
        let kinds = Kind::ALL.into_iter().filter(|kind| wanted(*kind, size));
        Bursts { size, work: kinds.map(|kind| burst(kind, size, min_pods)).collect() }
    };
    sizes.iter().map(|size| of_size(*size)).filter(|bursts| !bursts.work.is_empty()).collect()
}

/// Returns the one Job of 100,000 indexes of which 5,000 are active.
pub fn large() -> Work {
    Work { watched: false, ..Work::new("growth-large", 1, 100_000, 5000, Mode::Indexed) }
}

fn burst(kind: Kind, size: usize, min_pods: usize) -> Work {
    let mode = match kind {
        Kind::Indexed => Mode::Indexed,
        Kind::Together => Mode::Together,
        Kind::Plain => Mode::Plain,
        Kind::PerIndex => Mode::PerIndex,
        Kind::Failing => Mode::Failing,
    };
    let rounds = (min_pods / size.max(1)).max(1);
    let of_kind = match kind {
        Kind::Indexed => "An Indexed Job",
        Kind::Together => "An Indexed Job whose pods end only when all of them run",
        Kind::Plain => "A NonIndexed Job",
        Kind::PerIndex => "An Indexed Job with `backoffLimitPerIndex: 1`",
        Kind::Failing => "An Indexed Job with `backoffLimitPerIndex: 0`, of which every second pod fails",
    };
    let times = if rounds > 1 { format!(", {rounds} times one after the other") } else { String::new() };
    Work {
        what: format!("{of_kind}, completions and parallelism {size}{times}"),
        // Pods are not watched, so that the cost for the API server does not depend on the size.
        watched: false,
        rounds,
        ..Work::new(kind.work_name(size), 1, size, size, mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(quick: bool, sizes: &[usize], kinds: &[Kind]) -> Vec<String> {
        bursts(quick, sizes, kinds).into_iter().flat_map(|bursts| bursts.work).map(|work| work.name).collect()
    }

    #[test]
    fn usual_bursts_have_all_kinds_at_two_sizes() {
        let all = names(false, &[], &[]);
        assert_eq!(all.len(), 2 * 4 + 3 * 2, "{all:?}");
        assert!(all.contains(&"growth-indexed-10000".to_owned()) && all.contains(&"growth-plain-4000".to_owned()));
        assert_eq!(names(true, &[], &[]), ["growth-indexed-100", "growth-failing-100", "growth-indexed-400"]);
    }

    #[test]
    fn flags_select_sizes_and_kinds() {
        assert_eq!(names(false, &[250], &[]).len(), 5, "all kinds at the size that was asked for");
        assert_eq!(names(false, &[250], &[Kind::Plain]), ["growth-plain-250"]);
        assert_eq!(names(false, &[], &[Kind::Plain]).len(), 4, "all sizes of the kind that was asked for");
    }

    #[test]
    fn small_bursts_are_repeated() {
        let sizes = bursts(false, &[250, 4000], &[Kind::Indexed]);
        let pods: Vec<_> = sizes.iter().map(|bursts| bursts.work[0].pods()).collect();
        assert_eq!(pods, [1000, 4000]);
    }
}
