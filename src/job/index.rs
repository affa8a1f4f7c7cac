//! Completion indexes, and index sets stored as runs: `status.completedIndexes` and `status.failedIndexes`.
//!
//! A set of 100,000 consecutive indexes is one run, so memory use is as small as the text in the API.

use std::fmt;
use std::sync::Arc;

/// The completion index of a pod of an Indexed Job: from 0 to `completions` − 1.
pub type CompletionIndex = u32;

/// A set of completion indexes. Cheap to clone.
///
/// ```
/// use jobwright::job::index::IndexSet;
///
/// let completed = IndexSet::parse("0-3,7", 10);
/// assert!(completed.contains(2) && !completed.contains(4));
/// assert_eq!((completed.len(), completed.first_missing(0, 10)), (5, Some(4)));
/// assert_eq!(completed.with([4, 5]).to_string(), "0-5,7");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexSet {
    /// Runs as pairs of first and last index, in ascending order, with a gap between each run and the next.
    runs: Arc<Vec<(CompletionIndex, CompletionIndex)>>,
    /// Number of indexes in all runs.
    len: u64,
}

impl IndexSet {
    /// Parses the text of an index set, such as `1,3-5,7`. Indexes at or beyond `completions` are left out. Parts that
    /// are not valid are left out too, because a user may have edited the status.
    pub fn parse(text: &str, completions: u32) -> Self {
        let runs = text.split(',').filter_map(|run| {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            let (first, last) = (first.parse().ok()?, last.parse::<CompletionIndex>().ok()?);
            let last = last.min(completions.checked_sub(1)?);
            (first <= last).then_some((first, last))
        });
        let mut runs: Vec<_> = runs.collect();
        runs.sort_unstable();
        Self::of(join(runs))
    }

    fn of(runs: Vec<(CompletionIndex, CompletionIndex)>) -> Self {
        Self { len: runs.iter().map(|(first, last)| u64::from(last - first) + 1).sum(), runs: Arc::new(runs) }
    }

    /// Returns the set of these runs: pairs of first and last index, in ascending order and without overlap.
    pub fn of_runs(runs: impl IntoIterator<Item = (CompletionIndex, CompletionIndex)>) -> Self {
        Self::of(join(runs))
    }

