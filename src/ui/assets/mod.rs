//! The stylesheet and the script, which are part of the binary. Their URLs have a hash of the content, so that a browser
//! keeps them and still gets new ones from a new version.

use std::fmt::Write;
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// File that pages link.
pub struct Asset {
    /// Path in the URL.
    pub path: String,
    /// Media type.
    pub content_type: &'static str,
    /// Content.
    pub text: &'static str,
}

/// The stylesheet.
pub static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("console", "css", "text/css; charset=utf-8", include_str!("console.css")));
/// The script.
pub static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("console", "js", "text/javascript; charset=utf-8", include_str!("console.js")));

impl Asset {
    fn new(name: &str, extension: &str, content_type: &'static str, text: &'static str) -> Self {
        Self { path: format!("/assets/{name}-{}.{extension}", hash(text)), content_type, text }
    }
}

/// Returns the asset with this path.
pub fn find(path: &str) -> Option<&'static Asset> {
    [&*STYLE, &*SCRIPT].into_iter().find(|asset| asset.path == path)
}

/// Returns a short hash of a text, in hexadecimal digits.
pub fn hash(text: &str) -> String {
    let mut digits = String::with_capacity(16);
    for byte in &Sha256::digest(text)[..8] {
        // Writing to a String cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asset_is_found_by_its_hash_alone() {
        assert!(STYLE.path.starts_with("/assets/console-") && STYLE.path.ends_with(".css"));
        assert_eq!(find(&SCRIPT.path).map(|asset| asset.content_type), Some("text/javascript; charset=utf-8"));
        assert!(find("/assets/console.js").is_none() && find("/assets/").is_none());
        assert_eq!(hash("").len(), 16);
    }

    #[test]
    fn assets_need_no_inline_code_and_no_other_server() {
        for forbidden in ["eval(", "new Function", "innerHTML", "http://", "https://", "document.write"] {
            assert!(!SCRIPT.text.contains(forbidden), "{forbidden}");
        }
        for forbidden in ["@import", "url(http", "url(\"http", "url('http", "url(//", "expression("] {
            assert!(!STYLE.text.contains(forbidden), "{forbidden}");
        }
    }
}
