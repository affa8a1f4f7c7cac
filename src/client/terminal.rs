//! The terminal of the user: width, height and colors. Rendering functions take a [`Screen`] as an argument and read
//! nothing themselves.

use std::ffi::OsStr;
use std::io::IsTerminal;

/// Width of output that does not go to a terminal, in characters.
const DEFAULT_WIDTH: usize = 100;
/// Narrowest width that is used, in characters.
const MIN_WIDTH: usize = 20;

/// When the output has colors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Size and abilities of the place where standard output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Width in characters.
    pub width: usize,
    /// Whether the output goes to a terminal.
    pub terminal: bool,
    /// Height in lines. `None` if the output does not go to a terminal, or if the height is not known.
    pub height: Option<usize>,
    /// Whether the output has colors.
    pub color: bool,
}

/// Color of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// Success.
    Green,
    /// Failure.
    Red,
    /// Something that waits or needs attention.
    Yellow,
    /// Work that is running.
    Blue,
    /// Less important text.
    Dim,
    /// Headings.
    Bold,
}

impl Screen {
    /// Screen without a terminal, for tests and files.
    pub const PLAIN: Self = Self { width: DEFAULT_WIDTH, terminal: false, height: None, color: false };

    /// Returns the screen of standard output.
    pub fn stdout(choice: ColorChoice) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let size = if terminal { size() } else { None };
        let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        let no_color = std::env::var_os("NO_COLOR");
        let term = std::env::var_os("TERM");
        Self {
            width: width(columns, size.map(|(width, _)| width)),
            terminal,
            height: size.map(|(_, height)| height),
            color: has_color(choice, terminal, no_color.as_deref(), term.as_deref()),
        }
    }

    /// Returns the text in this color, if the screen has colors.
    pub fn paint(&self, color: Color, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let code = match color {
            Color::Green => "32",
            Color::Red => "31",
            Color::Yellow => "33",
            Color::Blue => "34",
            Color::Dim => "2",
            Color::Bold => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Returns the width to use: `COLUMNS`, the width of the terminal, or the default.
fn width(columns: Option<usize>, terminal: Option<usize>) -> usize {
    columns.filter(|width| *width > 0).or(terminal.filter(|width| *width > 0)).unwrap_or(DEFAULT_WIDTH).max(MIN_WIDTH)
}

/// Returns whether the output has colors (<https://no-color.org>).
fn has_color(choice: ColorChoice, terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => terminal && no_color.is_none_or(OsStr::is_empty) && term != Some(OsStr::new("dumb")),
    }
}

/// Returns the width and height of the terminal of standard output.
#[cfg(unix)]
pub fn size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some((usize::from(size.ws_col), usize::from(size.ws_row))).filter(|(width, height)| *width > 0 && *height > 0)
}

/// Returns `None`: the size of a terminal is known on Unix only.
#[cfg(not(unix))]
pub fn size() -> Option<(usize, usize)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_is_that_of_columns_or_of_the_terminal() {
        assert_eq!(width(Some(60), Some(80)), 60);
        assert_eq!(width(None, Some(80)), 80);
        assert_eq!(width(Some(0), None), DEFAULT_WIDTH);
        assert_eq!(width(None, Some(5)), MIN_WIDTH);
    }

    #[test]
    fn colors_follow_the_flag_the_terminal_and_no_color() {
        let (none, set, empty) = (None, Some(OsStr::new("1")), Some(OsStr::new("")));
        assert!(has_color(ColorChoice::Auto, true, none, Some(OsStr::new("xterm"))));
        assert!(has_color(ColorChoice::Auto, true, empty, none));
        assert!(!has_color(ColorChoice::Auto, true, set, none));
        assert!(!has_color(ColorChoice::Auto, false, none, none));
        assert!(!has_color(ColorChoice::Auto, true, none, Some(OsStr::new("dumb"))));
        assert!(has_color(ColorChoice::Always, false, set, none));
        assert!(!has_color(ColorChoice::Never, true, none, none));
    }

    #[test]
    fn text_is_painted_on_a_screen_with_colors_only() {
        let screen = Screen { color: true, ..Screen::PLAIN };
        assert_eq!(screen.paint(Color::Red, "failed"), "\u{1b}[31mfailed\u{1b}[0m");
        assert_eq!(Screen::PLAIN.paint(Color::Red, "failed"), "failed");
    }
}