    /// Returns the runs of the set: pairs of first and last index, in ascending order.
    pub fn runs(&self) -> impl Iterator<Item = (CompletionIndex, CompletionIndex)> + '_ {
        self.runs.iter().copied()
    }

    /// Returns the indexes lower than `completions` that are not in the set.
    #[must_use]
    pub fn complement(&self, completions: u32) -> Self {
        let begins = std::iter::once(0).chain(self.runs.iter().map(|(_, last)| u64::from(*last) + 1));
        let ends = self.runs.iter().map(|(first, _)| u64::from(*first)).chain(std::iter::once(u64::from(completions)));
        let gaps = begins.zip(ends.map(|end| end.min(completions.into()))).filter(|(begin, end)| begin < end);
        // All bounds are at most `completions`.
        Self::of(gaps.filter_map(|(begin, end)| Some((begin.try_into().ok()?, (end - 1).try_into().ok()?))).collect())
    }

    /// Returns the union of this set and these indexes, which may be in any order.
    #[must_use]
    pub fn with(&self, indexes: impl IntoIterator<Item = CompletionIndex>) -> Self {
        let mut added: Vec<_> = indexes.into_iter().filter(|index| !self.contains(*index)).collect();
        if added.is_empty() {
            return self.clone();
        }
        added.sort_unstable();
        self.union(&Self::of(join(added.into_iter().map(|index| (index, index)))))
    }

    /// Returns the union of both sets.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if other.is_empty() {
            return self.clone();
        }
        if self.is_empty() {
            return other.clone();
        }
        // The sort is fast because both lists are sorted already.
        let mut runs: Vec<_> = self.runs.iter().chain(other.runs.iter()).copied().collect();
        runs.sort();
        Self::of(join(runs))
    }

    /// Adds an index. The cost depends on the number of runs alone, and is small even for thousands of them.
    pub fn insert(&mut self, index: CompletionIndex) {
        let after = self.runs.partition_point(|(first, _)| *first <= index);
        let before = after.checked_sub(1).map(|at| self.runs[at].1);
        if before.is_some_and(|last| last >= index) {
            return;
        }
        self.len += 1;
        let joins_before = before.and_then(|last| last.checked_add(1)) == Some(index);
        let joins_after = self.runs.get(after).is_some_and(|(first, _)| index.checked_add(1) == Some(*first));
        let runs = Arc::make_mut(&mut self.runs);
        match (joins_before, joins_after) {
            (true, true) => runs[after - 1].1 = runs.remove(after).1,
            (true, false) => runs[after - 1].1 = index,
            (false, true) => runs[after].0 = index,
            (false, false) => runs.insert(after, (index, index)),
        }
    }

    /// Removes an index. The cost depends on the number of runs alone, and is small even for thousands of them.
    pub fn remove(&mut self, index: CompletionIndex) {
        let after = self.runs.partition_point(|(first, _)| *first <= index);
        let Some(at) = after.checked_sub(1).filter(|at| self.runs[*at].1 >= index) else { return };
        self.len -= 1;
        let runs = Arc::make_mut(&mut self.runs);
        let (first, last) = runs[at];
        match (first == index, last == index) {
            (true, true) => {
                runs.remove(at);
            }
            (true, false) => runs[at].0 = index + 1,
            (false, true) => runs[at].1 = index - 1,
            (false, false) => {
                runs[at].1 = index - 1;
                runs.insert(after, (index + 1, last));
            }
        }
    }

    /// Adds or removes an index, so that the set contains it if `contained` is true.
    pub fn set(&mut self, index: CompletionIndex, contained: bool) {
        if contained { self.insert(index) } else { self.remove(index) }
    }

    /// Returns the indexes that only one of both sets contains, in ascending order.
    pub fn differences<'a>(&self, other: &Self) -> impl Iterator<Item = CompletionIndex> + use<'a> {
        // Between an odd and an even position in the sorted list of all begins and ends, one set contains the indexes.
        let runs = if Arc::ptr_eq(&self.runs, &other.runs) { None } else { Some(self.runs.iter().chain(&*other.runs)) };
        let mut bounds: Vec<u64> =
            runs.into_iter().flatten().flat_map(|(first, last)| [u64::from(*first), u64::from(*last) + 1]).collect();
        bounds.sort();
        let pairs: Vec<(u64, u64)> = bounds.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        pairs.into_iter().flat_map(|(begin, end)| begin..end).filter_map(|index| index.try_into().ok())
    }

    /// Returns whether the set contains this index.
    pub fn contains(&self, index: CompletionIndex) -> bool {
        let after = self.runs.partition_point(|(first, _)| *first <= index);
        after.checked_sub(1).is_some_and(|at| self.runs[at].1 >= index)
    }

    /// Returns the number of indexes in the set.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether the set contains no index.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Returns the number of indexes that both sets contain.
    pub fn overlap(&self, other: &Self) -> u64 {
        let (mut mine, mut theirs) = (self.runs.iter().peekable(), other.runs.iter().peekable());
        let mut count = 0;
        while let (Some(a), Some(b)) = (mine.peek(), theirs.peek()) {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            if first <= last {
                count += u64::from(last - first) + 1;
            }
            if a.1 <= b.1 {
                mine.next();
            } else {
                theirs.next();
            }
        }
        count
    }

    /// Returns the lowest index that is at least `from`, lower than `completions`, and not in the set.
    pub fn first_missing(&self, from: CompletionIndex, completions: u32) -> Option<CompletionIndex> {
        let after = self.runs.partition_point(|(first, _)| *first <= from);
        let run = after.checked_sub(1).map(|at| self.runs[at]).filter(|(_, last)| *last >= from);
        let free = match run {
            Some((_, last)) => last.checked_add(1)?,
            None => from,
        };
        (free < completions).then_some(free)
    }
}

/// Joins sorted runs that touch or overlap.
fn join(
    sorted: impl IntoIterator<Item = (CompletionIndex, CompletionIndex)>,
) -> Vec<(CompletionIndex, CompletionIndex)> {
    let mut runs: Vec<(CompletionIndex, CompletionIndex)> = Vec::new();
    for (first, last) in sorted {
        match runs.last_mut() {
            Some(run) if first <= run.1.saturating_add(1) => run.1 = run.1.max(last),
            _ => runs.push((first, last)),
        }
    }
    runs
}

