//! JobLimits with the Jobs that use them and those that wait, and queues of Kueue.

use std::sync::Arc;

use jiff::Timestamp;
use maud::{Markup, html};

use super::job_path;
use super::known::left_out;
use crate::job::admission::Reason;
use crate::limit::view::LimitView;
use crate::runtime::identity::Identity;
use crate::ui::cache::{Installed, JobRow};
use crate::ui::components::{
    Level, Pager, State, badge, empty, filter_form, notice, pager, section, table, table_region, text_field,
};
use crate::ui::console::Console;
use crate::ui::error::PageError;
use crate::ui::identity::User;
use crate::ui::jobs::selection::page_number;
use crate::ui::layout::{Content, Freshness, Section};
use crate::ui::limits::{ByNamespace, Use, Waiting, by_namespace};
use crate::ui::queues::{MAX_QUEUES, Queue, Queues};
use crate::ui::text::{counted, duration, name, neutral, number};

/// Number of limits on a page.
const LIMITS: usize = 10;
/// Maximum number of Jobs on a page in each state, which the limits of the page share.
const JOBS: usize = 40;
/// Maximum number of queues of each kind in the tables.
const QUEUES: usize = 25;
/// Maximum number of characters of a name.
const NAME: usize = 50;

pub(super) async fn content(console: &Console, user: &User, query: &str) -> Result<Content, PageError> {
    let query = Query::parse(query).map_err(PageError::Invalid)?;
    let Query { namespace, .. } = &query;
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
            Some(limits.all(|limit| query.matches(&limit.identity)))
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
        (filter_form("/limits", &[
            text_field("namespace", "Namespace", namespace.as_deref().unwrap_or_default(), "All"),
            text_field("name", "JobLimit", query.name.as_deref().unwrap_or_default(), "All"),
        ], query.is_filtered().then_some("/limits")))
        (main(limits, &jobs, &queues, &query, crate::client::now()))
    };
    Ok(Content::new("Limits", Section::Limits, Freshness::ChangesAndTime(interests), main))
}

/// Filters and page, as they are in the URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::ui) struct Query {
    /// Namespace of the limits.
    pub namespace: Option<String>,
    /// Name of the limits.
    pub name: Option<String>,
    /// Page, from 0.
    pub page: usize,
}

impl Query {
    /// Parses the query of a URL. Unknown parameters are ignored.
    ///
    /// # Errors
    /// A value is not accepted. The error is a sentence for the user.
    pub(in crate::ui) fn parse(query: &str) -> Result<Self, String> {
        let mut parsed = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.trim();
            match &*name {
                _ if value.is_empty() => {}
                // The namespace becomes a part of the path of a request.
                "namespace" if !super::is_name(value) => return Err(format!("{value:?} is no name of a namespace.")),
                "namespace" => parsed.namespace = Some(value.to_owned()),
                "name" => parsed.name = Some(value.to_owned()),
                "page" => parsed.page = page_number(value)? - 1,
                _ => {}
            }
        }
        Ok(parsed)
    }

    fn url(&self, page: usize) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("namespace", &self.namespace), ("name", &self.name)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        if page > 0 {
            query.append_pair("page", &(page + 1).to_string());
        }
        let query = query.finish();
        if query.is_empty() { "/limits".to_owned() } else { format!("/limits?{query}") }
    }

    fn is_filtered(&self) -> bool {
        self.namespace.is_some() || self.name.is_some()
    }

    fn matches(&self, identity: &Identity) -> bool {
        self.namespace.as_deref().is_none_or(|wanted| *identity.namespace == *wanted)
            && self.name.as_deref().is_none_or(|wanted| *identity.name == *wanted)
    }
}

/// Returns the content for these limits. `None` stands for a cluster without JobLimits.
pub(in crate::ui) fn main(
    limits: Option<Vec<Arc<LimitView>>>,
    jobs: &ByNamespace,
    queues: &Queues,
    query: &Query,
    now: Timestamp,
) -> Markup {
    let is_installed = limits.is_some();
    let mut limits = limits.unwrap_or_default();
    // The limits for which most Jobs wait come first.
    limits.sort_by_key(|limit| {
        (std::cmp::Reverse(limit.stored.waiting), limit.identity.namespace.clone(), limit.identity.name.clone())
    });
    let total = limits.len();
    let last = total.div_ceil(LIMITS).max(1) - 1;
    let page = query.page.min(last);
    let limits: Vec<_> = limits.into_iter().skip(page * LIMITS).take(LIMITS).collect();
    let max = JOBS / limits.len().max(1);
    let (previous, next) =
        (page.checked_sub(1).map(|page| query.url(page)), (page < last).then(|| query.url(page + 1)));
    let count = |number: usize| u64::try_from(number).unwrap_or_default();
    let place = Pager {
        first: count(page * LIMITS + 1),
        last: count(page * LIMITS + limits.len()),
        total: count(total),
        noun: "JobLimits",
        previous: previous.as_deref(),
        next: next.as_deref(),
    };
    html! {
        @if limits.is_empty() {
            @let why = if is_installed { "A JobLimit appears here when it is created." } else { "The cluster does not have the resource JobLimit." };
            (empty("There are no JobLimits.", html! { p { (why) } }))
        }
        @for (number, limit) in limits.iter().enumerate() {
            @let all = jobs.get(&limit.identity.namespace).map(Vec::as_slice).unwrap_or_default();
            (one_limit(number, limit, &Use::of(limit, all, now), max, now))
        }
        @if last > 0 { (pager(&place)) }
        (kueue(queues))
    }
}

