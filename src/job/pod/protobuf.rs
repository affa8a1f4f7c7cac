//! Construction of Pods in protobuf. Only the fields that change are read; the bytes of all other fields of the template
//! are copied.
//!
//! Of several values of one field, the last one counts, so a value is set by appending it. Field numbers are from
//! [`core/v1/generated.proto`](https://github.com/kubernetes/api/blob/master/core/v1/generated.proto) and
//! [`meta/v1/generated.proto`](https://github.com/kubernetes/apimachinery/blob/master/pkg/apis/meta/v1/generated.proto).

use super::{INDEX_FIELD_PATH, IndexedFields, MEMORY_ANNOTATION, RaisedFields};
use crate::job::view::JobView;
use crate::job::{API_VERSION, INDEX_ANNOTATION, INDEX_VARIABLE, KIND, TRACKING_FINALIZER};
use crate::runtime::codec::fields::{Fields, message, put, put_bool, put_entry, put_number};
use crate::runtime::codec::{DecodeError, Encoded, envelope};

/// Fields of a pod, and of a template.
mod pod {
    pub(super) const METADATA: u64 = 1;
    pub(super) const SPEC: u64 = 2;
}

/// Fields of the metadata.
mod metadata {
    pub(super) const GENERATE_NAME: u64 = 2;
    pub(super) const LABELS: u64 = 11;
    pub(super) const ANNOTATIONS: u64 = 12;
    pub(super) const OWNER_REFERENCES: u64 = 13;
    pub(super) const FINALIZERS: u64 = 14;
}

/// Fields of an owner reference.
mod owner {
    pub(super) const KIND: u64 = 1;
    pub(super) const NAME: u64 = 3;
    pub(super) const UID: u64 = 4;
    pub(super) const API_VERSION: u64 = 5;
    pub(super) const CONTROLLER: u64 = 6;
    pub(super) const BLOCK_OWNER_DELETION: u64 = 7;
}

/// Fields of the spec.
mod spec {
    pub(super) const CONTAINERS: u64 = 2;
    pub(super) const ACTIVE_DEADLINE_SECONDS: u64 = 5;
    pub(super) const HOSTNAME: u64 = 16;
    pub(super) const INIT_CONTAINERS: u64 = 20;
    pub(super) const SCHEDULING_GROUP: u64 = 43;
    /// Field of the scheduling group.
    pub(super) const POD_GROUP_NAME: u64 = 1;
}

/// Fields of a container.
mod container {
    pub(super) const NAME: u64 = 1;
    pub(super) const ENV: u64 = 7;
    pub(super) const RESOURCES: u64 = 8;
}

/// Fields of the resources of a container, of an entry in them, and of a quantity.
mod resources {
    pub(super) const LIMITS: u64 = 1;
    pub(super) const REQUESTS: u64 = 2;
    pub(super) const KEY: u64 = 1;
    pub(super) const VALUE: u64 = 2;
    pub(super) const TEXT: u64 = 1;
}

/// Fields of a variable of the environment, and of the messages in it.
mod env {
    pub(super) const NAME: u64 = 1;
    pub(super) const VALUE_FROM: u64 = 3;
    pub(super) const FIELD_REF: u64 = 1;
    pub(super) const FIELD_PATH: u64 = 2;
}

/// The messages of the metadata and of the spec that all pods of a Job share.
pub(super) struct Shared {
    metadata: Vec<u8>,
    generate_name: String,
    spec: Vec<u8>,
}

