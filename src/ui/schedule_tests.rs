//! Snapshots of the pages of schedules and limits, and the rules for tenants on these pages.

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::html;
use serde_json::{Value, json};

use super::cache::JobRow;
use super::fixtures::{Scene, client_of, job};
use super::limits::by_namespace;
use super::queues::{Queue, Queues};
use super::schedules::calendar::CalendarQuery;
use super::schedules::runs::by_owner;
use super::schedules::{Plan, Record, ScheduleQuery};
use super::snapshot_tests::assert_snapshot;
use super::views;
use crate::client::explain::explanation::Explanation;
use crate::limit::view::LimitView;
use crate::schedule::cron_job::view::CronJobView;
use crate::schedule::job_schedule::view::JobScheduleView;

const HOSTILE: &str = "<script>alert(1)</script>\u{202e}\u{1b}[2J";

fn now() -> Timestamp {
    "2026-03-28T12:10:00Z".parse().unwrap()
}

fn cron_job(namespace: &str, name: &str, spec: &Value, status: &Value) -> Value {
    let mut full = json!({"schedule": "0 */2 * * *", "timeZone": "Europe/Paris", "jobTemplate": {}});
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {"namespace": namespace, "name": name, "uid": format!("{namespace}-{name}"), "resourceVersion": "1",
            "creationTimestamp": "2026-03-01T00:00:00Z"},
        "spec": full, "status": status})
}

fn job_schedule(namespace: &str, name: &str) -> Value {
    let template = json!({"spec": {"template": {"spec": {"containers": []}}}});
    let run = |job: &str, outcome: &str, hour: u8| {
        json!({"job": job, "outcome": outcome, "scheduled": format!("2026-03-28T0{hour}:30:00Z"), "reason": "BackoffLimitExceeded",
            "message": HOSTILE, "started": format!("2026-03-28T0{hour}:30:01Z"), "finished": format!("2026-03-28T0{hour}:35:01Z")})
    };
    json!({"apiVersion": "jobwright.dev/v1beta1", "kind": "JobSchedule",
        "metadata": {"namespace": namespace, "name": name, "uid": format!("{namespace}-{name}"), "resourceVersion": "1",
            "creationTimestamp": "2026-03-01T00:00:00Z"},
        "spec": {"schedules": ["30 2 * * *"], "timeZone": "Europe/Paris", "jobTemplate": template},
        "status": {"nextScheduleTime": "2026-03-29T01:30:00Z", "history": [run("s-2", "Failed", 3), run("s-1", "Succeeded", 2)]}})
}

fn limit(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "jobwright.dev/v1beta1", "kind": "JobLimit",
        "metadata": {"namespace": namespace, "name": name, "uid": format!("{namespace}-{name}"), "resourceVersion": "1"},
        "spec": {"maxActiveJobs": 1}, "status": {"activeJobs": 1, "waiting": 1, "used": "1/1 Jobs", "next": ["waits"]}})
}

fn run(namespace: &str, owner: &str, name: &str, end: Option<&str>) -> Value {
    let mut status = json!({"startTime": "2026-03-28T10:00:01Z", "active": 1, "ready": 1});
    if let Some(type_) = end {
        status = json!({"startTime": "2026-03-28T08:00:01Z", "conditions": [{"type": type_, "status": "True",
            "reason": "R", "message": HOSTILE, "lastTransitionTime": "2026-03-28T08:05:01Z"}]});
    }
    let mut job = job(namespace, name, status);
    job["metadata"]["creationTimestamp"] = "2026-03-28T08:00:00Z".into();
    job["metadata"]["annotations"] = json!({crate::schedule::SCHEDULED_ANNOTATION: "2026-03-28T08:00:00Z"});
    job["metadata"]["ownerReferences"] = json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": owner,
        "uid": format!("{namespace}-{owner}"), "controller": true}]);
    job["spec"]["managedBy"] = "jobwright.dev/controller".into();
    job
}

fn waiting(namespace: &str, limit: &str) -> Value {
    let mut job = job(namespace, "waits", json!({}));
    let text = json!({"limit": limit, "position": 4, "reason": "Queue"}).to_string();
    job["metadata"]["annotations"] = json!({crate::job::admission::WAITING_ANNOTATION: text});
    job["metadata"]["creationTimestamp"] = "2026-03-28T08:00:00Z".into();
    job["spec"]["managedBy"] = "jobwright.dev/controller".into();
    job
}

