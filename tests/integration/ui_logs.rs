//! Logs of the console on a real API server: the stream ends with the Job, and users without the
//! permission for logs get none.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::harness::*;
use crate::ui::{Console, Live, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn stream_ends_with_the_job() -> Result<()> {
    let scene = Scene::new("ui-logs").await?;
    let Some(control) = &scene.cluster.control else {
        testbed::skipped!("the user of a given cluster may have no kubeconfig file");
        return Ok(());
    };
    let console = Console::start(&control.kubeconfig, &["-n", &scene.namespace]).await?;
    scene.create("etl", json!({})).await?;
    let pods = scene.active("etl", 1).await?;
    let page = console.get(&format!("/jobs/{}/etl?tab=logs", scene.namespace)).await?;
    assert!(page.status == 200 && page.body.contains("No container has started."), "{}", page.body);
    let path = format!("/logs/live?namespace={}&name=etl", scene.namespace);
    assert!(page.body.contains(&format!("data-logs=\"{}\"", path.replace('&', "&amp;"))), "{}", page.body);
    let mut stream = TcpStream::connect(&console.host).await?;
    let text = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n\r\n", console.host, console.cookie);
    stream.write_all(text.as_bytes()).await?;
    let mut live = Live(BufReader::new(stream));
    let begin = live.until("event: log", Duration::from_secs(10)).await?;
    assert!(begin.contains("text/event-stream") && begin.contains("content-security-policy"), "{begin}");
    // The pod has no node, so that its log is empty.
    scene.kubelet.run(&pods[0], true).await?;
    scene.kubelet.succeed(&pods[0]).await?;
    scene.condition("etl", "Complete").await?;
    let end = live.until("The Job has finished.", Duration::from_secs(40)).await?;
    assert!(end.contains("event: end"), "{end}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn user_without_the_permission_for_logs_gets_the_reason() -> Result<()> {
    let scene = Scene::without_controller("ui-no-logs", &[]).await?;
    let dir = tempfile::tempdir()?;
    let Some(kubeconfig) = tenant(&scene, dir.path()).await? else { return Ok(()) };
    scene.create("own", json!({})).await?;
    let console = Console::start(&kubeconfig, &["-n", &scene.namespace]).await?;
    let page = console.get(&format!("/jobs/{}/own?tab=logs", scene.namespace)).await?;
    let reason = format!("You are not allowed to get pods/log in namespace {}.", scene.namespace);
    assert!(page.status == 200 && page.body.contains(&reason) && !page.body.contains("data-logs"), "{}", page.body);
    for path in ["live", "download"] {
        let own = console.get(&format!("/logs/{path}?namespace={}&name=own", scene.namespace)).await?;
        assert!(own.status == 403 && own.body.contains(&reason), "{path}: {}", own.body);
        let other = console.get(&format!("/logs/{path}?namespace=kube-system&name=own")).await?;
        let expected = "get jobs.batch in namespace kube-system";
        assert!(other.status == 403 && other.body.contains(expected), "{path}: {}", other.body);
    }
    Ok(())
}
