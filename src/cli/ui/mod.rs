//! `jobwright ui`: serves the console, on this machine with the permissions of the user, or in the cluster (`in_cluster`).

pub mod in_cluster;

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, ExitCode, Stdio};

use thiserror::Error;

use super::global::GlobalArguments;
use crate::client::cluster::exit_with;
use crate::client::connect::ConnectError;
use crate::client::output;
use crate::ui::sign_in::secret::SecretError;
use crate::ui::{Options, StartError, serve};

/// Program that opens an address in the browser of the user.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

/// The flags of `jobwright ui`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Port on this machine; 0 for any free one
    #[arg(long, value_name = "PORT", default_value = "7060")]
    port: u16,
    /// Loopback address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// Refuse every change
    #[arg(long)]
    read_only: bool,
    /// Open the console in the browser
    #[arg(long)]
    open: bool,
    /// Show all namespaces; default without --namespace, if the user may list Jobs in all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// The flags of a console in the cluster.
    #[command(flatten)]
    in_cluster: in_cluster::Arguments,
}

/// Reason why there is no console.
#[derive(Debug, Error)]
enum UiError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Serves the console until SIGINT or SIGTERM.
pub fn main(arguments: &Arguments, global: &GlobalArguments) -> ExitCode {
    exit_with(run(arguments, global))
}

#[tokio::main]
async fn run(arguments: &Arguments, global: &GlobalArguments) -> Result<ExitCode, UiError> {
    if arguments.in_cluster.in_cluster {
        in_cluster::run(&arguments.in_cluster, arguments.read_only, global).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let context = global.open().await?;
    let is_named = global.namespace.as_ref().is_some_and(|namespace| !namespace.is_empty());
    let options = Options {
        client: context.client.clone(),
        reader: context.client,
        namespace: context.namespace,
        all_namespaces: if arguments.all_namespaces { Some(true) } else { is_named.then_some(false) },
        address: arguments.address,
        port: arguments.port,
        read_only: arguments.read_only,
        cluster: global.cluster.name().await,
        suggest: context.suggest,
    };
    let started = |address: &str| {
        output::print_line(format!("The console is at {address}"));
        output::print_line("The address works once. Press Ctrl+C to stop the console.");
        if arguments.open {
            open(address);
        }
    };
    serve(options, started, stopped()).await?;
    Ok(ExitCode::SUCCESS)
}

fn open(address: &str) {
    let opener =
        Command::new(OPENER).arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    if let Err(error) = opener {
        output::error_line(format!(
            "jobwright: cannot run {OPENER}: {}; open the address yourself",
            output::io_reason(&error)
        ));
    }
}

/// Waits for SIGINT or SIGTERM.
async fn stopped() {
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut terminated) = signal(SignalKind::terminate()) else { return interrupted.await };
        tokio::select! {
            () = interrupted => {}
            _ = terminated.recv() => {}
        }
    }
    #[cfg(not(unix))]
    interrupted.await;
}
