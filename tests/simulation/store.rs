//! Storage of the simulated API server: objects, their versions, and the log of all changes in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use jobwright::runtime::clock::Clock;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::objects;
use crate::patch::strings;

/// Key of an object: resource, namespace, name.
pub type Key = (&'static str, String, String);

/// One change of an object.
#[derive(Clone, Debug)]
pub struct Happened {
    pub version: u64,
    /// Time of the change, in seconds.
    pub at: i64,
    pub resource: &'static str,
    /// The object before the change; none if it was created.
    pub before: Option<Value>,
    /// The object after the change, or its last version if it was removed.
    pub object: Value,
    /// Whether the object was removed from the storage.
    pub gone: bool,
}

/// Refusal of a request: the HTTP status code and the message.
#[derive(Debug)]
pub struct Refusal(pub u16, pub String);

/// The stored objects.
pub struct Store {
    pub objects: BTreeMap<Key, Value>,
    pub log: Vec<Happened>,
    /// Version of the last compaction: a watch that begins before it has expired.
    pub horizon: u64,
    pub version: u64,
    names: u64,
    clock: Clock,
    /// Notified of each new version. `Notify` wakes the waiting watches in a fixed order, which a channel does not; a
    /// seed therefore stays the same history.
    pub changed: Arc<Notify>,
}

impl Store {
    pub fn new(clock: Clock) -> Self {
        Self {
            objects: BTreeMap::new(),
            log: Vec::new(),
            horizon: 0,
            version: 1,
            names: 0,
            clock,
            changed: Arc::default(),
        }
    }

    /// Returns the current time in the format of the API.
    pub fn now(&self) -> String {
        self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// Returns the current time in seconds.
    pub fn seconds(&self) -> i64 {
        self.clock.now().as_second()
    }

    /// Returns the current time in milliseconds.
    pub fn millis(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    pub fn get(&self, key: &Key) -> Result<&Value, Refusal> {
        self.objects.get(key).ok_or_else(|| Refusal(404, format!("{} {}/{} not found", key.0, key.1, key.2)))
    }

    /// Returns the objects of a resource, in the order of their keys.
    pub fn of(&self, resource: &'static str) -> impl Iterator<Item = (&Key, &Value)> {
        let first = (resource, String::new(), String::new());
        self.objects.range(first..).take_while(move |(key, _)| key.0 == resource)
    }

    pub fn create(&mut self, resource: &'static str, namespace: &str, mut object: Value) -> Result<Value, Refusal> {
        self.names += 1;
        let metadata = &mut object["metadata"];
        if metadata["name"].is_null() {
            let prefix = metadata["generateName"].as_str().unwrap_or_default();
            metadata["name"] = format!("{prefix}{:05}", self.names).into();
        }
        let name = metadata["name"].as_str().unwrap_or_default().to_owned();
        metadata["namespace"] = namespace.into();
        metadata["uid"] = format!("uid-{:06}", self.names).into();
        metadata["creationTimestamp"] = self.now().into();
        match resource {
            "jobs" => objects::new_job(&mut object),
            "pods" => objects::new_pod(&mut object, self.names % 3),
            "jobschedules" => objects::new_job_schedule(&mut object),
            _ => {}
        }
        let key = (resource, namespace.to_owned(), name);
        if self.objects.contains_key(&key) {
            return Err(Refusal(409, format!("{resource} {} already exists", key.2)));
        }
        Ok(self.put(key, object))
    }

    /// Stores a new version of an object. Removes the object if it is being deleted and has neither a grace period nor
    /// finalizers left.
    pub fn put(&mut self, key: Key, mut object: Value) -> Value {
        let before = self.objects.get(&key).cloned();
        let mut same = object.clone();
        if let Some(before) = &before {
            same["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            if same == *before {
                return same;
            }
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let metadata = &object["metadata"];
        let released = !metadata["deletionTimestamp"].is_null()
            && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or_default() == 0
            && strings(&metadata["finalizers"]).is_empty();
        let happened = Happened {
            version: self.version,
            at: self.seconds(),
            resource: key.0,
            before,
            object: object.clone(),
            gone: released,
        };
        if released {
            self.objects.remove(&key);
        } else {
            self.objects.insert(key, object.clone());
        }
        self.log.push(happened);
        self.changed.notify_waiters();
        object
    }

    /// Deletes an object as the API server does: a running pod gets its grace period, and an object with foreground or
    /// orphan propagation waits for the garbage collector.
    pub fn delete(&mut self, key: &Key, grace: Option<i64>, propagation: &str) -> Result<Value, Refusal> {
        let mut object = self.get(key)?.clone();
        let waits_for = match propagation {
            "Foreground" => Some("foregroundDeletion"),
            "Orphan" => Some("orphan"),
            _ => None,
        };
        if let Some(finalizer) = waits_for.filter(|finalizer| !objects::has_finalizer(&object, finalizer)) {
            let mut finalizers = strings(&object["metadata"]["finalizers"]);
            finalizers.push(finalizer.to_owned());
            object["metadata"]["finalizers"] = json!(finalizers);
        }
        // A second deletion can only shorten the grace period, and only if the request states one.
        let last = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or_default();
        if objects::is_deleting(&object) && grace.is_none_or(|grace| grace >= last) {
            return Ok(self.put(key.clone(), object));
        }
        // A finished pod needs no grace period.
        let deleting = objects::is_deleting(&object);
        let needs_grace = key.0 == "pods" && (deleting || !objects::is_finished(&object));
        let grace = if needs_grace { grace.unwrap_or(30) } else { 0 };
        let now = self.now();
        let metadata = &mut object["metadata"];
        let before = metadata["deletionGracePeriodSeconds"].as_i64();
        if metadata["deletionTimestamp"].is_null() {
            metadata["deletionTimestamp"] = now.into();
        }
        metadata["deletionGracePeriodSeconds"] = json!(before.map_or(grace, |before| before.min(grace)));
        Ok(self.put(key.clone(), object))
    }

    /// Changes an object without comparing its version.
    pub fn change(&mut self, key: &Key, change: impl FnOnce(&mut Value)) {
        if let Some(mut object) = self.objects.get(key).cloned() {
            change(&mut object);
            self.put(key.clone(), object);
        }
    }
}
