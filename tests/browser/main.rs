//! Pages of the console in Chromium: accessibility, keyboard, narrow screens, and the content security policy.
//!
//! `harness` drives the browser. Each page of a test fails the test on an error in the console of the browser, and on a
//! violation of the content security policy. Screenshots are in `target/ui-screenshots`.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a failed expectation ends the test, and the modules of a test are no library"
)]

mod actions;
mod console;
mod detection;
mod gallery;
mod harness;
mod logs;
mod parts;
#[path = "../integration/harness.rs"]
#[allow(dead_code, reason = "the other suite uses the rest")]
mod scene;
mod server;
mod updates;
mod views;
