//! The explanation of an object: the data that `-o json` prints, and its text.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::client::names::Kind;
use crate::client::suggest::Suggestions;
use crate::client::table::Table;
use crate::client::terminal::{Color, Screen};

/// Explanation of a Job, CronJob or JobSchedule. The fields are stable; fields are added, and none is removed or
/// changes its meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Kind of the object: Job, CronJob or JobSchedule.
    pub kind: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// State of the object.
    pub state: State,
    /// Reason of the state in one word, such as ImagePullBackOff or BackoffLimitExceeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// State of the object in one sentence.
    pub headline: String,
    /// Further facts as sentences, the most important first.
    pub details: Vec<String>,
    /// Numbers of pods of a Job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// Pods of a Job. Empty if they cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodReport>,
    /// Next time at which a CronJob or JobSchedule is due, in UTC (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_run: Option<String>,
    /// Next step of the controller. Unset if nothing is to be done, or if the step is not computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_step: Option<String>,
    /// Actions that the user can take.
    pub hints: Vec<Hint>,
    /// Objects that could not be read, so that the answer is incomplete.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<Unread>,
}

/// State of a Job, CronJob or JobSchedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub enum State {
    /// The Job has been created, and no controller has started it.
    #[default]
    NotStarted,
    /// At least one pod of the Job makes progress.
    Running,
    /// The Job makes no progress: no pod can start, run or terminate, or the API server refuses a write.
    Stuck,
    /// The controller delays the next pod after failures.
    BackingOff,
    /// The Job waits for a JobLimit or a queue.
    Pending,
    /// spec.suspend is true.
    Suspended,
    /// spec.parallelism is 0.
    Paused,
    /// The Job has succeeded or failed, and its pods have not ended.
    Finishing,
    /// The Job is complete.
    Complete,
    /// The Job has failed.
    Failed,
    /// The object is being deleted.
    Terminating,
    /// Another controller manages the Job (spec.managedBy).
    ManagedExternally,
    /// The CronJob or JobSchedule is due at nextRun.
    Scheduled,
    /// The CronJob or JobSchedule is due, and starts no Job while an earlier one is active.
    Blocked,
    /// The CronJob or JobSchedule is never due again.
    NeverDue,
    /// The schedule or the time zone is invalid.
    Invalid,
}

impl State {
    /// Returns whether the user has to act: the object is stuck, is failing or has failed.
    pub fn is_problem(self) -> bool {
        matches!(self, Self::Stuck | Self::BackingOff | Self::Failed | Self::Blocked | Self::NeverDue | Self::Invalid)
    }

    fn color(self) -> Color {
        match self {
            Self::Stuck | Self::Failed | Self::Invalid => Color::Red,
            Self::Complete => Color::Green,
            Self::Running | Self::Scheduled => Color::Blue,
            _ => Color::Yellow,
        }
    }
}

/// Numbers of pods of a Job, from its spec and status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Number of successes that complete the Job. Unset for a work queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completions: Option<i32>,
    /// Number of active pods.
    pub active: i32,
    /// Number of ready pods.
    pub ready: i32,
    /// Number of pods that succeeded.
    pub succeeded: i32,
    /// Number of pods that failed.
    pub failed: i32,
    /// Number of pods that are being deleted.
    pub terminating: i32,
}

/// A pod of a Job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodReport {
    /// Name of the pod.
    pub name: String,
    /// Phase of the pod: Pending, Running, Succeeded, Failed or Unknown.
    pub phase: String,
    /// Whether something prevents the pod from starting, running or terminating.
    pub stuck: bool,
    /// Reason of the state in one word, such as ImagePullBackOff or OOMKilled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// State of the pod as a sentence.
    pub message: String,
    /// Node of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Completion index of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Container that failed or cannot start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Exit code of that container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Number of restarts of all containers.
    pub restarts: i64,
}

