//! The pages of the console. Each is a function from a user and a URL to its content, so that a page that is open can be
//! rendered again.

pub(super) mod calendar;
pub(super) mod job;
pub(super) mod jobs;
mod known;
pub(super) mod limits;
mod overview;
pub(super) mod schedule;
pub(super) mod schedules;

use http::Uri;
use maud::{Markup, html};

use super::actions::{self, Target};
use super::cache::{JobRow, Visible};
use super::components::{self, Header, Level, notice};
use super::console::Console;
use super::error::PageError;
use super::identity::User;
use super::layout::Content;
use super::schedules::ScheduleKind;
use super::text::neutral;
use crate::client::explain::cause::State;
use crate::client::names::Kind;

/// Page that a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Page<'a> {
    Overview,
    Jobs,
    Job { namespace: &'a str, name: &'a str },
    Schedules,
    Schedule { kind: ScheduleKind, namespace: &'a str, name: &'a str },
    Calendar,
    Limits,
    Action(Target<'a>),
}

impl<'a> Page<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        match parts[..] {
            [""] => Some(Self::Overview),
            ["jobs"] => Some(Self::Jobs),
            ["jobs", namespace, name] if is_name(namespace) && is_name(name) => Some(Self::Job { namespace, name }),
            ["schedules"] => Some(Self::Schedules),
            ["schedules", kind, namespace, name] if is_name(namespace) && is_name(name) => {
                Some(Self::Schedule { kind: ScheduleKind::from_word(kind)?, namespace, name })
            }
            ["calendar"] => Some(Self::Calendar),
            ["limits"] => Some(Self::Limits),
            _ => Target::parse(path).map(Self::Action),
        }
    }
}

/// Returns whether a text can be the name of an object. Others are not sent to the API server as part of a path.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |one: u8| one.is_ascii_lowercase() || one.is_ascii_digit() || matches!(one, b'-' | b'.');
    !text.is_empty() && text.len() <= 253 && text.bytes().all(allowed) && !text.starts_with('.')
}

/// Returns the content of the page that a URL names, as this user is allowed to see it.
///
/// # Errors
/// There is no such page, the user is not allowed to see it, or the cluster cannot be read.
pub async fn content(console: &Console, user: &User, uri: &Uri) -> Result<Content, PageError> {
    let query = uri.query().unwrap_or_default();
    let mut content = match Page::parse(uri.path()).ok_or(PageError::NotFound)? {
        Page::Overview => overview::content(console, user).await,
        Page::Jobs => jobs::content(console, user, query).await,
        Page::Job { namespace, name } => job::content(console, user, (namespace, name), query).await,
        Page::Schedules => schedules::content(console, user, query).await,
        Page::Schedule { kind, namespace, name } => {
            schedule::content(console, user, (kind, namespace, name), query).await
        }
        Page::Calendar => calendar::content(console, user, query).await,
        Page::Limits => limits::content(console, user, query).await,
        Page::Action(target) => actions::content(console, user, &target, query).await,
    }?;
    if let Some(notice) = actions::notice_of(query) {
        content.main = html! { (notice) (content.main) };
    }
    Ok(content)
}

/// Returns headers of columns that do not sort.
fn headers<'a>(labels: impl IntoIterator<Item = &'a str>) -> Vec<Header<'a>> {
    labels.into_iter().map(|label| Header { label, ..Header::default() }).collect()
}

/// Returns the path of the page of a Job.
pub fn job_path(namespace: &str, name: &str) -> String {
    format!("/jobs/{namespace}/{name}")
}

/// Returns the path of the page of a Job, CronJob or JobSchedule.
pub(crate) fn object_path(kind: Kind, namespace: &str, name: &str) -> String {
    match kind {
        Kind::Job => job_path(namespace, name),
        kind => format!("/schedules/{}/{namespace}/{name}", kind.singular()),
    }
}

/// Returns the state of a Job as components show it.
fn shown(state: State) -> components::State {
    match state {
        State::Failed => components::State::Failed,
        State::Stuck => components::State::Stuck,
        State::Failing => components::State::Failing,
        State::Waiting => components::State::Waiting,
        State::Suspended => components::State::Suspended,
        State::Running => components::State::Running,
        State::Complete => components::State::Complete,
    }
}

/// Returns notices about what a list of Jobs lacks.
fn notices(jobs: &Visible<'_, JobRow>) -> Markup {
    html! {
        @if !jobs.is_complete() {
            (notice(Level::Warning, "The list is not complete yet", html! { p { "The console is still reading the Jobs of the cluster." } }))
        }
        @if let Some(error) = &jobs.allowed().failed {
            (notice(Level::Warning, "Permissions are not known everywhere", html! {
                p { "Jobs of some namespaces are left out, because the API server did not answer: " (neutral(error)) }
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_names_a_page() {
        assert_eq!(Page::parse("/"), Some(Page::Overview));
        assert_eq!(Page::parse("/jobs"), Some(Page::Jobs));
        let job = Page::Job { namespace: "n", name: "a.b-c" };
        assert_eq!(Page::parse("/jobs/n/a.b-c"), Some(job));
        let schedule = Page::Schedule { kind: ScheduleKind::CronJob, namespace: "n", name: "a" };
        assert_eq!(Page::parse("/schedules/cronjob/n/a"), Some(schedule));
        assert_eq!([Page::parse("/calendar"), Page::parse("/limits")], [Some(Page::Calendar), Some(Page::Limits)]);
        for path in ["/jobs/n/a/suspend", "/schedules/cronjob/n/a/trigger", "/schedules/jobschedule/n/a/backfill"] {
            assert!(matches!(Page::parse(path), Some(Page::Action(_))), "{path}");
        }
        for wrong in [
            "",
            "jobs",
            "/jobs/",
            "/jobs/n",
            "/jobs/n/",
            "/jobs/n/a/b",
            "/jobs/n/a/backfill",
            "/jobs/n/A/suspend",
            "/schedules/job/n/a/suspend",
            "/schedules/cronjob/n/a/backfill",
            "/jobs/n/..",
            "/jobs/n/A",
            "/jobs/n/a%2f",
            "/x",
            "/schedules/job/n/a",
            "/schedules/cronjob/n",
            "/schedules/cronjob/n/..",
        ] {
            assert_eq!(Page::parse(wrong), None, "{wrong}");
        }
    }
}
