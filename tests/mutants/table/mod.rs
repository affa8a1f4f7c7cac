//! Table of the deliberate bugs. In a mutated fragment, `MUTANT` stands for the condition that the bug is switched on.

mod beyond;
mod jobs;
mod rare;

/// One deliberate bug.
pub struct Mutation {
    /// Faulty behaviour, as a sentence.
    pub name: &'static str,
    /// Path of the source file, relative to the root of the repository.
    pub file: &'static str,
    /// Source fragment that the bug replaces; it occurs exactly once in the file.
    pub original: &'static str,
    /// Replacement of the fragment.
    pub mutated: &'static str,
}

const fn bug(name: &'static str, file: &'static str, original: &'static str, mutated: &'static str) -> Mutation {
    Mutation { name, file, original, mutated }
}

/// Deliberate bugs that the simulation finds within 2,000 histories. The position, counted from 1, is the number of a bug.
pub fn found() -> impl Iterator<Item = &'static Mutation> {
    jobs::BUGS.iter().chain(beyond::BUGS)
}

/// Bugs that take more histories. `MUTANTS=rare` tries them alone. Their numbers follow.
pub fn rare() -> impl Iterator<Item = &'static Mutation> {
    rare::BUGS.iter()
}
