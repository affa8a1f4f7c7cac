//! Logs of the pods of a Job: which containers have one, its lines as they arrive, and text that a terminal can print.

pub(crate) mod follow;
pub(crate) mod lines;
pub(crate) mod sources;
pub(crate) mod tail;
pub(crate) mod text;
