//! Prints the lines of logs.

use jiff::Timestamp;

use crate::client::logs::sources::Source;
use crate::client::logs::tail::Tail;
use crate::client::logs::text::{colored_prefix, for_terminal};
use crate::client::output;

/// How lines are printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Printer {
    /// Whether the output goes to a terminal, so that control characters are made visible.
    pub terminal: bool,
    /// Whether prefixes have colors, and colors of the log are kept on a terminal.
    pub colors: bool,
    /// Whether lines begin with pod and container.
    pub prefix: bool,
    /// Whether lines begin with their time.
    pub timestamps: bool,
}

impl Printer {
    /// Prints a line of a container.
    pub(super) fn print(&self, pod: &str, container: &str, time: Option<Timestamp>, line: &str) {
        output::print_line(self.format(pod, container, time, line));
    }

    fn format(&self, pod: &str, container: &str, time: Option<Timestamp>, line: &str) -> String {
        let mut text = String::new();
        if self.prefix {
            let prefix = format!("[pod/{pod}/{container}] ");
            text += &if self.colors { colored_prefix(&prefix, pod) } else { prefix };
        }
        if let Some(time) = time.filter(|_| self.timestamps) {
            text += &format!("{time} ");
        }
        text + &if self.terminal { for_terminal(line, self.colors) } else { line.to_owned() }
    }
}

/// Prints the log of a container that exists now. Returns whether the log could be read.
pub(super) async fn print_log(mut tail: Tail, printer: &Printer) -> bool {
    while let Some(line) = tail.next().await {
        let source = tail.source();
        match line {
            Ok(line) => printer.print(&source.pod, &source.container, line.time, &line.text),
            Err(reason) => {
                report(source, &reason);
                return false;
            }
        }
    }
    true
}

/// Prints that a log cannot be read.
pub(super) fn report(source: &Source, reason: &str) {
    output::error_line(format!(
        "jobwright: cannot read the log of {} in pod/{}: {reason}",
        source.container, source.pod
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_printed_with_prefix_and_time() {
        let plain = Printer { terminal: false, colors: false, prefix: true, timestamps: false };
        let time = Some("2026-01-01T00:00:00.5Z".parse().unwrap());
        assert_eq!(plain.format("a-1", "main", time, "x\u{1b}[2J"), "[pod/a-1/main] x\u{1b}[2J");
        let stamped = Printer { timestamps: true, prefix: false, ..plain };
        assert_eq!(stamped.format("a-1", "main", time, "x"), "2026-01-01T00:00:00.5Z x");
        let screen = Printer { terminal: true, colors: true, ..plain };
        let line = screen.format("a-1", "main", time, "x\u{1b}[2J");
        assert!(line.starts_with("\u{1b}[") && line.ends_with("m[pod/a-1/main] \u{1b}[0mx^[[2J"), "{line:?}");
    }
}
