//! Tests of the gate.

use super::*;
use crate::runtime::clock::{Clock, Moment};
use crate::runtime::transport::deadline::Deadlines;
use http::{Request, Response};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::client::Body;
use kube::core::Status;
use kube::{Api, Client};
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use tower::Layer;

fn answer(code: u16, retry_after_seconds: u32) -> kube::Error {
    let details = kube::core::response::StatusDetails {
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        causes: Vec::new(),
        retry_after_seconds,
    };
    let status = Status { code, details: Some(details), ..Status::failure("no", "no") };
    kube::Error::Api(Box::new(status))
}

#[tokio::test(start_paused = true)]
async fn longest_pause_requested_by_the_server_is_kept() {
    let (write_gate, begun) = (WriteGate::new(2), Instant::now());
    for seconds in [20, 5] {
        write_gate.record_result(Some(&WriteError::from(answer(429, seconds))));
    }
    write_gate.run(&"a".into(), async { Ok(()) }).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn writes_in_flight_never_exceed_the_limit() {
    let write_gate = Arc::new(WriteGate::new(3));
    let in_flight = Arc::new(Mutex::new((0, 0)));
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let object = number.to_string().into();
            let (write_gate, in_flight) = (write_gate.clone(), in_flight.clone());
            tokio::spawn(async move {
                let write = async {
                    {
                        let mut counts = in_flight.lock();
                        counts.0 += 1;
                        counts.1 = counts.1.max(counts.0);
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    in_flight.lock().0 -= 1;
                    Ok(())
                };
                write_gate.run(&object, write).await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(in_flight.lock().1, 3);
}

#[tokio::test(start_paused = true)]
async fn object_with_many_writes_delays_no_other_object() {
    let write_gate = Arc::new(WriteGate::new(12));
    let write = |object: &'static str| {
        let write_gate = write_gate.clone();
        tokio::spawn(async move {
            let slow = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(())
            };
            write_gate.run(&object.into(), slow).await
        })
    };
    let begun = Instant::now();
    let large: Vec<_> = (0..40).map(|_| write("large")).collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(write_gate.in_flight(), 10, "all but a sixth of twelve");
    write("small").await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(write_gate.in_flight(), 2, "a sixth of twelve, after another object has written");
    for write in large {
        write.await.unwrap().unwrap();
    }
    // 10 writes, twice 2 while the gate is shared, and the others as a lone object.
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    assert_eq!(write_gate.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn object_whose_writes_wait_in_the_api_server_has_fewer_in_flight() {
    let write_gate = Arc::new(WriteGate::new(96));
    // The API server executes one write after the other.
    let server = Arc::new(tokio::sync::Mutex::new(()));
    let writes: Vec<_> = (0..200)
        .map(|_| {
            let (write_gate, server) = (write_gate.clone(), server.clone());
            tokio::spawn(async move {
                let write = async {
                    let _turn = server.lock().await;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    Ok(())
                };
                write_gate.run_creation(&"large".into(), write).await
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(write_gate.in_flight(), 80, "all but a sixth of 96");
    // Another object writes every 100 ms.
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        write_gate.run(&"small".into(), async { Ok(()) }).await.unwrap();
    }
    assert_eq!(write_gate.in_flight(), 4);
    for write in writes {
        write.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_write_that_is_failed_start_leaves_its_place_to_the_next() {
    let write_gate = Arc::new(WriteGate::new(1));
    let slow = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Ok(())
    };
    let (object, next) = ("a".into(), "b".into());
    let slow = write_gate.run(&object, slow);
    let failed_start = tokio::time::timeout(Duration::from_secs(1), write_gate.run(&object, async { Ok(()) }));
    let last = write_gate.run(&next, async { Ok(()) });
    let (slow, failed_start, last) = tokio::join!(slow, failed_start, last);
    assert!(slow.is_ok() && failed_start.is_err() && last.is_ok());
    assert_eq!(write_gate.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn overload_halves_the_window_and_pauses_writes() {
    let write_gate = WriteGate::new(8);
    let refused: Result<(), _> = write_gate.run(&"a".into(), async { Err(answer(429, 2)) }).await;
    assert!(refused.is_err());
    assert_eq!(write_gate.window(), 4);
    let start = Instant::now();
    write_gate.run(&"a".into(), async { Ok(()) }).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 2);
    for _ in 0..100 {
        write_gate.run(&"a".into(), async { Ok(()) }).await.unwrap();
    }
    assert_eq!(write_gate.window(), 8, "the window grows back to the configured maximum");
    let refused: Result<(), _> = write_gate.run(&"a".into(), async { Err(answer(409, 0)) }).await;
    assert!(refused.is_err());
    assert_eq!(write_gate.window(), 8, "a conflict does not change the window");
}

#[tokio::test(start_paused = true)]
async fn close_awaits_writes_in_flight_and_admits_none() {
    let write_gate = Arc::new(WriteGate::new(1));
    let slow = {
        let write_gate = write_gate.clone();
        tokio::spawn(async move {
            write_gate
                .run(&"a".into(), async {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    Ok(())
                })
                .await
        })
    };
    tokio::task::yield_now().await;
    let waiting = {
        let write_gate = write_gate.clone();
        tokio::spawn(async move { write_gate.run(&"a".into(), async { Ok(()) }).await })
    };
    tokio::task::yield_now().await;
    let start = Instant::now();
    write_gate.close().await;
    assert_eq!(start.elapsed().as_secs(), 5);
    assert!(slow.await.unwrap().is_ok());
    assert!(matches!(waiting.await.unwrap(), Err(WriteError::Closed)));
}

fn clock() -> Clock {
    Clock::following_tokio(Timestamp::UNIX_EPOCH)
}

/// Returns a deadline at this number of seconds from now.
fn after(clock: &Clock, seconds: u64) -> Deadline {
    clock.deadline(clock.moment() + Duration::from_secs(seconds))
}

#[tokio::test(start_paused = true)]
async fn gate_closes_automatically_when_the_lease_is_not_renewed() {
    let (write_gate, clock) = (WriteGate::new(1), clock());
    write_gate.open_until(after(&clock, 10));
    assert!(write_gate.run(&"a".into(), async { Ok(()) }).await.is_ok());
    tokio::time::advance(Duration::from_secs(9)).await;
    assert!(write_gate.extend(after(&clock, 10)));
    tokio::time::advance(Duration::from_secs(9)).await;
    assert!(write_gate.run(&"a".into(), async { Ok(()) }).await.is_ok(), "renewed");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(matches!(write_gate.run(&"a".into(), async { Ok(()) }).await, Err(WriteError::Closed)));
    assert!(!write_gate.extend(after(&clock, 10)), "renewed too late");
    assert!(matches!(write_gate.run(&"a".into(), async { Ok(()) }).await, Err(WriteError::Closed)));
    write_gate.open_until(after(&clock, 10));
    assert!(write_gate.run(&"a".into(), async { Ok(()) }).await.is_ok(), "the Lease was acquired again");
}

#[tokio::test(start_paused = true)]
async fn machine_that_slept_past_its_lease_neither_begins_nor_continues_a_write() {
    // The clock of tokio stops while the machine sleeps.
    let slept = Arc::new(Mutex::new(Duration::ZERO));
    let moment = slept.clone();
    let clock = Clock::new(|| Timestamp::UNIX_EPOCH, move || Moment::new(*moment.lock()));
    let write_gate = Arc::new(WriteGate::new(2));
    write_gate.open_until(after(&clock, 10));
    let (wake, woken) = tokio::sync::oneshot::channel::<()>();
    let sent = Arc::new(Mutex::new(false));
    let in_flight = {
        let (write_gate, sent) = (write_gate.clone(), sent.clone());
        tokio::spawn(async move {
            write_gate
                .run(&"a".into(), async {
                    let _ = woken.await;
                    *sent.lock() = true;
                    Ok(())
                })
                .await
        })
    };
    tokio::task::yield_now().await;
    *slept.lock() = Duration::from_secs(3600);
    assert!(matches!(write_gate.run(&"a".into(), async { Ok(()) }).await, Err(WriteError::Closed)));
    wake.send(()).unwrap();
    assert!(matches!(in_flight.await.unwrap(), Err(WriteError::Aborted)));
    assert!(!*sent.lock(), "the write was sent after the Lease had expired");
}

#[tokio::test(start_paused = true)]
async fn write_without_an_answer_ends_at_its_deadline_with_an_unknown_outcome() {
    let write_gate = WriteGate::new(1);
    let never = tower::service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>());
    let pods: Api<Pod> = Api::default_namespaced(Client::new(Deadlines::default().layer(never), "default"));
    let error = write_gate.run(&"a".into(), pods.create(&post_params(), &Pod::default())).await.unwrap_err();
    assert!(error.is_ambiguous(), "{error}");
    assert_eq!(write_gate.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn close_aborts_writes_that_do_not_end_before_the_timeout() {
    let write_gate = Arc::new(WriteGate::new(1));
    let slow = {
        let write_gate = write_gate.clone();
        tokio::spawn(async move { write_gate.run(&"a".into(), std::future::pending::<kube::Result<()>>()).await })
    };
    tokio::task::yield_now().await;
    assert!(!write_gate.close_within(Duration::from_secs(5)).await);
    assert!(matches!(slow.await.unwrap(), Err(WriteError::Aborted)));
    assert!(write_gate.close_within(Duration::from_secs(5)).await, "no write is in flight any more");
}

#[tokio::test(start_paused = true)]
async fn abort_ends_writes_in_flight_and_closes_the_gate() {
    let write_gate = Arc::new(WriteGate::new(1));
    let begin = || {
        let write_gate = write_gate.clone();
        tokio::spawn(async move { write_gate.run(&"a".into(), std::future::pending::<kube::Result<()>>()).await })
    };
    let (in_flight, waiting) = (begin(), begin());
    tokio::time::sleep(Duration::from_millis(1)).await;
    write_gate.abort_in_flight();
    assert!(matches!(in_flight.await.unwrap(), Err(WriteError::Aborted)));
    assert!(matches!(waiting.await.unwrap(), Err(WriteError::Closed)));
    assert_eq!(write_gate.in_flight(), 0);
}
