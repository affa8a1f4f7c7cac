//! Examples of each command, for `--help` and the man pages.

use clap::Command;

/// Command lines with their purposes, by command. A command line begins with the name of the command.
const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    ("run", &[("Work on the Jobs of one namespace", "run --namespace etl --listen 0.0.0.0:8080")]),
    (
        "next",
        &[
            ("Print the next times of a schedule in a time zone", "next '30 2 * * *' --time-zone Europe/Paris"),
            ("Print the next 10 times of a CronJob", "next cronjob/nightly -c 10"),
            ("Print the times of the schedules in manifests", "next -f cronjobs.yaml --from 2026-03-28"),
        ],
    ),
    (
        "explain",
        &[
            ("List the Jobs of all namespaces that need attention", "explain -A"),
            ("Explain why a Job is stuck", "explain job/etl"),
            ("Explain the Jobs with a label, for a program", "explain jobs -l app=etl -o json"),
        ],
    ),
    (
        "timeline",
        &[
            ("Draw the pods of a Job over time", "timeline job/etl"),
            ("Store the chart as a picture", "timeline job/etl -o svg"),
        ],
    ),
    (
        "top",
        &[
            ("Show the unfinished Jobs of all namespaces live", "top -A"),
            ("Print all Jobs once, the most failures first", "top --all --once --sort failed"),
        ],
    ),
    (
        "backfill",
        &[
            (
                "Show which past times of a CronJob would be run",
                "backfill cronjob/nightly --from 2026-01-01 --to 2026-01-31 --dry-run=client",
            ),
            (
                "Run the past times of a JobSchedule, two at a time",
                "backfill jobschedule/nightly --from 2026-01-01 --to 2026-01-31 --max-active 2",
            ),
        ],
    ),
    (
        "trigger",
        &[
            ("Start a Job of a CronJob, and follow the Job", "trigger cronjob/nightly --watch --timeout 1h"),
            ("Start a Job with another variable", "trigger cronjob/nightly --env MODE=full"),
        ],
    ),
    (
        "wait",
        &[
            ("Wait for a Job", "wait job/etl --timeout 10m"),
            ("Wait for all Jobs with a label", "wait -l app=etl --quiet"),
        ],
    ),
    (
        "rerun",
        &[
            ("Run a failed Job again, and wait for the new Job", "rerun job/etl --watch"),
            ("Run a Job again with another command", "rerun job/etl -- sh -c 'run --from 3'"),
        ],
    ),
    (
        "logs",
        &[
            ("Follow the logs of all pods of a Job", "logs job/etl --follow"),
            ("Print the end of the logs of failed containers", "logs job/etl --failed --tail 20"),
        ],
    ),
    (
        "history",
        &[
            ("List the runs of a CronJob", "history cronjob/nightly"),
            ("List a Job with its repetitions, with more columns", "history job/etl -o wide"),
        ],
    ),
    (
        "suspend",
        &[
            ("Suspend a CronJob", "suspend cronjob/nightly"),
            ("Print what a selector would suspend", "suspend jobs -l app=etl --dry-run=client"),
        ],
    ),
    (
        "resume",
        &[("Resume a Job", "resume job/etl"), ("Resume all CronJobs of a namespace", "resume cronjobs --all -n etl")],
    ),
    (
        "status",
        &[("Report the state of the installation", "status"), ("List each permission", "status -n etl -o wide")],
    ),
    (
        "ui",
        &[
            ("Open the console in the browser, with the Jobs that the user may list", "ui --open"),
            ("Show one namespace, on another port, without actions", "ui -n etl --port=8080 --read-only"),
        ],
    ),
    (
        "check",
        &[
            ("Check the manifests in a folder and in its folders", "check -R -f deploy/"),
            ("Check what Helm renders: helm template . | …", "check -f -"),
            ("Fail only for what the API server refuses", "check -f jobs.yaml --fail-on error"),
        ],
    ),
    ("uninstall-check", &[("Check whether Jobwright can be uninstalled", "uninstall-check")]),
    ("remove-finalizers", &[("Print which pods would be changed", "remove-finalizers --dry-run=server")]),
    ("crds", &[("Install JobSchedule, Calendar, JobLimit and JobPolicy: … | kubectl apply -f -", "crds")]),
    ("version", &[("Print the version, for a program", "version -o json")]),
    ("completions", &[("Complete commands in the running bash: source <(…)", "completions bash")]),
    (
        "man",
        &[("Print the page of a command: … | man -l -", "man explain"), ("Write all pages", "man --directory man1")],
    ),
];

/// Returns the examples of a command.
pub(super) fn of(command: &str) -> &'static [(&'static str, &'static str)] {
    EXAMPLES.iter().find(|(name, _)| *name == command).map(|(_, examples)| *examples).unwrap_or_default()
}

/// Adds the examples to the help of each command. `program` is the name under which the user called this program.
pub(super) fn in_help(mut root: Command, program: &str) -> Command {
    let names: Vec<String> = root.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for name in names {
        let lines: Vec<String> =
            of(&name).iter().map(|(purpose, line)| format!("  # {purpose}\n  {program} {line}")).collect();
        if !lines.is_empty() {
            root =
                root.mut_subcommand(&name, |command| command.after_help(format!("Examples:\n{}", lines.join("\n\n"))));
        }
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;

    /// Splits a command line as a shell does, with single quotes only.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut quoted) = (vec![String::new()], false);
        for character in line.chars() {
            match character {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                other => words.last_mut().unwrap().push(other),
            }
        }
        words
    }

    #[test]
    fn each_command_has_examples_and_each_example_is_valid() {
        let root = command(None);
        let shown = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
        for subcommand in root.get_subcommands().filter(shown) {
            let (name, examples) = (subcommand.get_name(), of(subcommand.get_name()));
            assert!(!examples.is_empty(), "{name}");
            for (purpose, line) in examples {
                assert!(line.split(' ').next() == Some(name) && !purpose.ends_with('.'), "{name}: {line}");
                let parsed = command(None).try_get_matches_from([vec!["jobwright".to_owned()], words(line)].concat());
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn help_has_the_examples_under_the_name_of_the_program() {
        let plugin = std::ffi::OsString::from("/bin/kubectl-jobwright");
        for (program, expected) in [(None, "\n  jobwright wait"), (Some(&plugin), "\n  kubectl jobwright wait")] {
            let mut root = command(program);
            let help = root.find_subcommand_mut("wait").unwrap().render_help().to_string();
            assert!(help.contains("Examples:\n  # Wait for a Job") && help.contains(expected), "{help}");
        }
    }
}