fn objects(namespace: &str, prefix: &str) -> Vec<Value> {
    let served = json!({"lastScheduleTime": "2026-03-28T11:00:00Z"});
    vec![
        cron_job(namespace, &format!("{prefix}due"), &json!({}), &served),
        cron_job(namespace, &format!("{prefix}late"), &json!({}), &json!({"lastScheduleTime": "2026-03-28T09:00:00Z"})),
        cron_job(namespace, &format!("{prefix}paused"), &json!({"suspend": true}), &served),
        cron_job(namespace, &format!("{prefix}wrong"), &json!({"schedule": HOSTILE}), &served),
        job_schedule(namespace, &format!("{prefix}stored")),
        limit(namespace, &format!("{prefix}limit")),
    ]
}

fn jobs(namespace: &str, prefix: &str) -> Vec<Value> {
    let owner = format!("{prefix}due");
    vec![
        run(namespace, &owner, &format!("{prefix}due-1"), Some("Failed")),
        run(namespace, &owner, &format!("{prefix}due-2"), Some("Complete")),
        run(namespace, &owner, &format!("{prefix}due-3"), None),
        waiting(namespace, &format!("{prefix}limit")),
    ]
}

fn scene() -> Scene {
    Scene::with_objects(&["*"], jobs("team-a", ""), objects("team-a", ""), false)
}

async fn plans(scene: &Scene) -> Vec<Plan> {
    let user = scene.user();
    let cron_jobs = scene.console.visible::<CronJobView>(user, None).await.unwrap().all(|_| true);
    let schedules = scene.console.visible::<JobScheduleView>(user, None).await.unwrap().all(|_| true);
    let cron_jobs = cron_jobs.iter().map(Plan::of_cron_job);
    cron_jobs.chain(schedules.iter().map(Plan::of_job_schedule)).collect()
}

#[tokio::test]
async fn table_and_calendar_are_as_in_their_snapshots() {
    let scene = scene();
    let mut plans = plans(&scene).await;
    let jobs = by_owner(&scene.console.visible::<JobRow>(scene.user(), None).await.unwrap(), &plans);
    let local = TimeZone::get("America/New_York").unwrap();
    for (name, query) in [("schedules", "zone=Asia%2FTokyo"), ("schedules-none", "q=none&state=late")] {
        let query = ScheduleQuery::parse(query).unwrap();
        let html = views::schedules::main(&plans, &jobs, &query, &local, now()).into_string();
        assert!(!html.contains('\u{202e}') && !html.contains("<script>"), "{html}");
        assert_snapshot(name, &html);
    }
    for view in ["day", "week", "month"] {
        let query = CalendarQuery::parse(&format!("view={view}&date=2026-03-28"), now()).unwrap();
        let html = views::calendar::main(&mut plans, &jobs, &query, &local, now()).into_string();
        assert!(html.len() < 30 * 1024, "{} bytes", html.len());
        assert_eq!(html.contains("Europe/Paris: on 2026-03-29"), view != "day", "{html}");
        assert_snapshot(&format!("calendar-{view}"), &html);
    }
}

#[tokio::test]
async fn page_of_a_schedule_is_as_in_its_snapshot() {
    let scene = scene();
    let plans = plans(&scene).await;
    let jobs = by_owner(&scene.console.visible::<JobRow>(scene.user(), None).await.unwrap(), &plans);
    let headline = format!("CronJob due: {HOSTILE}");
    let explanation = Ok(Explanation { headline, ..Explanation::default() });
    let query = views::schedule::Query::parse("zone=Asia/Tokyo").unwrap();
    for name in ["due", "late", "paused", "wrong", "stored"] {
        let plan = plans.iter().find(|plan| &*plan.identity().name == name).unwrap();
        let record = Record::of(&jobs[plan.uid()], plan.stored(), now());
        let shown = views::schedule::Shown {
            plan,
            record: &record,
            explanation: &explanation,
            query: &query,
            actions: &html! {},
        };
        let html = shown.head(now()).into_string() + &shown.body(&TimeZone::UTC, now()).into_string();
        assert!(!html.contains('\u{202e}') && !html.contains("<script>"), "{html}");
        assert_snapshot(&format!("schedule-{name}"), &html);
    }
}

