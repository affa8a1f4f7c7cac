//! A console in the cluster, tested through its routes: two tenants with tokens, and users of a trusted proxy.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::fixtures::{Scene, answer, job, text};
use super::origin::Origins;
use super::sign_in::identity::ProxyHeaders;
use super::sign_in::secret::ProxySecret;
use super::sign_in::{InCluster, SignIn};

const HOST: (&str, &str) = ("host", "console.example.com");
const A: (&str, &str) = ("authorization", "Bearer token-a");
const B: (&str, &str) = ("authorization", "Bearer token-b");
const SECRET: (&str, &str) = ("x-jobwright-proxy-secret", "0123456789abcdef");

/// Headers of a request.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// Headers of the requests that the API server has received.
type Received = Arc<Mutex<Vec<HeaderMap>>>;

/// Returns the namespace of a tenant, from the token or the impersonated user of a request.
fn tenant(headers: &HeaderMap) -> Option<&'static str> {
    let of = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (of("authorization"), of("impersonate-user")) {
        (Some("Bearer token-a"), None) | (None, Some("user-a")) => Some("team-a"),
        (Some("Bearer token-b"), None) | (None, Some("user-b")) => Some("team-b"),
        _ => None,
    }
}

/// Returns a client of an API server on which each tenant may read everything in one namespace.
fn api_server(received: Received) -> Client {
    Client::new(
        tower::service_fn(move |request: Request<kube::client::Body>| {
            received.lock().push(request.headers().clone());
            async move { Ok::<_, Infallible>(respond(request).await) }
        }),
        "default",
    )
}

async fn respond(request: Request<kube::client::Body>) -> Response<kube::client::Body> {
    let failure = |code: u16, reason: &str, message: &str| {
        let body = json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message});
        answer(StatusCode::from_u16(code).unwrap(), &body)
    };
    let Some(own) = tenant(request.headers()) else { return failure(401, "Unauthorized", "Unauthorized") };
    let path = request.uri().path().to_owned();
    if path.ends_with("/selfsubjectreviews") {
        return answer(StatusCode::CREATED, &json!({"status": {"userInfo": {"username": own}}}));
    }
    if path.ends_with("/selfsubjectaccessreviews") {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut review: Value = serde_json::from_slice(&body).unwrap();
        let is_allowed = review["spec"]["resourceAttributes"]["namespace"] == own;
        review["status"] = json!({"allowed": is_allowed});
        return answer(StatusCode::CREATED, &review);
    }
    let parts: Vec<&str> = path.split('/').collect();
    let namespace = parts.iter().position(|part| *part == "namespaces").and_then(|at| parts.get(at + 1)).copied();
    match (namespace, parts.last().copied()) {
        (Some(namespace), _) if namespace != own => failure(403, "Forbidden", "forbidden"),
        (_, Some("pods" | "events")) => answer(StatusCode::OK, &json!({"metadata": {}, "items": []})),
        _ => {
            match jobs().into_iter().find(|job| job["metadata"]["name"] == parts.last().copied().unwrap_or_default()) {
                Some(job) => answer(StatusCode::OK, &job),
                None => failure(404, "NotFound", "not found"),
            }
        }
    }
}

fn jobs() -> Vec<Value> {
    let failed = |message: &str| {
        json!({"startTime": "2026-01-01T00:00:01Z", "conditions": [{"type": "Failed", "status": "True",
            "reason": "DeadlineExceeded", "message": message, "lastTransitionTime": crate::client::now().to_string()}]})
    };
    vec![
        job("team-a", "alpha-one", failed("alpha-message")),
        job("team-b", "bravo-one", failed("bravo-message")),
        job("team-b", "bravo-two", json!({"startTime": "2026-01-01T00:00:01Z", "active": 1, "ready": 0})),
    ]
}

fn scene(users: InCluster) -> Scene {
    let origins = Origins::behind_proxy(vec![HOST.1.to_owned()]);
    Scene::signed_in_by(SignIn::InCluster(users), origins, jobs(), false)
}

fn with_tokens() -> (Scene, Received) {
    let received = Received::default();
    (scene(InCluster::with_tokens(api_server(received.clone()))), received)
}

