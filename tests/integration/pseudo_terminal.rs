//! Commands on a pseudo-terminal of a certain size.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Longest time to wait for output on a terminal.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A command on a pseudo-terminal.
pub struct Terminal {
    child: Child,
    master: File,
    output: Arc<Mutex<String>>,
    /// Thread that reads the output until the terminal is closed.
    reading: std::thread::JoinHandle<()>,
}

impl Terminal {
    /// Starts the binary on a terminal with this number of columns and lines.
    pub fn start(args: &[&str], size: (u16, u16), env: &[(&str, &str)]) -> Result<Self> {
        // Processes that a shell starts in the background ignore SIGINT and hand that on.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_jobwright")]).args(args);
        Self::of(command, size, env)
    }

    /// Starts a command on a terminal with this number of columns and lines.
    pub fn of(mut command: Command, (columns, lines): (u16, u16), env: &[(&str, &str)]) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        tcsetwinsize(&master, Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
        let name = ptsname(&master, Vec::new())?;
        // The terminal must not become that of the tests.
        let flags = i32::try_from(rustix::fs::OFlags::NOCTTY.bits())?;
        let slave = File::options().read(true).write(true).custom_flags(flags).open(name.to_str()?)?;
        command.env_remove("NO_COLOR").env_remove("COLUMNS").env("TERM", "xterm").envs(env.iter().copied());
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
        let child = command.spawn()?;
        let (master, output) = (File::from(master), Arc::new(Mutex::new(String::new())));
        let (mut reader, seen) = (master.try_clone()?, output.clone());
        let reading = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The read fails when the last process has closed the terminal.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if let Ok(mut seen) = seen.lock() {
                    seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
                }
            }
        });
        drop(command);
        Ok(Self { child, master, output, reading })
    }

    fn seen(&self) -> String {
        self.output.lock().map(|output| output.clone()).unwrap_or_default()
    }

    /// Waits until the output since the last call contains this text, and returns that output.
    pub fn wait_for(&self, text: &str) -> Result<String> {
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline {
            if self.seen().contains(text) {
                let mut output = self.output.lock().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
                return Ok(std::mem::take(&mut *output));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{text:?} does not appear: {:?}", self.seen())
    }

    pub fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    /// Sends a signal to the command.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let process = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(process, signal)?)
    }

    /// Waits until the command has ended. Returns its exit code and the rest of its output.
    pub fn end(mut self) -> Result<(Option<i32>, String)> {
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                self.reading.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
                let output = self.output.lock().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
                return Ok((status.code(), output.clone()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child.kill()?;
        bail!("the command does not end: {:?}", self.seen())
    }
}

/// Runs a command on a terminal to its end, and returns its lines. The list of `explain` has exit code 1 if a Job needs
/// attention.
pub fn lines_on(args: &[&str], columns: u16, env: &[(&str, &str)]) -> Result<Vec<String>> {
    let (code, text) = Terminal::start(args, (columns, 24), env)?.end()?;
    let lists = args[0] == "explain" && args.get(1).is_none_or(|word| word.starts_with('-'));
    anyhow::ensure!(code == Some(i32::from(lists)), "{args:?}: {code:?}: {text}");
    Ok(text.split("\r\n").map(str::to_owned).collect())
}

/// Returns the number of visible characters of a line.
pub fn visible(line: &str) -> usize {
    let mut count = 0;
    let mut escape = false;
    for character in line.chars() {
        match (escape, character) {
            (true, 'A'..='Z' | 'a'..='z') => escape = false,
            (true, _) => {}
            (false, '\u{1b}') => escape = true,
            (false, _) => count += 1,
        }
    }
    count
}
