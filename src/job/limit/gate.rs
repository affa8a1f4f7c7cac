//! What the Job controller knows of whose turn it is. A namespace without limits costs nothing.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Waiting;
use super::admission::{Candidate, Verdict, admit};
use super::view::LimitView;
use crate::runtime::cache::Cache;
use crate::runtime::identity::Uid;

/// Whose turn it is.
#[derive(Default)]
pub struct Gate {
    /// All limits.
    pub limits: Cache<LimitView>,
    /// By namespace; only of those with limits.
    verdicts: Mutex<HashMap<Arc<str>, HashMap<Uid, Verdict>>>,
    /// The namespaces that are to be looked at again, and the Jobs there of which nothing is known and somebody asked.
    stale: Mutex<HashMap<Arc<str>, HashSet<Uid>>>,
    news: Notify,
}

/// Whether a Job may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pass {
    /// It may.
    Open,
    /// That is not known yet; it comes again when it is.
    Unknown,
    /// It may not.
    Waits(Waiting),
}

impl Gate {
    /// Whether this Job may go on.
    pub fn pass(&self, namespace: &str, job: &Uid) -> Pass {
        let verdicts = self.verdicts();
        let Some(known) = verdicts.get(namespace) else { return Pass::Open };
        match known.get(job) {
            Some(Verdict::Admitted) => Pass::Open,
            Some(Verdict::Waits(waiting)) => Pass::Waits(waiting.clone()),
            None => match self.stale().get_mut(namespace) {
                Some(asked) => {
                    asked.insert(job.clone());
                    Pass::Unknown
                }
                None => Pass::Open,
            },
        }
    }

    /// Something happened in this namespace that may concern its limits, if it has any.
    pub fn touch(&self, namespace: &Arc<str>) {
        let verdicts = self.verdicts();
        if verdicts.contains_key(namespace) {
            self.stale().entry(namespace.clone()).or_default();
            self.news.notify_one();
        }
    }

    /// A limit of this namespace came, changed or went.
    pub fn limits_changed(&self, namespace: &Arc<str>) {
        self.verdicts().entry(namespace.clone()).or_default();
        self.touch(namespace);
    }

    /// Resolves when a namespace is to be looked at again.
    pub async fn stale_namespaces(&self) -> Vec<Arc<str>> {
        loop {
            let news = self.news.notified();
            let stale: Vec<Arc<str>> = self.stale().keys().cloned().collect();
            if !stale.is_empty() {
                return stale;
            }
            news.await;
        }
    }

    /// Looks at a namespace again; tells of which Jobs something else is known now. `candidates` are its Jobs; who was let
    /// through before is under way.
    pub fn judge(
        &self,
        namespace: &Arc<str>,
        candidates: impl FnOnce(&dyn Fn(&Uid) -> bool) -> Vec<Candidate>,
    ) -> Vec<Uid> {
        // Nobody may pass while it is being found out who may.
        let mut verdicts = self.verdicts();
        // What happens from here on is looked at the next time.
        let asked = self.stale().remove(namespace).unwrap_or_default();
        let before = verdicts.get(namespace).cloned().unwrap_or_default();
        let admitted = |uid: &Uid| before.get(uid) == Some(&Verdict::Admitted);
        let limits = self.limits.all(|limit| limit.identity.namespace == *namespace);
        let now = if limits.is_empty() { HashMap::new() } else { admit(&limits, candidates(&admitted)) };
        let changed = |uid: &&Uid| before.get(*uid) != now.get(*uid) || asked.contains(*uid);
        let of: HashSet<&Uid> = before.keys().chain(now.keys()).chain(&asked).collect();
        let mut changed: Vec<Uid> = of.into_iter().filter(changed).cloned().collect();
        changed.sort();
        if limits.is_empty() {
            verdicts.remove(namespace);
        } else {
            verdicts.insert(namespace.clone(), now);
        }
        changed
    }

    /// Forgets everything that followed from what others did.
    pub fn clear(&self) {
        self.verdicts().clear();
        self.stale().clear();
    }

    fn verdicts(&self) -> MutexGuard<'_, HashMap<Arc<str>, HashMap<Uid, Verdict>>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stale(&self) -> MutexGuard<'_, HashMap<Arc<str>, HashSet<Uid>>> {
        self.stale.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::super::view::WireJobLimit;
    use super::*;
    use crate::job::view::Labels;
    use crate::runtime::cache::Source;

    fn limit(jobs: i32, version: u32) -> LimitView {
        let metadata = json!({"name": "l", "namespace": "n", "uid": "l", "resourceVersion": version.to_string()});
        let wire = json!({"metadata": metadata, "spec": {"maxActiveJobs": jobs}});
        let wire: WireJobLimit = serde_json::from_str(&wire.to_string()).unwrap();
        LimitView::parse(wire).unwrap()
    }

    fn job(name: &str, active: bool) -> Candidate {
        let created = Timestamp::UNIX_EPOCH;
        Candidate { uid: name.into(), name: name.into(), labels: Labels::new(), priority: 0, created, pods: 1, active }
    }

    #[test]
    fn nobody_passes_a_limit_that_was_not_looked_at_and_whoever_asked_comes_again() {
        let (gate, namespace): (Gate, Arc<str>) = (Gate::default(), "n".into());
        let (a, b) = (Uid::from("a"), Uid::from("b"));
        assert_eq!(gate.pass("n", &a), Pass::Open, "there is no limit");
        gate.touch(&namespace);
        assert_eq!(gate.pass("n", &a), Pass::Open);
        gate.limits.apply(limit(1, 1), Source::Watch);
        gate.limits_changed(&namespace);
        assert_eq!(gate.pass("n", &Uid::from("other")), Pass::Unknown);
        let both =
            |admitted: &dyn Fn(&Uid) -> bool| vec![job("a", admitted(&"a".into())), job("b", admitted(&"b".into()))];
        assert_eq!(gate.judge(&namespace, both), [a.clone(), b.clone(), "other".into()]);
        assert_eq!(gate.pass("n", &a), Pass::Open);
        assert!(matches!(gate.pass("n", &b), Pass::Waits(waiting) if waiting.position == 1));
        assert_eq!(gate.pass("n", &"other".into()), Pass::Open, "no limit is for it");
        // One that was let through is not sent back by another that would be before it.
        let others =
            |admitted: &dyn Fn(&Uid) -> bool| vec![job("0", false), job("a", admitted(&"a".into())), job("b", false)];
        gate.touch(&namespace);
        gate.judge(&namespace, others);
        assert_eq!(gate.pass("n", &a), Pass::Open);
        gate.limits.remove(&"l".into());
        gate.limits_changed(&namespace);
        assert_eq!(gate.judge(&namespace, both), ["0".into(), a, b.clone()]);
        assert_eq!(gate.pass("n", &b), Pass::Open, "the limit is gone");
    }
}