#[tokio::test]
async fn limits_and_queues_are_as_in_their_snapshot() {
    let scene = scene();
    let user = scene.user();
    let limits: Vec<Arc<LimitView>> = scene.console.visible::<LimitView>(user, None).await.unwrap().all(|_| true);
    let jobs = by_namespace(&scene.console.visible::<JobRow>(user, None).await.unwrap(), &limits);
    let queue = |namespace: Option<&str>, name: &str| Queue {
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
        parent: HOSTILE.to_owned(),
        pending: 3,
        admitted: 2,
    };
    let queues = Queues { local: vec![queue(Some("team-a"), "q")], cluster: vec![queue(None, "all")], failed: None };
    let html = views::limits::main(Some(limits), &jobs, &queues, &Default::default(), now()).into_string();
    assert!(html.contains("due-3") && !html.contains('\u{202e}') && !html.contains("<script>"), "{html}");
    assert_snapshot("limits", &html);
    let none = views::limits::main(None, &jobs, &Queues::default(), &Default::default(), now()).into_string();
    assert!(none.contains("does not have the resource JobLimit"), "{none}");
}

#[tokio::test]
async fn nothing_of_another_tenant_is_shown() {
    let all = |make: fn(&str, &str) -> Vec<Value>| [make("team-a", ""), make("team-b", "hidden-")].concat();
    let scene = Scene::with_objects(&["team-a"], all(jobs), all(objects), false);
    let pages = [
        "/",
        "/schedules",
        "/schedules?q=hidden-due",
        "/schedules?state=late",
        "/schedules?sort=-namespace&page=9",
        "/schedules?namespace=team-a",
        "/calendar?view=day&date=2026-03-28",
        "/calendar?view=month&date=2026-03-28",
        "/limits",
        "/limits?namespace=team-a",
        "/schedules/cronjob/team-x/none",
    ];
    for page in pages {
        let (_, text) = scene.get(page).await;
        for secret in ["team-b", "hidden-"] {
            assert!(page.contains(secret) || !text.contains(secret), "{page} has {secret}: {text}");
        }
    }
    let (status, text) = scene.get("/schedules").await;
    assert!(status == StatusCode::OK && text.contains("5 schedules") && text.contains("stored"), "{text}");
    let (_, text) = scene.get("/").await;
    assert!(text.contains("Late schedules") && text.contains("/schedules/cronjob/team-a/late"), "{text}");
    for refused in ["/schedules?namespace=team-b", "/calendar?namespace=team-b", "/limits?namespace=team-b"] {
        let (status, one) = scene.get(refused).await;
        let (_, other) = scene.get(&refused.replace("team-b", "team-c")).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{one}");
        assert_eq!(one.len(), other.len(), "the refusal does not depend on the objects");
    }
    for path in ["/schedules/cronjob/team-b/hidden-due", "/schedules/cronjob/team-b/no-such-name"] {
        assert_eq!(scene.get(path).await.0, StatusCode::FORBIDDEN);
    }
    for wrong in ["/schedules?zone=x", "/calendar?date=x", "/schedules?state=x"] {
        assert_eq!(scene.get(wrong).await.0, StatusCode::BAD_REQUEST);
    }
}

const LARGE: usize = 30 * 1024;

#[tokio::test]
async fn pages_of_500_schedules_are_small() {
    let served = json!({"lastScheduleTime": "2026-03-28T11:00:00Z"});
    let name = |number: usize| format!("schedule-of-the-team-{number:03}");
    let many = (0..500).map(|number| cron_job("team-a", &name(number), &json!({"schedule": "* * * * *"}), &served));
    let jobs = (0..500).flat_map(|owner| {
        (0..10).map(move |place| {
            let end = ["Complete", "Failed"][usize::from(place % 4 == 0)];
            run("team-a", &name(owner), &format!("{}-{place}", name(owner)), Some(end))
        })
    });
    let scene = Scene::with_objects(&["*"], jobs.collect(), many.collect(), false);
    for view in ["view=day", "view=day&hour=10", "view=week", "view=month"] {
        let begin = tokio::time::Instant::now();
        let (status, text) = scene.get(&format!("/calendar?zone=Europe/Paris&namespace=team-a&{view}")).await;
        assert!(status == StatusCode::OK && text.len() < LARGE, "{view}: {} bytes: {text}", text.len());
        assert!(begin.elapsed() < std::time::Duration::from_secs(10), "{view}: {:?}", begin.elapsed());
    }
    let (_, text) = scene.get("/calendar?view=month").await;
    assert!(text.contains("Frequent schedules are shown in part"), "{text}");
    let (_, table) = scene.get("/schedules?page=2&zone=Europe/Berlin").await;
    assert!(table.contains("16–30") && table.contains("500 schedules"), "{table}");
    assert!(table.len() < LARGE, "{} bytes", table.len());
    let (_, overview) = scene.get("/").await;
    assert!(overview.contains("Late schedules") && overview.len() < LARGE, "{} bytes", overview.len());
}

