//! Checks of the final state of the cluster.

use super::*;

impl Checks {
    /// Checks the final state of the cluster, when no work is left.
    ///
    /// # Errors
    /// Returns the invariant that does not hold.
    pub fn end(&mut self, store: &Store) -> Result<(), String> {
        self.observe(store);
        for (_, pod) in store.of("pods") {
            let Some(owner) = controller(pod) else {
                if is_tracked(pod) {
                    return Err(format!(
                        "pod {} has no controller and still has the tracking finalizer",
                        pod["metadata"]["name"]
                    ));
                }
                continue;
            };
            let live = store.of("jobs").any(|(_, job)| uid(job) == owner && !is_over(job));
            if is_tracked(pod) && !live {
                return Err(format!(
                    "pod {} has the tracking finalizer but no unfinished Job",
                    pod["metadata"]["name"]
                ));
            }
        }
        let mut forgotten = self.pods.iter().filter(|(_, pod)| pod.untracked && !pod.deleted);
        if let Some((pod, _)) = forgotten.next().filter(|_| self.steady) {
            return Err(format!("pod {pod} lost its finalizer while it ran for a Job, and was never deleted"));
        }
        if !self.status_of_schedules_refused {
            self.schedules.history(store)?;
        }
        let taken = self.schedules.missing_event(store, |uid| self.refusals.lost || self.refusals.has_warning(uid, ""));
        if let Some(missing) = self.refusals.missing_event().or(taken) {
            return Err(missing);
        }
        for (_, cron_job) in store.of("cronjobs").chain(store.of("jobschedules")) {
            let own = store.of("jobs").map(|(_, job)| job).filter(|job| controller(job) == Some(&uid(cron_job)));
            let own: Vec<&Value> = own.collect();
            for (condition, limit) in [("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")]
            {
                let kept = own.iter().filter(|job| has_condition(job, condition)).count() as i64;
                if kept > number(cron_job, &format!("/spec/{limit}")) {
                    return Err(format!(
                        "{kept} {condition} Jobs of {} are kept, more than {limit}",
                        cron_job["metadata"]["name"]
                    ));
                }
            }
        }
        for (_, job) in store.of("jobs") {
            if retention::expiry(store, job).is_some_and(|at| at <= store.seconds()) {
                return Err(format!("{} still exists after its TTL expired", job["metadata"]["name"]));
            }
            self.ended(job).map_err(|wrong| format!("{}: {wrong}: {}", job["metadata"]["name"], job["status"]))?;
        }
        Ok(())
    }

    /// Checks that the outcome of a Job follows from its pods.
    ///
    /// # Errors
    /// Returns the contradiction between the status and the pods.
    fn ended(&self, job: &Value) -> Result<(), String> {
        let truth = self.jobs.get(&uid(job)).ok_or("the Job was never observed")?;
        let pods: Vec<&PodTruth> = truth.made.iter().filter_map(|pod| self.pods.get(pod)).collect();
        let strict =
            !truth.disturbed && pods.iter().all(|pod| !pod.released_uncounted && !pod.deleted && pod.owners.len() == 1);
        let (succeeded, failed) = (number(job, "/status/succeeded"), number(job, "/status/failed"));
        let ended = pods.iter().filter(|pod| pod.succeeded.is_some() || pod.deleted).count() as i64;
        if succeeded + failed > ended {
            return Err(format!("{} pods are counted, but only {ended} are finished or deleted", succeeded + failed));
        }
        let completions = job["spec"]["completions"].as_i64();
        let ends = |wanted: bool| pods.iter().filter(|pod| pod.succeeded == Some(wanted)).count() as i64;
        let policy = &job["spec"]["successPolicy"];
        if has_condition(job, "Complete") {
            if let Some(completions) = completions
                && policy.is_null()
                && listed(job) == Listed::All
                && succeeded != completions
                && (strict || succeeded < completions)
            {
                return Err(format!("Complete with {succeeded} of {completions} completions"));
            }
            if strict && policy.is_null() && completions.is_none() && succeeded != ends(true) {
                return Err(format!("{} pods succeeded", ends(true)));
            }
            let counted = !has_rule(job, "Ignore");
            if strict && policy.is_null() && counted && failed != ends(false) {
                return Err(format!("{} pods failed", ends(false)));
            }
            return Ok(());
        }
        let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let failure = conditions.iter().find(|one| one["type"] == "Failed").ok_or("the Job is not finished")?;
        let limit = number(job, "/spec/backoffLimit");
        let is_justified = match failure["reason"].as_str().unwrap_or_default() {
            // With restart policy OnFailure, restarts of containers count too.
            "BackoffLimitExceeded" => {
                job["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure"
                    || failed > limit
                    || pods.iter().filter(|pod| pod.succeeded == Some(false) || pod.deleted).count() as i64 > limit
            }
            "DeadlineExceeded" => !job["spec"]["activeDeadlineSeconds"].is_null(),
            "PodFailurePolicy" => pods.iter().any(|pod| pod.exit_code == 42),
            "FailedIndexes" => !indexes(&job["status"]["failedIndexes"]).is_empty(),
            "MaxFailedIndexesExceeded" => {
                indexes(&job["status"]["failedIndexes"]).len() as i64 > number(job, "/spec/maxFailedIndexes")
            }
            reason => self.job_policies.can_have_failed(job, reason),
        };
        if is_justified { Ok(()) } else { Err("the reason of the failure does not apply".to_owned()) }
    }
}
