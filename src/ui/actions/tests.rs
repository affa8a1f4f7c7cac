//! Each confirmation sends exactly the request that was shown, and nothing when the object has changed since.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::ui::fixtures::{PORT, Scene, answer, text};
use crate::ui::server::router;

/// Request that the API server received.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Received {
    method: String,
    path: String,
    content_type: String,
    body: String,
}

/// API server with these objects by their paths.
#[derive(Default)]
struct ApiServer {
    objects: Mutex<BTreeMap<String, Value>>,
    received: Mutex<Vec<Received>>,
    /// Verbs that the user is not allowed to use.
    refused: Vec<&'static str>,
}

impl ApiServer {
    async fn answer(self: Arc<Self>, request: Request<kube::client::Body>) -> Response<kube::client::Body> {
        let (head, body) = request.into_parts();
        let (method, path) = (head.method.as_str().to_owned(), head.uri.path().to_owned());
        let body = body.collect().await.unwrap().to_bytes();
        if path.ends_with("/selfsubjectaccessreviews") {
            let mut review: Value = serde_json::from_slice(&body).unwrap();
            let verb = review["spec"]["resourceAttributes"]["verb"].as_str().unwrap();
            review["status"] = json!({"allowed": !self.refused.contains(&verb)});
            return answer(StatusCode::CREATED, &review);
        }
        let failure = |code: StatusCode, reason: &str, message: &str| {
            let status = json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code.as_u16(), "message": message});
            answer(code, &status)
        };
        if method == "GET" {
            if let Some(object) = self.objects.lock().get(&path) {
                return answer(StatusCode::OK, object);
            }
            return match path.rsplit('/').next().unwrap() {
                "jobs" | "leases" | "pods" | "events" => answer(StatusCode::OK, &json!({"metadata": {}, "items": []})),
                _ => failure(StatusCode::NOT_FOUND, "NotFound", "not found"),
            };
        }
        let content_type = head.headers["content-type"].to_str().unwrap().to_owned();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let verb = match &*method {
            "POST" => "create",
            "PATCH" => "patch",
            _ => "delete",
        };
        self.received.lock().push(Received { method, path, content_type, body });
        if self.refused.contains(&verb) {
            return failure(StatusCode::FORBIDDEN, "Forbidden", "User \"<ann>\" cannot do it");
        }
        answer(StatusCode::OK, &json!({"metadata": {"name": "x"}}))
    }
}

struct Browser {
    server: Arc<ApiServer>,
    scene: Scene,
}

const JOB: &str = "/apis/batch/v1/namespaces/etl/jobs/a";
const CRON_JOB: &str = "/apis/batch/v1/namespaces/etl/cronjobs/c";
const JOB_SCHEDULE: &str = "/apis/jobwright.dev/v1beta1/namespaces/etl/jobschedules/s";

fn job(status: &Value) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "a", "namespace": "etl", "uid": "uid-a", "resourceVersion": "1"},
        "spec": {"completions": 2, "completionMode": "Indexed", "managedBy": "jobwright.dev/controller",
            "template": {"spec": {"containers": [{"name": "main", "image": "i"}]}}},
        "status": status,
    })
}

fn running() -> Value {
    job(&json!({"active": 1}))
}

fn failed() -> Value {
    job(&json!({"conditions": [{"type": "Failed", "status": "True"}], "completedIndexes": "0", "failedIndexes": "1"}))
}

