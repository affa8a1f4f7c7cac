//! Child processes that the kernel kills when the testbed ends, even after a crash.
//!
//! The entry point is [`Process::start`]. Each child gets SIGKILL from the kernel when the thread that started it ends
//! (`setpriv --pdeathsig`). Therefore one thread, which lives as long as this process, starts all children.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

type Request = (Command, mpsc::Sender<std::io::Result<Child>>);

/// The thread that starts all children. The thread never ends before the process.
static SPAWNER: LazyLock<Mutex<mpsc::Sender<Request>>> = LazyLock::new(|| {
    let (requests, inbox) = mpsc::channel::<Request>();
    std::thread::spawn(move || {
        for (mut command, answer) in inbox {
            // If the requesting thread has ended, the child is killed when this process ends.
            let _ = answer.send(command.spawn());
        }
    });
    Mutex::new(requests)
});

/// A child process with a folder and a log of its own. Dropping the value kills the process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` in the folder `dir`, which is created if missing. Its output goes to `dir/NAME.log`.
    pub fn start(name: &str, dir: &Path, program: &Path, args: &[String]) -> Result<Self> {
        Self::start_with(name, dir, program, args, &[])
    }

    /// Starts `program` like [`Process::start`], with additional environment variables.
    pub fn start_with(name: &str, dir: &Path, program: &Path, args: &[String], env: &[(&str, String)]) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let log = dir.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(args)
            .envs(env.iter().map(|(key, value)| (key, value)))
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let (answer, answered) = mpsc::channel();
        SPAWNER
            .lock()
            .map_err(|_| anyhow::anyhow!("the thread that starts processes has panicked"))?
            .send((command, answer))?;
        let child =
            answered.recv()?.with_context(|| format!("starting {name} by setpriv (of Debian's package util-linux)"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the path of the file that contains stdout and stderr.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Fails if the process has ended. The error contains the end of its log.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}; end of its log:\n{}", self.name, self.log_tail(15));
        }
        Ok(())
    }

    /// Returns the last lines of the log.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Sends a signal. Does nothing if the process has ended.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Sends SIGTERM and waits. Kills the process after `timeout`. Returns the exit status.
    pub fn stop(&mut self, timeout: Duration) -> Result<std::process::ExitStatus> {
        if self.child.try_wait()?.is_none() {
            self.signal(Signal::TERM);
        }
        let deadline = Instant::now() + timeout;
        while self.child.try_wait()?.is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        if self.child.try_wait()?.is_none() {
            self.child.kill()?;
        }
        Ok(self.child.wait()?)
    }

    /// Kills the process with SIGKILL, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Returns the exit status if the process has ended.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
