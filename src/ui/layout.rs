//! The frame of each page: head, header with the sections, and the content in `main`.

use http::StatusCode;
use maud::{DOCTYPE, Markup, html};

use super::assets::{SCRIPT, STYLE, hash};
use super::cache::Interest;
use super::components::{Level, Tab, live, navigation, notice, skip_link};
use super::console::Console;
use super::error::PageError;
use super::text::neutral;

/// Id of the content, for the link that skips the header.
const MAIN: &str = "main";

/// Section of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What needs attention.
    Overview,
    /// Jobs.
    Jobs,
    /// CronJobs and JobSchedules.
    Schedules,
    /// Runs of schedules by day, week and month.
    Calendar,
    /// JobLimits and queues.
    Limits,
    /// No section, as for errors.
    None,
}

impl Section {
    /// Sections in the header, with their labels and paths.
    const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::Overview, "Overview", "/"),
        (Self::Jobs, "Jobs", "/jobs"),
        (Self::Schedules, "Schedules", "/schedules"),
        (Self::Calendar, "Calendar", "/calendar"),
        (Self::Limits, "Limits", "/limits"),
    ];
}

/// When a page that is open is rendered again.
#[derive(Clone, Debug)]
pub enum Freshness {
    /// When the cached objects change from which the page was rendered.
    Changes(Vec<Interest>),
    /// Then, and every few seconds, because the page has objects that are not cached.
    ChangesAndTime(Vec<Interest>),
    /// Never.
    Never,
}

/// Content of a page.
pub struct Content {
    /// Title of the page.
    pub title: String,
    /// Status code of the response.
    pub status: StatusCode,
    /// Section of the page.
    pub section: Section,
    /// When the page is rendered again.
    pub freshness: Freshness,
    /// Content of the element `main`.
    pub main: Markup,
}

impl Content {
    /// Returns the content of a page that was found.
    pub fn new(title: impl Into<String>, section: Section, freshness: Freshness, main: Markup) -> Self {
        Self { title: title.into(), status: StatusCode::OK, section, freshness, main }
    }

    /// Returns the content of an error page.
    pub fn of_error(error: &PageError) -> Self {
        let main = html! {
            h1 { (error.heading()) }
            (notice(Level::Error, error.heading(), html! { p { (neutral(&error.text())) } }))
        };
        // The cluster may answer again later.
        let retries = matches!(error, PageError::Unreviewed { .. } | PageError::Unreadable { .. });
        Self {
            title: error.heading().to_owned(),
            status: error.status(),
            section: Section::None,
            freshness: if retries { Freshness::ChangesAndTime(Vec::new()) } else { Freshness::Never },
            main,
        }
    }

    /// Returns the element `main`. Its attribute has a hash of the content, so that an equal content is not sent again.
    pub fn main_element(&self) -> String {
        let Self { main, .. } = self;
        let hash = hash(&main.0);
        html! { main id=(MAIN) tabindex="-1" data-hash=(hash) { (main) } }.into_string()
    }

    /// Returns the hash that the element `main` has.
    pub fn hash(&self) -> String {
        hash(&self.main.0)
    }

    /// Returns the title with the name of the program.
    pub fn full_title(&self) -> String {
        format!("{} · Jobwright", neutral(&self.title))
    }
}

/// Returns a page for a user who is signed in.
pub fn page(console: &Console, content: &Content) -> String {
    let section = |(section, label, href): (Section, &'static str, &'static str)| Tab {
        label,
        href,
        count: None,
        is_current: section == content.section,
    };
    let sections = Section::ALL.map(section);
    let header = html! {
        header.top {
            a.brand href="/" { "Jobwright" }
            (navigation(&sections))
            p.where {
                span { (neutral(&console.cluster)) }
                @if let Some(namespace) = console.caches.only_namespace() { " " span { "namespace " (neutral(namespace)) } }
                @if console.read_only { " " span { "read-only" } }
            }
            (live())
        }
    };
    frame(content, !matches!(content.freshness, Freshness::Never), &header)
}

/// Returns a page for a user who is not signed in. Nothing in it comes from the cluster.
pub fn bare_page(content: &Content) -> String {
    frame(content, false, &html! { header.top { span.brand { "Jobwright" } } })
}

/// Returns the page after the sign-in. The browser opens the overview from this page, and not by a redirection, because a
/// redirection of a link elsewhere would come without the new cookie.
pub fn signed_in_page() -> String {
    let main = html! {
        h1 { "Signed in" }
        p { a href="/" { "Open the overview" } }
    };
    let content = Content::new("Signed in", Section::None, Freshness::Never, main);
    let page = bare_page(&content);
    page.replacen("<title>", "<meta http-equiv=\"refresh\" content=\"0;url=/\"><title>", 1)
}

fn frame(content: &Content, is_live: bool, header: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (content.full_title()) }
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                link rel="stylesheet" href=(STYLE.path);
                script src=(SCRIPT.path) defer {}
            }
            body data-live=[is_live.then_some("/live")] {
                (skip_link(MAIN))
                (header)
                (maud::PreEscaped(content.main_element()))
            }
        }
    };
    page.into_string()
}