/// Action that the user can take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Hint {
    /// Purpose of the action, as it follows the word "To".
    pub purpose: String,
    /// Command that does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// Objects that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unread {
    /// Resource, such as pods.
    pub resource: String,
    /// Error of the API server.
    pub reason: String,
    /// What the answer lacks therefore.
    pub effect: String,
}

impl Hint {
    /// Returns a hint with a command.
    pub fn new(purpose: impl Into<String>, command: impl Into<String>) -> Self {
        Self { purpose: purpose.into(), command: Some(command.into()) }
    }

    /// Returns a hint without a command.
    pub fn advice(purpose: impl Into<String>) -> Self {
        Self { purpose: purpose.into(), command: None }
    }
}

impl Explanation {
    /// Adds a hint, unless the same is there.
    pub fn hint(&mut self, hint: Hint) {
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
    }

    /// Adds that `status.lastScheduleTime` of an object is in the future, and how to reset it.
    pub(crate) fn ahead(&mut self, kind: &str, name: &str, suggest: &Suggestions, now: Timestamp) {
        let why = "Its status.lastScheduleTime is later than now: no Job is started before the first time after it.";
        self.details.push(why.to_owned());
        let patch = format!(
            "patch {kind} {name} --subresource=status --type=merge -p '{{\"status\":{{\"lastScheduleTime\":\"{now:.0}\"}}}}'"
        );
        self.hint(Hint::new("reset that time, if a clock was wrong", suggest.kubectl(&patch)));
    }

    /// Returns the explanation as text. On a terminal, sentences are wrapped at its width. Commands are not wrapped, so
    /// that a user can copy them.
    pub fn text(&self, screen: &Screen) -> String {
        let wrap = |text: &str, indent: usize| match screen.height {
            Some(_) => wrapped(text, screen.width, indent),
            None => format!("{:indent$}{text}\n", ""),
        };
        let mut text = String::new();
        for line in wrap(&self.headline, 0).lines() {
            text += &format!("{}\n", screen.paint(self.state.color(), line));
        }
        for detail in &self.details {
            let (first, rest) =
                detail.split_once('\n').map_or((detail.as_str(), None), |(first, rest)| (first, Some(rest)));
            text += &wrap(first, 2);
            // The lines after the first are quoted, such as the end of a log.
            text.extend(rest.into_iter().flat_map(str::lines).map(|line| format!("{line}\n")));
        }
        if let Some(step) = &self.next_step {
            text += &wrap(&format!("Next: {step}"), 0);
        }
        for Unread { resource, reason, effect } in &self.unread {
            text += &wrap(&format!("Not read: {resource} ({reason}): {effect}."), 0);
        }
        for Hint { purpose, command } in &self.hints {
            text += &match command {
                Some(command) => format!("{} {command}\n", screen.paint(Color::Dim, &format!("To {purpose}:"))),
                None => wrap(&format!("To do: {purpose}."), 0),
            };
        }
        text
    }

    /// Returns the text with a table of all pods of a Job.
    pub fn wide_text(&self, screen: &Screen) -> String {
        let mut text = self.text(screen);
        if self.pods.is_empty() {
            return text;
        }
        let mut table = Table::new(&["POD", "PHASE", "REASON", "CONTAINER", "EXIT", "RESTARTS", "INDEX", "NODE"]);
        for pod in &self.pods {
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            table.row([
                pod.name.clone(),
                pod.phase.clone(),
                or_dash(pod.reason.clone()),
                or_dash(pod.container.clone()),
                or_dash(pod.exit_code.map(|code| code.to_string())),
                pod.restarts.to_string(),
                or_dash(pod.index.map(|index| index.to_string())),
                or_dash(pod.node.clone()),
            ]);
        }
        text += "\n";
        text + &table.text(screen)
    }

