//! Candidates for the last word in a command line: pure rules over the definition of the command line.

use clap::{Arg, Command};

use crate::client::names::Kind;

/// Kinds that each command accepts as TYPE/NAME.
const KINDS: &[(&str, &[Kind])] = &[
    ("backfill", &[Kind::CronJob, Kind::JobSchedule]),
    ("explain", &[Kind::Job, Kind::CronJob, Kind::JobSchedule, Kind::JobLimit]),
    ("history", &[Kind::CronJob, Kind::JobSchedule, Kind::Job]),
    ("logs", &[Kind::Job]),
    ("next", &[Kind::CronJob, Kind::JobSchedule]),
    ("rerun", &[Kind::Job]),
    ("resume", &[Kind::Job, Kind::CronJob, Kind::JobSchedule]),
    ("suspend", &[Kind::Job, Kind::CronJob, Kind::JobSchedule]),
    ("timeline", &[Kind::Job]),
    ("trigger", &[Kind::CronJob, Kind::JobSchedule]),
    ("wait", &[Kind::Job]),
];

/// Candidate for the last word, with a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub text: String,
    pub help: String,
}

/// What completes the last word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Completion {
    /// One of these words.
    Words(Vec<Candidate>),
    /// A type, which is followed by `/` and a name.
    Types(Vec<Candidate>),
    /// The name of an object of this kind, after this prefix.
    Names { prefix: String, kind: Kind },
    /// A namespace, after this prefix.
    Namespaces { prefix: String },
    /// A name in the kubeconfig, after this prefix.
    Kubeconfig { prefix: String, list: KubeconfigList },
    /// A file.
    Files,
    /// Nothing.
    Nothing,
}

/// List of names in a kubeconfig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KubeconfigList {
    Contexts,
    Clusters,
    Users,
}

/// Result of reading a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    /// What completes the last word.
    pub completion: Completion,
    /// The flags that select the cluster, with their values, such as `--context=prod`.
    pub global: Vec<String>,
}

/// Reads a command line without the name of the program. The last word is the one to complete.
pub(super) fn parse(root: &Command, words: &[String]) -> Parsed {
    let (last, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut reader =
        Reader { command: root, path: None, pending: None, positionals: Vec::new(), raw: false, global: Vec::new() };
    before.iter().for_each(|word| reader.take(word));
    Parsed { completion: reader.complete(last), global: reader.global }
}

struct Reader<'a> {
    command: &'a Command,
    /// Name of the subcommand.
    path: Option<String>,
    /// Flag whose value is the next word.
    pending: Option<&'a Arg>,
    positionals: Vec<String>,
    /// Whether `--` was read.
    raw: bool,
    global: Vec<String>,
}

impl<'a> Reader<'a> {
    /// Returns the flags of the current command. The definition has the global flags in every command.
    fn flags(&self) -> impl Iterator<Item = &'a Arg> + use<'a> {
        self.command.get_arguments().filter(|arg| !arg.is_positional())
    }

    fn long(&self, name: &str) -> Option<&'a Arg> {
        self.flags().find(|arg| arg.get_long() == Some(name))
    }

    fn take(&mut self, word: &str) {
        if let Some(arg) = self.pending.take() {
            return self.value(arg, word);
        }
        if self.raw {
            return self.positionals.push(word.to_owned());
        }
        if word == "--" {
            self.raw = true;
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            match (self.long(name), value) {
                (Some(arg), Some(value)) => self.value(arg, value),
                (Some(arg), None) if arg.get_action().takes_values() => self.pending = Some(arg),
                _ => {}
            }
        } else if word.len() > 1 && word.starts_with('-') {
            self.shorts(&word[1..]);
        } else if let Some(command) = self.command.find_subcommand(word).filter(|_| self.path.is_none()) {
            self.path = Some(command.get_name().to_owned());
            self.command = command;
        } else {
            self.positionals.push(word.to_owned());
        }
    }

    /// Reads short flags such as `-An` and `-nVALUE`.
    fn shorts(&mut self, letters: &str) {
        for (place, letter) in letters.char_indices() {
            let Some(arg) = self.flags().find(|arg| arg.get_short() == Some(letter)) else { return };
            if arg.get_action().takes_values() {
                let rest = &letters[place + letter.len_utf8()..];
                if rest.is_empty() {
                    self.pending = Some(arg);
                } else {
                    self.value(arg, rest.strip_prefix('=').unwrap_or(rest));
                }
                return;
            }
        }
    }

    fn value(&mut self, arg: &Arg, value: &str) {
        if arg.is_global_set()
            && let Some(long) = arg.get_long()
        {
            self.global.push(format!("--{long}={value}"));
        }
    }

    fn complete(&self, last: &str) -> Completion {
        if let Some(arg) = self.pending {
            return values(arg, "", last);
        }
        if !self.raw
            && let Some(long) = last.strip_prefix("--")
        {
            return match long.split_once('=') {
                Some((name, value)) => match self.long(name) {
                    Some(arg) => values(arg, &format!("--{name}="), value),
                    None => Completion::Nothing,
                },
                None => self.flag_names(last),
            };
        }
        if !self.raw && last.starts_with('-') {
            return self.flag_names(last);
        }
        match &self.path {
            None => {
                let commands = self.command.get_subcommands().filter(|command| !command.is_hide_set());
                words(commands.map(|command| (command.get_name().to_owned(), help(command.get_about()))), last)
            }
            Some(name) => self.positional(name, last),
        }
    }

    fn flag_names(&self, last: &str) -> Completion {
        let shown = self.flags().filter(|arg| !arg.is_hide_set());
        let names = shown.filter_map(|arg| Some((format!("--{}", arg.get_long()?), help(arg.get_help()))));
        words(names, last)
    }

    fn positional(&self, command: &str, last: &str) -> Completion {
        let own = self.command.get_positionals().find(|arg| !arg.get_possible_values().is_empty());
        if let Some(arg) = own.filter(|_| self.positionals.is_empty()) {
            return values(arg, "", last);
        }
        let Some((_, kinds)) = KINDS.iter().find(|(name, _)| *name == command).filter(|_| !self.raw) else {
            return Completion::Nothing;
        };
        if let Some((type_, _)) = last.split_once('/') {
            let kind = Kind::parse(type_).filter(|kind| kinds.contains(kind));
            return kind.map_or(Completion::Nothing, |kind| Completion::Names { prefix: format!("{type_}/"), kind });
        }
        // TYPE NAME…
        let first = self.positionals.first().filter(|first| !first.contains('/')).and_then(|first| Kind::parse(first));
        if let Some(kind) = first.filter(|kind| kinds.contains(kind)) {
            return Completion::Names { prefix: String::new(), kind };
        }
        match kinds {
            [kind] => Completion::Names { prefix: format!("{}/", kind.singular()), kind: *kind },
            kinds => {
                let types = kinds.iter().map(|kind| (format!("{}/", kind.singular()), String::new()));
                match words(types, last) {
                    Completion::Words(types) => Completion::Types(types),
                    other => other,
                }
            }
        }
    }
}

