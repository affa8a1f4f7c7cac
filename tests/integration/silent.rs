//! Connections that go silent: nothing comes through in either direction, and nothing resets them. A proxy between the
//! controller and the API server plays the network.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::harness::*;
use crate::metrics::get;

/// A TCP proxy whose connections can go silent.
struct Network {
    port: u16,
    /// Connections that were opened before this generation are silent.
    generation: Arc<watch::Sender<u64>>,
    _tasks: JoinSet<()>,
}

impl Network {
    /// Listens, and passes on to this address.
    async fn start(server: String) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let generation = Arc::new(watch::Sender::new(0));
        let silences = generation.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let (server, silences) = (server.clone(), silences.subscribe());
                connections.spawn(async move {
                    if let Ok(far) = TcpStream::connect(&server).await {
                        pass_on(near, far, silences).await;
                    }
                });
            }
        });
        Ok(Self { port, generation, _tasks: tasks })
    }

    /// From now on nothing comes through the connections that there are; new ones work.
    fn silence(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}

/// Copies in both directions until one end closes. Once silent, it keeps both ends open for good, and reads from neither.
async fn pass_on(mut near: TcpStream, mut far: TcpStream, mut silences: watch::Receiver<u64>) {
    let (mut from_near, mut from_far) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            biased;
            _ = silences.changed() => std::future::pending::<()>().await,
            read = near.read(&mut from_near) => match read {
                Ok(length) if length > 0 && far.write_all(&from_near[..length]).await.is_ok() => {}
                _ => return,
            },
            read = far.read(&mut from_far) => match read {
                Ok(length) if length > 0 && near.write_all(&from_far[..length]).await.is_ok() => {}
                _ => return,
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_whose_connections_all_go_silent_works_again_within_a_minute() -> Result<()> {
    let [port] = testbed::control_plane::free_ports()?;
    let mut scene = Scene::without_controller("silent", &[]).await?;
    let server = &scene.cluster.control.as_ref().context("a cluster of ours has a control plane")?.server;
    let network = Network::start(server.trim_start_matches("https://").to_owned()).await?;
    let kubeconfig = std::fs::read_to_string(&scene.kubeconfig)?;
    let through = scene.kubeconfig.with_extension("silent.kubeconfig");
    std::fs::write(&through, kubeconfig.replace(server.as_str(), &format!("https://127.0.0.1:{}", network.port)))?;
    scene.kubeconfig = through;
    scene.flags.extend(["--leader-elect=true".to_owned(), format!("--listen=127.0.0.1:{port}")]);
    scene.start_controller().await?;
    let _playing = scene.succeed_all();
    scene.create("before", json!({"completions": 20, "parallelism": 5})).await?;
    scene.condition("before", "Complete").await?;

    scene.create("during", json!({"completions": 50, "parallelism": 2})).await?;
    scene.job_until("during", "some succeeded", |status| status.succeeded.unwrap_or_default() > 5).await?;
    network.silence();
    let silent = Instant::now();
    let created = scene.create("after", json!({"completions": 3, "parallelism": 3})).await;
    created.context("the tests do not use the proxy")?;
    for (job, completions) in [("after", 3), ("during", 50)] {
        let status = scene.condition(job, "Complete").await?;
        assert_eq!((status.succeeded, status.failed), (Some(completions), None), "{job}");
        assert_eq!(scene.pods_of(job).await?.len(), usize::try_from(completions)?, "{job}: no pod was made in vain");
        println!("{job} was complete {} s after the connections went silent", silent.elapsed().as_secs());
    }
    assert_eq!(get(port, "/livez").await?, (200, "ok\n".to_owned()), "a dead connection is no reason to restart");
    let controller = scene.controller.as_mut().context("it runs")?;
    let log = controller.process.log_tail(100_000);
    assert!(!log.contains("no longer leading"), "dead connections cost the Lease");
    let told = Instant::now();
    assert!(controller.process.stop(Duration::from_secs(30))?.success());
    println!("stopped in {} ms", told.elapsed().as_millis());
    scene.nothing_tracked().await
}