impl Shared {
    pub(super) fn new(
        job: &JobView,
        template: &[u8],
        group: Option<&str>,
        raised: &RaisedFields,
    ) -> Result<Self, DecodeError> {
        let mut spec = message(template, pod::SPEC)?;
        if job.is_indexed() {
            spec = with_index_env(&spec)?;
        }
        let mut metadata = shared_metadata(job, &message(template, pod::METADATA)?)?;
        if !raised.containers.is_empty() {
            put_entry(&mut metadata, metadata::ANNOTATIONS, MEMORY_ANNOTATION, &raised.annotation);
            spec = with_memory(&spec, raised)?;
        }
        if let Some(seconds) = raised.deadline_seconds {
            put_number(&mut spec, spec::ACTIVE_DEADLINE_SECONDS, seconds.into());
        }
        if let Some(group) = group {
            let mut scheduling_group = Vec::new();
            put(&mut scheduling_group, spec::POD_GROUP_NAME, group.as_bytes());
            put(&mut spec, spec::SCHEDULING_GROUP, &scheduling_group);
        }
        Ok(Self { metadata, generate_name: format!("{}-", job.identity.name), spec })
    }

    /// Returns the body of the request that creates a pod.
    pub(super) fn pod(&self, indexed: Option<&IndexedFields>) -> Encoded {
        let (mut metadata, mut spec) = (self.metadata.clone(), self.spec.clone());
        let generate_name = indexed.map_or(&self.generate_name, |indexed| &indexed.generate_name);
        put(&mut metadata, metadata::GENERATE_NAME, generate_name.as_bytes());
        if let Some(indexed) = indexed {
            put_entry(&mut metadata, metadata::LABELS, INDEX_ANNOTATION, &indexed.index);
            for (key, value) in &indexed.annotations {
                put_entry(&mut metadata, metadata::ANNOTATIONS, key, value);
            }
            put(&mut spec, spec::HOSTNAME, indexed.hostname.as_bytes());
        }
        let mut pod = Vec::with_capacity(metadata.len() + spec.len() + 16);
        put(&mut pod, pod::METADATA, &metadata);
        put(&mut pod, pod::SPEC, &spec);
        envelope::seal("v1", "Pod", pod)
    }
}

/// Returns the labels, annotations and finalizers of the template, the tracking finalizer, and the owner.
fn shared_metadata(job: &JobView, given: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut shared = Vec::with_capacity(given.len() + 256);
    let mut tracked = false;
    for field in Fields::of(given) {
        let field = field?;
        if matches!(field.number, metadata::LABELS | metadata::ANNOTATIONS | metadata::FINALIZERS) {
            shared.extend_from_slice(field.bytes);
        }
        tracked |= field.number == metadata::FINALIZERS && field.content == Some(TRACKING_FINALIZER.as_bytes());
    }
    if !tracked {
        put(&mut shared, metadata::FINALIZERS, TRACKING_FINALIZER.as_bytes());
    }
    let mut owner = Vec::new();
    put(&mut owner, owner::KIND, KIND.as_bytes());
    put(&mut owner, owner::NAME, job.identity.name.as_bytes());
    put(&mut owner, owner::UID, job.identity.uid.text().as_bytes());
    put(&mut owner, owner::API_VERSION, API_VERSION.as_bytes());
    put_bool(&mut owner, owner::CONTROLLER, true);
    put_bool(&mut owner, owner::BLOCK_OWNER_DELETION, true);
    put(&mut shared, metadata::OWNER_REFERENCES, &owner);
    Ok(shared)
}

/// Returns a spec in which these bytes, if any, are appended to each of its containers.
fn with_containers(
    given: &[u8],
    appended: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, DecodeError>,
) -> Result<Vec<u8>, DecodeError> {
    let mut spec = Vec::with_capacity(given.len() + 256);
    for field in Fields::of(given) {
        let field = field?;
        let container = field.content.filter(|_| matches!(field.number, spec::CONTAINERS | spec::INIT_CONTAINERS));
        let appended = container.map(&appended).transpose()?.flatten();
        match (container, appended) {
            (Some(container), Some(appended)) => put(&mut spec, field.number, &[container, &appended].concat()),
            _ => spec.extend_from_slice(field.bytes),
        }
    }
    Ok(spec)
}

