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
    /// Fields that the user fills in, by name.
    fields: &'static [(&'static str, &'static str)],
    /// Arguments of kubectl that print the effect.
    effect: Vec<&'static str>,
    /// What kubectl prints after the action.
    then: fn(&str) -> bool,
}

fn cases(scene: &Scene) -> Vec<Case> {
    let job = |name: &str| format!("/jobs/{}/{name}", scene.namespace);
    let schedule = |kind: &str, name: &str| format!("/schedules/{kind}/{}/{name}", scene.namespace);
    let suspended = vec!["get", "jobschedule", "ingest", "-o", "jsonpath={.spec.suspend}"];
    let suspend = |name| vec!["get", "job", name, "-o", "jsonpath={.spec.suspend}"];
    let jobs = || vec!["get", "jobs", "-o", "name"];
    let case = |object, label, effect, then| Case { object, label, fields: &[], effect, then };
    vec![
        case(job("import"), "Suspend", suspend("import"), |suspend| suspend == "true"),
        case(job("import"), "Resume", suspend("import"), |suspend| suspend == "false"),
        Case {
            fields: &[("priority", "7")],
            ..case(
                job("licensed-2"),
                "Change priority",
                vec!["get", "job", "licensed-2", "-o", r"jsonpath={.metadata.annotations.jobwright\.dev/priority}"],
                |priority| priority == "7",
            )
        },
        case(job("migrate"), "Run again", jobs(), |jobs| count(jobs, "migrate") == 2),
        case(job("shards"), "Run failed indexes again", jobs(), |jobs| count(jobs, "shards") == 2),
        case(job("slow"), "Delete", jobs(), |jobs| count(jobs, "slow") == 0),
        case(schedule("cronjob", "backup"), "Start now", jobs(), |jobs| count(jobs, "backup") == 3),
        case(
            schedule("cronjob", "old-cleanup"),
            "Resume",
            vec!["get", "cronjob", "old-cleanup", "-o", "jsonpath={.spec.suspend}"],
            |suspend| suspend == "false",
        ),
        case(schedule("jobschedule", "ingest"), "Suspend", suspended.clone(), |suspend| suspend == "true"),
        case(schedule("jobschedule", "ingest"), "Resume", suspended, |suspend| suspend == "false"),
        case(schedule("jobschedule", "ingest"), "Start now", jobs(), |jobs| count(jobs, "ingest") == 1),
        Case {
            fields: &[("from", "2026-01-05T06:00"), ("to", "2026-01-05T06:20"), ("maxActive", "1")],
            ..case(schedule("jobschedule", "ingest"), "Backfill", jobs(), |jobs| count(jobs, "ingest") > 1)
        },
    ]
}

/// Returns the number of Jobs whose names begin so.
fn count(jobs: &str, prefix: &str) -> usize {
    jobs.lines().filter(|job| job.strip_prefix("job.batch/").is_some_and(|name| name.starts_with(prefix))).count()
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
                    page.wait_for("main form").await?;
                    for (name, value) in case.fields {
                        page.fill(name, value).await?;
                    }
                    if !case.fields.is_empty() {
                        ensure!(
                            page.count(".confirm").await? == 0,
                            "a request was shown before the form was filled in"
                        );
                        page.click_text("Show the request").await?;
                    }
                    page.wait_for(".confirm .request").await?;
                    let (asked, shown) = (page.url().await?, shown(page).await?);
                    ensure!(console.changes().is_empty(), "a request was sent before the confirmation");
                    if !confirms {
                        page.click_text("Cancel").await?;
                        page.wait_until(&format!("location.pathname === '{}'", case.object)).await?;
                        ensure!(console.changes().is_empty(), "a request was sent after Cancel");
                        return Ok(());
                    }
                    page.check_accessibility().await?;
                    page.click(".confirm form button[type=submit]").await?;
                    page.wait_until(&format!("location.href !== '{asked}' && document.readyState === 'complete'"))
                        .await?;
                    ensure!(page.count(".confirm").await? == 0, "{}", page.text("main").await?);
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
    let line = page.text(".confirm .request p").await?;
    let body = match page.count(".confirm .request pre").await? {
        0 => Value::Null,
        _ => serde_json::from_str(&page.text(".confirm .request pre").await?)?,
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
