//! JobLimits with the Jobs that use them and those that wait, and queues of Kueue.

use std::sync::Arc;

use jiff::Timestamp;
use maud::{Markup, html};

use super::job_path;
use super::known::left_out;
use crate::job::admission::Reason;
use crate::limit::view::LimitView;
use crate::ui::cache::{Installed, JobRow};
use crate::ui::components::{
    Level, State, badge, empty, filter_form, notice, section, table, table_region, text_field,
};
use crate::ui::console::Console;
use crate::ui::error::PageError;
use crate::ui::identity::User;
use crate::ui::layout::{Content, Freshness, Section};
use crate::ui::limits::{ByNamespace, Use, Waiting, by_namespace};
use crate::ui::queues::{MAX_QUEUES, Queue, Queues};
use crate::ui::text::{counted, duration, name, neutral, number};

/// Maximum number of limits on the page.
const LIMITS: usize = 50;
/// Maximum number of Jobs of a limit in each state.
const JOBS: usize = 20;
/// Maximum number of characters of a name.
const NAME: usize = 50;

pub(super) async fn content(console: &Console, user: &User, query: &str) -> Result<Content, PageError> {
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    let namespace = parameters.find(|(name, value)| name == "namespace" && !value.trim().is_empty());
    let namespace = namespace.map(|(_, value)| value.trim().to_owned());
    let only = namespace.as_deref().or(console.caches.only_namespace());
    let (limits, jobs, queues) = tokio::join!(
        async {
            match console.caches.installed::<LimitView>() {
                Installed::No => None,
                _ => Some(console.visible::<LimitView>(user, namespace.as_deref()).await),
            }
        },
        console.visible::<JobRow>(user, namespace.as_deref()),
        console.queues.read(&console.access, user, only),
    );
    let mut interests = Vec::new();
    let limits = match limits.transpose()? {
        Some(limits) => {
            interests.push(limits.interest());
            let wanted = |limit: &LimitView| namespace.as_deref().is_none_or(|one| *limit.identity.namespace == *one);
            Some(limits.all(wanted))
        }
        None => None,
    };
    let (jobs, refused) = match &jobs {
        Ok(jobs) => {
            interests.push(jobs.interest());
            (by_namespace(jobs, limits.as_deref().unwrap_or_default()), Markup::default())
        }
        Err(error) => (ByNamespace::new(), left_out(error)),
    };
    let main = html! {
        h1 { "Limits" }
        (refused)
        (filter_form("/limits", &[text_field("namespace", "Namespace", namespace.as_deref().unwrap_or_default(), "All")],
            namespace.is_some().then_some("/limits")))
        (main(limits, &jobs, &queues, crate::client::now()))
    };
    Ok(Content::new("Limits", Section::Limits, Freshness::ChangesAndTime(interests), main))
}

/// Returns the content for these limits. `None` stands for a cluster without JobLimits.
pub(in crate::ui) fn main(
    limits: Option<Vec<Arc<LimitView>>>,
    jobs: &ByNamespace,
    queues: &Queues,
    now: Timestamp,
) -> Markup {
    let is_installed = limits.is_some();
    let mut limits = limits.unwrap_or_default();
    // The limits for which most Jobs wait come first.
    limits.sort_by_key(|limit| {
        (std::cmp::Reverse(limit.stored.waiting), limit.identity.namespace.clone(), limit.identity.name.clone())
    });
    let more = limits.len().saturating_sub(LIMITS);
    limits.truncate(LIMITS);
    html! {
        @if limits.is_empty() {
            @let why = if is_installed { "A JobLimit appears here when it is created." } else { "The cluster does not have the resource JobLimit." };
            (empty("There are no JobLimits.", html! { p { (why) } }))
        }
        @for (place, limit) in limits.iter().enumerate() {
            @let all = jobs.get(&limit.identity.namespace).map(Vec::as_slice).unwrap_or_default();
            (one_limit(place, limit, &Use::of(limit, all, now), now))
        }
        @if more > 0 {
            p { (counted(u64::try_from(more).unwrap_or_default(), "JobLimit is", "JobLimits are")) " not listed here. Filter by namespace." }
        }
        (kueue(queues))
    }
}

