//! The flag `--set`, which sets parameters of a JobSchedule.

use crate::client::names::{Kind, ObjectName};
use crate::schedule::parameters::{self, Parameter, ParameterValue};

/// Parses NAME=VALUE.
///
/// # Errors
/// The text has no name, or no `=`.
pub(crate) fn value(text: &str) -> Result<ParameterValue, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(ParameterValue { name: name.to_owned(), value: value.to_owned() })
        }
        _ => Err("must be NAME=VALUE".to_owned()),
    }
}

/// Returns the values to set, the last one of each name, in the order in which they were given.
///
/// # Errors
/// The object has no parameter of one of the names.
pub(crate) fn checked(
    subject: &ObjectName,
    parameters: &[Parameter],
    set: &[ParameterValue],
) -> Result<Vec<ParameterValue>, String> {
    if let Some(unknown) = parameters::unknown(parameters, set) {
        let names: Vec<&str> = parameters.iter().map(|parameter| &*parameter.name).collect();
        return Err(match (subject.kind, names.is_empty()) {
            (Kind::CronJob, _) => "a CronJob has no parameters, so that --set is not possible".to_owned(),
            (_, true) => format!("--set {unknown}: it has no parameters; list them in spec.parameters"),
            (_, false) => format!("--set {unknown}: it has no such parameter; its parameters are {}", names.join(", ")),
        });
    }
    let is_last =
        |(place, value): &(usize, &ParameterValue)| !set[place + 1..].iter().any(|other| other.name == value.name);
    Ok(set.iter().enumerate().filter(is_last).map(|(_, value)| value.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_against_the_parameters() {
        let subject = |kind| ObjectName { kind, name: "nightly".to_owned() };
        let parameters = ["A", "B"].map(|name| Parameter { name: name.to_owned(), default: String::new() });
        let set = ["A=1", "B=x=y", "A="].map(|text| value(text).unwrap());
        let kept = checked(&subject(Kind::JobSchedule), &parameters, &set).unwrap();
        assert_eq!(kept, set[1..]);
        let wrong = |kind, parameters: &[Parameter]| checked(&subject(kind), parameters, &[value("C=1").unwrap()]);
        let expected = "--set C: it has no such parameter; its parameters are A, B";
        assert_eq!(wrong(Kind::JobSchedule, &parameters).unwrap_err(), expected);
        assert!(wrong(Kind::JobSchedule, &[]).unwrap_err().contains("spec.parameters"));
        assert!(wrong(Kind::CronJob, &[]).unwrap_err().contains("CronJob has no parameters"));
        assert_eq!(["=1", "A", ""].map(|text| value(text).is_err()), [true; 3]);
    }
}
