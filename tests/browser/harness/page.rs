//! Steps on a page.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chromiumoxide::cdp::browser_protocol::input::InsertTextParams;
use chromiumoxide::cdp::browser_protocol::network::{CookieParam, CookieSameSite};
use chromiumoxide::cdp::browser_protocol::page::{CaptureScreenshotFormat, Viewport};
use chromiumoxide::cdp::js_protocol::runtime::EvaluateParams;
use chromiumoxide::layout::Point;
use chromiumoxide::page::ScreenshotParams;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::browser::Options;
use super::problems::Problems;
use super::{keys, target};

/// Longest time until an element appears.
const WAIT: Duration = Duration::from_secs(10);
/// Maximum height of a picture of the documentation.
const PICTURE: f64 = 900.0;
/// Returns the centre of the element `found` after it was scrolled into view, or why it cannot be clicked.
const CENTRE: &str = "
    if (!found) return { error: 'no such element' };
    found.scrollIntoView({ block: 'center', inline: 'center', behavior: 'instant' });
    const box = found.getClientRects()[0];
    if (!box || !box.width || !box.height) return { error: 'the element is not visible' };
    const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
    const top = document.elementFromPoint(x, y);
    if (!top || !(found.contains(top) || top.contains(found))) return { error: `the element is covered by ${top && top.outerHTML.slice(0, 200)}` };
    return { x, y };";

/// A cookie of the browser.
#[derive(Clone, Debug)]
pub struct Cookie {
    /// Name of the cookie.
    pub name: String,
    /// Value of the cookie.
    pub value: String,
    /// Whether neither scripts nor requests of other sites get the cookie.
    pub is_protected: bool,
}

/// A page of the browser.
pub struct Page {
    inner: chromiumoxide::Page,
    options: Options,
    problems: Problems,
}

impl Page {
    /// Returns an open page.
    pub(super) fn new(inner: chromiumoxide::Page, options: Options, problems: Problems) -> Self {
        Self { inner, options, problems }
    }

    /// Opens a URL, and waits until the page is loaded.
    pub async fn goto(&self, url: &str) -> Result<()> {
        self.inner.goto(url).await.with_context(|| format!("opening {url}"))?;
        Ok(())
    }

    /// Returns the value of a JavaScript expression, or of its promise. Works on pages that run no scripts too, except
    /// for promises that need a timer.
    pub async fn evaluate<T: DeserializeOwned>(&self, expression: &str) -> Result<T> {
        let evaluation = EvaluateParams::builder().expression(expression).await_promise(true).return_by_value(true);
        let result = self.inner.execute(evaluation.build().map_err(anyhow::Error::msg)?).await?.result;
        if let Some(thrown) = result.exception_details {
            let description = thrown.exception.and_then(|exception| exception.description);
            bail!("{}", description.unwrap_or(thrown.text));
        }
        serde_json::from_value(result.result.value.unwrap_or_default()).context("the value has another type")
    }

    /// Clicks the first element that a CSS selector matches.
    pub async fn click(&self, css: &str) -> Result<()> {
        self.click_on(&format!("document.querySelector({})", quoted(css)))
            .await
            .with_context(|| format!("clicking {css}"))
    }

    /// Clicks the first visible link, button or summary with this text.
    pub async fn click_text(&self, text: &str) -> Result<()> {
        let found = format!(
            "[...document.querySelectorAll('a, button, summary, label')].find((one) => \
             one.checkVisibility() && one.textContent.trim().replace(/\\s+/g, ' ') === {})",
            quoted(text)
        );
        self.click_on(&found).await.with_context(|| format!("clicking {text:?}"))
    }

    async fn click_on(&self, element: &str) -> Result<()> {
        let place: serde_json::Value =
            self.evaluate(&format!("(() => {{ const found = {element}; {CENTRE} }})()")).await?;
        match (place["x"].as_f64(), place["y"].as_f64()) {
            (Some(x), Some(y)) => self.inner.click(Point::new(x, y)).await?,
            _ => bail!("{}", place["error"].as_str().unwrap_or("the element has no place")),
        };
        Ok(())
    }

    /// Returns the visible text of the first element that a CSS selector matches.
    pub async fn text(&self, css: &str) -> Result<String> {
        let text: Option<String> =
            self.evaluate(&format!("document.querySelector({})?.innerText ?? null", quoted(css))).await?;
        text.with_context(|| format!("no element matches {css}"))
    }

    /// Returns the number of elements that a CSS selector matches.
    pub async fn count(&self, css: &str) -> Result<usize> {
        self.evaluate(&format!("document.querySelectorAll({}).length", quoted(css))).await
    }

    /// Returns the address of the page.
    pub async fn url(&self) -> Result<String> {
        self.evaluate("location.href").await
    }

    /// Returns the cookies of the page.
    pub async fn cookies(&self) -> Result<Vec<Cookie>> {
        let is_protected =
            |http_only: bool, same_site: Option<CookieSameSite>| http_only && same_site == Some(CookieSameSite::Strict);
        let cookies = self.inner.get_cookies().await?.into_iter();
        Ok(cookies
            .map(|cookie| Cookie {
                is_protected: is_protected(cookie.http_only, cookie.same_site),
                name: cookie.name,
                value: cookie.value,
            })
            .collect())
    }

