//! The components and charts of the console, on the page of the gallery.

use anyhow::Result;

use crate::gallery;
use crate::harness::{Browser, Options};
use crate::server::Server;

const STYLESHEET: &str = "/console.css";

/// Themes: whether the theme is dark.
const THEMES: [bool; 2] = [false, true];

async fn server() -> Result<Server> {
    Server::start(vec![
        ("/", "text/html; charset=utf-8", gallery::linked_page(STYLESHEET)),
        (STYLESHEET, "text/css", gallery::STYLE.to_owned()),
    ])
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_accessible_in_both_themes() -> Result<()> {
    let Some(browser) = Browser::start().await? else { return Ok(()) };
    let server = server().await?;
    for dark in THEMES {
        browser
            .page(Options { dark, ..Options::default() }, async |page| {
                page.goto(&server.url("/")).await?;
                page.screenshot("gallery").await?;
                let requests = page.requests().await;
                assert!(
                    requests.iter().all(|request| request.starts_with(&format!("GET {}", server.url("")))),
                    "{requests:?}"
                );
                page.check_accessibility().await
            })
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_accessible_on_a_narrow_screen() -> Result<()> {
    let Some(browser) = Browser::start().await? else { return Ok(()) };
    let server = server().await?;
    let options = Options { width: 360, ..Options::default() };
    browser
        .page(options, async |page| {
            page.goto(&server.url("/")).await?;
            page.check_accessibility().await
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn page_does_not_scroll_sideways() -> Result<()> {
    let Some(browser) = Browser::start().await? else { return Ok(()) };
    let server = server().await?;
    for (width, zoom, name) in [
        (360, 1.0, "narrow"),
        (1280, 2.0, "zoomed"),
        (1280, 4.0, "zoomed-more"),
        (1280, 1.0, "usual"),
        (2560, 1.0, "wide"),
    ] {
        browser
            .page(Options { width, zoom, ..Options::default() }, async |page| {
                page.goto(&server.url("/")).await?;
                page.screenshot(&format!("gallery-{name}")).await?;
                page.check_width().await
            })
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keyboard_reaches_each_control_in_order_with_visible_focus() -> Result<()> {
    let Some(browser) = Browser::start().await? else { return Ok(()) };
    let server = server().await?;
    for options in [Options::default(), Options { dark: true, width: 360, ..Options::default() }] {
        browser
            .page(options, async |page| {
                page.goto(&server.url("/")).await?;
                let order = page.check_tab_order().await?;
                let texts: Vec<&str> = order.iter().take(4).map(|focus| focus.text.as_str()).collect();
                assert_eq!(texts, ["Skip to the content", "Jobwright", "Overview", "Jobs"]);
                assert!(order.len() > 100, "only {} elements", order.len());
                Ok(())
            })
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn skip_link_moves_the_focus_to_the_content() -> Result<()> {
    let Some(browser) = Browser::start().await? else { return Ok(()) };
    let server = server().await?;
    for javascript in [true, false] {
        browser
            .page(Options { javascript, ..Options::default() }, async |page| {
                page.goto(&server.url("/")).await?;
                page.press("Tab").await?;
                page.press("Enter").await?;
                page.wait_until("document.activeElement.id === 'main'").await?;
                page.press("Tab").await?;
                assert!(page.evaluate::<bool>("document.activeElement.matches('main a')").await?);
                Ok(())
            })
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reduced_motion_stops_transitions() -> Result<()> {
    let Some(browser) = Browser::start().await? else { return Ok(()) };
    let server = server().await?;
    for reduced_motion in [false, true] {
        browser
            .page(Options { reduced_motion, ..Options::default() }, async |page| {
                page.goto(&server.url("/")).await?;
                let moving: usize = page
                    .evaluate("[...document.querySelectorAll('*')].filter((one) => parseFloat(getComputedStyle(one).transitionDuration) > 0).length")
                    .await?;
                assert_eq!(moving > 0, !reduced_motion, "{moving} elements have transitions");
                Ok(())
            })
            .await?;
    }
    Ok(())
}
