//! The secret that a trusted proxy sends with each request.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

/// Shortest secret that is accepted, in bytes.
const SHORTEST: usize = 16;

/// Reason why the secret cannot be used.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum SecretError {
    #[error("cannot read the secret of the proxy in {}: {error}; give --proxy-secret-file a readable file", .path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("the secret of the proxy in {} is shorter than {SHORTEST} bytes; write a random one, such as that of openssl rand -hex 32", .0.display())]
    Short(PathBuf),
}

/// Hash of the secret of a proxy. The hash has the same length for every text, so that a comparison reveals neither the
/// length nor a part of the secret.
pub struct ProxySecret([u8; 32]);

impl ProxySecret {
    /// Reads the secret from a file. White space around the secret is ignored.
    ///
    /// # Errors
    /// The file cannot be read, or the secret is too short.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let bytes = std::fs::read(path).map_err(|error| SecretError::Unreadable { path: path.to_owned(), error })?;
        Self::new(&bytes).ok_or_else(|| SecretError::Short(path.to_owned()))
    }

    /// Returns the secret of these bytes. `None` if it is too short.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let secret = bytes.trim_ascii();
        (secret.len() >= SHORTEST).then(|| Self(Sha256::digest(secret).into()))
    }

    /// Returns whether these bytes are the secret, in a time that does not depend on the secret.
    pub fn is(&self, bytes: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(bytes).into();
        self.0.ct_eq(&given).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_compared_as_a_whole() {
        let secret = ProxySecret::new(b"  0123456789abcdef\n").unwrap();
        assert!(secret.is(b"0123456789abcdef"));
        for wrong in ["", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF", " 0123456789abcdef"] {
            assert!(!secret.is(wrong.as_bytes()), "{wrong:?}");
        }
    }

    #[test]
    fn short_or_missing_secret_is_refused_with_the_fix() {
        assert!(ProxySecret::new(b"0123456789abcde\n\n").is_none() && ProxySecret::new(b"").is_none());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let missing = ProxySecret::read(&path).err().unwrap().to_string();
        assert!(missing.contains("--proxy-secret-file"), "{missing}");
        std::fs::write(&path, "short").unwrap();
        let short = ProxySecret::read(&path).err().unwrap().to_string();
        assert!(short.contains("shorter than 16 bytes; write a random one"), "{short}");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        assert!(ProxySecret::read(&path).unwrap().is(b"0123456789abcdef"));
    }
}
