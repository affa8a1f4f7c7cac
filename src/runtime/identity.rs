//! Types for the identity of objects, so that the compiler rejects a comparison of a UID with a name.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::str;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Length of a UID in the canonical form of RFC 9562.
const CANONICAL_LENGTH: usize = 36;
/// Places of the dashes in a UID of the canonical form.
const DASHES: [usize; 4] = [8, 13, 18, 23];

/// UID of an object: unique over time, never reused, opaque.
///
/// The API server creates UIDs in the canonical form of RFC 9562: 32 lowercase hexadecimal digits and four dashes. Such
/// a UID needs no memory on the heap, a clone copies 16 bytes, and their order is the order of their texts. Any other
/// text is possible too, because users write owner references. These UIDs follow all canonical ones.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uid(Form);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// The digits of a canonical UID, the first ones in the highest bits.
    Canonical(u64, u64),
    Other(Arc<str>),
}

impl Uid {
    /// Returns the UID as the API writes it.
    pub fn text(&self) -> UidText<'_> {
        UidText(match &self.0 {
            Form::Canonical(high, low) => Text::Canonical(write_canonical(*high, *low)),
            Form::Other(text) => Text::Other(text),
        })
    }

    /// Returns whether the API writes the UID as this text.
    pub fn is(&self, text: &str) -> bool {
        match &self.0 {
            Form::Canonical(high, low) => parse_canonical(text) == Some((*high, *low)),
            Form::Other(other) => **other == *text,
        }
    }
}

/// Text of a UID. It dereferences to `str`.
pub struct UidText<'a>(Text<'a>);

enum Text<'a> {
    Canonical([u8; CANONICAL_LENGTH]),
    Other(&'a str),
}

impl Deref for UidText<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            // The bytes are digits and dashes, so they are always a text.
            Text::Canonical(bytes) => str::from_utf8(bytes).unwrap_or_default(),
            Text::Other(text) => text,
        }
    }
}

/// Returns the digits of a text in the canonical form.
fn parse_canonical(text: &str) -> Option<(u64, u64)> {
    let bytes: &[u8; CANONICAL_LENGTH] = text.as_bytes().try_into().ok()?;
    let mut digits: u128 = 0;
    for (place, byte) in bytes.iter().enumerate() {
        let digit = match byte {
            b'-' if DASHES.contains(&place) => continue,
            _ if DASHES.contains(&place) => return None,
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        digits = digits << 4 | u128::from(digit);
    }
    let [high, low] = [digits >> 64, digits].map(|half| half as u64);
    Some((high, low))
}

fn write_canonical(high: u64, low: u64) -> [u8; CANONICAL_LENGTH] {
    let mut digits = u128::from(high) << 64 | u128::from(low);
    let mut bytes = [b'-'; CANONICAL_LENGTH];
    for (_, byte) in bytes.iter_mut().enumerate().filter(|(place, _)| !DASHES.contains(place)) {
        digits = digits.rotate_left(4);
        *byte = b"0123456789abcdef"[(digits & 0xf) as usize];
    }
    bytes
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        Self(match parse_canonical(text) {
            Some((high, low)) => Form::Canonical(high, low),
            None => Form::Other(text.into()),
        })
    }
}

impl From<String> for Uid {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl Hash for Uid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            Form::Canonical(high, low) => {
                state.write_u64(*high);
                state.write_u64(*low);
            }
            Form::Other(text) => text.hash(state),
        }
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text())
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Uid").field(&&*self.text()).finish()
    }
}

impl Serialize for Uid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Uid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(transparent)]
        struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
        Borrowed::deserialize(deserializer).map(|text| (*text.0).into())
    }
}

/// Identity of one version of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Namespace of the object; empty for a cluster-scoped object.
    pub namespace: Arc<str>,
    /// Name of the object. Another object may get this name after this object is deleted.
    pub name: Arc<str>,
    /// UID of the object.
    pub uid: Uid,
    /// Version of the object. Versions of one resource are comparable (KEP-5504): a greater one is newer.
    pub resource_version: ResourceVersion,
}

/// Value of `metadata.resourceVersion`, comparable within one resource type.
///
/// See <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceVersion(pub u64);

impl ResourceVersion {
    /// Parses the text of the API; returns `None` if the text is not a number.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl fmt::Display for ResourceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use proptest::prelude::*;

    use super::*;

    const CANONICAL: &str = "0189f7e2-7c3d-4f00-8b1a-09afffffffff";

    /// Any text, texts in the canonical form, and texts that differ from that form in one character.
    fn texts() -> impl Strategy<Value = String> {
        let canonical = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
        let altered = (canonical, 0..CANONICAL_LENGTH, any::<char>()).prop_map(|(text, place, other)| {
            let mut characters: Vec<char> = text.chars().collect();
            characters[place] = other;
            characters.into_iter().collect()
        });
        let upper = canonical.prop_map(|text: String| text.to_uppercase());
        prop_oneof![".{0,40}", canonical, altered, upper, "[0-9a-f-]{30,40}", "[0-9a-f]{0,2}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn uid_keeps_its_text_and_compares_as_its_text(one in texts(), two in texts()) {
            let (a, b) = (Uid::from(one.as_str()), Uid::from(two.clone()));
            prop_assert_eq!(&*a.text(), &one);
            prop_assert_eq!(a.to_string(), one.clone());
            let json = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(&json, &serde_json::to_string(&one).unwrap());
            prop_assert_eq!(&serde_json::from_str::<Uid>(&json).unwrap(), &a);
            let state = RandomState::new();
            prop_assert_eq!(state.hash_one(&a), state.hash_one(Uid::from(one.as_str())));
            prop_assert_eq!(a == b, one == two);
            prop_assert_eq!(a.is(&two), one == two);
            prop_assert_eq!(a.cmp(&b) == std::cmp::Ordering::Equal, one == two);
            if let (Form::Canonical(..), Form::Canonical(..)) = (&a.0, &b.0) {
                prop_assert_eq!(a.cmp(&b), one.cmp(&two));
            }
        }
    }

    #[test]
    fn only_the_canonical_form_is_stored_without_the_heap() {
        let is_canonical = |text: &str| matches!(Uid::from(text).0, Form::Canonical(..));
        assert!(is_canonical(CANONICAL));
        let no_dashes = CANONICAL.replace('-', "0");
        for other in ["", "uid-a", &CANONICAL.to_uppercase(), &CANONICAL[1..], &format!("{CANONICAL}0"), &no_dashes] {
            assert!(!is_canonical(other), "{other:?}");
        }
    }

    #[test]
    fn uid_with_escaped_characters_is_parsed() {
        let uid: Uid = serde_json::from_str(r#""0189f7e2\u002d7c3d-4f00-8b1a-09afffffffff""#).unwrap();
        assert_eq!(uid, Uid::from(CANONICAL));
    }
}
