//! The pods of a Job over time, and a picture of them.

pub(crate) mod bars;
pub(crate) mod picture;