    /// Returns TYPE/NAME as a line, as kubectl prints it.
    pub fn type_and_name(&self) -> String {
        let type_ = self.kind.to_lowercase();
        let group = Kind::parse(&type_).map_or_else(String::new, |kind| format!(".{}", kind.group()));
        format!("{type_}{group}/{}\n", self.name)
    }
}

/// Wraps a text at blanks, with the indentation on each line.
fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().map_or(0, |line| line.chars().count());
        match lines.last_mut() {
            Some(last) if line == 0 => last.push_str(word),
            Some(last) if indent + line + 1 + word.chars().count() <= width => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.iter().map(|line| format!("{:indent$}{line}\n", "")).collect()
}

/// Returns a count with its noun, such as `1 pod` and `2 pods`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explanation() -> Explanation {
        Explanation {
            state: State::Failed,
            headline: "Job a failed after 2 min: it is all over now.".to_owned(),
            details: vec!["Pod a-1 failed with a message.\n    first line\n    last line".to_owned()],
            next_step: Some("create 1 pod".to_owned()),
            hints: vec![
                Hint::new("see its logs", "kubectl logs a-1 --all-containers -n default --context=production"),
                Hint::advice("find its owner"),
            ],
            unread: vec![Unread {
                resource: "events".into(),
                reason: "forbidden".into(),
                effect: "warnings are not known".into(),
            }],
            ..Explanation::default()
        }
    }

    #[test]
    fn text_has_facts_first_and_commands_last() {
        let expected = "\
Job a failed after 2 min: it is all over now.
  Pod a-1 failed with a message.
    first line
    last line
Next: create 1 pod
Not read: events (forbidden): warnings are not known.
To see its logs: kubectl logs a-1 --all-containers -n default --context=production
To do: find its owner.
";
        assert_eq!(explanation().text(&Screen::PLAIN), expected);
    }

    #[test]
    fn sentences_are_wrapped_on_a_terminal_and_commands_are_not() {
        let screen = Screen { width: 30, terminal: true, height: Some(24), color: true };
        let text = explanation().text(&screen);
        assert!(
            text.starts_with("\u{1b}[31mJob a failed after 2 min: it\u{1b}[0m\n\u{1b}[31mis all over now.\u{1b}[0m\n"),
            "{text}"
        );
        assert!(text.contains("kubectl logs a-1 --all-containers -n default --context=production\n"), "{text}");
        assert_eq!(wrapped("ab cd efghij", 6, 2), "  ab\n  cd\n  efghij\n");
    }

    #[test]
    fn wide_text_has_a_table_of_all_pods() {
        let pod = |name: &str, index, exit_code| PodReport {
            name: name.to_owned(),
            phase: "Failed".to_owned(),
            container: Some("main".to_owned()),
            index,
            exit_code,
            ..PodReport::default()
        };
        let pods = vec![pod("a-0-x2b4q", Some(0), Some(3)), pod("a-1-stvv8", None, None)];
        let explained = Explanation { kind: "Job".to_owned(), name: "a".to_owned(), pods, ..explanation() };
        let table = "\n\
POD        PHASE   REASON  CONTAINER  EXIT  RESTARTS  INDEX  NODE
a-0-x2b4q  Failed  -       main       3     0         0      -
a-1-stvv8  Failed  -       main       -     0         -      -
";
        assert_eq!(explained.wide_text(&Screen::PLAIN), explained.text(&Screen::PLAIN) + table);
        assert_eq!(explanation().wide_text(&Screen::PLAIN), explanation().text(&Screen::PLAIN));
        assert_eq!(explained.type_and_name(), "job.batch/a\n");
    }

    #[test]
    fn json_has_the_stable_fields() {
        let json = serde_json::to_value(explanation()).unwrap();
        for field in ["kind", "namespace", "name", "state", "headline", "details", "hints"] {
            assert!(json.get(field).is_some(), "{field}: {json}");
        }
        assert_eq!(json["state"], "Failed");
        assert_eq!(json["hints"][0]["purpose"], "see its logs");
    }
}
