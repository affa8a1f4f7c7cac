//! Resource usage of a process, as counted by the kernel.

use std::fs;

use anyhow::{Context, Result};

/// Resources that a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Processor time, in seconds.
    pub cpu_s: f64,
    /// Maximum resident memory since [`reset_peak`], in MiB.
    pub peak_mib: f64,
    /// Current resident memory, in MiB.
    pub now_mib: f64,
}

/// Returns the usage of the process `pid`.
pub fn of(pid: u32) -> Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    // The second field is the name of the program in parentheses, which can contain spaces and parentheses.
    let fields: Vec<&str> = stat.rsplit_once(')').context("a name")?.1.split_whitespace().collect();
    let ticks = |number: usize| -> Result<f64> { Ok(fields.get(number - 3).context("a field")?.parse()?) };
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mib = |name: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| name.to_owned())?;
        Ok(line.split_whitespace().next().context("a number")?.parse::<f64>()? / 1024.0)
    };
    Ok(Usage {
        cpu_s: (ticks(14)? + ticks(15)?) / rustix::param::clock_ticks_per_second() as f64,
        peak_mib: mib("VmHWM:")?,
        now_mib: mib("VmRSS:")?,
    })
}

/// Resets the maximum of the resident memory of a process.
pub fn reset_peak(pid: u32) -> Result<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}
