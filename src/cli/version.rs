//! `jobwright version`.

use std::borrow::Cow;

use crate::schedule::zones;

/// The Kubernetes API the types are of.
const KUBERNETES_API: &str = "1.37";

/// The version, the commit it was built from, the Kubernetes API it was built for, and the time zone data in use.
pub fn text() -> String {
    let [(_, version), (_, commit), (_, kubernetes), (_, zones)] = facts_by_name();
    format!("jobwright {version} (commit {commit}, Kubernetes API {kubernetes}, time zones {zones})")
}

/// The same, each under its name.
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
