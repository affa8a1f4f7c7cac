//! Content of pages: notices, lists, commands and counts.

use maud::{Markup, html};

use super::state::State;
use crate::ui::charts::Percent;
use crate::ui::text::{local_link, neutral, neutral_lines, number};

/// Importance of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Information.
    Info,
    /// The content of the page is incomplete, or needs attention.
    Warning,
    /// The page or an action failed.
    Error,
    /// An action succeeded.
    Success,
}

/// Returns a notice with a heading.
pub fn notice(level: Level, heading: &str, body: Markup) -> Markup {
    let (class, role, word) = match level {
        Level::Info => ("due", "note", "Information"),
        Level::Warning => ("warn", "note", "Warning"),
        Level::Error => ("bad", "alert", "Error"),
        Level::Success => ("ok", "status", "Done"),
    };
    html! {
        div class={ "notice " (class) } role=(role) {
            p class={ "s " (class) } { span.vh { (word) ": " } b { (neutral(heading)) } }
            div { (body) }
        }
    }
}

/// Returns the content of a list without objects: why there are none, and what a user can do.
pub fn empty(heading: &str, body: Markup) -> Markup {
    html! { div.void { p { b { (neutral(heading)) } } div { (body) } } }
}

/// Returns a list of names and values.
pub fn definitions(entries: &[(&str, Markup)]) -> Markup {
    html! {
        dl.defs { @for (label, value) in entries { div { dt { (label) } dd { (value) } } } }
    }
}

/// Returns a section of a page with its heading. The heading has the id, so that a link can name the section.
pub fn section(id: &str, heading: &str, body: Markup) -> Markup {
    html! { section.card aria-labelledby=(id) { h2 id=(id) { (neutral(heading)) } (body) } }
}

/// Returns a chart with its caption and a note, which can be empty.
pub fn figure(caption: &str, note: &str, chart: Markup) -> Markup {
    html! {
        figure.card {
            figcaption { (neutral(caption)) @if !note.is_empty() { small { (neutral(note)) } } }
            (chart)
        }
    }
}

/// Returns a command with a button that copies it. The script of the console shows the button; without the script, the
/// text can be selected with one click.
pub fn command(text: &str) -> Markup {
    code_block("cmd", "Command", text)
}

/// Returns the exact request of an action: the method and the path, and the body.
pub fn request(method: &str, path: &str, body: &str) -> Markup {
    html! {
        div.request {
            p { b { (method) } " " code { (neutral(path)) } }
            @if !body.is_empty() { (code_block("code", "Body of the request", body)) }
        }
    }
}

fn code_block(class: &str, label: &str, text: &str) -> Markup {
    html! {
        div class=(class) {
            pre tabindex="0" role="region" aria-label=(label) { code { (neutral_lines(text)) } }
            button type="button" data-copy hidden { "Copy" }
        }
    }
}

/// Number of objects in a state, with a link to them.
#[derive(Clone, Copy, Debug)]
pub struct Tile<'a> {
    /// State.
    pub state: State,
    /// Number of objects.
    pub count: u64,
    /// Link to the objects.
    pub href: &'a str,
}

