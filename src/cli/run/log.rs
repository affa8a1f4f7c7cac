//! Logs of the process: lines on standard error. Traces are in `traces`.

use std::io::IsTerminal;

use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::json_log::FlatJson;
use super::log_sanitizer::LogSanitizer;
use super::text_log::{FlatText, LogfmtFields};
#[cfg(feature = "otlp")]
use super::traces::{TraceArguments, Traces};

/// Flags of logs and traces.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LogArguments {
    /// Format of log lines
    #[arg(long, env = "JOBWRIGHT_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
    #[cfg(feature = "otlp")]
    #[command(flatten)]
    traces: TraceArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// Text: time, level, message, and fields as in logfmt
    Text,
    /// One flat JSON object per line
    Json,
}

/// The installed subscribers.
pub(crate) struct Log {
    #[cfg(feature = "otlp")]
    traces: Option<Traces>,
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
            LogFormat::Text => lines.with_ansi(colours).fmt_fields(LogfmtFields).event_format(FlatText).boxed(),
            LogFormat::Json => lines.fmt_fields(JsonFields::new()).event_format(FlatJson).boxed(),
        };
        let registry = tracing_subscriber::registry();
        #[cfg(feature = "otlp")]
        let traces = self.traces.start()?;
        #[cfg(feature = "otlp")]
        let registry = registry.with(traces.as_ref().map(Traces::layer));
        registry.with(lines.with_filter(filter)).init();
        Ok(Log {
            #[cfg(feature = "otlp")]
            traces,
        })
    }
}

impl Log {
    /// Sends the traces that are left.
    pub(crate) async fn end(self) {
        #[cfg(feature = "otlp")]
        if let Some(traces) = self.traces {
            traces.end().await;
        }
    }
}
