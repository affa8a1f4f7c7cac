//! Packages of the npm registry, which are checked against a digest and unpacked into a cache folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha512};

/// A package of the npm registry.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// Name of the package.
    pub name: &'static str,
    /// Version of the package.
    pub version: &'static str,
    /// SHA-512 of the archive, in hexadecimal digits.
    pub sha512: &'static str,
}

impl Package {
    /// Returns the folder of the unpacked package below `cache`. Downloads the package with npm if it is missing.
    pub fn folder(&self, cache: &Path) -> Result<PathBuf> {
        let Self { name, version, sha512 } = self;
        let target = cache.join(format!("{name}-{version}"));
        fs::create_dir_all(cache).with_context(|| format!("making {}", cache.display()))?;
        // Several tests can arrive here concurrently. One of them downloads, and the others wait for the lock.
        let lock = File::create(cache.join(format!("{name}.lock")))?;
        lock.lock().context("waiting for another download")?;
        if target.is_dir() {
            return Ok(target.join("package"));
        }
        eprintln!("testbed: downloading {name} {version} with npm (once)");
        let unfinished = tempfile::tempdir_in(cache)?;
        let run = |program: &str, args: &[&str]| -> Result<()> {
            let output = Command::new(program)
                .current_dir(unfinished.path())
                .args(args)
                .output()
                .with_context(|| format!("starting {program}, which the download of {name} needs"))?;
            if !output.status.success() {
                bail!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
            }
            Ok(())
        };
        run("npm", &["pack", "--silent", &format!("{name}@{version}")])?;
        let archive = format!("{name}-{version}.tgz");
        let bytes = fs::read(unfinished.path().join(&archive)).context("reading the package that npm has written")?;
        let digest: String = Sha512::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if digest != *sha512 {
            bail!("the SHA-512 of {archive} is {digest}, expected {sha512}");
        }
        run("tar", &["-xzf", &archive])?;
        fs::rename(unfinished.keep(), &target)?;
        Ok(target.join("package"))
    }
}
