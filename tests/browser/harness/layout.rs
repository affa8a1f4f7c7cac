//! What a user sees: the width of a page, and the focus of the keyboard.

use anyhow::{Result, bail};
use serde::Deserialize;

use super::page::Page;

/// Returns by what number of pixels the page is too wide, and the elements that reach beyond its right edge.
const OVERFLOW: &str = "(() => {
    const width = document.documentElement.clientWidth;
    const root = document.documentElement;
    // An element that is out of the flow scrolls only with the ancestors up to its containing block and above.
    const clipped = (one) => {
        for (let at = one; at && at !== document.body && at !== root; ) {
            const next = getComputedStyle(at).position === 'absolute' ? at.offsetParent : at.parentElement;
            if (next && next !== document.body && next !== root && getComputedStyle(next).overflowX !== 'visible') return true;
            at = next;
        }
        return false;
    };
    const wide = [...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > width + 0.5);
    return {
        excess: Math.max(root.scrollWidth, document.body.scrollWidth) - width,
        elements: wide.filter((one) => !clipped(one)).slice(0, 8).map((one) => one.outerHTML.slice(0, 160)),
    };
})()";

/// Describes the element that has the focus. The outline is measured without transitions.
const FOCUSED: &str = "(() => {
    const one = document.activeElement;
    if (!one || one === document.body) return null;
    const style = getComputedStyle(one);
    const box = one.getClientRects()[0] || one.getBoundingClientRect();
    const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
    const all = [...document.querySelectorAll('*')];
    const top = document.elementFromPoint(x, y);
    return {
        html: one.outerHTML.slice(0, 160),
        text: (one.textContent || one.getAttribute('aria-label') || one.name || '').trim().replace(/\\s+/g, ' ').slice(0, 60),
        position: all.indexOf(one),
        outlined: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1,
        on_screen: box.width > 0 && box.height > 0 && box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth,
        covered: !!top && !one.contains(top) && !top.contains(one),
    };
})()";

#[derive(Debug, Deserialize)]
struct Overflow {
    excess: f64,
    elements: Vec<String>,
}

/// The element that has the focus.
#[derive(Clone, Debug, Deserialize)]
pub struct Focus {
    /// Start of its markup.
    pub html: String,
    /// Its text.
    pub text: String,
    /// Place among all elements of the page, in the order of the markup.
    pub position: usize,
    /// Whether an outline shows the focus.
    pub outlined: bool,
    /// Whether a part of the element is on the screen.
    pub on_screen: bool,
    /// Whether another element covers its centre.
    pub covered: bool,
}

impl Page {
    /// Fails if the page is wider than the window, so that a user would have to scroll sideways.
    pub async fn check_width(&self) -> Result<()> {
        let overflow: Overflow = self.evaluate(OVERFLOW).await?;
        if overflow.excess > 0.0 || !overflow.elements.is_empty() {
            bail!("the page is {} pixels too wide:\n{}", overflow.excess, overflow.elements.join("\n"));
        }
        Ok(())
    }

    /// Returns the element that has the focus.
    pub async fn focus(&self) -> Result<Option<Focus>> {
        self.evaluate(FOCUSED).await
    }

    /// Moves the focus with the key Tab from the start to the end of the page, and returns the elements in that order.
    /// Fails if the focus is not visible, or if its order is not the order of the markup.
    pub async fn check_tab_order(&self) -> Result<Vec<Focus>> {
        let mut order: Vec<Focus> = Vec::new();
        let mut hidden = Vec::new();
        loop {
            self.press("Tab").await?;
            let Some(focus) = self.focus().await? else { break };
            if order.first().is_some_and(|first| first.position == focus.position) {
                break;
            }
            if let Some(last) = order.last().filter(|last| last.position >= focus.position) {
                bail!("the focus goes back from\n  {}\nto\n  {}", last.html, focus.html);
            }
            if !focus.outlined || !focus.on_screen || focus.covered {
                hidden.push(format!("{focus:?}"));
            }
            order.push(focus);
        }
        if !hidden.is_empty() {
            bail!("the focus is not visible on {} of {} elements:\n{}", hidden.len(), order.len(), hidden.join("\n"));
        }
        Ok(order)
    }
}
