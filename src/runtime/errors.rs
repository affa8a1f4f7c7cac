//! Errors of one request to the API server, classified by how the caller handles them.

use kube::client::AuthError;
use kube::core::Status;
use thiserror::Error;

use super::text::beginning;

/// Maximum number of bytes that an error quotes from the output of a failed credential plugin.
const LONGEST_OUTPUT: usize = 500;

/// Error of a write that did not take effect, or whose outcome is unknown.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The write was not sent, because the process is stopping or no longer leads.
    #[error("not sent: this process is stopping or no longer leads")]
    Closed,
    /// The write was abandoned before its answer arrived, because the process no longer leads.
    #[error("abandoned in flight, outcome unknown: this process no longer leads")]
    Aborted,
    /// The API server accepted the write and stored something else. The text names the difference.
    #[error("{0}")]
    Altered(&'static str),
    /// The API server refused writes, which were recorded and logged. Each is repeated after its own back-off.
    #[error("refused; each refused write is repeated after its own back-off")]
    Deferred,
    /// The API server answered with an error, or the request failed in transit.
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

    /// Returns the HTTP status code, if the API server answered.
    pub fn code(&self) -> Option<u16> {
        self.status().map(|status| status.code)
    }

    /// Returns whether the object does not exist (404).
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Returns whether the write conflicts (409): the object changed since it was read, or another object has its name.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// Returns whether the API server rejected the object as invalid (422). A repeated write fails in the same way.
    pub fn is_invalid(&self) -> bool {
        self.code() == Some(422)
    }

    /// Returns whether the namespace is being deleted, so that no object can be created in it.
    pub fn is_namespace_terminating(&self) -> bool {
        self.status()
            .and_then(|status| status.details.as_ref())
            .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
    }

    /// Returns whether the outcome of the write is unknown, so that it may have taken effect: the connection broke, the
    /// process abandoned the write, or the API server answered with an error that leaves the outcome open.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Closed | Self::Altered(_) | Self::Deferred => false,
            Self::Aborted => true,
            Self::Request(error) => is_ambiguous(error),
        }
    }

    /// Returns whether the gate for writes is closed. This process stops writing, and the next leader makes the write.
    pub fn is_gate_closed(&self) -> bool {
        matches!(self, Self::Closed | Self::Aborted)
    }

    /// Returns whether the API server would refuse the write again: because of validation, permissions, an admission
    /// policy, a quota or a webhook, including a webhook that is broken. An overloaded API server is not a refusal.
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

    /// Returns the number of seconds that the API server asks the client to wait (with 429 and 503), if it sent one.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        let seconds = self.status()?.details.as_ref()?.retry_after_seconds;
        (seconds > 0).then_some(seconds)
    }
}

/// Returns whether a write that failed with this error may have taken effect. Any 5xx and an incomplete answer leave
/// the outcome open. So does 408: the API server does not send it, but a proxy sends it when the server behind it is
/// late. 425 means that the server did not process the request.
pub fn is_ambiguous(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500 || status.code == 408,
        _ => true,
    }
}

/// Maximum length of the text of an error, in bytes.
const LONGEST: usize = 4096;

/// Returns the text of an error: the message of the API server, if it sent one. The length is limited, because webhooks
/// choose it.
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

/// Returns the text for a failed credential plugin, if that is the cause. The text of kube contains the environment
/// that the kubeconfig gives to the plugin, and everything that the plugin printed. Both may contain credentials.
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
    fn write_without_a_definite_answer_is_ambiguous() {
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
    fn refusals_and_outages_are_distinguished() {
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
    fn text_of_an_error_is_bounded() {
        let text = answer(403, &"ü".repeat(1 << 20)).to_string();
        assert!(text.len() <= LONGEST + 3 && text.ends_with("ü..."), "{}", text.len());
    }
}
