//! What namespaces say of how long their finished Jobs are kept.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};

use crate::job::view::retention::Retention;

/// What namespaces say; only those that say something are kept.
#[derive(Default)]
pub struct Namespaces {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: bool,
    by_name: HashMap<String, Retention>,
    /// A list that is not complete yet.
    listing: HashMap<String, Retention>,
}

impl Namespaces {
    /// What a namespace says; none as long as that is not known.
    pub fn of(&self, name: &str) -> Option<Retention> {
        let state = self.state();
        state.known.then(|| state.by_name.get(name).cloned().unwrap_or_default())
    }

    /// All say nothing, as where they cannot be read.
    pub fn assume_silent(&self) {
        self.state().known = true;
    }

    /// Keeps it in step with the API server for as long as it is polled, and tells of each namespace that says something
    /// else; of none if that may be all.
    pub async fn watch(&self, client: Client, changed: impl Fn(Option<&str>)) {
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client);
        let stream = watcher(namespaces, watcher::Config::default()).default_backoff();
        let mut stream = std::pin::pin!(stream);
        let mut failing = false;
        loop {
            match stream.try_next().await {
                Ok(Some(event)) => {
                    failing = false;
                    self.take(event, &changed);
                }
                Ok(None) => return,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "the watch of namespaces broke; trying again until it holds");
                    }
                }
            }
        }
    }

    fn take(&self, event: Event<PartialObjectMeta<Namespace>>, changed: &impl Fn(Option<&str>)) {
        let mut state = self.state();
        match event {
            Event::Init => state.listing.clear(),
            Event::InitApply(namespace) => {
                let retention = read(&namespace);
                if !retention.is_silent() {
                    state.listing.insert(namespace.name_any(), retention);
                }
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut state.listing);
                let same = state.known && state.by_name == listed;
                (state.by_name, state.known) = (listed, true);
                drop(state);
                if !same {
                    changed(None);
                }
            }
            Event::Apply(namespace) => {
                let (name, retention) = (namespace.name_any(), read(&namespace));
                let before = if retention.is_silent() {
                    state.by_name.remove(&name)
                } else {
                    state.by_name.insert(name.clone(), retention.clone())
                };
                drop(state);
                if before.unwrap_or_default() != retention {
                    changed(Some(&name));
                }
            }
            Event::Delete(namespace) => {
                state.by_name.remove(&namespace.name_any());
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(namespace: &PartialObjectMeta<Namespace>) -> Retention {
    Retention::parse(Some(namespace.annotations()))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::job::view::retention::AFTER_SUCCESS;

    fn namespace(name: &str, seconds: Option<&str>) -> PartialObjectMeta<Namespace> {
        let annotations = seconds.map(|seconds| json!({AFTER_SUCCESS: seconds}));
        let text =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "annotations": annotations}});
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn changes_are_told_once_and_nothing_is_known_before_the_first_list() {
        let namespaces = Namespaces::default();
        let told = RefCell::new(Vec::new());
        let take =
            |event| namespaces.take(event, &|name: Option<&str>| told.borrow_mut().push(name.map(str::to_owned)));
        let success = |name: &str| namespaces.of(name).and_then(|retention| retention.after_success);
        for _ in 0..2 {
            take(Event::Init);
            take(Event::InitApply(namespace("a", Some("5"))));
            take(Event::InitApply(namespace("b", None)));
            if told.borrow().is_empty() {
                assert_eq!(namespaces.of("a"), None);
            }
            take(Event::InitDone);
        }
        assert_eq!((success("a"), success("b")), (Some(Duration::from_secs(5)), None));
        assert_eq!(namespaces.of("b"), Some(Retention::default()));
        take(Event::Apply(namespace("b", Some("7"))));
        take(Event::Apply(namespace("b", Some("7"))));
        take(Event::Apply(namespace("a", None)));
        take(Event::Delete(namespace("b", Some("7"))));
        assert_eq!((success("a"), success("b")), (None, None));
        assert_eq!(*told.borrow(), [None, Some("b".to_owned()), Some("a".to_owned())]);
    }
}
