//! Live updates: the content of an open page is rendered again when something changes, and sent if it differs.
//!
//! Each time, the page is authorized again for its user. A change that the user may not see gives an equal page, so nothing
//! is sent.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::future::Either;
use futures::{Stream, StreamExt};
use http::Uri;
use tokio::sync::watch;
use tokio::time::Instant;

use super::console::Console;
use super::identity::User;
use super::layout::{Content, Freshness};
use super::views;

/// Time that a change waits for others that follow immediately.
const SETTLE: Duration = Duration::from_millis(100);
/// Shortest time between two renderings of a page.
const INTERVAL: Duration = Duration::from_millis(500);
/// Time after which a page with objects that are not cached is rendered again.
const TICK: Duration = Duration::from_secs(5);
/// Time after which a page without changes is rendered again, because it has the ages of objects.
const SLOW_TICK: Duration = Duration::from_secs(30);
/// Time after which a silent stream sends a comment, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Time after which a stream ends in the cluster. The browser requests it again, and the proxy checks its user again.
pub(super) const LIFETIME: Duration = Duration::from_secs(300);

/// Page that a browser has open.
struct Page {
    console: Arc<Console>,
    user: User,
    uri: Option<Uri>,
    sent: String,
    changes: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
    last: Option<Rendering>,
}

/// The last time that the page was rendered.
struct Rendering {
    at: Instant,
    /// Number of the last change before the rendering began.
    change: u64,
    freshness: Freshness,
}

/// Sends the content of the page that the query names, each time that the content changes.
pub async fn stream(
    State(console): State<Arc<Console>>,
    Extension(user): Extension<User>,
    uri: Uri,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (mut path, mut seen) = (None, String::new());
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        match &*name {
            "path" => path = Some(value.into_owned()),
            "seen" => seen = value.into_owned(),
            _ => {}
        }
    }
    let uri = path.filter(|path| path.starts_with('/')).and_then(|path| path.parse().ok());
    let (changes, stop) = (console.caches.changes(), console.stop.clone());
    let end = match console.sign_in.is_in_cluster() {
        true => Either::Left(tokio::time::sleep(LIFETIME)),
        false => Either::Right(std::future::pending()),
    };
    let page = Page { console, user, uri, sent: seen, changes, stop, last: None };
    let events = futures::stream::unfold(page, |mut page| async move {
        let event = page.next().await?;
        Some((Ok(event), page))
    });
    Sse::new(events.take_until(end)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

impl Page {
    /// Returns the next content that differs from the last one. `None` when the console stops.
    async fn next(&mut self) -> Option<Event> {
        let uri = self.uri.clone()?;
        loop {
            if let Some(last) = self.last.take() {
                self.wait(&last).await?;
            }
            let (change, at) = (*self.changes.borrow_and_update(), Instant::now());
            let content = match self.console.sign_in.check(&self.user).await {
                Ok(()) => views::content(&self.console, &self.user, &uri).await,
                Err(error) => Err(error),
            };
            let content = content.unwrap_or_else(|error| Content::of_error(&error));
            let hash = content.hash();
            let event = (hash != self.sent).then(|| event(&content));
            self.last = Some(Rendering { at, change, freshness: content.freshness });
            if event.is_some() {
                self.sent = hash;
                return event;
            }
        }
    }

    /// Waits until the page has to be rendered again. `None` when the console stops.
    async fn wait(&mut self, last: &Rendering) -> Option<()> {
        let (interests, tick) = match &last.freshness {
            Freshness::Changes(interests) => (interests, SLOW_TICK),
            Freshness::ChangesAndTime(interests) => (interests, TICK),
            Freshness::Never => {
                // A stream that ends would be requested again.
                let _ = self.stop.wait_for(|stop| *stop).await;
                return None;
            }
        };
        let caches = self.console.caches.clone();
        let changed = async {
            // The first evaluation covers the changes since the rendering began.
            while !caches.has_changed(interests, last.change) {
                if self.changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            tokio::time::sleep(SETTLE).await;
            tokio::time::sleep_until(last.at + INTERVAL).await;
        };
        tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => None,
            () = changed => Some(()),
            () = tokio::time::sleep_until(last.at + tick) => Some(()),
        }
    }
}

/// Returns the event with the title, and the element `main` below it.
fn event(content: &Content) -> Event {
    let text = format!("{}\n{}", content.full_title(), content.main_element());
    // A carriage return would end the line of the event.
    Event::default().event("main").data(text.replace('\r', ""))
}
