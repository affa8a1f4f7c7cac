//! The images of the controller and of the console, built without a Docker engine, with the static binary, user and entry
//! point of the Dockerfile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tar::Builder;

use crate::images;

/// Name of the image of the controller without its tag, as in the values of the chart.
pub const REPOSITORY: &str = "docker.io/library/jobwright";
/// Name of the image of the console without its tag.
pub const UI_REPOSITORY: &str = "docker.io/library/jobwright-ui";

/// Program of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The controller.
    Controller,
    /// The console.
    Ui,
}

impl Program {
    /// Returns the name of the image without its tag.
    pub fn repository(self) -> &'static str {
        match self {
            Self::Controller => REPOSITORY,
            Self::Ui => UI_REPOSITORY,
        }
    }

    /// Returns the name of the stage of the Dockerfile that builds the binary.
    #[cfg(test)]
    fn stage(self) -> &'static str {
        match self {
            Self::Controller => "build",
            Self::Ui => "build-ui",
        }
    }
}

/// Returns the root of the source tree.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Returns the configuration of an image, which equals that of its stage of the Dockerfile.
pub fn config(program: Program) -> Value {
    let title = program.repository().rsplit('/').next();
    json!({
        "User": "65532:65532",
        "Entrypoint": ["/jobwright"],
        "Labels": {
            "org.opencontainers.image.title": title,
            "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.image.licenses": "Apache-2.0",
        },
    })
}

/// Cargo profile of a binary for users.
pub const RELEASE: &str = "release";
/// Cargo profile of a binary for tests, which compiles faster.
pub const TEST: &str = "test-image";

/// Builds the static binary of the controller with this profile unless it is up to date, and returns its path.
pub fn binary(profile: &str) -> Result<PathBuf> {
    binary_of(Program::Controller, profile)
}

/// Builds the static binary of an image with this profile unless it is up to date, and returns its path.
pub fn binary_of(program: Program, profile: &str) -> Result<PathBuf> {
    let mut build = Command::new(root().join("deploy/image/build"));
    build.arg(profile);
    if program == Program::Ui {
        build.arg("ui");
    }
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

/// Writes the image of the controller with these tags as an OCI tarball, with a binary of this profile.
pub fn make<T: std::fmt::Display>(target: &Path, tags: &[T], profile: &str) -> Result<()> {
    make_of(Program::Controller, target, tags, profile)
}

/// Writes an image with these tags as an OCI tarball, with a binary of this profile.
pub fn make_of<T: std::fmt::Display>(program: Program, target: &Path, tags: &[T], profile: &str) -> Result<()> {
    let binary = binary_of(program, profile)?;
    let mut layer = Builder::new(Vec::new());
    images::file(&mut layer, "jobwright", &fs::read(&binary)?, 0o755)?;
    let names: Vec<String> = tags.iter().map(|tag| format!("{}:{tag}", program.repository())).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    images::write(target, &names, &layer.into_inner()?, &config(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_equals_that_of_the_dockerfile() {
        let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
        let stages: Vec<&str> = dockerfile.split("FROM ").collect();
        for program in [Program::Controller, Program::Ui] {
            // The last stage is the one that is built without --target.
            let start = if program == Program::Ui { "scratch AS ui\n" } else { "scratch\n" };
            let stage = stages.iter().rfind(|stage| stage.starts_with(start)).unwrap();
            assert!(program == Program::Ui || stages.last() == Some(stage), "{stage}");
            let config = config(program);
            for line in [
                format!("USER {}", config["User"].as_str().unwrap()),
                format!("ENTRYPOINT {}", config["Entrypoint"]),
                format!("COPY --from={} /out/jobwright /jobwright", program.stage()),
            ] {
                assert!(stage.lines().any(|is| is == line), "{line} is not in\n{stage}");
            }
            for (name, value) in config["Labels"].as_object().unwrap() {
                // JSON quotes the value as a Dockerfile does.
                let line = format!("{name}={value}");
                assert!(stage.contains(&line), "{line} is not in\n{stage}");
            }
        }
        for build in
            ["source AS build\nRUN deploy/image/build && ", "source AS build-ui\nRUN deploy/image/build release ui && "]
        {
            assert!(stages.iter().any(|stage| stage.starts_with(build)), "{build}");
        }
    }
}