fn words(candidates: impl Iterator<Item = (String, String)>, last: &str) -> Completion {
    let fits = candidates.filter(|(text, _)| text.starts_with(last));
    Completion::Words(fits.map(|(text, help)| Candidate { text, help }).collect())
}

/// Returns the first line of a help text.
fn help(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

/// Returns what completes the value of a flag. `prefix` is the part of the word before the value.
fn values(arg: &Arg, prefix: &str, last: &str) -> Completion {
    let possible = arg.get_possible_values();
    if !possible.is_empty() {
        let shown = possible.iter().filter(|value| !value.is_hide_set());
        let texts = shown.map(|value| (format!("{prefix}{}", value.get_name()), help(value.get_help())));
        return words(texts, &format!("{prefix}{last}"));
    }
    let prefix = prefix.to_owned();
    match arg.get_id().as_str() {
        "namespace" => Completion::Namespaces { prefix },
        "context" => Completion::Kubeconfig { prefix, list: KubeconfigList::Contexts },
        "cluster" => Completion::Kubeconfig { prefix, list: KubeconfigList::Clusters },
        "user" => Completion::Kubeconfig { prefix, list: KubeconfigList::Users },
        "kubeconfig" | "filename" => Completion::Files,
        _ => Completion::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Parsed {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        parse(&crate::cli::definition(), &words)
    }

    fn texts(line: &str) -> Vec<String> {
        match parsed(line).completion {
            Completion::Words(candidates) | Completion::Types(candidates) => {
                candidates.into_iter().map(|candidate| candidate.text).collect()
            }
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn commands_flags_and_values_are_completed() {
        assert_eq!(texts("sus"), ["suspend"]);
        assert!(texts("").contains(&"explain".to_owned()) && !texts("").contains(&"__complete".to_owned()));
        assert!(texts("-n prod ex").contains(&"explain".to_owned()), "flags can precede the command");
        assert_eq!(texts("rerun --dr"), ["--dry-run"]);
        assert_eq!(texts("rerun --cont"), ["--container", "--context"]);
        assert_eq!(texts("rerun --dry-run "), ["none", "client", "server"]);
        assert_eq!(texts("rerun --dry-run=s"), ["--dry-run=server"]);
        assert_eq!(texts("rerun -o j"), ["json"]);
        assert_eq!(texts("completions z"), ["zsh"]);
        assert_eq!(parsed("rerun job/a -- ls -").completion, Completion::Nothing);
        assert_eq!(parsed("check -f ").completion, Completion::Files);
    }

    #[test]
    fn names_of_objects_are_completed_in_each_form() {
        let names = |prefix: &str, kind| Completion::Names { prefix: prefix.to_owned(), kind };
        assert_eq!(texts("explain "), ["job/", "cronjob/", "jobschedule/", "joblimit/"]);
        assert_eq!(texts("trigger c"), ["cronjob/"]);
        assert_eq!(parsed("explain job/a").completion, names("job/", Kind::Job));
        assert_eq!(parsed("explain cj/").completion, names("cj/", Kind::CronJob));
        assert_eq!(parsed("explain jobs.batch/").completion, names("jobs.batch/", Kind::Job));
        assert_eq!(parsed("explain job a").completion, names("", Kind::Job));
        assert_eq!(parsed("wait ").completion, names("job/", Kind::Job));
        assert_eq!(parsed("wait job/a job/").completion, names("job/", Kind::Job));
        assert_eq!(parsed("wait pod/").completion, Completion::Nothing);
    }

    #[test]
    fn flags_that_select_the_cluster_are_collected() {
        let found = parsed("--context prod explain -A -nux --kubeconfig=k -o json job/");
        assert_eq!(found.global, ["--context=prod", "--namespace=ux", "--kubeconfig=k"]);
        assert_eq!(parsed("explain -n ").completion, Completion::Namespaces { prefix: String::new() });
        let prefix = "--namespace=".to_owned();
        assert_eq!(parsed("explain --namespace=x").completion, Completion::Namespaces { prefix });
        let contexts = Completion::Kubeconfig { prefix: String::new(), list: KubeconfigList::Contexts };
        assert_eq!(parsed("--context ").completion, contexts);
    }
}
