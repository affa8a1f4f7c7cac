//! Logs of the pods of a Job: which containers have one, its lines, and text that a terminal can print.

pub(crate) mod lines;
pub(crate) mod sources;
pub(crate) mod text;
