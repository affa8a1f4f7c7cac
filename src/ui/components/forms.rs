//! Forms for filters. They work with GET, so that each result has a URL.

use maud::{Markup, html};

use crate::ui::text::{local_link, neutral, truncated};

/// Option of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice<'a> {
    /// Value in the URL.
    pub value: &'a str,
    /// Text of the option.
    pub label: &'a str,
}

/// Filter that is set, with the link that removes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter<'a> {
    /// Name of the filter.
    pub label: &'a str,
    /// Value of the filter.
    pub value: &'a str,
    /// Link to the page without the filter.
    pub without: &'a str,
}

/// Returns a form with these fields, its button, and a link that removes all filters.
pub fn filter_form(action: &str, fields: &[Markup], reset: Option<&str>) -> Markup {
    html! {
        form.filters role="search" method="get" action=(local_link(action).unwrap_or("/")) {
            @for field in fields { (field) }
            div.actions {
                button type="submit" { "Filter" }
                @if let Some(reset) = reset.and_then(local_link) { a href=(reset) { "Clear" } }
            }
        }
    }
}

/// Returns a field that searches.
pub fn search_field(name: &str, label: &str, value: &str, placeholder: &str) -> Markup {
    field(
        name,
        label,
        html! {
            input id=(id(name)) type="search" name=(name) value=(neutral(value)) placeholder=(placeholder) maxlength="200" autocomplete="off" spellcheck="false";
        },
    )
}

/// Returns a field for a text.
pub fn text_field(name: &str, label: &str, value: &str, placeholder: &str) -> Markup {
    field(
        name,
        label,
        html! {
            input id=(id(name)) type="text" name=(name) value=(neutral(value)) placeholder=(placeholder) maxlength="500" autocomplete="off" spellcheck="false";
        },
    )
}

/// Returns a field with options. A value that is not among the options is added, so that the form keeps it.
pub fn select_field(name: &str, label: &str, choices: &[Choice<'_>], value: &str) -> Markup {
    let is_known = choices.iter().any(|choice| choice.value == value);
    field(
        name,
        label,
        html! {
            select id=(id(name)) name=(name) {
                @for choice in choices {
                    option value=(choice.value) selected[choice.value == value] { (neutral(choice.label)) }
                }
                @if !is_known { option value=(neutral(value)) selected { (truncated(value, 60)) } }
            }
        },
    )
}

/// Returns a value that the form keeps without showing a field.
pub fn hidden(name: &str, value: &str) -> Markup {
    html! { input type="hidden" name=(name) value=(value); }
}

/// Returns the filters that are set, each with a link that removes the filter.
pub fn chips(filters: &[Filter<'_>]) -> Markup {
    html! {
        @if !filters.is_empty() {
            ul.chips aria-label="Filters" {
                @for filter in filters {
                    li {
                        span { (filter.label) ": " b { (truncated(filter.value, 40)) } }
                        @if let Some(link) = local_link(filter.without) {
                            a href=(link) { span.vh { "Remove the filter " (filter.label) } }
                        }
                    }
                }
            }
        }
    }
}

fn id(name: &str) -> String {
    format!("f-{name}")
}

fn field(name: &str, label: &str, input: Markup) -> Markup {
    html! { div.field { label for=(id(name)) { (label) } (input) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_has_a_label_and_keeps_its_value() {
        let text = search_field("q", "Search", "a\"<b>\u{202e}", "name").into_string();
        assert!(text.contains("<label for=\"f-q\">Search</label>"), "{text}");
        assert!(text.contains("value=\"a&quot;&lt;b&gt;&lt;U+202E&gt;\""), "{text}");
        let choices = [Choice { value: "", label: "All" }, Choice { value: "Failed", label: "Failed" }];
        let text = select_field("state", "State", &choices, "Failed").into_string();
        assert!(text.contains("<option value=\"\">All</option><option value=\"Failed\" selected>"), "{text}");
        let text = select_field("state", "State", &choices, "x").into_string();
        assert!(text.contains("<option value=\"x\" selected>x</option>"), "{text}");
    }

    #[test]
    fn filter_is_removed_by_a_link() {
        let filter = Filter { label: "owner", value: "backup", without: "/jobs" };
        let text = chips(&[filter, Filter { without: "//example.org", ..filter }]).into_string();
        assert_eq!((text.matches("<li>").count(), text.matches("href").count()), (2, 1), "{text}");
        assert_eq!(chips(&[]).into_string(), "");
        let form = filter_form("https://example.org", &[hidden("a", "b")], Some("/jobs")).into_string();
        assert!(form.contains("action=\"/\"") && form.contains("<a href=\"/jobs\">Clear</a>"), "{form}");
    }
}
