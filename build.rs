//! Sets `JOBWRIGHT_COMMIT` for the build, which `jobwright version` prints: the value of the environment, or else the
//! commit of the Git work tree. Without both, the commit is unknown.

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
