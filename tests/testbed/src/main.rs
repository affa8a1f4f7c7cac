//! `testbed up|down|status|run|demo|image`: the command line for a real Kubernetes cluster on loopback.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the testbed serves tests, measures time and prints its progress"
)]

mod background;
mod compatibility;
mod demo;
mod live;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use testbed::{Cluster, Nodes, Options};
use testbed::{assets, control_plane, image};

/// A real Kubernetes cluster on loopback; TESTBED_KUBERNETES=1.34 selects the version.
#[derive(Parser)]
#[command(name = "testbed", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Args, Clone)]
struct ClusterArguments {
    /// Nodes of the cluster
    #[arg(long, value_enum, default_value = "auto")]
    nodes: Nodes,
    /// Leave the built-in Job, CronJob and TTL controllers on
    #[arg(long)]
    builtin: bool,
    /// Switch on the alpha features for gang scheduling of Jobs
    #[arg(long)]
    gang_scheduling: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster in the background and print its kubeconfig
    Up(ClusterArguments),
    /// Stop the cluster that `up` started
    Down,
    /// Print the kubeconfig of the running cluster, or fail if none is running
    Status,
    /// Build or find all programs of the testbed, and start nothing
    Build {
        /// Only the programs of a control plane
        #[arg(long)]
        control_plane: bool,
    },
    /// Build Jobwright's image as an OCI tarball, which containerd, docker, podman and kind load
    Image {
        /// Build the image of the console in place of that of the controller
        #[arg(long)]
        ui: bool,
        /// Path of the tarball; default: target/image/ and the name of the image
        #[arg(long)]
        output: Option<PathBuf>,
        /// Tag of the image (can be repeated)
        #[arg(long = "tag", default_value = env!("CARGO_PKG_VERSION"))]
        tags: Vec<String>,
    },
    /// Print the path of a program of the testbed, and build the program if it is missing
    Path {
        /// Name of the program, such as etcd or kubectl
        program: String,
    },
    /// Run the test suites on each Kubernetes version, and write docs/compatibility.md from the results
    Compatibility(compatibility::Arguments),
    /// Run a command with a cluster of its own and KUBECONFIG set, and stop the cluster when the command ends
    Run {
        #[command(flatten)]
        cluster: ClusterArguments,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<String>,
    },
    /// Show Jobwright at work: apply Jobs, run them to completion, print a log, suspend and resume a Job
    Demo {
        /// The jobwright binary to show
        #[arg(long, env = "JOBWRIGHT_BINARY", default_value = "target/debug/jobwright")]
        jobwright: PathBuf,
        /// Nodes of the cluster, unless KUBECONFIG names a cluster
        #[arg(long, value_enum, default_value = "auto")]
        nodes: Nodes,
    },
    /// Keep a cluster running until a signal stops it (`up` runs this command in the background)
    #[command(hide = true)]
    Serve(ClusterArguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("testbed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Command::Up(cluster) => background::up(&cluster.to_flags()).await?,
        Command::Down => background::down().await?,
        Command::Status => return background::status(),
        Command::Build { control_plane } => {
            assets::ensure(assets::CONTROL_PLANE)?;
            if !control_plane {
                assets::ensure(assets::REAL_NODE)?;
                assets::ensure(&[assets::KWOK, assets::HELM, assets::PROMTOOL])?;
            }
        }
        Command::Image { ui, output, tags } => {
            let program = if ui { image::Program::Ui } else { image::Program::Controller };
            let name = if ui { "jobwright-ui" } else { "jobwright" };
            let output = output.unwrap_or_else(|| format!("target/image/{name}.tar").into());
            image::make_of(program, &output, &tags, image::RELEASE)?;
            let megabytes = std::fs::metadata(&output)?.len() as f64 / 1e6;
            println!("{} ({megabytes:.1} MB): {}:{}", output.display(), program.repository(), tags.join(", "));
        }
        Command::Path { program } => println!("{}", path_of(&program)?.display()),
        Command::Compatibility(arguments) => compatibility::run(&arguments)?,
        Command::Run { cluster, command } => return with_cluster(&cluster, &command).await,
        Command::Demo { jobwright, nodes } => demo::run(&jobwright, nodes).await?,
        Command::Serve(cluster) => background::serve(&cluster.options()).await?,
    }
    Ok(ExitCode::SUCCESS)
}

impl ClusterArguments {
    fn options(&self) -> Options {
        let mut settings =
            control_plane::Options { builtin_job_controllers: self.builtin, scheduler: true, ..Default::default() };
        if self.gang_scheduling {
            settings.apiserver_flags = vec![
                "--feature-gates=GenericWorkload=true,WorkloadWithJob=true".to_owned(),
                "--runtime-config=scheduling.k8s.io/v1beta1=true".to_owned(),
            ];
            settings.scheduler_flags = vec!["--feature-gates=GenericWorkload=true".to_owned()];
        }
        Options { control_plane: settings, nodes: self.nodes }
    }

    fn to_flags(&self) -> Vec<String> {
        let nodes = clap::ValueEnum::to_possible_value(&self.nodes).map(|value| value.get_name().to_owned());
        let mut flags = vec![format!("--nodes={}", nodes.unwrap_or_default())];
        flags.extend(self.builtin.then(|| "--builtin".to_owned()));
        flags.extend(self.gang_scheduling.then(|| "--gang-scheduling".to_owned()));
        flags
    }
}

fn path_of(name: &str) -> Result<PathBuf> {
    let all = [assets::CONTROL_PLANE, assets::REAL_NODE, &[assets::KWOK, assets::HELM, assets::PROMTOOL]].concat();
    let names: Vec<&str> = all.iter().map(|program| program.name).collect();
    let program = all.iter().find(|program| program.name == name);
    let program = program.with_context(|| format!("no program {name:?}; there are {}", names.join(", ")))?;
    assets::ensure(&[*program])?;
    program.path()
}

async fn with_cluster(arguments: &ClusterArguments, command: &[String]) -> Result<ExitCode> {
    let cluster = Cluster::start(&arguments.options()).await?;
    let program = command.first().context("no command")?;
    // The kernel kills the command when the thread that started it ends. This is the main thread, which ends with the
    // process.
    let status = tokio::process::Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .args(command)
        .env("KUBECONFIG", &cluster.kubeconfig)
        .kill_on_drop(true)
        .status()
        .await
        .with_context(|| format!("starting {program}"))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
