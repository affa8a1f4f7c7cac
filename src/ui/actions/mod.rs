//! Actions on Jobs and schedules. A page shows the exact request and asks for a confirmation; the confirmation sends that
//! request, if it is still the same, with the permissions of the user.

mod buttons;
mod form;
mod page;
mod plan;
mod send;
mod submit;
#[cfg(test)]
mod tests;

use maud::{Markup, html};

pub(in crate::ui) use self::buttons::of_job;
pub use self::buttons::of_schedule;
pub(super) use self::page::content;
pub(super) use self::submit::submit;
use super::access::Permission;
use super::components::{Level, notice};
use super::views::object_path;
use crate::client::names::{Kind, SCHEDULES};

/// Action on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ui) enum Action {
    /// Runs a finished Job again.
    Rerun,
    /// Runs the failed indexes of a Job again.
    RerunFailed,
    /// Suspends an object.
    Suspend,
    /// Resumes an object.
    Resume,
    /// Changes the priority of a Job.
    Priority,
    /// Deletes a Job.
    Delete,
    /// Starts a Job of a schedule.
    Trigger,
    /// Runs past times of a JobSchedule.
    Backfill,
}

impl Action {
    const ALL: [Self; 8] = [
        Self::Rerun,
        Self::RerunFailed,
        Self::Suspend,
        Self::Resume,
        Self::Priority,
        Self::Delete,
        Self::Trigger,
        Self::Backfill,
    ];

    /// Returns the last part of the path.
    fn word(self) -> &'static str {
        match self {
            Self::Rerun => "rerun",
            Self::RerunFailed => "rerun-failed-indexes",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Priority => "priority",
            Self::Delete => "delete",
            Self::Trigger => "trigger",
            Self::Backfill => "backfill",
        }
    }

    /// Returns the text of the button.
    fn label(self) -> &'static str {
        match self {
            Self::Rerun => "Run again",
            Self::RerunFailed => "Run failed indexes again",
            Self::Suspend => "Suspend",
            Self::Resume => "Resume",
            Self::Priority => "Change priority",
            Self::Delete => "Delete",
            Self::Trigger => "Start now",
            Self::Backfill => "Backfill",
        }
    }

    /// Returns the sentence after the action.
    fn done(self) -> &'static str {
        match self {
            Self::Rerun | Self::RerunFailed => "The Job was created. It runs the earlier Job again.",
            Self::Suspend => "The object was suspended.",
            Self::Resume => "The object was resumed.",
            Self::Priority => "The priority was changed.",
            Self::Delete => "The Job was deleted. Its pods are deleted in the background.",
            Self::Trigger => "The Job was created, independently of its schedule.",
            Self::Backfill => "The backfill was stored. The controller starts its runs.",
        }
    }

    /// Returns whether objects of a kind have the action.
    fn is_of(self, kind: Kind) -> bool {
        match self {
            Self::Rerun | Self::RerunFailed | Self::Priority | Self::Delete => kind == Kind::Job,
            Self::Suspend | Self::Resume => kind == Kind::Job || SCHEDULES.contains(&kind),
            Self::Trigger => SCHEDULES.contains(&kind),
            Self::Backfill => kind == Kind::JobSchedule,
        }
    }

    /// Returns the permission that the request needs.
    fn permission(self, kind: Kind) -> Permission {
        let (verb, kind) = match self {
            Self::Rerun | Self::RerunFailed | Self::Trigger => ("create", Kind::Job),
            Self::Delete => ("delete", kind),
            Self::Suspend | Self::Resume | Self::Priority | Self::Backfill => ("patch", kind),
        };
        Permission { verb, group: kind.group(), resource: kind.plural() }
    }
}

/// Object and its action, as a URL names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ui) struct Target<'a> {
    /// Kind of the object.
    pub kind: Kind,
    /// Namespace of the object.
    pub namespace: &'a str,
    /// Name of the object.
    pub name: &'a str,
    /// Action.
    pub action: Action,
}

impl<'a> Target<'a> {
    /// Returns the action that a path names: `/jobs/NAMESPACE/NAME/ACTION` or `/schedules/KIND/NAMESPACE/NAME/ACTION`.
    pub(super) fn parse(path: &'a str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let (kind, namespace, name, word) = match parts[..] {
            ["jobs", namespace, name, word] => (Kind::Job, namespace, name, word),
            ["schedules", kind, namespace, name, word] => {
                let kind = *SCHEDULES.iter().find(|known| known.singular() == kind)?;
                (kind, namespace, name, word)
            }
            _ => return None,
        };
        let action = Action::ALL.into_iter().find(|action| action.word() == word && action.is_of(kind))?;
        let is_valid = super::views::is_name(namespace) && super::views::is_name(name);
        is_valid.then_some(Self { kind, namespace, name, action })
    }

    /// Returns the path of the page of the object.
    fn object_path(&self) -> String {
        object_path(self.kind, self.namespace, self.name)
    }

    /// Returns the path of the action.
    fn path(&self) -> String {
        format!("{}/{}", self.object_path(), self.action.word())
    }

    /// Returns the object, such as `job/a`.
    fn object(&self) -> String {
        format!("{}/{}", self.kind.singular(), self.name)
    }
}

/// Name of the parameter of a URL that names the action that was done.
const DONE: &str = "done";

/// Returns the notice about the action that has led to this page, if there was one.
pub(super) fn notice_of(query: &str) -> Option<Markup> {
    let done = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == DONE).map(|(_, value)| value)?;
    let action = Action::ALL.into_iter().find(|action| action.word() == done)?;
    Some(notice(Level::Success, action.label(), html! { p { (action.done()) } }))
}
