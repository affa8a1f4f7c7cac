//! The console: pages for a browser.

pub mod ansi;
pub mod text;
