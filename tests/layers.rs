//! Rules of the structure of the sources: the folders import downwards only, and pure modules import nothing that waits,
//! reads a clock or talks to the API server.
//!
//! The scan reads paths as text, so it needs no compiler. Modules of tests are exempt.

#![allow(clippy::expect_used, clippy::panic, reason = "a failed expectation ends the test")]

mod sources;

use std::fs;
use std::path::{Path, PathBuf};

use sources::find;

/// Folders of `src`, and the folders that each of them imports. The command line imports all of them.
const LAYERS: &[(&str, &[&str])] = &[
    ("runtime", &["runtime"]),
    ("job", &["job", "runtime"]),
    ("limit", &["limit", "job", "runtime"]),
    ("policy", &["policy", "job", "runtime"]),
    ("schedule", &["schedule", "job", "runtime"]),
    ("ttl", &["ttl", "job", "runtime"]),
    ("client", &["client", "limit", "policy", "schedule", "ttl", "job", "runtime"]),
    ("ui", &["ui", "client", "limit", "policy", "schedule", "ttl", "job", "runtime"]),
    ("cli", &["cli", "ui", "client", "limit", "policy", "schedule", "ttl", "job", "runtime"]),
];

/// Values without behaviour outside of their module, which views and pure modules use.
const VALUES: &[&str] = &[
    "job::admission",
    "job::config::SyncConfig",
    "job::gang::API_VERSION",
    "job::gang::POD_GROUP_KIND",
    "job::gang::WORKLOAD_KIND",
    "job::index",
    "job::managed_by",
    "job::policy",
    "job::retry_budget",
    "job::write_kinds",
    "runtime::clock::Moment",
    "runtime::clock::whole_seconds",
    "runtime::conditions",
    "runtime::events::EventText",
    "runtime::hash",
    "runtime::identity",
    "runtime::intern",
    "runtime::maps",
    "runtime::quantity",
    "runtime::refusals::Refusals",
    "runtime::refusals::WriteKind",
    "runtime::text",
    "schedule::backfill",
    "schedule::parameters",
    "schedule::once::SCHEDULE_TIME_IN_FUTURE",
    "schedule::source::EndedRun",
    "schedule::source::Facts",
];

/// Views: objects of the API, parsed once.
const VIEWS: &[&str] = &[
    "job::gang::view",
    "job::status",
    "job::view",
    "limit::types",
    "limit::view",
    "policy::types",
    "policy::view",
    "schedule::calendar::period",
    "schedule::calendar::types",
    "schedule::calendar::versions",
    "schedule::calendar::view",
    "schedule::cron_job::view",
    "schedule::job_schedule::types",
    "schedule::job_schedule::view",
];

/// Additional imports of views: the forms in which objects arrive, and the pure parsers of their fields.
const PARSERS: &[&str] = &[
    "job::template",
    "job::wire",
    "runtime::cache::Cached",
    "runtime::codec::WireObject",
    "schedule::cron_job::schedule_changes",
    "schedule::cron_job::wire",
    "schedule::expression",
    "schedule::job_schedule::one_off",
    "schedule::job",
    "schedule::job_schedule::hashed",
    "schedule::job_schedule::names",
    "schedule::job_schedule::timetable",
    "schedule::zones",
];

/// Pure modules: rules over values and views.
const PURE: &[&str] = &[
    "cli::uninstall::select",
    "job::decide",
    "job::gang::compile",
    "job::gang::names",
    "job::gang::plan",
    "job::index",
    "job::retry_budget",
    "limit::admission",
    "limit::message",
    "limit::status",
    "limit::workload",
    "policy::select",
    "policy::status",
    "runtime::quantity",
    "runtime::election::lease",
    "runtime::election::record",
    "schedule::calendar::status",
    "schedule::civil",
    "schedule::clock_changes",
    "schedule::cron_job::decide",
    "schedule::cron_job::schedule_changes",
    "schedule::expression",
    "schedule::go_duration",
    "schedule::creation",
    "schedule::job_schedule::conditions",
    "schedule::job_schedule::decide",
    "schedule::job_schedule::hashed",
    "schedule::job_schedule::instants",
    "schedule::job_schedule::names",
    "schedule::job_schedule::runs",
    "schedule::job_schedule::backfill",
    "schedule::job_schedule::suspension",
    "schedule::job_schedule::timetable",
    "schedule::missed",
    "schedule::zones",
    "ttl::decide",
];

