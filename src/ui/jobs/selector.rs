//! Label selectors as kubectl writes them, such as `app=etl,tier!=test,zone in (a,b),!legacy`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::job::view::Selector;

/// Parses a label selector.
///
/// # Errors
/// The text is not a label selector. The error names the part that is wrong.
pub fn parse(text: &str) -> Result<Selector, String> {
    let requirements: Result<Vec<_>, String> = split(text).into_iter().map(|part| requirement(part.trim())).collect();
    let selector = LabelSelector { match_labels: None, match_expressions: Some(requirements?) };
    Selector::parse(selector).ok_or_else(|| format!("{text:?} is not a label selector"))
}

/// Splits the text at the commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_i32);
    for (place, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(part: &str) -> Result<LabelSelectorRequirement, String> {
    let wrong = || format!("{part:?} is no requirement such as key=value, key!=value, key in (a,b), key or !key");
    let is_key = |key: &str| {
        !key.is_empty() && key.chars().all(|one| one.is_ascii_alphanumeric() || matches!(one, '-' | '_' | '.' | '/'))
    };
    let new = |key: &str, operator: &str, values: Option<Vec<String>>| {
        let key = key.trim();
        let operator = operator.to_owned();
        is_key(key).then(|| LabelSelectorRequirement { key: key.to_owned(), operator, values }).ok_or_else(wrong)
    };
    let one = |value: &str| Some(vec![value.trim().to_owned()]);
    if let Some(key) = part.strip_prefix('!') {
        return new(key, "DoesNotExist", None);
    }
    if let Some((key, value)) = part.split_once("!=") {
        return new(key, "NotIn", one(value));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return new(key, "In", one(value));
    }
    if let Some((left, values)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) {
        let (key, operator) = left.trim().rsplit_once(char::is_whitespace).ok_or_else(wrong)?;
        let operator = match operator {
            "in" => "In",
            "notin" => "NotIn",
            _ => return Err(wrong()),
        };
        return new(key, operator, Some(values.split(',').map(|value| value.trim().to_owned()).collect()));
    }
    new(part, "Exists", None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::job::view::Labels;

    #[test]
    fn every_form_of_kubectl_is_parsed() {
        let labels: BTreeMap<String, String> =
            [("app", "etl"), ("example.com/tier", "a")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let labels = Labels::shared(Some(&labels));
        for (text, expected) in [
            ("app=etl", true),
            ("app==etl", true),
            ("app = etl , example.com/tier=a", true),
            ("app=etl,example.com/tier=b", false),
            ("app!=etl", false),
            ("other!=x", true),
            ("app in (x, etl)", true),
            ("app in (x,y),app=etl", false),
            ("app notin (x,y)", true),
            ("app", true),
            ("!app", false),
            ("!other", true),
        ] {
            assert_eq!(parse(text).map(|selector| selector.matches(&labels)), Ok(expected), "{text}");
        }
    }

    #[test]
    fn wrong_part_is_named() {
        for text in ["", "a b", "app in x", "app like (a)", "=x", "a=b,,c=d", "app in (a", "<b>"] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("is no requirement"), "{text}: {error}");
        }
    }
}
