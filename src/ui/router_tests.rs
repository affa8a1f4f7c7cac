//! The rules of the console, tested through its routes.

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::json;

use super::fixtures::{PORT, Scene, job, text};

fn two_tenants() -> Vec<serde_json::Value> {
    let failed = |message: &str| {
        json!({"startTime": "2026-01-01T00:00:01Z", "conditions": [{"type": "Failed", "status": "True",
            "reason": "DeadlineExceeded", "message": message, "lastTransitionTime": crate::client::now().to_string()}]})
    };
    vec![
        job("team-a", "visible", failed("own-message")),
        job("team-b", "hidden-one", failed("secret-message")),
        job("team-b", "hidden-two", json!({"startTime": "2026-01-01T00:00:01Z", "active": 1, "ready": 0})),
    ]
}

#[tokio::test]
async fn nothing_of_another_tenant_is_shown() {
    let scene = Scene::new(&["team-a"], two_tenants(), false);
    let pages = [
        "/",
        "/jobs",
        "/jobs?q=hidden",
        "/jobs?q=secret-message",
        "/jobs?state=failed",
        "/jobs?state=running",
        "/jobs?sort=-namespace",
        "/jobs?page=2",
        "/jobs?owner=x",
        "/jobs?namespace=team-a",
        "/jobs/team-a/visible",
        "/jobs/team-x/none",
    ];
    for page in pages {
        let (_, text) = scene.get(page).await;
        for secret in ["team-b", "hidden-", "secret-message"] {
            // The page repeats the user's own search.
            let own = page.contains(secret);
            assert!(own || !text.contains(secret), "{page} has {secret}: {text}");
        }
    }
    let (status, text) = scene.get("/jobs").await;
    assert!(status == StatusCode::OK && text.contains("visible") && text.contains("Failed (1)"), "{text}");
    assert!(text.contains("Running (0)") && text.contains("All"), "{text}");
    let (_, overview) = scene.get("/").await;
    assert!(overview.contains("own-message"), "{overview}");
}

/// Returns a page without the hash of its content.
fn without_hash(page: &str) -> String {
    let (before, after) = page.split_once("data-hash=\"").unwrap();
    format!("{before}{}", after.split_once('"').unwrap().1)
}

#[tokio::test]
async fn refusal_does_not_depend_on_whether_an_object_exists() {
    let scene = Scene::new(&["team-a"], two_tenants(), false);
    let (with, one) = scene.get("/jobs?namespace=team-b").await;
    let (without, other) = scene.get("/jobs?namespace=team-c").await;
    assert_eq!((with, without), (StatusCode::FORBIDDEN, StatusCode::FORBIDDEN));
    assert!(one.contains("You are not allowed to list jobs.batch in namespace team-b"), "{one}");
    assert_eq!(without_hash(&one).replace("team-b", "team-c"), without_hash(&other));
    let (with, one) = scene.get("/jobs/team-b/hidden-one").await;
    let (without, other) = scene.get("/jobs/team-b/no-such-job").await;
    assert_eq!((with, without), (StatusCode::FORBIDDEN, StatusCode::FORBIDDEN));
    assert_eq!(without_hash(&one).replace("hidden-one", "no-such-job"), without_hash(&other));
    let refused = Scene::new(&[], two_tenants(), false);
    for page in ["/", "/jobs"] {
        let (status, text) = refused.get(page).await;
        assert!(status == StatusCode::FORBIDDEN && text.contains("in any namespace"), "{text}");
    }
}

#[tokio::test]
async fn stream_has_no_event_about_another_tenant() {
    let scene = Scene::new(&["team-a"], two_tenants(), false);
    let host = format!("localhost:{PORT}");
    let headers = [("host", host.as_str()), ("cookie", scene.cookie.as_str())];
    let response = scene.send("GET", "/live?path=%2Fjobs%3Fq%3Dvisible", &headers).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let first = String::from_utf8(first.to_vec()).unwrap();
    assert!(first.starts_with("event: main\ndata: Jobs · Jobwright\ndata: <main "), "{first}");
    assert!(first.contains("visible") && !first.contains("team-b"), "{first}");
    scene.console.caches.put_job(job("team-b", "hidden-three", json!({})));
    let more = tokio::time::timeout(Duration::from_secs(2), body.frame()).await;
    assert!(more.is_err(), "an event: {more:?}");
    scene.console.caches.put_job(job("team-a", "visible-two", json!({})));
    let more = tokio::time::timeout(Duration::from_secs(1), body.frame()).await;
    let more = String::from_utf8(more.unwrap().unwrap().unwrap().into_data().unwrap().to_vec()).unwrap();
    assert!(more.contains("visible-two") && !more.contains("team-b"), "{more}");
}

