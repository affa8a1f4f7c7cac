//! Reasons why a request is answered with an error page.

use http::StatusCode;

use super::access::Permission;
use super::sign_in::Refusal;
use crate::runtime::errors::message;

/// Reason why a request is answered with an error page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageError {
    /// There is no such page or object, or the user may not know of it.
    NotFound,
    /// The user is not allowed to read what the page shows.
    Forbidden {
        /// Missing permission.
        permission: Permission,
        /// Namespace of the permission. `None` stands for all namespaces.
        namespace: Option<String>,
    },
    /// The API server did not answer whether the user is allowed to read what the page shows.
    Unreviewed {
        /// Permission in question.
        permission: Permission,
        /// Error of the API server.
        error: String,
    },
    /// The API server did not answer, or refused a request.
    Unreadable {
        /// What cannot be read.
        what: String,
        /// Error of the API server.
        error: String,
    },
    /// A value in the URL is not accepted. The text is a sentence.
    Invalid(String),
    /// The request has no session.
    SignedOut,
    /// The request of a console in the cluster names no user who is accepted.
    Unidentified(Refusal),
    /// The one-time token is wrong or was used.
    WrongToken,
    /// The header `Host` names no address of the console.
    WrongHost,
    /// Another site sent the request.
    CrossSite,
    /// The console makes no changes (`--read-only`).
    ReadOnly,
    /// The page does not accept this method.
    Method,
    /// The operating system failed.
    Internal(String),
}

impl PageError {
    /// Returns the error of a read of an object with the permissions of the user.
    pub fn of_read(error: &kube::Error, permission: Permission, namespace: &str, what: &str) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 404 => Self::NotFound,
            kube::Error::Api(status) if status.code == 403 => {
                Self::Forbidden { permission, namespace: Some(namespace.to_owned()) }
            }
            error => Self::Unreadable { what: what.to_owned(), error: message(error) },
        }
    }

    /// Returns the status code of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Forbidden { .. } | Self::WrongToken | Self::CrossSite | Self::ReadOnly => StatusCode::FORBIDDEN,
            Self::Unreviewed { .. } | Self::Unreadable { .. } => StatusCode::BAD_GATEWAY,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::SignedOut => StatusCode::UNAUTHORIZED,
            Self::Unidentified(refusal) => refusal.status(),
            Self::WrongHost => StatusCode::MISDIRECTED_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the heading of the page.
    pub fn heading(&self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Forbidden { .. } => "Not allowed",
            Self::Unreviewed { .. } => "Permissions cannot be checked",
            Self::Unreadable { .. } => "The cluster cannot be read",
            Self::Invalid(_) => "The address is not valid",
            Self::SignedOut => "Not signed in",
            Self::Unidentified(refusal) => refusal.heading(),
            Self::WrongToken => "The sign-in link is not valid",
            Self::WrongHost => "Wrong host",
            Self::CrossSite => "Request of another site",
            Self::ReadOnly => "The console is read-only",
            Self::Method => "Method not allowed",
            Self::Internal(_) => "Internal error",
        }
    }

    /// Returns what happened, and what the user can do.
    pub fn text(&self) -> String {
        match self {
            Self::NotFound => {
                "There is no such page or object in the namespaces that you are allowed to read.".to_owned()
            }
            Self::Forbidden { permission, namespace } => format!(
                "You are not allowed to {}. Ask the administrator of the cluster for the permission, or open another \
                 namespace.",
                needed(*permission, namespace.as_deref())
            ),
            Self::Unreviewed { permission, error } => {
                format!(
                    "The API server did not answer whether you are allowed to {}: {error}",
                    needed(*permission, None)
                )
            }
            Self::Unreadable { what, error } => format!("The console cannot read {what}: {error}"),
            Self::Invalid(text) => text.clone(),
            Self::SignedOut => {
                "This browser has no session. Open the address that jobwright ui printed, or start jobwright ui again."
                    .to_owned()
            }
            Self::Unidentified(refusal) => refusal.text().to_owned(),
            Self::WrongToken => {
                "The token of the address is wrong, or was used before. Start jobwright ui again for a new address."
                    .to_owned()
            }
            Self::WrongHost => "The console answers to its own addresses only.".to_owned(),
            Self::CrossSite => "The console accepts changes from its own pages only.".to_owned(),
            Self::ReadOnly => "The console was started with --read-only and makes no changes.".to_owned(),
            Self::Method => "The page does not accept this method.".to_owned(),
            Self::Internal(error) => format!("The console failed: {error}"),
        }
    }
}

/// Returns a permission as a sentence has it, such as `get jobs.batch in namespace a`.
pub(super) fn needed(permission: Permission, namespace: Option<&str>) -> String {
    let Permission { verb, group, resource } = permission;
    let group = if group.is_empty() { String::new() } else { format!(".{group}") };
    let place =
        namespace.map_or_else(|| "in any namespace".to_owned(), |namespace| format!("in namespace {namespace}"));
    format!("{verb} {resource}{group} {place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_names_verb_resource_and_namespace() {
        let permission = Permission { verb: "list", group: "batch", resource: "jobs" };
        let error = PageError::Forbidden { permission, namespace: Some("team-a".to_owned()) };
        assert!(error.text().starts_with("You are not allowed to list jobs.batch in namespace team-a."));
        let pods = Permission { verb: "get", group: "", resource: "pods/log" };
        let error = PageError::Forbidden { permission: pods, namespace: None };
        assert!(error.text().starts_with("You are not allowed to get pods/log in any namespace."));
    }
}
