//! Every page of the console, with objects in every state: both themes, narrow screens, zoom, no scripts, the keyboard, and
//! hostile texts.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use futures::future::join_all;

use crate::console::{Console, scene, states};
use crate::harness::{Browser, Options, Page};
use crate::scene::Scene;

/// Pictures of the documentation.
const PICTURES: [&str; 11] = [
    "overview",
    "overview-dark",
    "jobs",
    "job-indexed",
    "job-failed",
    "job-logs",
    "action-rerun",
    "schedules",
    "schedule-runs",
    "calendar-week",
    "limits",
];

/// A page of the console.
struct View {
    /// Name of the screenshots.
    name: &'static str,
    path: String,
    /// Text that the page contains.
    text: &'static str,
}

/// Returns all pages.
fn views(scene: &Scene) -> Vec<View> {
    let job = |name: &str| format!("/jobs/{}/{name}", scene.namespace);
    let view = |name, path, text| View { name, path, text };
    vec![
        view("overview", "/".to_owned(), "Needs attention"),
        view("jobs", "/jobs".to_owned(), "nightly-report"),
        view("jobs-filtered", "/jobs?state=failed&sort=-name".to_owned(), "Failed"),
        view("job-complete", job("nightly-report"), "Complete"),
        view("job-running", job("import"), "Running"),
        view("job-indexed", job("render"), "2 failed"),
        view("job-failed", job("migrate"), "table orders is locked"),
        view("job-stuck", job("image-typo"), "busybox:1.36-typo"),
        view("job-unschedulable", job("huge"), "Insufficient cpu"),
        view("job-suspended", job("paused"), "Suspended"),
        view("job-waiting", job("licensed-2"), "license"),
        view("job-after", job("publish"), "import"),
        view("job-pods", format!("{}?tab=pods", job("render")), "Succeeded"),
        view("job-logs", format!("{}?tab=logs", job("nightly-report")), "2 rows were skipped"),
        view("job-yaml", format!("{}?tab=yaml", job("paused")), "(hidden)"),
        view("action-rerun", format!("{}/rerun", job("migrate")), "POST"),
        view("action-delete", format!("{}/delete", job("migrate")), "DELETE"),
        view("schedules", "/schedules".to_owned(), "ingest"),
        view("schedule", format!("/schedules/jobschedule/{}/ingest", scene.namespace), "Next times"),
        view("schedule-runs", format!("/schedules/cronjob/{}/backup", scene.namespace), "backup-2"),
        view(
            "schedule-compared",
            format!("/schedules/cronjob/{}/backup?compare=backup-1,backup-2", scene.namespace),
            "backup-1",
        ),
        view("schedule-suspended", format!("/schedules/cronjob/{}/old-cleanup", scene.namespace), "Suspended"),
        view("calendar-day", "/calendar?view=day&zone=Europe/Paris".to_owned(), "Runs by hour"),
        view("calendar-week", "/calendar?view=week".to_owned(), "ingest"),
        view("calendar-month", "/calendar?view=month&date=2026-03-29&zone=Europe/Paris".to_owned(), "Clock change"),
        view("limits", "/limits".to_owned(), "license"),
        view("not-found", job("none"), "Not found"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_objects_in_every_state() -> Result<()> {
    let Some(browser) = Browser::start().await? else { return Ok(()) };
    let Some(scene) = scene("batch").await? else { return Ok(()) };
    states(&scene).await?;
    let console = Console::start(&browser, &scene, &[]).await?;
    every_page_is_accessible(&browser, &scene, &console).await?;
    hostile_logs_are_text(&browser, &scene, &console).await?;
    keyboard_reaches_everything(&browser, &scene, &console).await?;
    scene.cluster.delete_namespace(&scene.namespace).await
}

/// Checks each page in both themes, on a narrow screen, with zoom, and without scripts. All problems are reported together.
async fn every_page_is_accessible(browser: &Browser, scene: &Scene, console: &Console) -> Result<()> {
    let mut problems = Vec::new();
    for view in &views(scene) {
        let usual = Options::default();
        let shown = [
            usual,
            Options { dark: true, ..usual },
            Options { width: 360, ..usual },
            Options { zoom: 2.0, ..usual },
            Options { javascript: false, ..usual },
        ];
        let checks =
            shown.map(|options| browser.page(options, async move |page| check(console, page, view, options).await));
        let failed = join_all(checks).await.into_iter().filter_map(Result::err);
        problems.extend(failed.map(|error| format!("{}: {error:#}", view.path)));
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n\n"));
    Ok(())
}

async fn check(console: &Console, page: &Page, view: &View, options: Options) -> Result<()> {
    open(console, page, view).await?;
    match options {
        Options { width: 360, .. } => {
            page.screenshot(&format!("{}-narrow", view.name)).await?;
            page.check_width().await
        }
        Options { javascript: false, .. } => Ok(()),
        Options { zoom: 1.0, dark, .. } => {
            page.screenshot(view.name).await?;
            picture(page, view, dark).await?;
            page.check_accessibility().await
        }
        _ => page.check_width().await,
    }
}

/// Writes the picture of the documentation, if the documentation has one of this page.
async fn picture(page: &Page, view: &View, dark: bool) -> Result<()> {
    let is_wanted = std::env::var_os("UPDATE_SCREENSHOTS").is_some();
    let name = if dark { format!("{}-dark", view.name) } else { view.name.to_owned() };
    match PICTURES.contains(&&*name) && is_wanted {
        true => page.picture(&pictures().join(format!("{name}.webp"))).await,
        false => Ok(()),
    }
}

/// Returns the folder of the pictures of the documentation.
fn pictures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images/ui")
}

#[test]
fn documentation_has_each_picture() -> Result<()> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ui.md"))?;
    for name in PICTURES {
        ensure!(text.contains(&format!("(images/ui/{name}.webp)")), "docs/ui.md does not show {name}");
        ensure!(pictures().join(format!("{name}.webp")).is_file(), "no picture {name}: set UPDATE_SCREENSHOTS=1");
    }
    ensure!(
        text.matches("(images/ui/").count() == PICTURES.len()
            && std::fs::read_dir(pictures())?.count() == PICTURES.len()
    );
    Ok(())
}

/// Opens a page and checks its text, and that no hostile text has changed it.
async fn open(console: &Console, page: &Page, view: &View) -> Result<()> {
    console.open(page, &view.path).await?;
    let text = page.text("body").await?;
    ensure!(text.contains(view.text), "no {:?} in:\n{text}", view.text);
    ensure!(!text.contains("s3cret-value"), "the page shows the value of a variable");
    if view.name == "not-found" {
        page.accept_errors("404").await;
    }
    check_frame(page).await
}

/// Checks that the frame of the page is complete.
async fn check_frame(page: &Page) -> Result<()> {
    let title: String = page.evaluate("document.title").await?;
    ensure!(title.ends_with(" · Jobwright"), "{title}");
    for (css, count) in [("body > main", 1), ("body > header", 1), ("main img", 0), ("main script", 0), ("h1", 1)] {
        ensure!(page.count(css).await? == count, "{css}");
    }
    Ok(())
}

async fn hostile_logs_are_text(browser: &Browser, scene: &Scene, console: &Console) -> Result<()> {
    let path = format!("/jobs/{}/hostile", scene.namespace);
    for javascript in [true, false] {
        browser
            .page(Options { javascript, ..Options::default() }, async |page| {
                console.open(page, &format!("{path}?tab=logs")).await?;
                let text = page.text("main").await?;
                for shown in ["<script>document.title='hostile'</script><img src=x", "backwards", "</main></body>"] {
                    ensure!(text.contains(shown), "{shown:?}: {text}");
                }
                ensure!(!text.contains(['\u{1b}', '\u{202e}', '\u{7}']), "{text:?}");
                ensure!(page.count("main a[href*='127.0.0.2']").await? == 0, "a log made a link");
                console.open(page, &format!("{path}?tab=yaml")).await?;
                ensure!(page.text("main").await?.contains("<script>document.title='hostile'</script>"));
                check_frame(page).await?;
                let requests = page.requests().await;
                let own = |request: &String| {
                    request.split_once(' ').is_some_and(|(_, url)| url.starts_with(&console.url("/")))
                };
                ensure!(requests.iter().all(own), "{requests:?}");
                Ok(())
            })
            .await?;
    }
    Ok(())
}

async fn keyboard_reaches_everything(browser: &Browser, scene: &Scene, console: &Console) -> Result<()> {
    browser
        .page(Options::default(), async |page| {
            let job = format!("/jobs/{}/migrate", scene.namespace);
            let schedule = format!("/schedules/cronjob/{}/backup", scene.namespace);
            for path in ["/", "/jobs", &job, "/schedules", &schedule, "/calendar?view=day", "/limits"] {
                console.open(page, path).await?;
                let order = page.check_tab_order().await?;
                let first: Vec<&str> = order.iter().take(4).map(|focus| focus.text.as_str()).collect();
                assert_eq!(first, ["Skip to the content", "Jobwright", "Overview", "Jobs"], "{path}");
            }
            console.open(page, "/").await?;
            page.press("?").await?;
            page.wait_for("dialog[open] .keys").await?;
            page.screenshot("keys").await?;
            page.check_accessibility().await?;
            // The keys of the page rest while the dialog is open.
            page.press("j").await?;
            ensure!(page.evaluate::<bool>("document.activeElement.closest('dialog') !== null").await?);
            page.press("Escape").await?;
            page.wait_until("!document.querySelector('dialog')").await?;
            page.press("g").await?;
            page.press("j").await?;
            page.wait_until("location.pathname === '/jobs'").await?;
            page.wait_for("main tbody th a").await?;
            let focused = "document.activeElement.textContent";
            page.press("j").await?;
            let first: String = page.evaluate(focused).await?;
            page.press("j").await?;
            let second: String = page.evaluate(focused).await?;
            page.press("k").await?;
            ensure!(first != second && page.evaluate::<String>(focused).await? == first, "{first} {second}");
            page.press("/").await?;
            ensure!(page.evaluate::<bool>("document.activeElement.matches('input[type=search]')").await?);
            page.insert("migr").await?;
            page.press("Enter").await?;
            page.wait_until("location.search === '?q=migr'").await?;
            page.wait_for("main tbody th a").await?;
            assert_eq!(page.count("main tbody tr").await?, 1);
            page.press("j").await?;
            page.press("Enter").await?;
            page.wait_until(&format!("location.pathname === '/jobs/{}/migrate'", scene.namespace)).await
        })
        .await
}
