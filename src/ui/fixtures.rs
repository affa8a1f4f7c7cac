//! A console with given Jobs, and an API server that answers which namespaces the user may read.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use jiff::tz::TimeZone;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

use super::access::Access;
use super::cache::Caches;
use super::console::Console;
use super::identity::User;
use super::logs::Followers;
use super::origin::Origins;
use super::pods::PodReads;
use super::queues::QueueReads;
use super::server::router;
use super::session::Sessions;
use super::sign_in::SignIn;
use crate::client::explain::collect::Scope;
use crate::client::suggest::Suggestions;

/// Port of the console.
pub(super) const PORT: u16 = 7060;

/// Returns a client of an API server on which the user may list what is cached in these namespaces; in all for `*`. Every other
/// request is refused, as it is for a user without permissions.
pub(super) fn client(allowed: &'static [&'static str]) -> Client {
    client_of(allowed, &["jobs", "cronjobs", "jobschedules", "calendars", "joblimits"])
}

/// Returns a client of an API server on which the user may list these resources in these namespaces.
pub(super) fn client_of(allowed: &'static [&'static str], resources: &'static [&'static str]) -> Client {
    let service = tower::service_fn(move |request: Request<kube::client::Body>| async move {
        let is_review = request.uri().path().ends_with("/selfsubjectaccessreviews");
        if !is_review {
            let status = json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "forbidden"});
            return Ok::<_, Infallible>(answer(StatusCode::FORBIDDEN, &status));
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut review: Value = serde_json::from_slice(&body).unwrap();
        let attributes = &review["spec"]["resourceAttributes"];
        let namespace = attributes["namespace"].as_str().unwrap_or("*");
        let is_list = attributes["verb"] == "list"
            && attributes["resource"].as_str().is_some_and(|resource| resources.contains(&resource));
        let is_allowed = is_list && (allowed.contains(&namespace) || allowed.contains(&"*"));
        review["status"] = json!({"allowed": is_allowed});
        Ok(answer(StatusCode::CREATED, &review))
    });
    Client::new(service, "default")
}

pub(super) fn answer(status: StatusCode, body: &Value) -> Response<kube::client::Body> {
    let body = kube::client::Body::from(serde_json::to_vec(body).unwrap());
    Response::builder().status(status).header("content-type", "application/json").body(body).unwrap()
}

/// Returns a Job with this status, as JSON.
pub(super) fn job(namespace: &str, name: &str, status: Value) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"namespace": namespace, "name": name, "uid": format!("{namespace}-{name}"), "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"completions": 2, "parallelism": 2, "backoffLimit": 6,
            "template": {"spec": {"containers": [{"name": "main", "image": "example.com/a:1"}]}}},
        "status": status,
    })
}

/// Console with a signed-in browser.
pub(super) struct Scene {
    pub console: Arc<Console>,
    pub cookie: String,
    _stopping: watch::Sender<bool>,
}

impl Scene {
    /// Returns a console of all namespaces with these Jobs, for a user who may list Jobs in these namespaces.
    pub(super) fn new(allowed: &'static [&'static str], jobs: Vec<Value>, read_only: bool) -> Self {
        Self::of(client(allowed), jobs, read_only)
    }

    /// Returns a console that also has CronJobs, JobSchedules, Calendars and JobLimits.
    pub(super) fn with_objects(
        allowed: &'static [&'static str],
        jobs: Vec<Value>,
        others: Vec<Value>,
        read_only: bool,
    ) -> Self {
        Self::of_objects(client(allowed), jobs, others, read_only)
    }

    /// Returns a console of all namespaces with these Jobs, whose user has this client.
    pub(super) fn of(client: Client, jobs: Vec<Value>, read_only: bool) -> Self {
        Self::of_objects(client, jobs, Vec::new(), read_only)
    }

    /// Returns a console of all namespaces with these Jobs and other objects, whose user has this client.
    pub(super) fn of_objects(client: Client, jobs: Vec<Value>, others: Vec<Value>, read_only: bool) -> Self {
        let sessions = Sessions::new(PORT).unwrap();
        let path = sessions.login_path().unwrap();
        let cookie = sessions.log_in(path.strip_prefix("/login?token=").unwrap()).unwrap().unwrap();
        let sign_in = SignIn::Session { sessions, user: User::local(client) };
        let scene = Self::signed_in_with(sign_in, Origins::loopback(PORT), (jobs, others), read_only);
        Self { cookie: cookie.split(';').next().unwrap().to_owned(), ..scene }
    }

    /// Returns a console of all namespaces with these Jobs, whose users sign in in this way.
    pub(super) fn signed_in_by(sign_in: SignIn, origins: Origins, jobs: Vec<Value>, read_only: bool) -> Self {
        Self::signed_in_with(sign_in, origins, (jobs, Vec::new()), read_only)
    }

    /// Returns a console with these Jobs and other objects, whose users sign in in this way.
    pub(super) fn signed_in_with(
        sign_in: SignIn,
        origins: Origins,
        (jobs, others): (Vec<Value>, Vec<Value>),
        read_only: bool,
    ) -> Self {
        let (stopping, stop) = watch::channel(false);
        let console = Console {
            caches: Arc::new(Caches::of_jobs(Scope::All, jobs).with(others)),
            access: Access::default(),
            pods: PodReads::default(),
            followers: Followers::default(),
            queues: QueueReads::default(),
            sign_in,
            origins,
            read_only,
            zone: TimeZone::UTC,
            suggest: Suggestions::new("jobwright", None, Vec::new()),
            cluster: "test".to_owned(),
            stop,
        };
        Self { console: Arc::new(console), cookie: String::new(), _stopping: stopping }
    }

    /// Returns the user of the session.
    pub(super) fn user(&self) -> &User {
        match &self.console.sign_in {
            SignIn::Session { user, .. } => user,
            SignIn::InCluster(_) => panic!("the console has no session"),
        }
    }

    /// Sends a request with these headers, and returns the response.
    pub(super) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        self.send_body(method, path, headers, "").await
    }

    /// Sends a request with these headers and this body, and returns the response.
    pub(super) async fn send_body(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        router(self.console.clone()).oneshot(request).await.into_response()
    }

    /// Requests a page with the session of the browser, and returns the status code and the text.
    pub(super) async fn get(&self, path: &str) -> (StatusCode, String) {
        let host = format!("localhost:{PORT}");
        text(self.send("GET", path, &[("host", &host), ("cookie", &self.cookie)]).await).await
    }
}

/// Returns the status code and the text of a response.
pub(super) async fn text(response: Response) -> (StatusCode, String) {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}
