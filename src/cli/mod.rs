//! The command line. Each subcommand has a module with its arguments and a function `main`.

#![allow(clippy::print_stdout, reason = "the commands print their results")]

#[cfg(feature = "client")]
pub mod check;
pub mod cluster;
pub mod connect;
pub mod crds;
mod duration;
#[cfg(feature = "client")]
pub mod explain;
#[cfg(feature = "client")]
pub mod next;
pub mod permissions;
#[cfg(feature = "controller")]
pub mod run;
#[cfg(feature = "client")]
pub mod timeline;
#[cfg(feature = "client")]
pub mod top;
#[cfg(feature = "client")]
pub mod trigger;
pub mod uninstall;
pub mod version;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use jiff::Timestamp;

/// Name of the binary, or of a link to the binary, under which kubectl finds it as a plugin.
const PLUGIN: &str = "kubectl-jobwright";

/// Returns the present time, which a command compares with the times of objects.
#[expect(clippy::disallowed_methods, reason = "the only place where the commands read the clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Runs Kubernetes Jobs.
#[derive(Debug, Parser)]
#[command(name = "jobwright", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller until SIGTERM or SIGINT
    #[cfg(feature = "controller")]
    Run(Box<run::Arguments>),
    /// Print when a schedule, CronJob or JobSchedule is due next, in its zone and in UTC, and which clock changes
    /// affect it
    #[cfg(feature = "client")]
    Next(next::Arguments),
    /// Explain what a Job, CronJob or JobSchedule is doing, or why it does nothing
    #[cfg(feature = "client")]
    Explain(explain::Arguments),
    /// Show a Job's pods over time, as a chart in the terminal or a picture
    #[cfg(feature = "client")]
    Timeline(timeline::Arguments),
    /// Show unfinished Jobs live, with progress, rates and the estimated time left
    #[cfg(feature = "client")]
    Top(top::Arguments),
    /// Start a CronJob's or JobSchedule's Job now, and follow it to its end with --watch
    #[cfg(feature = "client")]
    Trigger(trigger::Arguments),
    /// Find likely mistakes in manifests of Jobs, CronJobs and JobSchedules
    #[cfg(feature = "client")]
    Check(check::Arguments),
    /// Check whether Jobwright can be uninstalled without pods that hang in deletion afterwards
    UninstallCheck(uninstall::check::Arguments),
    /// Remove the finalizer of Jobs' pods that no controller works on, once Jobwright is uninstalled
    RemoveFinalizers(uninstall::remove::Arguments),
    /// Print the manifests of JobSchedule and JobLimit, for kubectl apply
    Crds,
    /// Print the version, the commit, the Kubernetes API version, and the version of the time zone data in use
    Version,
    /// Print the completions for a shell, to be sourced by it
    #[cfg(feature = "client")]
    Completions {
        /// Shell to print completions for
        shell: clap_complete::Shell,
    },
    /// Print the man page
    #[cfg(feature = "client")]
    Man,
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let mut command = command(arguments.first());
    let matches = command.get_matches_mut();
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.format(&mut command).exit(),
    };
    match arguments.command {
        #[cfg(feature = "controller")]
        Command::Run(arguments) => run::main(&arguments),
        #[cfg(feature = "client")]
        Command::Next(arguments) => next::main(&arguments),
        #[cfg(feature = "client")]
        Command::Explain(arguments) => explain::main(&arguments),
        #[cfg(feature = "client")]
        Command::Timeline(arguments) => timeline::main(&arguments),
        #[cfg(feature = "client")]
        Command::Top(arguments) => top::main(&arguments),
        #[cfg(feature = "client")]
        Command::Trigger(arguments) => trigger::main(&arguments),
        #[cfg(feature = "client")]
        Command::Check(arguments) => check::main(&arguments),
        Command::UninstallCheck(arguments) => uninstall::check::main(&arguments),
        Command::RemoveFinalizers(arguments) => uninstall::remove::main(&arguments),
        Command::Crds => crds::main(),
        Command::Version => {
            println!("{}", version::text());
            ExitCode::SUCCESS
        }
        #[cfg(feature = "client")]
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut command, "jobwright", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        #[cfg(feature = "client")]
        Command::Man => match clap_mangen::Man::new(command).render(&mut std::io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            // The reader of standard output has closed it.
            Err(_) => ExitCode::FAILURE,
        },
    }
}

/// Returns the parser of the command line. Help texts show the name under which the binary was called: its own, or that
/// of a kubectl plugin.
fn command(program: Option<&OsString>) -> clap::Command {
    let name = program.and_then(|program| Path::new(program).file_stem()).unwrap_or_default();
    let command = Arguments::command();
    if name == PLUGIN { command.bin_name("kubectl jobwright") } else { command }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_valid_under_both_names() {
        command(None).debug_assert();
        let mut plugin = command(Some(&OsString::from("/usr/local/bin/kubectl-jobwright")));
        plugin.build();
        let usage = plugin.find_subcommand_mut("explain").unwrap().render_usage().to_string();
        assert!(usage.starts_with("Usage: kubectl jobwright explain "), "{usage}");
    }
}