/// Crates that pure modules use: values of the standard library, of time, and of the API in JSON.
const PURE_CRATES: &[&str] = &["std", "jiff", "k8s_openapi", "serde", "serde_json", "thiserror"];

/// Crates that only views use: the derived traits and the selectors of objects.
const VIEW_CRATES: &[&str] = &["kube::Resource", "kube::CustomResource", "kube::KubeSchema", "kube::core", "schemars"];

/// Parts of these crates that wait or read a clock.
const IMPURE: &[&str] =
    &["std::thread", "std::net", "std::fs", "std::process", "std::time::Instant", "std::time::SystemTime"];

/// Module of the sources.
struct Module {
    /// Path of the module, such as `job::decide::backoff`.
    path: String,
    /// Paths that it names: `crate::` and a path, or a path that begins with the name of another crate.
    imports: Vec<String>,
}

impl Module {
    /// Reads a file of `src`.
    fn read(root: &Path, file: &Path) -> Self {
        let name = file.strip_prefix(root).expect("a file of src").with_extension("");
        let mut path: Vec<&str> = name.iter().map(|part| part.to_str().expect("a UTF-8 name")).collect();
        path.pop_if(|last| *last == "mod");
        let text = fs::read_to_string(file).expect("a readable file");
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let imports = imports(&code.join("\n")).iter().map(|import| absolute(&path, import)).collect();
        Self { path: path.join("::"), imports }
    }

    /// Returns the imports from this crate, without `crate::`.
    fn own(&self) -> impl Iterator<Item = &str> {
        self.imports.iter().filter_map(|import| import.strip_prefix("crate::"))
    }

    /// Returns the imports from other crates.
    fn foreign(&self) -> impl Iterator<Item = &str> {
        self.imports.iter().map(String::as_str).filter(|import| !import.starts_with("crate::"))
    }
}

/// Returns the paths of all `use` declarations, and the other paths that begin with `crate::` or `super::`.
fn imports(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut rest = code;
    while let Some(start) = ["use ", "crate::", "super::"].iter().filter_map(|word| rest.find(word)).min() {
        let before = rest[..start].chars().next_back();
        let found = &rest[start..];
        let is_word = before.is_none_or(|before| !before.is_alphanumeric() && before != '_' && before != ':');
        let length = match found.strip_prefix("use ") {
            Some(tree) if is_declaration(&rest[..start]) => {
                let tree = tree.split(';').next().unwrap_or_default();
                expand("", tree, &mut paths);
                "use ".len() + tree.len()
            }
            Some(_) => "use ".len(),
            None => {
                let end = found.find(|character: char| !character.is_alphanumeric() && !"_:".contains(character));
                let path = &found[..end.unwrap_or(found.len())];
                if is_word {
                    paths.push(path.trim_end_matches(':').to_owned());
                }
                path.len()
            }
        };
        rest = &found[length..];
    }
    paths
}

/// Returns whether a `use` after this text begins a declaration, and is not part of a text.
fn is_declaration(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default().trim();
    line.is_empty() || line == "pub" || line.starts_with("pub(") && line.ends_with(')')
}

/// Adds the paths of a `use` tree, such as `a::{b, c::d as e}`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, list)) = tree.strip_suffix('}').and_then(|tree| tree.split_once('{')) else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        return paths.push(format!("{prefix}{path}"));
    };
    let prefix = format!("{prefix}{}", head.trim());
    let (mut depth, mut start) = (0, 0);
    for (place, character) in list.char_indices().chain([(list.len(), ',')]) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !list[start..place].trim().is_empty() {
                    expand(&prefix, &list[start..place], paths);
                }
                start = place + 1;
            }
            _ => {}
        }
    }
}

/// Returns the path without `super::` and `self::`.
fn absolute(module: &[&str], import: &str) -> String {
    let (mut module, mut import) = (module.to_vec(), import);
    let mut relative = false;
    while let Some(rest) = import.strip_prefix("super::") {
        (relative, import) = (true, rest);
        module.pop();
    }
    if let Some(rest) = import.strip_prefix("self::") {
        (relative, import) = (true, rest);
    }
    if relative { format!("crate::{}::{import}", module.join("::")) } else { import.to_owned() }
}

