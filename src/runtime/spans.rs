//! Spans of syncs: the fields that every log line of a sync carries, and the attributes that traces get.
//!
//! Logs have `controller`, `namespace`, `name` and `uid`. Traces have the attributes of OpenTelemetry's semantic conventions
//! for [Kubernetes](https://opentelemetry.io/docs/specs/semconv/resource/k8s/) besides.

use tracing::Span;
#[cfg(feature = "otlp")]
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::worker::Target;

/// Returns the span of one sync of this object.
pub fn sync_span(controller: &'static str, target: &Target) -> Span {
    let identity = target.identity.as_ref();
    let (namespace, name) = (identity.map(|one| &*one.namespace), identity.map(|one| &*one.name));
    let span = tracing::info_span!("sync", controller, namespace, name, uid = %target.uid);
    set_attributes(&span, target);
    span
}

#[cfg(feature = "otlp")]
fn set_attributes(span: &Span, target: &Target) {
    let Some(identity) = &target.identity else { return };
    let (name, uid) = match target.kind {
        "Job" => ("k8s.job.name", "k8s.job.uid"),
        "CronJob" => ("k8s.cronjob.name", "k8s.cronjob.uid"),
        "Pod" => ("k8s.pod.name", "k8s.pod.uid"),
        // The conventions name no attributes for custom resources.
        _ => ("jobwright.object.name", "jobwright.object.uid"),
    };
    span.set_attribute("k8s.namespace.name", identity.namespace.to_string());
    span.set_attribute(name, identity.name.to_string());
    span.set_attribute(uid, target.uid.to_string());
}

#[cfg(not(feature = "otlp"))]
fn set_attributes(_: &Span, _: &Target) {}
