//! Namespaces that metrics have series for: all or those of a flag, and a bounded number of them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// Maximum number of namespaces with series of their own. The memory for a label value is never released.
const MAX_NAMESPACES: usize = 1000;
/// Value that replaces the further namespaces. No namespace has this name.
const OTHER: &str = "_other";

/// Namespaces that metrics have series for.
#[derive(Clone, Debug, Default)]
pub struct MetricScope {
    /// Namespaces to which the metrics are limited; none for all.
    only: Option<Arc<BTreeSet<String>>>,
    seen: Arc<Mutex<BTreeSet<String>>>,
}

impl MetricScope {
    /// Returns the scope of these namespaces, or of all if the list is empty.
    pub fn new(namespaces: &[String]) -> Self {
        let only = (!namespaces.is_empty()).then(|| Arc::new(namespaces.iter().cloned().collect()));
        Self { only, seen: Arc::default() }
    }

    /// Returns whether objects of a namespace have series.
    pub fn contains(&self, namespace: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(namespace))
    }

    /// Returns the label value for a namespace; none if it has no series.
    pub fn label(&self, namespace: &str) -> Option<Cow<'static, str>> {
        if !self.contains(namespace) {
            return None;
        }
        let mut seen = self.seen.lock();
        if !seen.contains(namespace) {
            if seen.len() >= MAX_NAMESPACES {
                return Some(OTHER.into());
            }
            seen.insert(namespace.to_owned());
        }
        Some(namespace.to_owned().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_namespaces_is_bounded() {
        let all = MetricScope::default();
        let labels: BTreeSet<_> = (0..2000).filter_map(|number| all.label(&format!("team-{number}"))).collect();
        assert_eq!(labels.len(), MAX_NAMESPACES + 1);
        assert_eq!(all.label("team-0").as_deref(), Some("team-0"), "a known namespace keeps its name");
        let one = MetricScope::new(&["a".to_owned()]);
        assert_eq!((one.label("a").as_deref(), one.label("b")), (Some("a"), None));
    }
}