fn schedules() -> [(&'static str, Value); 2] {
    let template = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "i"}]}}}});
    let cron_job = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c", "namespace": "etl", "uid": "uid-c"},
        "spec": {"schedule": "0 * * * *", "suspend": true, "jobTemplate": template},
    });
    let schedule = json!({
        "apiVersion": "jobwright.dev/v1beta1", "kind": "JobSchedule",
        "metadata": {"name": "s", "namespace": "etl", "uid": "uid-s", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"schedules": ["0 * * * *"], "jobTemplate": template, "parameters": [{"name": "DAY", "default": "x"}]},
        "status": {"conditions": [
            {"type": "Suspended", "status": "True", "reason": "TooManyFailures", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    });
    [(CRON_JOB, cron_job), (JOB_SCHEDULE, schedule)]
}

impl Browser {
    fn new(
        objects: impl IntoIterator<Item = (&'static str, Value)>,
        refused: &[&'static str],
        read_only: bool,
    ) -> Self {
        let objects = objects.into_iter().map(|(path, object)| (path.to_owned(), object)).collect();
        let refused = refused.to_vec();
        let server = Arc::new(ApiServer { objects: Mutex::new(objects), refused, ..ApiServer::default() });
        let shared = server.clone();
        let service = tower::service_fn(move |request| {
            let server = shared.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        Self { server, scene: Scene::of(Client::new(service, "default"), Vec::new(), read_only) }
    }

    async fn post(&self, path: &str, form: &str) -> Response {
        let host = format!("localhost:{PORT}");
        let request = Request::post(path)
            .header("origin", format!("http://{host}"))
            .header("host", host)
            .header("cookie", &self.scene.cookie)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form.to_owned()))
            .unwrap();
        router(self.scene.console.clone()).oneshot(request).await.unwrap()
    }

    fn received(&self) -> Vec<Received> {
        self.server.received.lock().clone()
    }
}

/// Returns the text between two others, with the characters that HTML escapes.
fn between(page: &str, before: &str, after: &str) -> String {
    let (_, rest) = page.split_once(before).unwrap_or_else(|| panic!("no {before} in {page}"));
    let text = rest.split_once(after).unwrap_or_else(|| panic!("no {after} in {page}")).0;
    text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// Returns the fields of the form that confirms the action, as a browser sends them.
fn confirmation(page: &str) -> String {
    let form = between(page, "<form method=\"post\"", "</form>");
    let mut sent = form_urlencoded::Serializer::new(String::new());
    for field in form.split("<input type=\"hidden\" name=\"").skip(1) {
        let (name, rest) = field.split_once("\" value=\"").unwrap();
        sent.append_pair(name, rest.split_once("\">").unwrap().0);
    }
    sent.finish()
}

/// Returns the request that a page shows.
fn shown(page: &str) -> Received {
    let method = between(page, "<div class=\"request\"><p><b>", "</b>");
    let path = between(page, &format!("<b>{method}</b> <code>"), "</code>");
    let body = between(page, "aria-label=\"Body of the request\"><code>", "</code>");
    let content_type = between(page, "<p>Content type: <code>", "</code>");
    Received { method, path, content_type, body }
}

#[tokio::test]
async fn confirmation_sends_exactly_the_request_that_was_shown() {
    let backfill =
        "/schedules/jobschedule/etl/s/backfill?from=2026-01-01&to=2026-01-02&order=newest-first&maxActive=2&p.DAY=1";
    let cases: [(&str, Value, &str, &str, &str); 11] = [
        ("/jobs/etl/a/rerun", failed(), "POST", "jobwright rerun job/a", "/jobs/etl/a-rerun-"),
        ("/jobs/etl/a/rerun-failed-indexes", failed(), "POST", "--failed-indexes", "/jobs/etl/a-rerun-"),
        ("/jobs/etl/a/suspend", running(), "PATCH", "jobwright suspend job/a", "/jobs/etl/a?done=suspend"),
        ("/jobs/etl/a/delete", running(), "DELETE", "kubectl delete job a", "/jobs?namespace=etl&done=delete"),
        ("/jobs/etl/a/priority?priority=-3", running(), "PATCH", "kubectl annotate job a", "/jobs/etl/a?done=priority"),
        ("/schedules/cronjob/etl/c/trigger", running(), "POST", "trigger cronjob/c", "/jobs/etl/c-manual-"),
        (
            "/schedules/cronjob/etl/c/resume",
            running(),
            "PATCH",
            "resume cronjob/c",
            "/schedules/cronjob/etl/c?done=resume",
        ),
        ("/schedules/jobschedule/etl/s/trigger", running(), "POST", "trigger jobschedule/s", "/jobs/etl/s-manual-"),
        (
            "/schedules/jobschedule/etl/s/suspend",
            running(),
            "PATCH",
            "suspend jobschedule/s",
            "/schedules/jobschedule/etl/s?done=suspend",
        ),
        (
            "/schedules/jobschedule/etl/s/resume",
            running(),
            "PATCH",
            "resume jobschedule/s",
            "/schedules/jobschedule/etl/s?done=resume",
        ),
        (backfill, running(), "PATCH", "--max-active=2 --set=DAY=1", "/schedules/jobschedule/etl/s?done=backfill"),
    ];
    for (path, job, method, command, location) in cases {
        let browser = Browser::new([(JOB, job)].into_iter().chain(schedules()), &[], false);
        let (status, page) = browser.scene.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {page}");
        assert!(page.contains(command), "{path}: {page}");
        let path = path.split('?').next().unwrap();
        let response = browser.post(path, &confirmation(&page)).await;
        let target = response.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
        let (status, body) = text(response).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{path}: {body}");
        assert!(target.as_ref().is_some_and(|target| target.starts_with(location)), "{path}: {target:?}");
        let received = browser.received();
        assert_eq!(received.len(), 1, "{path}");
        assert_eq!(received[0].method, method, "{path}");
        let mut expected = shown(&page);
        // The DAY of the container is an environment variable, which the page hides.
        if expected.body.contains("(hidden)") {
            assert!(path.ends_with("/s/trigger") && received[0].body.contains("\"value\": \"x\""), "{path}");
            expected.body = received[0].body.clone();
        }
        assert_eq!(received[0], expected, "{path}");
    }
}

#[tokio::test]
async fn changed_job_or_wrong_form_sends_nothing() {
    let browser = Browser::new([(JOB, failed())], &[], false);
    let (_, page) = browser.scene.get("/jobs/etl/a/rerun").await;
    let form = confirmation(&page);
    let mut changed = failed();
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other");
    browser.server.objects.lock().insert(JOB.to_owned(), changed);
    let (status, page) = text(browser.post("/jobs/etl/a/rerun", &form).await).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(
        page.contains("job/a has changed since") && page.contains("\"image\": \"other\"")
            || page.contains("&quot;other&quot;"),
        "{page}"
    );
    assert_eq!(browser.received(), []);
    // The page has the new request, under the same name.
    let again = confirmation(&page);
    assert_ne!(again, form);
    let (status, body) = text(browser.post("/jobs/etl/a/rerun", &again).await).await;
    assert_eq!((status, body.as_str()), (StatusCode::SEE_OTHER, ""));
    assert_eq!(browser.received().len(), 1);
    // The Job was deleted and created again.
    let browser = Browser::new([(JOB, running())], &[], false);
    let form = confirmation(&browser.scene.get("/jobs/etl/a/delete").await.1);
    let mut other = running();
    other["metadata"]["uid"] = json!("uid-b");
    browser.server.objects.lock().insert(JOB.to_owned(), other);
    assert_eq!(browser.post("/jobs/etl/a/delete", &form).await.status(), StatusCode::CONFLICT);
    // Another value than the one that was shown, and no hash at all.
    let form = confirmation(&browser.scene.get("/jobs/etl/a/priority?priority=1").await.1);
    let forged = form.replace("priority=1", "priority=2");
    assert_eq!(browser.post("/jobs/etl/a/priority", &forged).await.status(), StatusCode::CONFLICT);
    for wrong in
        [String::new(), "seed=../../&request=x".to_owned(), "request=x".to_owned(), format!("{form}&seed=../..")]
    {
        assert_eq!(browser.post("/jobs/etl/a/suspend", &wrong).await.status(), StatusCode::BAD_REQUEST, "{wrong}");
    }
    assert_eq!(browser.post("/jobs/etl/a", &form).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(browser.received(), []);
}

#[tokio::test]
async fn action_that_is_not_possible_gives_its_reason_and_no_button() {
    let browser = Browser::new([(JOB, running())].into_iter().chain(schedules()), &[], false);
    for (path, reason) in [
        ("/jobs/etl/a/rerun", "the Job is not finished"),
        ("/jobs/etl/a/resume", "job/a is not suspended"),
        ("/jobs/etl/a/priority?priority=x", "is not a whole number"),
        ("/schedules/cronjob/etl/c/suspend", "cronjob/c is suspended already"),
        ("/schedules/jobschedule/etl/s/backfill?from=x&to=y", "is not a time such as"),
        ("/schedules/jobschedule/etl/s/backfill?from=2026-01-01&to=2026-01-02&order=up", "neither oldest-first nor"),
    ] {
        let (status, page) = browser.scene.get(path).await;
        assert!(status == StatusCode::CONFLICT && page.contains(reason), "{path}: {page}");
        assert!(!page.contains("method=\"post\""), "{path}: {page}");
    }
    // A form without values is shown before there is a request.
    for path in ["/jobs/etl/a/priority", "/schedules/jobschedule/etl/s/backfill"] {
        let (_, page) = browser.scene.get(path).await;
        assert!(page.contains("Show the request") && !page.contains("method=\"post\""), "{path}: {page}");
    }
    for path in ["/jobs/etl/none/suspend", "/jobs/etl/a/none", "/schedules/jobschedule/etl/none/trigger"] {
        assert_eq!(browser.scene.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
        let form = format!("request={}", "0".repeat(64));
        assert_eq!(browser.post(path, &form).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let long = browser.post("/jobs/etl/a/suspend", &"x".repeat(70_000)).await;
    assert_eq!(long.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn values_of_environment_variables_are_hidden_and_sent() {
    let mut job = failed();
    job["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "TOKEN", "value": "s3cret"}]);
    let browser = Browser::new([(JOB, job)], &[], false);
    let (_, page) = browser.scene.get("/jobs/etl/a/rerun").await;
    assert!(page.contains("TOKEN") && page.contains("(hidden)") && !page.contains("s3cret"), "{page}");
    assert_eq!(browser.post("/jobs/etl/a/rerun", &confirmation(&page)).await.status(), StatusCode::SEE_OTHER);
    assert!(browser.received()[0].body.contains("s3cret"));
}

#[tokio::test]
async fn user_without_the_permission_gets_the_reason_and_the_refusal_of_the_api_server() {
    let browser = Browser::new([(JOB, running())], &["patch"], false);
    let (_, page) = browser.scene.get("/jobs/etl/a").await;
    assert!(page.contains("You are not allowed to patch jobs.batch in namespace etl."), "{page}");
    assert!(!page.contains("/jobs/etl/a/suspend\"") && page.contains("/jobs/etl/a/delete\""), "{page}");
    let (status, page) = browser.scene.get("/jobs/etl/a/suspend").await;
    assert!(status == StatusCode::OK && page.contains("You are not allowed to patch jobs.batch"), "{page}");
    assert!(!page.contains("method=\"post\""), "{page}");
    // A form that another page of the same user has sent.
    let allowed = Browser::new([(JOB, running())], &[], false);
    let form = confirmation(&allowed.scene.get("/jobs/etl/a/suspend").await.1);
    let (status, page) = text(browser.post("/jobs/etl/a/suspend", &form).await).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(
        page.contains("Not allowed") && page.contains("User \"&lt;ann&gt;\" cannot do it")
            || page.contains("&lt;ann&gt;"),
        "{page}"
    );
    assert!(page.contains("Nothing was changed"), "{page}");
    assert_eq!(browser.received().len(), 1);
}

#[tokio::test]
async fn read_only_console_has_no_actions() {
    let browser = Browser::new([(JOB, running())].into_iter().chain(schedules()), &[], true);
    let (status, page) = browser.scene.get("/jobs/etl/a").await;
    assert!(status == StatusCode::OK && !page.contains("/jobs/etl/a/suspend"), "{page}");
    for path in ["/jobs/etl/a/suspend", "/schedules/cronjob/etl/c/trigger"] {
        let (status, page) = browser.scene.get(path).await;
        assert!(status == StatusCode::FORBIDDEN && page.contains("--read-only"), "{page}");
        assert_eq!(browser.post(path, "request=x").await.status(), StatusCode::FORBIDDEN);
    }
    assert_eq!(browser.received(), []);
    let console = &browser.scene.console;
    let of = (crate::client::names::Kind::CronJob, "etl", "c");
    assert_eq!(super::of_schedule(console, browser.scene.user(), of, true).await.into_string(), "");
}

#[tokio::test]
async fn schedule_has_links_to_its_actions() {
    let browser = Browser::new([], &["create"], false);
    let console = &browser.scene.console;
    let of = (crate::client::names::Kind::JobSchedule, "etl", "s");
    let links = super::of_schedule(console, browser.scene.user(), of, false).await.into_string();
    for path in ["/schedules/jobschedule/etl/s/suspend\"", "/schedules/jobschedule/etl/s/backfill\""] {
        assert!(links.contains(path), "{links}");
    }
    assert!(!links.contains("/trigger") && links.contains("create jobs.batch in namespace etl"), "{links}");
}

#[tokio::test]
async fn notice_names_the_action_that_was_done_alone() {
    let browser = Browser::new([(JOB, running())], &[], false);
    let (_, page) = browser.scene.get("/jobs/etl/a?done=suspend").await;
    assert!(page.contains("role=\"status\"") && page.contains("The object was suspended."), "{page}");
    let (_, page) = browser.scene.get("/jobs/etl/a?done=%3Cb%3Ehello").await;
    assert!(!page.contains("hello"), "{page}");
}

#[tokio::test]
async fn page_of_an_action_is_as_in_its_snapshot() {
    let browser = Browser::new([(JOB, failed())].into_iter().chain(schedules()), &[], false);
    let backfill = "/schedules/jobschedule/etl/s/backfill";
    for (name, path) in [
        ("action-rerun", "/jobs/etl/a/rerun?seed=bcdfg"),
        ("action-delete", "/jobs/etl/a/delete"),
        ("action-impossible", "/jobs/etl/a/priority?priority=1"),
        ("action-form", backfill),
        (
            "action-backfill",
            &format!("{backfill}?from=2026-01-01&to=2026-01-02&order=newest-first&maxActive=2&p.DAY=1"),
        ),
        ("action-trigger", "/schedules/jobschedule/etl/s/trigger?seed=bcdfg"),
    ] {
        crate::ui::snapshot_tests::assert_main(name, &browser.scene.get(path).await.1);
    }
    let (_, page) = text(browser.post("/jobs/etl/a/delete", &format!("request={}", "0".repeat(64))).await).await;
    crate::ui::snapshot_tests::assert_main("action-changed", &page);
    let refused = Browser::new([(JOB, failed())], &["delete"], false);
    crate::ui::snapshot_tests::assert_main("action-forbidden", &refused.scene.get("/jobs/etl/a/delete").await.1);
    let form = confirmation(&browser.scene.get("/jobs/etl/a/delete").await.1);
    let (_, page) = text(refused.post("/jobs/etl/a/delete", &form).await).await;
    crate::ui::snapshot_tests::assert_main("action-refused", &page);
}
