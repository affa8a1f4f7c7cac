//! The command line. Each subcommand has a module with its arguments and a function `main`.

#![warn(clippy::print_stderr, reason = "the macros panic when the output is closed; see `output`")]

#[cfg(feature = "client")]
pub mod backfill;
#[cfg(feature = "client")]
pub mod check;
#[cfg(feature = "client")]
pub mod complete;
pub mod crds;
#[cfg(feature = "client")]
pub mod explain;
pub mod global;
#[cfg(feature = "client")]
pub mod history;
#[cfg(feature = "client")]
pub mod logs;
#[cfg(feature = "client")]
pub mod manual;
#[cfg(feature = "client")]
pub mod next;
#[cfg(feature = "client")]
pub mod rerun;
#[cfg(feature = "client")]
pub mod resource_reference;
#[cfg(feature = "controller")]
pub mod run;
#[cfg(feature = "client")]
pub mod schemas;
#[cfg(feature = "client")]
pub mod status;
#[cfg(feature = "client")]
pub mod suspend;
#[cfg(feature = "client")]
pub mod timeline;
#[cfg(feature = "client")]
pub mod top;
#[cfg(feature = "client")]
pub mod trigger;
#[cfg(feature = "ui")]
pub mod ui;
pub mod uninstall;
#[cfg(feature = "client")]
mod usage_examples;
pub mod version;
#[cfg(feature = "client")]
pub mod wait;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::global::GlobalArguments;

/// Name of the binary, or of a link to the binary, under which kubectl finds it as a plugin.
const PLUGIN: &str = "kubectl-jobwright";

/// Runs Kubernetes Jobs.
#[derive(Debug, Parser)]
#[command(name = "jobwright", version)]
struct Arguments {
    #[command(flatten)]
    global: GlobalArguments,
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
    /// Explain what a Job, CronJob, JobSchedule or JobLimit is doing, or why it is stuck; without a name, list the Jobs
    /// that are stuck, failing or failed
    #[cfg(feature = "client")]
    Explain(explain::Arguments),
    /// Show a Job's pods over time, as a chart in the terminal or a picture
    #[cfg(feature = "client")]
    Timeline(timeline::Arguments),
    /// Show unfinished Jobs live, with progress, rates and the estimated time left
    #[cfg(feature = "client")]
    Top(top::Arguments),
    /// Run past times of a CronJob or JobSchedule
    #[cfg(feature = "client")]
    Backfill(backfill::Arguments),
    /// Start a CronJob's or JobSchedule's Job now, and follow it to its end with --watch
    #[cfg(feature = "client")]
    Trigger(trigger::Arguments),
    /// Wait until Jobs are complete or have failed; the exit code is 0, or 1 if a Job has failed, 2 after an error, and
    /// 124 after the timeout
    #[cfg(feature = "client")]
    Wait(wait::Arguments),
    /// Run a finished Job again under a new name, with another image, environment, arguments or command if needed
    #[cfg(feature = "client")]
    Rerun(rerun::Arguments),
    /// Print the logs of all pods of a Job, and follow them to its end with --follow
    #[cfg(feature = "client")]
    Logs(logs::Arguments),
    /// List the runs of a CronJob or JobSchedule, or of a Job and its repetitions, with durations and outcomes
    #[cfg(feature = "client")]
    History(history::Arguments),
    /// Suspend Jobs, CronJobs and JobSchedules
    #[cfg(feature = "client")]
    Suspend(suspend::Arguments),
    /// Resume suspended Jobs, CronJobs and JobSchedules
    #[cfg(feature = "client")]
    Resume(suspend::Arguments),
    /// Report whether a controller is alive, its version and leader, the installed resources and the permissions of the
    /// user
    #[cfg(feature = "client")]
    Status(status::Arguments),
    /// Open the console in a browser: Jobs with their states and causes, live, with the permissions of the user
    #[cfg(feature = "ui")]
    Ui(ui::Arguments),
    /// Lint manifests of Jobs, CronJobs, JobSchedules, Calendars and JobLimits
    #[cfg(feature = "client")]
    Check(check::Arguments),
    /// Check whether Jobwright can be uninstalled without pods that hang in deletion afterwards
    UninstallCheck(uninstall::check::Arguments),
    /// Remove the finalizer of Jobs' pods that no controller works on, once Jobwright is uninstalled
    RemoveFinalizers(uninstall::remove::Arguments),
    /// Print the manifests of JobSchedule, Calendar, JobLimit and JobPolicy, for kubectl apply
    Crds,
    /// Print the version, the commit, the Kubernetes API version, and the version of the time zone data in use
    Version(version::Arguments),
    /// Print the completions for a shell, to be sourced by it
    #[cfg(feature = "client")]
    Completions {
        /// Shell to print completions for
        #[arg(value_enum)]
        shell: complete::Shell,
    },
    /// Print the candidates for the last word in a command line
    #[cfg(feature = "client")]
    #[command(name = "__complete", hide = true)]
    Complete {
        /// Words of the command line after the name of the program
        #[arg(last = true)]
        words: Vec<String>,
    },
    /// Print the man page of a command, or write all pages to a folder
    #[cfg(feature = "client")]
    Man(manual::Arguments),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let mut command = command(std::env::args_os().next().as_ref());
    let matches = command.get_matches_mut();
    let Arguments { global, command: chosen } = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.format(&mut command).exit(),
    };
    #[cfg(feature = "controller")]
    if let Command::Run(arguments) = chosen {
        return run::main(&arguments, global.cluster);
    }
    crate::client::output::report_panics_in_one_line();
    global.start_log();
    match chosen {
        #[cfg(feature = "controller")]
        Command::Run(_) => ExitCode::SUCCESS,
        #[cfg(feature = "client")]
        Command::Next(arguments) => next::main(&arguments, &global),
        #[cfg(feature = "client")]
        Command::Explain(arguments) => explain::main(&arguments, &global),
        #[cfg(feature = "client")]
        Command::Timeline(arguments) => timeline::main(&arguments, &global),
        #[cfg(feature = "client")]
        Command::Top(arguments) => top::main(&arguments, &global),
        #[cfg(feature = "client")]
        Command::Backfill(arguments) => backfill::main(&arguments, &global),
        #[cfg(feature = "client")]
        Command::Trigger(arguments) => trigger::main(&arguments, &global),
        #[cfg(feature = "client")]
        Command::Wait(arguments) => wait::main(&arguments, &global),
        #[cfg(feature = "client")]
        Command::Rerun(arguments) => rerun::main(&arguments, &global),
        #[cfg(feature = "client")]
        Command::Logs(arguments) => logs::main(&arguments, &global),
        #[cfg(feature = "client")]
        Command::History(arguments) => history::main(&arguments, &global),
        #[cfg(feature = "client")]
        Command::Suspend(arguments) => suspend::main(&arguments, &global, true),
        #[cfg(feature = "client")]
        Command::Resume(arguments) => suspend::main(&arguments, &global, false),
        #[cfg(feature = "client")]
        Command::Status(arguments) => status::main(&arguments, &global),
        #[cfg(feature = "ui")]
        Command::Ui(arguments) => ui::main(&arguments, &global),
        #[cfg(feature = "client")]
        Command::Check(arguments) => check::main(&arguments),
        Command::UninstallCheck(arguments) => uninstall::check::main(&arguments, &global),
        Command::RemoveFinalizers(arguments) => uninstall::remove::main(&arguments, &global),
        Command::Crds => crds::main(),
        Command::Version(arguments) => version::main(&arguments),
        #[cfg(feature = "client")]
        Command::Completions { shell } => complete::script(shell),
        #[cfg(feature = "client")]
        Command::Complete { words } => complete::main(&words),
        #[cfg(feature = "client")]
        Command::Man(arguments) => manual::main(&arguments),
    }
}

