//! Destination of log lines in tests.

use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;

/// Destination that keeps the text that was written.
#[derive(Clone, Default)]
pub(super) struct Written(pub(super) Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().write(text)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