fn one_limit(number_on_page: usize, limit: &LimitView, found: &Use, max: usize, now: Timestamp) -> Markup {
    let stored = &limit.stored;
    let heading = format!("{}/{}", limit.identity.namespace, limit.identity.name);
    let of = match (&limit.invalid, found.waiting.is_empty()) {
        (Some(_), _) => State::Invalid,
        (None, false) => State::Waiting,
        (None, true) => State::Running,
    };
    let alone = Query {
        namespace: Some(limit.identity.namespace.to_string()),
        name: Some(limit.identity.name.to_string()),
        page: 0,
    };
    let alone = alone.url(0);
    let count = |number: i32| u64::try_from(number).unwrap_or_default();
    let maximum = |max: Option<usize>| u64::try_from(max.unwrap_or_default()).unwrap_or_default();
    section(
        &format!("limit-{number_on_page}"),
        &heading,
        html! {
            p {
                (badge(of)) " "
                @if limit.jobs.is_some() { b { (number(count(stored.active_jobs))) " of " (number(maximum(limit.jobs))) } " Jobs in use " }
                @if limit.pods.is_some() { b { (number(count(stored.active_pods))) " of " (number(maximum(limit.pods))) } " pods in use " }
                "– " (counted(count(stored.waiting), "Job waits", "Jobs wait"))
            }
            @if let Some(error) = &limit.invalid { p.warn { (neutral(error)) } }
            (jobs(&found.users, (max, &alone), now))
            (waiting(&found.waiting, (max, &alone), now))
        },
    )
}

fn link(job: &JobRow) -> Markup {
    html! { a href=(job_path(&job.identity.namespace, &job.identity.name)) { (name(&job.identity.name, NAME)) } }
}

/// Returns the number of Jobs that are not listed, with a link to the page of the limit alone, which lists more.
fn left(all: usize, (max, alone): (usize, &str)) -> Markup {
    let more = u64::try_from(all.saturating_sub(max)).unwrap_or_default();
    html! {
        @if more > 0 {
            p {
                (counted(more, "Job is", "Jobs are")) " not listed here. "
                @if max < JOBS { a href=(alone) { "Show this limit alone" } }
            }
        }
    }
}

fn jobs(users: &[Arc<JobRow>], (max, alone): (usize, &str), now: Timestamp) -> Markup {
    let caption = "Jobs that use the limit";
    let rows = html! {
        @for job in users.iter().take(max) {
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
            (left(users.len(), (max, alone)))
        }
    }
}

fn waiting(all: &[Waiting], (max, alone): (usize, &str), now: Timestamp) -> Markup {
    let why = |reason: Reason| match reason {
        Reason::Queue => "No capacity",
        Reason::Group => "No capacity, and its group needs more than the limit allows",
        Reason::TooLarge => "Needs more pods than the limit allows",
        Reason::NoPods => "spec.parallelism is 0",
        Reason::After => "Waits for other Jobs",
    };
    let rows = html! {
        @for Waiting { job, position, reason } in all.iter().take(max) {
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
            (left(all.len(), (max, alone)))
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
        @if local.len() >= limit || cluster.len() >= limit { p { "Only the first " (limit) " queues of each kind are read." } }
    }
}

fn queue_table(caption: &str, parent: &str, queues: &[Queue]) -> Markup {
    let count = |count: i64| number(u64::try_from(count).unwrap_or_default());
    let rows = html! {
        @for queue in queues.iter().take(QUEUES) {
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
    let more = u64::try_from(queues.len().saturating_sub(QUEUES)).unwrap_or_default();
    html! {
        (table_region(caption, table(caption, &super::headers(["Queue", parent, "Pending", "Admitted"]), rows)))
        @if more > 0 { p { (counted(more, "queue is", "queues are")) " not listed here. Filter by namespace." } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_and_url_are_inverse() {
        for (query, url) in [("", "/limits"), ("namespace=a&name=b&page=3", "/limits?namespace=a&name=b&page=3")] {
            let parsed = Query::parse(query).unwrap();
            assert_eq!(parsed.url(parsed.page), url);
        }
        for wrong in ["page=0", "page=x", "namespace=..%2Fx", "namespace=%3Cb%3E"] {
            assert!(Query::parse(wrong).is_err(), "{wrong}");
        }
    }
}
