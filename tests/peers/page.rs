//! The table of results, and the page `docs/results/peers.md`.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use testbed::{Version, assets};

use crate::clients::PYTHON_PACKAGE;
use crate::run::Outcome;

/// Returns the table of results in Markdown.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| on top of Jobs | scenario | Jobwright | built-in controller | equal |\n|---|---|---|---|---|\n",
    );
    for outcome in outcomes {
        let [builtin, ours] = &outcome.ends;
        let equal = if outcome.difference.is_none() { "yes" } else { "no" };
        let _ = writeln!(text, "| {} | {} | {ours} | {builtin} | {equal} |", outcome.peer, outcome.name);
    }
    text
}

/// Writes the page.
pub fn write(outcomes: &[Outcome]) -> Result<()> {
    let equal = outcomes.iter().filter(|outcome| outcome.difference.is_none()).count();
    let kubernetes = Version::selected()?.release()?;
    let text = format!(
        "# Results of controllers and clients on top of Jobs\n\n\
         `PEERS_PAGE=1 make peers` writes this page. [../peers.md](../peers.md) describes the scenarios.\n\n\
         {equal} of {} scenarios are equal, with Kubernetes {kubernetes}, JobSet {}, Kueue {},\n\
         client-go {} and the Python package `{PYTHON_PACKAGE}`.\n\n{}",
        outcomes.len(),
        version("jobset", "sigs.k8s.io/jobset")?,
        version("kueue", "sigs.k8s.io/kueue")?,
        version("client", "k8s.io/client-go")?,
        table(outcomes)
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/results/peers.md");
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

/// Returns the version of a Go module that a module of the tests requires.
fn version(module: &str, path: &str) -> Result<String> {
    let dir = assets::sources(module, path)?;
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(name.rsplit_once('@').context("the folder has no version")?.1.to_owned())
}