#[tokio::test]
async fn page_of_a_schedule_with_many_runs_is_small_and_has_pages() {
    let jobs = (0..100).map(|place| run("team-a", "due", &format!("due-{place:03}"), Some("Failed"))).collect();
    let scene = Scene::with_objects(&["*"], jobs, objects("team-a", ""), false);
    let plans = plans(&scene).await;
    let plan = plans.iter().find(|plan| &*plan.identity().name == "due").unwrap();
    let jobs = by_owner(&scene.console.visible::<JobRow>(scene.user(), None).await.unwrap(), &plans);
    let record = Record::of(&jobs[plan.uid()], plan.stored(), now());
    let explanation = Ok(Explanation::default());
    let page = |query: &str| {
        let query = views::schedule::Query::parse(query).unwrap();
        let shown = views::schedule::Shown {
            plan,
            record: &record,
            explanation: &explanation,
            query: &query,
            actions: &html! {},
        };
        shown.head(now()).into_string() + &shown.body(&TimeZone::UTC, now()).into_string()
    };
    for query in ["", "zone=Asia/Tokyo&page=2", "page=7", "page=99"] {
        let text = page(query);
        assert!(text.len() < LARGE - 3 * 1024, "{} bytes", text.len());
    }
    assert!(page("page=7").contains("91–100") && page("page=99").contains("91–100"));
    assert!(page("page=2&zone=Asia/Tokyo").contains("?zone=Asia%2FTokyo&amp;page=3"));
}

#[tokio::test]
async fn page_of_many_limits_is_small_and_has_pages() {
    let limits = (0..60).map(|number| limit("team-a", &format!("limit-of-the-team-{number}"))).collect();
    let jobs = (0..200).map(|number| {
        let mut job = waiting("team-a", "limit-of-the-team-1");
        job["metadata"]["name"] = format!("waits-{number}").into();
        job["metadata"]["uid"] = format!("waits-{number}").into();
        job
    });
    let scene = Scene::with_objects(&["*"], jobs.collect(), limits, false);
    for (path, shown) in [
        ("/limits", "1–10"),
        ("/limits?page=6", "51–60"),
        ("/limits?namespace=team-a&name=limit-of-the-team-1", "160 Jobs are not listed"),
    ] {
        let (status, text) = scene.get(path).await;
        assert!(status == StatusCode::OK && text.contains(shown), "{path}: {text}");
        assert!(text.len() < LARGE, "{path}: {} bytes", text.len());
    }
    assert_eq!(scene.get("/limits?page=0").await.0, StatusCode::BAD_REQUEST);
}

/// Returns the next times of a JobSchedule that excludes a Calendar, as a user with these permissions sees them.
async fn next_with_a_calendar(resources: &'static [&'static str], periods: Option<Value>) -> String {
    let mut schedule = job_schedule("team-a", "nightly");
    schedule["spec"]["excludeCalendars"] = json!(["holidays"]);
    schedule["status"]["nextScheduleTime"] = "2999-01-02T03:04:05Z".into();
    let calendar = periods.map(|periods| {
        json!({"apiVersion": "jobwright.dev/v1beta1", "kind": "Calendar",
            "metadata": {"namespace": "team-a", "name": "holidays", "uid": "holidays", "resourceVersion": "1"},
            "spec": {"periods": periods}})
    });
    let objects = [schedule].into_iter().chain(calendar).collect();
    let scene = Scene::of_objects(client_of(&["team-a"], resources), Vec::new(), objects, false);
    let (status, text) = scene.get("/schedules?kind=jobschedule").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    text
}

#[tokio::test]
async fn next_time_follows_from_calendars() {
    let all = &["jobs", "cronjobs", "jobschedules", "calendars"];
    let christmas = json!([{"date": "12-25"}]);
    let text = next_with_a_calendar(all, Some(christmas.clone())).await;
    assert!(!text.contains("2999-01-02") && text.contains("s due\">Scheduled"), "{text}");
    assert!(!text.contains("Calendars are not known"), "{text}");
    let never = next_with_a_calendar(all, Some(json!([{"from": "2000-01-01T00:00", "to": "9999-12-31T00:00"}]))).await;
    assert!(never.contains("Never due"), "{never}");
    let refused = next_with_a_calendar(&["jobs", "cronjobs", "jobschedules"], Some(christmas)).await;
    assert!(refused.contains("2999-01-02") && refused.contains("Calendars are not known"), "{refused}");
}
