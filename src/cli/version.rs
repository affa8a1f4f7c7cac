//! `jobwright version`: what this binary was built from and for.

use std::borrow::Cow;

use crate::schedule::zones;

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
