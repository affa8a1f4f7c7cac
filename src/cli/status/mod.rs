//! `jobwright status`: whether a controller is alive, and everything else that a bug report needs.
//!
//! The command reads with the permissions of its user. What cannot be read is named, and the rest is reported.

pub(crate) mod report;

use std::process::ExitCode;

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use thiserror::Error;

use self::report::{Allowed, Known, Replica, Report, built_in, controllers, problems, replica, server, text};
use super::global::GlobalArguments;
use super::version;
use crate::client::connect::ConnectError;
use crate::client::format::Format;
use crate::client::leases::Leases;
use crate::client::lists::ListEach;
use crate::client::output;
use crate::client::terminal::Screen;
use crate::runtime::errors::message;
use crate::schedule::job_schedule::API_VERSION;

/// Exit code after an error.
const ERROR: u8 = 2;
/// Label of the pods of a controller that the chart installs.
const POD_LABELS: &str = "app.kubernetes.io/name=jobwright,app.kubernetes.io/component=controller";

/// Permissions of the commands: group, resource, verb, and the commands that need it.
const PERMISSIONS: &[(&str, &str, &str, &str)] = &[
    ("batch", "jobs", "get", "explain, timeline, logs"),
    ("batch", "jobs", "list", "explain, top, history"),
    ("batch", "jobs", "watch", "wait, trigger --watch, logs --follow"),
    ("batch", "jobs", "create", "trigger, rerun"),
    ("batch", "jobs", "patch", "suspend, resume"),
    ("batch", "cronjobs", "get", "explain, trigger, history"),
    ("batch", "cronjobs", "patch", "suspend, resume"),
    ("", "pods", "list", "explain, timeline, logs"),
    ("", "pods", "watch", "logs --follow"),
    ("", "pods/log", "get", "logs"),
    ("", "events", "list", "explain"),
];
/// Permissions for the resources of Jobwright.
const OWN_PERMISSIONS: &[(&str, &str, &str, &str)] = &[
    ("jobwright.dev", "jobschedules", "get", "explain, trigger, history"),
    ("jobwright.dev", "jobschedules", "patch", "suspend, resume"),
    ("jobwright.dev", "joblimits", "list", "explain"),
    ("jobwright.dev", "jobpolicies", "list", "explain"),
];

/// The flags of `jobwright status`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// Text, for reading
    Text,
    /// Text with a line for each permission
    Wide,
    /// JSON, with the fields that docs/output.md describes
    Json,
    /// YAML, with the same fields
    Yaml,
}

impl Output {
    fn structured(self) -> Format {
        match self {
            Self::Text | Self::Wide => Format::Text,
            Self::Json => Format::Json,
            Self::Yaml => Format::Yaml,
        }
    }
}

/// Reason why there is no report.
#[derive(Debug, Error)]
enum StatusError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot read the version of the API server: {0}")]
    Version(String),
}

/// Prints the report. The exit code is 0 without a problem, 1 with one, and 2 after an error.
pub fn main(arguments: &Arguments, global: &GlobalArguments) -> ExitCode {
    match read(global) {
        Ok(report) => {
            let screen = Screen::stdout(global.color);
            let text = || text(&report, crate::client::now(), arguments.output == Output::Wide, &screen);
            output::print(arguments.output.structured().object(&report).unwrap_or_else(text));
            if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            output::error_line(format!("jobwright: {error}"));
            ExitCode::from(ERROR)
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn read(global: &GlobalArguments) -> Result<Report, StatusError> {
    let context = global.open().await?;
    let (client, namespace) = (&context.client, context.namespace.as_str());
    let info = client.apiserver_version().await.map_err(|error| StatusError::Version(message(&error)))?;
    let resources = resources(client).await;
    let installed = matches!(&resources, Known::Found(resources) if !resources.is_empty());
    let needed: Vec<_> = PERMISSIONS.iter().chain(OWN_PERMISSIONS.iter().filter(|_| installed)).collect();
    let (leases, replicas, permissions) = tokio::join!(
        Leases::read_all(client, namespace),
        replicas(client, namespace),
        join_all(needed.into_iter().map(|permission| allowed(client, namespace, *permission))),
    );
    let now = crate::client::now();
    let mut report = Report {
        client: version::text(),
        server: server(&info.major, &info.minor, &info.git_version),
        resources,
        controllers: controllers(&leases, now),
        built_in: built_in(&leases, now),
        replicas,
        namespace: namespace.to_owned(),
        permissions,
        problems: Vec::new(),
    };
    report.problems = problems(&report);
    Ok(report)
}

async fn resources(client: &Client) -> Known<Vec<String>> {
    match client.list_api_group_resources(API_VERSION).await {
        Ok(found) => {
            let version = API_VERSION.rsplit('/').next().unwrap_or_default();
            let whole = found.resources.iter().filter(|resource| !resource.name.contains('/'));
            Known::Found(whole.map(|resource| format!("{}/{version}", resource.name)).collect())
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Known::Found(Vec::new()),
        Err(error) => Known::Unreadable(message(&error)),
    }
}

async fn replicas(client: &Client, namespace: &str) -> Known<Vec<Replica>> {
    let labels = ListParams::default().labels(POD_LABELS);
    let pods = match Api::<Pod>::all(client.clone()).list_each(&labels).await {
        Ok(list) => Ok(list),
        Err(_) => Api::<Pod>::namespaced(client.clone(), namespace).list_each(&labels).await,
    };
    match pods {
        Ok(list) => Known::Found(list.iter().map(replica).collect()),
        Err(error) => Known::Unreadable(message(&error)),
    }
}

async fn allowed(client: &Client, namespace: &str, permission: (&str, &str, &str, &'static str)) -> Allowed {
    let (group, resource, verb, needed_by) = permission;
    let (plain, subresource) = resource.split_once('/').map_or((resource, None), |(plain, sub)| (plain, Some(sub)));
    let attributes = ResourceAttributes {
        group: Some(group.to_owned()),
        resource: Some(plain.to_owned()),
        subresource: subresource.map(str::to_owned),
        verb: Some(verb.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
        ..Default::default()
    };
    let answer = Api::<SelfSubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await;
    // A permission that cannot be checked counts as granted, as for the controller.
    let allowed = answer.map_or(true, |review| review.status.is_some_and(|status| status.allowed));
    Allowed { action: format!("{verb} {resource}"), needed_by, allowed }
}
