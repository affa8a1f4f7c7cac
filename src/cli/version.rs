//! `jobwright version`.

/// The Kubernetes API the types are of.
const KUBERNETES_API: &str = "1.37";

/// The version, the commit it was built from, and the Kubernetes API it was built for.
pub fn text() -> String {
    format!(
        "jobwright {} (commit {}, Kubernetes API {KUBERNETES_API})",
        env!("CARGO_PKG_VERSION"),
        option_env!("JOBWRIGHT_COMMIT").unwrap_or("unknown"),
    )
}
