//! The console: pages for a browser.

pub mod text;
