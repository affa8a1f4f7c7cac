//! The console: pages for a browser, on the machine of the user or in the cluster.
//!
//! `server` has the routes, and `guard` the rules that each request passes. A page is a function from a user and a URL to
//! its content (`views`); `live` renders the pages that are open again when something changes. `cache` holds slim rows of
//! Jobs, which a page reaches only through [`cache::Visible`], after the permissions of its user were checked (`access`).
//! `ansi`, `charts`, `components` and `text` turn values into markup.

pub mod access;
pub mod actions;
pub mod ansi;
pub mod assets;
pub mod cache;
pub mod charts;
pub mod components;
pub mod console;
pub mod error;
pub mod guard;
pub mod identity;
pub mod jobs;
pub mod layout;
pub mod limits;
pub mod live;
pub mod logs;
pub mod origin;
pub mod pods;
pub mod queues;
pub mod recent;
pub mod schedules;
pub mod server;
pub mod session;
pub mod sign_in;
pub mod start;
pub mod text;
pub mod views;

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod router_tests;
#[cfg(test)]
mod schedule_tests;
#[cfg(test)]
mod snapshot_tests;
#[cfg(test)]
mod style_tests;

pub use self::start::{InClusterOptions, Options, StartError, serve, serve_in_cluster};
