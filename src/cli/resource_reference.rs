//! Reference pages of our resources, generated from their CustomResourceDefinitions: every field with its type, limits,
//! default and description, and the rules that the API server checks.

use std::fmt::Write;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool,
};

/// Returns the page of a resource as Markdown. `guide` is the page, beside the folder of references, that explains the
/// resource.
pub fn markdown(crd: &CustomResourceDefinition, guide: &str) -> String {
    let names = &crd.spec.names;
    let mut text = format!("# Fields of a {}\n\n", names.kind);
    let plural = format!("{}.{}", names.plural, crd.spec.group);
    let short = names.short_names.iter().flatten().fold(String::new(), |text, name| text + ", `" + name + "`");
    text +=
        &format!("Generated from the types by `tests/reference.rs`. [{guide}](../{guide}) explains the resource.\n\n");
    text += &format!("Resource `{plural}`{short}, {}, in the versions\n\n", crd.spec.scope.to_lowercase());
    for version in &crd.spec.versions {
        text += &of_version(&crd.spec.group, version);
    }
    let Some(newest) = crd.spec.versions.first() else { return text };
    if let Some(schema) = newest.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()) {
        let mut rules = Vec::new();
        for (section, name) in [("Spec", "spec"), ("Status", "status")] {
            let Some(part) = schema.properties.iter().flatten().find(|(field, _)| *field == name) else { continue };
            let mut rows = String::new();
            fields(name, part.1, &mut rows, &mut rules);
            text += &format!("\n## {section}\n\n| field | type | limits | default | |\n|---|---|---|---|---|\n{rows}");
        }
        rules_of("", schema, &mut rules);
        if !rules.is_empty() {
            text +=
                "\n## Rules\n\nThe API server refuses an object that breaks one of these rules, with this message:\n\n";
            rules.iter().for_each(|message| text += &format!("- {}\n", cell(message)));
        }
    }
    text
}

/// Returns the sentence about a version: whether it is stored, served, deprecated.
fn of_version(group: &str, version: &CustomResourceDefinitionVersion) -> String {
    let stored = if version.storage { ", stored" } else { "" };
    let deprecated = if version.deprecated == Some(true) { ", deprecated" } else { "" };
    format!("- `{group}/{}`{stored}{deprecated}\n", version.name)
}

/// Appends a row for each field below `path`, in alphabetical order, and the messages of the rules.
fn fields(path: &str, schema: &JSONSchemaProps, rows: &mut String, rules: &mut Vec<String>) {
    rules_of(path, schema, rules);
    // The schema of another API is not repeated here.
    if schema.x_kubernetes_preserve_unknown_fields == Some(true) {
        return;
    }
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        let required = schema.required.iter().flatten().any(|required| required == name);
        let default = match &field.default {
            Some(value) => format!("`{}`", value.0),
            None if required => "required".to_owned(),
            None => String::new(),
        };
        let description = field.description.as_deref().unwrap_or_default();
        let cells = [format!("`{path}`"), kind(field), limits(field), default, description.to_owned()];
        let _ = writeln!(rows, "| {} |", cells.map(|text| cell(&text)).join(" | "));
        fields(&path, field, rows, rules);
        if let Some(item) = item(field) {
            fields(&format!("{path}[]"), item, rows, rules);
        }
    }
}

fn item(field: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match field.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(item) => Some(item),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    }
}

/// Returns the type as `kubectl explain` writes it: `[]string`, `map[string]string`, `Time`.
fn kind(field: &JSONSchemaProps) -> String {
    if let Some(item) = item(field) {
        return format!("[]{}", kind(item));
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &field.additional_properties {
        return format!("map[string]{}", kind(values));
    }
    match (field.type_.as_deref(), field.format.as_deref()) {
        (Some("string"), Some("date-time")) => "Time".to_owned(),
        (Some("object"), _) => "Object".to_owned(),
        (other, _) => other.unwrap_or("any").to_owned(),
    }
}

/// Returns the values, lengths and numbers that are valid.
fn limits(field: &JSONSchemaProps) -> String {
    let mut parts = Vec::new();
    if let Some(values) = &field.enum_ {
        parts.push(
            values
                .iter()
                .map(|value| format!("`{}`", value.0.as_str().unwrap_or_default()))
                .collect::<Vec<_>>()
                .join(", "),
        );
    }
    let range = |min: Option<String>, max: Option<String>, unit: &str| match (min, max) {
        (Some(min), Some(max)) => Some(format!("{min} to {max}{unit}")),
        (Some(min), None) => Some(format!("{min}{unit} or more")),
        (None, Some(max)) => Some(format!("up to {max}{unit}")),
        (None, None) => None,
    };
    let number = |value: Option<f64>| value.map(|value| value.to_string());
    let count = |value: Option<i64>| value.map(|value| value.to_string());
    parts.extend(range(number(field.minimum), number(field.maximum), ""));
    parts.extend(range(count(field.min_items), count(field.max_items), " items"));
    parts.extend(range(count(field.min_length), count(field.max_length), " characters"));
    if let Some(item) = item(field) {
        let of_items = limits(item);
        if !of_items.is_empty() {
            parts.push(format!("each {of_items}"));
        }
    }
    if let Some(pattern) = &field.pattern {
        parts.push(format!("`{pattern}`"));
    }
    parts.join("; ")
}

fn rules_of(path: &str, schema: &JSONSchemaProps, rules: &mut Vec<String>) {
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        let message = rule.message.as_deref().unwrap_or(&rule.rule);
        let known = rule.message.is_none() && !path.is_empty();
        rules.push(if known { format!("`{path}`: {message}") } else { message.to_owned() });
    }
}

/// Returns the text as the cell of a table: in one line, with its vertical bars escaped.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_name_each_field_once_with_type_limits_and_default() {
        for crd in super::super::crds::all() {
            let page = markdown(&crd, "guide.md");
            let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
            let names: std::collections::BTreeSet<_> = rows.iter().map(|row| row.split('`').nth(1)).collect();
            assert_eq!(names.len(), rows.len());
            for row in rows {
                assert_eq!(row.replace("\\|", "").matches('|').count(), 6, "{row}");
                assert!(!row.ends_with("|  |"), "without a description: {row}");
            }
        }
        let page = markdown(&super::super::crds::all()[0], "guide.md");
        for text in [
            "| `spec.schedules` | []string | 1 to 16 items; each 1 to 256 characters | required | ",
            "| `spec.catchUp` | string | `Latest`, `All` | `\"Latest\"` | ",
            "| `status.history[].finished` | Time |",
            "| `spec.jobTemplate.metadata.labels` | map[string]string |",
            "- spec.jobTemplate.spec.template is required; set it to the template of the pods\n",
            "- `jobwright.dev/v1alpha1`, deprecated\n",
        ] {
            assert!(page.contains(text), "{text}\n{page}");
        }
    }
}
