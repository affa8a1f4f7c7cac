//! Faults between the binary and a real API server: silent connections, late, lost or refused responses, and rotated
//! credentials.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::stream;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::{ListParams, PostParams};
use kube::client::Body;
use kube::{Api, Client};
use serde_json::json;
use testbed::certs::Authority;
use testbed::control_plane::client;
use testbed::wire::{Silence, Wire};
use testbed::{Cluster, Options};
use tokio::net::TcpListener;

use crate::harness::*;
use crate::metrics::get;

/// Treatment of a request by a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Treatment {
    Pass,
    /// Forwards the request, and responds with 504 regardless of the result.
    Lose,
    /// Refuses the request as API priority and fairness does, with a header and plain text.
    Refuse {
        retry_after: u64,
    },
    /// Forwards the request, and sends one byte of the response per second.
    Drip,
}

type Rule = dyn Fn(&Parts, usize) -> Treatment + Send + Sync;
type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// An HTTP/1.1 proxy in front of the API server, like `kubectl proxy`.
struct Relay {
    kubeconfig: PathBuf,
    port: u16,
    /// Number of requests per method and resource.
    requests: Arc<Mutex<HashMap<(Method, String), usize>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// Forwards requests as the user of `kubeconfig`. `rule` gets a request and the number of earlier requests with the
    /// same method and resource.
    async fn start(
        kubeconfig: &Path,
        rule: impl Fn(&Parts, usize) -> Treatment + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let path = kubeconfig.with_extension(format!("relay-{port}.kubeconfig"));
        std::fs::write(&path, plain_kubeconfig(port))?;
        let requests: Arc<Mutex<HashMap<(Method, String), usize>>> = Arc::default();
        let (counted, rule): (_, Arc<Rule>) = (requests.clone(), Arc::new(rule));
        let client = client(kubeconfig).await?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (client, counted, rule) = (client.clone(), counted.clone(), rule.clone());
                tokio::spawn(async move {
                    let pass = service_fn(|request| pass_on(request, client.clone(), &counted, &*rule));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), pass).await;
                });
            }
        });
        Ok(Self { kubeconfig: path, port, requests, task })
    }

    fn count(&self, method: Method, resource: &str) -> usize {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.get(&(method, resource.to_owned())).copied().unwrap_or_default()
    }
}

fn plain_kubeconfig(port: u16) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "relay",
        "clusters": [{"name": "relay", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
        "contexts": [{"name": "relay", "context": {"cluster": "relay", "user": "relay"}}],
        "users": [{"name": "relay", "user": {}}],
    })
    .to_string()
}

async fn pass_on(
    request: Request<Incoming>,
    client: Client,
    counted: &Mutex<HashMap<(Method, String), usize>>,
    rule: &Rule,
) -> io::Result<Answer> {
    let (mut parts, body) = request.into_parts();
    let resource = parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    let before = {
        let mut counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counted.entry((parts.method.clone(), resource)).or_default();
        *count += 1;
        *count - 1
    };
    let treatment = rule(&parts, before);
    if let Treatment::Refuse { retry_after } = treatment {
        let refused = Response::builder().status(429).header("retry-after", retry_after);
        return Ok(refused.body(whole("Too many requests, please try again later.\n".into())).expect("an answer"));
    }
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    parts.headers.remove(http::header::HOST);
    let answer = client.send(Request::from_parts(parts, Body::from(body.to_vec()))).await.map_err(io::Error::other)?;
    let (parts, body) = answer.into_parts();
    Ok(match treatment {
        Treatment::Lose => {
            body.collect().await.map_err(io::Error::other)?;
            let status = json!({"kind": "Status", "status": "Failure", "code": 504, "message": "injected 504"});
            Response::builder().status(504).body(whole(status.to_string().into())).expect("an answer")
        }
        Treatment::Drip => {
            body.collect().await.map_err(io::Error::other)?;
            let drops = stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Some((Ok(Frame::data(Bytes::from_static(b" "))), ()))
            });
            let mut answer = Response::from_parts(parts, UnsyncBoxBody::new(StreamBody::new(drops)));
            answer.headers_mut().remove(http::header::CONTENT_LENGTH);
            answer
        }
        _ => Response::from_parts(parts, UnsyncBoxBody::new(body.map_err(io::Error::other))),
    })
}

fn whole(body: Bytes) -> UnsyncBoxBody<Bytes, io::Error> {
    UnsyncBoxBody::new(Full::new(body).map_err(|never: Infallible| match never {}))
}

fn creates_pod(parts: &Parts) -> bool {
    parts.method == Method::POST && parts.uri.path().ends_with("/pods")
}

/// Creates a scene whose controller connects through a relay with this rule.
async fn behind(
    prefix: &str,
    flags: &[&str],
    rule: impl Fn(&Parts, usize) -> Treatment + Send + Sync + 'static,
) -> Result<(Scene, Relay)> {
    let mut scene = Scene::without_controller(prefix, flags).await?;
    let relay = Relay::start(&scene.kubeconfig, rule).await?;
    scene.kubeconfig.clone_from(&relay.kubeconfig);
    scene.start_controller().await?;
    Ok((scene, relay))
}