/// Returns all modules but those of tests.
fn modules() -> Vec<Module> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    find(&root, &mut files);
    files.sort();
    let is_test = |file: &PathBuf| {
        let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        name == "fixtures" || name == "tests" || name.ends_with("_tests")
    };
    files.iter().filter(|file| !is_test(file)).map(|file| Module::read(&root, file)).collect()
}

/// Returns whether a path is one of these, or lies within one of them.
fn is_in(path: &str, of: &[&str]) -> bool {
    of.iter().any(|prefix| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
}

/// Returns whether a path names a constant, such as `job::KIND`.
fn is_constant(path: &str) -> bool {
    let name = path.rsplit("::").next().unwrap_or_default();
    name.chars().all(|character| character.is_ascii_uppercase() || character == '_')
}

fn expect_none(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn folders_import_downwards_only() {
    let mut violations = Vec::new();
    for module in modules() {
        let Some((_, allowed)) = LAYERS.iter().find(|(folder, _)| is_in(&module.path, &[folder])) else {
            assert!(["lib", "main"].contains(&&*module.path), "{}: LAYERS does not contain the folder", module.path);
            continue;
        };
        let upward =
            module.own().filter(|import| !is_in(import, allowed) && (import.contains("::") || !is_constant(import)));
        violations.extend(upward.map(|import| format!("{} imports {import}", module.path)));
    }
    expect_none(&violations);
}

#[test]
fn views_import_no_decision() {
    let mut violations = Vec::new();
    for module in modules().iter().filter(|module| is_in(&module.path, VIEWS)) {
        let allowed = |import: &str| is_in(import, &[VIEWS, VALUES, PARSERS].concat()) || is_constant(import);
        let own = module.own().filter(|import| !allowed(import));
        let crates = [PURE_CRATES, VIEW_CRATES].concat();
        let foreign = module.foreign().filter(|import| !is_in(import, &crates) || is_in(import, IMPURE));
        violations.extend(own.chain(foreign).map(|import| format!("{} imports {import}", module.path)));
    }
    expect_none(&violations);
}

#[test]
fn pure_modules_import_only_views_values_and_pure_modules() {
    let mut violations = Vec::new();
    for module in modules().iter().filter(|module| is_in(&module.path, PURE)) {
        let allowed = |import: &str| is_in(import, &[PURE, VIEWS, VALUES].concat()) || is_constant(import);
        let own = module.own().filter(|import| !allowed(import));
        let foreign = module.foreign().filter(|import| !is_in(import, PURE_CRATES) || is_in(import, IMPURE));
        violations.extend(own.chain(foreign).map(|import| format!("{} imports {import}", module.path)));
    }
    expect_none(&violations);
}

#[test]
fn each_rule_names_modules_that_exist() {
    let modules = modules();
    for name in LAYERS.iter().map(|(folder, _)| folder).chain(VIEWS).chain(PURE).chain(PARSERS).chain(VALUES) {
        let module = if is_item(name) { name.rsplit_once("::").map_or(*name, |(module, _)| module) } else { name };
        assert!(modules.iter().any(|known| is_in(&known.path, &[module])), "no module {module}");
    }
}

/// Returns whether a path names an item of a module: a type, a constant or a function.
fn is_item(path: &str) -> bool {
    let name = path.rsplit("::").next().unwrap_or_default();
    name.starts_with(|first: char| first.is_uppercase()) || name == "whole_seconds"
}

#[test]
fn scan_finds_every_form_of_an_import() {
    let code = "use std::fmt; // in use\nlet text = \"of use crates\";\npub(crate) use super::{a, b::{self, C as D}};\nuse self::x::Y;\nlet z = crate::cli::now();\nlet reuse = super::f(because);";
    let found: Vec<String> = imports(code).iter().map(|import| absolute(&["job", "decide"], import)).collect();
    let expected = [
        "std::fmt",
        "crate::job::a",
        "crate::job::b::self",
        "crate::job::b::C",
        "crate::job::decide::x::Y",
        "crate::cli::now",
        "crate::job::f",
    ];
    assert_eq!(found, expected);
}
