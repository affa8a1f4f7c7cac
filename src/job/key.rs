//! Keys of the Job controller's work queue.

use crate::runtime::identity::Uid;

/// An object that a worker syncs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The UID of a Job. The Job may be deleted already and have left pods behind.
    Job(Uid),
    /// The UID of a pod that has the tracking finalizer and that no Job of its namespace controls.
    Orphan(Uid),
}