    /// Adds a cookie for a site.
    pub async fn set_cookie(&self, cookie: &Cookie, site: &str) -> Result<()> {
        let mut param = CookieParam::new(cookie.name.clone(), cookie.value.clone());
        param.url = Some(site.to_owned());
        param.http_only = Some(true);
        param.same_site = Some(CookieSameSite::Strict);
        self.inner.set_cookie(param).await?;
        Ok(())
    }

    /// Presses a key, such as `Tab`, `Shift+Tab`, `Enter` or `j`.
    pub async fn press(&self, key: &str) -> Result<()> {
        for event in keys::press(key)? {
            self.inner.execute(event).await?;
        }
        Ok(())
    }

    /// Inserts a text into the field that has the focus.
    pub async fn insert(&self, text: &str) -> Result<()> {
        self.inner.execute(InsertTextParams::new(text)).await?;
        Ok(())
    }

    /// Replaces the text of a field by its name.
    pub async fn fill(&self, name: &str, text: &str) -> Result<()> {
        let field = format!("document.querySelector({})", quoted(&format!("main [name={name}]")));
        self.click_on(&field).await.with_context(|| format!("clicking the field {name}"))?;
        let is_text: bool = self.evaluate(&format!("{field}.select ? ({field}.select(), true) : false")).await?;
        match is_text {
            true => self.insert(text).await,
            false => bail!("the field {name} takes no text"),
        }
    }

    /// Waits until the page is loaded, and a visible element matches a CSS selector.
    pub async fn wait_for(&self, css: &str) -> Result<()> {
        let visible = format!(
            "document.readyState === 'complete' \
             && [...document.querySelectorAll({})].some((one) => one.checkVisibility())",
            quoted(css)
        );
        self.wait_until(&visible).await.with_context(|| format!("waiting for {css}"))
    }

    /// Waits until a JavaScript expression is true. A page that is being loaded counts as false.
    pub async fn wait_until(&self, expression: &str) -> Result<()> {
        let deadline = Instant::now() + WAIT;
        loop {
            match self.evaluate::<bool>(expression).await {
                Ok(true) => return Ok(()),
                result if Instant::now() > deadline => {
                    bail!("{expression} is {result:?} after {} s", WAIT.as_secs())
                }
                _ => tokio::time::sleep(Duration::from_millis(30)).await,
            }
        }
    }

    /// Writes a picture of the whole page to `target/ui-screenshots/NAME-THEME.png`, and returns the path.
    pub async fn screenshot(&self, name: &str) -> Result<PathBuf> {
        let folder = target().join("ui-screenshots");
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{name}-{}.png", if self.options.dark { "dark" } else { "light" }));
        // The window keeps its size, so that the page keeps its layout.
        let size = self.inner.layout_metrics().await?.css_content_size;
        // A picture beyond the window has no scrollbar, whose width the content gains.
        let width = size.width.max(f64::from(self.options.width) / self.options.zoom);
        let clip = Viewport { x: 0.0, y: 0.0, width, height: size.height, scale: 1.0 };
        let picture = ScreenshotParams::builder().format(CaptureScreenshotFormat::Png).clip(clip);
        fs::write(&path, self.inner.screenshot(picture.capture_beyond_viewport(true).build()).await?)?;
        Ok(path)
    }

    /// Writes a picture of the upper part of the page for the documentation.
    pub async fn picture(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let size = self.inner.layout_metrics().await?.css_content_size;
        let clip = Viewport { x: 0.0, y: 0.0, width: size.width, height: size.height.min(PICTURE), scale: 1.0 };
        let picture = ScreenshotParams::builder().format(CaptureScreenshotFormat::Webp).quality(80).clip(clip);
        fs::write(path, self.inner.screenshot(picture.build()).await?)?;
        Ok(())
    }

    /// Returns the errors in the console of the browser.
    pub async fn console_errors(&self) -> Vec<String> {
        self.settle().await;
        self.problems.errors()
    }

    /// Accepts the errors so far that contain a text, such as those of refused requests.
    pub async fn accept_errors(&self, text: &str) {
        self.settle().await;
        self.problems.forget(text);
    }

    /// Returns the violations of the content security policy.
    pub async fn policy_violations(&self) -> Vec<String> {
        self.settle().await;
        self.problems.policy_violations()
    }

    /// Returns the requests that the page has sent: the method and the URL.
    pub async fn requests(&self) -> Vec<String> {
        self.settle().await;
        self.problems.requests()
    }

    /// Returns the errors and the violations of the content security policy, each in one line.
    pub(super) async fn problems(&self) -> Vec<String> {
        self.settle().await;
        self.problems.all()
    }

    /// Closes the page.
    pub(super) async fn close(self) -> Result<()> {
        self.inner.close().await?;
        Ok(())
    }

    /// Waits until the events of the past steps are recorded.
    async fn settle(&self) {
        // The browser draws a frame and runs what is queued before the promise resolves. Without scripts, there is no
        // such promise, and the time has to suffice.
        if self.options.javascript {
            let _ = self
                .evaluate::<bool>("new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(true))))")
                .await;
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

/// Returns a text as a JavaScript literal.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
