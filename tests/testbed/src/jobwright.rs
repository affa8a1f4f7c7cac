//! Start of a jobwright binary on a cluster.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process::Process;

/// Maximum time until the controller is ready.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Environment variable that sets `--wire` of the tested controllers.
const TESTED_WIRE: &str = "TESTED_WIRE";

/// Returns the encoding that the tests use for Jobs and Pods: the value of `TESTED_WIRE`, or `protobuf`.
pub fn tested_wire() -> String {
    std::env::var(TESTED_WIRE).ok().filter(|wire| !wire.is_empty()).unwrap_or_else(|| "protobuf".to_owned())
}

/// Runs `jobwright run` with these flags in the folder `dir`, and waits until its log reports that the controller is
/// ready. `log` is the value of `JOBWRIGHT_LOG`. Unless the flags enable it, leader election is off, because a test
/// that kills the controller would have to wait until the Lease expires.
pub async fn start(binary: &Path, dir: &Path, kubeconfig: &Path, flags: &[String], log: &str) -> Result<Process> {
    let mut args = vec!["run".to_owned(), format!("--kubeconfig={}", kubeconfig.display())];
    args.extend(flags.iter().cloned());
    let env = [
        ("JOBWRIGHT_LOG", log.to_owned()),
        ("JOBWRIGHT_LEADER_ELECT", "false".to_owned()),
        ("JOBWRIGHT_WIRE", tested_wire()),
    ];
    let mut process = Process::start_with("jobwright", dir, binary, &args, &env)?;
    let deadline = Instant::now() + TIMEOUT;
    while !process.log_tail(1000).contains("controller ready") {
        process.check()?;
        if Instant::now() > deadline {
            bail!("the controller is not ready:\n{}", process.log_tail(30));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(process)
}
