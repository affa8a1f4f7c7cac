//! The rules that every request passes: host, method, session, origin and `--read-only`; and the headers of every
//! response.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Method, StatusCode};

use super::cache::JobRow;
use super::console::Console;
use super::error::PageError;
use super::identity::User;
use super::layout::{Content, bare_page, page};
use super::origin::OriginError;

/// Path of the files that need no session.
pub const ASSETS: &str = "/assets/";
/// Path of the sign-in.
pub const LOGIN: &str = "/login";

/// Everything that a page of the console may load, and nothing else.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Refuses a request that breaks a rule, and adds the headers to every response.
pub async fn guard(State(console): State<Arc<Console>>, mut request: Request, next: Next) -> Response {
    let checked = match health(&console, request.method(), request.uri().path()) {
        Some(health) => return health,
        None => check(&console, request.method(), request.uri().path(), request.headers()).await,
    };
    let mut response = match checked {
        Ok(Some(user)) => {
            request.extensions_mut().insert(user);
            next.run(request).await
        }
        Ok(None) => next.run(request).await,
        Err(error) => {
            let content = Content::of_error(&error);
            let is_user = error == PageError::ReadOnly || error == PageError::Method;
            let text = if is_user { page(&console, &content) } else { bare_page(&content) };
            let mut response = (content.status, Html(text)).into_response();
            if console.sign_in.is_in_cluster() && content.status == StatusCode::UNAUTHORIZED {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    };
    protect(response.headers_mut());
    response
}

/// Returns the answer to a health check of a console in the cluster. The kubelet sends the address of the pod as the host,
/// and no credentials, so the answer is the same for everyone.
fn health(console: &Console, method: &Method, path: &str) -> Option<Response> {
    if !console.sign_in.is_in_cluster() || !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let (status, text) = match path {
        "/healthz" => (StatusCode::OK, "ok\n"),
        "/readyz" if console.caches.is_complete::<JobRow>() => (StatusCode::OK, "ok\n"),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        _ => return None,
    };
    Some((status, [(CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")], text).into_response())
}

/// Returns the user of a request; none for a file or the sign-in, which need no user.
async fn check(console: &Console, method: &Method, path: &str, headers: &HeaderMap) -> Result<Option<User>, PageError> {
    console.origins.check(method, headers).map_err(|error| match error {
        OriginError::Host => PageError::WrongHost,
        OriginError::CrossSite => PageError::CrossSite,
    })?;
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    let is_login = path == LOGIN && !console.sign_in.is_in_cluster();
    if is_read && (is_login || path.starts_with(ASSETS)) {
        return Ok(None);
    }
    let user = console.sign_in.user(headers).await?;
    if !is_read && *method != Method::POST {
        return Err(PageError::Method);
    }
    if !is_read && console.read_only {
        return Err(PageError::ReadOnly);
    }
    Ok(Some(user))
}

/// Adds the headers that protect a response. An asset keeps its own rule for caches.
fn protect(headers: &mut HeaderMap) {
    let fixed: [(HeaderName, &str); 5] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // With `no-referrer`, a browser would send the forms of the console itself with the origin `null`.
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
