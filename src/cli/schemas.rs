//! JSON schemas of the output of `-o json` and `-o yaml`, which `docs/reference/schemas/` publishes.

use schemars::{Schema, schema_for};

use super::next::NextTimes;
use super::status::report::Report;
use super::top::Snapshot;
use super::version::Version;
use crate::client::explain::explanation::Explanation;
use crate::client::explain::overview::Overview;
use crate::client::history::Histories;

/// Returns the name and the schema of each command with structured output.
pub fn all() -> Vec<(&'static str, Schema)> {
    vec![
        ("explain", schema_for!(Explanation)),
        ("explain-list", schema_for!(Overview)),
        ("history", schema_for!(Histories)),
        ("next", schema_for!(NextTimes)),
        ("status", schema_for!(Report)),
        ("top", schema_for!(Snapshot)),
        ("version", schema_for!(Version)),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// `UPDATE_REFERENCE=1` writes the schemas.
    #[test]
    fn published_schemas_equal_the_generated_ones() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/schemas");
        for (name, schema) in all() {
            let (path, text) = (folder.join(format!("{name}.json")), format!("{:#}\n", schema.as_value()));
            if std::env::var_os("UPDATE_REFERENCE").is_some() {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(&path, &text).unwrap();
            }
            let stored = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(stored == text, "{name}.json is outdated: UPDATE_REFERENCE=1 cargo test --lib published_schemas");
        }
    }

    #[test]
    fn schemas_have_the_stable_fields() {
        let fields: [(&str, &[&str]); 6] = [
            (
                "explain",
                &["kind", "namespace", "name", "state", "reason", "headline", "counts", "pods", "hints", "unread"],
            ),
            ("explain-list", &["jobs", "items", "unread"]),
            ("history", &["items"]),
            (
                "status",
                &["client", "server", "resources", "controllers", "builtIn", "replicas", "permissions", "problems"],
            ),
            ("top", &["items", "unread"]),
            ("version", &["version"]),
        ];
        let schemas = all();
        for (command, fields) in fields {
            let (_, schema) = schemas.iter().find(|(name, _)| *name == command).unwrap();
            for field in fields {
                assert!(schema.pointer(&format!("/properties/{field}")).is_some(), "{command}: {field}");
            }
        }
        let run = schemas.iter().find(|(name, _)| *name == "history").unwrap().1.pointer("/$defs/Run/properties");
        for field in ["job", "trigger", "outcome", "started", "durationSeconds", "exitCode", "exists"] {
            assert!(run.unwrap().get(field).is_some(), "{field}");
        }
    }
}
