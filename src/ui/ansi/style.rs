//! The style of a text, and the parameters that change it (SGR, "select graphic rendition").

use super::colour::{nearest, of_256};

/// Maximum number of parameters of a sequence.
const MAX_PARAMETERS: usize = 64;

/// Style of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Colour of the text: 0 to 15, as in the terminal.
    pub foreground: Option<u8>,
    /// Colour behind the text.
    pub background: Option<u8>,
    /// Whether the text is bold.
    pub bold: bool,
    /// Whether the text is faint.
    pub dim: bool,
    /// Whether the text is italic.
    pub italic: bool,
    /// Whether the text is underlined.
    pub underline: bool,
    /// Whether the text is struck through.
    pub struck: bool,
    /// Whether the two colours are exchanged.
    pub inverse: bool,
}

impl Style {
    /// Applies the parameters of a sequence, such as `1;38;5;196`. Unknown parameters have no effect. Concealed text
    /// stays visible.
    pub(super) fn apply(&mut self, parameters: &str) {
        let mut groups = parameters.split(';').take(MAX_PARAMETERS);
        while let Some(group) = groups.next() {
            let (code, arguments) = group.split_once(':').map_or((group, None), |(code, rest)| (code, Some(rest)));
            match (number(code), arguments) {
                (code @ (38 | 48 | 58), Some(arguments)) => {
                    let parts: Vec<&str> = arguments.split(':').take(8).collect();
                    self.set(code, colour_of_parts(&parts));
                }
                (code @ (38 | 48 | 58), None) => {
                    let colour = match groups.next().map(number) {
                        Some(5) => groups.next().map(|index| of_256(byte(index))),
                        Some(2) => {
                            let mut next = || groups.next().map(byte);
                            next().zip(next()).zip(next()).map(|((red, green), blue)| nearest([red, green, blue]))
                        }
                        _ => None,
                    };
                    self.set(code, colour);
                }
                (4, Some(form)) => self.underline = number(form) != 0,
                (_, Some(_)) => {}
                (code, None) => self.apply_one(code),
            }
        }
    }

    fn set(&mut self, code: u16, colour: Option<u8>) {
        match code {
            38 => self.foreground = colour.or(self.foreground),
            48 => self.background = colour.or(self.background),
            // The colour of the underline is not shown.
            _ => {}
        }
    }

    fn apply_one(&mut self, code: u16) {
        match code {
            0 => *self = Self::default(),
            1 => self.bold = true,
            2 => self.dim = true,
            3 => self.italic = true,
            4 | 21 => self.underline = true,
            7 => self.inverse = true,
            9 => self.struck = true,
            22 => (self.bold, self.dim) = (false, false),
            23 => self.italic = false,
            24 => self.underline = false,
            27 => self.inverse = false,
            29 => self.struck = false,
            39 => self.foreground = None,
            49 => self.background = None,
            30..=37 => self.foreground = Some((code - 30) as u8),
            40..=47 => self.background = Some((code - 40) as u8),
            90..=97 => self.foreground = Some((code - 82) as u8),
            100..=107 => self.background = Some((code - 92) as u8),
            _ => {}
        }
    }

    /// Returns the CSS classes. Without a style there is none.
    ///
    /// `f0` to `f15` are the colours of text. `g0` to `g7` are tints behind text, on which every colour of text is
    /// legible, so a bright colour has the tint of the plain one. `v` is inverse text without colours.
    pub(super) fn classes(self, is_code: bool) -> String {
        let (mut foreground, mut background) = (self.foreground, self.background);
        if self.inverse {
            (foreground, background) = (background, foreground);
        }
        let mut classes = Vec::new();
        let flags = [
            (is_code, "x"),
            (self.bold, "sb"),
            (self.dim, "sd"),
            (self.italic, "si"),
            (self.underline, "su"),
            (self.struck, "ss"),
            (self.inverse && background.is_none(), "v"),
        ];
        classes.extend(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, class)| class.to_owned()));
        // The class `v` sets both colours.
        if let Some(colour) = foreground.filter(|_| !self.inverse || background.is_some()) {
            classes.push(format!("f{colour}"));
        }
        if let Some(colour) = background {
            classes.push(format!("g{}", colour % 8));
        }
        classes.join(" ")
    }
}

/// Returns the colour of `5:n`, `2:r:g:b` or `2:space:r:g:b`.
fn colour_of_parts(parts: &[&str]) -> Option<u8> {
    match parts {
        ["5", index, ..] => Some(of_256(byte(index))),
        ["2", red, green, blue] | ["2", _, red, green, blue, ..] => Some(nearest([byte(red), byte(green), byte(blue)])),
        _ => None,
    }
}

/// Returns a parameter as a number. A missing one is 0, and one that is not valid has no effect.
fn number(text: &str) -> u16 {
    if text.is_empty() { 0 } else { text.parse().unwrap_or(u16::MAX) }
}

fn byte(text: &str) -> u8 {
    u8::try_from(number(text)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(parameters: &str) -> String {
        let mut style = Style::default();
        style.apply(parameters);
        style.classes(false)
    }

    #[test]
    fn parameters_select_classes() {
        let cases = [
            ("", ""),
            ("0", ""),
            ("1;2;3;4;9", "sb sd si su ss"),
            ("1;2;22", ""),
            ("3;4;7;9;23;24;27;29", ""),
            ("21", "su"),
            ("4:3", "su"),
            ("4;4:0", ""),
            ("31", "f1"),
            ("97;104", "f15 g4"),
            ("31;41;39", "g1"),
            ("31;41;49", "f1"),
            ("38;5;12", "f12"),
            ("48;5;12", "g4"),
            ("38;2;255;0;0;1", "sb f9"),
            ("38:2::255:0:0", "f9"),
            ("38:2:255:0:0", "f9"),
            ("38:5:2;3", "si f2"),
            ("58;5;1;32", "f2"),
            ("38;5", ""),
            ("31;38;5", "f1"),
            ("38;9;1", "sb"),
            ("8;99999999999;1x;", ""),
            // Inverse text: with both colours, with one, with none.
            ("7;31;42", "f2 g1"),
            ("7;31", "g1"),
            ("7;42", "v"),
            ("7", "v"),
            ("1;;31", "f1"),
        ];
        for (parameters, expected) in cases {
            assert_eq!(classes(parameters), expected, "{parameters:?}");
        }
    }
}
