//! The events of a resource: one list in pages, then a watch from the version of the list on. A watch that ends is
//! requested again from the version of its last event.

use std::collections::VecDeque;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use kube::Resource;
use kube::api::{ListParams, WatchParams};
use kube::core::Status;
use kube::runtime::watcher::Event;
use thiserror::Error;
use tokio::task::JoinSet;

use super::WatchMetrics;
use crate::runtime::codec::{Page, WireEvent, WireObject};
use crate::runtime::errors::message;
use crate::runtime::objects::Objects;

/// Maximum number of objects of one page of the list, the same as in client-go.
const PAGE: u32 = 500;
/// Longest silence of a watch. The API server ends each watch 5 s earlier.
const SILENCE: Duration = Duration::from_secs(295);

/// Objects to watch.
#[derive(Clone)]
pub(super) struct Selection<W> {
    /// Objects of the resource.
    pub objects: Objects<W>,
    /// Label that objects must have; none for all objects.
    pub label: Option<&'static str>,
    /// Metrics that count the objects that cannot be decoded.
    pub metrics: WatchMetrics,
}

/// Error of a list or a watch. The stream of the events continues after an error.
#[derive(Debug, Error)]
pub(super) enum WatchError {
    /// The list or the request for a watch failed, or the response to a watch was interrupted.
    #[error("{}", message(.0))]
    Request(#[from] kube::Error),
    /// The API server ended the watch with an error.
    #[error("{0}")]
    Ended(Box<Status>),
    /// A list or an object has no version to watch from.
    #[error("the API server sent no resourceVersion")]
    NoVersion,
}

impl WatchError {
    /// Returns whether the version to watch from has expired, so that the objects have to be listed again.
    pub(super) fn is_expired(&self) -> bool {
        match self {
            Self::Ended(status) => status.code == 410,
            Self::Request(kube::Error::Api(status)) => status.code == 410,
            Self::Request(_) | Self::NoVersion => false,
        }
    }
}

/// Part of the sequence of list and watch that comes next.
enum State<W> {
    /// The list has to begin.
    Empty,
    /// These objects of the list have to be reported, then those of the next page.
    Listing { objects: VecDeque<W>, next: NextPage<W>, version: Option<String> },
    /// A watch from this version has to begin.
    Listed { version: String },
    /// The watch runs.
    Watching { version: String, events: BoxStream<'static, kube::Result<WireEvent<W>>> },
}

/// Next page of a list.
enum NextPage<W> {
    /// The list has not begun.
    First,
    /// The page is being requested, while the objects of the one before it are taken in.
    Requested(JoinSet<kube::Result<Page<W>>>),
    /// There is no further page.
    None,
}

type Step<W> = (Option<Result<Event<W>, WatchError>>, State<W>);

/// Returns the events of the selected objects. The stream has no end.
pub(super) fn events<W>(selection: Selection<W>) -> impl Stream<Item = Result<Event<W>, WatchError>> + Send
where
    W: Resource<DynamicType = ()> + WireObject,
{
    stream::unfold((selection, State::Empty), |(selection, mut state)| async move {
        loop {
            let (event, next) = selection.step(state).await;
            state = next;
            if let Some(event) = event {
                return Some((event, (selection, state)));
            }
        }
    })
}

impl<W: Resource<DynamicType = ()> + WireObject> Selection<W> {
    async fn step(&self, state: State<W>) -> Step<W> {
        match state {
            State::Empty => {
                let objects = VecDeque::new();
                (Some(Ok(Event::Init)), State::Listing { objects, next: NextPage::First, version: None })
            }
            State::Listing { mut objects, next, version } => {
                if let Some(object) = objects.pop_front() {
                    return (Some(Ok(Event::InitApply(object))), State::Listing { objects, next, version });
                }
                match (next, version) {
                    (NextPage::None, Some(version)) => (Some(Ok(Event::InitDone)), State::Listed { version }),
                    (NextPage::Requested(mut page), _) => match page.join_next().await {
                        Some(Ok(page)) => self.take_page(page),
                        // The runtime stops.
                        Some(Err(_)) | None => (None, State::Empty),
                    },
                    (NextPage::First | NextPage::None, _) => {
                        self.take_page(self.objects.list(&self.params(None)).await)
                    }
                }
            }
            State::Listed { version } => self.watch(version).await,
            State::Watching { version, mut events } => match tokio::time::timeout(SILENCE, events.next()).await {
                Ok(Some(Ok(event))) => self.take(event, version, events),
                Ok(Some(Err(error))) => (Some(Err(error.into())), State::Listed { version }),
                Ok(None) | Err(_) => (None, State::Listed { version }),
            },
        }
    }

    fn params(&self, continue_token: Option<String>) -> ListParams {
        ListParams {
            label_selector: self.label.map(str::to_owned),
            limit: Some(PAGE),
            continue_token,
            ..ListParams::default()
        }
    }

    /// Takes in a page of the list, and requests the next one.
    fn take_page(&self, page: kube::Result<Page<W>>) -> Step<W> {
        let page = match page {
            Ok(page) => page,
            Err(error) => return (Some(Err(error.into())), State::Empty),
        };
        let version = Some(page.resource_version).filter(|version| !version.is_empty());
        let continue_token = Some(page.continue_token).filter(|token| !token.is_empty());
        if version.is_none() && continue_token.is_none() {
            return (Some(Err(WatchError::NoVersion)), State::Empty);
        }
        let next = continue_token.map_or(NextPage::None, |continue_token| {
            let (objects, params) = (self.objects.clone(), self.params(Some(continue_token)));
            let mut request = JoinSet::new();
            request.spawn(async move { objects.list(&params).await });
            NextPage::Requested(request)
        });
        let objects = page.items.into_iter().filter_map(|object| self.metrics.usable(object)).collect();
        (None, State::Listing { objects, next, version })
    }

    async fn watch(&self, version: String) -> Step<W> {
        let params = WatchParams { label_selector: self.label.map(str::to_owned), ..WatchParams::default() };
        match self.objects.watch(&params, &version).await {
            Ok(events) => (None, State::Watching { version, events: events.boxed() }),
            Err(error) => {
                let error = WatchError::from(error);
                let next = if error.is_expired() { State::Empty } else { State::Listed { version } };
                (Some(Err(error)), next)
            }
        }
    }

    /// Returns the event of the cache for an event of the watch.
    fn take(
        &self,
        event: WireEvent<W>,
        version: String,
        events: BoxStream<'static, kube::Result<WireEvent<W>>>,
    ) -> Step<W> {
        let (object, event): (_, fn(W) -> Event<W>) = match event {
            WireEvent::Applied(object) => (object, Event::Apply),
            WireEvent::Deleted(object) => (object, Event::Delete),
            WireEvent::Bookmark { resource_version } => {
                let version = if resource_version.is_empty() { version } else { resource_version };
                return (None, State::Watching { version, events });
            }
            WireEvent::Failed(status) => {
                let error = WatchError::Ended(status);
                let next = if error.is_expired() { State::Empty } else { State::Watching { version, events } };
                return (Some(Err(error)), next);
            }
        };
        // The watch continues after an object that cannot be decoded: the next event has a newer version.
        let Some(object) = self.metrics.usable(object) else { return (None, State::Watching { version, events }) };
        match object.meta().resource_version.clone().filter(|version| !version.is_empty()) {
            Some(version) => (Some(Ok(event(object))), State::Watching { version, events }),
            None => (Some(Err(WatchError::NoVersion)), State::Empty),
        }
    }
}
