//! Output formats of the commands that print objects.

use jiff::SignedDuration;
use serde::Serialize;

use super::terminal::Screen;

/// Output format of a command that prints objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Text, for reading
    #[default]
    Text,
    /// JSON, with the fields that docs/output.md describes
    Json,
    /// YAML, with the same fields
    Yaml,
}

/// Output format of a command that prints a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TableFormat {
    /// Text, for reading
    #[default]
    Text,
    /// Text with more columns, and without shortened cells
    Wide,
    /// TYPE/NAME of each object, as kubectl prints it
    Name,
    /// JSON, with the fields that docs/output.md describes
    Json,
    /// YAML, with the same fields
    Yaml,
}

impl TableFormat {
    /// Returns whether the table has more columns.
    pub fn is_wide(self) -> bool {
        self == Self::Wide
    }

    /// Returns the screen on which the table is drawn. A wide table is wider than the terminal if necessary.
    pub fn screen(self, screen: Screen) -> Screen {
        if self.is_wide() { Screen { terminal: false, height: None, ..screen } } else { screen }
    }

    /// Returns the format for programs, or `Format::Text`.
    pub fn structured(self) -> Format {
        match self {
            Self::Text | Self::Wide | Self::Name => Format::Text,
            Self::Json => Format::Json,
            Self::Yaml => Format::Yaml,
        }
    }
}

/// Several objects of a command.
#[derive(Serialize)]
struct Items<'a, T> {
    items: &'a [T],
}

impl Format {
    /// Returns the object in this format. `None` for text, which each command writes itself.
    pub fn object(self, object: &impl Serialize) -> Option<String> {
        match self {
            Self::Text => None,
            Self::Json => Some(serde_json::to_string_pretty(object).unwrap_or_default() + "\n"),
            // YAML is written from JSON, so that both have the same fields.
            Self::Yaml => serde_json::to_value(object).ok().and_then(|value| serde_saphyr::to_string(&value).ok()),
        }
    }

    /// Returns the objects in this format: one object alone, or an object with the field `items`.
    pub fn objects<T: Serialize>(self, objects: &[T], alone: bool) -> Option<String> {
        match objects {
            [one] if alone => self.object(one),
            several => self.object(&Items { items: several }),
        }
    }
}

/// Formats a duration in one or two units, as kubectl does: `40s`, `2m05s`, `3h04m`, `2d03h`.
pub fn duration_text(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Returns the text cut to a number of characters. The middle is left out, because generated names differ at their end.
pub fn shortened(text: &str, max: usize) -> String {
    let count = text.chars().count();
    if count <= max {
        return text.to_owned();
    }
    let tail = max.saturating_sub(1).div_ceil(2);
    let head = max.saturating_sub(1) - tail;
    text.chars().take(head).chain(['…']).chain(text.chars().skip(count - tail)).take(max).collect()
}

/// Returns the text cut at its end to a number of characters.
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).take(max).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_is_shortened_in_its_middle() {
        assert_eq!(shortened("abcdefghij", 10), "abcdefghij");
        assert_eq!(shortened("abcdefghij", 6), "ab…hij");
        assert_eq!([shortened("abc", 1), shortened("abc", 0)], ["…", ""]);
        assert_eq!([cut("abcdef", 6), cut("abcdef", 4), cut("abc", 1), cut("abc", 0)], ["abcdef", "abc…", "…", ""]);
    }

    #[test]
    fn duration_has_at_most_two_units() {
        let text = |seconds| duration_text(SignedDuration::from_secs(seconds));
        assert_eq!(
            [text(-1), text(40), text(125), text(11_040), text(183_600)],
            ["0s", "40s", "2m05s", "3h04m", "2d03h"]
        );
    }

    #[test]
    fn one_object_stands_alone_and_several_are_items() {
        let one = [json!({"a": 1})];
        assert_eq!(Format::Json.objects(&one, true).unwrap(), "{\n  \"a\": 1\n}\n");
        assert_eq!(Format::Yaml.objects(&one, true).unwrap(), "a: 1\n");
        assert_eq!(Format::Yaml.objects(&one, false).unwrap(), "items:\n- a: 1\n");
        assert_eq!(Format::Text.objects(&one, true), None);
    }
}
