//! Debian packages of programs that the testbed does not build.
//!
//! Root on Debian gets missing packages automatically, in [`install`]. Elsewhere the caller reports what is missing.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::assets::cache_dir;

/// Returns the reason why missing packages cannot be installed on this machine, or `None` if they can.
pub fn obstacle() -> Option<String> {
    if !Path::new("/usr/bin/apt-get").exists() {
        return Some("there is no apt-get".to_owned());
    }
    (!rustix::process::geteuid().is_root()).then(|| "only root installs packages".to_owned())
}

/// Installs the packages that `missing` returns, with apt-get. Does nothing if none is missing.
pub fn install(missing: impl Fn() -> Vec<&'static str>) -> Result<()> {
    if missing().is_empty() {
        return Ok(());
    }
    // Several test processes can arrive here concurrently. One of them installs, and the others wait for the lock.
    let cache = cache_dir()?;
    fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    let lock = File::create(cache.join("packages.lock"))?;
    lock.lock().context("waiting for another installation")?;
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    eprintln!("testbed: installing {} (once)", packages.join(", "));
    apt(&["update", "-q"])?;
    let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends"];
    arguments.extend(&packages);
    if !apt(&arguments)? || !missing().is_empty() {
        bail!("apt-get could not install {}", packages.join(", "));
    }
    Ok(())
}

/// Runs apt-get and returns whether it succeeded. Prints its errors.
fn apt(args: &[&str]) -> Result<bool> {
    let output = Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(args)
        .output()
        .context("starting apt-get")?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.status.success())
}
