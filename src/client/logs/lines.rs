//! Reads a stream of bytes by lines of limited length.

use std::io;

use futures::{AsyncBufRead, AsyncBufReadExt};

/// Longest line that is read as one, in bytes. A longer line is read in parts.
const MAX_LINE: usize = 64 * 1024;

/// Reader of lines.
pub(crate) struct Lines<R> {
    reader: R,
    /// Whether the next part continues the line of the last one.
    continues: bool,
}

/// Line, or part of a long line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Text without the line break. Bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Whether the text continues the line before it.
    pub continues: bool,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, continues: false }
    }

    /// Returns the next line. `None` at the end of the stream.
    ///
    /// # Errors
    /// The stream fails.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        let mut ended = false;
        while !ended && line.len() < MAX_LINE {
            let bytes = self.reader.fill_buf().await?;
            if bytes.is_empty() {
                if line.is_empty() {
                    return Ok(None);
                }
                break;
            }
            let room = &bytes[..bytes.len().min(MAX_LINE - line.len())];
            let end = room.iter().position(|byte| *byte == b'\n');
            line.extend_from_slice(&room[..end.unwrap_or(room.len())]);
            let used = end.map_or(room.len(), |end| end + 1);
            ended = end.is_some();
            self.reader.consume_unpin(used);
        }
        let continues = std::mem::replace(&mut self.continues, !ended);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(Line { text: String::from_utf8_lossy(&line).into_owned(), continues }))
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    async fn lines(text: &[u8]) -> Vec<(String, bool)> {
        let mut reader = Lines::new(Cursor::new(text));
        let mut lines = Vec::new();
        while let Some(line) = reader.next().await.unwrap() {
            lines.push((line.text, line.continues));
        }
        lines
    }

    #[tokio::test]
    async fn stream_is_split_at_line_breaks_and_at_the_limit() {
        let line = |text: &str| (text.to_owned(), false);
        assert_eq!(lines(b"one\r\n\ntwo\xff\nlast").await, [line("one"), line(""), line("two\u{fffd}"), line("last")]);
        assert_eq!(lines(b"").await, []);
        let long = "x".repeat(MAX_LINE);
        let text = format!("{long}yz\nnext\n");
        assert_eq!(lines(text.as_bytes()).await, [line(&long), ("yz".to_owned(), true), line("next")]);
    }
}
