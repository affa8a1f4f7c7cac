//! What the API server refuses in the pod template of a Job: the checks that need nothing but the manifest.
//!
//! See <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/>.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, EnvVar, PodSpec, PodTemplateSpec, ResourceRequirements, Toleration, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use super::syntax::{
    is_config_key, is_label, is_port_name, is_qualified_name, is_subdomain, is_variable, of_annotation_keys, of_labels,
    quantity,
};

/// Returns the messages for a pod template at the path `at`.
pub(super) fn of_template(template: &PodTemplateSpec, at: &str) -> Vec<String> {
    let metadata = template.metadata.as_ref();
    let mut messages =
        of_labels(metadata.and_then(|metadata| metadata.labels.as_ref()), &format!("{at}.metadata.labels"));
    let annotations = metadata.and_then(|metadata| metadata.annotations.as_ref());
    messages.extend(of_annotation_keys(annotations, &format!("{at}.metadata.annotations")));
    match &template.spec {
        Some(pod) => messages.extend(of_pod(pod, &format!("{at}.spec"))),
        None => messages.push(format!("{at}.spec is required")),
    }
    messages
}

fn of_pod(pod: &PodSpec, at: &str) -> Vec<String> {
    let mut messages = Vec::new();
    match pod.restart_policy.as_deref().filter(|policy| !policy.is_empty()) {
        Some("Never" | "OnFailure") => {}
        None => messages
            .push(format!("{at}.restartPolicy must be set to Never or OnFailure; its default, Always, is refused")),
        Some(policy) => messages.push(format!("{at}.restartPolicy {policy:?} must be Never or OnFailure")),
    }
    one_of(&mut messages, pod.dns_policy.as_deref(), DNS_POLICIES, &format!("{at}.dnsPolicy"));
    if pod.active_deadline_seconds.is_some_and(|seconds| !(1..=i64::from(i32::MAX)).contains(&seconds)) {
        messages.push(format!("{at}.activeDeadlineSeconds must be at least 1"));
    }
    if let Some(account) = pod.service_account_name.as_deref().filter(|name| !name.is_empty() && !is_subdomain(name)) {
        messages.push(format!("{at}.serviceAccountName {account:?} is not a name"));
    }
    messages.extend(of_labels(pod.node_selector.as_ref(), &format!("{at}.nodeSelector")));
    for (place, toleration) in pod.tolerations.iter().flatten().enumerate() {
        messages.extend(of_toleration(toleration, &format!("{at}.tolerations[{place}]")));
    }
    messages.extend(of_containers(pod, at));
    messages.extend(of_volumes(pod.volumes.as_deref().unwrap_or_default(), at));
    messages
}

const DNS_POLICIES: &[&str] = &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];

/// Adds a message if the value is none of these.
fn one_of(messages: &mut Vec<String>, value: Option<&str>, values: &[&str], at: &str) {
    // An empty text stands for the default.
    if let Some(value) = value.filter(|value| !value.is_empty() && !values.contains(value)) {
        messages.push(format!("{at} {value:?} must be one of {}", values.join(", ")));
    }
}

fn of_toleration(toleration: &Toleration, at: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let key = toleration.key.as_deref().unwrap_or_default();
    if !key.is_empty() && !is_qualified_name(key) {
        messages.push(format!("{at}.key {key:?} is not the key of a taint"));
    }
    let operator = toleration.operator.as_deref().unwrap_or_default();
    one_of(&mut messages, Some(operator), &["Exists", "Equal"], &format!("{at}.operator"));
    if key.is_empty() && operator != "Exists" {
        messages.push(format!("{at}.operator must be Exists without a key"));
    }
    let value = toleration.value.as_deref().unwrap_or_default();
    if operator == "Exists" && !value.is_empty() {
        messages.push(format!("{at}.value must be left out with operator: Exists"));
    }
    if operator != "Exists" && !super::syntax::is_label_value(value) {
        messages.push(format!("{at}.value {value:?} is not the value of a taint"));
    }
    let effects = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
    one_of(&mut messages, toleration.effect.as_deref(), effects, &format!("{at}.effect"));
    if toleration.toleration_seconds.is_some() && toleration.effect.as_deref() != Some("NoExecute") {
        messages.push(format!("{at}.tolerationSeconds requires effect: NoExecute"));
    }
    messages
}

fn of_containers(pod: &PodSpec, at: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if pod.containers.is_empty() {
        messages.push(format!("{at}.containers must have at least one container"));
    }
    let volumes: Vec<&str> = pod.volumes.iter().flatten().map(|volume| volume.name.as_str()).collect();
    let inits = pod.init_containers.iter().flatten().enumerate().map(|(place, one)| ("initContainers", place, one));
    let all = pod.containers.iter().enumerate().map(|(place, one)| ("containers", place, one)).chain(inits);
    let mut names = Vec::new();
    for (field, place, container) in all {
        let path = format!("{at}.{field}[{place}]");
        if names.contains(&&container.name) {
            messages.push(format!("{path}.name {:?} is the name of another container", container.name));
        }
        names.push(&container.name);
        messages.extend(of_container(container, &volumes, &path));
    }
    messages
}

