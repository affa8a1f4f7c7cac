//! Tests of watches on an API server that answers late or not at all. The clock is paused.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::{Request, Response, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::Layer;

use super::*;
use crate::runtime::codec::Encoding;
use crate::runtime::identity::Uid;
use crate::runtime::transport::deadline::Deadlines;

impl WireObject for ConfigMap {}

const LABEL: &str = "watched";

/// Object in the cache.
#[derive(Debug)]
struct Thing {
    identity: Identity,
    has_finalizers: bool,
}

impl Cached for Thing {
    fn identity(&self) -> &Identity {
        &self.identity
    }
    fn controller(&self) -> Option<&Uid> {
        None
    }
    fn is_accounted(&self) -> bool {
        false
    }
    fn has_finalizers(&self) -> bool {
        self.has_finalizers
    }
}

fn parse(object: ConfigMap) -> Option<Thing> {
    let has_finalizers = object.metadata.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty());
    let metadata = object.metadata;
    let identity = Identity {
        namespace: metadata.namespace?.into(),
        name: metadata.name.as_deref()?.into(),
        uid: metadata.uid?.into(),
        resource_version: ResourceVersion::parse(&metadata.resource_version?)?,
    };
    Some(Thing { identity, has_finalizers })
}

fn object(name: &str, version: u64, has_finalizers: bool) -> Value {
    let finalizers = if has_finalizers { json!(["held"]) } else { Value::Null };
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "namespace": "default", "name": name, "uid": name, "resourceVersion": version.to_string(),
        "labels": {LABEL: ""}, "finalizers": finalizers,
    }})
}

/// Prepared answers of the server. A request without a prepared answer is never answered.
#[derive(Default)]
struct Server {
    lists: VecDeque<Vec<Value>>,
    /// Answers to reads of single objects; `None` is a 404.
    reads: VecDeque<Option<Value>>,
    watches: VecDeque<mpsc::UnboundedReceiver<Value>>,
    asked: Vec<String>,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

fn whole(code: u16, answer: &Value) -> Answer {
    let body = UnsyncBoxBody::new(Full::new(Bytes::from(answer.to_string())));
    Response::builder().status(code).body(body).expect("an answer")
}

impl Server {
    fn answer(&mut self, request: &Request<Body>) -> Option<Answer> {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        self.asked.push(path.to_owned());
        if query.contains("watch=true") {
            let events = self.watches.pop_front()?;
            let frames = stream::unfold(events, |mut events| async {
                let event = events.recv().await?;
                Some((Ok(Frame::data(Bytes::from(format!("{event}\n")))), events))
            });
            // The transport checks the connection of a watch over HTTP/2, so that the watch is allowed to be silent.
            let body = BodyExt::boxed_unsync(StreamBody::new(frames));
            return Some(Response::builder().version(Version::HTTP_2).body(body).expect("an answer"));
        }
        if path.ends_with("/configmaps") {
            let items = self.lists.pop_front()?;
            return Some(whole(200, &json!({"metadata": {"resourceVersion": "100"}, "items": items})));
        }
        Some(match self.reads.pop_front()? {
            Some(found) => whole(200, &found),
            None => whole(404, &json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"})),
        })
    }
}

/// Watch that runs on its own server.
struct Stage {
    server: Arc<Mutex<Server>>,
    cache: Arc<Cache<Thing>>,
    synced: Arc<Synced>,
    _task: tokio::task::JoinSet<()>,
}

impl Stage {
    fn new(server: Server, label: Option<&'static str>) -> Self {
        let server = Arc::new(Mutex::new(server));
        let answering = server.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = answering.lock().answer(&request);
            async move {
                match answer {
                    Some(answer) => Ok::<_, Infallible>(answer),
                    None => std::future::pending().await,
                }
            }
        });
        let metrics = WatchMetrics::default();
        let client = Client::new(Deadlines::default().layer(service), "default");
        let watch: Watch<ConfigMap, Thing> =
            Watch { objects: Objects::new(Api::all(client), Encoding::Json), label, parse, metrics };
        let (cache, synced) = (Arc::new(Cache::default()), Arc::new(Synced::default()));
        let mut task = tokio::task::JoinSet::new();
        let (fed, known) = (cache.clone(), synced.clone());
        task.spawn(async move { watch.feed(&fed, &known, |_| {}).await });
        Self { server, cache, synced, _task: task }
    }

    /// Returns the names of the objects in the cache after one second.
    async fn names(&self) -> Vec<String> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut names: Vec<String> =
            self.cache.all(|_| true).iter().map(|thing| thing.identity.name.to_string()).collect();
        names.sort();
        names
    }

    fn reads(&self) -> usize {
        self.server.lock().asked.iter().filter(|path| path.contains("/namespaces/")).count()
    }
}

