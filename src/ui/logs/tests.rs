//! Logs through the routes of the console, with a fake API server.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures::StreamExt;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::ui::fixtures::{self, PORT, Scene, text};

const JOB: &str = "/apis/batch/v1/namespaces/team-a/jobs/a";
const HOSTILE: &str = "<script>alert(1)</script>\u{202e}\u{1b}[2J\u{1b}[31mred\r\nevent: x";

fn job() -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "a", "namespace": "team-a", "uid": "u", "resourceVersion": "1"},
        "spec": {"selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
            "template": {"spec": {"containers": [{"name": "main"}]}}},
        "status": {"active": 1},
    })
}

fn pod(name: &str, owner: &str) -> Value {
    let status = json!({"name": "main", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "team-a", "uid": name, "resourceVersion": "1", "ownerReferences": [
            {"apiVersion": "batch/v1", "kind": "Job", "name": "a", "uid": owner, "controller": true}]},
        "spec": {"containers": [{"name": "main"}]},
        "status": {"phase": "Running", "containerStatuses": [status]},
    })
}

/// Returns a console whose user may read namespace `team-a` alone, and a sender of new lines of pod `a-1`.
fn scene() -> (Scene, broadcast::Sender<String>) {
    let (scene, lines, _) = scene_with_logs(true);
    (scene, lines)
}

/// Returns such a console, the sender, and whether the user may read logs.
fn scene_with_logs(may_read: bool) -> (Scene, broadcast::Sender<String>, Arc<AtomicBool>) {
    let may_read = Arc::new(AtomicBool::new(may_read));
    let may_read_logs = may_read.clone();
    let (new_lines, _) = broadcast::channel::<String>(16);
    let sender = new_lines.clone();
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let (lines, may_read) = (sender.subscribe(), may_read_logs.clone());
        async move {
            if !request.uri().path().ends_with("/selfsubjectaccessreviews") {
                return Ok::<_, Infallible>(respond(&request, lines));
            }
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut review: Value = serde_json::from_slice(&body).unwrap();
            let asked = &review["spec"]["resourceAttributes"];
            let is_log = [&asked["verb"], &asked["resource"], &asked["subresource"]] == ["get", "pods", "log"];
            let is_allowed = is_log && asked["namespace"] == "team-a" && may_read.load(Ordering::Relaxed);
            review["status"] = json!({"allowed": is_allowed});
            Ok(answer(StatusCode::CREATED, &review))
        }
    });
    (Scene::of(Client::new(service, "default"), Vec::new(), false), new_lines, may_read)
}

fn answer(status: StatusCode, body: &Value) -> Response {
    fixtures::answer(status, body).map(Body::new)
}

fn respond(request: &Request<kube::client::Body>, lines: broadcast::Receiver<String>) -> Response {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    if !path.contains("/namespaces/team-a/") {
        let status =
            json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "forbidden"});
        return answer(StatusCode::FORBIDDEN, &status);
    }
    let body = |body: Body| Response::builder().status(200).body(body).unwrap();
    if query.contains("watch=") {
        return body(Body::from_stream(futures::stream::pending::<Result<String, Infallible>>()));
    }
    let list =
        |items: Vec<Value>| answer(StatusCode::OK, &json!({"metadata": {"resourceVersion": "1"}, "items": items}));
    match path.trim_start_matches("/api/v1/namespaces/team-a/") {
        "pods" => list(vec![pod("a-1", "u"), pod("a-2", "u"), pod("b-1", "another")]),
        "pods/a-1/log" if query.contains("follow=true") => {
            let lines = futures::stream::unfold(lines, |mut lines| async move {
                Some((Ok::<_, Infallible>(lines.recv().await.ok()?), lines))
            });
            body(Body::from_stream(lines))
        }
        "pods/a-2/log" if query.contains("follow=true") => {
            body(Body::from_stream(futures::stream::pending::<Result<String, Infallible>>()))
        }
        "pods/a-1/log" => body(Body::from(format!("2026-01-01T00:00:01Z one\n2026-01-01T00:00:03Z {HOSTILE}\n"))),
        "pods/a-2/log" => body(Body::from("2026-01-01T00:00:02Z two ERROR\n")),
        "pods/a-1" => answer(StatusCode::OK, &pod("a-1", "u")),
        "pods/a-2" => answer(StatusCode::OK, &pod("a-2", "u")),
        _ if path == JOB => answer(StatusCode::OK, &job()),
        _ if path.ends_with("/jobs") => list(vec![job()]),
        _ => answer(
            StatusCode::NOT_FOUND,
            &json!({"kind": "Status", "status": "Failure", "code": 404, "message": "none"}),
        ),
    }
}

