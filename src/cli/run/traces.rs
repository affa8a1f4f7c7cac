//! Traces of the process: one span for each sync, sent to an OpenTelemetry collector if one is configured.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

/// Maximum time for sending the last traces when the process stops. Everything else that a stop waits for takes up to 27 s of
/// the 30 s that a pod is given to end.
const TRACE_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Flags of traces.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TraceArguments {
    /// Send traces, one span for each sync, to this OpenTelemetry collector (OTLP over HTTP), such as http://localhost:4318;
    /// the OTEL_* variables of the OpenTelemetry specification are honoured too
    #[arg(long, env = "JOBWRIGHT_OTLP_ENDPOINT", value_name = "URL", value_parser = endpoint)]
    otlp_endpoint: Option<String>,
}

/// The provider of spans.
pub(super) struct Traces(SdkTracerProvider);

impl TraceArguments {
    /// Starts the export of traces; none if no collector is configured.
    ///
    /// # Errors
    /// Returns an error if the exporter cannot be created.
    pub(super) fn start(&self) -> Result<Option<Traces>, String> {
        Ok(self.exporter()?.map(|exporter| Traces(provider(exporter))))
    }

    /// Returns the exporter of traces: to the collector of the flag, or to the one of the `OTEL_EXPORTER_OTLP_*` variables;
    /// none without either, or with `OTEL_SDK_DISABLED=true`.
    fn exporter(&self) -> Result<Option<SpanExporter>, String> {
        let set = |variable| std::env::var(variable).is_ok_and(|value| !value.is_empty());
        let disabled = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        let named = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"].into_iter().any(set);
        let builder = SpanExporter::builder().with_http();
        let builder = match &self.otlp_endpoint {
            _ if disabled => return Ok(None),
            Some(endpoint) => builder.with_endpoint(format!("{endpoint}/v1/traces")),
            None if named => builder,
            None => return Ok(None),
        };
        builder.build().map(Some).map_err(|error| format!("cannot create the exporter of traces: {error}"))
    }
}

impl Traces {
    /// Returns the layer that records the spans of Jobwright. The spans of the libraries are about connections.
    pub(super) fn layer<S: Subscriber + for<'span> LookupSpan<'span>>(&self) -> impl Layer<S> {
        let ours = Targets::new().with_target("jobwright", LevelFilter::INFO);
        tracing_opentelemetry::layer().with_tracer(self.0.tracer("jobwright")).with_filter(ours)
    }

    /// Sends the traces that are left, for at most [`TRACE_FLUSH_TIMEOUT`].
    pub(super) async fn end(self) {
        // The shutdown blocks until the collector answers.
        let ended = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(TRACE_FLUSH_TIMEOUT)).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "cannot send the last traces");
        }
    }
}

/// Parses the base URL of a collector and removes the slash at its end.
fn endpoint(text: &str) -> Result<String, String> {
    let uri: http::Uri =
        text.parse().map_err(|error| format!("must be a URL such as http://localhost:4318: {error}"))?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() {
        return Err(
            "must be an http:// URL such as http://localhost:4318, of a collector on the node or in the cluster"
                .to_owned(),
        );
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Returns the provider of spans. The resource has the attributes of the semantic conventions, and those of
/// `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`, which take precedence.
fn provider(exporter: SpanExporter) -> SdkTracerProvider {
    let mut attributes = vec![KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    let of_pod = [
        ("POD_NAME", "k8s.pod.name"),
        ("POD_NAME", "service.instance.id"),
        ("POD_UID", "k8s.pod.uid"),
        ("POD_NAMESPACE", "k8s.namespace.name"),
    ];
    for (variable, attribute) in of_pod {
        attributes.extend(std::env::var(variable).ok().map(|value| KeyValue::new(attribute, value)));
    }
    let resource = Resource::builder_empty().with_service_name("jobwright").with_attributes(attributes);
    // A detector that is added later takes precedence.
    let resource =
        resource.with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    let resource = match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) => resource.with_service_name(name),
        Err(_) => resource,
    };
    SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build()
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Span, Tracer};

    use super::*;

    #[tokio::test]
    async fn collector_that_does_not_answer_holds_up_the_end_for_a_bounded_time() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = Some(format!("http://{}", listener.local_addr().expect("an address")));
        let arguments = TraceArguments { otlp_endpoint: endpoint };
        let traces = arguments.start().expect("an exporter").expect("a collector is configured");
        traces.0.tracer("test").start("span").end();
        let begun = tokio::time::Instant::now();
        traces.end().await;
        assert!(begun.elapsed() < 4 * TRACE_FLUSH_TIMEOUT, "{:?}", begun.elapsed());
    }

    #[test]
    fn a_collector_is_named_by_an_http_url() {
        assert_eq!(
            endpoint("http://collector.observability:4318/"),
            Ok("http://collector.observability:4318".to_owned())
        );
        for text in ["", "localhost:4318", "https://collector", "grpc://x", "http//x"] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }
}
