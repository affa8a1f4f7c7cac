//! The page of one schedule: the explanation, the next times, and the runs.

mod comparison;
mod runs;

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use maud::{Markup, html};

use super::job::explained;
use super::known::left_out;
use super::schedules::{with_zone, zone_links};
use crate::client::calendars;
use crate::client::cluster::{ClusterContext, ClusterReadError};
use crate::client::explain::collect::Scope;
use crate::client::explain::explanation::Explanation;
use crate::client::names::ObjectName;
use crate::client::selected;
use crate::schedule::cron_job::view::CronJobView;
use crate::schedule::job_schedule::view::JobScheduleView;
use crate::ui::access::Permission;
use crate::ui::actions;
use crate::ui::cache::{Interest, JobRow};
use crate::ui::charts::zone_name;
use crate::ui::components::{
    Crumb, Level, badge, breadcrumb, command, definitions, empty, notice, section, table, table_region,
};
use crate::ui::console::Console;
use crate::ui::error::PageError;
use crate::ui::identity::User;
use crate::ui::jobs::selection::page_number;
use crate::ui::layout::{Content, Freshness, Section};
use crate::ui::schedules::query::parse_zone;
use crate::ui::schedules::runs::by_owner;
use crate::ui::schedules::{Plan, Record, ScheduleKind, ScheduleQuery};
use crate::ui::text::{exact, neutral, relative_time};

/// Number of next times that are listed.
const NEXT: usize = 10;
/// Time for which clock changes are listed.
const CHANGES: SignedDuration = SignedDuration::from_hours(24 * 365);

/// Parameters of the URL.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::ui) struct Query {
    /// Zone of the viewer.
    pub zone: TimeZone,
    /// Names of the two Jobs that are compared.
    pub compare: Option<(String, String)>,
    /// Page of the runs, from 1.
    pub page: usize,
}

impl Query {
    /// Parses the query of a URL. The form of the page sends the names of the Jobs as `a` and `b`.
    ///
    /// # Errors
    /// A value is not accepted. The error is a sentence for the user.
    pub(in crate::ui) fn parse(query: &str) -> Result<Self, String> {
        let (mut zone, mut compare, mut one, mut other, mut page) = (TimeZone::UTC, None, None, None, 1);
        for (name, value) in form_urlencoded::parse(query.as_bytes()).filter(|(_, value)| !value.is_empty()) {
            match &*name {
                "zone" => zone = parse_zone(&value)?,
                "compare" => compare = value.split_once(',').map(|(one, other)| (one.to_owned(), other.to_owned())),
                "page" => page = page_number(&value)?,
                "a" => one = Some(value.into_owned()),
                "b" => other = Some(value.into_owned()),
                _ => {}
            }
        }
        let compare = compare.or_else(|| one.zip(other));
        match compare {
            Some((one, other)) if !super::is_name(&one) || !super::is_name(&other) => {
                Err("The parameter compare needs the names of two Jobs, such as compare=a,b.".to_owned())
            }
            compare => Ok(Self { zone, compare, page }),
        }
    }

    /// Returns the path of the page with the parameters of the zone and of the page of the runs.
    fn url(&self, plan: &Plan, page: usize) -> String {
        let path = with_zone(plan.path(), &self.zone);
        match page {
            1 => path,
            _ => format!("{path}{}page={page}", if path.contains('?') { '&' } else { '?' }),
        }
    }
}

