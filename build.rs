//! Tells the binary which commit it is built from, where that is known.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=JOBWRIGHT_COMMIT");
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/refs/heads");
    if std::env::var_os("JOBWRIGHT_COMMIT").is_some() {
        return;
    }
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    if let Some(output) = output.ok().filter(|output| output.status.success()) {
        println!("cargo::rustc-env=JOBWRIGHT_COMMIT={}", String::from_utf8_lossy(&output.stdout).trim());
    }
}
