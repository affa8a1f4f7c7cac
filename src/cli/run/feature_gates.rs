//! `--feature-gates`: features of Kubernetes that are not on by default.
//!
//! The syntax is that of the Kubernetes components: `NAME=BOOL`, several of them separated by commas.

use crate::job::{gang, managed_by};

/// Names of the feature gates that exist.
const KNOWN: &[&str] = &[gang::FEATURE_GATE, managed_by::FEATURE_GATE];

/// Feature gates, as `--feature-gates` sets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureGates {
    /// Whether the controller manages Workloads and PodGroups (`WorkloadWithJob`).
    pub workload_with_job: bool,
    /// Whether `spec.managedBy` decides which controller works on a Job (`JobManagedBy`).
    pub job_managed_by: bool,
}

impl Default for FeatureGates {
    /// Returns the defaults of Kubernetes.
    fn default() -> Self {
        Self { workload_with_job: false, job_managed_by: true }
    }
}

/// Parses the value of `--feature-gates`. Of several values of one gate, the last one counts.
///
/// # Errors
/// A part has no value, a value is no boolean, or a gate is unknown.
pub fn feature_gates(text: &str) -> Result<FeatureGates, String> {
    let mut gates = FeatureGates::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((name, value)) = part.split_once('=') else {
            return Err(format!("{part} has no value; write {part}=true or {part}=false"));
        };
        let (name, value) = (name.trim(), value.trim());
        let value = boolean(value).ok_or_else(|| format!("{name}={value}: the value must be true or false"))?;
        match name {
            gang::FEATURE_GATE => gates.workload_with_job = value,
            managed_by::FEATURE_GATE => gates.job_managed_by = value,
            _ => return Err(format!("the feature gate {name} is unknown; known are: {}", KNOWN.join(", "))),
        }
    }
    Ok(gates)
}

/// Parses a boolean in the forms that Kubernetes components accept.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_have_the_syntax_of_kubernetes_components() {
        let parsed = |text: &str| feature_gates(text).map(|gates| gates.workload_with_job);
        for text in [
            "WorkloadWithJob=true",
            "WorkloadWithJob=1",
            " WorkloadWithJob = True ,",
            "WorkloadWithJob=f,WorkloadWithJob=t",
        ] {
            assert_eq!(parsed(text), Ok(true), "{text}");
        }
        assert!(FeatureGates::default().job_managed_by);
        assert!(!feature_gates("JobManagedBy=false").unwrap().job_managed_by);
        for text in ["", "WorkloadWithJob=false", "WorkloadWithJob=true,WorkloadWithJob=0"] {
            assert_eq!(parsed(text), Ok(false), "{text}");
        }
    }

    #[test]
    fn error_names_the_part_that_is_wrong() {
        let error = |text: &str| feature_gates(text).unwrap_err();
        assert_eq!(
            error("WorkloadWithJob"),
            "WorkloadWithJob has no value; write WorkloadWithJob=true or WorkloadWithJob=false"
        );
        assert_eq!(error("WorkloadWithJob=yes"), "WorkloadWithJob=yes: the value must be true or false");
        let unknown = error("WorkloadWithJob=true,GangJobs=true");
        assert_eq!(unknown, "the feature gate GangJobs is unknown; known are: WorkloadWithJob, JobManagedBy");
    }
}
