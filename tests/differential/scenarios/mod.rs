//! Scenarios that are written by hand, one file for each API field or theme.

mod completion_modes;
mod deletion;
mod failure_policy;
mod failures;
pub mod gang_scheduling;
mod indexed;
mod odd;
mod per_index;
mod replacement;
mod scaling;
mod success_policy;
mod suspension;

use crate::scenario::Scenario;

/// Returns all scenarios.
pub fn all() -> Vec<Scenario> {
    [
        completion_modes::all(),
        failures::all(),
        suspension::all(),
        scaling::all(),
        deletion::all(),
        indexed::all(),
        per_index::all(),
        failure_policy::all(),
        success_policy::all(),
        replacement::all(),
        odd::all(),
    ]
    .concat()
}
