//! Child processes that die with the testbed, however it ends.
//!
//! One way in: [`Process::start`]. Each child gets SIGKILL from the kernel when the thread that started it
//! ends (`setpriv --pdeathsig`); therefore all are started from one thread that lives as long as this process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

type Request = (Command, mpsc::Sender<std::io::Result<Child>>);

/// The thread all children are started from. It never ends before the process does.
static SPAWNER: LazyLock<Mutex<mpsc::Sender<Request>>> = LazyLock::new(|| {
    let (requests, inbox) = mpsc::channel::<Request>();
    std::thread::spawn(move || {
        for (mut command, answer) in inbox {
            // The asker may have gone away; the child then dies with this process.
            let _ = answer.send(command.spawn());
        }
    });
    Mutex::new(requests)
});

/// A running child with a folder and a log of its own.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` in the folder `dir` (made if missing), its output in `dir/NAME.log`.
    pub fn start(name: &str, dir: &Path, program: &Path, args: &[String]) -> Result<Self> {
        Self::start_with(name, dir, program, args, &[])
    }

    /// Like [`Process::start`], with environment variables set.
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
            .map_err(|_| anyhow::anyhow!("the thread that starts processes is gone"))?
            .send((command, answer))?;
        let child =
            answered.recv()?.with_context(|| format!("starting {name} by setpriv (of Debian's package util-linux)"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file its standard output and error go to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Fails, with the end of its log, if the process has ended.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}; its log ends:\n{}", self.name, self.log_tail(15));
        }
        Ok(())
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Sends a signal; a process that has ended is no error.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Asks it to end and waits; kills it when it has not ended in time. Tells how it ended.
    pub fn stop(&mut self, patience: Duration) -> Result<std::process::ExitStatus> {
        if self.child.try_wait()?.is_none() {
            self.signal(Signal::TERM);
        }
        let deadline = Instant::now() + patience;
        while self.child.try_wait()?.is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        if self.child.try_wait()?.is_none() {
            self.child.kill()?;
        }
        Ok(self.child.wait()?)
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
