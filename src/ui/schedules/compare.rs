//! Two Jobs of a schedule side by side. Values of environment variables are hidden.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Maximum number of differences that are listed.
pub const MAX_DIFFERENCES: usize = 30;
/// Maximum number of fields of a Job that are compared.
const MAX_FIELDS: usize = 10_000;
/// Text of a value of an environment variable.
const HIDDEN: &str = "(hidden)";

/// Field of two Jobs. An empty text stands for a field that is not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name or path of the field.
    pub name: String,
    /// Value in the first Job.
    pub one: String,
    /// Value in the second Job.
    pub other: String,
    /// Whether the values differ. Hidden values can differ although their texts are equal.
    pub differs: bool,
}

impl Field {
    fn new(name: String, one: String, other: String) -> Self {
        let differs = one != other;
        Self { name, one, other, differs }
    }
}

/// Two Jobs side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Image, command, names of environment variables and resources of each container.
    pub containers: Vec<Field>,
    /// Other fields of the spec that differ.
    pub differences: Vec<Field>,
    /// Number of differences that are left out.
    pub more: usize,
}

/// Compares the specs of two Jobs.
pub fn compare(one: &Value, other: &Value) -> Comparison {
    let (first, second) = (containers(one), containers(other));
    let names: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    let mut rows = Vec::new();
    for name in names {
        let (one, other) = (first.get(name), second.get(name));
        for (label, text) in PARTS {
            let of = |container: Option<&&Value>| container.map(|container| text(container)).unwrap_or_default();
            let field = Field::new(format!("{label} of {name}"), of(one), of(other));
            if !field.one.is_empty() || !field.other.is_empty() {
                rows.push(field);
            }
        }
    }
    let (one, other) = (fields(one), fields(other));
    let paths: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let mut differences = Vec::new();
    for path in paths {
        let value = |fields: &BTreeMap<String, String>| fields.get(path).cloned().unwrap_or_default();
        let (first, second) = (value(&one), value(&other));
        if first != second {
            let shown = |text: String| if is_hidden(path) && !text.is_empty() { HIDDEN.to_owned() } else { text };
            differences.push(Field { name: path.clone(), one: shown(first), other: shown(second), differs: true });
        }
    }
    let more = differences.len().saturating_sub(MAX_DIFFERENCES);
    differences.truncate(MAX_DIFFERENCES);
    Comparison { containers: rows, differences, more }
}

type Part = (&'static str, fn(&Value) -> String);

const PARTS: [Part; 4] =
    [("Image", image), ("Command", command), ("Environment", environment), ("Resources", resources)];

fn containers(job: &Value) -> BTreeMap<String, &Value> {
    let pod = &job["spec"]["template"]["spec"];
    let all = ["initContainers", "containers"].into_iter().filter_map(|kind| pod[kind].as_array()).flatten();
    all.map(|container| (container["name"].as_str().unwrap_or_default().to_owned(), container)).collect()
}

fn image(container: &Value) -> String {
    container["image"].as_str().unwrap_or_default().to_owned()
}

fn command(container: &Value) -> String {
    let words = ["command", "args"].into_iter().filter_map(|field| container[field].as_array()).flatten();
    words.filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

fn environment(container: &Value) -> String {
    let names = container["env"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str());
    names.collect::<Vec<_>>().join(", ")
}

fn resources(container: &Value) -> String {
    let mut texts = Vec::new();
    for kind in ["requests", "limits"] {
        for (name, value) in container["resources"][kind].as_object().into_iter().flatten() {
            texts.push(format!("{kind}.{name}={}", text_of(value)));
        }
    }
    texts.join(", ")
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns the fields of the spec with their paths. What each Job has of its own, and what the rows of the containers
/// show, is left out.
fn fields(job: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    collect("spec", &job["spec"], &mut found);
    found.retain(|path, _| !is_own(path) && !is_shown(path));
    found
}

fn collect(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    if found.len() >= MAX_FIELDS {
        return;
    }
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| collect(&format!("{path}.{name}"), value, found))
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                // A name survives an insertion before it.
                let key = item["name"].as_str().map_or_else(|| place.to_string(), str::to_owned);
                collect(&format!("{path}[{key}]"), item, found);
            }
        }
        value => _ = found.insert(path.to_owned(), text_of(value)),
    }
}

/// Returns whether a field differs between all Jobs: the labels and the selector with its name and UID.
fn is_own(path: &str) -> bool {
    path.starts_with("spec.selector.")
        || path.starts_with("spec.template.metadata.labels.")
            && (path.ends_with("job-name") || path.ends_with("controller-uid"))
}

fn is_shown(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("spec.template.spec.") else { return false };
    let Some((_, field)) = rest.split_once("].") else { return false };
    (rest.starts_with("containers[") || rest.starts_with("initContainers["))
        && (field == "image"
            || field.starts_with("command[")
            || field.starts_with("args[")
            || field.starts_with("resources."))
}

/// Returns whether a value may be a secret.
fn is_hidden(path: &str) -> bool {
    path.contains("].env[") && path.ends_with("].value")
        || path.ends_with("metadata.annotations.kubectl.kubernetes.io/last-applied-configuration")
        || path.ends_with(crate::schedule::parameters::ANNOTATION)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(image: &str, secret: &str, backoff: i32) -> Value {
        json!({"spec": {
            "backoffLimit": backoff,
            "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": image}},
            "template": {"metadata": {"labels": {"job-name": image, "app": "a"}}, "spec": {"containers": [{
                "name": "main", "image": image, "command": ["run"], "args": ["--fast"],
                "env": [{"name": "TOKEN", "value": secret}], "resources": {"requests": {"cpu": "1"}},
            }]}},
        }})
    }

    #[test]
    fn differences_are_listed_without_secrets() {
        let compared = compare(&job("a:1", "s3cret-one", 3), &job("a:2", "s3cret-two", 6));
        let rows: Vec<_> =
            compared.containers.iter().map(|field| (field.name.as_str(), field.one.as_str(), field.differs)).collect();
        assert_eq!(
            rows,
            [
                ("Image of main", "a:1", true),
                ("Command of main", "run --fast", false),
                ("Environment of main", "TOKEN", false),
                ("Resources of main", "requests.cpu=1", false),
            ]
        );
        let names: Vec<_> = compared.differences.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["spec.backoffLimit", "spec.template.spec.containers[main].env[TOKEN].value"]);
        assert_eq!(compared.differences[1].one, HIDDEN);
        assert!(!format!("{compared:?}").contains("s3cret"));
    }

    #[test]
    fn equal_jobs_have_no_differences_and_many_are_cut() {
        let same = job("a:1", "s", 3);
        assert!(compare(&same, &same).differences.is_empty());
        let mut many = same.clone();
        for number in 0..150 {
            many["spec"]["template"]["metadata"]["annotations"][format!("a{number}")] = json!("x");
        }
        let compared = compare(&same, &many);
        assert_eq!((compared.differences.len(), compared.more), (MAX_DIFFERENCES, 120));
        assert_eq!(compare(&json!({}), &json!(null)), Comparison::default());
    }
}