fn of_container(container: &Container, volumes: &[&str], at: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if !is_label(&container.name) {
        messages.push(format!("{at}.name {:?} may have only lower-case letters, digits and -", container.name));
    }
    match container.image.as_deref() {
        None | Some("") => messages.push(format!("{at}.image is required")),
        Some(image) if image.trim() != image => messages.push(format!("{at}.image {image:?} must not have blanks")),
        Some(_) => {}
    }
    let policies = &["Always", "IfNotPresent", "Never"];
    one_of(&mut messages, container.image_pull_policy.as_deref(), policies, &format!("{at}.imagePullPolicy"));
    let policies = &["File", "FallbackToLogsOnError"];
    let policy = container.termination_message_policy.as_deref();
    one_of(&mut messages, policy, policies, &format!("{at}.terminationMessagePolicy"));
    for (place, variable) in container.env.iter().flatten().enumerate() {
        messages.extend(of_variable(variable, &format!("{at}.env[{place}]")));
    }
    for (place, port) in container.ports.iter().flatten().enumerate() {
        let path = format!("{at}.ports[{place}]");
        if !(1..=65_535).contains(&port.container_port) {
            messages.push(format!("{path}.containerPort must be between 1 and 65535"));
        }
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty() && !is_port_name(name)) {
            messages.push(format!("{path}.name {name:?} may have at most 15 lower-case letters, digits and -"));
        }
        one_of(&mut messages, port.protocol.as_deref(), &["TCP", "UDP", "SCTP"], &format!("{path}.protocol"));
    }
    messages.extend(of_resources(container.resources.as_ref(), &format!("{at}.resources")));
    let mut paths = Vec::new();
    for (place, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = format!("{at}.volumeMounts[{place}]");
        if !volumes.contains(&mount.name.as_str()) {
            messages.push(format!("{path}.name {:?} is not the name of a volume of the pod", mount.name));
        }
        if mount.mount_path.is_empty() {
            messages.push(format!("{path}.mountPath is required"));
        }
        if paths.contains(&&mount.mount_path) {
            messages.push(format!("{path}.mountPath {:?} is used by another mount", mount.mount_path));
        }
        paths.push(&mount.mount_path);
    }
    messages
}

fn of_variable(variable: &EnvVar, at: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if !is_variable(&variable.name) {
        messages.push(format!("{at}.name {:?} is not the name of an environment variable", variable.name));
    }
    let Some(source) = &variable.value_from else { return messages };
    if variable.value.as_deref().is_some_and(|value| !value.is_empty()) {
        messages.push(format!("{at} must have either value or valueFrom"));
    }
    let keys = [
        ("secretKeyRef", source.secret_key_ref.as_ref().map(|reference| &reference.key)),
        ("configMapKeyRef", source.config_map_key_ref.as_ref().map(|reference| &reference.key)),
    ];
    for (field, key) in keys {
        if let Some(key) = key.filter(|key| !is_config_key(key)) {
            messages.push(format!("{at}.valueFrom.{field}.key {key:?} is not a key"));
        }
    }
    let sources = fields_of(source);
    if sources != 1 {
        messages.push(format!("{at}.valueFrom must have exactly one source"));
    }
    messages
}

/// Returns the number of fields that are set.
fn fields_of(value: &impl serde::Serialize) -> usize {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_object().map_or(0, |fields| fields.values().filter(|value| **value != Value::Null).count())
}

fn of_resources(resources: Option<&ResourceRequirements>, at: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let Some(resources) = resources else { return messages };
    let none = BTreeMap::new();
    let (requests, limits) = (resources.requests.as_ref().unwrap_or(&none), resources.limits.as_ref().unwrap_or(&none));
    for (field, amounts) in [("requests", requests), ("limits", limits)] {
        for (name, Quantity(text)) in amounts {
            let path = format!("{at}.{field}.{name}");
            let standard =
                matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
            if !standard && !(is_qualified_name(name) && name.contains('/')) {
                messages.push(format!("{path} is not a resource, such as cpu, memory or example.com/gpu"));
            }
            match quantity(text) {
                None => messages.push(format!("{path} {text:?} is not a quantity, such as 100m or 1Gi")),
                Some(amount) if amount < 0.0 => messages.push(format!("{path} must not be negative")),
                Some(_) => {}
            }
        }
    }
    for (name, Quantity(request)) in requests {
        let limit = limits.get(name).and_then(|Quantity(limit)| quantity(limit));
        if limit.zip(quantity(request)).is_some_and(|(limit, request)| request > limit) {
            messages.push(format!("{at}.requests.{name} must not be more than {at}.limits.{name}"));
        }
    }
    messages
}

fn of_volumes(volumes: &[Volume], at: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let mut names = Vec::new();
    for (place, volume) in volumes.iter().enumerate() {
        let path = format!("{at}.volumes[{place}]");
        if !is_label(&volume.name) {
            messages.push(format!("{path}.name {:?} may have only lower-case letters, digits and -", volume.name));
        }
        if names.contains(&&volume.name) {
            messages.push(format!("{path}.name {:?} is the name of another volume", volume.name));
        }
        names.push(&volume.name);
        // One of the fields is the name.
        if fields_of(volume) > 2 {
            messages.push(format!("{path} must have exactly one source"));
        }
        let size = volume.empty_dir.as_ref().and_then(|source| source.size_limit.as_ref());
        if let Some(Quantity(text)) = size
            && quantity(text).is_none_or(|size| size < 0.0)
        {
            messages.push(format!("{path}.emptyDir.sizeLimit {text:?} is not a size, such as 1Gi"));
        }
    }
    messages
}
