//! What the process tells while it runs: lines on standard error, and traces to a collector where one is named.

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::log_sanitizer::LogSanitizer;

/// How long the last traces may take to be sent when the process stops. All else that a stop waits for takes up to 27 s of the
/// half minute that a pod is given to end.
const TRACE_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The flags about what is told, and how.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LogArguments {
    /// How log lines look
    #[arg(long, env = "JOBWRIGHT_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
    /// Send traces, one span a sync, to this OpenTelemetry collector (OTLP over HTTP), such as http://localhost:4318
    #[arg(long, env = "JOBWRIGHT_OTLP_ENDPOINT", value_name = "URL", value_parser = endpoint)]
    otlp_endpoint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// For programs, one object a line
    Json,
}

/// What is told, being told.
pub(crate) struct Log {
    traces: Option<SdkTracerProvider>,
}

/// The base URL of a collector, without the slash at its end.
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
    /// Begins to tell. `JOBWRIGHT_LOG` says how much.
    ///
    /// # Errors
    /// The collector cannot be used.
    pub(crate) fn start(&self) -> Result<Log, String> {
        let filter = EnvFilter::try_from_env("JOBWRIGHT_LOG")
            .unwrap_or_else(|_| EnvFilter::new("info,kube=error,kube_client::client::builder=off"));
        let colours = self.log_format == LogFormat::Text && std::io::stderr().is_terminal();
        let lines = tracing_subscriber::fmt::layer();
        let lines = lines.with_writer(move || LogSanitizer { out: std::io::stderr(), colours });
        let lines = match self.log_format {
            LogFormat::Text => lines.with_ansi(colours).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        let traces = self.otlp_endpoint.as_deref().map(collector).transpose()?;
        let spans = traces.as_ref().map(|traces| {
            // Our own spans; those of the libraries below are about connections.
            let ours = Targets::new().with_target("jobwright", LevelFilter::INFO);
            tracing_opentelemetry::layer().with_tracer(traces.tracer("jobwright")).with_filter(ours)
        });
        tracing_subscriber::registry().with(spans).with(lines.with_filter(filter)).init();
        Ok(Log { traces })
    }
}

/// Where traces go.
fn collector(endpoint: &str) -> Result<SdkTracerProvider, String> {
    let exporter = SpanExporter::builder().with_http().with_endpoint(format!("{endpoint}/v1/traces")).build();
    let exporter = exporter.map_err(|error| format!("cannot send traces to {endpoint}: {error}"))?;
    let resource = Resource::builder().with_service_name("jobwright").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
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
        let traces = collector(&format!("http://{}", listener.local_addr().expect("an address"))).expect("a provider");
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
