//! A browser for tests of pages.
//!
//! ```ignore
//! let Some(browser) = Browser::start().await? else { return Ok(()) };
//! let options = Options { dark: true, width: 360, ..Options::default() };
//! browser
//!     .page(options, async |page| {
//!         page.goto(&url).await?;
//!         page.click_text("Jobs").await?;
//!         page.wait_for("table.t").await?;
//!         page.press("Shift+Tab").await?;
//!         page.screenshot("jobs").await?;
//!         page.check_accessibility().await
//!     })
//!     .await
//! ```

mod axe;
mod browser;
mod keys;
mod layout;
mod page;
mod problems;

use std::path::{Path, PathBuf};

pub use self::browser::{Browser, Options};
pub use self::page::{Cookie, Page};

/// JavaScript expression that is true while the page is connected with the console.
pub const IS_LIVE: &str = "(() => { const mark = document.querySelector('[data-live][role=status]'); \
     return !mark.hidden && mark.textContent === 'Live' })()";

/// Returns the target folder of cargo.
pub fn target() -> PathBuf {
    // The temporary folder is a part of the target folder.
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a folder with a parent").to_owned()
}
