//! The simulated API server as an HTTP service: requests, responses, and the faults of both.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use jobwright::runtime::transport::deadline::Deadlines;
use jobwright::runtime::transport::retry_after::RetryAfter;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant};
use tower::Layer;

use crate::admission::{Admission, Target};
use crate::checks::Checks;
use crate::checks::pauses::is_gated;
use crate::faults::{Delivery, Faults};
use crate::store::{Key, Refusal, Store};
use crate::{objects, patch, validation, watches};

/// A response of the server.
pub type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// State that the server, the world and the checks share.
pub struct State {
    pub store: Store,
    pub checks: Checks,
    pub faults: Faults,
    pub random: fastrand::Rng,
    /// Whether the API server is unavailable: every request fails.
    pub unavailable: bool,
    /// Whether a quota refuses every new pod.
    pub quota: bool,
    /// Admission policies of the cluster.
    pub admission: Admission,
    /// Time until which the watches of a resource deliver no events.
    pub paused_watches: BTreeMap<&'static str, Instant>,
    /// Names of the replicas whose lists of pods never get a response.
    pub unanswered: Vec<String>,
    /// Whether watches use HTTP/1.1, as through most proxies.
    pub http1: bool,
    /// Number of faults injected so far.
    pub faults_made: u64,
    /// Number of requests so far, without those for Leases.
    pub requests: u64,
    /// Hash of all requests and responses, in order.
    pub digest: u64,
    /// Whether each request is printed.
    pub prints: bool,
}

/// The connections between one replica and the server.
#[derive(Clone, Default)]
pub struct Line {
    /// Whether the replica has crashed.
    severed: Arc<AtomicBool>,
    /// Time until which no response reaches the replica.
    delayed_until: Arc<Mutex<Option<Instant>>>,
    /// Number of times that all open connections went silent.
    epoch: Arc<AtomicU64>,
    /// Number of idle connections that are dead without the replica noticing. Each of them loses one request.
    dead: Arc<AtomicU32>,
}

/// Connection that one request or watch uses.
#[derive(Clone)]
pub struct Connection {
    line: Line,
    epoch: u64,
    dead: bool,
}

impl Line {
    /// Cuts the replica off: no further request or response passes, even if tasks of the replica still run. Requests
    /// that were already sent take effect.
    pub fn sever(&self) {
        self.severed.store(true, Ordering::Relaxed);
    }

    /// Delays all responses until a time.
    pub fn delay_responses(&self, until: Instant) {
        *self.delayed_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// Silences every open connection without a reset. New connections work, except that the next `idle` requests use
    /// pooled connections that are dead.
    pub fn silence(&self, idle: u32) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
        self.dead.store(idle, Ordering::Relaxed);
    }

    /// Takes a connection from the pool, or opens one.
    fn connect(&self) -> Connection {
        let dead = self.dead.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |dead| dead.checked_sub(1)).is_ok();
        Connection { line: self.clone(), epoch: self.epoch.load(Ordering::Relaxed), dead }
    }
}

impl Connection {
    /// Waits until responses can pass. Never returns if the connection is silent.
    pub async fn open(&self) {
        self.unless_silent().await;
        let until = *self.line.delayed_until.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
        self.unless_silent().await;
    }

