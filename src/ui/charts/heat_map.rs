//! The completion indexes of an Indexed Job as a grid.
//!
//! A cell stands for one index or for several, and has the worst of their states. The number of indexes per cell grows
//! until the grid fits into [`MAX_BYTES`], so that a Job with 100,000 indexes costs no more than one with 1,000.

use maud::{Markup, html};

use super::{Percent, counts_text};
use crate::ui::text::{counted, number};

/// Number of cells of a row.
const COLUMNS: u64 = 50;
/// Maximum number of rows.
const ROWS: u64 = 20;
/// Maximum size of the rows, in bytes.
pub const MAX_BYTES: usize = 22 * 1024;
/// Maximum number of ranges in the text for a state that needs attention.
const MAX_RANGES: usize = 40;
/// Maximum number of ranges in the text for another state.
const MAX_NORMAL_RANGES: usize = 10;

/// State of a completion index, the best first. A cell has the worst state of its indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IndexState {
    /// A pod succeeded.
    Succeeded,
    /// No pod has been created.
    NotStarted,
    /// A pod is running or starting.
    Running,
    /// A pod failed, and the controller creates another one.
    Retrying,
    /// The index has failed.
    Failed,
}

impl IndexState {
    /// All states, the best first.
    pub const ALL: [Self; 5] = [Self::Succeeded, Self::NotStarted, Self::Running, Self::Retrying, Self::Failed];

    fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::NotStarted => "not started",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Succeeded => "ok",
            Self::NotStarted => "idle",
            Self::Running => "run",
            Self::Retrying => "warn",
            Self::Failed => "bad",
        }
    }
}

/// Indexes with one state: those from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexRun {
    /// First index.
    pub first: u32,
    /// Last index.
    pub last: u32,
    /// State of the indexes.
    pub state: IndexState,
}

/// Number of indexes in each state.
type Counts = [u64; IndexState::ALL.len()];

/// Returns the grid of the indexes from 0 to `completions` − 1. Runs can be in any order. Of runs that overlap, the worst
/// counts. Indexes without a run have not started.
pub fn heat_map(completions: u32, runs: &[IndexRun]) -> Markup {
    let parts = parts(completions, runs);
    let mut per_cell =
        steps().find(|step| u64::from(completions).div_ceil(*step) <= COLUMNS * ROWS).unwrap_or(u64::MAX);
    let mut rows = rows(&parts, completions, per_cell);
    while rows.len() > MAX_BYTES
        && let Some(coarser) = steps().find(|step| *step > per_cell)
    {
        per_cell = coarser;
        rows = self::rows(&parts, completions, per_cell);
    }
    let mut all = Counts::default();
    for part in &parts {
        all[part.state as usize] += part.length();
    }
    html! {
        div.heat {
            @if per_cell > 1 { p.hint { "Each cell stands for " (number(per_cell)) " indexes and has the worst of their states." } }
            // The text below has the same content.
            div.rows aria-hidden="true" { (maud::PreEscaped(rows)) }
            dl.ranges {
                @for state in IndexState::ALL.into_iter().rev().filter(|state| all[*state as usize] > 0) {
                    dt { svg.key width="12" height="14" aria-hidden="true" { rect class=(state.class()) width="12" {} } (state.word()) " (" (number(all[state as usize])) ")" }
                    dd { (ranges(&parts, state)) }
                }
                @if completions == 0 { dt { "No indexes" } }
            }
        }
    }
}

/// Returns the possible numbers of indexes per cell: 1, 2, 5, 10, 20, 50 and so on.
fn steps() -> impl Iterator<Item = u64> {
    (0..10).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power)))
}

/// Indexes from `first` to `end` − 1 with one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    first: u64,
    end: u64,
    state: IndexState,
}

impl Part {
    fn length(self) -> u64 {
        self.end - self.first
    }
}

