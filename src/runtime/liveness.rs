//! Liveness of this process: the signs of life of its watches and syncs, and the rules for when they are stuck, so that
//! the process has to be restarted.
//!
//! An API server that does not answer is no reason for a restart: a new process would not reach it either. A restart
//! helps if a task of this process no longer runs, or if one watch no longer receives data although the API server
//! answers.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Interval at which the task of a watch records that it runs, even if nothing happens.
pub const HEARTBEAT: Duration = Duration::from_secs(60);
/// Longest time without a run of the task of a watch. After this time, the task is stuck.
const TASK: Duration = Duration::from_secs(300);
/// Longest time for which a sync may not advance. Each of its requests has a deadline of at most 120 s, and the write
/// gate wakes a waiting sync every minute.
const SYNC: Duration = Duration::from_secs(300);
/// Longest time for which a watch may receive nothing while this process receives other responses from the API server.
/// The API server ends each watch within five minutes, because the watch requests this timeout.
const SILENCE: Duration = Duration::from_secs(720);
/// Longest pause between two responses of an API server that is available the whole time: longer than one watch lasts.
const PAUSE: Duration = Duration::from_secs(360);
/// Age of the last response up to which the API server counts as available.
const ANSWERED: Duration = Duration::from_secs(60);

/// Signs of life of one watch, or of another task that talks to the API server.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Mutex<Signs>>);

/// Times of the signs of life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// Time of the first run of the task of the watch.
    pub begun: Option<Instant>,
    /// Time of the last run of the task of the watch.
    pub ran: Option<Instant>,
    /// Time of the last response of the API server, or of its last event or bookmark.
    pub last_response: Option<Instant>,
    /// Time of the first response after the API server had been silent for longer than any watch lasts.
    pub answering: Option<Instant>,
}

impl Pulse {
    /// Records that the task runs.
    pub fn ran(&self) {
        let now = Instant::now();
        self.change(|signs| {
            signs.begun.get_or_insert(now);
            signs.ran = Some(now);
        });
    }

    /// Records that the API server sent something.
    pub fn record_response(&self) {
        let now = Instant::now();
        self.change(|signs| {
            if signs.last_response.is_none_or(|last_response| now.saturating_duration_since(last_response) > PAUSE) {
                signs.answering = Some(now);
            }
            signs.last_response = Some(now);
        });
    }

    /// Wraps a client so that each response, and each part of its body that arrives, is recorded as a sign of life.
    #[must_use]
    pub fn recorded_by(&self, client: Client) -> Client {
        let namespace = client.default_namespace().to_owned();
        let pulse = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (client, pulse) = (client.clone(), pulse.clone());
            async move {
                let response = client.send(request).await?;
                pulse.record_response();
                Ok::<_, kube::Error>(response.map(|body| {
                    body.map_frame(move |frame| {
                        pulse.record_response();
                        frame
                    })
                }))
            }
        });
        Client::new(service, namespace)
    }

    /// Returns the signs of life so far.
    pub fn signs(&self) -> Signs {
        *self.0.lock()
    }

    fn change(&self, change: impl FnOnce(&mut Signs)) {
        change(&mut self.0.lock());
    }
}

