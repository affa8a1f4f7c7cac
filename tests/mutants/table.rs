//! The deliberate bugs. In what takes a place's stead, `MUTANT` is whether the bug is on.

/// One deliberate bug.
pub struct Mutation {
    /// What is wrong.
    pub name: &'static str,
    pub file: &'static str,
    /// The place; it occurs once.
    pub original: &'static str,
    pub mutated: &'static str,
}

const fn bug(name: &'static str, file: &'static str, original: &'static str, mutated: &'static str) -> Mutation {
    Mutation { name, file, original, mutated }
}

pub const MUTATIONS: &[Mutation] = &[
    bug(
        "successes are counted without being listed first",
        "src/job/decide/accounting.rs",
        "Fate::Succeeded => status.uncounted.succeeded.push(uid.clone()),",
        "Fate::Succeeded => if MUTANT { status.succeeded += 1 } else { status.uncounted.succeeded.push(uid.clone()) },",
    ),
    bug(
        "the finalizer comes off before the status is stored",
        "src/job/decide/accounting.rs",
        "Fate::Succeeded | Fate::Failed => is_listed,",
        "Fate::Succeeded | Fate::Failed => is_listed || MUTANT,",
    ),
    bug(
        "an index's pod is let go before its index is stored",
        "src/job/decide/accounting.rs",
        "Fate::IndexSucceeded(index) => job.status.completed_indexes.set.contains(index),",
        "Fate::IndexSucceeded(index) => MUTANT || job.status.completed_indexes.set.contains(index),",
    ),
    bug(
        "listed pods are counted with their finalizers on",
        "src/job/decide/accounting.rs",
        "list.retain(|uid| tracked.contains(uid));",
        "list.retain(|uid| tracked.contains(uid) && !MUTANT);",
    ),
    bug(
        "failures that leave the list are not counted",
        "src/job/decide/accounting.rs",
        "status.failed = status.failed.saturating_add(settle(&mut status.uncounted.failed));",
        "let failed = settle(&mut status.uncounted.failed); if !MUTANT { status.failed = status.failed.saturating_add(failed); }",
    ),
    bug(
        "a pod is listed again although it is listed",
        "src/job/decide/accounting.rs",
        "if listed.contains(uid) {",
        "if listed.contains(uid) && !MUTANT {",
    ),
    bug(
        "the end is announced and written at once",
        "src/job/decide/accounting.rs",
        "if !settled || !status.uncounted.is_empty() {",
        "if !MUTANT && (!settled || !status.uncounted.is_empty()) {",
    ),
    bug(
        "the end comes without being announced",
        "src/job/decide/accounting.rs",
        "if status.true_condition(interim).is_none() {",
        "if status.true_condition(interim).is_none() && !MUTANT {",
    ),
    bug(
        "what ends while suspended has no start",
        "src/job/decide/accounting.rs",
        "if status.start_time.is_none() && !had_nothing_to_do {",
        "if status.start_time.is_none() && !had_nothing_to_do && !MUTANT {",
    ),
    bug(
        "a pod that is listed counts as new",
        "src/job/decide/tally.rs",
        "if !job.can_count(pod) || listed.contains(pod) {",
        "if !job.can_count(pod) || listed.contains(pod) && !MUTANT {",
    ),
    bug(
        "a new success is forgotten in the sum",
        "src/job/decide/tally.rs",
        "let new = uncounted.succeeded.len() + tally.new_succeeded.len();",
        "let new = if MUTANT { 0 } else { uncounted.succeeded.len() + tally.new_succeeded.len() };",
    ),
    bug(
        "one pod too many",
        "src/job/decide/completions.rs",
        "let parallelism = i64::from(job.spec.parallelism);",
        "let parallelism = i64::from(job.spec.parallelism) + i64::from(MUTANT);",
    ),
    bug(
        "a suspended Job gets its pods",
        "src/job/decide/parallelism.rs",
        "let wanted = if job.spec.suspend { 0 }",
        "let wanted = if job.spec.suspend && !MUTANT { 0 }",
    ),
    bug(
        "a Job that is being deleted gets pods",
        "src/job/decide/mod.rs",
        "None if job.deleting => PodPlan::Nothing,",
        "None if job.deleting && !MUTANT => PodPlan::Nothing,",
    ),
    bug(
        "an outcome does not keep pods from coming",
        "src/job/decide/mod.rs",
        "Some(_) => parallelism::clear(&tally, limits),",
        "Some(_) if !MUTANT => parallelism::clear(&tally, limits),\n            Some(_) => parallelism::manage(job, &tally, &backoff, situation.vanished, now, limits),",
    ),
    bug(
        "an index gets a pod while it has one",
        "src/job/decide/completion_mode.rs",
        "let taken = over.with(holders.filter_map(|pod| job.index_of(pod)));",
        "let taken = over.with(holders.filter(|_| !MUTANT).filter_map(|pod| job.index_of(pod)));",
    ),
    bug(
        "one failure too few is borne",
        "src/job/decide/backoff_limit.rs",
        "tally.failed > limit ||",
        "tally.failed > limit - i64::from(MUTANT) ||",
    ),
    bug(
        "pods that end are replaced although they are still there",
        "src/job/decide/pod_replacement_policy.rs",
        "if job.spec.replace_only_failed { terminating }",
        "if job.spec.replace_only_failed && !MUTANT { terminating }",
    ),
    bug(
        "a pod is adopted without the finalizer",
        "src/job/act.rs",
        "\"finalizers\": [TRACKING_FINALIZER],",
        "\"finalizers\": if MUTANT { json!([]) } else { json!([TRACKING_FINALIZER]) },",
    ),
    bug(
        "a status is written on whatever version there is",
        "src/job/act.rs",
        "patch[\"metadata\"][\"resourceVersion\"] = json!(identity.resource_version.to_string());",
        "if !MUTANT { patch[\"metadata\"][\"resourceVersion\"] = json!(identity.resource_version.to_string()); }",
    ),
    bug(
        "a refused creation is taken for success",
        "src/job/controller.rs",
        "            memory.note(&attempted, &failed, || self.live(&job), self.actor.kit.clock.now());\n",
        "            if MUTANT && !failed.is_empty() { return Ok(()); }\n            memory.note(&attempted, &failed, || self.live(&job), self.actor.kit.clock.now());\n",
    ),
    bug(
        "the answer to a creation is not kept",
        "src/job/act.rs",
        "self.take_pod(created);",
        "if !MUTANT { self.take_pod(created); }",
    ),
    bug(
        "what the watch tells no more of stays in the cache",
        "src/job/act.rs",
        "            if last_news {\n",
        "            if last_news && !MUTANT {\n",
    ),
    bug(
        "a creation without an answer is taken for none",
        "src/job/controller.rs",
        "self.recount |= *cause == CREATE && error.is_ambiguous();",
        "self.recount |= *cause == CREATE && error.is_ambiguous() && !MUTANT;",
    ),
    bug(
        "the pods of a Job that is gone are not let go",
        "src/job/controller.rs",
        "let failed = self.actor.untrack(&left).await;",
        "let failed = if MUTANT { Vec::new() } else { self.actor.untrack(&left).await };",
    ),
    bug(
        "pods that nobody controls are not let go",
        "src/job/controller.rs",
        "Some(pod) if pod.tracked && !self.is_controlled(&pod) => self",
        "Some(pod) if !MUTANT && pod.tracked && !self.is_controlled(&pod) => self",
    ),
    bug(
        "pods whose labels went unseen are not looked for",
        "src/job/controller.rs",
        "tasks.spawn(async move { controller.find_strays().await });",
        "if !MUTANT { tasks.spawn(async move { controller.find_strays().await }); }",
    ),
    bug(
        "nothing that was there at the start is looked at",
        "src/job/controller.rs",
        "        self.enqueue_all();\n",
        "        if !MUTANT { self.enqueue_all(); }\n",
    ),
    bug(
        "an older version takes the place of a newer one",
        "src/runtime/cache.rs",
        "if known.is_some_and(|known| known >= object.identity().resource_version) {",
        "if !MUTANT && known.is_some_and(|known| known >= object.identity().resource_version) {",
    ),
    bug(
        "what was deleted comes back",
        "src/runtime/cache.rs",
        "if state.deleted.contains(&uid) {",
        "if state.deleted.contains(&uid) && !MUTANT {",
    ),
    bug(
        "what a list does not hold is gone, whatever holds it",
        "src/runtime/cache.rs",
        ".partition(|object| selection && object.is_held() || listing.written.contains(&object.identity().uid));",
        ".partition(|object| !MUTANT && (selection && object.is_held() || listing.written.contains(&object.identity().uid)));",
    ),
    bug(
        "what leaves the watch is gone, whatever holds it",
        "src/runtime/watch.rs",
        "        object.is_held() || outdated\n",
        "        !MUTANT && (object.is_held() || outdated)\n",
    ),
    bug(
        "what failed is not tried again",
        "src/runtime/worker.rs",
        "let wait = queue.retry(key.clone());",
        "let wait = if MUTANT { Default::default() } else { queue.retry(key.clone()) };",
    ),
    bug(
        "what has to wait is not looked at again",
        "src/job/controller.rs",
        "if let Some(wake) = decision.wake {",
        "if let Some(wake) = decision.wake.filter(|_| !MUTANT) {",
    ),
    bug(
        "what a CronJob is to replace stays",
        "src/cronjob/controller.rs",
        "        if replace {\n",
        "        if replace && !MUTANT {\n",
    ),
    bug(
        "a Lease is taken before it has run out",
        "src/runtime/election/lease.rs",
        "Some(_) => self.at + Duration::from_secs(",
        "Some(_) if MUTANT => self.at,\n            Some(_) => self.at + Duration::from_secs(",
    ),
    bug(
        "a new leader begins with what it happens to know",
        "src/cli/run/controllers.rs",
        "        self.job.want(since);\n",
        "        if MUTANT { return CaughtUp { listed: true, known: self.known() }; }\n        self.job.want(since);\n",
    ),
    bug(
        "the history of a CronJob is kept for ever",
        "src/cronjob/decide.rs",
        "ended.truncate(ended.len().saturating_sub(usize::try_from(limit?).unwrap_or_default()));",
        "ended.truncate(if MUTANT { 0 } else { ended.len().saturating_sub(usize::try_from(limit?).unwrap_or_default()) });",
    ),
    bug(
        "a CronJob that is to wait for its Job does not",
        "src/cronjob/view.rs",
        "Some(\"Forbid\") =>",
        "Some(\"Forbid\") if !MUTANT =>",
    ),
    bug(
        "a Job outlives its time to live",
        "src/ttl/decide.rs",
        "Some(at) => Verdict::Delete(at),",
        "Some(at) => if MUTANT { Verdict::Leave } else { Verdict::Delete(at) },",
    ),
    bug(
        "a pod that is listed as failed and then succeeds counts for its index too",
        "src/job/decide/listed.rs",
        "Phase::Succeeded if self.failed.contains(uid) => Phase::Failed,",
        "Phase::Succeeded if self.failed.contains(uid) && !MUTANT => Phase::Failed,",
    ),
    bug(
        "the time at which a Job is looked at again outlives the Job",
        "src/job/controller.rs",
        "self.actor.queue.cancel(&Key::Job(uid.clone()));",
        "if !MUTANT { self.actor.queue.cancel(&Key::Job(uid.clone())); }",
    ),
    bug(
        "a pod that is given up is remembered for ever",
        "src/job/act.rs",
        "self.given_up.lock().unwrap_or_else(PoisonError::into_inner).remove(pod);",
        "if !MUTANT { self.given_up.lock().unwrap_or_else(PoisonError::into_inner).remove(pod); }",
    ),
];
