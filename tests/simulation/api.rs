//! The simulated API server as an HTTP service: requests, their answers, and what goes wrong with both.

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::checks::Checks;
use crate::store::{Key, Refusal, Store};
use crate::{objects, patch, validation, watches};

/// An answer of the server.
pub type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// How often what goes wrong, of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The request is lost before it took effect.
    pub lost_request: u32,
    /// It took effect, and the answer is lost.
    pub lost_answer: u32,
    /// It is refused with an error that may pass.
    pub refused: u32,
    /// A watch ends after an event.
    pub cut: u32,
    /// What a watch has not read yet expires.
    pub expire: u32,
    /// A request is on its way for as long as a Lease allows.
    pub slow: u32,
    /// How late an event may be, in milliseconds.
    pub late: u64,
}

/// What is shared by the server, the world and the checks.
pub struct State {
    pub store: Store,
    pub checks: Checks,
    pub faults: Faults,
    pub random: fastrand::Rng,
    /// Nothing answers.
    pub away: bool,
    /// No pod can be created.
    pub quota: bool,
    pub faults_made: u64,
    pub requests: u64,
    /// A number that all that was asked and answered goes into.
    pub digest: u64,
    /// Whether each request is printed.
    pub prints: bool,
}

/// The line between one replica and the server.
#[derive(Clone, Default)]
pub struct Line {
    /// The replica is no more.
    severed: Arc<AtomicBool>,
    /// It hears nothing until then.
    deaf_until: Arc<Mutex<Option<Instant>>>,
}

impl Line {
    /// Nothing goes through any more, whatever still runs at the other end. What was sent arrives.
    pub fn sever(&self) {
        self.severed.store(true, Ordering::Relaxed);
    }

    /// No answer goes through until then.
    pub fn deafen(&self, until: Instant) {
        *self.deaf_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// Returns when answers go through.
    pub async fn open(&self) {
        if self.severed.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let until = *self.deaf_until.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
        if self.severed.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

/// The server.
#[derive(Clone)]
pub struct Server(Arc<Mutex<State>>);

enum Fate {
    Fine,
    LostRequest,
    LostAnswer,
    Refused(u16),
}

impl Server {
    pub fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client of it; `who` is the name of its process in what is printed.
    pub fn client(&self, who: String, line: Line) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (server, who, line) = (server.clone(), who.clone(), line.clone());
            async move {
                line.open().await;
                let (sender, receiver) = oneshot::channel();
                let answering = line.clone();
                // What was sent arrives, even if nobody waits for the answer any more.
                tokio::spawn(async move {
                    let _ = sender.send(server.answer(&who, &answering, request).await);
                });
                let answer = receiver.await.unwrap_or_else(|_| Err(broken()));
                line.open().await;
                answer
            }
        });
        Client::new(service, "default")
    }

    async fn answer(&self, who: &str, line: &Line, request: Request<Body>) -> Result<Answer, io::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let query: Vec<(String, String)> =
            form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let path = parts.uri.path().to_owned();
        if path == "/api/v1/namespaces" {
            // Nothing is ever said of namespaces here, and no chance is spent on them.
            if query.iter().any(|(key, _)| key == "watch") {
                std::future::pending::<()>().await;
            }
            let empty = json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []});
            return Ok(respond(200, &empty));
        }
        let (there, back, fate) = {
            let state = &mut *self.lock();
            let slow = state.faults.slow;
            let wait = |state: &mut State| {
                let most = if state.happens(slow) { 2_200 } else { 20 };
                Duration::from_millis(state.random.u64(1..=most))
            };
            (wait(state), wait(state), state.fate())
        };
        tokio::time::sleep(there).await;
        if self.lock().away || matches!(fate, Fate::LostRequest) {
            return Err(broken());
        }
        if let Fate::Refused(code) = fate {
            return Ok(refusal(&Refusal(code, "simulated".to_owned())));
        }
        let value = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let (labels, fields) = (value("labelSelector").unwrap_or_default(), value("fieldSelector").unwrap_or_default());
        if matches!(value("watch"), Some("true" | "1")) {
            let since = value("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or_default();
            let selection = watches::Selection {
                resource: resource_of(&path),
                labels: labels.to_owned(),
                fields: fields.to_owned(),
            };
            return Ok(watches::watch(self.clone(), line.clone(), selection, since));
        }
        let result = {
            let state = &mut *self.lock();
            let result = state.handle(&parts.method, &path, (labels, fields), &body);
            state.note(who, &parts.method, &path, &body, &result);
            result
        };
        tokio::time::sleep(back).await;
        if matches!(fate, Fate::LostAnswer) {
            return Err(broken());
        }
        Ok(match result {
            Ok(object) => respond(200, &object),
            Err(error) => refusal(&error),
        })
    }
}

impl State {
    /// Whether something that is to happen so often of a thousand happens now.
    pub fn happens(&mut self, of_thousand: u32) -> bool {
        let happens = of_thousand > 0 && self.random.u32(0..1000) < of_thousand;
        self.faults_made += u64::from(happens);
        happens
    }

    /// Takes note of something that happened.
    pub fn tell(&mut self, what: impl FnOnce() -> String) {
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
        let came = match result {
            Ok(object) => object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned(),
            Err(Refusal(code, reason)) => format!("{code} {reason}"),
        };
        let body = if self.prints && !path.contains("/events") { body.to_string() } else { String::new() };
        self.tell(|| format!("{who} {method} {path} -> {came} {body}"));
    }

