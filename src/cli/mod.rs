//! The command line: one file a subcommand.

pub mod connect;
pub mod next;
pub mod rights;
pub mod run;
pub mod version;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs Kubernetes Jobs.
#[derive(Debug, Parser)]
#[command(name = "jobwright", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller until it is told to stop
    Run(Box<run::Arguments>),
    /// Tell when a schedule or a CronJob is due next, in its zone and in UTC, and where clock changes get in its way
    Next(next::Arguments),
    /// Tell the version, the commit, the Kubernetes API it was built for, and the time zone data in use
    Version,
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(arguments) => run::main(&arguments),
        Command::Next(arguments) => next::main(&arguments),
        Command::Version => {
            println!("{}", version::text());
            ExitCode::SUCCESS
        }
    }
}
