//! Completion of command lines: `jobwright completions SHELL` prints a script, and the script calls the hidden command
//! `jobwright __complete`, which knows the names of objects and namespaces.
//!
//! The output of `__complete` has the form that kubectl expects of a plugin: a candidate for each line, with a
//! description after a tab, and a last line with a colon and flags.

mod words;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use kube::config::Kubeconfig;

use self::words::{Candidate, Completion, KubeconfigList};
use super::global::GlobalArguments;
use crate::client::cluster::ClusterContext;
use crate::client::explain::collect::Scope;
use crate::client::names::Kind;
use crate::client::{output, selected};

/// Longest time to wait for the API server. A user waits for each completion.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum number of names.
const LIMIT: u32 = 500;
/// Flag of the last line: no space follows the word.
const NO_SPACE: u8 = 2;
/// Flag of the last line: files are no candidates.
const NO_FILES: u8 = 4;

/// Shell whose completion script is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// Bash
    Bash,
    /// Zsh
    Zsh,
    /// Fish
    Fish,
    /// Script with which kubectl completes `kubectl jobwright`: a file `kubectl_complete-jobwright` on the PATH
    Kubectl,
}

/// Prints the completion script of a shell.
pub fn script(shell: Shell) -> ExitCode {
    output::print(match shell {
        Shell::Bash => include_str!("jobwright.bash"),
        Shell::Zsh => include_str!("jobwright.zsh"),
        Shell::Fish => include_str!("jobwright.fish"),
        Shell::Kubectl => include_str!("kubectl_complete-jobwright"),
    });
    ExitCode::SUCCESS
}

/// Prints what completes the last of these words. An error gives no candidates.
pub fn main(words: &[String]) -> ExitCode {
    let parsed = words::parse(&super::definition(), words);
    let last = words.last().cloned().unwrap_or_default();
    let (candidates, flags) = match parsed.completion {
        Completion::Words(candidates) => (candidates, NO_FILES),
        Completion::Types(candidates) => (candidates, NO_FILES | NO_SPACE),
        Completion::Files => (Vec::new(), 0),
        Completion::Nothing => (Vec::new(), NO_FILES),
        Completion::Kubeconfig { prefix, list } => (fits(kubeconfig(list), &prefix, &last), NO_FILES),
        Completion::Namespaces { prefix } => (fits(ask(&parsed.global, None), &prefix, &last), NO_FILES),
        Completion::Names { prefix, kind } => (fits(ask(&parsed.global, Some(kind)), &prefix, &last), NO_FILES),
    };
    let lines = candidates.iter().map(
        |Candidate { text, help }| {
            if help.is_empty() { format!("{text}\n") } else { format!("{text}\t{help}\n") }
        },
    );
    output::print(format!("{}:{flags}\n", lines.collect::<String>()));
    ExitCode::SUCCESS
}

/// Returns the names after the prefix, if they fit to the last word. Where only one type is possible, a word without
/// the type fits too.
fn fits(names: Vec<String>, prefix: &str, last: &str) -> Vec<Candidate> {
    let candidates = names.into_iter().filter_map(|name| {
        let whole = format!("{prefix}{name}");
        let text = if whole.starts_with(last) { whole } else { Some(name).filter(|name| name.starts_with(last))? };
        Some(Candidate { text, help: String::new() })
    });
    candidates.collect()
}

fn kubeconfig(list: KubeconfigList) -> Vec<String> {
    let Ok(config) = Kubeconfig::read() else { return Vec::new() };
    match list {
        KubeconfigList::Contexts => config.contexts.into_iter().map(|one| one.name).collect(),
        KubeconfigList::Clusters => config.clusters.into_iter().map(|one| one.name).collect(),
        KubeconfigList::Users => config.auth_infos.into_iter().map(|one| one.name).collect(),
    }
}

/// The flags that select the cluster, without a command.
#[derive(Debug, clap::Parser)]
struct OnlyGlobal {
    #[command(flatten)]
    global: GlobalArguments,
}

/// Returns the names of the objects of a kind, or of the namespaces. An error gives no names.
#[tokio::main(flavor = "current_thread")]
async fn ask(flags: &[String], kind: Option<Kind>) -> Vec<String> {
    let flags = ["jobwright".to_owned()].into_iter().chain(flags.iter().cloned());
    let matches = OnlyGlobal::command().try_get_matches_from(flags);
    let Ok(Ok(OnlyGlobal { global })) = matches.map(|matches| OnlyGlobal::from_arg_matches(&matches)) else {
        return Vec::new();
    };
    let names = async {
        let context = global.open().await.ok()?;
        read(&context, kind).await
    };
    let names = tokio::time::timeout(TIMEOUT, names).await.ok().flatten().unwrap_or_default();
    names.into_iter().collect()
}

async fn read(context: &ClusterContext, kind: Option<Kind>) -> Option<BTreeSet<String>> {
    let limited = ListParams::default().limit(LIMIT);
    match kind {
        Some(kind) => {
            let scope = Scope::Namespace(context.namespace.clone());
            let list = selected::api(context, kind, &scope).list_metadata(&limited).await.ok()?;
            Some(list.items.iter().map(ResourceExt::name_any).collect())
        }
        None => {
            let namespaces: Api<Namespace> = Api::all(context.client.clone());
            let list = namespaces.list_metadata(&limited).await.ok()?;
            Some(list.items.iter().map(ResourceExt::name_any).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_with_and_without_their_type() {
        let texts = |last: &str| {
            let names = ["etl", "export", "other"].map(str::to_owned).to_vec();
            fits(names, "job/", last).into_iter().map(|candidate| candidate.text).collect::<Vec<_>>()
        };
        assert_eq!(texts("job/e"), ["job/etl", "job/export"]);
        assert_eq!(texts("ex"), ["export"]);
        assert_eq!(texts("").len(), 3);
        assert_eq!(texts("job/x"), Vec::<String>::new());
    }
}
