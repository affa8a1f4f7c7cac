//! Values of a form, from a URL or from the body of a request.

use crate::client::actions::of_schedule::Wish;
use crate::client::creation::{are_letters, random_letters};
use crate::client::trigger::LETTERS;
use crate::schedule::backfill::Order;
use crate::schedule::parameters::{MAX_PARAMETERS, ParameterValue};
use jiff::Timestamp;

/// Prefix of the fields of parameters.
const PARAMETER: &str = "p.";
/// Field with the random letters of a new name.
pub(super) const SEED: &str = "seed";
/// Field with the time that resumes a JobSchedule.
pub(super) const AT: &str = "at";
/// Field with the hash of the request that was shown.
pub(super) const DIGEST: &str = "request";
/// Values of the field for the order of a backfill.
pub(super) const ORDERS: [(&str, &str); 2] = [("oldest-first", "Oldest first"), ("newest-first", "Newest first")];

/// Values of a form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Parses a query, or a body of the same form.
    pub(super) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// Returns the value of a field. A field that is missing is empty.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }

    /// Returns whether a field was sent.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| own == name)
    }

    /// Returns whether a body can be that of a confirmation: it has a hash, and letters that can be those of a name.
    pub(super) fn is_confirmation(&self) -> bool {
        let digest = self.get(DIGEST);
        let is_hash = digest.len() == 64 && digest.bytes().all(|one| matches!(one, b'0'..=b'9' | b'a'..=b'f'));
        is_hash && (!self.has(SEED) || are_letters(self.get(SEED), LETTERS))
    }

    /// Returns the random letters of a new name: those of the form, or new ones.
    pub(super) fn letters(&self) -> String {
        let given = self.get(SEED);
        if are_letters(given, LETTERS) { given.to_owned() } else { random_letters(LETTERS) }
    }

    /// Returns the time that resumes a JobSchedule: that of the form, or the present time.
    pub(super) fn at(&self) -> Timestamp {
        self.get(AT).parse().unwrap_or_else(|_| crate::client::now())
    }

    /// Returns the values of parameters.
    pub(super) fn parameters(&self) -> Vec<ParameterValue> {
        let of = |(name, value): &(String, String)| {
            let name = name.strip_prefix(PARAMETER)?.to_owned();
            Some(ParameterValue { name, value: value.clone() })
        };
        self.0.iter().filter_map(of).take(MAX_PARAMETERS).collect()
    }

    /// Returns the backfill that the form describes.
    pub(super) fn backfill(&self) -> Result<Wish, String> {
        let order = match self.get("order") {
            "" | "oldest-first" => Order::OldestFirst,
            "newest-first" => Order::NewestFirst,
            other => return Err(format!("the order {other:?} is neither oldest-first nor newest-first")),
        };
        let text = |name: &str| self.get(name).trim().to_owned();
        let (from, to, max_active) = (text("from"), text("to"), text("maxActive"));
        Ok(Wish { from, to, order, max_active, set: self.parameters() })
    }
}

/// Returns the name of the field of a parameter.
pub(super) fn parameter_field(name: &str) -> String {
    format!("{PARAMETER}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_keeps_its_letters_and_its_time() {
        let form = Form::parse(b"seed=bcdfg&at=2026-01-01T00:00:00Z&p.A=1%202&p.B=&from=+x+&order=newest-first");
        assert_eq!((form.letters().as_str(), form.at().to_string().as_str()), ("bcdfg", "2026-01-01T00:00:00Z"));
        let set: Vec<_> = form.parameters().into_iter().map(|one| (one.name, one.value)).collect();
        assert_eq!(set, [("A".to_owned(), "1 2".to_owned()), ("B".to_owned(), String::new())]);
        let wish = form.backfill().unwrap();
        assert_eq!((wish.from.as_str(), wish.order), ("x", Order::NewestFirst));
        let wrong = Form::parse(b"seed=../..&order=x&p.A=1&p.A=2");
        assert_ne!(wrong.letters(), "../..");
        assert!(wrong.backfill().is_err());
        let hash = "0123456789abcdef".repeat(4);
        for (form, expected) in [
            (format!("request={hash}"), true),
            (format!("request={hash}&seed=bcdfg"), true),
            (format!("request={hash}&seed=../.."), false),
            (format!("request={hash}0"), false),
            (format!("request={}", hash.to_uppercase()), false),
            ("request=&seed=bcdfg".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(Form::parse(form.as_bytes()).is_confirmation(), expected, "{form}");
        }
        assert!(form.has("from") && !form.has("to") && form.get("to").is_empty());
    }
}