async fn open(scene: &Scene, path: &str) -> Response {
    let host = format!("localhost:{PORT}");
    scene.send("GET", path, &[("host", &host), ("cookie", &scene.cookie)]).await
}

/// Returns the rows of the page without their markup.
fn rows(page: &str) -> Vec<&str> {
    page.split("<span class=\"l\">").skip(1).filter_map(|row| row.split("</span></div>").next()).collect()
}

#[tokio::test]
async fn page_has_the_lines_of_all_pods_in_the_order_of_their_times() {
    let (scene, _lines) = scene();
    let (status, page) = scene.get("/jobs/team-a/a?tab=logs").await;
    assert_eq!(status, StatusCode::OK, "{page}");
    let all = rows(&page);
    assert_eq!(all[..2], ["one", "two ERROR"]);
    assert!(all[2].contains("&lt;script&gt;") && all[2].contains("&lt;U+202E&gt;"), "{all:?}");
    assert!(!page.contains("<script>alert") && !page.contains('\u{1b}') && !page.contains("b-1"), "{page}");
    assert!(page.contains("data-logs=\"/logs/live?namespace=team-a&amp;name=a\""), "{page}");
    assert!(page.contains("href=\"/logs/download?namespace=team-a&amp;name=a\""), "{page}");
    let (_, page) = scene.get("/jobs/team-a/a?tab=logs&q=error").await;
    assert_eq!(rows(&page), ["two <mark>ERROR</mark>"]);
    assert!(page.contains("1 of 4 lines match, in 2 containers."), "{page}");
    let (_, page) = scene.get("/jobs/team-a/a?tab=logs&pod=a-2").await;
    assert_eq!(rows(&page), ["two ERROR"]);
    let (_, page) = scene.get("/jobs/team-a/a?tab=logs&pod=..%2Fsecrets&previous=true").await;
    assert!(page.contains("No container that the form selects has a log.") && !page.contains("data-logs"), "{page}");
}