/// Returns the numbers of objects by state. A state without objects is pale.
pub fn tiles(label: &str, tiles: &[Tile<'_>]) -> Markup {
    html! {
        ul.tiles aria-label=(neutral(label)) {
            @for tile in tiles {
                li class=[(tile.count == 0).then_some("zero")] {
                    a href=(local_link(tile.href).unwrap_or("/")) {
                        b { (number(tile.count)) }
                        span class={ "s " (tile.state.class()) } { (tile.state.words()) }
                    }
                }
            }
        }
    }
}

/// Returns the progress of a Job: the succeeded, failed and active parts of a total. Without a total, as for a work queue,
/// only the numbers are shown.
pub fn progress(succeeded: u64, failed: u64, active: u64, total: Option<u64>) -> Markup {
    let mut text = match total {
        Some(total) => format!("{}/{}", number(succeeded), number(total)),
        None => number(succeeded),
    };
    if failed > 0 {
        text.push_str(&format!(", {} failed", number(failed)));
    }
    html! {
        span.prog {
            @if let Some(total) = total {
                svg aria-hidden="true" {
                    (bar("ok", 0, succeeded, total, 8))
                    (bar("run", succeeded, active, total, 4))
                    (bar("bad", total.saturating_sub(failed).max(succeeded), failed, total, 8))
                }
            }
            (text)
        }
    }
}

fn bar(class: &str, begin: u64, length: u64, total: u64, height: u8) -> Markup {
    let begin = begin.min(total);
    let length = length.min(total - begin);
    let percent = |part: u64| Percent::of(part as f64, total as f64);
    html! {
        @if length > 0 { rect class=(class) x=(percent(begin)) width=(percent(length)) y=((8 - height) / 2) height=(height) {} }
    }
}

/// Returns the mark that the page is live. The script shows the state of the connection in it.
pub fn live() -> Markup {
    html! { span.live data-live hidden role="status" { "Live" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notice_has_a_role_and_names_its_level() {
        let text = notice(Level::Error, "Not <allowed>", html! { p { "a" } }).into_string();
        assert_eq!(
            text,
            "<div class=\"notice bad\" role=\"alert\"><p class=\"s bad\"><span class=\"vh\">Error: </span><b>Not &lt;allowed&gt;</b></p><div><p>a</p></div></div>"
        );
    }

    #[test]
    fn command_keeps_line_breaks_and_shows_hidden_characters() {
        let text = command("kubectl get job \\\n  a\u{200b}").into_string();
        assert!(text.contains("<code>kubectl get job \\\n  a&lt;U+200B&gt;</code>"), "{text}");
        assert!(text.contains("<button type=\"button\" data-copy hidden>"), "{text}");
        let text = request("PATCH", "/apis/batch/v1/<", "{}").into_string();
        assert!(text.contains("<b>PATCH</b> <code>/apis/batch/v1/&lt;</code>"), "{text}");
        assert!(!request("DELETE", "/a", "").into_string().contains("<pre"));
    }

    #[test]
    fn progress_stays_within_its_total() {
        let text = progress(30, 2, 10, Some(100)).into_string();
        assert!(text.ends_with("30/100, 2 failed</span>"), "{text}");
        assert!(text.contains("<rect class=\"run\" x=\"30%\" width=\"10%\" y=\"2\" height=\"4\">"), "{text}");
        assert!(text.contains("<rect class=\"bad\" x=\"98%\" width=\"2%\" y=\"0\" height=\"8\">"), "{text}");
        for (succeeded, failed, active, total) in [(5, 9, 9, 3), (0, 0, 0, 0), (u64::MAX, u64::MAX, u64::MAX, u64::MAX)]
        {
            let text = progress(succeeded, failed, active, Some(total)).into_string();
            assert!(!text.contains("NaN") && text.matches("<rect").count() <= 3, "{text}");
        }
        assert_eq!(progress(5, 0, 1, None).into_string(), "<span class=\"prog\">5</span>");
    }

    #[test]
    fn tile_links_to_the_objects_of_its_state() {
        let tile = Tile { state: State::Failed, count: 1200, href: "/jobs?state=Failed" };
        let text = tiles("Jobs by state", &[tile, Tile { count: 0, ..tile }]).into_string();
        assert!(
            text.contains("<a href=\"/jobs?state=Failed\"><b>1,200</b><span class=\"s bad\">Failed</span></a>"),
            "{text}"
        );
        assert_eq!(text.matches("class=\"zero\"").count(), 1);
        assert!(empty("No Jobs", html! {}).into_string().contains("No Jobs"));
        assert!(definitions(&[("Owner", html! { "a" })]).into_string().contains("<dt>Owner</dt><dd>a</dd>"));
        assert!(figure("Pods", "", html! {}).into_string().contains("<figcaption>Pods</figcaption>"));
        assert!(section("pods", "Pods", html! {}).into_string().contains("<h2 id=\"pods\">Pods</h2>"));
    }
}
