//! States of Jobs, runs, schedules and pods: a glyph, a word and a colour.
//!
//! `console.css` draws the glyph. The word is part of the text, so a state is never shown by its colour alone.

use maud::{Markup, html};

use crate::ui::text::neutral;

/// State of a Job, a run, a schedule or a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// The Job or the run has failed.
    Failed,
    /// The Job makes no progress until a user changes something.
    Stuck,
    /// The object is not valid, and no controller works on it.
    Invalid,
    /// The Job runs, but pods have failed.
    Failing,
    /// The controller delays the next pod after failures.
    BackingOff,
    /// A run was due, and has not begun.
    Late,
    /// No Job was created at the scheduled time.
    Missed,
    /// The schedule is due, and starts no Job while an earlier one is active.
    Blocked,
    /// The schedule is never due again.
    NeverDue,
    /// The Job waits for a JobLimit or a queue.
    Waiting,
    /// The pod has no node.
    Pending,
    /// No controller has started the Job.
    NotStarted,
    /// A user has suspended the object.
    Suspended,
    /// The parallelism of the Job is 0.
    Paused,
    /// The containers of the pod are starting.
    Starting,
    /// The Job runs.
    Running,
    /// The Job has succeeded or failed, and its pods have not ended.
    Finishing,
    /// The object is being deleted.
    Terminating,
    /// The Job is complete.
    Complete,
    /// The run or the pod succeeded.
    Succeeded,
    /// The Job was replaced by a later run.
    Replaced,
    /// The Job was deleted before its end.
    Deleted,
    /// The run was skipped on purpose.
    Skipped,
    /// The schedule is due later.
    Scheduled,
    /// The run is due later.
    Due,
    /// Another controller manages the Job.
    ManagedExternally,
    /// The state is not known.
    Unknown,
}

impl State {
    /// All states.
    pub const ALL: [Self; 27] = [
        Self::Failed,
        Self::Stuck,
        Self::Invalid,
        Self::Failing,
        Self::BackingOff,
        Self::Late,
        Self::Missed,
        Self::Blocked,
        Self::NeverDue,
        Self::Waiting,
        Self::Pending,
        Self::NotStarted,
        Self::Suspended,
        Self::Paused,
        Self::Starting,
        Self::Running,
        Self::Finishing,
        Self::Terminating,
        Self::Complete,
        Self::Succeeded,
        Self::Replaced,
        Self::Deleted,
        Self::Skipped,
        Self::Scheduled,
        Self::Due,
        Self::ManagedExternally,
        Self::Unknown,
    ];

    /// Returns the state with a name in the API, such as `BackingOff`. A name that is not known is [`State::Unknown`].
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|state| format!("{state:?}") == name).unwrap_or(Self::Unknown)
    }

    /// Returns the state in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Failed => "Failed",
            Self::Stuck => "Stuck",
            Self::Invalid => "Invalid",
            Self::Failing => "Failing",
            Self::BackingOff => "Backing off",
            Self::Late => "Late",
            Self::Missed => "Missed",
            Self::Blocked => "Blocked",
            Self::NeverDue => "Never due",
            Self::Waiting => "Waiting",
            Self::Pending => "Pending",
            Self::NotStarted => "Not started",
            Self::Suspended => "Suspended",
            Self::Paused => "Paused",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Finishing => "Finishing",
            Self::Terminating => "Terminating",
            Self::Complete => "Complete",
            Self::Succeeded => "Succeeded",
            Self::Replaced => "Replaced",
            Self::Deleted => "Deleted",
            Self::Skipped => "Skipped",
            Self::Scheduled => "Scheduled",
            Self::Due => "Due",
            Self::ManagedExternally => "Managed externally",
            Self::Unknown => "Unknown",
        }
    }

    /// Returns the CSS class, which chooses the colour and the glyph.
    pub fn class(self) -> &'static str {
        match self {
            Self::Failed | Self::Invalid => "bad",
            Self::Stuck => "bad stop",
            Self::Failing | Self::BackingOff | Self::Late | Self::Missed | Self::Blocked | Self::NeverDue => "warn",
            Self::Waiting | Self::Pending | Self::NotStarted => "wait",
            Self::Suspended | Self::Paused => "wait pause",
            Self::Starting | Self::Running | Self::Finishing => "run",
            Self::Complete | Self::Succeeded => "ok",
            Self::Scheduled | Self::Due => "due",
            Self::Terminating
            | Self::Replaced
            | Self::Deleted
            | Self::Skipped
            | Self::ManagedExternally
            | Self::Unknown => "idle",
        }
    }
}

/// Returns the state as a badge, for headings and overviews.
pub fn badge(state: State) -> Markup {
    html! { span class={ "b s " (state.class()) } { (state.words()) } }
}

/// Returns the state as a glyph and words without a frame, for rows of tables.
pub fn state(state: State) -> Markup {
    html! { span class={ "s " (state.class()) } { (state.words()) } }
}

/// Returns the glyph of a state with another text, which has to name the state or its reason.
pub fn state_with(state: State, text: Markup) -> Markup {
    html! { span class={ "s " (state.class()) } { span.vh { (state.words()) ": " } (text) } }
}

/// Returns a state whose name is not known to the console, such as one of a newer controller.
pub fn foreign_state(name: &str) -> Markup {
    match State::from_name(name) {
        State::Unknown => html! { span.s.idle { (neutral(name)) } },
        known => state(known),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_state_has_its_own_words_and_a_class() {
        let words: BTreeSet<_> = State::ALL.iter().map(|state| state.words()).collect();
        assert_eq!(words.len(), State::ALL.len());
        for one in State::ALL {
            assert_eq!(State::from_name(&format!("{one:?}")), one);
            assert!(badge(one).into_string().contains(one.words()), "{one:?}");
        }
        assert_eq!(badge(State::Stuck).into_string(), "<span class=\"b s bad stop\">Stuck</span>");
        assert_eq!(foreign_state("Newer<").into_string(), "<span class=\"s idle\">Newer&lt;</span>");
        assert_eq!(foreign_state("Complete").into_string(), "<span class=\"s ok\">Complete</span>");
    }
}