impl fmt::Display for IndexSet {
    /// Writes the set in the format of the API. A run of two is written as two indexes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (first, last)) in self.runs.iter().enumerate() {
            if number > 0 {
                f.write_str(",")?;
            }
            match last - first {
                0 => write!(f, "{first}")?,
                1 => write!(f, "{first},{last}")?,
                _ => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// An index set of a stored status, together with whether its text is the one that this controller would write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredIndexes {
    /// The indexes, without those at or beyond `completions`.
    pub set: IndexSet,
    /// Whether the stored text equals the text of `set`. If not, the status has to be written again: the stored text
    /// is a different spelling of the set, or contains indexes that do not count.
    as_we_write: bool,
}

impl StoredIndexes {
    /// Parses the index set of a status.
    pub fn parse(text: &str, completions: u32) -> Self {
        let set = IndexSet::parse(text, completions);
        Self { as_we_write: set.to_string() == text, set }
    }
}

impl Default for StoredIndexes {
    fn default() -> Self {
        Self::from(IndexSet::default())
    }
}

impl From<IndexSet> for StoredIndexes {
    /// Wraps a set that is about to be written.
    fn from(set: IndexSet) -> Self {
        Self { set, as_we_write: true }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn index_set_is_written_in_the_format_of_the_api() {
        let cases: &[(&[u32], &str)] = &[
            (&[], ""),
            (&[0], "0"),
            (&[3, 4], "3,4"),
            (&[3, 4, 5], "3-5"),
            (&[1, 3, 4, 5, 7], "1,3-5,7"),
            (&[7, 5, 1, 3, 4, 5], "1,3-5,7"),
        ];
        for (indexes, text) in cases {
            let set = IndexSet::default().with(indexes.iter().copied());
            assert_eq!(set.to_string(), *text);
            assert_eq!(IndexSet::parse(text, 100), set);
        }
    }

    proptest! {
        /// Additions and removals one by one equal those of a set of numbers, and so do the differences of two sets.
        #[test]
        fn single_changes_equal_those_of_a_set_of_numbers(
            changes in prop::collection::vec((0_u32..40, any::<bool>()), 0..80),
            other in prop::collection::btree_set(0_u32..40, 0..40),
        ) {
            let (mut set, mut numbers) = (IndexSet::default(), BTreeSet::new());
            for (index, contained) in changes {
                set.set(index, contained);
                if contained { numbers.insert(index); } else { numbers.remove(&index); }
                prop_assert_eq!(&set, &IndexSet::default().with(numbers.iter().copied()));
                prop_assert_eq!(set.len(), numbers.len() as u64);
            }
            let differences: Vec<u32> = set.differences(&IndexSet::default().with(other.iter().copied())).collect();
            prop_assert_eq!(differences, numbers.symmetric_difference(&other).copied().collect::<Vec<_>>());
        }
    }

    #[test]
    fn invalid_parts_and_indexes_beyond_completions_are_left_out() {
        let cases = [
            ("1,3-5,7", 100, "1,3-5,7"),
            ("1,3-5,7", 5, "1,3,4"),
            ("1,3-5,7", 0, ""),
            ("x,2,-4,3-,9-8", 100, "2"),
            ("5,3,4", 100, "3-5"),
            ("1-4,3-6,6", 100, "1-6"),
            ("99999999999999999999", 100, ""),
        ];
        for (text, completions, read) in cases {
            assert_eq!(IndexSet::parse(text, completions).to_string(), read, "{text}");
        }
    }

    #[test]
    fn stored_text_in_another_format_differs_from_the_written_one() {
        let ours = StoredIndexes::from(IndexSet::default().with([3, 4]));
        assert_eq!(StoredIndexes::parse("3,4", 9), ours);
        assert_ne!(StoredIndexes::parse("3-4", 9), ours);
        assert_ne!(StoredIndexes::parse("3,4,9", 9), ours);
    }

    fn missing(set: &IndexSet, completions: u32) -> Vec<CompletionIndex> {
        let next = |last: &CompletionIndex| set.first_missing(last + 1, completions);
        std::iter::successors(set.first_missing(0, completions), next).collect()
    }

    #[test]
    fn missing_indexes_are_returned_lowest_first() {
        let set = IndexSet::parse("1,3-5,7", 100);
        assert_eq!(missing(&set, 10), [0, 2, 6, 8, 9]);
        assert_eq!(missing(&set, 4), [0, 2]);
        assert_eq!(missing(&IndexSet::default(), 2), [0, 1]);
        assert_eq!(IndexSet::parse("0-1000000", u32::MAX).first_missing(0, u32::MAX), Some(1_000_001));
    }

    proptest! {
        #[test]
        fn index_set_behaves_as_a_set(a in prop::collection::btree_set(0_u32..60, 0..40), b in prop::collection::btree_set(0_u32..60, 0..40)) {
            let (left, right) = (IndexSet::default().with(a.iter().copied()), IndexSet::default().with(b.iter().copied()));
            let both: BTreeSet<u32> = a.union(&b).copied().collect();
            let union = left.union(&right);
            prop_assert_eq!(&union, &left.with(b.iter().copied()));
            prop_assert_eq!(&union, &IndexSet::parse(&union.to_string(), 60));
            prop_assert_eq!(union.len(), both.len() as u64);
            prop_assert_eq!(left.overlap(&right), a.intersection(&b).count() as u64);
            for index in 0..61 {
                prop_assert_eq!(union.contains(index), both.contains(&index));
            }
            let others: Vec<u32> = (0..50).filter(|index| !both.contains(index)).collect();
            prop_assert_eq!(&union.complement(50), &IndexSet::default().with(others.iter().copied()));
            prop_assert_eq!(missing(&union, 50), others);
        }
    }
}
