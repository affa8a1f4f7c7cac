//! The browser, and pages with options.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chromiumoxide::cdp::browser_protocol::emulation::{
    MediaFeature, SetDeviceMetricsOverrideParams, SetScriptExecutionDisabledParams,
};
use chromiumoxide::cdp::browser_protocol::target::{CreateBrowserContextParams, CreateTargetParams};
use chromiumoxide::error::CdpError;
use chromiumoxide::handler::HandlerConfig;
use futures::StreamExt;
use testbed::{Chromium, chromium};
use tokio::task::JoinHandle;

use super::page::Page;
use super::problems::Problems;

/// Height of the window, in pixels of a page without zoom.
const HEIGHT: u32 = 900;
/// Longest time until the browser answers a command.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest time of the steps on one page.
const PAGE: Duration = Duration::from_secs(90);

/// Conditions under which a page is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Whether the user prefers a dark theme.
    pub dark: bool,
    /// Width of the window, in pixels of a page without zoom.
    pub width: u32,
    /// Zoom factor. With a factor of 2, a page has half of the width.
    pub zoom: f64,
    /// Whether pages run scripts.
    pub javascript: bool,
    /// Whether the user prefers reduced motion.
    pub reduced_motion: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { dark: false, width: 1280, zoom: 1.0, javascript: true, reduced_motion: false }
    }
}

/// A browser with an empty profile. Dropping the value ends the browser.
pub struct Browser {
    inner: chromiumoxide::Browser,
    handler: JoinHandle<()>,
    unreadable: Arc<Mutex<Vec<String>>>,
    _process: Chromium,
}

impl Browser {
    /// Starts the browser, and installs it if root on Debian runs the test. Prints the reason and returns `None` if the
    /// browser cannot run. Fails instead if the environment variable `BROWSER_REQUIRED` is set.
    pub async fn start() -> Result<Option<Self>> {
        let missing = match chromium::obstacle() {
            Some(obstacle) => Some(obstacle),
            None => tokio::task::spawn_blocking(chromium::install).await?.err().map(|error| format!("{error:#}")),
        };
        if let Some(missing) = missing {
            if is_required() {
                bail!("{missing}");
            }
            testbed::skipped!("{missing}");
            return Ok(None);
        }
        let process = tokio::task::spawn_blocking(Chromium::start).await??;
        let config = HandlerConfig {
            viewport: None,
            request_timeout: ANSWER,
            ignore_invalid_messages: false,
            ..Default::default()
        };
        let (inner, mut messages) = chromiumoxide::Browser::connect_with_config(process.url(), config).await?;
        let unreadable = Arc::new(Mutex::new(Vec::new()));
        let found = Arc::clone(&unreadable);
        let handler = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                if let Err(CdpError::InvalidMessage(text, _)) = message {
                    found.lock().expect("a lock").push(text);
                }
            }
        });
        Ok(Some(Self { inner, handler, unreadable, _process: process }))
    }

    /// Opens an empty page in a new profile and runs `steps` on the page. Fails if the steps fail, or if the browser has
    /// reported an error or a violation of the content security policy.
    pub async fn page<T>(&self, options: Options, steps: impl AsyncFnOnce(&Page) -> Result<T>) -> Result<T> {
        let page = self.open(options).await.context("opening a page")?;
        let result = match tokio::time::timeout(PAGE, steps(&page)).await {
            Ok(result) => result.with_context(|| format!("{options:?}")),
            Err(_) => Err(anyhow::anyhow!("{options:?}: the steps lasted more than {} s", PAGE.as_secs())),
        };
        let found = page.problems().await;
        page.close().await?;
        let value = match result {
            Ok(value) => value,
            Err(error) if found.is_empty() => return Err(error),
            Err(error) => return Err(error.context(found.join("\n"))),
        };
        if !found.is_empty() {
            bail!("{options:?}: the browser reported:\n{}", found.join("\n"));
        }
        Ok(value)
    }

    /// Opens an empty page.
    async fn open(&self, options: Options) -> Result<Page> {
        let context = self.inner.create_browser_context(CreateBrowserContextParams::default()).await?;
        let target = CreateTargetParams::builder().url("about:blank").browser_context_id(context.clone()).build();
        let page = self.inner.new_page(target.map_err(anyhow::Error::msg)?).await?;
        let problems = Problems::watch(&page, Arc::clone(&self.unreadable)).await?;
        let preference = |name: &str, value: &str| MediaFeature { name: name.to_owned(), value: value.to_owned() };
        page.emulate_media_features(vec![
            preference("prefers-color-scheme", if options.dark { "dark" } else { "light" }),
            preference("prefers-reduced-motion", if options.reduced_motion { "reduce" } else { "no-preference" }),
        ])
        .await?;
        // A zoomed page has fewer pixels of CSS, each of which takes more pixels of the screen.
        let zoomed = |pixels: u32| (f64::from(pixels) / options.zoom).round() as i64;
        page.execute(SetDeviceMetricsOverrideParams::new(zoomed(options.width), zoomed(HEIGHT), options.zoom, false))
            .await?;
        page.execute(SetScriptExecutionDisabledParams::new(!options.javascript)).await?;
        Ok(Page::new(page, options, problems))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.handler.abort();
    }
}

/// Returns whether a missing browser is a failure, as in continuous integration.
pub fn is_required() -> bool {
    std::env::var_os("BROWSER_REQUIRED").is_some_and(|value| !value.is_empty())
}
