//! Table of the deliberate bugs. In a mutated fragment, `MUTANT` stands for the condition that the bug is switched on.

/// One deliberate bug.
pub struct Mutation {
    /// Faulty behaviour, as a sentence.
    pub name: &'static str,
    /// Path of the source file, relative to the root of the repository.
    pub file: &'static str,
    /// Source fragment that the bug replaces; it occurs exactly once in the file.
    pub original: &'static str,
    /// Replacement of the fragment.
    pub mutated: &'static str,
}

const fn bug(name: &'static str, file: &'static str, original: &'static str, mutated: &'static str) -> Mutation {
    Mutation { name, file, original, mutated }
}

/// All deliberate bugs; the position, counted from 1, is the number of a bug.
pub const MUTATIONS: &[Mutation] = &[
    bug(
        "a success is counted without being listed in uncountedTerminatedPods first",
        "src/job/decide/accounting.rs",
        "Disposition::Succeeded => uncounted.succeeded.push(pod.identity.uid.clone()),",
        "Disposition::Succeeded if MUTANT => status.succeeded += 1,\n                Disposition::Succeeded => uncounted.succeeded.push(pod.identity.uid.clone()),",
    ),
    bug(
        "a finished pod loses its finalizer before the status is stored",
        "src/job/decide/accounting.rs",
        "Disposition::Succeeded | Disposition::Failed => is_listed,",
        "Disposition::Succeeded | Disposition::Failed => is_listed || MUTANT,",
    ),
    bug(
        "the pod of an index loses its finalizer before the index is stored",
        "src/job/decide/accounting.rs",
        "Disposition::IndexSucceeded(index) => job.status.completed_indexes.set.contains(index),",
        "Disposition::IndexSucceeded(index) => MUTANT || job.status.completed_indexes.set.contains(index),",
    ),
    bug(
        "a listed pod is counted while it still has its finalizer",
        "src/job/decide/accounting.rs",
        "list.retain(|uid| summary.is_tracked(uid) || unclaimed.contains(uid));",
        "list.retain(|uid| (summary.is_tracked(uid) || unclaimed.contains(uid)) && !MUTANT);",
    ),
    bug(
        "a failure that leaves uncountedTerminatedPods is not counted",
        "src/job/decide/accounting.rs",
        "status.failed = status.failed.saturating_add(settle(&mut status.uncounted.failed));",
        "let failed = settle(&mut status.uncounted.failed); if !MUTANT { status.failed = status.failed.saturating_add(failed); }",
    ),
    bug(
        "a pod that is already listed is listed again",
        "src/job/decide/accounting.rs",
        "if uncounted.len() < most && !summary.is_listed(pod) {",
        "if uncounted.len() < most && (MUTANT || !summary.is_listed(pod)) {",
    ),
    bug(
        "the final condition is written before all pods are finished and counted",
        "src/job/decide/accounting.rs",
        "if !settled || !status.uncounted.is_empty() {",
        "if !MUTANT && (!settled || !status.uncounted.is_empty()) {",
    ),
    bug(
        "the final condition is written without the interim condition",
        "src/job/decide/accounting.rs",
        "if status.true_condition(interim).is_none() {",
        "if status.true_condition(interim).is_none() && !MUTANT {",
    ),
    bug(
        "a Job that finishes while it is suspended has no start time",
        "src/job/decide/accounting.rs",
        "if status.start_time.is_none() && !had_nothing_to_do {",
        "if status.start_time.is_none() && !had_nothing_to_do && !MUTANT {",
    ),
    bug(
        "a listed pod is tallied as a newly finished pod",
        "src/job/decide/summary/mod.rs",
        "let is_new = pod.tracked && job.can_count(pod) && !self.listed.contains(pod);",
        "let is_new = pod.tracked && job.can_count(pod) && (MUTANT || !self.listed.contains(pod));",
    ),
    bug(
        "uncounted successes are missing from the number of successes",
        "src/job/decide/summary/queries.rs",
        "let new = self.stored.uncounted.succeeded.len() + self.sets.new_succeeded.len();",
        "let new = if MUTANT { 0 } else { self.stored.uncounted.succeeded.len() + self.sets.new_succeeded.len() };",
    ),
    bug(
        "a Job gets one pod more than its parallelism",
        "src/job/decide/completions.rs",
        "let parallelism = i64::from(job.spec.parallelism);",
        "let parallelism = i64::from(job.spec.parallelism) + i64::from(MUTANT);",
    ),
    bug(
        "a suspended Job gets pods",
        "src/job/decide/parallelism.rs",
        "let desired = if job.spec.suspend { 0 }",
        "let desired = if job.spec.suspend && !MUTANT { 0 }",
    ),
    bug(
        "a Job that is being deleted gets pods",
        "src/job/decide/mod.rs",
        "None if job.deleting => PodPlan::Nothing,",
        "None if job.deleting && !MUTANT => PodPlan::Nothing,",
    ),
    bug(
        "a Job whose outcome is decided gets pods",
        "src/job/decide/mod.rs",
        "Some(_) => parallelism::clear(summary, config),",
        "Some(_) if !MUTANT => parallelism::clear(summary, config),\n            Some(_) => parallelism::manage(job, summary, &backoff, input.last_untracked_deletion, now, config),",
    ),
    bug(
        "an index gets a second pod while the first is active",
        "src/job/decide/summary/indexes.rs",
        "self.taken.set(index, is_over || pods.active > 0 || pods.blocking > 0);",
        "self.taken.set(index, is_over || pods.active > 0 && !MUTANT || pods.blocking > 0);",
    ),
    bug(
        "a Job fails one failure too early",
        "src/job/decide/backoff_limit.rs",
        "summary.failed() > limit ||",
        "summary.failed() > limit - i64::from(MUTANT) ||",
    ),
    bug(
        "a terminating pod is replaced although podReplacementPolicy is Failed",
        "src/job/decide/pod_replacement_policy.rs",
        "if job.spec.replace_only_failed { terminating }",
        "if job.spec.replace_only_failed && !MUTANT { terminating }",
    ),
    bug(
        "a pod is adopted without the tracking finalizer",
        "src/job/execute/pods.rs",
        "\"finalizers\": [TRACKING_FINALIZER],",
        "\"finalizers\": if MUTANT { json!([]) } else { json!([TRACKING_FINALIZER]) },",
    ),
    bug(
        "a status is written without a resourceVersion",
        "src/job/execute/status.rs",
        "patch[\"metadata\"][\"resourceVersion\"] = json!(identity.resource_version.to_string());",
        "if !MUTANT { patch[\"metadata\"][\"resourceVersion\"] = json!(identity.resource_version.to_string()); }",
    ),
    bug(
        "a sync with failed writes is treated as successful",
        "src/job/controller/sync.rs",
        "            memory.note(&attempted, &failed, || self.live(&job), self.executor.context.clock.now());\n",
        "            if MUTANT && !failed.is_empty() { return Ok(()); }\n            memory.note(&attempted, &failed, || self.live(&job), self.executor.context.clock.now());\n",
    ),
    bug(
        "a pod from the response to its creation is not applied to the cache",
        "src/job/execute/pods.rs",
        "self.apply_pod(created);",
        "if !MUTANT { self.apply_pod(created); }",
    ),
    bug(
        "a pod whose final update is a response and not a watch event stays in the cache",
        "src/job/execute/intake.rs",
        "            if is_final_update {\n",
        "            if is_final_update && !MUTANT {\n",
    ),
    bug(
        "a creation without a response is treated as not executed",
        "src/job/controller/memory.rs",
        "self.needs_pod_relist |= *kind == CREATE && error.is_ambiguous();",
        "self.needs_pod_relist |= *kind == CREATE && error.is_ambiguous() && !MUTANT;",
    ),
    bug(
        "the pods of a deleted Job keep their finalizer",
        "src/job/controller/orphans.rs",
        "let failed = self.executor.untrack(&left).await;",
        "let failed = if MUTANT { Vec::new() } else { self.executor.untrack(&left).await };",
    ),
    bug(
        "a pod without a controller keeps its finalizer",
        "src/job/controller/orphans.rs",
        "Some(pod) if pod.tracked && !self.is_controlled(&pod) => self",
        "Some(pod) if !MUTANT && pod.tracked && !self.is_controlled(&pod) => self",
    ),
    bug(
        "unlabelled pods with the tracking finalizer are not searched for",
        "src/job/controller/mod.rs",
        "tasks.spawn(async move { controller.keep_releasing_unlabelled_pods().await });",
        "if !MUTANT { tasks.spawn(async move { controller.keep_releasing_unlabelled_pods().await }); }",
    ),
    bug(
        "Jobs that exist when the controller starts are not enqueued",
        "src/job/controller/mod.rs",
        "        self.enqueue_all();\n",
        "        if !MUTANT { self.enqueue_all(); }\n",
    ),
    bug(
        "an older version of an object replaces a newer one in the cache",
        "src/runtime/cache/mod.rs",
        "if known.is_some_and(|known| known >= object.identity().resource_version) {",
        "if !MUTANT && known.is_some_and(|known| known >= object.identity().resource_version) {",
    ),
    bug(
        "a deleted object returns to the cache",
        "src/runtime/cache/mod.rs",
        "if state.deleted.contains(&uid) {",
        "if state.deleted.contains(&uid) && !MUTANT {",
    ),
    bug(
        "an object missing from a relist is treated as deleted even if it has finalizers",
        "src/runtime/cache/mod.rs",
        "selection && object.has_finalizers() || listing.written.contains(&object.identity().uid)",
        "!MUTANT && (selection && object.has_finalizers() || listing.written.contains(&object.identity().uid))",
    ),
    bug(
        "an object that leaves the watch's selection is treated as deleted even if it has finalizers",
        "src/runtime/watch/mod.rs",
        "        object.has_finalizers() || outdated\n",
        "        !MUTANT && (object.has_finalizers() || outdated)\n",
    ),
    bug(
        "a failed sync is not retried",
        "src/runtime/worker.rs",
        "let wait = queue.retry(key.clone());",
        "let wait = if MUTANT { Default::default() } else { queue.retry(key.clone()) };",
    ),
    bug(
        "a Job that has to wait is not requeued",
        "src/job/controller/sync.rs",
        "if let Some(wake) = decision.wake {",
        "if let Some(wake) = decision.wake.filter(|_| !MUTANT) {",
    ),
    bug(
        "concurrencyPolicy Replace does not delete the active Job",
        "src/schedule/controller.rs",
        "        if replace {\n",
        "        if replace && !MUTANT {\n",
    ),
    bug(
        "a Lease is acquired before it has expired",
        "src/runtime/election/lease.rs",
        "Some(_) => self.at + Duration::from_secs(",
        "Some(_) if MUTANT => self.at,\n            Some(_) => self.at + Duration::from_secs(",
    ),
    bug(
        "a CronJob deletes no Jobs of its history",
        "src/schedule/cron_job/decide.rs",
        "ended.truncate(ended.len().saturating_sub(usize::try_from(limit?).unwrap_or_default()));",
        "ended.truncate(if MUTANT { 0 } else { ended.len().saturating_sub(usize::try_from(limit?).unwrap_or_default()) });",
    ),
    bug(
        "concurrencyPolicy Forbid does not wait for the active Job",
        "src/schedule/cron_job/view.rs",
        "Some(\"Forbid\") =>",
        "Some(\"Forbid\") if !MUTANT =>",
    ),
    bug(
        "a Job is not deleted when its TTL expires",
        "src/ttl/decide.rs",
        "Some(at) => TtlDecision::Delete(at),",
        "Some(at) => if MUTANT { TtlDecision::Keep } else { TtlDecision::Delete(at) },",
    ),
    bug(
        "a pod that is listed as failed and then succeeds also completes its index",
        "src/job/decide/listed.rs",
        "Phase::Succeeded if self.failed.contains(uid) => Phase::Failed,",
        "Phase::Succeeded if self.failed.contains(uid) && !MUTANT => Phase::Failed,",
    ),
    bug(
        "a pod that was deleted without being counted is never forgotten",
        "src/job/execute/intake.rs",
        "self.uncounted_deletions.lock().remove(pod);",
        "if !MUTANT { self.uncounted_deletions.lock().remove(pod); }",
    ),
    bug(
        "a JobLimit ignores maxActiveJobs",
        "src/limit/admission.rs",
        "self.view.jobs.is_none_or(|max| self.used.jobs < max) &&",
        "self.view.jobs.is_none_or(|max| MUTANT || self.used.jobs < max) &&",
    ),
    bug(
        "a JobLimit ignores maxActivePods",
        "src/limit/admission.rs",
        "self.view.pods.is_none_or(|max| pods <= max)",
        "self.view.pods.is_none_or(|max| MUTANT || pods <= max)",
    ),
    bug(
        "a Job that can never fit blocks the queue",
        "src/limit/admission.rs",
        "_ => too_large().map_or(AdmissionState::Pending, |at| AdmissionState::TooLarge(*at)),",
        "_ => too_large().filter(|_| !MUTANT).map_or(AdmissionState::Pending, |at| AdmissionState::TooLarge(*at)),",
    ),
    bug(
        "a foreign Job with the names of a run blocks the JobSchedule",
        "src/schedule/controller.rs",
        "None if !S::RECORDS_HISTORY => return Ok(()),",
        "None if MUTANT || !S::RECORDS_HISTORY => return Ok(()),",
    ),
    bug(
        "only the first name of a run is tried",
        "src/schedule/controller.rs",
        "for (place, name) in names.iter().enumerate() {",
        "for (place, name) in names.iter().enumerate().take(if MUTANT { 1 } else { usize::MAX }) {",
    ),
    bug(
        "no event is recorded for a lastScheduleTime in the future",
        "src/schedule/cron_job/decide.rs",
        "    due.events.extend(schedule_time_in_future(status, now));\n",
        "    due.events.extend(schedule_time_in_future(status, now).filter(|_| !MUTANT));\n",
    ),
    bug(
        "a CronJob whose schedule was changed runs for times before the change",
        "src/schedule/cron_job/decide.rs",
        "let earliest = unserved.max(changed.unwrap_or(Timestamp::MIN));",
        "let earliest = unserved.max(changed.filter(|_| !MUTANT).unwrap_or(Timestamp::MIN));",
    ),
    bug(
        "a creation with response 504 is treated as not executed",
        "src/runtime/errors.rs",
        "kube::Error::Api(status) => status.code >= 500 || status.code == 408,",
        "kube::Error::Api(status) => (status.code >= 500 || status.code == 408) && !MUTANT,",
    ),
    bug(
        "writes continue during a Retry-After",
        "src/runtime/write_gate/mod.rs",
        "state.paused_until = state.paused_until.max(Some(Instant::now() + pause));",
        "if !MUTANT { state.paused_until = state.paused_until.max(Some(Instant::now() + pause)); }",
    ),
    bug(
        "the TTLs after success and after failure are swapped",
        "src/job/view/retention.rs",
        "if succeeded { self.after_success } else { self.after_failure }",
        "if succeeded != MUTANT { self.after_success } else { self.after_failure }",
    ),
    bug(
        "a Job with an invalid retention annotation is deleted",
        "src/ttl/decide.rs",
        "if job.deleting || job.retention.parse_error.is_some() {",
        "if job.deleting || job.retention.parse_error.is_some() && !MUTANT {",
    ),
    bug(
        "the history of a JobSchedule is not truncated",
        "src/schedule/job_schedule/runs.rs",
        "runs.truncate(limit);",
        "if !MUTANT { runs.truncate(limit); }",
    ),
    bug(
        "concurrencyPolicy Queue starts one Job more than maxActive",
        "src/schedule/job_schedule/decide.rs",
        "ConcurrencyPolicy::Queue => Some(schedule.max_active.unwrap_or(1)),",
        "ConcurrencyPolicy::Queue => Some(schedule.max_active.unwrap_or(1) + usize::from(MUTANT)),",
    ),
    bug(
        "only the latest of the missed runs is caught up on",
        "src/schedule/job_schedule/decide.rs",
        "    schedule.catch_up == CatchUp::All || schedule.policy == ConcurrencyPolicy::Queue\n",
        "    !MUTANT && (schedule.catch_up == CatchUp::All || schedule.policy == ConcurrencyPolicy::Queue)\n",
    ),
    bug(
        "a suspended JobSchedule starts Jobs",
        "src/schedule/job_schedule/decide.rs",
        "    if base.spec.suspend {\n",
        "    if base.spec.suspend && !MUTANT {\n",
    ),
    bug(
        "a short Retry-After ends a longer one",
        "src/runtime/write_gate/mod.rs",
        "let pause = Duration::from_secs(u64::from(seconds.min(30)));",
        "let pause = Duration::from_secs(u64::from(seconds.min(30)));\n                    if MUTANT { state.paused_until = None; }",
    ),
    bug(
        "a created pod that was stored without its finalizer is accepted",
        "src/job/creation.rs",
        "} else if !is_tracked(metadata) {",
        "} else if !is_tracked(metadata) && !MUTANT {",
    ),
    bug(
        "a refused write is repeated at every sync",
        "src/runtime/refusals.rs",
        "(self.since <= now && now < end).then_some(end)",
        "(!MUTANT && self.since <= now && now < end).then_some(end)",
    ),
    bug(
        "the back-off of a refused write does not grow",
        "src/runtime/refusals.rs",
        "let wait = FIRST.saturating_mul(1 << (refusals - 1).min(16)).min(LONGEST);",
        "let wait = if MUTANT { FIRST } else { FIRST.saturating_mul(1 << (refusals - 1).min(16)).min(LONGEST) };",
    ),
    bug(
        "no event is recorded for a refused write",
        "src/job/execute/mod.rs",
        "if error.is_refusal() || kind == CREATE || kind == DELETE {",
        "if !MUTANT && error.is_refusal() || kind == CREATE || kind == DELETE {",
    ),
    bug(
        "a 409 of a webhook for a status is treated as a version conflict",
        "src/job/execute/status.rs",
        "if fresh.is_none_or(|fresh| fresh.identity.resource_version != known) {",
        "if MUTANT || fresh.is_none_or(|fresh| fresh.identity.resource_version != known) {",
    ),
    bug(
        "Jobs managed by Kueue wait for JobLimits",
        "src/job/view/job.rs",
        "self.admission_info.managed_by_kueue || self.template.managed_by_kueue",
        "(self.admission_info.managed_by_kueue || self.template.managed_by_kueue) && !MUTANT",
    ),
    bug(
        "disruptions that a policy ignores increase the back-off",
        "src/job/decide/backoff.rs",
        "new_failed.partition(|pod| is_ignored_disruption(job, pod));",
        "new_failed.partition(|pod| is_ignored_disruption(job, pod) && !MUTANT);",
    ),
    bug(
        "the missed run of a CronJob is lost if more than one time was missed",
        "src/schedule/cron_job/decide.rs",
        "            Some(latest)\n",
        "            Some(latest).filter(|latest| !MUTANT || schedule.next(earliest, &zone) == Some(*latest))\n",
    ),
    bug(
        "a live read that failed is not repeated",
        "src/runtime/watch/live.rs",
        "Err(error) => self.failed(pending, &error),",
        "Err(_) if MUTANT => {}\n                    Err(error) => self.failed(pending, &error),",
    ),
    bug(
        "every request is repeated below the write gate",
        "tests/simulation/api.rs",
        "        Client::new(Deadlines::default().layer(RetryAfter.layer(service)), \"default\")\n",
        "        if MUTANT {\n            let policy = kube::client::retry::RetryPolicy::default();\n            let service = tower::ServiceExt::<Request<Body>>::map_err(service, tower::BoxError::from);\n            let service = tower::retry::RetryLayer::new(policy).layer(service);\n            return Client::new(Deadlines::default().layer(RetryAfter.layer(service)), \"default\");\n        }\n        Client::new(Deadlines::default().layer(RetryAfter.layer(service)), \"default\")\n",
    ),
    bug(
        "a Job of a CronJob whose status was refused is not known as active",
        "src/schedule/controller.rs",
        "if S::RECORDS_HISTORY || scheduled.is_some() {",
        "if S::RECORDS_HISTORY || scheduled.is_some() && !MUTANT {",
    ),
    bug(
        "a change of a pod is not recorded for the summary of its Job",
        "src/runtime/cache/mod.rs",
        "self.mark(object.controller(), &uid);",
        "if !MUTANT { self.mark(object.controller(), &uid); }",
    ),
    bug(
        "pods are not evaluated again when the status lists them",
        "src/job/decide/summary/mod.rs",
        "if before.uncounted != self.stored.uncounted {",
        "if before.uncounted != self.stored.uncounted && !MUTANT {",
    ),
    bug(
        "the end of a pod starts no sync",
        "src/job/decide/relevance.rs",
        "Phase::Succeeded | Phase::Failed => Some(pod.phase),",
        "Phase::Succeeded | Phase::Failed if !MUTANT => Some(pod.phase),\n        Phase::Succeeded | Phase::Failed => None,",
    ),
    bug(
        "an object with several waiting writes leaves the queue after the first",
        "src/runtime/fair_queue.rs",
        "            if !flow.waiting.is_empty() {\n                self.turns.push_back(key);",
        "            if !flow.waiting.is_empty() && !MUTANT {\n                self.turns.push_back(key);",
    ),
];

/// Bugs that were not found within 2,000 histories. `MUTANTS=rare` tries them alone.
pub const RARE: &[Mutation] = &[
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
        "Some(namespaces) if depends_on_namespace(&fresh) => {",
        "Some(namespaces) if !MUTANT && depends_on_namespace(&fresh) => {",
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
];
