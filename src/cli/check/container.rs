//! What the API server refuses in a container: the checks that need nothing but the manifest.
//!
//! See <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#Container>.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, Probe, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::syntax::{
    is_config_key, is_label, is_port_name, is_qualified_name, is_subdomain, is_variable, one_of, quantity,
};

/// Largest user or group identifier.
const MAX_ID: i64 = i32::MAX as i64;

/// Returns the messages for users and groups.
pub(super) fn of_ids(ids: &[(&str, Option<i64>)], at: &str) -> Vec<String> {
    let wrong = ids.iter().filter(|(_, id)| id.is_some_and(|id| !(0..=MAX_ID).contains(&id)));
    wrong.map(|(field, _)| format!("{at}.{field} must be between 0 and {MAX_ID}")).collect()
}

/// Returns the messages for a container at the path `at`. `volumes` are the names of the volumes of the pod.
pub(super) fn of_container(container: &Container, volumes: &[&str], init: bool, at: &str) -> Vec<String> {
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
    let policies = ["Always", "Never", "OnFailure"];
    if let Some(policy) = container.restart_policy.as_deref().filter(|policy| !policies.contains(policy)) {
        messages.push(format!("{at}.restartPolicy {policy:?} must be one of {}", policies.join(", ")));
    }
    if let Some(context) = &container.security_context {
        let ids = [("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)];
        messages.extend(of_ids(&ids, &format!("{at}.securityContext")));
        if context.privileged == Some(true) && context.allow_privilege_escalation == Some(false) {
            messages
                .push(format!("{at}.securityContext.allowPrivilegeEscalation must not be false with privileged: true"));
        }
    }
    let probes = [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ];
    for (field, probe) in probes {
        let Some(probe) = probe else { continue };
        if init && container.restart_policy.as_deref() != Some("Always") {
            messages
                .push(format!("{at}.{field} is for containers that run beside others, and not for init containers"));
        }
        messages.extend(of_probe(probe, field != "readinessProbe", &format!("{at}.{field}")));
    }
    for (place, source) in container.env_from.iter().flatten().enumerate() {
        messages.extend(of_env_from(source, &format!("{at}.envFrom[{place}]")));
    }
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
    let references = [
        ("secretKeyRef", source.secret_key_ref.as_ref().map(|reference| (&reference.name, &reference.key))),
        ("configMapKeyRef", source.config_map_key_ref.as_ref().map(|reference| (&reference.name, &reference.key))),
    ];
    for (field, reference) in references {
        let Some((name, key)) = reference else { continue };
        if !is_subdomain(name) {
            messages.push(format!("{at}.valueFrom.{field}.name {name:?} is not a name"));
        }
        if !is_config_key(key) {
            messages.push(format!("{at}.valueFrom.{field}.key {key:?} is not a key"));
        }
    }
    if let Some(field) = source.field_ref.as_ref().filter(|field| !is_field_of_pod(&field.field_path)) {
        let path = &field.field_path;
        messages.push(format!("{at}.valueFrom.fieldRef.fieldPath {path:?} is not a field for variables"));
    }
    let sources = fields_of(source);
    if sources != 1 {
        messages.push(format!("{at}.valueFrom must have exactly one source"));
    }
    messages
}

/// Returns whether a variable can have the value of this field of the pod.
fn is_field_of_pod(path: &str) -> bool {
    let entry = path.strip_prefix("metadata.labels['").or_else(|| path.strip_prefix("metadata.annotations['"));
    let fields = [
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    ];
    fields.contains(&path) || entry.and_then(|rest| rest.strip_suffix("']")).is_some_and(is_qualified_name)
}

fn of_env_from(source: &EnvFromSource, at: &str) -> Vec<String> {
    let names = [
        ("configMapRef", source.config_map_ref.as_ref().map(|reference| &reference.name)),
        ("secretRef", source.secret_ref.as_ref().map(|reference| &reference.name)),
    ];
    let mut messages = Vec::new();
    if names.iter().filter(|(_, name)| name.is_some()).count() != 1 {
        messages.push(format!("{at} must have either configMapRef or secretRef"));
    }
    for (field, name) in names {
        if let Some(name) = name.filter(|name| !is_subdomain(name)) {
            messages.push(format!("{at}.{field}.name {name:?} is not a name"));
        }
    }
    messages
}

/// Returns the messages for a probe. `restarts` states that the kubelet restarts the container when the probe fails.
fn of_probe(probe: &Probe, restarts: bool, at: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let handlers = [probe.exec.is_some(), probe.http_get.is_some(), probe.tcp_socket.is_some(), probe.grpc.is_some()];
    if handlers.iter().filter(|given| **given).count() != 1 {
        messages.push(format!("{at} must have exactly one of exec, httpGet, tcpSocket and grpc"));
    }
    let numbers = [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ];
    let negative = numbers.iter().filter(|(_, number)| number.is_some_and(|number| number < 0));
    messages.extend(negative.map(|(field, _)| format!("{at}.{field} must not be negative")));
    if restarts && probe.success_threshold.is_some_and(|count| count > 1) {
        messages.push(format!("{at}.successThreshold must be 1"));
    }
    if probe.exec.as_ref().is_some_and(|exec| exec.command.as_ref().is_none_or(Vec::is_empty)) {
        messages.push(format!("{at}.exec.command is required"));
    }
    let ports = [
        ("httpGet", probe.http_get.as_ref().map(|action| &action.port)),
        ("tcpSocket", probe.tcp_socket.as_ref().map(|action| &action.port)),
    ];
    for (field, port) in ports {
        let valid = match port {
            None => true,
            Some(IntOrString::Int(number)) => (1..=65_535).contains(number),
            Some(IntOrString::String(name)) => is_port_name(name),
        };
        if !valid {
            messages.push(format!("{at}.{field}.port must be a number between 1 and 65535, or the name of a port"));
        }
    }
    let scheme = probe.http_get.as_ref().and_then(|action| action.scheme.as_deref());
    one_of(&mut messages, scheme, &["HTTP", "HTTPS"], &format!("{at}.httpGet.scheme"));
    messages
}

/// Returns the number of fields that are set.
pub(super) fn fields_of(value: &impl serde::Serialize) -> usize {
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
            let extended = is_qualified_name(name) && name.contains('/');
            if !standard && !extended {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn messages(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut container = json!({"name": "main", "image": "i", "resources": {"limits": {"cpu": "1"}}});
        change(&mut container);
        of_container(&serde_json::from_value(container).unwrap(), &["data"], false, "c")
    }

    #[test]
    fn each_refusal_of_the_api_server_is_found() {
        type Case = (fn(&mut Value), &'static str);
        let cases: [Case; 14] = [
            (|one| one["image"] = json!(" i"), "c.image \" i\" must not have blanks"),
            (|one| one["imagePullPolicy"] = json!("always"), "must be one of Always, IfNotPresent, Never"),
            (|one| one["restartPolicy"] = json!(""), "c.restartPolicy \"\" must be one of"),
            (|one| one["env"] = json!([{"name": "A=B"}]), "\"A=B\" is not the name of an environment variable"),
            (
                |one| one["env"] = json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]),
                "fieldPath \"status.phase\" is not a field for variables",
            ),
            (|one| one["env"] = json!([{"name": "A", "valueFrom": {}}]), "valueFrom must have exactly one source"),
            (|one| one["envFrom"] = json!([{"prefix": "A_"}]), "must have either configMapRef or secretRef"),
            (|one| one["ports"] = json!([{"containerPort": 0}]), "containerPort must be between 1 and 65535"),
            (|one| one["resources"]["requests"] = json!({"cpu": "2"}), "requests.cpu must not be more than"),
            (|one| one["resources"]["requests"] = json!({"cpus": "1"}), "requests.cpus is not a resource"),
            (|one| one["resources"]["requests"] = json!({"memory": "1 Gi"}), "\"1 Gi\" is not a quantity"),
            (
                |one| one["volumeMounts"] = json!([{"name": "other", "mountPath": "/a"}]),
                "\"other\" is not the name of a volume of the pod",
            ),
            (
                |one| one["livenessProbe"] = json!({"tcpSocket": {"port": 80}, "successThreshold": 2}),
                "c.livenessProbe.successThreshold must be 1",
            ),
            (|one| one["readinessProbe"] = json!({"periodSeconds": 1}), "must have exactly one of exec, httpGet"),
        ];
        for (change, expected) in cases {
            let found = messages(change);
            assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
        }
        let right = messages(|one| {
            one["env"] =
                json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['example.com/a']"}}}]);
            one["resources"]["requests"] = json!({"cpu": "500m", "example.com/gpu": "1"});
            one["volumeMounts"] = json!([{"name": "data", "mountPath": "/a"}]);
        });
        assert_eq!(right, [""; 0]);
    }
}