pub(super) async fn content(
    console: &Console,
    user: &User,
    (kind, namespace, name): (ScheduleKind, &str, &str),
    query: &str,
) -> Result<Content, PageError> {
    let query = Query::parse(query).map_err(PageError::Invalid)?;
    let context = console.context(user, namespace);
    let object = ObjectName { kind: kind.of_client(), name: name.to_owned() };
    let group = object.kind.group();
    let permission = Permission { verb: "get", group, resource: object.kind.plural() };
    let found = selected::api(&context, object.kind, &Scope::Namespace(namespace.to_owned())).get(name).await;
    let found = found.map_err(|error| PageError::of_read(&error, permission, namespace, &object.to_string()))?;
    let (plan, calendars) = plan(kind, &found, &context).await?;
    let (explanation, jobs) = tokio::join!(
        crate::client::explain::read::explained(&context, &object),
        console.visible::<JobRow>(user, Some(namespace)),
    );
    let (jobs, interests, refused) = match jobs {
        Ok(jobs) => {
            let found = by_owner(&jobs, std::slice::from_ref(&plan)).remove(plan.uid()).unwrap_or_default();
            (found, vec![jobs.interest()], Markup::default())
        }
        Err(error) => (Vec::new(), Vec::<Interest>::new(), left_out(&error)),
    };
    let now = crate::client::now();
    let record = Record::of(&jobs, plan.stored(), now);
    let compared = match &query.compare {
        Some((one, other)) => comparison::read(&context, (one, other), &record, now).await,
        None => Markup::default(),
    };
    let target = (kind.of_client(), namespace, name);
    let actions = actions::of_schedule(console, user, target, plan.is_suspended()).await;
    let shown = Shown { plan: &plan, record: &record, explanation: &explanation, query: &query, actions: &actions };
    let main = html! {
        (shown.head(now))
        (refused)
        @if let Some(error) = calendars {
            (notice(Level::Warning, "Calendars cannot be read", html! { p { "The next times are those without Calendars: " (neutral(&error)) } }))
        }
        (compared)
        (shown.body(&console.zone, now))
        (section("commands", "The same on the command line", commands(&context, &object)))
    };
    let title = format!("{}/{name}", kind.word());
    Ok(Content::new(title, Section::Schedules, Freshness::ChangesAndTime(interests), main))
}

/// Returns the schedule of an object that was read, and the error of its Calendars.
async fn plan(
    kind: ScheduleKind,
    object: &DynamicObject,
    context: &ClusterContext,
) -> Result<(Plan, Option<String>), PageError> {
    let unreadable = |error: String| PageError::Unreadable { what: format!("the {}", kind.kind()), error };
    let incomplete = || unreadable("it lacks what every stored object has".to_owned());
    let text = serde_json::to_string(object).map_err(|error| unreadable(error.to_string()))?;
    match kind {
        ScheduleKind::CronJob => {
            let wire = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
            let view = CronJobView::parse(wire).ok_or_else(incomplete)?;
            Ok((Plan::of_cron_job(&Arc::new(view)), None))
        }
        ScheduleKind::JobSchedule => {
            let wire = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
            let view = JobScheduleView::parse(wire).ok_or_else(incomplete)?;
            let mut plan = Plan::of_job_schedule(&Arc::new(view.clone()));
            if view.calendars.is_empty() {
                return Ok((plan, None));
            }
            let found = match calendars::read(context, &view.calendars).await {
                Ok(found) => found,
                Err(error) => return Ok((plan, Some(crate::runtime::errors::message(&error)))),
            };
            let find = |name: &str| calendars::find(&found, &context.namespace, name);
            if let Some(with) = view.with_calendars(find) {
                plan = Plan::with_known_calendars(&Arc::new(with));
            }
            Ok((plan, None))
        }
    }
}

/// A schedule with its runs, as the page shows it.
pub(in crate::ui) struct Shown<'a> {
    /// Schedule.
    pub plan: &'a Plan,
    /// Runs.
    pub record: &'a Record<'a>,
    /// What the schedule is doing.
    pub explanation: &'a Result<Explanation, ClusterReadError>,
    /// Parameters of the URL.
    pub query: &'a Query,
    /// Links to the actions.
    pub actions: &'a Markup,
}