fn event(type_: &str, object: Value) -> Value {
    json!({"type": type_, "object": object})
}

#[tokio::test(start_paused = true)]
async fn unanswered_live_read_does_not_block_the_watch() {
    let (events, watch) = mpsc::unbounded_channel();
    let lists = [vec![object("a", 1, true)]].into();
    let stage = Stage::new(Server { lists, watches: [watch].into(), ..Server::default() }, Some(LABEL));
    assert_eq!(stage.names().await, ["a"]);
    for version in 101..200 {
        events.send(event("DELETED", object("a", version, true))).unwrap();
    }
    events.send(event("ADDED", object("b", 200, false))).unwrap();
    assert_eq!(stage.names().await, ["a", "b"], "object a is in doubt and stays; object b is added immediately");
    assert!(stage.synced.is_done());
    assert!(stage.reads() > 1 && stage.reads() < 99, "a bounded number of reads is in flight: {}", stage.reads());
    // Each read ends at its deadline and is repeated.
    stage.server.lock().reads = (0..99).map(|_| None).collect();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(stage.names().await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn list_is_complete_after_live_reads_of_all_objects_in_doubt() {
    let (events, watch) = mpsc::unbounded_channel();
    let (_quiet, second) = mpsc::unbounded_channel();
    let lists = [vec![object("a", 1, true), object("b", 2, true), object("c", 3, false)], vec![]].into();
    let server = Server { lists, watches: [watch, second].into(), ..Server::default() };
    let stage = Stage::new(server, Some(LABEL));
    assert_eq!(stage.names().await, ["a", "b", "c"]);
    assert!(stage.synced.is_done());
    stage.synced.require_since(Instant::now());
    drop(events);
    assert_eq!(stage.names().await, ["a", "b"], "object c has no finalizer and is removed immediately");
    assert!(!stage.synced.is_done(), "objects a and b are in doubt");
    // One object left the selection and still has its finalizer; the other one was deleted.
    let mut left = object("a", 50, true);
    left["metadata"]["labels"] = json!({});
    stage.server.lock().reads = [Some(left), None].into();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(stage.synced.is_done());
    assert_eq!(stage.names().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn deletion_seen_by_a_watch_of_all_objects_costs_no_read() {
    let (events, watch) = mpsc::unbounded_channel();
    let (_quiet, second) = mpsc::unbounded_channel();
    let lists = [vec![object("a", 1, true), object("b", 2, true)], vec![]].into();
    let stage = Stage::new(Server { lists, watches: [watch, second].into(), ..Server::default() }, None);
    assert_eq!(stage.names().await, ["a", "b"]);
    events.send(event("DELETED", object("a", 101, true))).unwrap();
    assert_eq!(stage.names().await, ["b"]);
    stage.synced.require_since(Instant::now());
    assert!(stage.names().await.is_empty());
    assert!(stage.synced.is_done());
    assert_eq!(stage.reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn unanswered_list_and_watch_are_requested_again() {
    let stage = Stage::new(Server::default(), None);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!stage.synced.is_done());
    stage.server.lock().lists = [vec![object("a", 1, false)]].into();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(stage.synced.is_done(), "the list was not requested again");
    let (events, watch) = mpsc::unbounded_channel();
    stage.server.lock().watches = [watch].into();
    tokio::time::sleep(Duration::from_secs(60)).await;
    events.send(event("ADDED", object("b", 101, false))).unwrap();
    assert_eq!(stage.names().await, ["a", "b"], "the watch was not requested again");
}

#[tokio::test(start_paused = true)]
async fn answer_older_than_a_watch_event_is_ignored() {
    let (events, watch) = mpsc::unbounded_channel();
    let lists = [vec![object("a", 1, true)]].into();
    let stage = Stage::new(Server { lists, watches: [watch].into(), ..Server::default() }, Some(LABEL));
    assert_eq!(stage.names().await, ["a"]);
    events.send(event("DELETED", object("a", 101, true))).unwrap();
    events.send(event("ADDED", object("a", 103, true))).unwrap();
    assert_eq!(stage.names().await, ["a"]);
    // The answer shows the object at a time when it had neither label nor finalizer.
    let mut left = object("a", 102, false);
    left["metadata"]["labels"] = json!({});
    stage.server.lock().reads = [Some(left)].into();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(stage.names().await, ["a"]);
    assert_eq!(stage.cache.get(&"a".into()).unwrap().identity.resource_version, ResourceVersion(103));
}
