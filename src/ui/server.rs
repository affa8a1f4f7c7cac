//! The HTTP server of the console, and its routes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, SET_COOKIE};
use http::{HeaderMap, StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::assets;
use super::console::Console;
use super::error::PageError;
use super::guard::{self, LOGIN};
use super::identity::User;
use super::layout::{Content, bare_page, page, signed_in_page};
use super::{actions, live, logs, views};

/// Time that requests in flight get when the console stops.
const DRAIN: Duration = Duration::from_secs(2);

/// Serves the console until `stop` resolves. `stopping` is set first, so that streams end.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    console: Arc<Console>,
    stopping: watch::Sender<bool>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let stopped = {
        let mut stopped = stopping.subscribe();
        async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
    };
    let drained = async {
        stop.await;
        stopping.send_replace(true);
        tokio::time::sleep(DRAIN).await;
    };
    let server = axum::serve(listener, router(console)).with_graceful_shutdown(stopped);
    tokio::select! {
        served = server.into_future() => served,
        () = drained => Ok(()),
    }
}

/// Returns the routes behind the rules of [`guard`].
pub fn router(console: Arc<Console>) -> Router {
    Router::new()
        .route(LOGIN, get(log_in))
        .route("/assets/{file}", get(asset))
        .route("/live", get(live::stream))
        .route("/logs/live", get(logs::stream))
        .route("/logs/download", get(logs::download))
        .fallback(view)
        .layer(middleware::from_fn_with_state(console.clone(), guard::guard))
        .with_state(console)
}

async fn view(
    State(console): State<Arc<Console>>,
    Extension(user): Extension<User>,
    method: http::Method,
    uri: Uri,
    body: Body,
) -> Response {
    if method != http::Method::GET && method != http::Method::HEAD {
        return actions::submit(&console, &user, &uri, body).await;
    }
    let content = views::content(&console, &user, &uri).await;
    let content = content.unwrap_or_else(|error| Content::of_error(&error));
    (content.status, Html(page(&console, &content))).into_response()
}

async fn asset(uri: Uri) -> Response {
    match assets::find(uri.path()) {
        Some(asset) => {
            let headers = [(CONTENT_TYPE, asset.content_type), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
            (headers, asset.text).into_response()
        }
        None => error_page(&PageError::NotFound),
    }
}

async fn log_in(State(console): State<Arc<Console>>, headers: HeaderMap, uri: Uri) -> Response {
    let Some(sessions) = console.sign_in.sessions() else { return error_page(&PageError::NotFound) };
    // A second visit of the address, such as by the button "back", needs no token.
    if console.sign_in.user(&headers).await.is_ok() {
        return (StatusCode::SEE_OTHER, [(LOCATION, "/")]).into_response();
    }
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let token = query.into_iter().find(|(name, _)| name == "token").map(|(_, value)| value.into_owned());
    match sessions.log_in(&token.unwrap_or_default()) {
        Ok(Some(cookie)) => ([(SET_COOKIE, cookie)], Html(signed_in_page())).into_response(),
        Ok(None) => error_page(&PageError::WrongToken),
        Err(error) => error_page(&PageError::Internal(error.to_string())),
    }
}

fn error_page(error: &PageError) -> Response {
    let content = Content::of_error(error);
    (content.status, Html(bare_page(&content))).into_response()
}
