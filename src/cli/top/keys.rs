//! Keys of the user, and the modes of the terminal in which they are read one by one.

use std::io::Read;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, channel};

/// A key with a meaning in `jobwright top`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// q, Ctrl-C or the end of the input.
    Quit,
    /// Arrow up or k.
    Up,
    /// Arrow down or j.
    Down,
    /// Page up or b.
    PageUp,
    /// Page down or the space bar.
    PageDown,
    /// Home or g.
    First,
    /// End or G.
    Last,
    /// s.
    Sort,
    /// Any other key.
    Other,
}

/// Keys with their bytes. Longer sequences come first.
const KEYS: &[(&[u8], Key)] = &[
    (b"\x1b[5~", Key::PageUp),
    (b"\x1b[6~", Key::PageDown),
    (b"\x1b[1~", Key::First),
    (b"\x1b[4~", Key::Last),
    (b"\x1b[A", Key::Up),
    (b"\x1bOA", Key::Up),
    (b"\x1b[B", Key::Down),
    (b"\x1bOB", Key::Down),
    (b"\x1b[H", Key::First),
    (b"\x1b[F", Key::Last),
    (b"q", Key::Quit),
    (b"Q", Key::Quit),
    (b"\x03", Key::Quit),
    (b"\x04", Key::Quit),
    (b"k", Key::Up),
    (b"j", Key::Down),
    (b"b", Key::PageUp),
    (b" ", Key::PageDown),
    (b"g", Key::First),
    (b"G", Key::Last),
    (b"s", Key::Sort),
];

/// Returns the keys of these bytes. Several keys may arrive together.
fn parse(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while !bytes.is_empty() {
        let known = KEYS.iter().find(|(sequence, _)| bytes.starts_with(sequence));
        let (length, key) = known.map_or((1, Key::Other), |(sequence, key)| (sequence.len(), *key));
        keys.push(key);
        bytes = &bytes[length..];
    }
    keys
}

/// Reads keys until it is dropped. The alternate screen of the terminal shows the table meanwhile, and the screen before
/// is restored at the end.
pub(super) struct Input {
    keys: Receiver<Key>,
    signals: Signals,
    _terminal: RawTerminal,
}

impl Input {
    /// Switches the terminal to single keys, and starts to read them.
    pub(super) fn start() -> Self {
        let terminal = RawTerminal::enter();
        let (sender, keys) = channel(16);
        // The thread ends with the process: a read from the terminal cannot be interrupted.
        std::thread::spawn(move || {
            let mut buffer = [0; 16];
            loop {
                let keys = match std::io::stdin().read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => parse(&buffer[..count]),
                };
                if keys.into_iter().any(|key| sender.blocking_send(key).is_err()) {
                    break;
                }
            }
        });
        Self { keys, signals: Signals::new(), _terminal: terminal }
    }

    /// Returns the next key. A signal that ends the process counts as the key that quits, and a changed size of the
    /// terminal as a key without a meaning.
    pub(super) async fn key(&mut self) -> Key {
        tokio::select! {
            key = next(&mut self.keys) => key,
            key = self.signals.key() => key,
        }
    }
}

/// Signals that count as keys. They are received from the start, so that none is lost between two keys.
#[cfg(unix)]
struct Signals {
    ends: Option<[Signal; 3]>,
    size: Option<Signal>,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Self {
        let ends =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(|kind| signal(kind).ok());
        let ends = match ends {
            [Some(interrupt), Some(terminate), Some(hangup)] => Some([interrupt, terminate, hangup]),
            _ => None,
        };
        Self { ends, size: signal(SignalKind::window_change()).ok() }
    }

    async fn key(&mut self) -> Key {
        let size = async {
            match &mut self.size {
                Some(size) => size.recv().await,
                None => std::future::pending().await,
            }
        };
        let Some([interrupt, terminate, hangup]) = &mut self.ends else {
            size.await;
            return Key::Other;
        };
        tokio::select! {
            _ = interrupt.recv() => Key::Quit,
            _ = terminate.recv() => Key::Quit,
            _ = hangup.recv() => Key::Quit,
            _ = size => Key::Other,
        }
    }
}

/// Ctrl-C, the only signal where there are no Unix signals.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Self {
        Self
    }

    async fn key(&mut self) -> Key {
        let _ = tokio::signal::ctrl_c().await;
        Key::Quit
    }
}

/// Returns the next key. Where standard input is closed, no key comes, and the table stays until a signal.
async fn next(keys: &mut Receiver<Key>) -> Key {
    match keys.recv().await {
        Some(key) => key,
        None => std::future::pending().await,
    }
}

/// The modes of the terminal before the table was shown, which are restored when the value is dropped.
struct RawTerminal {
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

impl RawTerminal {
    fn enter() -> Self {
        // Alternate screen, and no cursor.
        let _ = crate::client::output::try_print("\u{1b}[?1049h\u{1b}[?25l");
        #[cfg(unix)]
        {
            use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
            let stdin = std::io::stdin();
            let before = tcgetattr(&stdin).ok();
            if let Some(mut modes) = before.clone() {
                modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
                let _ = tcsetattr(&stdin, OptionalActions::Now, &modes);
            }
            Self { before }
        }
        #[cfg(not(unix))]
        Self {}
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(before) = &self.before {
            use rustix::termios::{OptionalActions, tcsetattr};
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
        let _ = crate::client::output::try_print("\u{1b}[?25h\u{1b}[?1049l");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_parsed_from_their_bytes() {
        let keys: [(&[u8], Key); 7] = [
            (b"q", Key::Quit),
            (b"\x03", Key::Quit),
            (b"\x1b[A", Key::Up),
            (b"\x1b[6~", Key::PageDown),
            (b"G", Key::Last),
            (b"s", Key::Sort),
            (b"x", Key::Other),
        ];
        for (bytes, key) in keys {
            assert_eq!(parse(bytes), [key], "{bytes:?}");
        }
        assert_eq!(parse(b"jj\x1b[Aq"), [Key::Down, Key::Down, Key::Up, Key::Quit]);
    }
}
