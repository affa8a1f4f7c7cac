//! Open pages follow the cluster: changes, the end of an API server, and its return.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use testbed::Cluster;

use crate::console::{Console, scene};
use crate::harness::{Browser, IS_LIVE, Options};
use crate::scene::Scene;

/// Longest time until a change of the cluster is on an open page.
const UPDATE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn open_pages_follow_the_cluster_within_a_second() -> Result<()> {
    let Some(browser) = Browser::start().await? else { return Ok(()) };
    let Some(scene) = scene("live").await? else { return Ok(()) };
    scene.create("first", json!({"suspend": true})).await?;
    let console = Console::start(&browser, &scene, &[]).await?;
    browser
        .page(Options::default(), async |page| {
            console.open(page, "/jobs").await?;
            page.wait_until(IS_LIVE).await?;
            page.wait_until("document.querySelectorAll('main tbody tr').length === 1").await?;
            // The focus and what the user typed stay through all updates.
            page.press("/").await?;
            page.insert("sec").await?;
            let mut slowest = Duration::ZERO;
            for name in ["second", "third", "fourth"] {
                // A page is rendered at most twice in a second.
                tokio::time::sleep(Duration::from_millis(600)).await;
                let begin = Instant::now();
                scene.create(name, json!({"suspend": true})).await?;
                page.wait_until(&format!("document.querySelector('main').textContent.includes('{name}')")).await?;
                slowest = slowest.max(begin.elapsed());
            }
            let begin = Instant::now();
            scene.jobs.delete("third", &DeleteParams::background()).await?;
            page.wait_until("!document.querySelector('main').textContent.includes('third')").await?;
            slowest = slowest.max(begin.elapsed());
            println!("The slowest update took {} ms", slowest.as_millis());
            ensure!(slowest < UPDATE, "an update took {slowest:?}");
            let typed: String = page.evaluate("document.activeElement.value").await?;
            assert_eq!(typed, "sec");
            Ok(())
        })
        .await?;
    let path = format!("/jobs/{}/second", scene.namespace);
    browser
        .page(Options::default(), async |page| {
            console.open(page, &path).await?;
            page.wait_until("document.querySelector('main .head').textContent.includes('Suspended')").await?;
            let resume = Patch::Merge(json!({"spec": {"suspend": false}}));
            scene.jobs.patch("second", &PatchParams::default(), &resume).await?;
            page.wait_until("document.querySelector('main .head').textContent.includes('Complete')").await
        })
        .await?;
    scene.cluster.delete_namespace(&scene.namespace).await
}

#[tokio::test(flavor = "multi_thread")]
async fn page_survives_an_api_server_that_goes_away_and_returns() -> Result<()> {
    let Some(browser) = Browser::start().await? else { return Ok(()) };
    // Leaked because a scene borrows its cluster for 'static. The cluster's processes end with this process.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(&testbed::Options::default()).await?));
    let control = cluster.control.as_ref().context("the cluster has no control plane of its own")?;
    let scene = Scene::on(cluster, "away", &[]).await?;
    scene.create("before", json!({})).await?;
    let mut console = Console::start(&browser, &scene, &[]).await?;
    browser
        .page(Options::default(), async |page| {
            console.open(page, "/jobs").await?;
            page.wait_until("document.querySelector('main').textContent.includes('before')").await?;
            control.kill_apiserver().await;
            // The console reports what it cannot do, and does not end.
            tokio::time::sleep(Duration::from_secs(12)).await;
            console.open(page, &format!("/jobs/{}/before", scene.namespace)).await?;
            let text = page.text("main").await?;
            ensure!(text.contains("cannot") || text.contains("could not"), "{text}");
            control.restart_apiserver().await?;
            page.wait_until("document.querySelector('main').textContent.includes('Conditions and events')").await?;
            console.open(page, "/jobs").await?;
            scene.create("after", json!({})).await?;
            page.wait_until("document.querySelector('main').textContent.includes('after')").await?;
            // The failed requests are errors in the console of the browser.
            page.accept_errors("502").await;
            Ok(())
        })
        .await?;
    console.stop()
}
