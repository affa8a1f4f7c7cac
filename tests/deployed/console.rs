//! The console, installed by the chart: two users with tokens, each with the permissions in one namespace.

use anyhow::{Context, Result};
use kube::Api;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::environment::{Environment, SYSTEM};
use crate::harness::{Scene, until};
use crate::kubectl;

/// Host under which a proxy would serve the console.
const HOST: &str = "console.example.com";

#[tokio::test(flavor = "multi_thread")]
async fn console_of_the_chart_serves_each_user_with_the_own_permissions() -> Result<()> {
    let Some(environment) = Environment::exclusive().await? else { return Ok(()) };
    let Some(image) = environment.ui_image() else {
        testbed::skipped!("the cluster of KUBECONFIG is not known to have the image of the console");
        return Ok(());
    };
    let (image, hosts) = (format!("ui.image.repository={image}"), format!("ui.hosts={{{HOST}}}"));
    environment.install_ready(&["--set", "ui.enabled=true", "--set", &image, "--set", &hosts]).await?;
    let system = environment.kubectl()?;
    system.run(&["rollout", "status", "deployment/jobwright-ui", "--timeout=120s"]).await?;
    let selector = "--selector=app.kubernetes.io/name=jobwright-ui";
    let address = system.run(&["get", "pods", selector, "--output=jsonpath={.items[0].status.podIP}"]).await?;
    let address = format!("{address}:8080");
    assert_eq!(get(&address, "10.0.0.1", "/readyz", "").await?.0, 200, "the kubelet checks the pod by its address");

    let (own, other) = (environment.user("console-a").await?, environment.user("console-b").await?);
    let (token, other_token) = (token(&own).await?, token(&other).await?);
    own.create("alpha", json!({"suspend": true})).await?;
    other.create("bravo", json!({"suspend": true})).await?;
    for (token, name, hidden) in [(&token, "alpha", "bravo"), (&other_token, "bravo", "alpha")] {
        until("the Job in the table", || async {
            let (status, page) = get(&address, HOST, "/jobs", token).await?;
            Ok(if status == 200 && page.contains(&format!("{name}</a>")) { Ok(()) } else { Err(page) })
        })
        .await?;
        for path in ["/", "/jobs", "/schedules", "/limits"] {
            let (_, page) = get(&address, HOST, path, token).await?;
            assert!(!page.contains(&format!("{hidden}</a>")), "{path}: {page}");
        }
    }
    let foreign = format!("/jobs/{}/bravo", other.namespace);
    assert_eq!(get(&address, HOST, &foreign, &token).await?.0, 403);
    assert_eq!(get(&address, HOST, "/jobs", "wrong").await?.0, 401);
    assert_eq!(get(&address, HOST, "/jobs", "").await?.0, 401);
    assert_eq!(get(&address, "rebound.example", "/jobs", &token).await?.0, 421);
    // The account of the console itself may read no pods, logs or Secrets.
    let account = format!("--as=system:serviceaccount:{SYSTEM}:jobwright-ui");
    for (verb, resource, allowed) in [
        ("list", "jobs.batch", true),
        ("list", "pods", false),
        ("get", "pods/log", false),
        ("get", "secrets", false),
        ("create", "jobs.batch", false),
        ("impersonate", "users", false),
    ] {
        let answer = system.run(&["auth", "can-i", verb, resource, "--all-namespaces", &account]).await;
        assert_eq!(answer.is_ok(), allowed, "{verb} {resource}: {answer:?}");
    }
    for scene in [&own, &other] {
        environment.cluster.delete_namespace(&scene.namespace).await?;
    }
    environment.uninstall(SYSTEM, "jobwright").await
}

/// Returns the token of a new service account that may read the namespace of the scene.
async fn token(scene: &Scene) -> Result<String> {
    kubectl(scene, &["create", "serviceaccount", "reader"]).await?;
    let account = format!("--serviceaccount={}:reader", scene.namespace);
    kubectl(scene, &["create", "rolebinding", "reader", "--clusterrole=view", &account]).await?;
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
        Api::namespaced(scene.client.clone(), &scene.namespace);
    until("the service account", || async {
        Ok(accounts.get_opt("reader").await?.map(drop).ok_or_else(|| "no account".to_owned()))
    })
    .await?;
    Ok(kubectl(scene, &["create", "token", "reader"]).await?.trim().to_owned())
}

/// Returns the status and the text of a page.
async fn get(address: &str, host: &str, path: &str, token: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let token = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{token}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the headers")?;
    Ok((head.split(' ').nth(1).context("no status")?.parse()?, body.to_owned()))
}
