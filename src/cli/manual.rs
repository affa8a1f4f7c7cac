//! `jobwright man`: the man pages of the program and of its commands, and the reference of the command line in Markdown.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, Command};
use thiserror::Error;

use super::usage_examples;
use crate::client::cluster::exit_with;
use crate::client::output;

/// Section of the man pages that all commands share.
const SEE_ALSO: &str = "jobwright(1), kubectl(1)";

/// Environment variables that the commands read.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("KUBECONFIG", "Kubeconfig files, separated by colons; files that do not exist are skipped"),
    ("NO_COLOR", "If set, the output has no colors"),
    ("COLUMNS", "Width of the output in characters; default: the width of the terminal, or 100"),
    ("TERM", "With the value dumb, the output has no colors"),
];

/// Exit codes of the other commands.
const USUAL_EXIT_CODES: &[(&str, &str)] =
    &[("0", "the command has printed its answer"), ("1", "an error"), ("2", "a flag or an argument is invalid")];

/// Exit codes of the commands whose codes have a meaning beyond success and failure.
const EXIT_CODES: &[(&str, &[(&str, &str)])] = &[
    ("check", &[("0", "no finding of the severity of --fail-on"), ("1", "such findings"), ("2", "an error")]),
    (
        "explain",
        &[
            ("0", "the objects were explained; without a name: no Job is stuck, failing or failed"),
            ("1", "an error; without a name: a Job is stuck, failing or failed"),
            ("2", "without a name: an error"),
        ],
    ),
    (
        "logs",
        &[
            ("0", "the logs were printed; with --follow: the Job is complete"),
            ("1", "with --follow: the Job has failed"),
            ("2", "an error, or a log that could not be read"),
        ],
    ),
    (
        "rerun",
        &[
            ("0", "the Job was created; with --watch: the new Job is complete"),
            ("1", "with --watch: the new Job has failed"),
            ("2", "an error"),
            ("124", "with --timeout: the timeout has passed"),
        ],
    ),
    ("status", &[("0", "no problem"), ("1", "a problem, which the output names"), ("2", "an error")]),
    (
        "trigger",
        &[
            ("0", "the Job was created; with --watch: the Job is complete"),
            ("1", "an error"),
            ("2", "with --watch: the Job has failed"),
            ("124", "with --timeout: the timeout has passed"),
        ],
    ),
    (
        "wait",
        &[
            ("0", "all Jobs are complete"),
            ("1", "all Jobs are finished, and at least one has failed"),
            ("2", "an error, or a Job was deleted before it finished"),
            ("124", "the timeout has passed"),
        ],
    ),
];

/// The flags of `jobwright man`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Command whose page is printed; default: the page of the program
    #[arg(value_name = "COMMAND", conflicts_with = "directory")]
    command: Option<String>,
    /// Write the page of the program and of each command to this folder
    #[arg(long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
}

/// Reason why no page is printed.
#[derive(Debug, Error)]
enum ManualError {
    #[error("there is no command {0:?}; the commands are {1}")]
    NoCommand(String, String),
    #[error("cannot write {}: {reason}", .path.display())]
    Unwritable { path: PathBuf, reason: String },
}

/// Prints a page, or writes all pages.
pub fn main(arguments: &Arguments) -> ExitCode {
    exit_with(run(arguments).map(|()| ExitCode::SUCCESS))
}

fn run(arguments: &Arguments) -> Result<(), ManualError> {
    let root = super::definition();
    if let Some(directory) = &arguments.directory {
        return write(&root, directory);
    }
    let Some(name) = &arguments.command else {
        output::print(program_page(&root));
        return Ok(());
    };
    let found = shown(&root).find(|command| command.get_name() == name);
    let names = || shown(&root).map(Command::get_name).collect::<Vec<_>>().join(", ");
    let command = found.ok_or_else(|| ManualError::NoCommand(name.clone(), names()))?;
    output::print(page(command));
    Ok(())
}

fn write(root: &Command, directory: &Path) -> Result<(), ManualError> {
    let unwritable = |path: &Path, error: std::io::Error| ManualError::Unwritable {
        path: path.to_owned(),
        reason: output::io_reason(&error),
    };
    std::fs::create_dir_all(directory).map_err(|error| unwritable(directory, error))?;
    let pages = shown(root).map(|command| (format!("jobwright-{}.1", command.get_name()), page(command)));
    for (name, text) in pages.chain([("jobwright.1".to_owned(), program_page(root))]) {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|error| unwritable(&path, error))?;
    }
    Ok(())
}