/// Returns a spec with the variable that holds the pod's index in every container that does not define that variable.
fn with_index_env(given: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut variable = Vec::new();
    put(&mut variable, container::ENV, &index_variable());
    with_containers(given, |container| Ok((!defines_index_variable(container)?).then(|| variable.clone())))
}

/// Returns a spec in which these containers have another memory. Of several values of a resource the last one counts.
fn with_memory(given: &[u8], raised: &RaisedFields) -> Result<Vec<u8>, DecodeError> {
    with_containers(given, |container| {
        let name = message(container, container::NAME)?;
        let Some((_, limit, request)) = raised.containers.iter().find(|(container, ..)| container.as_bytes() == name)
        else {
            return Ok(None);
        };
        let mut resources = Vec::new();
        for (number, size) in [(resources::LIMITS, limit), (resources::REQUESTS, request)] {
            if let Some(size) = size {
                put(&mut resources, number, &memory_entry(size));
            }
        }
        let mut appended = Vec::new();
        put(&mut appended, container::RESOURCES, &resources);
        Ok(Some(appended))
    })
}

/// Returns the entry that sets the memory in a list of resources.
fn memory_entry(size: &str) -> Vec<u8> {
    let (mut quantity, mut entry) = (Vec::new(), Vec::new());
    put(&mut quantity, resources::TEXT, size.as_bytes());
    put(&mut entry, resources::KEY, b"memory");
    put(&mut entry, resources::VALUE, &quantity);
    entry
}

