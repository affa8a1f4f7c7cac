//! Shared copies of equal texts: the namespace, the owner and the labels of many objects are equal, and one copy in
//! memory serves all of them.
//!
//! The table of known texts has a fixed size, so it needs no cleanup. A new text replaces another one whose hash has the
//! same place. A text that was replaced is not shared with later objects, which costs memory but changes no result.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use ahash::RandomState;
use parking_lot::Mutex;

/// Number of known texts.
const PLACES: usize = 4096;
/// Maximum length of a text that is shared, in bytes. It limits the memory of the table to 2 MiB.
const LONGEST: usize = 512;

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

struct Table {
    texts: Box<[Option<Arc<str>>]>,
    state: RandomState,
}

impl Default for Table {
    fn default() -> Self {
        Self { texts: vec![None; PLACES].into(), state: RandomState::new() }
    }
}

impl Table {
    fn intern(&mut self, text: &str) -> Arc<str> {
        let place = self.state.hash_one(text) % PLACES as u64;
        let known = &mut self.texts[place as usize];
        match known {
            Some(known) if **known == *text => known.clone(),
            _ => known.insert(text.into()).clone(),
        }
    }
}

/// Returns a shared copy of a text that many objects have.
pub fn intern(text: &str) -> Arc<str> {
    if text.len() > LONGEST { text.into() } else { TABLE.lock().intern(text) }
}

/// Text that many objects have, such as the reason of a condition. Equal texts share one copy.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedText(Arc<str>);

impl SharedText {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: AsRef<str>> From<T> for SharedText {
    fn from(text: T) -> Self {
        Self(intern(text.as_ref()))
    }
}

impl Deref for SharedText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<&str> for SharedText {
    fn eq(&self, text: &&str) -> bool {
        *self.0 == **text
    }
}

impl fmt::Debug for SharedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_share_one_copy() {
        let mut table = Table::default();
        let (one, two) = (table.intern("reports"), table.intern("reports"));
        assert!(Arc::ptr_eq(&one, &two));
        assert_eq!(&*table.intern(""), "");
    }

    #[test]
    fn table_of_many_texts_returns_each_text_and_keeps_a_limited_number() {
        let mut table = Table::default();
        let texts: Vec<Arc<str>> = (0..3 * PLACES).map(|number| table.intern(&number.to_string())).collect();
        assert!(texts.iter().enumerate().all(|(number, text)| **text == *number.to_string()));
        let kept = texts.iter().filter(|text| Arc::strong_count(text) == 2).count();
        assert!(kept <= PLACES && kept > PLACES / 2, "{kept}");
    }

    #[test]
    fn long_text_is_returned_and_not_kept() {
        let long = "x".repeat(LONGEST + 1);
        let text = intern(&long);
        assert_eq!((&*text, Arc::strong_count(&text)), (&*long, 1));
    }
}