impl Shown<'_> {
    /// Returns the heading.
    pub(in crate::ui) fn head(&self, now: Timestamp) -> Markup {
        let identity = self.plan.identity();
        let of_namespace =
            ScheduleQuery { namespace: Some(identity.namespace.to_string()), ..ScheduleQuery::default() };
        let of_namespace = of_namespace.url();
        let crumbs = [
            Crumb { label: "Schedules", href: Some("/schedules") },
            Crumb { label: &identity.namespace, href: Some(&of_namespace) },
            Crumb { label: &identity.name, href: None },
        ];
        html! {
            (breadcrumb(&crumbs))
            div.head {
                h1 { (neutral(&identity.name)) " " (badge(self.plan.state(now))) }
                (self.actions)
            }
        }
    }

    /// Returns the content below the heading. `local` is the zone of the machine.
    pub(in crate::ui) fn body(&self, local: &TimeZone, now: Timestamp) -> Markup {
        let zone = &self.query.zone;
        html! {
            (section("explanation", "What it is doing", match self.explanation {
                Ok(explanation) => explained(explanation),
                Err(error) => html! { p.warn { "Not explained: " (neutral(&error.to_string())) } },
            }))
            (self.facts(now))
            (zone_links(zone, local, |zone| with_zone(self.plan.path(), zone)))
            // Two runs side by side are the subject of their page.
            @if self.query.compare.is_none() { (section("next", "Next times", self.next(now))) }
            (runs::content(self.plan, self.record, self.query, now))
        }
    }

    fn facts(&self, now: Timestamp) -> Markup {
        let (plan, zone) = (self.plan, &self.query.zone);
        let mut entries: Vec<(&str, Markup)> =
            vec![("Kind", html! { (plan.kind().kind()) }), ("Schedule", html! { code { (neutral(&plan.text())) } })];
        match &plan.rules {
            Ok(rules) => entries.push(("Zone of the schedule", html! { (zone_name(rules.zone())) })),
            Err(error) => entries.push(("Error", html! { (neutral(error)) })),
        }
        if let Some(late) = plan.late_since(now) {
            entries.push(("Late since", relative_time(late, now, zone)));
        }
        if let Some(last) = plan.last() {
            entries.push(("Last scheduled time", relative_time(last, now, zone)));
        }
        if let Some(rate) = self.record.success_rate() {
            entries.push(("Runs that succeeded", html! { (rate) " %" }));
        }
        definitions(&entries)
    }

    fn next(&self, now: Timestamp) -> Markup {
        let (plan, zone) = (self.plan, &self.query.zone);
        let times: Vec<Timestamp> = plan.upcoming(now).take(NEXT).collect();
        if times.is_empty() {
            let why = match (&plan.rules, plan.is_suspended()) {
                (_, true) => "The schedule is suspended.",
                (Err(_), false) => "The schedule is invalid.",
                (Ok(_), false) => "No later time matches.",
            };
            return empty("No run is due.", html! { p { (why) } });
        }
        let own = plan.rules.as_ref().ok().map(|rules| rules.zone()).filter(|own| *own != zone);
        let until = now.checked_add(CHANGES).unwrap_or(now);
        let changes = plan.rules.as_ref().map(|rules| rules.clock_changes(now, until)).unwrap_or_default();
        let calendar = format!("/calendar?namespace={}", plan.identity().namespace);
        let headers =
            crate::ui::views::headers([Some("In"), Some(zone_name(zone)), own.map(zone_name)].into_iter().flatten());
        let rows = html! {
            @for time in &times {
                tr {
                    td { (relative_time(*time, now, zone)) }
                    td { (exact(*time, zone)) }
                    @if let Some(own) = own { td { (exact(*time, own)) } }
                }
            }
        };
        html! {
            (table_region("Next times", table("Next times", &headers, rows)))
            p { a href=(with_zone(calendar, zone)) { "Show the calendar of the namespace" } }
            @if !changes.is_empty() {
                h3 { "Clock changes" }
                ul { @for change in &changes { li { (neutral(change)) } } }
            }
        }
    }
}

fn commands(context: &ClusterContext, object: &ObjectName) -> Markup {
    let suggest = &context.suggest;
    let (kind, name) = (object.kind.singular(), &object.name);
    let all = [
        suggest.jobwright(&format!("explain {kind}/{name}")),
        suggest.jobwright(&format!("history {kind}/{name}")),
        suggest.jobwright(&format!("next {kind}/{name}")),
        suggest.kubectl(&format!("describe {kind} {name}")),
    ];
    html! { @for one in all { (command(&one)) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_jobs_are_named_in_one_or_two_parameters() {
        let names = Some(("a".to_owned(), "b-1".to_owned()));
        assert_eq!(Query::parse("compare=a,b-1").unwrap().compare, names);
        assert_eq!(Query::parse("a=a&b=b-1&zone=Europe/Paris").unwrap().compare, names);
        assert_eq!(Query::parse("a=a").unwrap().compare, None);
        for wrong in ["compare=../x,b", "compare=a,", "a=A&b=b", "zone=x", "page=0"] {
            assert!(Query::parse(wrong).is_err(), "{wrong}");
        }
    }
}