#[tokio::test]
async fn stream_begins_with_the_logs_and_goes_on_with_new_lines() {
    let (scene, lines) = scene();
    let response = open(&scene, "/logs/live?namespace=team-a&name=a").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    let mut next = async || {
        let frame = tokio::time::timeout(Duration::from_secs(5), body.next()).await;
        String::from_utf8(frame.unwrap().unwrap().unwrap().to_vec()).unwrap()
    };
    let first = next().await;
    assert!(first.starts_with("event: log\ndata: <div><time") && rows(&first).len() == 4, "{first}");
    assert!(!first.contains("\nevent: x") && !first.contains("<script>alert"), "{first}");
    let sender = tokio::spawn(async move {
        loop {
            _ = lines.send("2026-01-01T00:00:01Z one\n2026-01-01T00:00:05Z new <b>\n".to_owned());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut event = next().await;
    while !event.contains("new") {
        event = next().await;
    }
    assert!(event.starts_with("event: line\n"), "{event}");
    assert!(
        rows(&event).iter().all(|row| row.contains("new &lt;b&gt;")),
        "no line that was shown is sent again: {event}"
    );
    sender.abort();
}

#[tokio::test]
async fn logs_of_another_namespace_are_refused_whether_the_job_exists_or_not() {
    let (scene, _lines) = scene();
    for path in [
        "/jobs/team-b/a?tab=logs",
        "/logs/live?namespace=team-b&name=a",
        "/logs/live?namespace=team-b&name=none",
        "/logs/download?namespace=team-b&name=a",
    ] {
        let (status, page) = text(open(&scene, path).await).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
        assert!(page.contains("get jobs.batch in namespace team-b") && rows(&page).is_empty(), "{path}: {page}");
    }
    for path in ["/logs/live?namespace=..&name=a", "/logs/live", "/logs/download?namespace=team-a&name=a%2Flog"] {
        assert_eq!(open(&scene, path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let host = format!("localhost:{PORT}");
    for path in ["/logs/live?namespace=team-a&name=a", "/logs/download?namespace=team-a&name=a"] {
        assert_eq!(scene.send("GET", path, &[("host", &host)]).await.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn user_without_the_permission_for_logs_gets_the_reason_and_no_line() {
    let (scene, _lines, _) = scene_with_logs(false);
    for path in
        ["/jobs/team-a/a?tab=logs", "/logs/live?namespace=team-a&name=a", "/logs/download?namespace=team-a&name=a"]
    {
        let (status, page) = text(open(&scene, path).await).await;
        let expected = if path.starts_with("/jobs") { StatusCode::OK } else { StatusCode::FORBIDDEN };
        assert_eq!(status, expected, "{path}");
        assert!(page.contains("You are not allowed to get pods/log in namespace team-a."), "{path}: {page}");
        assert!(rows(&page).is_empty() && !page.contains("data-logs") && !page.contains("ERROR"), "{path}: {page}");
    }
}

#[tokio::test(start_paused = true)]
async fn stream_ends_when_the_permission_does() {
    let (scene, lines, may_read) = scene_with_logs(true);
    let response = open(&scene, "/logs/live?namespace=team-a&name=a").await;
    let mut body = response.into_body().into_data_stream();
    let mut next = async || body.next().await.map(|frame| String::from_utf8(frame.unwrap().to_vec()).unwrap());
    assert!(next().await.unwrap().starts_with("event: log\n"));
    may_read.store(false, Ordering::Relaxed);
    // The review of the first lines stays valid for some seconds.
    tokio::time::sleep(Duration::from_secs(11)).await;
    _ = lines.send("2026-01-01T00:00:05Z late\n".to_owned());
    let mut event = next().await.unwrap();
    while event.starts_with(':') {
        event = next().await.unwrap();
    }
    assert!(event.starts_with("event: end\ndata: You are not allowed to get pods/log"), "{event}");
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn file_has_the_lines_as_the_containers_wrote_them() {
    let (scene, _lines) = scene();
    let response = open(&scene, "/logs/download?namespace=team-a&name=a").await;
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(response.headers()["content-disposition"], "attachment; filename=\"a.log\"");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let file = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(file.starts_with("[pod/a-1/main] one\n") && file.contains("\u{1b}[31mred"), "{file}");
    assert!(file.ends_with("[pod/a-2/main] two ERROR\n"), "{file}");
    let one = text(open(&scene, "/logs/download?namespace=team-a&name=a&pod=a-2").await).await.1;
    assert_eq!(one, "two ERROR\n");
}

#[tokio::test]
async fn number_of_pages_that_follow_logs_is_limited() {
    let (scene, _lines) = scene();
    let mut open_streams = Vec::new();
    for _ in 0..super::followers::MAX_OF_USER {
        let response = open(&scene, "/logs/live?namespace=team-a&name=a").await;
        assert_eq!(response.status(), StatusCode::OK);
        open_streams.push(response);
    }
    let path = "/logs/live?namespace=team-a&name=a";
    assert_eq!(open(&scene, path).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    // The browser leaves.
    open_streams.pop();
    assert_eq!(open(&scene, path).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn part_with_the_logs_is_as_in_its_snapshot() {
    let (scene, _lines) = scene();
    for (name, query) in [("logs", ""), ("logs-search", "&q=e&pod=a-1&lines=100")] {
        let (_, page) = scene.get(&format!("/jobs/team-a/a?tab=logs{query}")).await;
        crate::ui::snapshot_tests::assert_main(name, &page);
    }
}
