//! `jobwright version`.

use crate::cronjob::zones;

/// The Kubernetes API the types are of.
const KUBERNETES_API: &str = "1.37";

/// The version, the commit it was built from, the Kubernetes API it was built for, and the time zone data in use.
pub fn text() -> String {
    format!(
        "jobwright {} (commit {}, Kubernetes API {KUBERNETES_API}, time zones {})",
        env!("CARGO_PKG_VERSION"),
        option_env!("JOBWRIGHT_COMMIT").unwrap_or("unknown"),
        zones::version(),
    )
}
