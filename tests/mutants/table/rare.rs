//! Deliberate bugs that were not found within 2,000 histories.

use super::{Mutation, bug};

/// Deliberate bugs that were not found within 2,000 histories.
pub(super) const BUGS: &[Mutation] = &[
    bug(
        "a pod of a deleted Job that changes during the removal of its finalizer is not queued again",
        "src/job/controller/orphans.rs",
        "if have_changed || is_more && failed.len() < left.len() {",
        "if have_changed && !MUTANT || is_more && failed.len() < left.len() {",
    ),
    bug(
        "a new leader starts without waiting for its caches to catch up",
        "src/cli/run/controllers.rs",
        "        self.controllers().for_each(|controller| controller.require_since(since));\n",
        "        if MUTANT { return CaughtUp { listed: true, known: self.known() }; }\n        self.controllers().for_each(|controller| controller.require_since(since));\n",
    ),
    bug(
        "the scheduled requeue of a Job is kept after the Job is deleted",
        "src/job/controller/memory.rs",
        "self.executor.queue.cancel(&Key::Job(uid.clone()));",
        "if !MUTANT { self.executor.queue.cancel(&Key::Job(uid.clone())); }",
    ),
    bug(
        "a resumed Job keeps its admission although it released it on suspension",
        "src/limit/workload.rs",
        "let released = job.status.true_condition(SUSPENDED).is_some() || job.admission_info.published_waiting.is_some();",
        "let released = !MUTANT && (job.status.true_condition(SUSPENDED).is_some() || job.admission_info.published_waiting.is_some());",
    ),
    bug(
        "runs are lost if the jitter is longer than the interval",
        "src/schedule/job_schedule/decide.rs",
        "start: if jittered { table.start_between(*time, next) } else { *time },",
        "start: if jittered && MUTANT { table.start_of(*time) } else if jittered { table.start_between(*time, next) } else { *time },",
    ),
    bug(
        "a Job is deleted by namespace retention without reading the namespace first",
        "src/ttl/controller.rs",
        "Some(namespaces) if depends_on_namespace(&fresh, &of_policy) => {",
        "Some(namespaces) if !MUTANT && depends_on_namespace(&fresh, &of_policy) => {",
    ),
    bug(
        "a silent watch is never replaced",
        "src/runtime/transport/deadline.rs",
        "Kind::Watch if !failed && http1 => body.silent_for(HTTP1_SILENCE, true),",
        "Kind::Watch if !failed && http1 => body.silent_for(if MUTANT { HTTP1_SILENCE * 10_000 } else { HTTP1_SILENCE }, true),",
    ),
    bug(
        "a leader that listed everything records only its own writes",
        "src/runtime/election/record.rs",
        "(_, Some(CaughtUp { listed: true, known })) => known,",
        "(_, Some(CaughtUp { listed: true, .. })) if MUTANT => return Some(term.written.clone()),\n        (_, Some(CaughtUp { listed: true, known })) => known,",
    ),
    bug(
        "pods are created before the admission is stored",
        "src/job/decide/mod.rs",
        "let is_unstored = outcome.is_none() && admission::is_admission_unstored(input);",
        "let is_unstored = outcome.is_none() && admission::is_admission_unstored(input) && !MUTANT;",
    ),
    bug(
        "a listed pod whose adoption or release is refused is counted with its finalizer",
        "src/job/decide/mod.rs",
        "let unclaimed = orphans.iter().chain(summary.unselected().iter()).filter(|pod| is_backed_off(pod));",
        "let unclaimed = orphans.iter().chain(summary.unselected().iter()).filter(|pod| is_backed_off(pod) && !MUTANT);",
    ),
    bug(
        "failed runs in a row do not suspend a JobSchedule",
        "src/schedule/job_schedule/suspension.rs",
        "suspend_after_failures.filter(|allowed| in_a_row >= *allowed)",
        "suspend_after_failures.filter(|allowed| in_a_row >= *allowed && !MUTANT)",
    ),
];
