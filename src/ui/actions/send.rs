//! Sends the request of an action with the permissions of the user.

use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};
use kube::Client;

use crate::client::actions::request::PlannedRequest;

/// Sends exactly this request, once.
///
/// # Errors
/// The API server refuses the request, or its outcome is unknown.
pub(super) async fn send(client: &Client, request: &PlannedRequest) -> kube::Result<()> {
    let PlannedRequest { method, path, content_type, .. } = request;
    let sent = Request::builder()
        .method(method)
        .uri(path)
        .header(CONTENT_TYPE, *content_type)
        .header(ACCEPT, "application/json")
        .body(request.text().into_bytes())
        .map_err(kube::Error::HttpError)?;
    client.request_text(sent).await.map(drop)
}
