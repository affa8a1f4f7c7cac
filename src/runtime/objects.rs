//! Requests about the objects of one resource, in the encoding that the resource supports.
//!
//! [`Objects`] replaces `kube::Api`, which knows JSON only. The requests pass all layers of the client that it is built
//! from, so that deadlines and metrics are the same for both encodings. The body of a patch is JSON in either case.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use either::Either;
use futures::{Stream, StreamExt, stream};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::BodyExt;
use kube::api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
use kube::client::Body;
use kube::core::{Request, Status};
use kube::{Api, Client, Resource};
use serde::Serialize;

use super::codec::frames::Frames;
use super::codec::{self, Encoded, Encoding, Page, WireEvent, WireObject};

/// Reason of an error whose response contains no status.
const UNKNOWN_REASON: &str = "Failed to parse error data";

/// Objects of one resource, in one namespace or in all.
pub struct Objects<K> {
    client: Client,
    request: Request,
    encoding: Encoding,
    of: PhantomData<fn() -> K>,
}

impl<K> Clone for Objects<K> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), request: self.request.clone(), encoding: self.encoding, of: PhantomData }
    }
}

impl<K> fmt::Debug for Objects<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Objects").field(&self.request.url_path).finish()
    }
}

impl<K: WireObject> Objects<K> {
    /// Returns the objects of an API. `encoding` is requested if the objects have that encoding.
    pub fn new(api: Api<K>, encoding: Encoding) -> Self
    where
        K: Resource,
    {
        let encoding = if K::PROTOBUF.is_some() { encoding } else { Encoding::Json };
        let request = Request::new(api.resource_url());
        Self { client: api.into_client(), request, encoding, of: PhantomData }
    }

    /// Returns the client of the requests, and the requested encoding.
    pub fn client(&self) -> (Client, Encoding) {
        (self.client.clone(), self.encoding)
    }