/// Returns the commands that users call.
fn shown(root: &Command) -> impl Iterator<Item = &Command> {
    root.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

fn program_page(root: &Command) -> String {
    let mut text = Vec::new();
    // A write to memory does not fail.
    let _ = clap_mangen::Man::new(root.clone()).render(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Returns the man page of a command.
fn page(command: &Command) -> String {
    let title = format!("jobwright-{}", command.get_name());
    let mut text = Vec::new();
    let man = clap_mangen::Man::new(command.clone().display_name(title));
    let _ = man.render(&mut text);
    let mut text = String::from_utf8_lossy(&text).into_owned();
    let definitions = |title: &str, entries: &[(&str, &str)]| {
        let entries = entries.iter().map(|(term, meaning)| format!(".TP\n\\fB{}\\fR\n{meaning}\n", roff(term)));
        format!(".SH \"{title}\"\n{}", entries.collect::<String>())
    };
    text += &definitions("EXIT STATUS", exit_codes(command).unwrap_or(USUAL_EXIT_CODES));
    text += &definitions("ENVIRONMENT", ENVIRONMENT);
    let examples = usage_examples::of(command.get_name());
    let examples =
        examples.iter().map(|(purpose, line)| format!(".TP\n{purpose}:\n\\fBjobwright {}\\fR\n", roff(line)));
    text += &format!(".SH EXAMPLES\n{}", examples.collect::<String>());
    text + &format!(".SH \"SEE ALSO\"\n{SEE_ALSO}\n")
}

/// Returns the text with escaped hyphens and quotes, so that a reader can copy it as a command.
fn roff(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq")
}

fn exit_codes(command: &Command) -> Option<&'static [(&'static str, &'static str)]> {
    EXIT_CODES.iter().find(|(name, _)| *name == command.get_name()).map(|(_, codes)| *codes)
}

/// Returns the reference of all commands in Markdown: `docs/cli.md`.
pub fn markdown() -> String {
    let root = super::definition();
    let mut text = "# Command line\n\nGenerated from the definition of the command line by `tests/reference.rs`. With a link named\n\
                    `kubectl-jobwright` to the binary on the `PATH`, each command is also called as `kubectl jobwright …`.\n\n"
        .to_owned();
    text += "| command | purpose |\n|---|---|\n";
    for command in shown(&root) {
        let name = command.get_name();
        text += &format!("| [`jobwright {name}`](#jobwright-{name}) | {} |\n", about(command).replace('|', "\\|"));
    }
    text += "\n## Global options\n\nEvery command accepts these flags, before and after its name.\n\n";
    text += &table(root.get_arguments().filter(|arg| arg.is_global_set()));
    for command in shown(&root) {
        text += &format!("\n## jobwright {}\n\n{}\n", command.get_name(), wrapped(&format!("{}.", about(command))));
        let usage = command.clone().render_usage().to_string();
        text += &format!("\n    {}\n", usage.trim_start_matches("Usage: ").replace('\n', "\n    "));
        let own: Vec<&Arg> = command.get_arguments().filter(|arg| !arg.is_global_set() && is_own(arg)).collect();
        if !own.is_empty() {
            text += &format!("\n{}", table(own.into_iter()));
        }
        if let Some(codes) = exit_codes(command) {
            let rows = codes.iter().map(|(code, meaning)| format!("| {code} | {meaning} |\n"));
            text += &format!("\n| exit code | meaning |\n|---|---|\n{}", rows.collect::<String>());
        }
    }
    text
}

fn is_own(arg: &Arg) -> bool {
    !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version")
}

fn about(command: &Command) -> String {
    one_paragraph(&command.get_about().map(ToString::to_string).unwrap_or_default())
}

fn table<'a>(arguments: impl Iterator<Item = &'a Arg>) -> String {
    let mut text = "| flag | meaning |\n|---|---|\n".to_owned();
    for arg in arguments.filter(|arg| is_own(arg)) {
        let values: Vec<&str> =
            arg.get_value_names().unwrap_or_default().iter().map(clap::builder::Str::as_str).collect();
        let value = values.first().copied().unwrap_or_default();
        let flag = match (arg.get_short(), arg.get_long()) {
            (None, None) => value.to_owned(),
            (short, long) => {
                let names = [short.map(|short| format!("-{short}")), long.map(|long| format!("--{long}"))];
                let names = names.into_iter().flatten().collect::<Vec<_>>().join(", ");
                if arg.get_action().takes_values() { format!("{names} {value}") } else { names }
            }
        };
        let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let possible: Vec<String> =
            arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
        if !possible.is_empty() && arg.get_action().takes_values() {
            help += &format!(" ({})", possible.join(", "));
        }
        let defaults: Vec<String> =
            arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
        if !defaults.is_empty() && arg.get_action().takes_values() {
            help += &format!("; default `{}`", defaults.join(","));
        }
        let [flag, help] = [flag.trim(), &one_paragraph(&help)].map(|text| text.replace('|', "\\|"));
        text += &format!("| `{flag}` | {help} |\n");
    }
    text
}

fn one_paragraph(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the text in lines of at most 100 characters.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > 100 {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page_with_its_flags() {
        let root = super::super::definition();
        for command in shown(&root) {
            let page = page(command);
            let title = format!(".TH jobwright-{} 1", command.get_name());
            for part in [&title, ".SH \"EXIT STATUS\"", ".SH \"ENVIRONMENT\"", ".SH EXAMPLES", ".SH \"SEE ALSO\""] {
                assert!(page.contains(part), "{part}: {page}");
            }
        }
        let wait = shown(&root).find(|command| command.get_name() == "wait").unwrap();
        assert!(page(wait).contains("\\fB124\\fR\nthe timeout has passed") && page(wait).contains("timeout"));
        assert!(page(wait).contains("\\fBjobwright wait job/etl \\-\\-timeout 10m\\fR"), "{}", page(wait));
        assert!(program_page(&root).contains(".TH jobwright 1"));
        for (name, _) in EXIT_CODES {
            assert!(shown(&root).any(|command| command.get_name() == *name), "{name}");
        }
    }

    #[test]
    fn pages_are_written_to_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        write(&super::super::definition(), folder.path()).unwrap();
        assert!(folder.path().join("jobwright-rerun.1").exists() && folder.path().join("jobwright.1").exists());
        let file = folder.path().join("jobwright.1");
        let error = write(&super::super::definition(), &file).unwrap_err().to_string();
        assert!(error.starts_with("cannot write "), "{error}");
    }
}
