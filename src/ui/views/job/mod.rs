//! The page of one Job. Everything on it is read with the permissions of the user.

mod chart;
mod events;
mod indexes;
mod logs;
mod overview;
mod pods;
mod yaml;

pub(super) use self::overview::explained;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt;
use kube::api::DynamicObject;
use maud::{Markup, html};
use serde_json::Value;

pub(in crate::ui) use self::yaml::hide;
use crate::client::cluster::ClusterContext;
use crate::client::explain::collect::Scope;
use crate::client::explain::explanation::Explanation;
use crate::client::explain::read::explained_job;
use crate::client::names::Kind;
use crate::client::selected;
use crate::runtime::identity::ResourceVersion;
use crate::ui::access::Permission;
use crate::ui::actions;
use crate::ui::cache::Interest;
use crate::ui::components::{Crumb, State, Tab, badge, breadcrumb, tabs};
use crate::ui::console::Console;
use crate::ui::error::PageError;
use crate::ui::identity::User;
use crate::ui::layout::{Content, Freshness, Section};
use crate::ui::logs::query::LogQuery;
use crate::ui::text::neutral;

/// Permission that the page needs.
const GET: Permission = Permission { verb: "get", group: "batch", resource: "jobs" };

/// Part of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ui) enum Part {
    Overview,
    Pods,
    Logs,
    Yaml,
}

impl Part {
    const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Overview, "overview", "Overview"),
        (Self::Pods, "pods", "Pods"),
        (Self::Logs, "logs", "Logs"),
        (Self::Yaml, "yaml", "YAML"),
    ];

    fn parse(query: &str) -> Option<Self> {
        let tab = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "tab").map(|(_, value)| value);
        let Some(tab) = tab else { return Some(Self::Overview) };
        Self::ALL.into_iter().find(|(_, name, _)| *name == tab).map(|(part, _, _)| part)
    }
}

/// A Job with what the user may read of it.
pub(in crate::ui) struct Opened {
    /// The Job.
    pub job: Job,
    /// Pods of the Job.
    pub pods: kube::Result<Vec<Pod>>,
    /// Events about the Job and its pods.
    pub events: kube::Result<Vec<Event>>,
    /// What the Job is doing.
    pub explanation: Explanation,
}

pub(super) async fn content(
    console: &Console,
    user: &User,
    (namespace, name): (&str, &str),
    query: &str,
) -> Result<Content, PageError> {
    let part = Part::parse(query).ok_or(PageError::NotFound)?;
    let context = console.context(user, namespace);
    let scope = Scope::Namespace(namespace.to_owned());
    let found = selected::api(&context, Kind::Job, &scope).get(name).await;
    let object = found.map_err(|error| PageError::of_read(&error, GET, namespace, &format!("job/{name}")))?;
    let now = crate::client::now();
    let seen = object.resource_version().as_deref().and_then(ResourceVersion::parse);
    let interest = object.uid().zip(seen).map(|(uid, seen)| Interest::Job { uid: uid.into(), seen });
    let interest: Vec<Interest> = interest.into_iter().collect();
    let value: Value = serde_json::to_value(&object).unwrap_or_default();
    let buttons = actions::of_job(console, user, (namespace, name), &value).await;
    let main = match part {
        Part::Yaml => {
            let (title, state) = (name, None);
            frame((namespace, title), state, &buttons, part, &yaml::yaml(object))
        }
        Part::Logs => {
            let opened = open(&context, &object, part).await?;
            let query = LogQuery::parse(query, Some((namespace, name)));
            let content = logs::content(console, user, &opened, &query).await;
            let state = State::from_name(&format!("{:?}", opened.explanation.state));
            frame((namespace, name), Some(state), &buttons, part, &content)
        }
        Part::Overview | Part::Pods => {
            let opened = open(&context, &object, part).await?;
            page(&opened, part, &context, console, &buttons, now)
        }
    };
    // New lines arrive by a stream of their own.
    let freshness = if part == Part::Logs { Freshness::Never } else { Freshness::ChangesAndTime(interest) };
    Ok(Content::new(format!("job/{name}"), Section::Jobs, freshness, main))
}

async fn open(context: &ClusterContext, object: &DynamicObject, part: Part) -> Result<Opened, PageError> {
    let value: Value = serde_json::to_value(object).unwrap_or_default();
    let job: Job = serde_json::from_value(value)
        .map_err(|error| PageError::Unreadable { what: "the Job".to_owned(), error: error.to_string() })?;
    let pods = context.pods_of(&job).await;
    let events = async {
        match part {
            Part::Overview => events::read(context, &job, pods.as_deref().unwrap_or_default()).await,
            _ => Ok(Vec::new()),
        }
    };
    let (explanation, events) = tokio::join!(explained_job(context, &job, &pods), events);
    Ok(Opened { job, pods, events, explanation })
}

/// Returns the content of a part of the page.
pub(in crate::ui) fn page(
    opened: &Opened,
    part: Part,
    context: &ClusterContext,
    console: &Console,
    buttons: &Markup,
    now: Timestamp,
) -> Markup {
    let metadata = &opened.job.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    let state = State::from_name(&format!("{:?}", opened.explanation.state));
    let content = match part {
        Part::Pods => pods::table(opened),
        Part::Overview | Part::Logs | Part::Yaml => overview::content(opened, &context.suggest, &console.zone, now),
    };
    frame((&context.namespace, name), Some(state), buttons, part, &content)
}

fn frame(
    (namespace, name): (&str, &str),
    state: Option<State>,
    buttons: &Markup,
    part: Part,
    content: &Markup,
) -> Markup {
    let path = super::job_path(namespace, name);
    let of_namespace = crate::ui::jobs::JobQuery::of_namespace(namespace).url();
    let hrefs = Part::ALL.map(|(part, tab, _)| match part {
        Part::Overview => path.clone(),
        _ => format!("{path}?tab={tab}"),
    });
    let links: Vec<Tab<'_>> = Part::ALL
        .iter()
        .zip(&hrefs)
        .map(|((this, _, label), href)| Tab { label, href, count: None, is_current: *this == part })
        .collect();
    let crumbs = [
        Crumb { label: "Jobs", href: Some("/jobs") },
        Crumb { label: namespace, href: Some(&of_namespace) },
        Crumb { label: name, href: None },
    ];
    html! {
        (breadcrumb(&crumbs))
        div.head {
            h1 { (neutral(name)) @if let Some(state) = state { " " (badge(state)) } }
            (buttons)
        }
        (tabs("Parts of the Job", &links))
        (content)
    }
}
