//! Chromium without a window, for the tests of pages.
//!
//! The entry point is [`Chromium::start`]. The browser is the program that the environment variable `CHROMIUM` names, or
//! is found in `PATH`. Root on Debian gets the package `chromium` if there is none.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::packages;
use crate::process::Process;

/// Names of the program.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// Flags of the browser: no window, no requests of its own, and nothing of the user's.
const FLAGS: [&str; 8] = [
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
];
/// Longest time until the browser accepts connections.
const START: Duration = Duration::from_secs(60);
/// Longest time until the browser has ended, and its last child processes after it.
const END: Duration = Duration::from_secs(5);

/// A running browser. Dropping the value ends the browser and deletes the folder with its data.
#[derive(Debug)]
pub struct Chromium {
    process: Process,
    url: String,
    dir: TempDir,
}

/// Returns the reason why Chromium cannot run on this machine, or `None` if it can. Installs no packages.
pub fn obstacle() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("the tests start Chromium on Linux only".to_owned());
    }
    if program().is_some() {
        return None;
    }
    packages::obstacle()
        .map(|reason| format!("Chromium is neither in PATH nor in the environment variable CHROMIUM, and {reason}"))
}

/// Returns the path of the program, if there is one.
fn program() -> Option<PathBuf> {
    let given = std::env::var_os("CHROMIUM").filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = || {
        let places = std::env::split_paths(&path).flat_map(|dir| NAMES.map(|name| dir.join(name)));
        places.into_iter().find(|path| path.is_file())
    };
    given.or_else(found)
}

/// Installs Chromium if it is missing.
pub fn install() -> Result<()> {
    packages::install(|| if program().is_none() { vec!["chromium"] } else { Vec::new() })
}

impl Chromium {
    /// Starts a browser with an empty profile, and waits until it accepts connections.
    pub fn start() -> Result<Self> {
        let program = program().context("no Chromium; install the package")?;
        let dir = TempDir::with_prefix("jobwright-chromium-")?;
        let profile = dir.path().join("profile");
        let mut flags: Vec<String> = FLAGS.map(str::to_owned).to_vec();
        flags.push(format!("--user-data-dir={}", profile.display()));
        if rustix::process::geteuid().is_root() {
            // The sandbox of Chromium refuses to run as root.
            flags.push("--no-sandbox".to_owned());
        }
        flags.push("about:blank".to_owned());
        let process = Process::start("chromium", dir.path(), &program, &flags)?;
        let mut browser = Self { process, url: String::new(), dir };
        browser.url = browser.wait_for_port(&profile.join("DevToolsActivePort"))?;
        Ok(browser)
    }

    /// Returns the WebSocket URL of the DevTools protocol.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits for the file with the port and the path of the DevTools protocol.
    fn wait_for_port(&mut self, file: &Path) -> Result<String> {
        let deadline = Instant::now() + START;
        loop {
            self.process.check()?;
            let text = fs::read_to_string(file).unwrap_or_default();
            if let Some((port, path)) = text.split_once('\n').filter(|(_, path)| !path.is_empty()) {
                return Ok(format!("ws://127.0.0.1:{port}{}", path.trim_end()));
            }
            if Instant::now() > deadline {
                bail!("Chromium accepts no connections; end of its log:\n{}", self.process.log_tail(15));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.process.stop(END);
        // Child processes of the browser write files until they notice its end.
        let deadline = Instant::now() + END;
        while self.dir.path().exists() && fs::remove_dir_all(self.dir.path()).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