    async fn unless_silent(&self) {
        let silent = self.dead || self.epoch != self.line.epoch.load(Ordering::Relaxed);
        if silent || self.line.severed.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

/// Handle of the simulated API server.
#[derive(Clone)]
pub struct Server(Arc<Mutex<State>>);

impl Server {
    pub fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a client of this server. `who` is the name of the replica in the printed requests.
    pub fn client(&self, who: String, line: Line) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (server, who, line) = (server.clone(), who.clone(), line.clone());
            async move {
                let gated = is_gated(&request);
                if gated {
                    server.lock().checks.sent(&who);
                }
                let connection = line.connect();
                connection.open().await;
                let (sender, receiver) = oneshot::channel();
                let answering = connection.clone();
                let (serving, sent_by) = (server.clone(), who.clone());
                // A request that was sent takes effect even if its sender no longer waits for the response.
                tokio::spawn(async move {
                    let _ = sender.send(serving.answer(&sent_by, &answering, request).await);
                });
                let answer = receiver.await.unwrap_or_else(|_| Err(broken()));
                connection.open().await;
                if let (true, Ok(answer)) = (gated, &answer) {
                    server.lock().checks.pauses.answered(&who, answer);
                }
                answer
            }
        });
        // The same layers as in Jobwright's own client, without those that open connections.
        Client::new(Deadlines::default().layer(RetryAfter.layer(service)), "default")
    }

    async fn answer(&self, who: &str, connection: &Connection, request: Request<Body>) -> Result<Answer, io::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let query: Vec<(String, String)> =
            form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let path = parts.uri.path().to_owned();
        let (there, back, delivery) = {
            let state = &mut *self.lock();
            let delivery = (state.latency(), state.latency(), state.delivery());
            if delivery.2 != Delivery::Fine && path.contains("/events") {
                state.checks.refusals.lose_events();
            }
            delivery
        };
        tokio::time::sleep(there).await;
        if self.lock().unavailable || delivery == Delivery::LostRequest {
            return Err(broken());
        }
        match delivery {
            Delivery::Refused(code) => return Ok(refusal(&Refusal(code, "simulated".to_owned()))),
            Delivery::Throttled(seconds) => return Ok(throttled(seconds)),
            Delivery::Silent { takes_effect: false } => std::future::pending::<()>().await,
            _ => {}
        }
        let value = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let (labels, fields) = (value("labelSelector").unwrap_or_default(), value("fieldSelector").unwrap_or_default());
        if matches!(value("watch"), Some("true" | "1")) {
            if matches!(delivery, Delivery::Silent { .. }) {
                std::future::pending::<()>().await;
            }
            let since = value("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or_default();
            let selection = watches::Selection {
                resource: resource_of(&path),
                labels: labels.to_owned(),
                fields: fields.to_owned(),
            };
            let longest = value("timeoutSeconds").and_then(|seconds| seconds.parse().ok()).unwrap_or(290);
            let longest = Duration::from_secs(longest).min(watches::LONGEST);
            let mut answer = watches::watch(self.clone(), connection.clone(), (selection, longest), since);
            if !self.lock().http1 {
                // HTTP/2 PINGs are not simulated; therefore no connection goes silent in a history with HTTP/2.
                *answer.version_mut() = Version::HTTP_2;
            }
            return Ok(answer);
        }
        if parts.method == Method::GET
            && path.ends_with("/pods")
            && self.lock().unanswered.iter().any(|name| name == who)
        {
            std::future::pending::<()>().await;
        }
        let result = {
            let state = &mut *self.lock();
            state.checks.refusals.answers_arrive = delivery == Delivery::Fine;
            let result = state.handle(&parts.method, &path, (labels, fields), &body);
            state.note(who, &parts.method, &path, &body, &result);
            result
        };
        tokio::time::sleep(back).await;
        match delivery {
            Delivery::LostAnswer => return Err(broken()),
            Delivery::TimedOut => {
                return Ok(refusal(&Refusal(504, "the server was unable to return a response".to_owned())));
            }
            Delivery::Silent { .. } => std::future::pending::<()>().await,
            _ => {}
        }
        Ok(match result {
            Ok(object) => respond(200, &object),
            Err(error) => refusal(&error),
        })
    }
}

impl State {
    /// Draws whether a fault with this frequency, per thousand, happens now, and counts it.
    pub fn happens(&mut self, of_thousand: u32) -> bool {
        let happens = of_thousand > 0 && self.random.u32(0..1000) < of_thousand;
        self.faults_made += u64::from(happens);
        happens
    }

    /// Adds a line to the digest of the history, and prints it if printing is on.
    pub fn trace(&mut self, what: impl FnOnce() -> String) {
        let text = what();
        for byte in text.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.prints {
            println!("{} {text}", self.store.now());
        }
    }

    fn note(&mut self, who: &str, method: &Method, path: &str, body: &Value, result: &Result<Value, Refusal>) {
        self.requests += u64::from(!path.contains("/leases"));
        let outcome = match result {
            Ok(object) => object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned(),
            Err(Refusal(code, reason)) => format!("{code} {reason}"),
        };
        let body = if self.prints && !path.contains("/events") { body.to_string() } else { String::new() };
        self.trace(|| format!("{who} {method} {path} -> {outcome} {body}"));
    }

