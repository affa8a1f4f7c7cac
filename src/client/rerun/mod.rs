//! The Job that runs a finished Job again.

pub(crate) mod copy;
pub(crate) mod failed_indexes;
