//! The `jobwright` binary: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    jobwright::cli::main()
}
