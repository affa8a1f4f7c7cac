//! Start of a console on this machine.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process::Process;

/// Maximum time until the console is ready.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs `jobwright ui` with these flags and a free port, with `dir` for its log, and returns the process and the address
/// of the sign-in, which works once.
pub async fn start(binary: &Path, dir: &Path, kubeconfig: &Path, flags: &[String]) -> Result<(Process, String)> {
    let mut args = vec!["ui".to_owned(), "--port=0".to_owned()];
    args.extend(flags.iter().cloned());
    let env = [("KUBECONFIG", kubeconfig.display().to_string())];
    // The process starts in its own folder.
    let binary = std::path::absolute(binary)?;
    let mut process = Process::start_with("ui", dir, &binary, &args, &env)?;
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let log = process.log_tail(20);
        if let Some(address) = log.lines().find_map(|line| line.strip_prefix("The console is at ")) {
            return Ok((process, address.to_owned()));
        }
        process.check()?;
        if Instant::now() > deadline {
            bail!("the console is not ready:\n{log}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