/// Returns the states of all indexes as parts, in ascending order and without overlap. Two neighbours differ.
fn parts(completions: u32, runs: &[IndexRun]) -> Vec<Part> {
    let completions = u64::from(completions);
    let mut changes: Vec<(u64, IndexState, bool)> = Vec::with_capacity(runs.len() * 2);
    for run in runs.iter().filter(|run| run.first <= run.last) {
        changes.push((u64::from(run.first), run.state, true));
        changes.push((u64::from(run.last) + 1, run.state, false));
    }
    changes.sort_unstable_by_key(|(place, ..)| *place);
    let mut parts: Vec<Part> = Vec::new();
    let mut add = |first: u64, end: u64, state: IndexState| {
        let end = end.min(completions);
        match parts.last_mut() {
            _ if first >= end => {}
            Some(last) if last.state == state => last.end = end,
            _ => parts.push(Part { first, end, state }),
        }
    };
    let (mut open, mut place) = (Counts::default(), 0);
    for (at, state, begins) in changes {
        add(place, at, worst(&open).unwrap_or(IndexState::NotStarted));
        place = at;
        let count = &mut open[state as usize];
        *count = if begins { *count + 1 } else { count.saturating_sub(1) };
    }
    add(place, completions, IndexState::NotStarted);
    parts
}

fn worst(counts: &Counts) -> Option<IndexState> {
    IndexState::ALL.into_iter().rev().find(|state| counts[*state as usize] > 0)
}

/// Returns the rows of the grid.
fn rows(parts: &[Part], completions: u32, per_cell: u64) -> String {
    let cells = cells(parts, completions, per_cell);
    let columns = COLUMNS as usize;
    let rows = html! {
        @for (row, cells) in cells.chunks(columns).enumerate() {
            div {
                span { (number((row * columns) as u64 * per_cell)) }
                svg {
                    @for run in equal_runs(cells) {
                        @let first = (row * columns + run.begin) as u64 * per_cell;
                        @let last = (first + run.length as u64 * per_cell).min(completions.into()) - 1;
                        rect class=(run.state.class()) x=(Percent::of(run.begin as f64, COLUMNS as f64)) width=(Percent::of(run.length as f64, COLUMNS as f64)) {
                            title { (range(first, last)) ": " (run.text()) }
                        }
                    }
                }
            }
        }
    };
    rows.into_string()
}

/// Returns how often each state occurs in each cell.
fn cells(parts: &[Part], completions: u32, per_cell: u64) -> Vec<Counts> {
    let mut cells = Vec::new();
    let mut parts = parts.iter().copied().peekable();
    let mut begin = 0;
    while begin < u64::from(completions) {
        let end = (begin.saturating_add(per_cell)).min(completions.into());
        let mut counts = Counts::default();
        while let Some(part) = parts.peek().filter(|part| part.first < end) {
            counts[part.state as usize] += part.end.min(end) - part.first.max(begin);
            if part.end > end {
                break;
            }
            parts.next();
        }
        cells.push(counts);
        begin = end;
    }
    cells
}

/// Neighbouring cells of a row with the same worst state.
struct EqualRun {
    begin: usize,
    length: usize,
    state: IndexState,
    counts: Counts,
}

impl EqualRun {
    /// Returns the counts, or the state if all indexes have it.
    fn text(&self) -> String {
        let all: u64 = self.counts.iter().sum();
        if self.counts[self.state as usize] == all {
            return self.state.word().to_owned();
        }
        counts_text(IndexState::ALL.into_iter().rev().map(|state| (self.counts[state as usize], state.word())))
    }
}

fn equal_runs(cells: &[Counts]) -> Vec<EqualRun> {
    let mut runs: Vec<EqualRun> = Vec::new();
    for (place, counts) in cells.iter().enumerate() {
        let state = worst(counts).unwrap_or(IndexState::NotStarted);
        match runs.last_mut() {
            Some(last) if last.state == state => {
                last.length += 1;
                for (sum, count) in last.counts.iter_mut().zip(counts) {
                    *sum += count;
                }
            }
            _ => runs.push(EqualRun { begin: place, length: 1, state, counts: *counts }),
        }
    }
    runs
}

/// Returns the indexes of a state, such as `1, 3–5 and 12 more ranges`.
fn ranges(parts: &[Part], state: IndexState) -> String {
    let found: Vec<_> = parts.iter().filter(|part| part.state == state).collect();
    let max = if state >= IndexState::Retrying { MAX_RANGES } else { MAX_NORMAL_RANGES };
    let shown: Vec<String> = found.iter().take(max).map(|part| range(part.first, part.end - 1)).collect();
    let text = shown.join(", ");
    match found.len() - shown.len() {
        0 => text,
        more => format!("{text} and {}", counted(more as u64, "more range", "more ranges")),
    }
}

