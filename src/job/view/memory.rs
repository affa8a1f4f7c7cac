//! Memory of the containers of a Job that are retried with more of it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::job::wire::WirePodStatus;
use crate::runtime::quantity;
use crate::runtime::text::beginning;

/// Annotation of a Job, and of its pods, with the memory of the containers that were raised.
pub const MEMORY_ANNOTATION: &str = "jobwright.dev/memory";
/// Reason of a container that exceeded its memory.
const OOM_KILLED: &str = "OOMKilled";
/// Maximum number of containers that are kept.
const MAX_CONTAINERS: usize = 64;
/// Maximum number of bytes of the name of a container.
const MAX_NAME: usize = 63;

/// Memory of containers in bytes, by their names. The text is JSON, such as `{"main":"3Gi"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemorySizes(BTreeMap<Box<str>, u64>);

impl MemorySizes {
    /// Parses the annotation. An entry that is not valid is left out.
    pub fn parse(text: &str) -> Self {
        let entries: BTreeMap<String, Value> = serde_json::from_str(text).unwrap_or_default();
        let valid = entries.into_iter().filter_map(|(name, size)| {
            let size = quantity::bytes(size.as_str()?)?;
            (name.len() <= MAX_NAME).then(|| (name.into(), size))
        });
        Self(valid.take(MAX_CONTAINERS).collect())
    }

    /// Returns the text of the annotation.
    pub fn text(&self) -> String {
        let texts: BTreeMap<&str, String> =
            self.0.iter().map(|(name, size)| (&**name, quantity::text(*size))).collect();
        serde_json::to_string(&texts).unwrap_or_default()
    }

    /// Returns the memory of a container.
    pub fn of(&self, container: &str) -> Option<u64> {
        self.0.get(container).copied()
    }

    /// Raises the memory of a container to this size, if it has less.
    pub fn raise(&mut self, container: &str, size: u64) {
        if self.0.len() < MAX_CONTAINERS || self.0.contains_key(container) {
            let present = self.0.entry(container.into()).or_insert(size);
            *present = size.max(*present);
        }
    }

    /// Returns the containers with their memory.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, size)| (&**name, *size))
    }

    /// Returns whether there is no container.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Box<str>, u64)> for MemorySizes {
    fn from_iter<T: IntoIterator<Item = (Box<str>, u64)>>(sizes: T) -> Self {
        Self(sizes.into_iter().collect())
    }
}

/// Memory of a container in a template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerMemory {
    /// Name of the container.
    pub name: String,
    /// Limit in bytes.
    pub limit: Option<u64>,
    /// Request in bytes.
    pub request: Option<u64>,
}

impl ContainerMemory {
    /// Returns the size that counts: the limit, or else the request. None if the template sets neither.
    pub fn size(&self) -> Option<u64> {
        self.limit.or(self.request)
    }

    /// Returns limit and request of a container that gets this size. What the template does not set stays unset, and the
    /// request stays the same part of the limit, so that the QoS class of the pod stays the same.
    pub fn resized(&self, size: u64) -> (Option<u64>, Option<u64>) {
        let request = match (self.limit, self.request) {
            (Some(limit), Some(request)) if limit > 0 => {
                let scaled = u128::from(request) * u128::from(size) / u128::from(limit);
                Some(u64::try_from(scaled).unwrap_or(size).min(size))
            }
            (_, request) => request.map(|_| size),
        };
        (self.limit.map(|_| size), request)
    }
}

/// A container that exceeded its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OomKilled {
    /// Name of the container.
    pub container: Box<str>,
    /// Memory of the container in bytes, if it was raised. Otherwise, it is that of the template.
    pub raised: Option<u64>,
}

/// Returns the containers of a pod that exceeded their memory: app containers, init containers and sidecars.
pub(super) fn oom_killed(status: &WirePodStatus, annotations: Option<&BTreeMap<String, String>>) -> Vec<OomKilled> {
    let containers = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let killed = containers.filter(|container| {
        let ends = [&container.state, &container.last_state].into_iter().filter_map(|state| state.terminated.as_ref());
        ends.into_iter().any(|end| end.reason.as_deref() == Some(OOM_KILLED))
    });
    let names: Vec<Box<str>> = killed.map(|container| beginning(&container.name, MAX_NAME).into()).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let sizes = annotations.and_then(|annotations| annotations.get(MEMORY_ANNOTATION));
    let sizes = sizes.map(|text| MemorySizes::parse(text)).unwrap_or_default();
    names.into_iter().map(|container| OomKilled { raised: sizes.of(&container), container }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_are_parsed_as_they_are_written_and_invalid_ones_are_left_out() {
        let sizes = MemorySizes::parse(r#"{"main":"3Gi","side":"1.5Gi","bad":"many","number":7}"#);
        assert_eq!((sizes.of("main"), sizes.of("bad"), sizes.of("number")), (Some(3 << 30), None, None));
        assert_eq!(sizes.text(), r#"{"main":"3Gi","side":"1536Mi"}"#);
        assert_eq!(MemorySizes::parse(&sizes.text()), sizes);
        for text in ["", "[]", "3Gi", "{"] {
            assert!(MemorySizes::parse(text).is_empty(), "{text}");
        }
        let many: BTreeMap<String, &str> = (0..1000).map(|number| (format!("c{number}"), "1Gi")).collect();
        assert_eq!(MemorySizes::parse(&json!(many).to_string()).iter().count(), MAX_CONTAINERS);
    }

    #[test]
    fn size_is_only_raised() {
        let mut sizes = MemorySizes::default();
        for (size, expected) in [(5, 5), (3, 5), (9, 9)] {
            sizes.raise("main", size);
            assert_eq!(sizes.of("main"), Some(expected));
        }
    }

    #[test]
    fn request_stays_the_same_part_of_the_limit_and_what_is_unset_stays_unset() {
        let resized = |limit, request| ContainerMemory { name: "main".to_owned(), limit, request }.resized(400);
        assert_eq!(resized(Some(100), Some(100)), (Some(400), Some(400)), "Guaranteed");
        assert_eq!(resized(Some(100), Some(25)), (Some(400), Some(100)), "Burstable");
        assert_eq!(resized(Some(100), None), (Some(400), None), "the API server sets the request to the limit");
        assert_eq!(resized(None, Some(100)), (None, Some(400)));
        assert_eq!(resized(None, None), (None, None), "BestEffort");
        assert_eq!(resized(Some(0), Some(0)), (Some(400), Some(400)));
    }

    #[test]
    fn killed_containers_of_every_kind_are_found_with_their_size() {
        let ended = |reason: &str| json!({"terminated": {"exitCode": 137, "reason": reason}});
        let status = json!({
            "containerStatuses": [
                {"name": "main", "state": ended("OOMKilled")}, {"name": "other", "state": ended("Error")},
            ],
            "initContainerStatuses": [{"name": "sidecar", "state": {"running": {}}, "lastState": ended("OOMKilled")}],
        });
        let status: WirePodStatus = serde_json::from_str(&status.to_string()).unwrap();
        let annotations = [(MEMORY_ANNOTATION.to_owned(), r#"{"main":"2Gi"}"#.to_owned())].into();
        let killed = oom_killed(&status, Some(&annotations));
        let expected = [("main", Some(2 << 30)), ("sidecar", None)];
        let found: Vec<(&str, Option<u64>)> = killed.iter().map(|one| (&*one.container, one.raised)).collect();
        assert_eq!(found, expected);
        assert!(oom_killed(&WirePodStatus::default(), Some(&annotations)).is_empty());
    }
}
