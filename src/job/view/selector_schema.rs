//! The schema of a label selector in the resources of Jobwright.

use serde_json::json;

/// Returns the schema of a label selector, with the lengths that labels can have and the operators that exist.
pub fn selector(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let value = json!({"type": "string", "maxLength": 63});
    let requirement = json!({
        "key": {"type": "string", "minLength": 1, "maxLength": 317, "description": "key is the name of a label."},
        "operator": {
            "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
            "description": "operator compares the label with the values: In, NotIn, Exists (any value) or DoesNotExist (no such label).",
        },
        "values": {
            "type": "array", "maxItems": 1000, "items": value,
            "description": "values are the values for In and NotIn; the other operators have none.",
        },
    });
    schemars::json_schema!({"type": "object", "nullable": true, "properties": {
        "matchExpressions": {
            "type": "array", "maxItems": 100,
            "description": "matchExpressions are requirements that all have to hold.",
            "items": {"type": "object", "required": ["key", "operator"], "properties": requirement},
        },
        "matchLabels": {
            "type": "object", "maxProperties": 100, "additionalProperties": value,
            "description": "matchLabels are labels that the Jobs have.",
        },
    }})
}
