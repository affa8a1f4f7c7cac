//! One page of the Jobs that pass the filters. The cost of a page does not include sorting the other pages.

use std::sync::Arc;

use jiff::Timestamp;

use super::query::{JobQuery, STATES};
use crate::client::explain::cause::State;
use crate::ui::cache::{JobRow, Visible};

/// Number of rows of a page.
pub const ROWS: usize = 50;

/// Returns the number of a page in a URL, from 1.
///
/// # Errors
/// The text is no such number. The error is a sentence for the user.
pub fn page_number(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{text:?} is no number of a page."))
}

/// One page of Jobs.
#[derive(Debug, Default)]
pub struct JobPage {
    /// Jobs of the page in their order.
    pub rows: Vec<Arc<JobRow>>,
    /// Number of Jobs on all pages.
    pub total: usize,
    /// Number of the first row, from 0.
    pub first: usize,
    /// Numbers of the Jobs that pass the other filters, by state, in the order of [`STATES`].
    counts: [u64; STATES.len()],
}

impl JobPage {
    /// Returns the page that the query names, or the last page if there are fewer.
    pub fn of(jobs: &Visible<'_, JobRow>, query: &JobQuery, now: Timestamp) -> Self {
        let mut selection = Vec::new();
        let mut counts = [0; STATES.len()];
        jobs.for_each(|job| {
            if !query.matches(job, now) {
                return;
            }
            let state = job.state(now);
            counts[state as usize] += 1;
            if query.state.is_none_or(|wanted| wanted == state) {
                selection.push(job.clone());
            }
        });
        let total = selection.len();
        let (rows, first) = page(selection, (query.page, ROWS), |one, other| query.compare(one, other, now));
        Self { rows, total, first, counts }
    }

    /// Returns the number of Jobs in this state.
    pub(crate) fn count(&self, state: State) -> u64 {
        self.counts[state as usize]
    }

    /// Returns the number of the last page, from 1.
    pub fn pages(&self) -> usize {
        self.total.div_ceil(ROWS).max(1)
    }
}

/// Returns the rows of a page in order, and the number of the first row. Only these rows are sorted. `rows` is the number
/// of rows of a page.
pub(in crate::ui) fn page<T>(
    mut all: Vec<T>,
    (page, rows): (usize, usize),
    compare: impl Fn(&T, &T) -> std::cmp::Ordering,
) -> (Vec<T>, usize) {
    let last = all.len().div_ceil(rows).max(1);
    let first = (page.clamp(1, last) - 1) * rows;
    if first > 0 {
        all.select_nth_unstable_by(first, &compare);
        all.drain(..first);
    }
    if all.len() > rows {
        all.select_nth_unstable_by(rows, &compare);
        all.truncate(rows);
    }
    all.sort_unstable_by(&compare);
    (all, first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn states_are_numbered_in_their_order() {
        for (place, state) in STATES.into_iter().enumerate() {
            assert_eq!(state as usize, place);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn page_is_a_part_of_the_sorted_list(all in prop::collection::vec(0_u32..1000, 0..450), number in 1_usize..7) {
            let (rows, first) = page(all.clone(), (number, ROWS), u32::cmp);
            let mut sorted = all;
            sorted.sort_unstable();
            prop_assert_eq!(&rows[..], &sorted[first..(first + ROWS).min(sorted.len())]);
            prop_assert!(first == (number - 1) * ROWS || (number - 1) * ROWS >= sorted.len());
        }
    }
}
