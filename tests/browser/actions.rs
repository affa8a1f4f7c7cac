//! Actions in the browser: each one sends exactly the request that its page showed, after the confirmation alone.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::console::{Change, Console, kubectl, scene, states};
use crate::harness::{Browser, Options, Page};
use crate::scene::Scene;

/// An action on an object.
struct Case {
    /// Path of the page of the object.
    object: String,
    /// Label of the action.
    label: &'static str,
    /// Arguments of kubectl that print the effect.
    effect: Vec<&'static str>,
    /// What kubectl prints after the action.
    then: fn(&str) -> bool,
}

fn cases(scene: &Scene) -> Vec<Case> {
    let job = |name: &str| format!("/jobs/{}/{name}", scene.namespace);
    let suspend = |name| vec!["get", "job", name, "-o", "jsonpath={.spec.suspend}"];
    vec![
        Case { object: job("import"), label: "Suspend", effect: suspend("import"), then: |suspend| suspend == "true" },
        Case { object: job("import"), label: "Resume", effect: suspend("import"), then: |suspend| suspend == "false" },
        Case {
            object: job("migrate"),
            label: "Run again",
            effect: vec!["get", "jobs", "-o", "name"],
            then: |jobs| jobs.lines().filter(|job| job.starts_with("job.batch/migrate")).count() == 2,
        },
        Case {
            object: job("slow"),
            label: "Delete",
            effect: vec!["get", "jobs", "-o", "name"],
            then: |jobs| !jobs.lines().any(|job| job == "job.batch/slow"),
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_action_sends_exactly_the_request_that_its_page_showed() -> Result<()> {
    let Some(browser) = Browser::start().await? else { return Ok(()) };
    let Some(scene) = scene("actions").await? else { return Ok(()) };
    states(&scene).await?;
    let console = Console::start(&browser, &scene, &[]).await?;
    let kubectl = kubectl(&scene)?;
    for case in cases(&scene) {
        for javascript in [false, true] {
            let options = Options { javascript, ..Options::default() };
            let confirms = javascript;
            browser
                .page(options, async |page| {
                    console.open(page, &case.object).await?;
                    page.click_text(case.label).await?;
                    page.wait_for("form.confirm .request").await?;
                    let (asked, shown) = (page.url().await?, shown(page).await?);
                    ensure!(console.changes().is_empty(), "a request was sent before the confirmation");
                    if !confirms {
                        page.click_text("Cancel").await?;
                        page.wait_until(&format!("location.pathname === '{}'", case.object)).await?;
                        ensure!(console.changes().is_empty(), "a request was sent after Cancel");
                        return Ok(());
                    }
                    page.check_accessibility().await?;
                    page.click("form.confirm button[type=submit]").await?;
                    page.wait_until(&format!("location.href !== '{asked}' && document.readyState === 'complete'"))
                        .await?;
                    ensure!(page.count("form.confirm").await? == 0, "{}", page.text("main").await?);
                    let sent = console.changes();
                    assert_eq!(
                        sent.iter().map(|one| (&one.line, &one.body)).collect::<Vec<_>>(),
                        [(&shown.line, &shown.body)]
                    );
                    Ok(())
                })
                .await
                .with_context(|| format!("{} {}", case.label, case.object))?;
        }
        crate::scene::until(case.label, || async {
            let printed = kubectl.run(&case.effect).await?;
            Ok(if (case.then)(printed.trim()) { Ok(()) } else { Err(printed) })
        })
        .await?;
    }
    scene.cluster.delete_namespace(&scene.namespace).await
}

/// Returns the request that the page shows.
async fn shown(page: &Page) -> Result<Change> {
    let line = page.text("form.confirm .request p").await?;
    let body = match page.count("form.confirm .request pre").await? {
        0 => Value::Null,
        _ => serde_json::from_str(&page.text("form.confirm .request pre").await?)?,
    };
    Ok(Change { line: line.trim().to_owned(), media: String::new(), body })
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_console_has_no_actions() -> Result<()> {
    let Some(browser) = Browser::start().await? else { return Ok(()) };
    let Some(scene) = scene("reads").await? else { return Ok(()) };
    scene.create("job", serde_json::json!({"suspend": true})).await?;
    let console = Console::start(&browser, &scene, &["--read-only"]).await?;
    let path = format!("/jobs/{}/job", scene.namespace);
    browser
        .page(Options::default(), async |page| {
            console.open(page, &path).await?;
            ensure!(page.text("header").await?.contains("read-only"));
            assert_eq!(page.count("main .actions a, main form[method=post]").await?, 0);
            let refused = format!("fetch('{path}/delete', {{ method: 'POST' }}).then((answer) => answer.status)");
            assert_eq!(page.evaluate::<u16>(&refused).await?, 403);
            ensure!(console.changes().is_empty());
            page.accept_errors("403").await;
            Ok(())
        })
        .await?;
    scene.cluster.delete_namespace(&scene.namespace).await
}
