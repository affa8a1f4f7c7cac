//! The image of Jobwright, built without a Docker engine, with the static binary, user and entry point of the
//! Dockerfile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tar::Builder;

use crate::images;

/// Name of the image without its tag, as in the values of the chart.
pub const REPOSITORY: &str = "docker.io/library/jobwright";

/// Returns the root of the source tree.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Returns the configuration of the image, which equals that of the last stage of the Dockerfile.
pub fn config() -> Value {
    json!({
        "User": "65532:65532",
        "Entrypoint": ["/jobwright"],
        "Labels": {
            "org.opencontainers.image.title": "jobwright",
            "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.image.licenses": "Apache-2.0",
        },
    })
}

/// Cargo profile of a binary for users.
pub const RELEASE: &str = "release";
/// Cargo profile of a binary for tests, which compiles faster.
pub const TEST: &str = "test-image";

/// Builds the static binary with this profile unless it is up to date, and returns its path.
pub fn binary(profile: &str) -> Result<PathBuf> {
    let mut build = Command::new(root().join("deploy/image/build"));
    build.arg(profile);
    without_variables_of_cargo(&mut build);
    let output = build.output().context("starting deploy/image/build")?;
    if !output.status.success() {
        bail!("deploy/image/build ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// Removes the variables that cargo sets for its programs from the environment of a command that runs cargo. Build
/// scripts would take them for a change, and `CARGO` can be of another toolchain. The commit comes from git.
pub fn without_variables_of_cargo(command: &mut Command) {
    let set_by_cargo = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
        "CARGO_PRIMARY_",
        "OUT_DIR",
        "JOBWRIGHT_COMMIT",
    ];
    let is_set_by_cargo = |name: &str| name == "CARGO" || set_by_cargo.iter().any(|prefix| name.starts_with(prefix));
    let inherited = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in inherited.filter(|name| is_set_by_cargo(name)) {
        command.env_remove(name);
    }
}

/// Writes the image with these tags as an OCI tarball, with a binary of this profile.
pub fn make<T: std::fmt::Display>(target: &Path, tags: &[T], profile: &str) -> Result<()> {
    let binary = binary(profile)?;
    let mut layer = Builder::new(Vec::new());
    images::file(&mut layer, "jobwright", &fs::read(&binary)?, 0o755)?;
    let names: Vec<String> = tags.iter().map(|tag| format!("{REPOSITORY}:{tag}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    images::write(target, &names, &layer.into_inner()?, &config())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_equals_that_of_the_dockerfile() {
        let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
        let last = dockerfile.rsplit("FROM ").next().unwrap();
        let config = config();
        assert!(last.starts_with("scratch\n"), "{last}");
        for line in [
            format!("USER {}", config["User"].as_str().unwrap()),
            format!("ENTRYPOINT {}", config["Entrypoint"]),
            "COPY --from=build /out/jobwright /jobwright".to_owned(),
        ] {
            assert!(last.lines().any(|is| is == line), "{line} is not in\n{last}");
        }
        for (name, value) in config["Labels"].as_object().unwrap() {
            // JSON quotes the value as a Dockerfile does.
            let line = format!("{name}={value}");
            assert!(last.contains(&line), "{line} is not in\n{last}");
        }
        assert!(dockerfile.contains("RUN deploy/image/build"), "the Dockerfile does not build with deploy/image/build");
    }
}
