//! Keeps each log record on one line, whatever the names and messages in it contain.

use std::io::{self, Write};

/// First character of a terminal control sequence.
const ESCAPE: u8 = 0x1b;

/// Writer that writes the text of each call of `write` as one line. Line breaks and other control characters within the
/// line are escaped, so that a name or message that a user chose cannot look like a log line of Jobwright.
pub(crate) struct LogSanitizer<W> {
    /// Destination of the lines.
    pub out: W,
    /// Whether lines are coloured, so that the control sequences for colours are kept.
    pub colours: bool,
}

impl<W: Write> Write for LogSanitizer<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let (line, end) = match text.strip_suffix(b"\n") {
            Some(line) => (line, "\n"),
            None => (text, ""),
        };
        let colours = self.colours;
        let is_plain = |byte: &u8| !byte.is_ascii_control() || *byte == b'\t' || colours && *byte == ESCAPE;
        if line.iter().all(is_plain) {
            self.out.write_all(text)?;
            return Ok(text.len());
        }
        let mut escaped = Vec::with_capacity(text.len() + 16);
        for byte in line {
            if is_plain(byte) {
                escaped.push(*byte);
            } else {
                escaped.extend(byte.escape_ascii());
            }
        }
        escaped.extend(end.as_bytes());
        self.out.write_all(&escaped)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::log_output::Written;
    use super::*;

    #[test]
    fn user_text_cannot_forge_a_log_line() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || LogSanitizer { out: writer.clone(), colours: false })
            .with_ansi(false)
            .without_time()
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let forged = "refused\n2026-01-01T00:00:00Z ERROR jobwright: all is lost\r\u{1b}[31mred";
            tracing::warn!(error = %forged, name = ?forged, "plainly");
            tracing::warn!("{forged}");
        });
        let text = String::from_utf8(written.0.lock().clone()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().all(|line| line.trim_start().starts_with("WARN")), "{text}");
        assert!(text.contains(r"refused\n2026") && !text.contains('\r') && !text.contains('\u{1b}'), "{text}");
    }
}
