//! Links between pages.

use maud::{Markup, html};

use crate::ui::text::{local_link, neutral, number};

/// Link to one of several pages about the same object, or to a section of the console.
#[derive(Clone, Copy, Debug)]
pub struct Tab<'a> {
    /// Text of the link.
    pub label: &'a str,
    /// Link.
    pub href: &'a str,
    /// Number of objects on the page.
    pub count: Option<u64>,
    /// Whether the page is open.
    pub is_current: bool,
}

/// Page above the present one.
#[derive(Clone, Copy, Debug)]
pub struct Crumb<'a> {
    /// Text of the link.
    pub label: &'a str,
    /// Link. The present page has none.
    pub href: Option<&'a str>,
}

/// Returns the link with which the keyboard skips the header. It is the first link of a page, and `main` has this id.
pub fn skip_link(main: &str) -> Markup {
    html! { a.skip href={ "#" (main) } { "Skip to the content" } }
}

/// Returns the links to the sections of the console, for the header of a page.
pub fn navigation(sections: &[Tab<'_>]) -> Markup {
    links("sections", "Sections", sections)
}

/// Returns links to several pages about the same object.
pub fn tabs(label: &str, tabs: &[Tab<'_>]) -> Markup {
    links("tabs", label, tabs)
}

fn links(class: &str, label: &str, tabs: &[Tab<'_>]) -> Markup {
    html! {
        nav class=(class) aria-label=(neutral(label)) {
            ul {
                @for tab in tabs {
                    li {
                        a href=(local_link(tab.href).unwrap_or("/")) aria-current=[tab.is_current.then_some("page")] {
                            (neutral(tab.label))
                            @if let Some(count) = tab.count { " " span.count { (number(count)) } }
                        }
                    }
                }
            }
        }
    }
}

/// Returns the pages above the present one, and the present one.
pub fn breadcrumb(crumbs: &[Crumb<'_>]) -> Markup {
    html! {
        nav.crumbs aria-label="Breadcrumb" {
            ol {
                @for crumb in crumbs {
                    li {
                        @match crumb.href.and_then(local_link) {
                            Some(href) => a href=(href) { (neutral(crumb.label)) },
                            None => span aria-current="page" { (neutral(crumb.label)) },
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_page_is_marked() {
        let tab = |label, is_current| Tab { label, href: "/jobs/a/b?tab=x", count: Some(1200), is_current };
        let text = tabs("Job", &[tab("Pods", true), tab("Logs", false)]).into_string();
        assert!(text.contains("aria-current=\"page\">Pods <span class=\"count\">1,200</span></a>"), "{text}");
        assert_eq!(text.matches("aria-current").count(), 1);
        let crumbs = [Crumb { label: "Jobs", href: Some("/jobs") }, Crumb { label: "<b>", href: None }];
        let text = breadcrumb(&crumbs).into_string();
        assert!(
            text.contains("<a href=\"/jobs\">Jobs</a>")
                && text.contains("<span aria-current=\"page\">&lt;b&gt;</span>"),
            "{text}"
        );
        assert_eq!(skip_link("main").into_string(), "<a class=\"skip\" href=\"#main\">Skip to the content</a>");
    }
}
