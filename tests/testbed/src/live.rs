//! A text that is shown again in place as it changes. Where the output is no terminal, only its last state is printed.

use std::io::{IsTerminal, Write, stdout};

/// What is on the screen now.
pub struct Live {
    terminal: bool,
    lines: usize,
}

impl Live {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { terminal: stdout().is_terminal(), lines: 0 }
    }

    /// Shows this text in place of the one before.
    pub fn show(&mut self, text: &str) {
        if self.terminal {
            let (redraw, lines) = redraw(text, self.lines, screen());
            print!("{redraw}");
            self.lines = lines;
            // A terminal that is gone is no reason to stop.
            let _ = stdout().flush();
        }
    }

    /// The text stays as it is.
    pub fn end(self, text: &str) {
        if !self.terminal {
            println!("{}", text.trim_end());
        }
    }
}

/// The characters that put `text` in the place of the `before` lines above, and how many lines it takes.
fn redraw(text: &str, before: usize, (width, height): (usize, usize)) -> (String, usize) {
    let mut drawn = if before > 0 { format!("\x1b[{before}A\x1b[J") } else { String::new() };
    // A block larger than the screen cannot be drawn over; its end shows what moves.
    let all: Vec<&str> = text.trim_end().lines().collect();
    let shown = &all[all.len().saturating_sub(height)..];
    for line in shown {
        drawn.extend(line.chars().take(width));
        drawn.push('\n');
    }
    (drawn, shown.len())
}

/// The columns and lines the terminal has room for.
fn screen() -> (usize, usize) {
    let (width, height) = rustix::termios::tcgetwinsize(stdout()).map_or((80, 24), |size| (size.ws_col, size.ws_row));
    // Some terminals say 0 for "unknown".
    let or = |given: u16, usual: usize| if given == 0 { usual } else { usize::from(given) };
    (or(width, 80), or(height, 24).saturating_sub(2).max(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_replaces_the_previous_text_and_is_cut_to_the_screen() {
        assert_eq!(redraw("a\nb\n", 0, (80, 10)), ("a\nb\n".to_owned(), 2));
        assert_eq!(redraw("c\n", 2, (80, 10)), ("\x1b[2A\x1b[Jc\n".to_owned(), 1));
        assert_eq!(redraw("a\nbcd\ne", 1, (2, 2)), ("\x1b[1A\x1b[Jbc\ne\n".to_owned(), 2));
    }
}
