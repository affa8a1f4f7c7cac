//! Logs and traces of the process: lines on standard error, and spans to an OpenTelemetry collector if one is configured.

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::json_log::FlatJson;
use super::log_sanitizer::LogSanitizer;

/// How long the last traces may take to be sent when the process stops. All else that a stop waits for takes up to 27 s of the
/// half minute that a pod is given to end.
const TRACE_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Flags of logs and traces.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LogArguments {
    /// Format of log lines
    #[arg(long, env = "JOBWRIGHT_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
    /// Send traces, one span for each sync, to this OpenTelemetry collector (OTLP over HTTP), such as http://localhost:4318.
    /// The OTEL_* variables of the OpenTelemetry specification are honoured too
    #[arg(long, env = "JOBWRIGHT_OTLP_ENDPOINT", value_name = "URL", value_parser = endpoint)]
    otlp_endpoint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// Text, for reading
    Text,
    /// One flat JSON object per line
    Json,
}

/// The installed subscribers.
pub(crate) struct Log {
    traces: Option<SdkTracerProvider>,
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

impl LogArguments {
    /// Installs the log and trace subscribers. `JOBWRIGHT_LOG` is the filter.
    ///
    /// # Errors
    /// Returns an error if the exporter of traces cannot be created.
    pub(crate) fn start(&self) -> Result<Log, String> {
        let filter = EnvFilter::try_from_env("JOBWRIGHT_LOG")
            .unwrap_or_else(|_| EnvFilter::new("info,kube=error,kube_client::client::builder=off"));
        let colours = self.log_format == LogFormat::Text && std::io::stderr().is_terminal();
        let lines = tracing_subscriber::fmt::layer();
        let lines = lines.with_writer(move || LogSanitizer { out: std::io::stderr(), colours });
        let lines = match self.log_format {
            LogFormat::Text => lines.with_ansi(colours).boxed(),
            LogFormat::Json => lines.fmt_fields(JsonFields::new()).event_format(FlatJson).boxed(),
        };
        let traces = self.exporter()?.map(provider);
        let spans = traces.as_ref().map(|traces| {
            // Our own spans; those of the libraries below are about connections.
            let ours = Targets::new().with_target("jobwright", LevelFilter::INFO);
            tracing_opentelemetry::layer().with_tracer(traces.tracer("jobwright")).with_filter(ours)
        });
        tracing_subscriber::registry().with(spans).with(lines.with_filter(filter)).init();
        Ok(Log { traces })
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
    let mut resource = resource.build();
    if let Ok(name) = std::env::var("OTEL_SERVICE_NAME") {
        resource = Resource::builder_empty()
            .with_attributes(resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())))
            .with_service_name(name)
            .build();
    }
    SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()
}

impl Log {
    /// Sends the traces that are left, for at most [`TRACE_FLUSH_TIMEOUT`].
    pub(crate) async fn end(self) {
        let Some(traces) = self.traces else { return };
        // It waits for the collector, on threads of its own.
        let ended = tokio::task::spawn_blocking(move || traces.shutdown_with_timeout(TRACE_FLUSH_TIMEOUT)).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Span, Tracer};

    use super::*;

    #[tokio::test]
    async fn collector_that_does_not_answer_holds_up_the_end_for_a_bounded_time() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = Some(format!("http://{}", listener.local_addr().expect("an address")));
        let arguments = LogArguments { log_format: LogFormat::Text, otlp_endpoint: endpoint };
        let traces = provider(arguments.exporter().expect("an exporter").expect("a collector is configured"));
        traces.tracer("test").start("span").end();
        let begun = tokio::time::Instant::now();
        Log { traces: Some(traces) }.end().await;
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
