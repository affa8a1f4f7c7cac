//! The Kubernetes versions that the testbed builds and starts.
//!
//! The entry point is [`Version::selected`], the version that `TESTBED_KUBERNETES` names, or else the newest. Each
//! version is one Go module below `go/`, whose `go.mod` states the patch release.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// Environment variable that selects the version, such as `1.34`.
pub const VARIABLE: &str = "TESTBED_KUBERNETES";

/// A minor version of Kubernetes, such as 1.37. Versions are ordered by their age, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    minor: u32,
}

/// Supported versions, the oldest first.
pub const SUPPORTED: [Version; 4] = [Version::new(34), Version::new(35), Version::new(36), Version::new(37)];

impl Version {
    /// Oldest supported version.
    pub const OLDEST: Self = SUPPORTED[0];
    /// Newest supported version, which is the default.
    pub const NEWEST: Self = SUPPORTED[SUPPORTED.len() - 1];

    /// Returns version `1.minor`.
    pub const fn new(minor: u32) -> Self {
        Self { minor }
    }

    /// Returns the version that [`VARIABLE`] names, or else the newest.
    pub fn selected() -> Result<Self> {
        static SELECTED: OnceLock<Result<Version, String>> = OnceLock::new();
        let parse = || match named_by_environment() {
            Some(name) => Self::parse(&name).map_err(|error| format!("{error:#}")),
            None => Ok(Self::NEWEST),
        };
        SELECTED.get_or_init(parse).clone().map_err(anyhow::Error::msg)
    }

    /// Returns whether [`VARIABLE`] is set. The programs of Kubernetes then come from the build of that version, even
    /// if `KUBEBUILDER_ASSETS` has other ones.
    pub fn is_chosen() -> bool {
        named_by_environment().is_some()
    }

    /// Reads the name of a supported version, such as `1.34` or `v1.34`.
    pub fn parse(name: &str) -> Result<Self> {
        let wanted = name.trim().trim_start_matches('v');
        match SUPPORTED.into_iter().find(|version| version.to_string() == wanted) {
            Some(version) => Ok(version),
            None => bail!("{VARIABLE}={name}: no such Kubernetes version in the testbed; there are {}", names()),
        }
    }

    /// Returns the minor version, such as 37.
    pub fn minor(self) -> u32 {
        self.minor
    }

    /// Returns the name of the Go module below `go/` that builds this version.
    pub(crate) fn module(self) -> String {
        if self == Self::NEWEST { "kubernetes".to_owned() } else { format!("kubernetes-{self}") }
    }

    /// Returns the patch release that the Go module requires, such as `v1.37.2`.
    pub fn release(self) -> Result<String> {
        let path = module_dir(&self.module()).join("go.mod");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let release = required_release(&text).with_context(|| format!("{} requires no Kubernetes", path.display()))?;
        if !release.starts_with(&format!("v{self}.")) {
            bail!("{} requires Kubernetes {release}, not {self}", path.display());
        }
        Ok(release.to_owned())
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "1.{}", self.minor)
    }
}

fn named_by_environment() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())
}

fn names() -> String {
    SUPPORTED.map(|version| version.to_string()).join(", ")
}

/// Returns the folder of a Go module in the source tree. The modules of `make peers` are beside their tests.
pub(crate) fn module_dir(module: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = tests.join("go").join(module);
    if own.exists() { own } else { tests.join("../peers/go").join(module) }
}

/// Returns the version of `k8s.io/kubernetes` that the text of a `go.mod` requires.
fn required_release(go_mod: &str) -> Option<&str> {
    go_mod.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word == "require");
        words.next().filter(|path| *path == "k8s.io/kubernetes").and_then(|_| words.next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_builds_the_version_of_its_name() {
        for version in SUPPORTED {
            let release = version.release().unwrap();
            assert!(release.starts_with(&format!("v1.{}.", version.minor())), "{version} builds {release}");
        }
    }

    #[test]
    fn unknown_version_is_refused_with_the_list_of_versions() {
        assert_eq!(Version::parse("v1.35").unwrap(), Version::new(35));
        for wrong in ["1.33", "1.3", "37", "1.34.4", "latest"] {
            let error = format!("{:#}", Version::parse(wrong).unwrap_err());
            assert!(error.contains(wrong) && error.contains("there are 1.34, 1.35, 1.36, 1.37"), "{error}");
        }
    }

    #[test]
    fn release_is_read_from_either_form_of_require() {
        let block = "require (\n\tk8s.io/api v0.34.4 // indirect\n\tk8s.io/kubernetes v1.34.4 // indirect\n)";
        assert_eq!(required_release(block), Some("v1.34.4"));
        assert_eq!(required_release("require k8s.io/kubernetes v1.35.4"), Some("v1.35.4"));
        assert_eq!(required_release("tool k8s.io/kubernetes/cmd/kubectl"), None);
    }
}
