//! `jobwright version`: what this binary was built from and for.

use std::borrow::Cow;
use std::process::ExitCode;

use schemars::JsonSchema;
use serde::Serialize;

use crate::client::format::Format;
use crate::client::output;
use crate::schedule::zones;

/// The flags of `jobwright version`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

/// What this binary was built from and for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Version of Jobwright.
    pub version: String,
    /// Commit of the sources.
    pub commit: String,
    /// Version of the Kubernetes API whose types are used.
    pub kubernetes_api: String,
    /// Version of the time zone data in use.
    pub time_zones: String,
}

/// Prints the version.
pub fn main(arguments: &Arguments) -> ExitCode {
    output::print(arguments.output.object(&version()).unwrap_or_else(|| format!("{}\n", text())));
    ExitCode::SUCCESS
}

/// Returns the facts about this binary.
pub fn version() -> Version {
    let [version, commit, kubernetes_api, time_zones] = facts_by_name().map(|(_, value)| value.into_owned());
    Version { version, commit, kubernetes_api, time_zones }
}

/// Version of the Kubernetes API whose types this binary uses.
const KUBERNETES_API: &str = "1.37";

/// Returns one line with the version, the commit, the Kubernetes API version, and the version of the time zone data in
/// use.
pub fn text() -> String {
    let [(_, version), (_, commit), (_, kubernetes), (_, zones)] = facts_by_name();
    format!("jobwright {version} (commit {commit}, Kubernetes API {kubernetes}, time zones {zones})")
}

/// Returns the same facts as [`text`], each with its name, as labels of the metric `jobwright_build_info`.
pub fn facts() -> Vec<(&'static str, Cow<'static, str>)> {
    facts_by_name().into()
}

fn facts_by_name() -> [(&'static str, Cow<'static, str>); 4] {
    [
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("commit", option_env!("JOBWRIGHT_COMMIT").unwrap_or("unknown").into()),
        ("kubernetes", KUBERNETES_API.into()),
        ("time_zones", zones::version().into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_facts_of_the_text() {
        let version = version();
        let json = serde_json::to_value(&version).unwrap();
        for field in ["version", "commit", "kubernetesApi", "timeZones"] {
            assert!(json[field].as_str().is_some_and(|fact| text().contains(fact)), "{field}: {json}");
        }
    }
}