#[tokio::test]
async fn request_without_the_host_or_the_session_gets_nothing() {
    let scene = Scene::new(&["*"], two_tenants(), false);
    let (host, cookie) = (("host", "localhost:7060"), ("cookie", scene.cookie.as_str()));
    let evil = ("host", "evil.example:7060");
    for path in ["/", "/jobs", "/jobs/team-a/visible", "/live?path=%2Fjobs", "/login?token=x", "/nothing"] {
        let (status, body) = text(scene.send("GET", path, &[evil, cookie]).await).await;
        assert!(status == StatusCode::MISDIRECTED_REQUEST && !body.contains("visible"), "{path}: {body}");
        let (status, body) = text(scene.send("GET", path, &[host]).await).await;
        let expected = if path.starts_with("/login") { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
        assert!(status == expected && !body.contains("visible"), "{path}: {status} {body}");
    }
    let (status, _) = text(scene.send("GET", "/", &[host, ("cookie", "jobwright-7060=0000")]).await).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    // A browser that is signed in needs no token for the address that it has visited before.
    let again = scene.send("GET", "/login?token=used", &[host, cookie]).await;
    assert_eq!((again.status(), &again.headers()["location"]), (StatusCode::SEE_OTHER, &"/".parse().unwrap()));
}

#[tokio::test]
async fn change_of_another_site_or_of_a_read_only_console_is_refused() {
    let scene = Scene::new(&["*"], Vec::new(), false);
    let (host, cookie) = (("host", "localhost:7060"), ("cookie", scene.cookie.as_str()));
    let (own, evil) = (("origin", "http://localhost:7060"), ("origin", "http://evil.example"));
    let status = |headers: Vec<(&'static str, String)>| {
        let scene = &scene;
        async move {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            text(scene.send("POST", "/jobs", &headers).await).await
        }
    };
    let with = |more: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        [host, cookie].iter().chain(more).map(|(name, value)| (*name, (*value).to_owned())).collect()
    };
    for headers in [with(&[]), with(&[evil]), with(&[own, ("sec-fetch-site", "cross-site")])] {
        let (status, body) = status(headers).await;
        assert!(status == StatusCode::FORBIDDEN && body.contains("Request of another site"), "{body}");
    }
    assert_eq!(status(with(&[own])).await.0, StatusCode::NOT_FOUND, "there is no such action");
    let deleted = scene.send("DELETE", "/jobs", &[host, cookie, own]).await;
    assert_eq!(deleted.status(), StatusCode::METHOD_NOT_ALLOWED);
    let read_only = Scene::new(&["*"], Vec::new(), true);
    let cookie = ("cookie", read_only.cookie.as_str());
    let (status, body) = text(read_only.send("POST", "/jobs", &[host, cookie, own]).await).await;
    assert!(status == StatusCode::FORBIDDEN && body.contains("read-only"), "{body}");
}

#[tokio::test]
async fn every_response_has_the_headers_that_protect_it() {
    let scene = Scene::new(&["*"], Vec::new(), false);
    let style = super::assets::STYLE.path.clone();
    let signed_in = [("host", "localhost:7060"), ("cookie", scene.cookie.as_str())];
    for (path, headers) in [
        ("/", &signed_in[..]),
        ("/", &[]),
        ("/nothing", &signed_in),
        ("/live?path=%2F", &signed_in),
        (&style, &signed_in),
    ] {
        let response = scene.send("GET", path, headers).await;
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-security-policy").contains("default-src 'none'; script-src 'self';"), "{path}");
        assert!(header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "same-origin");
        assert_eq!(header("cross-origin-opener-policy"), "same-origin");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin");
        let kept = if path == style { "public, max-age=31536000, immutable" } else { "no-cache|no-store" };
        assert!(kept.split('|').any(|kept| kept == header("cache-control")), "{path}: {}", header("cache-control"));
        assert!(!response.headers().contains_key("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn page_of_many_jobs_is_small() {
    let statuses = [
        json!({"startTime": "2026-01-01T00:00:01Z", "active": 2, "ready": 2}),
        json!({"startTime": "2026-01-01T00:00:01Z", "failed": 3, "conditions": [{"type": "Failed", "status": "True",
            "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit",
            "lastTransitionTime": "2026-01-01T00:05:01Z"}]}),
        json!({"startTime": "2026-01-01T00:00:01Z", "succeeded": 2, "conditions": [{"type": "Complete", "status": "True",
            "reason": "CompletionsReached", "message": "Reached expected number of succeeded pods",
            "lastTransitionTime": "2026-01-01T00:05:01Z"}]}),
    ];
    let jobs = (0..500).map(|number| {
        let mut job = job("production-pipelines", &format!("nightly-export-{number:08}"), statuses[number % 3].clone());
        job["metadata"]["ownerReferences"] = json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly-export",
            "uid": "o", "controller": true}]);
        job
    });
    let scene = Scene::new(&["*"], jobs.collect(), false);
    let (status, text) = scene.get("/jobs?page=2").await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("51–100"), "{text}");
    let size = text.len();
    assert!(size < 30 * 1024, "the page has {size} bytes");
}

#[tokio::test]
async fn hostile_text_is_neutral_in_every_page() {
    let hostile = "<script>alert(1)</script>\u{202e}\u{1b}[2J\r\nevent: main\r\n\r\n\"onload=\"x";
    let status = json!({"startTime": "2026-01-01T00:00:01Z", "conditions": [{"type": "Failed", "status": "True",
        "reason": hostile, "message": hostile, "lastTransitionTime": crate::client::now().to_string()}]});
    let mut job = job("team-a", "a", status);
    job["metadata"]["ownerReferences"] =
        json!([{"apiVersion": hostile, "kind": hostile, "name": hostile, "uid": hostile, "controller": true}]);
    let scene = Scene::new(&["*"], vec![job], false);
    let query = form_urlencoded::byte_serialize(hostile.as_bytes()).collect::<String>();
    let pages = [
        "/".to_owned(),
        "/jobs".to_owned(),
        format!("/jobs?q={query}"),
        format!("/jobs?owner={query}"),
        format!("/jobs?state={query}"),
        format!("/jobs?label={query}"),
    ];
    for page in pages {
        let (_, text) = scene.get(&page).await;
        assert!(
            !text.contains("<script>alert") && !text.contains('\u{202e}') && !text.contains('\u{1b}'),
            "{page}: {text}"
        );
        assert!(!text.contains("\"onload=\""), "{page}: {text}");
    }
}
