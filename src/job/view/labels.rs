//! The labels of an object, in one text that objects with equal labels share.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;

use crate::job::index::CompletionIndex;
use crate::job::{CONTROLLER_UID_LABEL, INDEX_ANNOTATION};
use crate::runtime::intern::intern;

/// Labels that the API server adds to each Job and its pods. The text contains one character for each of these keys.
pub(super) const GENERATED: [&str; 4] =
    [CONTROLLER_UID_LABEL, "batch.kubernetes.io/job-name", "controller-uid", "job-name"];
/// Characters that stand for the keys of [`GENERATED`], in the same order. No label contains a control character.
const CODES: [&str; 4] = ["\u{1}", "\u{2}", "\u{3}", "\u{4}"];
/// Character after each key and each value.
const END: char = '\0';

/// The labels of an object.
///
/// The pods of a Job have the same labels except for their completion index, so the index is not part of the shared
/// text. Labels with a control character are left out, because the API server stores none.
#[derive(Clone, PartialEq, Eq)]
pub struct Labels {
    /// Keys and values in the order of the keys.
    text: Arc<str>,
    /// Value of the label `batch.kubernetes.io/job-completion-index`, if it is a number in its shortest form.
    index: Option<CompletionIndex>,
}

impl Labels {
    /// Packs labels. The text is shared with other objects that have the same labels.
    pub fn shared(labels: Option<&BTreeMap<String, String>>) -> Self {
        let labels = labels.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()));
        let (text, index) = pack(labels);
        Self { text: intern(&text), index }
    }

    /// Returns the value of a label.
    pub fn get(&self, key: &str) -> Option<Cow<'_, str>> {
        match self.index {
            Some(index) if key == INDEX_ANNOTATION => Some(index.to_string().into()),
            _ => self.value(encode(key)).map(Cow::Borrowed),
        }
    }

    /// Returns whether the object has a label with this key.
    pub fn contains_key(&self, key: &str) -> bool {
        self.value(encode(key)).is_some() || self.index.is_some() && key == INDEX_ANNOTATION
    }

    /// Returns whether these labels are among the other ones.
    pub fn is_subset(&self, other: &Self) -> bool {
        let index = match self.index {
            Some(_) => self.index == other.index,
            None => true,
        };
        index && self.pairs().all(|(code, value)| other.value(code) == Some(value))
    }

    /// Returns keys and values. The completion index comes last, and the other labels are in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let pairs = self.pairs().map(|(code, value)| (decode(code), Cow::Borrowed(value)));
        pairs.chain(self.index.map(|index| (INDEX_ANNOTATION, index.to_string().into())))
    }

    fn value(&self, code: &str) -> Option<&str> {
        self.pairs().find(|pair| pair.0 == code).map(|pair| pair.1)
    }

    /// Returns the keys, as the text contains them, and the values.
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut texts = self.text.split_terminator(END);
        std::iter::from_fn(move || Some((texts.next()?, texts.next()?)))
    }
}

fn encode(key: &str) -> &str {
    GENERATED.iter().position(|generated| *generated == key).map_or(key, |at| CODES[at])
}

fn decode(code: &str) -> &str {
    CODES.iter().position(|known| *known == code).map_or(code, |at| GENERATED[at])
}

/// Packs labels that are in the order of their keys.
fn pack<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> (String, Option<CompletionIndex>) {
    let mut text = String::new();
    let mut index = None;
    let is_label = |(key, value): &(&str, &str)| !key.chars().chain(value.chars()).any(char::is_control);
    for (key, value) in labels.filter(is_label) {
        if key == INDEX_ANNOTATION {
            index = value.parse().ok().filter(|index: &CompletionIndex| index.to_string() == value);
            if index.is_some() {
                continue;
            }
        }
        // Writing to a text does not fail.
        let _ = write!(text, "{}{END}{value}{END}", encode(key));
    }
    (text, index)
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        let labels: BTreeMap<String, String> =
            labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let (text, index) = pack(labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        Self { text: text.into(), index }
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::shared(None)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Labels whose keys are few, so that two sets have labels in common.
    fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
        let key = prop_oneof![
            prop::sample::select(GENERATED.to_vec()).prop_map(str::to_owned),
            Just(INDEX_ANNOTATION.to_owned()),
            "[a-c]{0,2}",
            "\\PC{0,3}",
        ];
        let value = prop_oneof!["[0-1]{0,2}", Just("4294967296".to_owned()), "[a-b]{0,1}", "\\PC{0,3}"];
        prop::collection::btree_map(key, value, 0..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn labels_behave_like_a_map(one in labels(), two in labels()) {
            let (a, b) = (Labels::shared(Some(&one)), Labels::from_iter(two.clone()));
            let unpacked: BTreeMap<_, _> = a.iter().map(|(key, value)| (key.to_owned(), value.into_owned())).collect();
            prop_assert_eq!(&unpacked, &one);
            for key in one.keys().chain(two.keys()) {
                prop_assert_eq!(a.get(key).map(Cow::into_owned), one.get(key).cloned());
                prop_assert_eq!(a.contains_key(key), one.contains_key(key));
            }
            prop_assert_eq!(a == b, one == two);
            prop_assert_eq!(a.is_subset(&b), one.iter().all(|(key, value)| two.get(key) == Some(value)));
            prop_assert_eq!(&a, &Labels::from_iter(one));
        }
    }

    #[test]
    fn pods_of_an_indexed_job_share_the_text_of_their_labels() {
        let of = |index: &str| {
            let labels = [(CONTROLLER_UID_LABEL, "u"), ("team", "a"), (INDEX_ANNOTATION, index)];
            Labels::shared(Some(&labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()))
        };
        let (one, two) = (of("0"), of("17"));
        assert!(Arc::ptr_eq(&one.text, &two.text));
        assert_eq!(
            (one.get(INDEX_ANNOTATION).as_deref(), two.get(INDEX_ANNOTATION).as_deref()),
            (Some("0"), Some("17"))
        );
        assert_eq!(of("007").get(INDEX_ANNOTATION).as_deref(), Some("007"), "another text of the number is kept");
    }

    #[test]
    fn label_with_a_control_character_is_left_out() {
        let labels: Labels = [("a", "x\0y"), ("\u{1}", "u"), ("b", "z")].into_iter().collect();
        assert_eq!(labels, [("b", "z")].into_iter().collect());
        assert!(!labels.contains_key(CONTROLLER_UID_LABEL));
    }
}
