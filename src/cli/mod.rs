//! The command line: one file a subcommand.

pub mod connect;
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
    Run(run::Arguments),
    /// Tell the version, the commit, and the Kubernetes API it was built for
    Version,
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(arguments) => run::main(&arguments),
        Command::Version => {
            println!("{}", version::text());
            ExitCode::SUCCESS
        }
    }
}
