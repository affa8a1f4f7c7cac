//! A text that is redrawn in place as it changes. If stdout is no terminal, only its last state is printed.

use std::io::{IsTerminal, Write, stdout};

/// State of the text on the screen.
pub struct Live {
    terminal: bool,
    lines: usize,
}

impl Live {
    /// Returns a text that has not been drawn yet.
    pub fn new() -> Self {
        Self { terminal: stdout().is_terminal(), lines: 0 }
    }

    /// Draws this text in place of the previous one. Does nothing if stdout is no terminal.
    pub fn show(&mut self, text: &str) {
        if self.terminal {
            let (redraw, lines) = redraw(text, self.lines, screen());
            print!("{redraw}");
            self.lines = lines;
            // A closed terminal does not stop the demo.
            let _ = stdout().flush();
        }
    }

    /// Ends the redrawing. Prints the text if stdout is no terminal.
    pub fn end(self, text: &str) {
        if !self.terminal {
            println!("{}", text.trim_end());
        }
    }
}

/// Returns the output that replaces the `before` lines above the cursor by `text`, and its number of lines.
fn redraw(text: &str, before: usize, (width, height): (usize, usize)) -> (String, usize) {
    let mut drawn = if before > 0 { format!("\x1b[{before}A\x1b[J") } else { String::new() };
    // A block larger than the screen cannot be redrawn, so only its end is drawn. The end contains the changes.
    let all: Vec<&str> = text.trim_end().lines().collect();
    let shown = &all[all.len().saturating_sub(height)..];
    for line in shown {
        drawn.extend(line.chars().take(width));
        drawn.push('\n');
    }
    (drawn, shown.len())
}

/// Returns the number of columns of the terminal, and the number of lines that a text can use.
fn screen() -> (usize, usize) {
    let (width, height) = rustix::termios::tcgetwinsize(stdout()).map_or((80, 24), |size| (size.ws_col, size.ws_row));
    // Some terminals report 0 for an unknown size.
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
