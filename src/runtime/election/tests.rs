//! Tests of the election on an API server that answers late, not at all, or with a conflict. The clock is paused.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::record::LastWrites;
use super::*;

/// Outcome of a request and of its answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Delivery {
    Answered,
    /// The request never reaches the server, and no answer arrives.
    Lost,
    /// The request takes effect, and no answer arrives.
    AnswerLost,
    /// The request takes effect, and the answer arrives one second later.
    Late,
    /// The server answers with an error.
    Failed,
    /// The request takes effect, and a proxy answers that the server is late.
    TimedOut,
}

/// Server of one Lease.
#[derive(Default)]
struct Server {
    lease: Option<Value>,
    version: u64,
    /// Deliveries of the next requests, except watches. All later requests are answered.
    deliveries: VecDeque<Delivery>,
    requests: Vec<Method>,
}

type Shared = Arc<Mutex<Server>>;

impl Server {
    fn holder(&self) -> &str {
        self.lease.as_ref().and_then(|lease| lease["spec"]["holderIdentity"].as_str()).unwrap_or_default()
    }

    fn put(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.lease = Some(lease.clone());
        lease
    }

    fn answer(&mut self, method: &Method, body: Value) -> (u16, Value) {
        let failure = |code: u16| {
            let reason = if code == 404 { "NotFound" } else { "Conflict" };
            (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "no"}))
        };
        match (*method == Method::GET, self.lease.clone()) {
            (true, Some(lease)) => (200, lease),
            (true, None) => failure(404),
            (false, Some(lease)) if body["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"] => {
                failure(409)
            }
            (false, _) => (200, self.put(body)),
        }
    }
}

fn client(server: &Shared) -> Client {
    let server = server.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let server = server.clone();
        async move {
            let (parts, body) = request.into_parts();
            if parts.uri.path().ends_with("/leases") && parts.method == Method::GET {
                // The watch of the Lease and its list use a dead connection.
                std::future::pending::<()>().await;
            }
            let body = body.collect().await.expect("a body").to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let (delivery, (code, answer)) = {
                let mut server = server.lock();
                let delivery = server.deliveries.pop_front().unwrap_or(Delivery::Answered);
                server.requests.push(parts.method.clone());
                let answer = match delivery {
                    Delivery::Lost => (0, Value::Null),
                    Delivery::Failed => {
                        (500, json!({"kind": "Status", "status": "Failure", "code": 500, "message": "no"}))
                    }
                    Delivery::TimedOut => {
                        server.answer(&parts.method, body);
                        (408, json!({"kind": "Status", "status": "Failure", "code": 408, "message": "no"}))
                    }
                    _ => server.answer(&parts.method, body),
                };
                (delivery, answer)
            };
            match delivery {
                Delivery::Answered | Delivery::Failed | Delivery::TimedOut => {}
                Delivery::Late => tokio::time::sleep(Duration::from_secs(1)).await,
                Delivery::Lost | Delivery::AnswerLost => std::future::pending().await,
            }
            let body = Body::from(answer.to_string().into_bytes());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).expect("an answer"))
        }
    });
    Client::new(service, "default")
}

fn election_on(server: &Shared, clock: Clock) -> (Election, Arc<WriteGate>) {
    let settings = Settings {
        namespace: "default".into(),
        name: "lease".into(),
        lease_duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: Duration::from_secs(2),
    };
    let me = ReplicaIdentity { identity: "me".into(), installation: "a".into(), claim: "managed-by".into() };
    let write_gate = Arc::new(WriteGate::new(1));
    (Election::new(client(server), settings, me, write_gate.clone(), clock, Arc::default()), write_gate)
}

fn election(server: &Shared) -> (Election, Arc<WriteGate>) {
    election_on(server, Clock::following_tokio(Timestamp::UNIX_EPOCH))
}

fn deliveries(server: &Shared, deliveries: &[Delivery]) {
    server.lock().deliveries = deliveries.iter().copied().collect();
}

