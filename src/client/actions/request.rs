//! A request that changes an object: its method, path, content type and body, exactly as it is sent.

use http::Method;
use kube::Resource;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::client::names::Kind;
use crate::client::selected::resource;

/// Content type of a new object, and of the options of a deletion.
const JSON: &str = "application/json";
/// Content type of a merge patch.
const MERGE_PATCH: &str = "application/merge-patch+json";

/// Request that changes an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedRequest {
    /// Method.
    pub method: Method,
    /// Path with its query, without the address of the API server.
    pub path: String,
    /// Content type of the body.
    pub content_type: &'static str,
    /// Body.
    pub body: Value,
}

impl PlannedRequest {
    /// Returns the request that creates an object.
    pub(crate) fn create(kind: Kind, namespace: &str, object: Value) -> Self {
        Self { method: Method::POST, path: collection(kind, namespace), content_type: JSON, body: object }
    }

    /// Returns the request that applies a merge patch to an object, if the object still has this UID.
    pub(crate) fn patch(kind: Kind, (namespace, name): (&str, &str), uid: &str, patch: Value) -> Self {
        let mut body = patch;
        body["metadata"]["uid"] = json!(uid);
        Self { method: Method::PATCH, path: item(kind, namespace, name), content_type: MERGE_PATCH, body }
    }

    /// Returns the request that deletes an object with what it owns, if the object still has this UID.
    pub(crate) fn delete(kind: Kind, (namespace, name): (&str, &str), uid: &str) -> Self {
        let body = json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "preconditions": {"uid": uid}, "propagationPolicy": "Background",
        });
        Self { method: Method::DELETE, path: item(kind, namespace, name), content_type: JSON, body }
    }

    /// Returns the body as it is sent and shown.
    pub(crate) fn text(&self) -> String {
        format!("{:#}", self.body)
    }
}

fn collection(kind: Kind, namespace: &str) -> String {
    DynamicObject::url_path(&resource(kind), Some(namespace))
}

fn item(kind: Kind, namespace: &str, name: &str) -> String {
    format!("{}/{name}", collection(kind, namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_names_the_object_and_its_uid() {
        let created = PlannedRequest::create(Kind::Job, "etl", json!({"a": 1}));
        assert_eq!((created.method.as_str(), &*created.path), ("POST", "/apis/batch/v1/namespaces/etl/jobs"));
        assert_eq!((created.content_type, created.text()), ("application/json", "{\n  \"a\": 1\n}".to_owned()));
        let patch = json!({"spec": {"suspend": true}});
        let patched = PlannedRequest::patch(Kind::JobSchedule, ("etl", "n"), "u", patch);
        assert_eq!(patched.path, "/apis/jobwright.dev/v1beta1/namespaces/etl/jobschedules/n");
        assert_eq!(patched.content_type, "application/merge-patch+json");
        assert_eq!(patched.body, json!({"metadata": {"uid": "u"}, "spec": {"suspend": true}}));
        let deleted = PlannedRequest::delete(Kind::CronJob, ("etl", "n"), "u");
        assert_eq!((deleted.method.as_str(), &*deleted.path), ("DELETE", "/apis/batch/v1/namespaces/etl/cronjobs/n"));
        assert_eq!(deleted.body["preconditions"]["uid"], "u");
        assert_eq!(deleted.body["propagationPolicy"], "Background");
    }
}