#[tokio::test(flavor = "multi_thread")]
async fn trigger_sends_one_request_and_reports_an_unknown_outcome() -> Result<()> {
    let scene = Scene::without_controller("trigger-504", &[]).await?;
    let cron_jobs: Api<CronJob> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let spec = json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job("any", json!({}))?.spec}});
    cron_jobs
        .create(&PostParams::default(), &serde_json::from_value(json!({"metadata": {"name": "c"}, "spec": spec}))?)
        .await?;
    let relay = Relay::start(&scene.cluster.kubeconfig, |parts, _| match parts.method {
        Method::POST => Treatment::Lose,
        _ => Treatment::Pass,
    })
    .await?;
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_jobwright"));
    command.args(["trigger", "cronjob/c", &format!("--namespace={}", scene.namespace)]);
    command.arg(format!("--kubeconfig={}", relay.kubeconfig.display())).stdin(Stdio::null());
    let output = command.output().await?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(relay.count(Method::POST, "jobs"), 1, "{stderr}");
    let made = scene.jobs.list(&ListParams::default()).await?.items;
    assert_eq!(made.len(), 1);
    let name = made[0].metadata.name.clone().unwrap_or_default();
    assert!(stderr.contains("unknown whether the API server created") && stderr.contains("injected 504"), "{stderr}");
    assert!(stderr.contains(&format!("kubectl get job {name} -n {}", scene.namespace)), "{stderr}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_took_effect_and_is_answered_504_is_not_repeated() -> Result<()> {
    let first_is_lost = |parts: &Parts, before: usize| match creates_pod(parts) && before == 0 {
        true => Treatment::Lose,
        false => Treatment::Pass,
    };
    let (scene, relay) = behind("pod-504", &[], first_is_lost).await?;
    scene.create("job", json!({"completionMode": "Indexed", "completions": 1})).await?;
    let pod = scene.active("job", 1).await?.remove(0);
    // The time exceeds the delay after which the controller retries.
    stays(3.0, || async {
        let pods = scene.pods_of("job").await?.len();
        ensure!(pods == 1, "{pods} pods");
        Ok(())
    })
    .await?;
    assert_eq!(relay.count(Method::POST, "pods"), 1);
    scene.kubelet.succeed(&pod).await?;
    assert_eq!(scene.condition("job", "Complete").await?.succeeded, Some(1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn refusal_with_retry_after_reaches_the_write_gate_at_the_first_response() -> Result<()> {
    let first_is_refused = |parts: &Parts, before: usize| match creates_pod(parts) && before == 0 {
        true => Treatment::Refuse { retry_after: 8 },
        false => Treatment::Pass,
    };
    let [port] = testbed::control_plane::free_ports()?;
    let listen = format!("--listen=127.0.0.1:{port}");
    let (scene, relay) = behind("pod-429", &["--max-inflight=8", &listen], first_is_refused).await?;
    scene.create("job", json!({})).await?;
    until("one refusal, observed by the write gate", || async {
        let text = get(port, "/metrics").await?.1;
        let has = |line: &str| text.lines().any(|is| is == line);
        let refused = has(r#"jobwright_api_requests_total{verb="create",resource="pods",code="429"} 1"#);
        let narrowed = has("jobwright_writes_in_flight_limit 4");
        let seen = text.lines().filter(|line| line.contains("pods") || line.contains("in_flight"));
        Ok(if refused && narrowed { Ok(()) } else { Err(seen.collect::<Vec<_>>().join("\n")) })
    })
    .await?;
    let refused = Instant::now();
    assert_eq!(relay.count(Method::POST, "pods"), 1);
    scene.active("job", 1).await?;
    assert!(refused.elapsed() > Duration::from_secs(5), "the write gate waited only {:?}", refused.elapsed());
    assert_eq!(relay.count(Method::POST, "pods"), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn creation_with_a_slow_response_ends_and_creates_no_second_pod() -> Result<()> {
    let first_drips = |parts: &Parts, before: usize| match creates_pod(parts) && before == 0 {
        true => Treatment::Drip,
        false => Treatment::Pass,
    };
    let (scene, relay) = behind("drip", &[], first_drips).await?;
    let begun = Instant::now();
    scene.create("job", json!({"completionMode": "Indexed", "completions": 1})).await?;
    let pod = scene.active("job", 1).await?.remove(0);
    scene.kubelet.succeed(&pod).await?;
    assert_eq!(scene.condition("job", "Complete").await?.succeeded, Some(1));
    assert!(begun.elapsed() < Duration::from_secs(55), "the pod took {:?}", begun.elapsed());
    assert_eq!((relay.count(Method::POST, "pods"), scene.pods_of("job").await?.len()), (1, 1));
    Ok(())
}

/// Makes all connections of a running controller silent, while new connections work. Checks that a Job created at that
/// moment gets its pod within 50 s.
async fn works_again(scene: &Scene, wire: &Wire) -> Result<()> {
    scene.create("before", json!({})).await?;
    scene.active("before", 1).await?;
    let silenced = wire.silence(Silence::All);
    ensure!(silenced > 0, "the controller had no connection");
    let silent = Instant::now();
    scene.create("job", json!({})).await?;
    scene.active("job", 1).await?;
    ensure!(silent.elapsed() < Duration::from_secs(50), "the pod took {:?}", silent.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_noticed_and_replaced_over_http2() -> Result<()> {
    let mut scene = Scene::without_controller("silent-http2", &[]).await?;
    let control = scene.cluster.control.as_ref().context("the cluster has no control plane of its own")?;
    let (wire, kubeconfig) = Wire::before(&control.server, &scene.kubeconfig).await?;
    scene.kubeconfig = kubeconfig;
    scene.start_controller().await?;
    works_again(&scene, &wire).await
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_noticed_and_replaced_over_http1() -> Result<()> {
    let mut scene = Scene::without_controller("silent-http1", &[]).await?;
    let relay = Relay::start(&scene.kubeconfig, |_, _| Treatment::Pass).await?;
    let wire = Wire::start(([127, 0, 0, 1], relay.port).into()).await?;
    std::fs::write(&relay.kubeconfig, plain_kubeconfig(wire.address.port()))?;
    scene.kubeconfig.clone_from(&relay.kubeconfig);
    scene.start_controller().await?;
    works_again(&scene, &wire).await
}

/// Creates a Job and waits for its pod.
async fn still_works(scene: &Scene, job: &str) -> Result<()> {
    scene.create(job, json!({})).await?;
    scene.active(job, 1).await.map(|_| ())
}

async fn logged(scene: &Scene, text: &str) -> Result<()> {
    let controller = scene.controller.as_ref().context("missing controller")?;
    until(text, || async {
        let log = controller.process.log_tail(100_000);
        Ok(if log.contains(text) { Ok(()) } else { Err(log.lines().rev().take(5).collect::<Vec<_>>().join("\n")) })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_client_certificate_is_followed_without_a_restart() -> Result<()> {
    let mut scene = Scene::without_controller("rotated-client", &[]).await?;
    let control = scene.cluster.control.as_ref().context("the cluster has no control plane of its own")?;
    let user = scene.namespace.clone();
    let files = format!("client-{}", scene.kubeconfig.file_stem().context("missing name")?.to_string_lossy());
    let short = control.authority.client_for(&files, &user, &[], Duration::from_secs(12))?;
    scene.start_controller().await?;
    let expired = Instant::now() + Duration::from_secs(13);
    still_works(&scene, "before").await?;
    // The key is unreadable when the certificate expires. The controller logs that, and reloads the key once it is
    // valid.
    std::fs::write(&short.key, "no key")?;
    tokio::time::sleep_until(expired.into()).await;
    scene.create("after", json!({})).await?;
    logged(&scene, "cannot reload the credentials").await?;
    control.authority.client(&files, &user, &[])?;
    scene.active("after", 1).await?;
    logged(&scene, "reloaded the credentials").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_certificate_authority_is_followed_without_a_restart() -> Result<()> {
    // Leaked because a scene borrows its cluster for 'static. The cluster's processes end with this process.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(&Options::default()).await?));
    let control = cluster.control.as_ref().context("the cluster has no control plane of its own")?;
    let mut scene = Scene::on(cluster, "rotated-ca", &[]).await?;
    let dir = tempfile::tempdir()?;
    let (trusted, published) = (dir.path().join("ours.crt"), control.authority.certificate());
    std::fs::copy(&published, &trusted)?;
    let text = std::fs::read_to_string(&scene.kubeconfig)?;
    let text = text.replace(&published.display().to_string(), &trusted.display().to_string());
    scene.kubeconfig = dir.path().join("own.kubeconfig");
    std::fs::write(&scene.kubeconfig, text)?;
    scene.start_controller().await?;
    still_works(&scene, "before").await?;

    // The API server gets a certificate of another authority. Every client but the controller trusts both authorities.
    let next = Authority::new(&dir.path().join("next"))?;
    let issued = next.server("apiserver", &["127.0.0.1", "localhost"])?;
    let both = [std::fs::read_to_string(&published)?, std::fs::read_to_string(next.certificate())?].concat();
    std::fs::write(&published, both)?;
    let pki = published.parent().context("missing folder")?;
    control.kill_apiserver().await;
    std::fs::copy(&issued.certificate, pki.join("apiserver.crt"))?;
    std::fs::copy(&issued.key, pki.join("apiserver.key"))?;
    control.restart_apiserver().await?;
    scene.client = cluster.client().await?;
    scene.jobs = Api::<Job>::namespaced(scene.client.clone(), &scene.namespace);
    scene.pods = Api::namespaced(scene.client.clone(), &scene.namespace);
    scene.create("after", json!({})).await?;
    stays(3.0, || async {
        ensure!(scene.pods_of("after").await?.is_empty(), "the controller trusted an unknown authority");
        Ok(())
    })
    .await?;
    std::fs::copy(next.certificate(), &trusted)?;
    scene.active("after", 1).await.map(|_| ())
}
