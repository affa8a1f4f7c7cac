//! Fields of a protobuf message, without knowledge of the message: to copy a message, replace some of its fields, and keep
//! the bytes of all the other ones.
//!
//! See <https://protobuf.dev/programming-guides/encoding/>.

use super::DecodeError;

/// Wire type of fields that begin with their length: texts, bytes and messages.
const LENGTH_DELIMITED: u64 = 2;

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Number of the field.
    pub number: u64,
    /// All bytes of the field, with its number.
    pub bytes: &'a [u8],
    /// Bytes of a text, of bytes or of a message; none for a number.
    pub content: Option<&'a [u8]>,
}

/// Iterator over the fields of a message. It ends after the first error.
#[derive(Clone, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Returns the fields of a message.
    pub fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn read(&mut self) -> Result<Field<'a>, DecodeError> {
        let all = self.0;
        let mut rest = all;
        let key = varint(&mut rest)?;
        let mut content = None;
        match key & 7 {
            0 => {
                varint(&mut rest)?;
            }
            1 => {
                split(&mut rest, 8)?;
            }
            LENGTH_DELIMITED => {
                let length = varint(&mut rest)?;
                content = Some(split(&mut rest, length)?);
            }
            5 => {
                split(&mut rest, 4)?;
            }
            // Kubernetes uses no groups.
            _ => return Err(DecodeError::Field),
        }
        let (bytes, rest) = all.split_at(all.len() - rest.len());
        self.0 = rest;
        Ok(Field { number: key >> 3, bytes, content })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Returns the content of a message field. A message that occurs several times is the concatenation of its occurrences.
///
/// # Errors
/// The message is invalid.
pub fn message(message: &[u8], number: u64) -> Result<Vec<u8>, DecodeError> {
    let mut found = Vec::new();
    for field in Fields::of(message) {
        let field = field?;
        if field.number == number {
            found.extend_from_slice(field.content.ok_or(DecodeError::Field)?);
        }
    }
    Ok(found)
}

/// Appends a text, bytes or a message to a message.
pub fn put(message: &mut Vec<u8>, number: u64, content: &[u8]) {
    put_varint(message, number << 3 | LENGTH_DELIMITED);
    put_varint(message, content.len() as u64);
    message.extend_from_slice(content);
}

/// Appends a boolean to a message.
pub fn put_bool(message: &mut Vec<u8>, number: u64, value: bool) {
    put_varint(message, number << 3);
    message.push(value.into());
}

/// Appends a number that is not negative to a message.
pub fn put_number(message: &mut Vec<u8>, number: u64, value: u64) {
    put_varint(message, number << 3);
    put_varint(message, value);
}

/// Appends an entry of a map of texts to a message. Of two entries with the same key, the last one counts.
pub fn put_entry(message: &mut Vec<u8>, number: u64, key: &str, value: &str) {
    let mut entry = Vec::with_capacity(key.len() + value.len() + 8);
    put(&mut entry, 1, key.as_bytes());
    put(&mut entry, 2, value.as_bytes());
    put(message, number, &entry);
}

fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn varint(rest: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(DecodeError::Field)?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(DecodeError::Field)
}

fn split<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], DecodeError> {
    let length = usize::try_from(length).map_err(|_| DecodeError::Field)?;
    let (found, after) = rest.split_at_checked(length).ok_or(DecodeError::Field)?;
    *rest = after;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fields_are_consecutive_parts_of_the_message(data in prop::collection::vec(any::<u8>(), 0..200)) {
            let read: Vec<_> = Fields::of(&data).collect();
            let whole: Vec<u8> = read.iter().flatten().flat_map(|field| field.bytes.to_vec()).collect();
            prop_assert!(data.starts_with(&whole));
            prop_assert_eq!(whole.len() == data.len(), read.iter().all(Result::is_ok));
        }

        #[test]
        fn appended_fields_are_read(number in 1_u64..1 << 29, content in prop::collection::vec(any::<u8>(), 0..300), flag: bool) {
            let mut data = Vec::new();
            put(&mut data, number, &content);
            put_bool(&mut data, number, flag);
            put_entry(&mut data, 11, "key", "value");
            let fields: Vec<Field> = Fields::of(&data).map(Result::unwrap).collect();
            prop_assert_eq!((fields[0].number, fields[0].content), (number, Some(&content[..])));
            prop_assert_eq!((fields[1].number, fields[1].content), (number, None));
            prop_assert_eq!(fields[1].bytes.last(), Some(&u8::from(flag)));
            prop_assert_eq!(message(fields[2].content.unwrap(), 2).unwrap(), b"value");
        }
    }

    #[test]
    fn length_beyond_the_message_is_refused() {
        for invalid in [
            &[0x0a][..],
            &[0x0a, 0x05, 1],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x0b],
            &[0x80; 11],
        ] {
            assert!(Fields::of(invalid).any(|field| field.is_err()), "{invalid:?}");
        }
    }
}
