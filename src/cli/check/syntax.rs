//! Forms of names and values that the API server demands.
//!
//! See <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/> and
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>.

use std::collections::BTreeMap;

/// Maximum number of characters of a DNS label, of a label value and of the name part of a label key.
const MAX_LABEL: usize = 63;
/// Maximum number of characters of a DNS subdomain.
const MAX_SUBDOMAIN: usize = 253;
/// Maximum number of characters of the name of a port.
const MAX_PORT_NAME: usize = 15;
/// Maximum number of bytes of all annotations of an object.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Returns whether the text is a DNS label: lower-case letters, digits and hyphens within.
pub(super) fn is_label(text: &str) -> bool {
    text.len() <= MAX_LABEL && is_dns_part(text)
}

/// Returns whether the text has lower-case letters and digits, and hyphens within.
fn is_dns_part(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}

/// Returns whether the text is a DNS subdomain: DNS labels, separated by dots.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= MAX_SUBDOMAIN && text.split('.').all(is_dns_part)
}

/// Returns whether the text begins and ends with a letter or digit, and has `-`, `_` and `.` within.
fn is_name_part(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.len() <= MAX_LABEL && edge(text.chars().next()) && edge(text.chars().last()) && text.chars().all(inner)
}

/// Returns whether the text is a qualified name, such as `example.com/app`: the key of a label.
pub(super) fn is_qualified_name(text: &str) -> bool {
    match text.split_once('/') {
        Some((domain, name)) => is_subdomain(domain) && is_name_part(name),
        None => is_name_part(text),
    }
}

/// Returns whether the text is the value of a label.
pub(super) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_name_part(text)
}

/// Returns whether the text is the name of an environment variable.
pub(super) fn is_variable(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| (' '..='~').contains(&c) && c != '=')
}

/// Returns whether the text is the name of a port.
pub(super) fn is_port_name(text: &str) -> bool {
    is_label(text)
        && text.len() <= MAX_PORT_NAME
        && text.chars().any(|c| c.is_ascii_lowercase())
        && !text.contains("--")
}

/// Returns whether the text is the key of a ConfigMap or Secret.
pub(super) fn is_config_key(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=MAX_SUBDOMAIN).contains(&text.len()) && text.chars().all(allowed) && text != "." && !text.starts_with("..")
}

/// Returns the messages for labels at the path `at`.
pub(super) fn of_labels(labels: Option<&BTreeMap<String, String>>, at: &str) -> Vec<String> {
    let mut messages = Vec::new();
    for (key, value) in labels.into_iter().flatten() {
        if !is_qualified_name(key) {
            messages.push(format!("{at} {key:?} is not the key of a label, such as app or example.com/app"));
        }
        if !is_label_value(value) {
            messages.push(format!(
                "{at} {key:?}: the value {value:?} may have at most {MAX_LABEL} letters, digits, -, _ and ., and begins and ends with a letter or digit"
            ));
        }
    }
    messages
}

/// Returns the messages for annotations at the path `at`.
pub(super) fn of_annotation_keys(annotations: Option<&BTreeMap<String, String>>, at: &str) -> Vec<String> {
    let wrong = annotations.into_iter().flatten().filter(|(key, _)| !is_qualified_name(&key.to_lowercase()));
    let mut messages: Vec<String> = wrong
        .map(|(key, _)| format!("{at} {key:?} is not the key of an annotation, such as example.com/note"))
        .collect();
    let size: usize = annotations.into_iter().flatten().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_ANNOTATIONS {
        messages.push(format!("{at} have {size} bytes, at most {MAX_ANNOTATIONS} are allowed"));
    }
    messages
}

/// Returns the value of a quantity, such as `100m` and `1Gi`. `None` if the text is not a quantity.
///
/// See <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.
pub(super) fn quantity(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && !"+-.".contains(c)).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    if !digits.chars().any(|c| c.is_ascii_digit()) || digits.contains(['+', '-']) {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024_f64,
        "Mi" => 1024_f64.powi(2),
        "Gi" => 1024_f64.powi(3),
        "Ti" => 1024_f64.powi(4),
        "Pi" => 1024_f64.powi(5),
        "Ei" => 1024_f64.powi(6),
        exponent => 10_f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    Some(number * factor)
}

/// Adds a message if the value is none of these.
pub(super) fn one_of(messages: &mut Vec<String>, value: Option<&str>, values: &[&str], at: &str) {
    // An empty text stands for the default.
    if let Some(value) = value.filter(|value| !value.is_empty() && !values.contains(value)) {
        messages.push(format!("{at} {value:?} must be one of {}", values.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_forms() {
        assert!(is_label("a-1") && !is_label("-a") && !is_label("A") && !is_label("") && !is_label(&"a".repeat(64)));
        assert!(is_subdomain("a.b-c.d") && !is_subdomain("a..b") && !is_subdomain(&"a.".repeat(127)));
        assert!(is_qualified_name("example.com/App_1") && is_qualified_name("app"));
        assert!(!is_qualified_name("a/b/c") && !is_qualified_name("/b") && !is_qualified_name("not valid"));
        assert!(is_label_value("") && is_label_value("A.b_c") && !is_label_value("-a") && !is_label_value("a b"));
        assert!(is_variable("MODE") && is_variable("a.b-c 1") && !is_variable("A=B") && !is_variable("é"));
        assert!(is_port_name("http") && is_port_name("h-2") && !is_port_name("80") && !is_port_name("a--b"));
        assert!(!is_port_name("a-name-of-a-port"), "at most 15 characters");
        assert!(is_config_key("a.b_c") && !is_config_key("..a") && !is_config_key("a b") && !is_config_key(""));
    }

    #[test]
    fn quantity_has_a_number_and_a_suffix() {
        for (text, value) in [("1", 1.0), ("100m", 0.1), ("1Gi", 1_073_741_824.0), ("1e3", 1000.0), ("-1k", -1000.0)] {
            assert_eq!(quantity(text), Some(value), "{text}");
        }
        for text in ["", "Gi", "1 Gi", "1gi", "one", "1-2", "1.2.3", "1ex", "+"] {
            assert_eq!(quantity(text), None, "{text}");
        }
    }

    #[test]
    fn labels_and_annotations_are_checked() {
        let entries = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert_eq!(of_labels(Some(&entries("app", "etl")), "metadata.labels"), [""; 0]);
        assert!(of_labels(Some(&entries("a b", "etl")), "metadata.labels")[0].contains("\"a b\" is not the key"));
        assert!(of_labels(Some(&entries("app", "a b")), "metadata.labels")[0].contains("the value \"a b\""));
        assert_eq!(of_annotation_keys(Some(&entries("Example.com/A", "any text")), "a"), [""; 0]);
        assert!(of_annotation_keys(Some(&entries("a b", "")), "a")[0].contains("not the key of an annotation"));
        assert!(of_annotation_keys(Some(&entries("a", &"x".repeat(MAX_ANNOTATIONS))), "a")[0].contains("262145 bytes"));
    }
}