    /// Carries out a request without any fault. `selectors` are the label selector and the field selector of a list.
    pub fn handle(
        &mut self,
        method: &Method,
        path: &str,
        selectors: (&str, &str),
        body: &Value,
    ) -> Result<Value, Refusal> {
        let place = Place::of(path);
        let Place { resource, namespace, name, sub } = place;
        if resource == "events" {
            return self.event(name, body);
        }
        let key = |name: &str| -> Key { (resource, namespace.to_owned(), name.to_owned()) };
        match (method, name) {
            (&Method::GET, None) => Ok(self.list(resource, selectors)),
            (&Method::GET, Some(name)) => self.store.get(&key(name)).cloned(),
            (&Method::POST, None) => {
                self.admit(("create", resource, ""), body)?;
                if resource == "pods" && self.quota {
                    return Err(Refusal(403, "exceeded quota".to_owned()));
                }
                let mut object = body.clone();
                self.admission.mutate(resource, &mut object);
                validation::created(resource, &object).map_err(|why| Refusal(422, why))?;
                let created = self.store.create(resource, namespace, object)?;
                self.checks.created(&self.store, &created);
                Ok(created)
            }
            (&Method::PUT, Some(name)) => self.replace(key(name), body),
            (&Method::PATCH, Some(name)) => self.patch(key(name), sub == Some("status"), body),
            (&Method::DELETE, Some(name)) => self.delete(&key(name), body),
            _ => Err(Refusal(405, format!("{method} {path}"))),
        }
    }

    /// Refuses a request that a policy forbids. `object` is the object to create, or the stored version of the object.
    fn admit(&mut self, target: Target, object: &Value) -> Result<(), Refusal> {
        let Some(policy) = self.admission.refuses(target) else { return Ok(()) };
        let policy = policy.clone();
        self.checks.refused(&policy, object, self.store.millis());
        Err(policy.refusal())
    }

    fn event(&mut self, name: Option<&str>, body: &Value) -> Result<Value, Refusal> {
        if name.is_none() {
            self.admit(("create", "events", ""), body)?;
        }
        self.checks.refusals.event(name, body);
        Ok(body.clone())
    }

    fn delete(&mut self, key: &Key, body: &Value) -> Result<Value, Refusal> {
        let wanted = &body["preconditions"]["uid"];
        let object = self.store.get(key)?.clone();
        if !wanted.is_null() && *wanted != object["metadata"]["uid"] {
            return Err(Refusal(409, "the UID in the precondition differs from the object's".to_owned()));
        }
        self.admit(("delete", key.0, ""), &object)?;
        let propagation = body["propagationPolicy"].as_str().unwrap_or_default();
        self.checks.deleted(&self.store, &object, propagation);
        let deleted = self.store.delete(key, body["gracePeriodSeconds"].as_i64(), propagation)?;
        // The response to the deletion of a pod holds its last version; for other objects it is a Status.
        if key.0 == "pods" || self.store.get(key).is_ok() {
            return Ok(deleted);
        }
        let details = json!({"name": key.2, "uid": deleted["metadata"]["uid"]});
        Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}))
    }

    fn list(&self, resource: &'static str, (labels, fields): (&str, &str)) -> Value {
        let all = self.store.of(resource).map(|(_, object)| object);
        let items: Vec<&Value> =
            all.filter(|object| watches::selects(labels, object) && watches::picks(fields, object)).collect();
        json!({
            "kind": "List", "apiVersion": "v1",
            "metadata": {"resourceVersion": self.store.version.to_string()},
            "items": items,
        })
    }

    fn replace(&mut self, key: Key, body: &Value) -> Result<Value, Refusal> {
        let asked = &body["metadata"]["resourceVersion"];
        if key.0 == "leases" && self.store.get(&key).is_err() {
            // A PUT creates a Lease that does not exist; few resources allow that.
            return self.store.create(key.0, &key.1.clone(), body.clone());
        }
        let known = self.store.get(&key)?["metadata"].clone();
        if !asked.is_null() && *asked != known["resourceVersion"] {
            return Err(Refusal(409, "the object has been modified".to_owned()));
        }
        let mut after = body.clone();
        for field in ["uid", "creationTimestamp", "namespace", "name"] {
            after["metadata"][field] = known[field].clone();
        }
        Ok(self.store.put(key, after))
    }

    fn patch(&mut self, key: Key, status: bool, body: &Value) -> Result<Value, Refusal> {
        let before = self.store.get(&key)?.clone();
        let (asked, known) = (&body["metadata"], &before["metadata"]);
        let differs = |field: &str| !asked[field].is_null() && asked[field] != known[field];
        if differs("resourceVersion") {
            return Err(Refusal(409, "the object has been modified".to_owned()));
        }
        // The status of a custom resource is written without its metadata, so its UID is not compared.
        if differs("uid") && !(status && ["jobschedules", "joblimits", "jobpolicies", "calendars"].contains(&key.0)) {
            // The UID in a patch is not a precondition but an immutable field; therefore 422 and not 409.
            return Err(Refusal(422, format!("the UID is {}, not {}", known["uid"], asked["uid"])));
        }
        let mut after = before.clone();
        if status {
            if key.0 == "pods" {
                patch::pod_status(&mut after, &body["status"]);
            } else if !body["status"].is_null() {
                patch::merge(&mut after["status"], &body["status"]);
            }
            if let annotations @ Value::Object(_) = &body["metadata"]["annotations"]
                && key.0 != "jobschedules"
            {
                patch::merge(&mut after["metadata"]["annotations"], annotations);
            }
        } else if key.0 == "jobs" {
            patch::merge(&mut after["spec"], &body["spec"]);
        } else {
            patch::strategic(&mut after, body);
        }
        if key.0 == "jobs"
            && status
            && let Err(why) = validation::job_status(&before, &after)
        {
            self.checks.report_breach(format!("the API server refuses a Job status: {why}: {}", after["status"]));
            return Err(Refusal(422, why));
        }
        if objects::controllers(&after) > 1 {
            return Err(Refusal(422, "only one reference can have controller set to true".to_owned()));
        }
        let finalizers = |object: &Value| patch::strings(&object["metadata"]["finalizers"]);
        let known = finalizers(&before);
        if objects::is_deleting(&before) && finalizers(&after).iter().any(|finalizer| !known.contains(finalizer)) {
            return Err(Refusal(422, "no new finalizers can be added if the object is being deleted".to_owned()));
        }
        self.admit(("patch", key.0, if status { "status" } else { "" }), &before)?;
        match key.0 {
            "jobs" if status => self.checks.status_written(&self.store, &before, &after),
            "pods" => self.checks.pod_patched(&self.store, &before, &after),
            "jobschedules" => self.checks.schedule_written(&self.store, &before, &after),
            _ => {}
        }
        Ok(self.store.put(key, after))
    }
}

