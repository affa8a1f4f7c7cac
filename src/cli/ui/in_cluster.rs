//! `jobwright ui --in-cluster`: serves the console to the users of a proxy.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use http::HeaderName;

use super::UiError;
use crate::cli::global::GlobalArguments;
use crate::client::output;
use crate::client::suggest::Suggestions;
use crate::ui::sign_in::InCluster;
use crate::ui::sign_in::identity::ProxyHeaders;
use crate::ui::sign_in::secret::ProxySecret;
use crate::ui::{InClusterOptions, origin, serve_in_cluster};

/// Address on which the console listens without `--listen`.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
/// Log level without `-v`: warnings and state.
const VERBOSITY: u8 = 2;

/// The flags of `jobwright ui --in-cluster`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Options in the cluster")]
#[group(skip)]
pub struct Arguments {
    /// Serve the users of a proxy, each with the permissions of the bearer token of the request
    #[arg(long, conflicts_with_all = ["port", "address", "open"], requires = "hosts")]
    pub in_cluster: bool,
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = LISTEN, requires = "in_cluster")]
    listen: SocketAddr,
    /// Hosts under which the proxy serves the console; requests with another Host are refused
    #[arg(long, value_name = "HOST", value_delimiter = ',', value_parser = origin::host, requires = "in_cluster")]
    hosts: Vec<String>,
    /// Impersonate the user that the proxy names; the proxy sends a secret with each request
    #[arg(long = "impersonate", requires = "in_cluster", requires = "proxy_secret_file")]
    impersonates: bool,
    /// File with the secret of the proxy
    #[arg(long, value_name = "FILE", requires = "impersonates")]
    proxy_secret_file: Option<PathBuf>,
    /// Header with the secret of the proxy
    #[arg(long, value_name = "HEADER", default_value = "X-Jobwright-Proxy-Secret", requires = "impersonates")]
    proxy_secret_header: HeaderName,
    /// Header with the name of the user
    #[arg(long, value_name = "HEADER", default_value = "X-Forwarded-User", requires = "impersonates")]
    user_header: HeaderName,
    /// Header with the groups of the user, separated by commas
    #[arg(long, value_name = "HEADER", default_value = "X-Forwarded-Groups", requires = "impersonates")]
    groups_header: HeaderName,
}

/// Serves the console until SIGINT or SIGTERM.
pub(super) async fn run(arguments: &Arguments, read_only: bool, global: &GlobalArguments) -> Result<(), UiError> {
    if global.verbosity == 0 {
        GlobalArguments { verbosity: VERBOSITY, ..global.clone() }.start_log();
    }
    // A wrong secret is reported before the API server is asked.
    let secret = match &arguments.proxy_secret_file {
        Some(path) => Some(ProxySecret::read(path)?),
        None => None,
    };
    let reader = global.cluster.connect(None).await?;
    let users = match secret {
        Some(secret) => {
            let headers = ProxyHeaders {
                user: arguments.user_header.clone(),
                groups: arguments.groups_header.clone(),
                secret: arguments.proxy_secret_header.clone(),
            };
            InCluster::behind_trusted_proxy(headers, secret, reader.clone())
        }
        None => InCluster::with_tokens(global.cluster.without_credentials().await?),
    };
    let options = InClusterOptions {
        users,
        reader,
        namespace: global.namespace.clone().filter(|namespace| !namespace.is_empty()),
        listen: arguments.listen,
        cluster: arguments.hosts.first().cloned().unwrap_or_default(),
        hosts: arguments.hosts.clone(),
        read_only,
        suggest: Suggestions::new("jobwright", None, Vec::new()),
    };
    let started = |address: SocketAddr| output::print_line(format!("The console listens on {address}"));
    serve_in_cluster(options, started, super::stopped()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        global: GlobalArguments,
        #[command(flatten)]
        ui: super::super::Arguments,
    }

    fn parse(flags: &str) -> Result<Arguments, String> {
        let program = Program::try_parse_from(["ui"].into_iter().chain(flags.split_whitespace()));
        program.map(|program| program.ui.in_cluster).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_of_the_cluster_need_each_other() {
        let given = parse("--in-cluster --hosts=a.example,LOCALHOST:8080").unwrap();
        assert_eq!((given.hosts, given.listen), (vec!["a.example".to_owned(), "localhost:8080".to_owned()], LISTEN));
        let given =
            parse("--in-cluster --hosts=a --impersonate --proxy-secret-file=x --user-header=Remote-User").unwrap();
        assert!(
            given.impersonates && given.user_header == "remote-user" && given.groups_header == "x-forwarded-groups"
        );
        assert!(!parse("--port=0").unwrap().in_cluster);
        for (flags, named) in [
            ("--in-cluster", "--hosts"),
            ("--hosts=a", "--in-cluster"),
            ("--listen=0.0.0.0:1", "--in-cluster"),
            ("--in-cluster --hosts=a --port=1", "--port"),
            ("--in-cluster --hosts=a --address=127.0.0.1", "--address"),
            ("--in-cluster --hosts=a --open", "--open"),
            ("--in-cluster --hosts=https://a", "such as console.example.com"),
            ("--in-cluster --hosts=a --impersonate", "--proxy-secret-file"),
            ("--in-cluster --hosts=a --proxy-secret-file=x", "--impersonate"),
            ("--in-cluster --hosts=a --user-header=X", "--impersonate"),
        ] {
            let error = parse(flags).expect_err(flags);
            assert!(error.contains(named), "{flags}: {error}");
        }
    }
}