fn range(first: u64, last: u64) -> String {
    if first == last { first.to_string() } else { format!("{first}–{last}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(first: u32, last: u32, state: IndexState) -> IndexRun {
        IndexRun { first, last, state }
    }

    #[test]
    fn cell_has_the_worst_state_of_its_indexes() {
        use IndexState::{Failed, Retrying, Running, Succeeded};
        let runs = [
            run(0, 89_999, Succeeded),
            run(1234, 1234, Failed),
            run(90_000, 90_150, Running),
            run(90_050, 90_050, Retrying),
        ];
        let text = heat_map(100_000, &runs).into_string();
        for part in [
            "Each cell stands for 100 indexes",
            "<rect class=\"ok\" x=\"0%\" width=\"24%\"><title>0–1199: succeeded</title>",
            "<rect class=\"bad\" x=\"24%\" width=\"2%\"><title>1200–1299: 1 failed, 99 succeeded</title>",
            "<rect class=\"warn\" x=\"0%\" width=\"2%\"><title>90000–90099: 1 retrying, 99 running</title>",
            "<span>95,000</span>",
            "failed (1)</dt><dd>1234</dd>",
            "not started (9,849)</dt><dd>90151–99999</dd>",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.len() < 5000, "{} bytes", text.len());
    }

    #[test]
    fn small_job_has_one_cell_for_each_index() {
        let text = heat_map(3, &[run(1, 1, IndexState::Failed)]).into_string();
        assert!(
            text.contains("x=\"2%\" width=\"2%\"><title>1: failed</title>") && !text.contains("Each cell"),
            "{text}"
        );
        assert!(heat_map(0, &[]).into_string().contains("No indexes"));
    }

    #[test]
    fn scattered_failures_of_100_000_indexes_fit_into_30_kib() {
        for distance in [2, 3, 7, 150, 230, 1000] {
            let failed = (0..100_000).step_by(distance).map(|index| run(index, index, IndexState::Failed));
            let done = run(0, 99_999, IndexState::Succeeded);
            let running = (5..100_000).step_by(distance * 2).map(|index| run(index, index, IndexState::Running));
            let runs: Vec<IndexRun> = failed.chain([done]).chain(running).collect();
            let text = heat_map(100_000, &runs).into_string();
            assert!(text.len() < 30 * 1024, "{distance}: {} bytes", text.len());
        }
    }

    fn states() -> impl Strategy<Value = IndexState> {
        prop::sample::select(&IndexState::ALL[..])
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn parts_are_the_worst_state_of_each_index(
            completions in 0_u32..120,
            runs in prop::collection::vec((0_u32..150, 0_u32..150, states()), 0..12),
            per_cell in 1_u64..9,
        ) {
            let runs: Vec<IndexRun> = runs.into_iter().map(|(first, last, state)| run(first, last, state)).collect();
            let expected: Vec<IndexState> = (0..completions)
                .map(|index| {
                    let here = runs.iter().filter(|run| (run.first..=run.last).contains(&index));
                    here.map(|run| run.state).max().unwrap_or(IndexState::NotStarted)
                })
                .collect();
            let parts = parts(completions, &runs);
            let found: Vec<IndexState> = parts.iter().flat_map(|part| std::iter::repeat_n(part.state, part.length() as usize)).collect();
            prop_assert_eq!(&found, &expected);
            let cells = cells(&parts, completions, per_cell);
            let of_cells: Vec<_> = cells.iter().map(|cell| worst(cell).unwrap()).collect();
            let of_indexes: Vec<_> = expected.chunks(per_cell as usize).map(|chunk| *chunk.iter().max().unwrap()).collect();
            prop_assert_eq!(of_cells, of_indexes);
        }

        #[test]
        fn chart_is_bounded_for_every_number_of_indexes(
            completions: u32,
            runs in prop::collection::vec((any::<u32>(), 0_u32..1_000_000, states()), 0..100),
        ) {
            let runs: Vec<IndexRun> = runs.into_iter().map(|(first, length, state)| run(first, first.saturating_add(length), state)).collect();
            let text = heat_map(completions, &runs).into_string();
            prop_assert!(text.len() < 30 * 1024, "{} bytes", text.len());
        }
    }
}
