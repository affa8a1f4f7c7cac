//! What the Job controller's queue holds.

use crate::runtime::identity::Uid;

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A Job; perhaps one that is gone and left pods behind.
    Job(Uid),
    /// A pod with our finalizer that no Job of its namespace controls.
    Orphan(Uid),
}
