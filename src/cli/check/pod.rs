//! What the API server refuses in the pod template of a Job: the checks that need nothing but the manifest.
//!
//! See <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/>.

use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec, Toleration, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::container::{fields_of, of_container, of_ids};
use super::syntax::{
    is_label, is_label_value, is_qualified_name, is_subdomain, of_annotation_keys, of_labels, one_of, quantity,
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
    for (field, name) in [("hostname", &pod.hostname), ("subdomain", &pod.subdomain)] {
        if let Some(name) = name.as_deref().filter(|name| !name.is_empty() && !is_label(name)) {
            messages.push(format!("{at}.{field} {name:?} may have only lower-case letters, digits and -"));
        }
    }
    if let Some(class) = pod.priority_class_name.as_deref().filter(|name| !name.is_empty() && !is_subdomain(name)) {
        messages.push(format!("{at}.priorityClassName {class:?} is not a name"));
    }
    if let Some(context) = &pod.security_context {
        let ids =
            [("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group), ("fsGroup", context.fs_group)];
        messages.extend(of_ids(&ids, &format!("{at}.securityContext")));
    }
    for (place, gate) in pod.scheduling_gates.iter().flatten().enumerate() {
        if !is_qualified_name(&gate.name) {
            messages.push(format!("{at}.schedulingGates[{place}].name {:?} is not the name of a gate", gate.name));
        }
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

fn of_toleration(toleration: &Toleration, at: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let key = toleration.key.as_deref().unwrap_or_default();
    if !key.is_empty() && !is_qualified_name(key) {
        messages.push(format!("{at}.key {key:?} is not the key of a taint"));
    }
    let operator = toleration.operator.as_deref().unwrap_or_default();
    one_of(&mut messages, Some(operator), &["Exists", "Equal", "Lt", "Gt"], &format!("{at}.operator"));
    if key.is_empty() && operator != "Exists" {
        messages.push(format!("{at}.operator must be Exists without a key"));
    }
    let value = toleration.value.as_deref().unwrap_or_default();
    if operator == "Exists" && !value.is_empty() {
        messages.push(format!("{at}.value must be left out with operator: Exists"));
    }
    if operator != "Exists" && !is_label_value(value) {
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
        messages.extend(of_container(container, &volumes, field == "initContainers", &path));
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
        let required = [
            ("configMap.name", volume.config_map.as_ref().map(|source| Some(&source.name))),
            ("secret.secretName", volume.secret.as_ref().map(|source| source.secret_name.as_ref())),
            (
                "persistentVolumeClaim.claimName",
                volume.persistent_volume_claim.as_ref().map(|source| Some(&source.claim_name)),
            ),
        ];
        for (field, name) in required {
            if name.is_some_and(|name| name.is_none_or(String::is_empty)) {
                messages.push(format!("{path}.{field} is required"));
            }
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