    /// Reads an object; none if no object has this name.
    ///
    /// # Errors
    /// The API server refuses or does not answer, or the object cannot be decoded.
    pub async fn get_opt(&self, name: &str) -> kube::Result<Option<K>> {
        let request = self.request.get(name, &GetParams::default()).map_err(kube::Error::BuildRequest)?;
        match self.object(request).await {
            Ok(found) => Ok(Some(found)),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists one page of objects.
    ///
    /// # Errors
    /// The API server refuses or does not answer, or the response is no list.
    pub async fn list(&self, params: &ListParams) -> kube::Result<Page<K>> {
        let request = self.request.list(params).map_err(kube::Error::BuildRequest)?;
        let (encoding, bytes) = self.answer(request).await?;
        Ok(codec::list(encoding, bytes)?)
    }

    /// Watches objects from a version on. The stream ends when the API server ends the watch, and after an error.
    ///
    /// # Errors
    /// The API server refuses or does not answer.
    pub async fn watch(
        &self,
        params: &WatchParams,
        version: &str,
    ) -> kube::Result<impl Stream<Item = kube::Result<WireEvent<K>>> + Send + use<K>> {
        let mut request = self.request.watch(params, version).map_err(kube::Error::BuildRequest)?;
        // The API server compresses each event on its own, which the client cannot decompress.
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let response = self.respond(request).await?;
        let encoding = Encoding::of(response.headers());
        let state = Some((response.into_body().into_data_stream(), Frames::new(encoding)));
        Ok(stream::unfold(state, move |state| async move {
            let (mut data, mut frames) = state?;
            let frame = loop {
                match frames.pop() {
                    Ok(None) => {}
                    Ok(Some(frame)) => break Ok(frame),
                    Err(error) => break Err(error.into()),
                }
                match data.next().await {
                    Some(Ok(bytes)) => frames.push(&bytes),
                    Some(Err(error)) if is_interrupted(&error) => return None,
                    Some(Err(error)) => break Err(error),
                    None => match frames.finish() {
                        Ok(None) => return None,
                        Ok(Some(frame)) => break Ok(frame),
                        Err(error) => break Err(error.into()),
                    },
                }
            };
            let event = frame.and_then(|frame| Ok(codec::event(encoding, frame)?));
            let next = event.is_ok().then_some((data, frames));
            Some((event, next))
        }))
    }

    /// Creates an object, and returns the object that the API server stored.
    ///
    /// # Errors
    /// The API server refuses or does not answer, or the object cannot be decoded.
    pub async fn create(&self, params: &PostParams, body: Encoded) -> kube::Result<K> {
        let mut request = self.request.create(params, body.bytes).map_err(kube::Error::BuildRequest)?;
        let content_type = HeaderValue::from_static(body.encoding.content_type());
        request.headers_mut().insert(CONTENT_TYPE, content_type);
        self.object(request).await
    }

    /// Patches an object, and returns the object that the API server stored.
    ///
    /// # Errors
    /// The API server refuses or does not answer, or the object cannot be decoded.
    pub async fn patch<P: Serialize + fmt::Debug>(
        &self,
        name: &str,
        params: &PatchParams,
        patch: &Patch<P>,
    ) -> kube::Result<K> {
        self.object(self.request.patch(name, params, patch).map_err(kube::Error::BuildRequest)?).await
    }

    /// Patches the status of an object, and returns the object that the API server stored.
    ///
    /// # Errors
    /// The API server refuses or does not answer, or the object cannot be decoded.
    pub async fn patch_status<P: Serialize + fmt::Debug>(
        &self,
        name: &str,
        params: &PatchParams,
        patch: &Patch<P>,
    ) -> kube::Result<K> {
        let request = self.request.patch_subresource("status", name, params, patch);
        self.object(request.map_err(kube::Error::BuildRequest)?).await
    }

    /// Deletes an object. Returns the object if it exists after the request, and a status otherwise.
    ///
    /// # Errors
    /// The API server refuses or does not answer, or the response cannot be decoded.
    pub async fn delete(&self, name: &str, params: &DeleteParams) -> kube::Result<Either<K, Status>> {
        let request = self.request.delete(name, params).map_err(kube::Error::BuildRequest)?;
        let (encoding, bytes) = self.answer(request).await?;
        Ok(codec::object_or_status(encoding, bytes)?)
    }

    async fn object(&self, request: http::Request<Vec<u8>>) -> kube::Result<K> {
        let (encoding, bytes) = self.answer(request).await?;
        Ok(codec::object(encoding, bytes)?)
    }

    async fn answer(&self, request: http::Request<Vec<u8>>) -> kube::Result<(Encoding, Bytes)> {
        let response = self.respond(request).await?;
        let encoding = Encoding::of(response.headers());
        Ok((encoding, response.into_body().collect().await?.to_bytes()))
    }

    /// Sends a request, and returns its response if that is no error.
    async fn respond(&self, mut request: http::Request<Vec<u8>>) -> kube::Result<Response<Body>> {
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(self.encoding.accept()));
        let response = self.client.send(request.map(Body::from)).await?;
        let code = response.status();
        if !code.is_client_error() && !code.is_server_error() {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await?.to_bytes();
        Err(kube::Error::Api(Box::new(refusal(&parts.headers, code.as_u16(), &bytes))))
    }
}

/// Returns whether the connection was closed within a response. A watch over HTTP/1.1 ends in this way when a proxy or
/// the API server stops.
fn is_interrupted(error: &kube::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof)
            || error.to_string().contains("unexpected EOF during chunk")
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Returns the status of a response with an error. The response of a proxy may be a text.
fn refusal(headers: &HeaderMap, code: u16, bytes: &Bytes) -> Status {
    let status = match Encoding::of(headers) {
        // Proxies and webhooks send statuses without their kind.
        Encoding::Json => serde_json::from_slice(bytes).ok(),
        Encoding::Protobuf => codec::status(Encoding::Protobuf, bytes),
    };
    let mut status = status.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(bytes);
        Status::failure(text.trim(), UNKNOWN_REASON)
    });
    if status.code == 0 {
        status.code = code;
    }
    status
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::Secret;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use kube::ResourceExt;
    use parking_lot::Mutex;
    use serde_json::json;

    use super::*;
    use crate::runtime::codec::{DecodeError, Decoder, envelope, fields};

    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

    impl WireObject for Secret {
        const PROTOBUF: Option<Decoder<Self>> = Some(decode);
    }

    fn decode(message: Bytes) -> Result<Secret, DecodeError> {
        let metadata = fields::message(&message, 1)?;
        let text = |number| fields::message(&metadata, number).map(|text| String::from_utf8(text).ok());
        let metadata = ObjectMeta { name: text(1)?, resource_version: text(6)?, ..ObjectMeta::default() };
        Ok(Secret { metadata, ..Secret::default() })
    }

    fn secret(name: &str) -> Vec<u8> {
        let (mut metadata, mut message) = (Vec::new(), Vec::new());
        fields::put(&mut metadata, 1, name.as_bytes());
        fields::put(&mut metadata, 6, b"5");
        fields::put(&mut message, 1, &metadata);
        message
    }

    fn event(type_: &str, name: &str) -> Vec<u8> {
        let (mut object, mut event) = (Vec::new(), Vec::new());
        fields::put(&mut object, 1, &envelope::seal("v1", "Secret", secret(name)).bytes);
        fields::put(&mut event, 1, type_.as_bytes());
        fields::put(&mut event, 2, &object);
        [&u32::try_from(event.len()).unwrap().to_be_bytes()[..], &event].concat()
    }

