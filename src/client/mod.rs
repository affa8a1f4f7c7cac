//! What the commands and the console share: reads with the permissions of the user, explanations, timelines, histories,
//! and the requests of actions.
//!
//! The modules read and compute; `cli` prints, and `ui` renders pages.

#![warn(clippy::print_stderr, reason = "the macros panic when the output is closed; see `output`")]

#[cfg(feature = "ui")]
pub(crate) mod actions;
#[cfg(feature = "client")]
pub(crate) mod backfill;
#[cfg(feature = "client")]
pub(crate) mod calendars;
pub mod cluster;
pub mod connect;
#[cfg(feature = "client")]
pub(crate) mod creation;
pub(crate) mod duration;
#[cfg(feature = "client")]
pub mod explain;
pub mod format;
#[cfg(feature = "client")]
pub(crate) mod history;
#[cfg(feature = "client")]
pub(crate) mod index_subset;
#[cfg(feature = "client")]
pub mod leases;
pub(crate) mod lists;
#[cfg(feature = "client")]
pub(crate) mod logs;
#[cfg(feature = "client")]
pub(crate) mod manifests;
pub mod names;
#[cfg(feature = "client")]
pub(crate) mod one_line;
pub mod output;
pub mod permissions;
#[cfg(feature = "client")]
pub(crate) mod rerun;
#[cfg(feature = "client")]
pub(crate) mod scheduled_object;
#[cfg(feature = "client")]
pub(crate) mod selected;
pub mod suggest;
#[cfg(feature = "client")]
pub(crate) mod suspend;
#[cfg(feature = "client")]
pub(crate) mod table;
pub mod terminal;
#[cfg(feature = "client")]
pub(crate) mod timeline;
#[cfg(feature = "client")]
pub mod top;
#[cfg(all(test, feature = "client"))]
pub(crate) mod transcripts;
#[cfg(feature = "client")]
pub(crate) mod trigger;

use jiff::Timestamp;

/// Returns the present time, which commands and pages compare with the times of objects.
#[expect(clippy::disallowed_methods, reason = "the only place where commands and pages read the clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
