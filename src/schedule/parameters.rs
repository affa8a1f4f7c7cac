//! Parameters of a JobSchedule: values that the containers of its Jobs read as environment variables. Pure functions.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::runtime::text::beginning;

/// Annotation of a Job with the values of its parameters, as a JSON object.
pub const ANNOTATION: &str = "jobwright.dev/parameters";

/// Maximum number of parameters. The schema of the resource refuses more.
pub const MAX_PARAMETERS: usize = 20;
/// Maximum number of bytes that the history keeps of a value, so that the status of 100 runs fits in an object.
const MAX_RECORDED_BYTES: usize = 128;

/// A parameter, which the containers of the Jobs read as an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct Parameter {
    /// name is the name of the environment variable.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// default is the value of runs for which none is set. Defaults to the empty text.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub default: String,
}

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct ParameterValue {
    /// name is the name of the parameter.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// value is the value of the parameter.
    #[schemars(length(max = 1024))]
    pub value: String,
}

/// Returns the values of the parameters of a run: those that are set, and else the defaults.
pub fn values(parameters: &[Parameter], set: &[ParameterValue]) -> BTreeMap<String, String> {
    let value = |parameter: &Parameter| {
        let set = set.iter().rev().find(|set| set.name == parameter.name);
        (parameter.name.clone(), set.map_or(&parameter.default, |set| &set.value).clone())
    };
    parameters.iter().map(value).collect()
}

/// Returns the name of a value that is set for no parameter, if there is one.
pub fn unknown<'a>(parameters: &[Parameter], set: &'a [ParameterValue]) -> Option<&'a str> {
    let is_unknown = |set: &&ParameterValue| !parameters.iter().any(|parameter| parameter.name == set.name);
    set.iter().find(is_unknown).map(|set| &*set.name)
}

/// Sets environment variables in all containers of the spec of a Job. A container that defines a variable of this name
/// keeps its own. Kubernetes expands no reference in the values, such as `$(HOME)`.
pub fn set_variables(spec: &mut Value, variables: &BTreeMap<String, String>) {
    for list in ["initContainers", "containers"] {
        let containers = spec.pointer_mut(&format!("/template/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            let own = container.entry("env").or_insert_with(|| json!([]));
            if own.is_null() {
                *own = json!([]);
            }
            let Some(own) = own.as_array_mut() else { continue };
            let is_free = |name: &&String| !own.iter().any(|known| known["name"] == **name);
            let added =
                variables.keys().filter(is_free).map(|name| json!({"name": name, "value": literal(&variables[name])}));
            // They come first, so that the variables of the container can refer to them.
            let added: Vec<Value> = added.collect();
            own.splice(0..0, added);
        }
    }
}

/// Returns a value in which Kubernetes expands no reference to a variable: two dollar signs stand for one.
fn literal(value: &str) -> String {
    value.replace('$', "$$")
}

/// Returns the value of [`ANNOTATION`]; none without parameters.
pub fn annotation(values: &BTreeMap<String, String>) -> Option<String> {
    (!values.is_empty()).then(|| json!(values).to_string())
}

/// Returns the values that the history records of a Job with this annotation, which a user can have changed.
pub fn recorded(annotation: Option<&str>) -> BTreeMap<String, String> {
    let values = annotation.and_then(|text| serde_json::from_str::<BTreeMap<String, String>>(text).ok());
    // JSON writes a control character as six bytes.
    let short = |text: String| beginning(&text, MAX_RECORDED_BYTES).replace(char::is_control, " ");
    let values = values.unwrap_or_default().into_iter().take(MAX_PARAMETERS);
    values.map(|(name, value)| (short(name), short(value))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parameter(name: &str, default: &str) -> Parameter {
        Parameter { name: name.to_owned(), default: default.to_owned() }
    }

    fn value(name: &str, value: &str) -> ParameterValue {
        ParameterValue { name: name.to_owned(), value: value.to_owned() }
    }

    fn map(values: &[(&str, &str)]) -> BTreeMap<String, String> {
        values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn values_that_are_set_replace_the_defaults() {
        let parameters = [parameter("REGION", "eu"), parameter("DAY", "")];
        assert_eq!(values(&parameters, &[]), map(&[("DAY", ""), ("REGION", "eu")]));
        let set = [value("REGION", "us"), value("REGION", "asia"), value("OTHER", "x")];
        assert_eq!(values(&parameters, &set), map(&[("DAY", ""), ("REGION", "asia")]));
        assert_eq!((unknown(&parameters, &set), unknown(&parameters, &set[..2])), (Some("OTHER"), None));
    }

    #[test]
    fn variables_come_before_those_of_a_container_and_do_not_replace_them() {
        let containers = json!([
            {"name": "a", "env": [{"name": "URL", "value": "https://$(REGION)"}]},
            {"name": "b", "env": [{"name": "REGION", "value": "own"}]}, {"name": "c", "env": null}, {"name": "d"},
        ]);
        let mut spec = json!({"template": {"spec": {"containers": containers, "initContainers": [{"name": "i"}]}}});
        set_variables(&mut spec, &map(&[("DAY", "1"), ("REGION", "$(HOME)$")]));
        let (day, region) = (json!({"name": "DAY", "value": "1"}), json!({"name": "REGION", "value": "$$(HOME)$$"}));
        let env = |path: &str| spec.pointer(&format!("/template/spec/{path}/env")).unwrap();
        assert_eq!(*env("containers/0"), json!([day, region, {"name": "URL", "value": "https://$(REGION)"}]));
        assert_eq!(*env("containers/1"), json!([day, {"name": "REGION", "value": "own"}]));
        for path in ["containers/2", "containers/3", "initContainers/0"] {
            assert_eq!(*env(path), json!([day, region]), "{path}");
        }
    }

    #[test]
    fn recorded_values_are_bounded() {
        let long = "é".repeat(600);
        let many: BTreeMap<String, String> = (0..40).map(|number| (format!("P{number:02}"), long.clone())).collect();
        let kept = recorded(annotation(&many).as_deref());
        assert_eq!((kept.len(), kept["P00"].len()), (MAX_PARAMETERS, MAX_RECORDED_BYTES));
        assert_eq!(recorded(Some(r#"{"A": "\u0000\n"}"#)), map(&[("A", "  ")]));
        for text in [None, Some(""), Some("[]"), Some("{\"A\": 1}")] {
            assert_eq!(recorded(text), map(&[]), "{text:?}");
        }
    }

    /// Expands references as the kubelet does: `$$` is a dollar sign, and `$(NAME)` the value of a variable.
    fn expanded(text: &str) -> String {
        let (mut out, mut rest) = (String::new(), text);
        while let Some(place) = rest.find('$') {
            out.push_str(&rest[..place]);
            rest = &rest[place + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((_, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
                out.push_str("EXPANDED");
                rest = after;
            } else {
                out.push('$');
            }
        }
        out + rest
    }

    proptest! {
        #[test]
        fn container_sees_the_value_as_it_was_set(value in "[$()A-Z ]{0,20}") {
            prop_assert_eq!(expanded(&literal(&value)), value);
        }
    }
}
