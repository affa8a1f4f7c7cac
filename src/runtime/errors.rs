//! What can go wrong with one request, sorted by what to do about it.

use kube::client::AuthError;
use kube::core::Status;
use thiserror::Error;

use super::text::beginning;

/// Maximum number of bytes of what a failed credential plugin printed.
const LONGEST_OUTPUT: usize = 500;

/// A write that did not happen, or may not have.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The process is stopping or no longer leads; no new writes begin.
    #[error("not sent: this process is stopping or no longer leads")]
    Closed,
    /// The process no longer leads; it did not wait for the answer.
    #[error("given up half done: this process no longer leads")]
    Aborted,
    /// The API server accepted the write and stored something else; the text says what is wrong.
    #[error("{0}")]
    Altered(&'static str),
    /// Writes were refused, recorded and logged; each is repeated after a back-off of its own.
    #[error("refused; each refused write is repeated after its own back-off")]
    Deferred,
    /// The API server answered, or the request failed on its way.
    #[error("{}", message(.0))]
    Request(#[from] Box<kube::Error>),
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        Self::Request(Box::new(error))
    }
}

impl WriteError {
    fn status(&self) -> Option<&Status> {
        match self {
            Self::Request(error) => match error.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            Self::Closed | Self::Aborted | Self::Altered(_) | Self::Deferred => None,
        }
    }

    /// The HTTP status code, if the API server answered.
    pub fn code(&self) -> Option<u16> {
        self.status().map(|status| status.code)
    }

    /// The object is gone.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// The object changed since it was read, or is another of the same name.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// The API server finds the object invalid and will go on doing so.
    pub fn is_invalid(&self) -> bool {
        self.code() == Some(422)
    }

    /// The namespace is being deleted, so nothing can be created in it.
    pub fn is_namespace_terminating(&self) -> bool {
        self.status()
            .and_then(|status| status.details.as_ref())
            .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
    }

    /// The write may have taken effect although no answer says so: the connection broke, or the server gave up on it.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Closed | Self::Altered(_) | Self::Deferred => false,
            Self::Aborted => true,
            Self::Request(error) => is_ambiguous(error),
        }
    }

    /// Returns whether the process that leads now, if any, makes the write: this one stops.
    pub fn is_gate_closed(&self) -> bool {
        matches!(self, Self::Closed | Self::Aborted)
    }

    /// Returns whether the write will be refused again: by validation, permissions, an admission policy, a quota, or a
    /// webhook, which may also be out of order. An overloaded API server refuses nothing.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Altered(_) | Self::Deferred => true,
            Self::Closed | Self::Aborted => false,
            Self::Request(_) => self.status().is_some_and(|status| match status.code {
                401 | 408 | 425 | 429 => false,
                400..500 => true,
                500 => status.message.contains("webhook"),
                _ => false,
            }),
        }
    }

    /// Returns whether a quota refused the write.
    pub fn is_quota(&self) -> bool {
        self.status().is_some_and(|status| status.code == 403 && status.message.contains("exceeded quota"))
    }

    /// How long the API server asks us to wait, in seconds, if it says so (429 and 503 do).
    pub fn retry_after_seconds(&self) -> Option<u32> {
        let seconds = self.status()?.details.as_ref()?.retry_after_seconds;
        (seconds > 0).then_some(seconds)
    }
}

/// Whether a write that failed so may have taken effect. Any 5xx leaves that open, as does no complete answer. So does
/// 408: the API server sends none, but proxies do for a server behind them that is late. 425 says that nothing was done.
pub fn is_ambiguous(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500 || status.code == 408,
        _ => true,
    }
}

/// Longest text of an error, in bytes.
const LONGEST: usize = 4096;

/// The text for people: the API server's own message where it sent one. Webhooks choose its length, so that is bounded.
pub fn message(error: &kube::Error) -> String {
    let mut text = unbounded(error);
    if text.len() > LONGEST {
        text.truncate(beginning(&text, LONGEST).len());
        text.push_str("...");
    }
    text
}

fn unbounded(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => {
            if let Some(text) = plugin_failure(other) {
                return text;
            }
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text.push_str(": ");
                    text.push_str(&cause_text);
                }
                source = cause.source();
            }
            text
        }
    }
}

/// The text for a credential plugin that failed, if that is the cause. kube's text has the environment that the kubeconfig
/// gives the plugin, and all that the plugin printed; both may hold credentials.
fn plugin_failure(error: &kube::Error) -> Option<String> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(AuthError::AuthExecRun { out, .. }) = error.downcast_ref() {
            let printed = String::from_utf8_lossy(&out.stderr);
            let printed = beginning(printed.trim(), LONGEST_OUTPUT);
            return Some(format!("the credential plugin of the kubeconfig failed ({}): {printed}", out.status));
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{ExitStatus, Output};

    use super::*;

    #[test]
    fn failed_credential_plugin_is_reported_without_its_environment_and_output() {
        let failed = || AuthError::AuthExecRun {
            cmd: r#"KEY="secret-of-env" "plugin""#.to_owned(),
            out: Box::new(Output {
                status: ExitStatus::from_raw(256),
                stdout: b"secret-of-output".to_vec(),
                stderr: b"log in again\n".to_vec(),
            }),
        };
        let nested = kube::Error::Service(Box::new(kube::Error::Service(Box::new(failed()))));
        for error in [kube::Error::Auth(failed()), nested] {
            let text = message(&error);
            assert_eq!(text, "the credential plugin of the kubeconfig failed (exit status: 1): log in again");
        }
    }

    #[test]
    fn a_write_without_a_definite_answer_may_have_taken_effect() {
        let answered = |code: u16| kube::Error::Api(Status::failure("", "").with_code(code).boxed());
        for code in [408, 500, 502, 503, 504] {
            assert!(is_ambiguous(&answered(code)), "{code}");
        }
        for code in [400, 401, 403, 404, 409, 410, 413, 422, 425, 429] {
            assert!(!is_ambiguous(&answered(code)), "{code}");
        }
        assert!(is_ambiguous(&kube::Error::Service("the connection broke".into())));
        assert!(WriteError::Aborted.is_ambiguous() && !WriteError::Closed.is_ambiguous());
    }

    fn answer(code: u16, message: &str) -> WriteError {
        kube::Error::Api(Box::new(Status { code, ..Status::failure(message, "reason") })).into()
    }

    #[test]
    fn refusals_are_told_from_outages() {
        for (code, message) in [(400, ""), (403, ""), (404, ""), (409, ""), (413, ""), (422, "")] {
            assert!(answer(code, message).is_refusal(), "{code}");
        }
        assert!(answer(500, "Internal error occurred: failed calling webhook \"w\"").is_refusal());
        for code in [401, 408, 425, 429, 500, 502, 503, 504] {
            assert!(!answer(code, "").is_refusal(), "{code}");
        }
        assert!(!WriteError::Closed.is_refusal() && !WriteError::Aborted.is_refusal());
        assert!(answer(403, "pods \"a\" is forbidden: exceeded quota: q").is_quota());
        assert!(!answer(403, "denied").is_quota());
    }

    #[test]
    fn the_text_of_an_error_is_bounded() {
        let text = answer(403, &"ü".repeat(1 << 20)).to_string();
        assert!(text.len() <= LONGEST + 3 && text.ends_with("ü..."), "{}", text.len());
    }
}
