//! kubectl's global flags, which every command accepts before and after its name.

use crate::client::cluster::ClusterContext;
use crate::client::connect::{ClusterArguments, ConnectError};
use crate::client::suggest::Suggestions;
use crate::client::terminal::ColorChoice;

/// The flags that every command accepts.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArguments {
    /// The flags that select and authenticate the connection.
    #[command(flatten)]
    pub cluster: ClusterArguments,
    /// Namespace; default: the namespace of the context
    #[arg(short, long, value_name = "NAME", global = true)]
    pub namespace: Option<String>,
    /// Log to standard error: 1 warnings and state, 6 each request to the API server, 8 everything
    #[arg(short = 'v', long = "v", value_name = "LEVEL", global = true, default_value = "0")]
    pub verbosity: u8,
    /// When the output has colors: on a terminal without NO_COLOR, always or never
    #[arg(long, value_enum, value_name = "WHEN", global = true, default_value = "auto")]
    pub color: ColorChoice,
}

impl GlobalArguments {
    /// Connects to the cluster and determines the namespace.
    ///
    /// # Errors
    /// No cluster is configured, or its API server does not answer or rejects the credentials.
    pub async fn open(&self) -> Result<ClusterContext, ConnectError> {
        let client = self.cluster.connect(None).await?;
        let given = self.namespace.clone().filter(|namespace| !namespace.is_empty());
        let namespace = given.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        let suggest = Suggestions::new(super::program(), given, self.cluster.given());
        Ok(ClusterContext { client, namespace, suggest })
    }

    /// Starts the log of a command on standard error, for `-v` above 0.
    pub fn start_log(&self) {
        use tracing_subscriber::fmt::format::FmtSpan;
        let filter = match self.verbosity {
            0 => return,
            1..=3 => "jobwright=info,kube=warn",
            4..=5 => "jobwright=debug,jobwright::runtime::transport=info,kube=info",
            6..=7 => "jobwright=debug,kube=info",
            _ => "trace,hyper=debug,hyper_util=debug,tower=debug,h2=debug,rustls=debug",
        };
        let spans = if self.verbosity >= 6 { FmtSpan::CLOSE } else { FmtSpan::NONE };
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
        // A log that is running already, in tests, stays.
        let _ = log.with_span_events(spans).try_init();
    }
}