fn behind_proxy() -> (Scene, Received) {
    let received = Received::default();
    let header = HeaderName::from_static;
    let headers = ProxyHeaders {
        user: header("x-forwarded-user"),
        groups: header("x-forwarded-groups"),
        secret: header("x-jobwright-proxy-secret"),
    };
    let secret = ProxySecret::new(SECRET.1.as_bytes()).unwrap();
    (scene(InCluster::behind_trusted_proxy(headers, secret, api_server(received.clone()))), received)
}

async fn get(scene: &Scene, path: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
    text(scene.send("GET", path, &[&[HOST], headers].concat()).await).await
}

async fn frame(body: &mut Body) -> String {
    let frame = tokio::time::timeout(Duration::from_secs(2), body.frame()).await.expect("an event in time");
    String::from_utf8(frame.unwrap().unwrap().into_data().unwrap().to_vec()).unwrap()
}

const PAGES: [&str; 13] = [
    "/",
    "/jobs",
    "/jobs?q=one",
    "/jobs?q=message",
    "/jobs?state=failed",
    "/jobs?state=running",
    "/jobs?sort=-namespace",
    "/jobs?page=2",
    "/jobs?owner=x",
    "/jobs?namespace=none",
    "/jobs/none/none",
    "/nothing",
    "/jobs?state=wrong",
];

async fn each_tenant_sees_own_jobs_alone(scene: &Scene, tenants: [(&str, &str); 2], more: &[(&str, &str)]) {
    let words = [["team-a", "alpha-"], ["team-b", "bravo-"]];
    // Twice, in turn: what was cached for one tenant must not be answered to the other.
    for number in [0, 1, 0, 1] {
        let headers = [more, &[tenants[number]]].concat();
        let (own, other) = (words[number], words[1 - number]);
        let (own_job, other_job) =
            (format!("/jobs/{}/{}one", own[0], own[1]), format!("/jobs/{}/{}one", other[0], other[1]));
        let (namespace, search) = (format!("/jobs?namespace={}", own[0]), format!("/jobs?q={}", own[1]));
        let pages = [&PAGES[..], &[&own_job, &namespace, &search]].concat();
        for page in pages {
            let (_, body) = get(scene, page, &headers).await;
            for secret in other {
                assert!(!body.contains(secret), "{page} of {} has {secret}: {body}", own[0]);
            }
        }
        let (status, body) = get(scene, &own_job, &headers).await;
        assert!(status == StatusCode::OK && body.contains(own[1]), "{body}");
        let (status, list) = get(scene, "/jobs", &headers).await;
        assert!(status == StatusCode::OK && list.contains(own[1]) && list.contains("Failed (1)"), "{list}");
        // The number of running Jobs would reveal that of the other tenant.
        assert!(list.contains(&format!("Running ({number})")), "{list}");
        let (status, refused) = get(scene, &other_job, &headers).await;
        assert!(status == StatusCode::FORBIDDEN && !refused.contains("-message"), "{refused}");
        let (status, refused) = get(scene, &format!("/jobs?namespace={}", other[0]), &headers).await;
        assert!(status == StatusCode::FORBIDDEN && !refused.contains(other[1]), "{refused}");
        let (_, searched) = get(scene, &format!("/jobs?q={}", other[1]), &headers).await;
        assert!(!searched.contains(other[0]) && !searched.contains(&format!("{}one", other[1])), "{searched}");
    }
}

#[tokio::test]
async fn tenant_with_a_token_sees_nothing_of_the_other_one() {
    let (scene, received) = with_tokens();
    each_tenant_sees_own_jobs_alone(&scene, [A, B], &[]).await;
    let received = received.lock();
    assert!(received.iter().all(|headers| headers.get_all("authorization").iter().count() == 1));
}

#[tokio::test]
async fn tenant_of_a_trusted_proxy_sees_nothing_of_the_other_one() {
    let (scene, _) = behind_proxy();
    let tenants = [("x-forwarded-user", "user-a"), ("x-forwarded-user", "user-b")];
    each_tenant_sees_own_jobs_alone(&scene, tenants, &[SECRET]).await;
}