/// Returns one sentence for each stuck watch, with the cause. `watches` are checked; `others` only prove that the API
/// server answers.
pub fn stuck_watches(now: Instant, watches: &[(&'static str, Signs)], others: &[Signs]) -> Vec<String> {
    let since = |at: Instant| now.saturating_duration_since(at);
    // After an outage, each watch has the full time again to receive something.
    let has_answered = |signs: &Signs| {
        signs.last_response.is_some_and(|last_response| since(last_response) <= ANSWERED)
            && signs.answering.is_some_and(|at| since(at) > SILENCE)
    };
    let answers = watches.iter().map(|(_, signs)| signs).chain(others).any(has_answered);
    let problem = |&(name, signs): &(&'static str, Signs)| {
        // A watch that has not started is not expected to show signs of life.
        let (begun, ran) = (signs.begun?, signs.ran?);
        let silence = since(signs.last_response.unwrap_or(begun).max(begun));
        if since(ran) > TASK {
            Some(format!("the watch of {name} has not run for {} s", since(ran).as_secs()))
        } else if answers && silence > SILENCE {
            Some(format!(
                "the watch of {name} has received nothing for {} s, although the API server answers",
                silence.as_secs()
            ))
        } else {
            None
        }
    };
    watches.iter().filter_map(problem).collect()
}

/// Running syncs, and the time at which each last advanced.
#[derive(Clone, Debug)]
pub struct Syncs {
    origin: Instant,
    running: Arc<Mutex<Running>>,
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    /// Controller of each running sync, and the time at which the sync was last polled in milliseconds since the
    /// origin, by number.
    syncs: BTreeMap<u64, (&'static str, Arc<AtomicU64>)>,
}

impl Default for Syncs {
    fn default() -> Self {
        Self { origin: Instant::now(), running: Arc::default() }
    }
}

impl Syncs {
    /// Runs a sync of this controller, and records the time whenever the sync advances.
    pub async fn observe<T>(&self, controller: &'static str, sync: impl Future<Output = T>) -> T {
        let polled = Arc::new(AtomicU64::new(self.now()));
        let number = {
            let mut running = self.running.lock();
            running.next += 1;
            let number = running.next;
            running.syncs.insert(number, (controller, polled.clone()));
            number
        };
        let _entry = Entry { syncs: self, number };
        let mut sync = std::pin::pin!(sync);
        std::future::poll_fn(|context| {
            polled.store(self.now(), Ordering::Relaxed);
            sync.as_mut().poll(context)
        })
        .await
    }

    /// Returns one sentence for each controller that has a stuck sync.
    pub fn stuck(&self) -> Vec<String> {
        let now = self.now();
        let running = self.running.lock();
        let age = |polled: &AtomicU64| Duration::from_millis(now.saturating_sub(polled.load(Ordering::Relaxed)));
        let mut worst: BTreeMap<&'static str, Duration> = BTreeMap::new();
        for (controller, polled) in running.syncs.values().filter(|(_, polled)| age(polled) > SYNC) {
            let longest = worst.entry(controller).or_default();
            *longest = (*longest).max(age(polled));
        }
        let text = |(controller, age): (&'static str, Duration)| {
            format!("a sync of the {controller} controller has not advanced for {} s", age.as_secs())
        };
        worst.into_iter().map(text).collect()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Guard that removes the entry of a sync when it is dropped. The entry of a sync that panicked remains, because the
/// panic also ended the worker.
struct Entry<'a> {
    syncs: &'a Syncs,
    number: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.syncs.running.lock().syncs.remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watch_is_stuck_when_its_task_does_not_run_or_it_alone_receives_nothing() {
        let start = Instant::now();
        let at = |seconds: u64| Some(start + Duration::from_secs(seconds));
        let now = start + Duration::from_secs(10_000);
        let signs = |begun, ran, last_response| Signs { begun, ran, last_response, answering: begun };
        let fresh = signs(at(0), at(9_990), at(9_990));
        let recovered = |since| Signs { answering: at(since), ..fresh };
        let cases = [
            ("healthy", fresh, fresh, false),
            ("the watch has not started", Signs::default(), fresh, false),
            ("the task does not run", signs(at(0), at(9_600), at(9_600)), fresh, true),
            ("the task does not run, and nothing answers", signs(at(0), at(9_600), None), Signs::default(), true),
            ("this watch alone receives nothing", signs(at(0), at(9_990), at(9_000)), fresh, true),
            ("this watch never received anything", signs(at(0), at(9_990), None), fresh, true),
            ("the watch has just started", signs(at(9_500), at(9_990), None), fresh, false),
            ("the silence is shorter than one watch may last", signs(at(0), at(9_990), at(9_500)), fresh, false),
            ("nothing answers", signs(at(0), at(9_990), at(9_000)), signs(None, None, at(9_000)), false),
            ("the API server answers again after an hour", signs(at(0), at(9_990), at(6_000)), recovered(9_950), false),
            (
                "this watch alone received nothing since then",
                signs(at(0), at(9_990), at(4_000)),
                recovered(9_200),
                true,
            ),
            ("nothing ever answered", signs(at(0), at(9_990), None), Signs::default(), false),
        ];
        for (case, watch, other, stuck) in cases {
            let problems = stuck_watches(now, &[("pods", watch)], &[other]);
            assert_eq!(!problems.is_empty(), stuck, "{case}: {problems:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answering_starts_at_the_end_of_the_last_outage() {
        let pulse = Pulse::default();
        let begun = Instant::now();
        for _ in 0..10 {
            pulse.record_response();
            tokio::time::advance(Duration::from_secs(290)).await;
        }
        assert_eq!(pulse.signs().answering, Some(begun), "pauses shorter than a watch are no outage");
        tokio::time::advance(Duration::from_secs(3600)).await;
        let back = Instant::now();
        pulse.record_response();
        assert_eq!(pulse.signs().answering, Some(back));
    }

    #[tokio::test]
    async fn response_and_each_part_of_its_body_are_signs_of_life() {
        let service = tower::service_fn(|_: Request<Body>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(Body::from(b"part".to_vec())))
        });
        let pulse = Pulse::default();
        let client = pulse.recorded_by(Client::new(service, "default"));
        let response = client.send(Request::new(Body::empty())).await.expect("a response");
        let first = pulse.signs().last_response.expect("the response is a sign");
        tokio::time::sleep(Duration::from_millis(2)).await;
        response.into_body().collect().await.expect("a body");
        assert!(pulse.signs().last_response > Some(first), "the body is a later sign of life");
    }

    #[tokio::test(start_paused = true)]
    async fn sync_that_does_not_advance_is_stuck_and_one_that_is_polled_is_not() {
        let syncs = Syncs::default();
        let observed = syncs.clone();
        let stuck = tokio::spawn(async move { observed.observe("stuck", std::future::pending::<()>()).await });
        let advancing = async {
            for _ in 0..10 {
                tokio::time::sleep(SYNC / 2).await;
            }
            syncs.stuck()
        };
        let problems = syncs.observe("advancing", advancing).await;
        assert_eq!(problems, ["a sync of the stuck controller has not advanced for 1500 s"]);
        stuck.abort();
        assert!(stuck.await.is_err());
        assert!(syncs.stuck().is_empty(), "a sync that was dropped is no longer observed");
    }

    #[tokio::test(start_paused = true)]
    async fn sync_that_panicked_is_reported() {
        let syncs = Syncs::default();
        let observed = syncs.clone();
        let worker = tokio::spawn(async move { observed.observe("job", async { panic!("a bug") }).await });
        let ended: Result<(), _> = worker.await;
        assert!(ended.is_err());
        tokio::time::advance(2 * SYNC).await;
        assert_eq!(syncs.stuck().len(), 1);
    }
}