/// Returns the definition of the command line, with the global flags in every command.
#[cfg(feature = "client")]
fn definition() -> clap::Command {
    let mut command = Arguments::command();
    command.build();
    command
}

/// Returns the command under which the user called this program: its own name, or that of the kubectl plugin.
pub fn program() -> &'static str {
    if is_plugin(std::env::args_os().next().as_ref()) { "kubectl jobwright" } else { "jobwright" }
}

fn is_plugin(program: Option<&OsString>) -> bool {
    program.and_then(|program| Path::new(program).file_stem()).is_some_and(|name| name == PLUGIN)
}

/// Returns the parser of the command line. Help texts show the name under which the binary was called: its own, or that
/// of a kubectl plugin.
fn command(program: Option<&OsString>) -> clap::Command {
    let (command, plugin) = (Arguments::command(), is_plugin(program));
    #[cfg(feature = "client")]
    let command = usage_examples::in_help(command, if plugin { "kubectl jobwright" } else { "jobwright" });
    if plugin { command.bin_name("kubectl jobwright") } else { command }
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

    #[cfg(feature = "client")]
    fn parsed(words: &str) -> Arguments {
        let matches = command(None).try_get_matches_from(words.split_whitespace()).unwrap();
        Arguments::from_arg_matches(&matches).unwrap()
    }

    #[cfg(feature = "client")]
    #[test]
    fn global_flags_work_before_and_after_the_command() {
        let flags = "-n ux --context=c --cluster=d --user=u --as=jane --as-group=a --as-group=b --token=t --server=s \
                     --request-timeout=5s --kubeconfig=/k -v 6 --color=never";
        for words in [format!("jobwright {flags} explain job/a"), format!("jobwright explain job/a {flags}")] {
            let global = parsed(&words).global;
            let cluster = &global.cluster;
            let texts = [&global.namespace, &cluster.context, &cluster.cluster, &cluster.user, &cluster.impersonate];
            assert_eq!(texts.map(|text| text.as_deref().unwrap_or_default()), ["ux", "c", "d", "u", "jane"], "{words}");
            assert_eq!(cluster.impersonate_groups, ["a", "b"]);
            assert_eq!((cluster.token.as_deref(), cluster.server.as_deref()), (Some("t"), Some("s")));
            assert_eq!(cluster.request_timeout, Some(std::time::Duration::from_secs(5)));
            assert_eq!(cluster.kubeconfig.as_deref(), Some(Path::new("/k")));
            assert_eq!((global.verbosity, global.color), (6, crate::client::terminal::ColorChoice::Never));
        }
    }

    #[cfg(all(feature = "client", feature = "controller"))]
    #[test]
    fn environment_of_the_controller_belongs_to_run_only() {
        let mut command = command(None);
        command.build();
        for subcommand in command.get_subcommands().filter(|one| one.get_name() != "run") {
            for argument in ["kubeconfig", "context", "namespace"] {
                let found = subcommand.get_arguments().find(|one| one.get_id() == argument);
                assert_eq!(found.and_then(|found| found.get_env()), None, "{} {argument}", subcommand.get_name());
            }
        }
        let run = command.get_subcommands().find(|one| one.get_name() == "run").unwrap();
        let namespace = run.get_arguments().find(|one| one.get_id() == "namespace").unwrap();
        assert_eq!(namespace.get_env(), Some(std::ffi::OsStr::new("JOBWRIGHT_NAMESPACE")));
    }
}