#[tokio::test]
async fn stream_of_a_tenant_has_no_event_about_the_other_one() {
    let (scene, _) = with_tokens();
    let open = async |user| scene.send("GET", "/live?path=%2Fjobs", &[HOST, user]).await.into_body();
    let (mut a, mut b) = (open(A).await, open(B).await);
    let (first_a, first_b) = (frame(&mut a).await, frame(&mut b).await);
    assert!(first_a.contains("alpha-one") && !first_a.contains("bravo"), "{first_a}");
    assert!(first_b.contains("bravo-one") && !first_b.contains("alpha"), "{first_b}");
    scene.console.caches.put_job(job("team-b", "bravo-three", json!({})));
    let more = frame(&mut b).await;
    assert!(more.contains("bravo-three") && !more.contains("alpha"), "{more}");
    let silent = tokio::time::timeout(Duration::from_secs(1), a.frame()).await;
    assert!(silent.is_err(), "{silent:?}");
}

#[tokio::test]
async fn request_without_a_token_that_the_api_server_accepts_gets_nothing() {
    let (scene, received) = with_tokens();
    let none: [Headers<'_>; 6] = [
        &[],
        &[("authorization", "Basic dXNlcjpwYXNz")],
        &[("cookie", "jobwright-8080=0000")],
        &[A, B],
        &[("x-forwarded-user", "user-a"), ("x-forwarded-groups", "system:masters")],
        &[("impersonate-user", "user-a")],
    ];
    for path in ["/", "/jobs", "/jobs/team-a/alpha-one", "/live?path=%2Fjobs", "/login?token=x", "/nothing"] {
        for headers in none {
            let (status, body) = get(&scene, path, headers).await;
            assert!(
                status == StatusCode::UNAUTHORIZED && body.contains("The request has no bearer token"),
                "{path}: {body}"
            );
        }
        let sent = scene.send("GET", path, &[HOST, ("authorization", "Bearer forged")]).await;
        assert_eq!(sent.headers()["www-authenticate"], "Bearer");
        let (status, body) = text(sent).await;
        assert!(status == StatusCode::UNAUTHORIZED && body.contains("does not accept your token"), "{path}: {body}");
        for word in ["alpha", "bravo", "team-"] {
            assert!(!body.contains(word), "{path}: {body}");
        }
    }
    assert!(
        received.lock().iter().all(|headers| headers["authorization"] == "Bearer forged"),
        "a request without a token"
    );
    let (status, body) = get(&scene, "/login?token=x", &[A]).await;
    assert!(status == StatusCode::NOT_FOUND, "there are no sessions in the cluster: {body}");
    let style = get(&scene, &super::assets::STYLE.path, &[]).await;
    assert_eq!(style.0, StatusCode::OK, "the page of the error has a stylesheet");
}

#[tokio::test(start_paused = true)]
async fn token_is_checked_again_after_some_seconds() {
    let (scene, received) = with_tokens();
    let reviews = async || {
        received.lock().clear();
        get(&scene, "/nothing", &[A]).await;
        received.lock().len()
    };
    assert_eq!((reviews().await, reviews().await), (1, 0));
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(reviews().await, 1);
}

#[tokio::test(start_paused = true)]
async fn stream_in_the_cluster_ends_so_that_the_proxy_checks_its_user_again() {
    let (scene, _) = with_tokens();
    let mut body = scene.send("GET", "/live?path=%2Fjobs", &[HOST, A]).await.into_body();
    let read = async { while body.frame().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(400), read).await.expect("the stream ends");
}

#[tokio::test]
async fn headers_of_a_client_are_not_sent_to_the_api_server() {
    let (scene, received) = with_tokens();
    let forged =
        [A, ("impersonate-user", "user-b"), ("impersonate-group", "system:masters"), ("x-remote-user", "root")];
    let (status, body) = get(&scene, "/jobs", &forged).await;
    assert!(status == StatusCode::OK && body.contains("alpha-one") && !body.contains("bravo"), "{body}");
    let received = received.lock();
    assert!(!received.is_empty());
    for headers in received.iter() {
        let names = ["impersonate-user", "impersonate-group", "x-remote-user", "cookie"];
        assert!(names.into_iter().all(|name| !headers.contains_key(name)), "{headers:?}");
    }
}

