//! Logs of running pods, which the page follows line by line.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::console::{Console, scene};
use crate::harness::{Browser, IS_LIVE, Options};

/// Prints 40 lines in 10 seconds, with a colour in each.
const SCRIPT: &str = r#"echo start; i=0; while [ $i -lt 40 ]; do i=$((i+1)); printf 'line %d of \033[32m40\033[0m\n' $i; sleep 0.25; done; sleep 3600"#;

#[tokio::test(flavor = "multi_thread")]
async fn page_follows_the_logs_of_a_job_on_a_real_node() -> Result<()> {
    let Some(browser) = Browser::start().await? else { return Ok(()) };
    let Some(scene) = scene("logs").await? else { return Ok(()) };
    let held = json!({"suspend": true, "template": {"spec": {"terminationGracePeriodSeconds": 0, "containers": [
        {"name": "main", "image": "busybox:1.36", "command": ["sh", "-c", SCRIPT]},
    ]}}});
    scene.create("talks", held).await?;
    let console = Console::start(&browser, &scene, &[]).await?;
    let path = format!("/jobs/{}/talks?tab=logs", scene.namespace);
    let rows = "[...document.querySelectorAll('.log > div .l')].map((row) => row.textContent.trim())";
    browser
        .page(Options::default(), async |page| {
            // The page is open before the container has started.
            console.open(page, &path).await?;
            page.wait_until(IS_LIVE).await?;
            scene.change("talks", json!({"suspend": false})).await?;
            page.wait_until(&format!("{rows}.includes('line 3 of 40')")).await?;
            page.screenshot("job-logs-live").await?;
            page.check_accessibility().await?;
            // No line is lost or repeated by a pause.
            page.click("button[data-pause]").await?;
            tokio::time::sleep(std::time::Duration::from_millis(700)).await;
            page.click("button[data-pause]").await?;
            page.wait_until(&format!("{rows}.includes('line 40 of 40')")).await?;
            let shown: Vec<String> = page.evaluate(rows).await?;
            let expected: Vec<String> =
                std::iter::once("start".to_owned()).chain((1..=40).map(|line| format!("line {line} of 40"))).collect();
            assert_eq!(shown, expected);
            ensure!(page.count(".log .l span").await? >= 40, "the lines have no colours");
            let link: String = page.evaluate("document.querySelector('a[href*=\"/logs/download\"]').href").await?;
            let file: String = page.evaluate(&format!("fetch('{link}').then((answer) => answer.text())")).await?;
            assert_eq!(file.lines().count(), 41, "{file}");
            console.open(page, &format!("{path}&q=line+17")).await?;
            page.wait_for(".log mark").await?;
            assert_eq!(page.evaluate::<Vec<String>>(rows).await?, ["line 17 of 40"]);
            Ok(())
        })
        .await?;
    browser
        .page(Options { javascript: false, ..Options::default() }, async |page| {
            console.open(page, &path).await?;
            let shown: Vec<String> = page.evaluate(rows).await?;
            ensure!(shown.last().is_some_and(|line| line == "line 40 of 40"), "{shown:?}");
            Ok(())
        })
        .await?;
    scene.cluster.delete_namespace(&scene.namespace).await
}
