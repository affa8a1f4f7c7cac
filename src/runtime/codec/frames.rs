//! Splitting of a watch response into events: lines of JSON, or protobuf messages with a length of four bytes before each.

use bytes::{Buf, Bytes, BytesMut};
use serde::de::IgnoredAny;

use super::{DecodeError, Encoding};

/// Maximum length of one event, the same as in client-go. An object in etcd has at most a tenth of it unless the limit of
/// etcd was raised.
pub const MAX_FRAME: usize = 16 << 20;
/// Length of the length before a protobuf message.
const PREFIX: usize = 4;

/// Buffer of a watch response that is split into events.
#[derive(Debug)]
pub struct Frames {
    encoding: Encoding,
    buffer: BytesMut,
    /// Length of the part of the buffer that contains no end of line.
    searched: usize,
}

impl Frames {
    /// Creates an empty buffer for a response in this encoding.
    pub fn new(encoding: Encoding) -> Self {
        Self { encoding, buffer: BytesMut::new(), searched: 0 }
    }

    /// Adds the next part of the response.
    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// Returns the next complete event; none if more data is needed.
    ///
    /// # Errors
    /// The event is longer than [`MAX_FRAME`].
    pub fn pop(&mut self) -> Result<Option<Bytes>, DecodeError> {
        match self.encoding {
            Encoding::Json => self.next_line(),
            Encoding::Protobuf => self.next_message(),
        }
    }

    /// Returns the rest of the response after its end: the last line may lack its end.
    ///
    /// # Errors
    /// The response ended within a message.
    pub fn finish(&mut self) -> Result<Option<Bytes>, DecodeError> {
        let rest = self.buffer.split().freeze();
        match self.encoding {
            Encoding::Json if rest.iter().all(u8::is_ascii_whitespace) => Ok(None),
            Encoding::Json if serde_json::from_slice::<IgnoredAny>(&rest).is_ok() => Ok(Some(rest)),
            Encoding::Protobuf if rest.is_empty() => Ok(None),
            Encoding::Json | Encoding::Protobuf => Err(DecodeError::Truncated),
        }
    }

    fn next_line(&mut self) -> Result<Option<Bytes>, DecodeError> {
        loop {
            let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                return if self.searched > MAX_FRAME { Err(DecodeError::TooLong(self.searched)) } else { Ok(None) };
            };
            let line = self.buffer.split_to(self.searched + end).freeze();
            self.buffer.advance(1);
            self.searched = 0;
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(line));
            }
        }
    }

    fn next_message(&mut self) -> Result<Option<Bytes>, DecodeError> {
        let Some(length) = self.buffer.first_chunk::<PREFIX>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(DecodeError::TooLong(length));
        }
        if self.buffer.len() < PREFIX + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(frames: &mut Frames, data: &[u8], piece: usize) -> Result<Vec<Bytes>, DecodeError> {
        let mut found = Vec::new();
        for part in data.chunks(piece) {
            frames.push(part);
            while let Some(frame) = frames.pop()? {
                found.push(frame);
            }
        }
        Ok(found)
    }

    #[test]
    fn events_are_the_same_however_the_response_is_cut() {
        let protobuf = b"\0\0\0\x03abc\0\0\0\0\0\0\0\x01\n";
        let json = b"{\"a\":1}\n\r\n{\"b\":2}\r\n";
        for piece in 1..json.len() {
            let mut frames = Frames::new(Encoding::Protobuf);
            assert_eq!(all(&mut frames, protobuf, piece).unwrap(), [&b"abc"[..], b"", b"\n"]);
            assert!(frames.finish().unwrap().is_none());
            let mut frames = Frames::new(Encoding::Json);
            assert_eq!(all(&mut frames, json, piece).unwrap(), [&b"{\"a\":1}"[..], b"{\"b\":2}\r"]);
            assert!(frames.finish().unwrap().is_none());
        }
    }

    #[test]
    fn response_that_ends_within_an_event_is_an_error() {
        for cut in [&b"\0\0"[..], b"\0\0\0\x03ab"] {
            let mut frames = Frames::new(Encoding::Protobuf);
            assert!(all(&mut frames, cut, 1).unwrap().is_empty());
            assert!(matches!(frames.finish(), Err(DecodeError::Truncated)));
        }
        let mut frames = Frames::new(Encoding::Json);
        frames.push(b"{\"a\":");
        assert!(matches!(frames.finish(), Err(DecodeError::Truncated)));
        frames.push(b"{\"a\":1}");
        assert_eq!(frames.finish().unwrap().unwrap(), &b"{\"a\":1}"[..]);
    }

    #[test]
    fn event_longer_than_the_limit_is_refused_before_it_arrives() {
        let mut frames = Frames::new(Encoding::Protobuf);
        frames.push(&u32::MAX.to_be_bytes());
        assert!(matches!(frames.pop(), Err(DecodeError::TooLong(4_294_967_295))));
        let mut frames = Frames::new(Encoding::Json);
        frames.push(&vec![b'x'; MAX_FRAME + 1]);
        assert!(matches!(frames.pop(), Err(DecodeError::TooLong(_))));
    }
}
