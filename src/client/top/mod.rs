//! Unfinished Jobs with progress, rates and the estimated time left.

pub(crate) mod rates;
pub mod rows;
