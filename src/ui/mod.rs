//! The console: pages for a browser.

pub mod ansi;
pub mod charts;
pub mod components;
#[cfg(test)]
mod gallery_tests;
#[cfg(test)]
mod style_tests;
pub mod text;
