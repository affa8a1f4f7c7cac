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
                match frames.next() {
                    Ok(None) => {}
                    Ok(Some(frame)) => break Ok(frame),
                    Err(error) => break Err(error.into()),
                }
                match data.next().await {
                    Some(Ok(bytes)) => frames.push(&bytes),
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

/// Returns the status of a response with an error. The response of a proxy may be a text.
fn refusal(headers: &HeaderMap, code: u16, bytes: &Bytes) -> Status {
    let status = match Encoding::of(headers) {
        // Proxies and webhooks send statuses without their kind.
        Encoding::Json => serde_json::from_slice(bytes).ok(),
        Encoding::Protobuf => codec::status(Encoding::Protobuf, bytes),
    };
    status.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(bytes);
        Status::failure(text.trim(), UNKNOWN_REASON).with_code(code)
    })
}