fn one_limit(place: usize, limit: &LimitView, found: &Use, now: Timestamp) -> Markup {
    let stored = &limit.stored;
    let heading = format!("{}/{}", limit.identity.namespace, limit.identity.name);
    let of = match (&limit.invalid, found.waiting.is_empty()) {
        (Some(_), _) => State::Invalid,
        (None, false) => State::Waiting,
        (None, true) => State::Running,
    };
    let count = |number: i32| u64::try_from(number).unwrap_or_default();
    let maximum = |max: Option<usize>| u64::try_from(max.unwrap_or_default()).unwrap_or_default();
    section(
        &format!("limit-{place}"),
        &heading,
        html! {
            p {
                (badge(of)) " "
                @if limit.jobs.is_some() { b { (number(count(stored.active_jobs))) " of " (number(maximum(limit.jobs))) } " Jobs in use " }
                @if limit.pods.is_some() { b { (number(count(stored.active_pods))) " of " (number(maximum(limit.pods))) } " pods in use " }
                "– " (counted(count(stored.waiting), "Job waits", "Jobs wait"))
            }
            @if let Some(error) = &limit.invalid { p.warn { (neutral(error)) } }
            (jobs("Jobs that use the limit", &found.users, now))
            (waiting(&found.waiting, now))
        },
    )
}

fn link(job: &JobRow) -> Markup {
    html! { a href=(job_path(&job.identity.namespace, &job.identity.name)) { (name(&job.identity.name, NAME)) } }
}

fn left(all: usize) -> Markup {
    let more = u64::try_from(all.saturating_sub(JOBS)).unwrap_or_default();
    html! { @if more > 0 { p { (counted(more, "Job is", "Jobs are")) " not listed here." } } }
}

fn jobs(caption: &str, users: &[Arc<JobRow>], now: Timestamp) -> Markup {
    let rows = html! {
        @for job in users.iter().take(JOBS) {
            tr {
                th scope="row" { (link(job)) }
                td.n data-l="Active pods" { (job.numbers.active) }
                td.n data-l="Running for" { @if let Some(length) = job.duration(now) { (duration(length)) } }
            }
        }
    };
    html! {
        @if users.is_empty() { p { "No Job uses the limit." } } @else {
            (table_region(caption, table(caption, &super::headers(["Used by", "Active pods", "Running for"]), rows)))
            (left(users.len()))
        }
    }
}

fn waiting(all: &[Waiting], now: Timestamp) -> Markup {
    let why = |reason: Reason| match reason {
        Reason::Queue => "No capacity",
        Reason::Group => "No capacity, and its group needs more than the limit allows",
        Reason::TooLarge => "Needs more pods than the limit allows",
        Reason::NoPods => "spec.parallelism is 0",
        Reason::After => "Waits for other Jobs",
    };
    let rows = html! {
        @for Waiting { job, position, reason } in all.iter().take(JOBS) {
            tr {
                th scope="row" { (link(job)) }
                td.n data-l="Position" { @match position { Some(position) => (position), None => "–" } }
                td.n data-l="Priority" { (job.priority) }
                td.n data-l="Age" { (duration(now.duration_since(job.created))) }
                td data-l="Reason" { (why(*reason)) }
            }
        }
    };
    let headers = super::headers(["Waiting", "Position", "Priority", "Age", "Reason"]);
    html! {
        @if !all.is_empty() {
            (table_region("Jobs that wait", table("Jobs that wait for the limit, in the order of admission", &headers, rows)))
            (left(all.len()))
        }
    }
}

fn kueue(queues: &Queues) -> Markup {
    let Queues { local, cluster, failed } = queues;
    let limit = usize::try_from(MAX_QUEUES).unwrap_or(usize::MAX);
    html! {
        @if let Some(error) = failed {
            (notice(Level::Warning, "Queues of Kueue cannot be read", html! { p { (neutral(error)) } }))
        }
        @if !local.is_empty() { (section("local-queues", "Kueue: LocalQueues", queue_table("LocalQueues", "ClusterQueue", local))) }
        @if !cluster.is_empty() { (section("cluster-queues", "Kueue: ClusterQueues", queue_table("ClusterQueues", "Cohort", cluster))) }
        @if local.len() >= limit || cluster.len() >= limit { p { "Only the first " (limit) " queues of each kind are listed." } }
    }
}

fn queue_table(caption: &str, parent: &str, queues: &[Queue]) -> Markup {
    let count = |count: i64| number(u64::try_from(count).unwrap_or_default());
    let rows = html! {
        @for queue in queues {
            tr {
                th scope="row" {
                    (name(&queue.name, NAME))
                    @if let Some(namespace) = &queue.namespace { " " small { (name(namespace, NAME)) } }
                }
                td data-l=(parent) { (name(&queue.parent, NAME)) }
                td.n data-l="Pending" { (count(queue.pending)) }
                td.n data-l="Admitted" { (count(queue.admitted)) }
            }
        }
    };
    table_region(caption, table(caption, &super::headers(["Queue", parent, "Pending", "Admitted"]), rows))
}
