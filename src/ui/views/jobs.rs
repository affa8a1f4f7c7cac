//! The table of Jobs.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::client::explain::cause::State;
use crate::ui::cache::{JobRow, Visible};
use crate::ui::components::{
    Choice, Filter, Header, Order, Pager, chips, empty, filter_form, hidden, pager, progress, search_field,
    select_field, state, table, table_region, text_field,
};
use crate::ui::console::Console;
use crate::ui::error::PageError;
use crate::ui::identity::User;
use crate::ui::jobs::query::STATES;
use crate::ui::jobs::selection::{JobPage, ROWS};
use crate::ui::jobs::{Column, JobQuery};
use crate::ui::layout::{Content, Freshness, Section};
use crate::ui::text::{duration, name, truncated};

/// Maximum number of characters of a name in the table.
const NAME: usize = 40;
/// Maximum number of characters of a cause in the table.
const CAUSE: usize = 80;

pub(super) async fn content(console: &Console, user: &User, query: &str) -> Result<Content, PageError> {
    let query = JobQuery::parse(query).map_err(PageError::Invalid)?;
    let jobs = console.visible::<JobRow>(user, query.namespace.as_deref()).await?;
    let freshness = Freshness::Changes(vec![jobs.interest()]);
    Ok(Content::new("Jobs", Section::Jobs, freshness, main(&jobs, &query, crate::client::now())))
}

/// Returns the content for these Jobs.
pub(in crate::ui) fn main(jobs: &Visible<'_, JobRow>, query: &JobQuery, now: Timestamp) -> Markup {
    let page = JobPage::of(jobs, query, now);
    html! {
        h1 { "Jobs" }
        (super::notices(jobs))
        (filters(query, &page))
        @if page.rows.is_empty() {
            @if query.is_filtered() {
                (empty("No Job passes the filters.", html! { a href="/jobs" { "Show all Jobs" } }))
            } @else {
                (empty("There are no Jobs.", html! { p { "A Job appears here when it is created." } }))
            }
        } @else {
            @let links = links(query);
            (table_region("Jobs", table("Jobs", &headers(query, &links), rows(&page, now))))
        }
        (pages(query, &page))
    }
}

fn filters(query: &JobQuery, page: &JobPage) -> Markup {
    let labels: Vec<String> = STATES.iter().map(|state| format!("{} ({})", state.word(), page.count(*state))).collect();
    let mut states = vec![Choice { value: "", label: "All" }];
    let words: Vec<String> = STATES.iter().map(|state| state.word().to_lowercase()).collect();
    states.extend(words.iter().zip(&labels).map(|(value, label)| Choice { value, label }));
    let state = query.state.map(|state| state.word().to_lowercase()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let label = query.label.as_ref().map(|(text, _)| text.clone()).unwrap_or_default();
    let sort = JobQuery { sort: query.sort, ..JobQuery::default() };
    let sort = sort.url().split_once("sort=").map(|(_, sort)| sort.to_owned());
    let fields = [
        search_field("q", "Search", &text(&query.text), "Name, owner or cause"),
        text_field("namespace", "Namespace", &text(&query.namespace), "All"),
        select_field("state", "State", &states, &state),
        text_field("owner", "Owner", &text(&query.owner), "cronjob/nightly"),
        text_field("label", "Labels", &label, "app=etl,tier!=test"),
        sort.map(|sort| hidden("sort", &sort)).unwrap_or_default(),
    ];
    let reset = query.is_filtered().then_some("/jobs");
    let set: [(&str, Option<&str>, JobQuery); 5] = [
        ("Search", query.text.as_deref(), query.with(|query| query.text = None)),
        ("Namespace", query.namespace.as_deref(), query.with(|query| query.namespace = None)),
        ("State", query.state.map(State::word), query.with(|query| query.state = None)),
        ("Owner", query.owner.as_deref(), query.with(|query| query.owner = None)),
        ("Labels", Some(label.as_str()).filter(|label| !label.is_empty()), query.with(|query| query.label = None)),
    ];
    let links: Vec<String> = set.iter().map(|(_, _, without)| without.url()).collect();
    let set: Vec<Filter<'_>> = set
        .iter()
        .zip(&links)
        .filter_map(|((label, value, _), without)| Some(Filter { label, value: (*value)?, without }))
        .collect();
    html! { (filter_form("/jobs", &fields, reset)) (chips(&set)) }
}

/// Returns the link of each header, which sorts by its column.
fn links(query: &JobQuery) -> Vec<String> {
    Column::ALL.iter().map(|column| query.with(|query| query.sort = query.sort.clicked(*column)).url()).collect()
}

fn headers<'a>(query: &JobQuery, links: &'a [String]) -> Vec<Header<'a>> {
    Column::ALL.iter().zip(links).map(|(column, link)| header(query, *column, link)).collect()
}

fn header<'a>(query: &JobQuery, column: Column, link: &'a str) -> Header<'a> {
    let order = if query.sort.descending { Order::Descending } else { Order::Ascending };
    let (label, is_number) = match column {
        Column::Name => ("Job", false),
        Column::Namespace => ("Namespace", false),
        Column::State => ("State", false),
        Column::Succeeded => ("Done", true),
        Column::Failed => ("Failed", true),
        Column::Active => ("Active", true),
        Column::Duration => ("Duration", true),
        Column::Age => ("Age", true),
        Column::Owner => ("Owner", false),
        Column::Cause => ("Cause", false),
    };
    Header { label, href: Some(link), order: (query.sort.column == column).then_some(order), is_number }
}

fn rows(page: &JobPage, now: Timestamp) -> Markup {
    html! { @for job in &page.rows { (row(job, now)) } }
}

fn row(job: &JobRow, now: Timestamp) -> Markup {
    let count = |number: i32| u64::try_from(number).unwrap_or_default();
    let numbers = job.numbers;
    html! {
        tr {
            th scope="row" { a href=(super::job_path(&job.identity.namespace, &job.identity.name)) { (name(&job.identity.name, NAME)) } }
            td data-l="Namespace" { (name(&job.identity.namespace, NAME)) }
            td data-l="State" { (state(super::shown(job.state(now)))) }
            td.n data-l="Done" { (progress(count(numbers.succeeded), 0, 0, job.completions.map(count))) }
            td.n data-l="Failed" { @if numbers.failed > 0 { (numbers.failed) } }
            td.n data-l="Active" { @if numbers.active > 0 { (numbers.active) } }
            td.n data-l="Duration" { @if let Some(length) = job.duration(now) { (duration(length)) } }
            td.n data-l="Age" { (duration(now.duration_since(job.created))) }
            td data-l="Owner" { @if let Some(owner) = &job.owner { (name(&owner.name, NAME)) } }
            td {
                @if !matches!(job.state(now), State::Complete | State::Running) { (truncated(job.cause(now), CAUSE)) }
            }
        }
    }
}

fn pages(query: &JobQuery, page: &JobPage) -> Markup {
    let number = page.first / ROWS + 1;
    let url = |number: usize| JobQuery { page: number, ..query.clone() }.url();
    let (previous, next) = ((number > 1).then(|| url(number - 1)), (number < page.pages()).then(|| url(number + 1)));
    let place = |number: usize| u64::try_from(number).unwrap_or_default();
    pager(&Pager {
        first: place(page.first + usize::from(!page.rows.is_empty())),
        last: place(page.first + page.rows.len()),
        total: place(page.total),
        noun: "Jobs",
        previous: previous.as_deref(),
        next: next.as_deref(),
    })
}
