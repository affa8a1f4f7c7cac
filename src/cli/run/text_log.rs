//! Log lines as text: time, level, target and message, and then the fields of the event and of the spans around it as
//! `key=value`, as in logfmt.
//!
//! A value with spaces, quotes or other special characters is quoted and escaped, so that a program can split the line into
//! its fields, and a name or message that a user chose cannot look like another field. Here, as in `json_log`, a line has
//! `namespace`, `name` and `uid` wherever these come from.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Name of the field with the message of an event.
const MESSAGE: &str = "message";
/// Separator of the formatted fields of a span. A quoted value does not contain it.
const SEPARATOR: char = '\n';

/// Format of one log line. The fields of spans must be formatted by [`LogfmtFields`].
pub(super) struct FlatText;

/// Format of the fields of a span.
pub(super) struct LogfmtFields;

impl<S, N> FormatEvent<S, N> for FlatText
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        #[expect(clippy::disallowed_methods, reason = "a log line has the time at which it is written")]
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ");
        let metadata = event.metadata();
        let (level, target) = (*metadata.level(), metadata.target());
        if writer.has_ansi_escapes() {
            write!(writer, "\u{1b}[2m{now}\u{1b}[0m \u{1b}[{}m{level:>5}\u{1b}[0m {target}:", color(level))?;
        } else {
            write!(writer, "{now} {level:>5} {target}:")?;
        }
        let mut line = Fields::default();
        event.record(&mut line);
        write!(writer, " {}", line.message)?;
        // The outermost span comes first. A field of the event or of an inner span replaces that of an outer span.
        let mut shown: Vec<String> = line.fields;
        let mut before = Vec::new();
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            let Some(fields) = extensions.get::<FormattedFields<N>>() else { continue };
            let new: Vec<String> = fields.fields.split(SEPARATOR).map(str::to_owned).collect();
            let is_new = |field: &String| {
                let is_same = |known: &String| key(known) == key(field);
                !field.is_empty() && !shown.iter().chain(&before).any(is_same)
            };
            let new: Vec<String> = new.into_iter().filter(is_new).collect();
            before.splice(0..0, new);
        }
        before.append(&mut shown);
        for field in before {
            write!(writer, " {field}")?;
        }
        writeln!(writer)
    }
}

impl<'writer> FormatFields<'writer> for LogfmtFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Fields::default();
        fields.record(&mut line);
        writer.write_str(&line.fields.join("\n"))
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        if !current.fields.is_empty() {
            current.fields.push(SEPARATOR);
        }
        self.format_fields(current.as_writer(), fields)
    }
}

fn key(field: &str) -> &str {
    field.split_once('=').map_or(field, |(key, _)| key)
}

fn color(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

/// The message and the fields of one event or span. Each field is `key=value`.
#[derive(Default)]
struct Fields {
    message: String,
    fields: Vec<String>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            value.clone_into(&mut self.message);
        } else {
            self.fields.push(format!("{}={}", field.name(), quoted(value)));
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }
}

/// Returns a value as it is if it is one word, and quoted otherwise. A text that is quoted already stays.
fn quoted(value: &str) -> String {
    let is_plain =
        |character: char| !character.is_whitespace() && !character.is_control() && !"\"=\\".contains(character);
    if !value.is_empty() && value.chars().all(is_plain) || is_quoted(value) {
        return value.to_owned();
    }
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // Writing to a text does not fail.
            _ if character.is_control() => drop(write!(quoted, "\\u{:04x}", u32::from(character))),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// Returns whether a text is one quoted value, as the debug format writes texts.
fn is_quoted(value: &str) -> bool {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return false };
    let mut is_escaped = false;
    for character in inner.chars() {
        match character {
            _ if character.is_control() => return false,
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return false,
            _ => {}
        }
    }
    !is_escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::log_output::Written;
    use super::*;

    /// Returns what this code logs, without the times.
    fn logged(log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .fmt_fields(LogfmtFields)
            .event_format(FlatText)
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let text = String::from_utf8(written.0.lock().clone()).unwrap();
        text.lines().map(|line| format!("{}\n", line.split_once("Z ").unwrap().1)).collect()
    }

    /// Splits the fields of a line as a parser of logfmt does.
    fn parse(line: &str) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        let mut rest = line.trim_end();
        while let Some((key, value)) = rest.split_once('=') {
            let key = key.rsplit(' ').next().unwrap_or_default().to_owned();
            let (value, after) = match value.strip_prefix('"') {
                None => value.split_once(' ').map_or((value.to_owned(), ""), |(value, rest)| (value.to_owned(), rest)),
                Some(quoted) => {
                    let mut value = String::new();
                    let mut characters = quoted.char_indices();
                    let mut end = quoted.len();
                    while let Some((at, character)) = characters.next() {
                        match character {
                            '"' => {
                                end = at + 1;
                                break;
                            }
                            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                            _ => value.push(character),
                        }
                    }
                    (value, &quoted[end..])
                }
            };
            fields.push((key, value));
            rest = after;
        }
        fields
    }

    #[test]
    fn fields_of_spans_and_events_are_pairs_of_one_line() {
        let text = logged(|| {
            let span = tracing::info_span!("sync", controller = "job", namespace = "ux-q", name = "two", uid = %"u-1");
            let _entered = span.enter();
            let error = "pods \"two-stvv8\" is forbidden: exceeded quota: a=1\nnext";
            tracing::warn!(error = %error, retry_in = ?std::time::Duration::from_secs(60), "sync failed");
            tracing::info!(name = "other", empty = "", debug = ?"a \"b\"", "again");
        });
        assert_eq!(
            text,
            " WARN jobwright::cli::run::text_log::tests: sync failed controller=job namespace=ux-q name=two uid=u-1 \
             error=\"pods \\\"two-stvv8\\\" is forbidden: exceeded quota: a=1\\nnext\" retry_in=60s\n \
             INFO jobwright::cli::run::text_log::tests: again controller=job namespace=ux-q uid=u-1 name=other empty=\"\" \
             debug=\"a \\\"b\\\"\"\n"
        );
    }

    proptest! {
        /// No value changes another field of its line.
        #[test]
        fn line_is_parsed_into_the_values(first in "[ -~]{0,20}", second in "[ -~]{0,20}") {
            let line = format!("a={} b={}", quoted(&first), quoted(&second));
            let bare = |value: &str| if is_quoted(value) { parse(&format!("x={value}"))[0].1.clone() } else { value.to_owned() };
            prop_assert_eq!(parse(&line), [("a".to_owned(), bare(&first)), ("b".to_owned(), bare(&second))]);
        }

        #[test]
        fn value_stays_on_one_line(value in any::<String>()) {
            prop_assert!(!quoted(&value).chars().any(char::is_control), "{:?}", quoted(&value));
        }
    }
}