async fn can_write(write_gate: &WriteGate) -> bool {
    write_gate.run(&"a".into(), async { Ok(()) }).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn dead_connection_costs_one_attempt_but_not_the_lease() {
    let server = Shared::default();
    let (election, write_gate) = election(&server);
    election.acquire_if_available().await.expect("the Lease has no holder");
    for dead in [&[Delivery::Lost][..], &[Delivery::AnswerLost], &[Delivery::Lost, Delivery::Lost]] {
        deliveries(&server, dead);
        let kept = tokio::time::timeout(Duration::from_secs(60), election.keep(std::future::pending())).await;
        assert!(kept.is_err(), "the Lease was lost after {dead:?}");
        assert!(can_write(&write_gate).await, "{dead:?}");
    }
    deliveries(&server, &[Delivery::Lost; 20]);
    let begun = Instant::now();
    election.keep(std::future::pending()).await;
    assert!(begun.elapsed() <= Duration::from_secs(12), "{:?}", begun.elapsed());
    assert!(!can_write(&write_gate).await);
}

#[tokio::test(start_paused = true)]
async fn replica_without_answers_keeps_requesting_the_lease() {
    let server = Shared::default();
    let (election, _) = election(&server);
    deliveries(&server, &[Delivery::Lost, Delivery::Lost, Delivery::Lost]);
    let taken = tokio::time::timeout(Duration::from_secs(60), election.acquire()).await;
    assert!(taken.is_ok(), "the replica waits for an answer that never arrives");
    assert_eq!(server.lock().holder(), "me");
}

#[tokio::test(start_paused = true)]
async fn lease_is_released_after_a_conflict_and_after_lost_answers() {
    use Delivery::{AnswerLost, Answered, Lost};
    let record = LastWrites([("jobs".to_owned(), 7)].into());
    let cases = [&[][..], &[Lost], &[AnswerLost], &[Lost, Lost], &[Lost, Answered, Lost]];
    for case in cases {
        let server = Shared::default();
        let (election, write_gate) = election(&server);
        election.acquire_if_available().await.expect("the Lease has no holder");
        {
            // A renewal whose answer was lost.
            let mut server = server.lock();
            let lease = server.lease.clone().unwrap();
            server.put(lease);
        }
        deliveries(&server, case);
        let begun = Instant::now();
        election.release(Some(&record)).await;
        assert!(begun.elapsed() <= hold::RELEASE, "{case:?}: {:?}", begun.elapsed());
        let lease = {
            let server = server.lock();
            assert_eq!(server.holder(), "", "{case:?}");
            server.lease.clone().unwrap()
        };
        assert_eq!(lease["metadata"]["annotations"][lease::LAST_WRITES], "jobs=7", "{case:?}");
        assert!(!can_write(&write_gate).await);
    }
}

#[tokio::test(start_paused = true)]
async fn release_ends_at_its_limit_and_does_not_change_the_lease_of_another_replica() {
    let server = Shared::default();
    let (election, _) = election(&server);
    election.acquire_if_available().await.expect("the Lease has no holder");
    deliveries(&server, &[Delivery::Lost; 100]);
    let begun = Instant::now();
    election.release(None).await;
    assert!(begun.elapsed() <= hold::RELEASE, "{:?}", begun.elapsed());
    deliveries(&server, &[]);
    {
        let mut server = server.lock();
        let mut lease = server.lease.clone().unwrap();
        lease["spec"]["holderIdentity"] = "other".into();
        server.put(lease);
    }
    election.release(None).await;
    assert_eq!(server.lock().holder(), "other");
}

#[tokio::test(start_paused = true)]
async fn lease_acquired_without_an_answer_is_released_too() {
    let server = Shared::default();
    let (election, _) = election(&server);
    deliveries(&server, &[Delivery::Answered, Delivery::AnswerLost]);
    let taken = tokio::time::timeout(Duration::from_secs(1), election.acquire_if_available()).await;
    assert!(taken.is_err() && server.lock().holder() == "me");
    election.release(None).await;
    assert_eq!(server.lock().holder(), "");
    deliveries(&server, &[Delivery::Answered, Delivery::TimedOut]);
    assert!(election.acquire_if_available().await.is_none() && server.lock().holder() == "me");
    election.release(None).await;
    assert_eq!(server.lock().holder(), "", "the Lease was acquired, and the answer was 408");
}

#[tokio::test(start_paused = true)]
async fn finished_holder_awaits_the_renewal_in_flight() {
    let server = Shared::default();
    let (election, _) = election(&server);
    election.acquire_if_available().await.expect("the Lease has no holder");
    deliveries(&server, &[Delivery::Lost]);
    let begun = Instant::now();
    // `finish` resolves during the renewal that is never answered.
    election.keep(tokio::time::sleep(Duration::from_secs(3))).await;
    assert!(begun.elapsed() > Duration::from_secs(4), "the renewal was abandoned after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn holder_whose_renewals_fail_stops_at_the_deadline_without_further_requests() {
    let server = Shared::default();
    let (mut election, write_gate) = election(&server);
    // The renew deadline is not a multiple of this period.
    election.settings.retry_period = Duration::from_secs(3);
    election.acquire_if_available().await.expect("the Lease has no holder");
    deliveries(&server, &[Delivery::Failed; 20]);
    let begun = Instant::now();
    election.keep(std::future::pending()).await;
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert_eq!(server.lock().deliveries.len(), 17, "requests are sent only after 3, 6 and 9 s");
    assert!(!can_write(&write_gate).await);
}

#[tokio::test(start_paused = true)]
async fn replica_that_abandoned_a_write_waits_like_any_other_before_it_leads_again() {
    for in_flight in [false, true] {
        let server = Shared::default();
        let (election, write_gate) = election(&server);
        election.acquire_if_available().await.expect("the Lease has no holder");
        let begun = Instant::now();
        let writing = write_gate.clone();
        let write =
            tokio::spawn(async move { writing.run(&"a".into(), std::future::pending::<kube::Result<()>>()).await });
        if !in_flight {
            write.abort();
        }
        deliveries(&server, &[Delivery::Failed; 10]);
        election.keep(std::future::pending()).await;
        server.lock().deliveries.clear();
        election.acquire().await;
        let expected = if in_flight { 15 } else { 10 };
        assert_eq!(begun.elapsed().as_secs(), expected, "a write was in flight: {in_flight}");
    }
}

/// Returns a clock, and the time that the machine slept. The clock of tokio stops during that time.
fn sleeping_clock() -> (Clock, Arc<Mutex<Duration>>) {
    let slept = Arc::new(Mutex::new(Duration::ZERO));
    let origin = Instant::now();
    let moment = slept.clone();
    let clock = Clock::new(|| Timestamp::UNIX_EPOCH, move || Moment::new(origin.elapsed() + *moment.lock()));
    (clock, slept)
}

#[tokio::test(start_paused = true)]
async fn renewal_answered_after_the_deadline_does_not_keep_the_lease() {
    let (clock, slept) = sleeping_clock();
    let server = Shared::default();
    let (election, write_gate) = election_on(&server, clock);
    election.acquire_if_available().await.expect("the Lease has no holder");
    deliveries(&server, &[Delivery::Late]);
    let sleeps = async {
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        *slept.lock() = Duration::from_secs(60);
    };
    let kept = tokio::time::timeout(Duration::from_secs(30), election.keep(std::future::pending()));
    let (kept, ()) = tokio::join!(kept, sleeps);
    assert!(kept.is_ok(), "the holder still leads, although another replica may have led in the meantime");
    assert!(!can_write(&write_gate).await);
    election.acquire().await;
    assert!(can_write(&write_gate).await, "the replica acquires the Lease again");
}

#[tokio::test(start_paused = true)]
async fn holder_that_slept_past_its_deadline_no_longer_leads() {
    let (clock, slept) = sleeping_clock();
    let server = Shared::default();
    let (election, write_gate) = election_on(&server, clock);
    election.acquire_if_available().await.expect("the Lease has no holder");
    assert!(can_write(&write_gate).await);
    *slept.lock() = Duration::from_secs(11);
    assert!(!can_write(&write_gate).await, "another replica may hold the Lease by now");
}
