//! axe-core, which finds problems of accessibility in a page.
//!
//! axe-core is a package of the npm registry (MPL-2.0). The package is downloaded into the target folder once.

use std::fmt;
use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use testbed::npm::Package;

use super::browser::is_required;
use super::page::Page;
use super::target;

const AXE: Package = Package {
    name: "axe-core",
    version: "4.14.1",
    sha512: "1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b73\
             4f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5",
};

/// Runs axe-core and returns each violation with the places in the page.
const RUN: &str =
    "axe.run(document, { resultTypes: ['violations'] }).then((result) => result.violations.map((one) => ({
    rule: one.id,
    impact: one.impact || 'unknown',
    help: one.help,
    places: one.nodes.map((node) => `${node.target.join(' ')}: ${node.failureSummary.split('\\n').slice(1).join(';')}`),
})))";

/// A violated rule of accessibility.
#[derive(Clone, Debug, Deserialize)]
pub struct Violation {
    /// Name of the rule.
    pub rule: String,
    /// Impact: `minor`, `moderate`, `serious` or `critical`.
    pub impact: String,
    /// The rule in words.
    pub help: String,
    /// Selectors of the elements, each with what to fix.
    pub places: Vec<String>,
}

impl Violation {
    /// Returns whether the violation keeps users from using the page.
    pub fn is_grave(&self) -> bool {
        matches!(self.impact.as_str(), "serious" | "critical")
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({}): {}", self.rule, self.impact, self.help)?;
        self.places.iter().try_for_each(|place| write!(out, "\n    {place}"))
    }
}

impl Page {
    /// Returns the rules of accessibility that the page violates. Prints the reason and returns none if axe-core cannot be
    /// downloaded. Fails instead if the environment variable `BROWSER_REQUIRED` is set.
    pub async fn violations(&self) -> Result<Vec<Violation>> {
        let folder = tokio::task::spawn_blocking(|| AXE.folder(&target().join("npm"))).await?;
        let script = match folder.and_then(|folder| Ok(fs::read_to_string(folder.join("axe.min.js"))?)) {
            Ok(script) => script,
            Err(error) if is_required() => return Err(error.context("axe-core is missing")),
            Err(error) => {
                testbed::report::skipped_part("accessibility", &format!("axe-core is missing: {error:#}"));
                return Ok(Vec::new());
            }
        };
        // DevTools evaluates the script, so that the content security policy does not apply to it.
        self.evaluate::<bool>(&format!("{script}; true")).await.context("starting axe-core")?;
        self.evaluate(RUN).await.context("running axe-core")
    }

    /// Fails if the page violates a rule of accessibility with the impact `serious` or `critical`.
    pub async fn check_accessibility(&self) -> Result<()> {
        let violations = self.violations().await?;
        let grave: Vec<String> = violations.iter().filter(|one| one.is_grave()).map(ToString::to_string).collect();
        if !grave.is_empty() {
            bail!("the page is not accessible:\n{}", grave.join("\n"));
        }
        Ok(())
    }
}