/// Object or collection that a request path names.
struct Place<'a> {
    resource: &'static str,
    namespace: &'a str,
    name: Option<&'a str>,
    sub: Option<&'a str>,
}

impl<'a> Place<'a> {
    fn of(path: &'a str) -> Self {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let resource = resource_of(path);
        let rest = parts.iter().position(|part| *part == "namespaces").map_or(&[][..], |at| &parts[at + 1..]);
        let (namespace, name, sub) = match rest {
            [namespace, _, name, sub] => (*namespace, Some(*name), Some(*sub)),
            [namespace, _, name] => (*namespace, Some(*name), None),
            [namespace, _] => (*namespace, None, None),
            // A Namespace is not namespaced.
            [name] => ("", Some(*name), None),
            _ => ("", None, None),
        };
        Self { resource, namespace, name, sub }
    }
}

/// Plurals of the resources that the server has.
const RESOURCES: &[&str] = &[
    "pods",
    "jobs",
    "cronjobs",
    "jobschedules",
    "joblimits",
    "jobpolicies",
    "calendars",
    "leases",
    "events",
    "workloads",
    "podgroups",
    "namespaces",
];

/// Returns the plural of the resource in a request path.
fn resource_of(path: &str) -> &'static str {
    RESOURCES.iter().copied().find(|resource| path.split('/').any(|part| part == *resource)).unwrap_or("unknown")
}

/// Returns a `Status` object for a failure.
pub fn status(code: u16, message: &str) -> Value {
    let reason = match code {
        400 => "BadRequest",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        504 => "Timeout",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "message": message,
        "reason": reason, "details": {},
    })
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the connection was reset")
}

fn refusal(error: &Refusal) -> Answer {
    if error.0 == 429 {
        return throttled(1);
    }
    respond(error.0, &status(error.0, &error.1))
}

/// Returns a response 429 with this Retry-After in seconds.
fn throttled(seconds: u32) -> Answer {
    let mut status = status(429, "too many requests, please try again later");
    status["details"]["retryAfterSeconds"] = seconds.into();
    let mut answer = respond(429, &status);
    answer.headers_mut().insert("retry-after", seconds.into());
    answer
}

fn respond(code: u16, body: &Value) -> Answer {
    let body = Full::new(Bytes::from(body.to_string())).map_err(|never: Infallible| match never {});
    Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(UnsyncBoxBody::new(body))
        .expect("a valid answer")
}