#[tokio::test]
async fn impersonation_acts_as_the_user_and_the_groups_of_the_proxy() {
    let (scene, received) = behind_proxy();
    let user = ("x-forwarded-user", "user-a");
    let forged = [("impersonate-group", "system:masters"), B];
    let headers = [&[SECRET, user, ("x-forwarded-groups", "dev, ops")][..], &forged].concat();
    let (status, body) = get(&scene, "/jobs", &headers).await;
    assert!(status == StatusCode::OK && body.contains("alpha-one") && !body.contains("bravo"), "{body}");
    let received = received.lock();
    for headers in received.iter() {
        assert_eq!(headers["impersonate-user"], "user-a");
        let groups: Vec<_> = headers.get_all("impersonate-group").iter().collect();
        assert_eq!(groups, ["dev", "ops"]);
        assert!(!headers.contains_key("authorization") && !headers.contains_key(SECRET.0), "{headers:?}");
    }
}

#[tokio::test]
async fn forged_identity_of_a_proxy_is_refused() {
    let (scene, received) = behind_proxy();
    let user = ("x-forwarded-user", "user-a");
    let wrong = ("x-jobwright-proxy-secret", "0123456789abcdeg");
    let cases: [(Headers<'_>, StatusCode, &str); 8] = [
        (&[], StatusCode::UNAUTHORIZED, "names no user"),
        (&[A], StatusCode::UNAUTHORIZED, "names no user"),
        (&[user], StatusCode::FORBIDDEN, "does not have the secret of the proxy"),
        (&[user, wrong], StatusCode::FORBIDDEN, "does not have the secret of the proxy"),
        (&[SECRET], StatusCode::UNAUTHORIZED, "names no user"),
        (&[SECRET, ("x-forwarded-user", "system:admin")], StatusCode::FORBIDDEN, "begins with system:"),
        (&[SECRET, user, ("x-forwarded-groups", "dev,system:masters")], StatusCode::FORBIDDEN, "begins with system:"),
        (
            &[SECRET, user, ("x-forwarded-user", "user-b")],
            StatusCode::FORBIDDEN,
            "form that the console does not accept",
        ),
    ];
    for (headers, code, message) in cases {
        for path in ["/", "/jobs", "/jobs/team-a/alpha-one", "/live?path=%2Fjobs"] {
            let (status, body) = get(&scene, path, headers).await;
            assert!(status == code && body.contains(message), "{headers:?}: {status} {body}");
            assert!(!body.contains("alpha") && !body.contains("team-"), "{body}");
        }
    }
    assert!(received.lock().is_empty(), "the API server was asked");
}

#[tokio::test]
async fn host_and_origin_are_checked_behind_a_proxy_too() {
    let (scene, _) = with_tokens();
    for host in ["evil.example", "10.0.0.1:8080", "localhost:8080"] {
        let (status, body) = text(scene.send("GET", "/jobs", &[("host", host), A]).await).await;
        assert!(status == StatusCode::MISDIRECTED_REQUEST && !body.contains("alpha"), "{body}");
    }
    let own = ("origin", "https://console.example.com");
    let cases: [(Headers<'_>, StatusCode); 5] = [
        (&[A, own], StatusCode::NOT_FOUND),
        (&[A], StatusCode::FORBIDDEN),
        (&[A, ("origin", "https://evil.example")], StatusCode::FORBIDDEN),
        (&[A, own, ("sec-fetch-site", "cross-site")], StatusCode::FORBIDDEN),
        (&[own], StatusCode::UNAUTHORIZED),
    ];
    for (headers, code) in cases {
        let (status, body) = text(scene.send("POST", "/nothing", &[&[HOST], headers].concat()).await).await;
        assert_eq!(status, code, "{headers:?}: {body}");
    }
}

#[tokio::test]
async fn health_needs_no_token_and_reveals_nothing() {
    let (scene, received) = with_tokens();
    for path in ["/healthz", "/readyz"] {
        let sent = scene.send("GET", path, &[("host", "10.0.0.1:8080")]).await;
        assert_eq!(text(sent).await, (StatusCode::OK, "ok\n".to_owned()));
    }
    assert!(received.lock().is_empty());
    let local = Scene::new(&["*"], Vec::new(), false);
    let (status, _) = text(local.send("GET", "/readyz", &[("host", "localhost:7060")]).await).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "a console on this machine has no health checks");
}
