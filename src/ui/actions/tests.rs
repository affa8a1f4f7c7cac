//! Actions through the routes of a console, against an API server that records the requests.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::ui::fixtures::{Scene, answer, job, text};

/// Request that reached the API server: method, path, type and body.
type Sent = (String, String, String, String);

/// API server with one Job, on which the user is allowed everything, or to read only.
struct Cluster {
    job: Mutex<Value>,
    sent: Mutex<Vec<Sent>>,
    may_write: bool,
}

impl Cluster {
    fn scene(spec: &[(&str, Value)], may_write: bool, read_only: bool) -> (Arc<Self>, Scene) {
        let mut one = job("n", "a", json!({"startTime": "2026-01-01T00:00:01Z", "active": 1}));
        for (field, value) in spec {
            one["spec"][*field] = value.clone();
        }
        let cluster = Arc::new(Self { job: Mutex::new(one), sent: Mutex::default(), may_write });
        let server = cluster.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.respond(request).await) }
        });
        (cluster, Scene::of(Client::new(service, "default"), Vec::new(), read_only))
    }

    async fn respond(&self, request: Request<kube::client::Body>) -> axum::http::Response<kube::client::Body> {
        let (parts, body) = request.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let path = parts.uri.path_and_query().unwrap().to_string();
        if path.starts_with("/apis/authorization.k8s.io") {
            let mut review: Value = serde_json::from_str(&body).unwrap();
            let is_read = review["spec"]["resourceAttributes"]["verb"] == "get";
            review["status"] = json!({"allowed": is_read || self.may_write});
            return answer(StatusCode::CREATED, &review);
        }
        if parts.method == "GET" && path.starts_with("/apis/batch/v1/namespaces/n/jobs/a") {
            return answer(StatusCode::OK, &self.job.lock().clone());
        }
        if parts.method != "GET" {
            let content_type = parts.headers.get("content-type").map(|value| value.to_str().unwrap().to_owned());
            self.sent.lock().push((parts.method.to_string(), path, content_type.unwrap_or_default(), body));
            if self.may_write {
                return answer(StatusCode::OK, &json!({}));
            }
        }
        let message = "jobs.batch is forbidden";
        answer(
            StatusCode::FORBIDDEN,
            &json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": message}),
        )
    }
}

/// Returns the value of a hidden field of a form.
fn field(page: &str, name: &str) -> String {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

async fn post(scene: &Scene, path: &str, form: &str) -> axum::response::Response {
    let headers = [
        ("host", "localhost:7060"),
        ("origin", "http://localhost:7060"),
        ("cookie", &scene.cookie),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    scene.send_body("POST", path, &headers, form).await
}

#[tokio::test]
async fn confirmed_action_sends_exactly_the_request_that_was_shown() {
    let finished = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    for action in ["suspend", "resume", "delete", "rerun"] {
        let (cluster, scene) = Cluster::scene(&[("suspend", json!(action == "resume"))], true, false);
        if action == "rerun" {
            cluster.job.lock()["status"] = finished.clone();
        }
        let path = format!("/jobs/n/a/{action}");
        let (status, page) = scene.get(&path).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        assert!(cluster.sent.lock().is_empty(), "a page changes nothing");
        let form = format!("seed={}&request={}", field(&page, "seed"), field(&page, "request"));
        let response = post(&scene, &path, &form).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "{action}");
        let sent = cluster.sent.lock().clone();
        let [(method, sent_to, content_type, body)] = &sent[..] else { panic!("{sent:?}") };
        let shown = maud::html! { b { (method) } " " code { (sent_to) } }.into_string();
        assert!(page.contains(&shown), "{action}: {page}");
        assert!(page.contains(&maud::html! { (body) }.into_string()), "{action}: {body} in {page}");
        let expected =
            if action == "suspend" || action == "resume" { "application/merge-patch+json" } else { "application/json" };
        assert_eq!(content_type, expected);
    }
}

#[tokio::test]
async fn changed_job_or_wrong_form_sends_nothing() {
    let (cluster, scene) = Cluster::scene(&[], true, false);
    let (_, page) = scene.get("/jobs/n/a/suspend").await;
    cluster.job.lock()["metadata"]["uid"] = json!("another");
    let form = format!("seed={}&request={}", field(&page, "seed"), field(&page, "request"));
    let (status, again) = text(post(&scene, "/jobs/n/a/suspend", &form).await).await;
    assert!(status == StatusCode::CONFLICT && again.contains("Nothing was sent"), "{again}");
    for wrong in ["", "seed=../../&request=x", "request=x"] {
        assert_eq!(post(&scene, "/jobs/n/a/suspend", wrong).await.status(), StatusCode::BAD_REQUEST, "{wrong}");
    }
    let (status, page) = scene.get("/jobs/n/a/resume").await;
    assert!(status == StatusCode::CONFLICT && page.contains("The Job is not suspended."), "{page}");
    assert_eq!(scene.get("/jobs/n/a/explode").await.0, StatusCode::NOT_FOUND);
    assert_eq!(post(&scene, "/jobs/n/a", &form).await.status(), StatusCode::NOT_FOUND);
    assert!(cluster.sent.lock().is_empty());
}

#[tokio::test]
async fn user_without_the_permission_gets_no_button_and_the_refusal_of_the_api_server() {
    let (_, scene) = Cluster::scene(&[], true, false);
    let (_, page) = scene.get("/jobs/n/a").await;
    assert!(page.contains("href=\"/jobs/n/a/suspend\"") && !page.contains("/jobs/n/a/resume"), "{page}");
    let (cluster, reader) = Cluster::scene(&[], false, false);
    let (_, page) = reader.get("/jobs/n/a").await;
    assert!(page.contains("<h1>a") && !page.contains("/jobs/n/a/suspend"), "{page}");
    let (_, page) = reader.get("/jobs/n/a/suspend").await;
    let form = format!("seed={}&request={}", field(&page, "seed"), field(&page, "request"));
    let (status, refused) = text(post(&reader, "/jobs/n/a/suspend", &form).await).await;
    assert!(status == StatusCode::FORBIDDEN && refused.contains("jobs.batch is forbidden"), "{refused}");
    assert_eq!(cluster.sent.lock().len(), 1);
}

#[tokio::test]
async fn read_only_console_has_no_actions() {
    let (cluster, scene) = Cluster::scene(&[], true, true);
    let (_, page) = scene.get("/jobs/n/a").await;
    assert!(!page.contains("/jobs/n/a/suspend"), "{page}");
    assert_eq!(scene.get("/jobs/n/a/suspend").await.0, StatusCode::FORBIDDEN);
    assert_eq!(post(&scene, "/jobs/n/a/suspend", "").await.status(), StatusCode::FORBIDDEN);
    assert!(cluster.sent.lock().is_empty());
}
