//! Client libraries: the same program with the Jobs of both controllers, whose outputs must be equal.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testbed::assets;

use crate::run::Outcome;
use crate::scenario::PLAY;
use crate::stage::{Side, Stage};

/// Version of the Python package kubernetes.
pub const PYTHON_PACKAGE: &str = "kubernetes==37.0.2";
/// Maximum duration of a program.
const TIMEOUT: Duration = Duration::from_secs(150);
/// What the programs do, for the table of results.
const WHAT: &str = "create, watch until a condition, suspend and resume, fail";

/// Runs the programs on both sides.
pub async fn run(stage: &Stage) -> Result<Vec<Outcome>> {
    assets::ensure(&[assets::CLIENT_GO])?;
    let client = assets::CLIENT_GO.path()?;
    let mut outcomes = vec![
        compare(stage, "client-go", |side, kubeconfig| {
            let flag = |name: &str, value: &str| OsString::from(format!("--{name}={value}"));
            let managed_by = flag("managed-by", side.managed_by());
            let rest = [flag("kubeconfig", kubeconfig), flag("namespace", &side.namespace), flag("play", PLAY)];
            (client.clone(), [&[managed_by], &rest[..]].concat())
        })
        .await?,
    ];
    match python()? {
        Some(python) => {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/client.py");
            let program = |side: &Side, kubeconfig: &str| {
                let args = [script, kubeconfig, &side.namespace, side.managed_by(), PLAY].map(OsString::from);
                (python.clone(), args.to_vec())
            };
            outcomes.push(compare(stage, "kubernetes for Python", program).await?);
        }
        None => eprintln!("peers: the Python package is skipped: there is no python3"),
    }
    Ok(outcomes)
}

/// Runs a program on both sides, and compares what it prints.
async fn compare(
    stage: &Stage,
    peer: &'static str,
    program: impl Fn(&Side, &str) -> (PathBuf, Vec<OsString>),
) -> Result<Outcome> {
    let kubeconfig = stage.cluster.kubeconfig.display().to_string();
    let sides = stage.sides().await?;
    let mut ends = [String::new(), String::new()];
    for (side, end) in sides.iter().zip(&mut ends) {
        let (program, args) = program(side, &kubeconfig);
        let run = tokio::process::Command::new(program).args(args).kill_on_drop(true).output();
        let output = tokio::time::timeout(TIMEOUT, run).await.context("the program does not end")??;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().replace('\n', "; ");
        *end = text(&output.stdout);
        if !output.status.success() {
            *end = format!("{}: {end}; {}", output.status, text(&output.stderr));
        }
        stage.cluster.delete_namespace(&side.namespace).await?;
    }
    let failed = ends.iter().any(|end| end.contains("exit status"));
    let difference = (failed || ends[0] != ends[1]).then(|| format!("built-in: {}\nours: {}", ends[0], ends[1]));
    Ok(Outcome { peer, name: WHAT, ends, difference })
}

/// Returns a Python interpreter that has the package, in a virtual environment in the cache folder. Returns `None` if
/// this machine has no Python.
fn python() -> Result<Option<PathBuf>> {
    let dir = assets::cache_dir()?.join(format!("python-{PYTHON_PACKAGE}"));
    let python = dir.join("bin/python");
    let installed = || {
        let import = Command::new(&python).args(["-c", "import kubernetes"]).output();
        import.is_ok_and(|output| output.status.success())
    };
    if installed() {
        return Ok(Some(python));
    }
    let Ok(made) = Command::new("python3").args(["-m", "venv"]).arg(&dir).output() else { return Ok(None) };
    if !made.status.success() {
        bail!("python3 -m venv: {}", String::from_utf8_lossy(&made.stderr));
    }
    let pip = Command::new(&python).args(["-m", "pip", "install", "--quiet", PYTHON_PACKAGE]).output()?;
    if !installed() {
        bail!("pip install {PYTHON_PACKAGE}: {}", String::from_utf8_lossy(&pip.stderr));
    }
    Ok(Some(python))
}