    fn fate(&mut self) -> Fate {
        if self.happens(self.faults.lost_request) {
            Fate::LostRequest
        } else if self.happens(self.faults.lost_answer) {
            Fate::LostAnswer
        } else if self.happens(self.faults.refused) {
            let codes = [409, 422, 429, 500, 503, 504];
            Fate::Refused(codes[self.random.usize(0..codes.len())])
        } else {
            Fate::Fine
        }
    }

    /// Carries out a request; what it is about and how it is answered is in `path`, the selectors and `body`.
    pub fn handle(
        &mut self,
        method: &Method,
        path: &str,
        selectors: (&str, &str),
        body: &Value,
    ) -> Result<Value, Refusal> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let resource = resource_of(path);
        let rest = parts.iter().position(|part| *part == "namespaces").map_or(&[][..], |at| &parts[at + 1..]);
        let (namespace, name, sub) = match rest {
            [namespace, _, name, sub] => (*namespace, Some(*name), Some(*sub)),
            [namespace, _, name] => (*namespace, Some(*name), None),
            [namespace, _] => (*namespace, None, None),
            _ => ("", None, None),
        };
        if resource == "events" {
            return Ok(body.clone());
        }
        let key = |name: &str| -> Key { (resource, namespace.to_owned(), name.to_owned()) };
        match (method, name) {
            (&Method::GET, None) => Ok(self.list(resource, selectors)),
            (&Method::GET, Some(name)) => self.store.get(&key(name)).cloned(),
            (&Method::POST, None) => {
                if resource == "pods" && self.quota {
                    return Err(Refusal(403, "exceeded quota".to_owned()));
                }
                let created = self.store.create(resource, namespace, body.clone())?;
                self.checks.created(&self.store, &created);
                Ok(created)
            }
            (&Method::PUT, Some(name)) => self.replace(key(name), body),
            (&Method::PATCH, Some(name)) => self.patch(key(name), sub == Some("status"), body),
            (&Method::DELETE, Some(name)) => {
                let key = key(name);
                let wanted = &body["preconditions"]["uid"];
                if !wanted.is_null() && *wanted != self.store.get(&key)?["metadata"]["uid"] {
                    return Err(Refusal(409, "the UID in the precondition is another".to_owned()));
                }
                let propagation = body["propagationPolicy"].as_str().unwrap_or_default();
                let deleted = self.store.delete(&key, body["gracePeriodSeconds"].as_i64(), propagation)?;
                // Of a pod the last version is told, of all else only that it is gone.
                if key.0 == "pods" || self.store.get(&key).is_ok() {
                    return Ok(deleted);
                }
                let details = json!({"name": key.2, "uid": deleted["metadata"]["uid"]});
                Ok(
                    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}),
                )
            }
            _ => Err(Refusal(405, format!("{method} {path}"))),
        }
    }

    fn list(&self, resource: &str, (labels, fields): (&str, &str)) -> Value {
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
            // A Lease is one of the few things that a PUT creates.
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
        if differs("uid") {
            // In a patch it is no precondition, but a field that cannot be changed.
            return Err(Refusal(422, format!("the UID is {}, not {}", known["uid"], asked["uid"])));
        }
        let mut after = before.clone();
        if status {
            patch::merge(&mut after["status"], &body["status"]);
            if let annotations @ Value::Object(_) = &body["metadata"]["annotations"] {
                patch::merge(&mut after["metadata"]["annotations"], annotations);
            }
        } else {
            patch::strategic(&mut after, body);
        }
        if key.0 == "jobs" && status {
            if let Err(why) = validation::job_status(&before, &after) {
                self.checks.breaks(format!("a status that the API server refuses: {why}: {}", after["status"]));
                return Err(Refusal(422, why));
            }
            self.checks.status_written(&self.store, &before, &after);
        }
        if objects::controllers(&after) > 1 {
            return Err(Refusal(422, "only one reference can have controller set to true".to_owned()));
        }
        let held_by = |object: &Value| patch::strings(&object["metadata"]["finalizers"]);
        let known = held_by(&before);
        if objects::is_deleting(&before) && held_by(&after).iter().any(|finalizer| !known.contains(finalizer)) {
            return Err(Refusal(422, "no new finalizers can be added if the object is being deleted".to_owned()));
        }
        if key.0 == "pods" {
            self.checks.pod_patched(&self.store, &before, &after);
        }
        Ok(self.store.put(key, after))
    }
}

fn resource_of(path: &str) -> &'static str {
    ["pods", "jobs", "cronjobs", "leases", "events"]
        .into_iter()
        .find(|resource| path.split('/').any(|part| part == *resource))
        .unwrap_or("unknown")
}

/// A `Status` that says what failed.
pub fn status(code: u16, message: &str) -> Value {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "message": message,
        "reason": reason, "details": if code == 429 { json!({"retryAfterSeconds": 1}) } else { json!({}) },
    })
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the connection broke")
}

fn refusal(error: &Refusal) -> Answer {
    respond(error.0, &status(error.0, &error.1))
}

fn respond(code: u16, body: &Value) -> Answer {
    let body = Full::new(Bytes::from(body.to_string())).map_err(|never: Infallible| match never {});
    Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(UnsyncBoxBody::new(body))
        .expect("a valid answer")
}