    /// Objects of a server that sends this response to every request, and the `Accept` headers of the requests.
    fn server(
        encoding: Encoding,
        code: u16,
        content_type: &'static str,
        body: Vec<u8>,
    ) -> (Objects<Secret>, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            seen.lock().push(request.headers()[ACCEPT].to_str().unwrap().to_owned());
            let response = Response::builder().status(code).header(CONTENT_TYPE, content_type);
            let response = response.body(Body::from(body.clone())).unwrap();
            async move { Ok::<_, Infallible>(response) }
        });
        (Objects::new(Api::default_namespaced(Client::new(service, "default")), encoding), asked)
    }

    async fn watched(body: Vec<u8>, content_type: &'static str) -> Vec<String> {
        let (objects, _) = server(Encoding::Protobuf, 200, content_type, body);
        let events = objects.watch(&WatchParams::default(), "1").await.unwrap();
        let text = |event: kube::Result<WireEvent<Secret>>| match event {
            Ok(WireEvent::Applied(Ok(secret))) => format!("applied {}", secret.name_any()),
            Ok(WireEvent::Deleted(Ok(secret))) => format!("deleted {}", secret.name_any()),
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("error: {error}"),
        };
        events.map(text).collect().await
    }

    #[tokio::test]
    async fn response_in_json_is_read_although_protobuf_was_requested() {
        let body = json!({"kind": "Secret", "metadata": {"name": "a"}}).to_string().into_bytes();
        let (objects, asked) = server(Encoding::Protobuf, 200, "application/json", body.clone());
        assert_eq!(objects.get_opt("a").await.unwrap().unwrap().name_any(), "a");
        assert_eq!(asked.lock().as_slice(), ["application/vnd.kubernetes.protobuf, application/json"]);
        let sealed = envelope::seal("v1", "Secret", secret("b")).bytes;
        let (objects, _) = server(Encoding::Protobuf, 200, PROTOBUF, sealed);
        assert_eq!(objects.get_opt("b").await.unwrap().unwrap().name_any(), "b");
        let (objects, asked) = server(Encoding::Json, 200, "application/json", body);
        assert_eq!(objects.get_opt("a").await.unwrap().unwrap().name_any(), "a");
        assert_eq!(asked.lock().as_slice(), ["application/json"]);
    }

    #[tokio::test]
    async fn error_is_read_from_protobuf_json_and_text() {
        let mut status = Vec::new();
        fields::put(&mut status, 3, b"refused");
        fields::put(&mut status, 4, b"Forbidden");
        let sealed = envelope::seal("v1", "Status", status).bytes;
        let json = json!({"kind": "Status", "message": "refused", "reason": "Forbidden"}).to_string().into_bytes();
        let cases = [
            (PROTOBUF, sealed, "Forbidden"),
            ("application/json", json, "Forbidden"),
            ("text/plain", b"refused\n".to_vec(), UNKNOWN_REASON),
        ];
        for (content_type, body, reason) in cases {
            let (objects, _) = server(Encoding::Protobuf, 403, content_type, body);
            let Err(kube::Error::Api(status)) = objects.get_opt("a").await else { panic!("{content_type}: no status") };
            let read = (status.code, &*status.message, &*status.reason);
            assert_eq!(read, (403, "refused", reason), "{content_type}");
        }
    }

    #[tokio::test]
    async fn watch_is_read_in_either_encoding_until_its_first_error() {
        let stream = format!("{PROTOBUF};stream=watch");
        let stream: &'static str = Box::leak(stream.into_boxed_str());
        let both = [event("ADDED", "a"), event("DELETED", "b")].concat();
        assert_eq!(watched(both.clone(), stream).await, ["applied a", "deleted b"]);
        let cut = watched(both[..both.len() - 1].to_vec(), stream).await;
        assert_eq!(cut, ["applied a", "error: ServiceError: the response to the watch ended within an event"]);
        let endless = watched([event("ADDED", "a"), vec![0xff; 4], event("ADDED", "b")].concat(), stream).await;
        assert_eq!(endless.len(), 2, "{endless:?}");
        assert!(endless[1].contains("4294967295 bytes"), "{endless:?}");
        let json = "{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{\"name\":\"a\"}}}\n";
        assert_eq!(watched(json.into(), "application/json").await, ["applied a"]);
        let status = "{\"kind\":\"Status\",\"code\":500}\n";
        let failed = watched(status.into(), "application/json").await;
        assert!(failed.len() == 1 && failed[0].contains("500"), "{failed:?}");
    }

    #[tokio::test]
    async fn deletion_returns_the_object_or_a_status() {
        for (kind, found) in [("Secret", true), ("Status", false)] {
            let (objects, _) = server(Encoding::Protobuf, 200, PROTOBUF, envelope::seal("v1", kind, secret("a")).bytes);
            let deleted = objects.delete("a", &DeleteParams::default()).await.unwrap();
            assert_eq!(deleted.is_left(), found, "{kind}");
        }
    }
}
