//! Logs that an open page follows: first the logs as they are now, then the new lines.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use http::{StatusCode, Uri};
use maud::{Markup, html};
use tokio::sync::watch;
use tokio::time::Instant;

use super::followers::Place;
use super::lines::{Look, Readers, Row};
use super::query::LogQuery;
use super::read::{PODS, snapshot};
use super::{check, opened};
use crate::client::logs::follow::{Followed, JobLogs};
use crate::client::logs::tail::Part;
use crate::runtime::errors::message;
use crate::ui::console::Console;
use crate::ui::error::PageError;
use crate::ui::identity::User;
use crate::ui::layout::{Content, page};
use crate::ui::live::LIFETIME;
use crate::ui::text::neutral;

/// Longest time between two checks that the user is still allowed to read the logs.
const CHECK: Duration = Duration::from_secs(10);
/// Time for which further lines are collected into one event.
const COLLECT: Duration = Duration::from_millis(50);
/// Maximum number of lines of one event.
const BATCH: usize = 500;
/// Time after which a silent stream sends a comment, which shows whether the browser has left.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Logs that an open page follows.
struct Live {
    console: Arc<Console>,
    user: User,
    namespace: String,
    logs: JobLogs,
    readers: Readers,
    look: Look,
    /// Event that is sent next.
    pending: Option<Event>,
    has_ended: bool,
    until: Instant,
    stop: watch::Receiver<bool>,
    _place: Place,
}

/// What a stream finds.
enum Found {
    /// Event to send.
    Event(Event),
    /// No line arrived in time.
    Nothing,
}

/// Sends the logs that the query names, and each new line.
pub(in crate::ui) async fn stream(
    State(console): State<Arc<Console>>,
    Extension(user): Extension<User>,
    uri: Uri,
) -> Response {
    let query = LogQuery::parse(uri.query().unwrap_or_default(), None);
    match begin(&console, &user, &query).await {
        Ok(Some(live)) => {
            let events = futures::stream::unfold(live, |mut live| async move {
                let event = live.next().await?;
                Some((Ok::<_, Infallible>(event), live))
            });
            Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
        }
        Ok(None) => (StatusCode::SERVICE_UNAVAILABLE, "Too many pages follow logs. Close one of them.").into_response(),
        Err(error) => {
            let content = Content::of_error(&error);
            (content.status, Html(page(&console, &content))).into_response()
        }
    }
}

async fn begin(console: &Arc<Console>, user: &User, query: &LogQuery) -> Result<Option<Live>, PageError> {
    let Some(place) = console.followers.enter(user) else { return Ok(None) };
    let (context, job) = opened(console, user, query).await?;
    let pods = context.pods_of(&job).await;
    let pods = pods.map_err(|error| PageError::Unreadable { what: "the pods".to_owned(), error: message(&error) })?;
    let look = Look { text: query.text.clone(), zone: console.zone.clone() };
    let now = snapshot(&context.api(), &pods, query, &look).await;
    let part = Part { follow: true, tail: Some(query.tail), ..Part::default() };
    let logs = JobLogs::new(&context, &job, (query.filter(), part), PODS, now.readers.last());
    let pending = Some(event("log", &rows(&look, &now.rows)));
    let (until, stop) = (Instant::now() + LIFETIME, console.stop.clone());
    Ok(Some(Live {
        console: console.clone(),
        user: user.clone(),
        namespace: query.namespace.clone(),
        logs,
        readers: now.readers,
        look,
        pending,
        has_ended: false,
        until,
        stop,
        _place: place,
    }))
}

impl Live {
    /// Returns the next event, after a check that the user may still read the logs. `None` at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        while !self.has_ended || self.pending.is_some() {
            let found = self.found(Instant::now() + CHECK).await?;
            match self.is_allowed().await {
                Ok(()) => {}
                // The browser requests the stream again.
                Err(PageError::Unreviewed { .. } | PageError::Unreadable { .. }) => return None,
                Err(error) => {
                    (self.pending, self.has_ended) = (None, true);
                    return Some(event("end", &html! { (neutral(&error.text())) }));
                }
            }
            match found {
                Found::Event(event) => return Some(event),
                Found::Nothing if Instant::now() >= self.until => return None,
                Found::Nothing => {}
            }
        }
        None
    }

    async fn is_allowed(&mut self) -> Result<(), PageError> {
        self.console.sign_in.check(&self.user).await?;
        check(&self.console, &self.user, &self.namespace).await
    }

    /// Returns what is found until `end`. `None` when the console stops.
    async fn found(&mut self, end: Instant) -> Option<Found> {
        if let Some(event) = self.pending.take() {
            return Some(Found::Event(event));
        }
        let mut added = Vec::new();
        let mut collected = end.min(self.until);
        while added.len() < BATCH {
            let followed = tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => return None,
                () = tokio::time::sleep_until(collected) => break,
                followed = self.logs.next() => followed,
            };
            let note = match followed {
                Ok(Followed::Line(source, line)) => {
                    let row = self.readers.row(&source, &line);
                    if self.look.shows(&row) {
                        if added.is_empty() {
                            collected = Instant::now() + COLLECT;
                        }
                        added.push(row);
                    }
                    continue;
                }
                Ok(Followed::Unreadable(source, reason)) => {
                    format!("The log of {} in pod {} cannot be read: {reason}", source.container, source.pod)
                }
                Ok(Followed::TooMany) => format!("At most {PODS} logs are followed. Select a pod to follow its log."),
                Ok(Followed::Finished(_)) => {
                    self.has_ended = true;
                    "The Job has finished.".to_owned()
                }
                Err(error) => {
                    self.has_ended = true;
                    format!("The logs are not followed: {error}")
                }
            };
            let note = event(if self.has_ended { "end" } else { "note" }, &html! { (neutral(&note)) });
            if added.is_empty() {
                return Some(Found::Event(note));
            }
            self.pending = Some(note);
            break;
        }
        Some(if added.is_empty() { Found::Nothing } else { Found::Event(event("line", &rows(&self.look, &added))) })
    }
}

fn rows(look: &Look, rows: &[Row]) -> Markup {
    html! { @for row in rows { (look.row(row)) } }
}

fn event(name: &str, markup: &Markup) -> Event {
    // A line break would end the line of the event.
    Event::default().event(name).data(markup.0.replace(['\r', '\n'], " "))
}