fn defines_index_variable(container: &[u8]) -> Result<bool, DecodeError> {
    for field in Fields::of(container) {
        let field = field?;
        if let Some(variable) = field.content.filter(|_| field.number == container::ENV)
            && message(variable, env::NAME)? == INDEX_VARIABLE.as_bytes()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn index_variable() -> Vec<u8> {
    let (mut field_ref, mut value_from, mut variable) = (Vec::new(), Vec::new(), Vec::new());
    put(&mut field_ref, env::FIELD_PATH, INDEX_FIELD_PATH.as_bytes());
    put(&mut value_from, env::FIELD_REF, &field_ref);
    put(&mut variable, env::NAME, INDEX_VARIABLE.as_bytes());
    put(&mut variable, env::VALUE_FROM, &value_from);
    variable
}

#[cfg(test)]
mod tests {
    use super::super::PodBuilder;
    use super::*;
    use crate::job::decide::fixtures::Job;
    use crate::job::decide::{NewPod, Raised};
    use crate::job::template::WireTemplate;
    use crate::job::view::IndexFailures;
    use crate::job::view::memory::MemorySizes;
    use crate::job::{IGNORED_FAILURES_ANNOTATION, INDEX_FAILURES_ANNOTATION};

    /// Number of a field that no version of Kubernetes has.
    const FUTURE: u64 = 4000;

    fn built(job: Job, template: &[u8], new: &NewPod) -> (Vec<u8>, Vec<u8>) {
        let mut view = job.view;
        view.template.wire = Some(WireTemplate::Protobuf(template.into()));
        let body = PodBuilder::new(&view, None, &Raised::default()).unwrap().pod(new).unwrap();
        let pod = envelope::open(body.bytes.into()).unwrap().raw;
        (message(&pod, pod::METADATA).unwrap(), message(&pod, pod::SPEC).unwrap())
    }

    fn contents(message: &[u8], number: u64) -> Vec<Vec<u8>> {
        let fields = Fields::of(message).map(Result::unwrap).filter(|field| field.number == number);
        fields.map(|field| field.content.unwrap().to_vec()).collect()
    }

    fn template(metadata: &[u8], spec: &[u8]) -> Vec<u8> {
        let mut template = Vec::new();
        put(&mut template, pod::METADATA, metadata);
        put(&mut template, pod::SPEC, spec);
        template
    }

    fn entry(key: &str, value: &str) -> Vec<u8> {
        let mut map = Vec::new();
        put_entry(&mut map, 1, key, value);
        contents(&map, 1).remove(0)
    }

    #[test]
    fn spec_of_a_pod_without_an_index_is_the_spec_of_the_template_byte_for_byte() {
        let mut spec = Vec::new();
        put(&mut spec, spec::CONTAINERS, b"\x0a\x01a");
        put(&mut spec, spec::HOSTNAME, b"mine");
        put(&mut spec, FUTURE, b"\xff\xfe");
        put_bool(&mut spec, FUTURE + 1, true);
        assert_eq!(built(Job::new(), &template(b"", &spec), &NewPod::default()).1, spec);
    }

    #[test]
    fn pod_of_a_group_has_the_spec_of_the_template_and_the_name_of_the_group() {
        let mut spec = Vec::new();
        put(&mut spec, spec::CONTAINERS, b"\x0a\x01a");
        let mut view = Job::new().view;
        view.template.wire = Some(WireTemplate::Protobuf(template(b"", &spec).as_slice().into()));
        let body =
            PodBuilder::new(&view, Some("train-g"), &Raised::default()).unwrap().pod(&NewPod::default()).unwrap();
        let pod = envelope::open(body.bytes.into()).unwrap().raw;
        put(&mut spec, spec::SCHEDULING_GROUP, b"\x0a\x07train-g");
        assert_eq!(message(&pod, pod::SPEC).unwrap(), spec);
        let metadata = message(&pod, pod::METADATA).unwrap();
        assert_eq!(contents(&metadata, metadata::OWNER_REFERENCES).len(), 1);
    }

    #[test]
    fn metadata_has_labels_annotations_and_finalizers_of_the_template_and_nothing_else() {
        let mut given = Vec::new();
        put(&mut given, 1, b"name");
        put_entry(&mut given, metadata::LABELS, "app", "a");
        put_entry(&mut given, metadata::ANNOTATIONS, "note", "b");
        put(&mut given, metadata::FINALIZERS, b"example.com/mine");
        let (metadata, _) = built(Job::new(), &template(&given, b""), &NewPod::default());
        assert_eq!(contents(&metadata, 1), Vec::<Vec<u8>>::new());
        assert_eq!(contents(&metadata, metadata::LABELS), [entry("app", "a")]);
        assert_eq!(contents(&metadata, metadata::ANNOTATIONS), [entry("note", "b")]);
        let finalizers = [b"example.com/mine".to_vec(), TRACKING_FINALIZER.into()];
        assert_eq!(contents(&metadata, metadata::FINALIZERS), finalizers);
        assert_eq!(contents(&metadata, metadata::GENERATE_NAME), [b"job-".to_vec()]);
        assert_eq!(contents(&metadata, metadata::OWNER_REFERENCES).len(), 1);
        put(&mut given, metadata::FINALIZERS, TRACKING_FINALIZER.as_bytes());
        let (metadata, _) = built(Job::new(), &template(&given, b""), &NewPod::default());
        assert_eq!(contents(&metadata, metadata::FINALIZERS), finalizers, "the finalizer is not added twice");
    }

    #[test]
    fn pod_of_an_index_keeps_the_unknown_fields_of_its_containers() {
        let (mut defines, mut plain) = (Vec::new(), Vec::new());
        let mut own = Vec::new();
        put(&mut own, env::NAME, INDEX_VARIABLE.as_bytes());
        put(&mut defines, container::ENV, &own);
        put(&mut plain, FUTURE, b"kept");
        let mut other = Vec::new();
        put(&mut other, env::NAME, b"A");
        put(&mut plain, container::ENV, &other);
        let mut spec = Vec::new();
        put(&mut spec, spec::INIT_CONTAINERS, &plain);
        put(&mut spec, spec::CONTAINERS, &defines);
        put(&mut spec, spec::CONTAINERS, &plain);
        let failures = Some(IndexFailures { counted: 2, ignored: 1 });
        let new = NewPod { index: Some(7), failures };
        let (metadata, built) = built(Job::new().indexed(9), &template(b"", &spec), &new);
        let mut injected = plain.clone();
        put(&mut injected, container::ENV, &index_variable());
        assert_eq!(contents(&built, spec::INIT_CONTAINERS), [injected.clone()]);
        assert_eq!(contents(&built, spec::CONTAINERS), [defines, injected]);
        assert_eq!(contents(&built, spec::HOSTNAME), [b"job-7".to_vec()]);
        assert_eq!(contents(&metadata, metadata::GENERATE_NAME), [b"job-7-".to_vec()]);
        assert_eq!(contents(&metadata, metadata::LABELS), [entry(INDEX_ANNOTATION, "7")]);
        let annotations = [
            entry(INDEX_ANNOTATION, "7"),
            entry(INDEX_FAILURES_ANNOTATION, "2"),
            entry(IGNORED_FAILURES_ANNOTATION, "1"),
        ];
        assert_eq!(contents(&metadata, metadata::ANNOTATIONS), annotations);
    }

    #[test]
    fn raised_memory_is_the_last_value_of_the_resource_and_other_bytes_are_kept() {
        let (mut limits, mut container) = (Vec::new(), Vec::new());
        put(&mut limits, resources::LIMITS, &memory_entry("100Mi"));
        put(&mut limits, resources::REQUESTS, &memory_entry("50Mi"));
        put(&mut container, container::NAME, b"main");
        put(&mut container, container::RESOURCES, &limits);
        put(&mut container, FUTURE, b"kept");
        let mut spec = Vec::new();
        put(&mut spec, spec::CONTAINERS, &container);
        put(&mut spec, spec::CONTAINERS, b"\x0a\x05other");
        let mut view = Job::new().view;
        view.template.wire = Some(WireTemplate::Protobuf(template(b"", &spec).as_slice().into()));
        let memory = view.template_memory();
        assert_eq!((memory[0].limit, memory[0].request, memory[1].size()), (Some(100 << 20), Some(50 << 20), None));
        let sizes = MemorySizes::from_iter([("main".into(), 200 << 20)]);
        let raised = Raised { memory: Some(sizes.clone()), deadline_seconds: Some(300) };
        let body = PodBuilder::new(&view, None, &raised).unwrap().pod(&NewPod::default()).unwrap();
        let pod = envelope::open(body.bytes.into()).unwrap().raw;
        let built = message(&pod, pod::SPEC).unwrap();
        let deadlines =
            Fields::of(&built).map(Result::unwrap).filter(|field| field.number == spec::ACTIVE_DEADLINE_SECONDS);
        assert_eq!(deadlines.last().unwrap().bytes, [5 << 3, 0xac, 0x02]);
        let containers = contents(&built, spec::CONTAINERS);
        assert_eq!(containers[1], b"\x0a\x05other");
        assert_eq!(contents(&containers[0], FUTURE), [b"kept".to_vec()]);
        let added = contents(&containers[0], container::RESOURCES).remove(1);
        assert_eq!(contents(&added, resources::LIMITS), [memory_entry("200Mi")]);
        assert_eq!(contents(&added, resources::REQUESTS), [memory_entry("100Mi")]);
        view.template.wire = Some(WireTemplate::Protobuf(template(b"", &built).as_slice().into()));
        assert_eq!(view.template_memory()[0].limit, Some(200 << 20), "the last value counts");
        let metadata = message(&pod, pod::METADATA).unwrap();
        assert_eq!(contents(&metadata, metadata::ANNOTATIONS), [entry(MEMORY_ANNOTATION, &sizes.text())]);
    }

    #[test]
    fn invalid_template_is_an_error() {
        let mut view = Job::new().indexed(3).view;
        for invalid in [&b"\x0a"[..], b"\x0a\x05a", b"\x12\x02\x12\x09", b"\x08\x01\x0b"] {
            view.template.wire = Some(WireTemplate::Protobuf(invalid.into()));
            assert!(PodBuilder::new(&view, None, &Raised::default()).is_err(), "{invalid:?}");
        }
    }
}
