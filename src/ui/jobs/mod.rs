//! The table of Jobs: which Jobs a page has, and in which order.

pub mod query;
pub mod selection;
pub mod selector;

pub use self::query::{Column, JobQuery, Sort};
pub use self::selection::JobPage;
