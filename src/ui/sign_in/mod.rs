//! Who sends a request: the browser with the session of a console on this machine, or a user that a proxy names, for a
//! console in the cluster.

pub mod cluster;
pub mod identity;
pub mod secret;

use http::header::COOKIE;
use http::{HeaderMap, StatusCode};

pub use self::cluster::InCluster;
use super::error::PageError;
use super::identity::User;
use super::session::Sessions;

/// Way in which the users of a console sign in.
pub enum SignIn {
    /// One user, whose browser has exchanged the token of the printed address for a session.
    Session {
        /// Sessions of the browsers of the user.
        sessions: Sessions,
        /// User of the kubeconfig.
        user: User,
    },
    /// Users that a proxy in front of the console names in each request.
    InCluster(InCluster),
}

impl SignIn {
    /// Returns the user of a request.
    ///
    /// # Errors
    /// The request names no user, or one that the console or the API server refuses.
    pub async fn user(&self, headers: &HeaderMap) -> Result<User, PageError> {
        match self {
            Self::Session { sessions, user } => {
                let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
                if sessions.has(cookies) { Ok(user.clone()) } else { Err(PageError::SignedOut) }
            }
            Self::InCluster(in_cluster) => in_cluster.user(headers).await,
        }
    }

    /// Checks that a user who signed in earlier is still accepted.
    ///
    /// # Errors
    /// The API server refuses the user, or does not answer.
    pub async fn check(&self, user: &User) -> Result<(), PageError> {
        match self {
            Self::Session { .. } => Ok(()),
            Self::InCluster(in_cluster) => in_cluster.check(user).await,
        }
    }

    /// Returns the sessions of a console on this machine. `None` in the cluster, where no sessions exist.
    pub fn sessions(&self) -> Option<&Sessions> {
        match self {
            Self::Session { sessions, .. } => Some(sessions),
            Self::InCluster(_) => None,
        }
    }

    /// Returns whether the console is in the cluster.
    pub fn is_in_cluster(&self) -> bool {
        matches!(self, Self::InCluster(_))
    }
}

/// Reason to refuse the user of a request in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request has no bearer token.
    NoToken,
    /// The API server refuses the token.
    WrongToken,
    /// The request has neither the secret of the proxy nor a user.
    NoUser,
    /// The request names a user without the secret of the proxy.
    NoSecret,
    /// The proxy names a user or a group in a form that the console does not accept.
    Malformed,
    /// The proxy names a user or a group of the system.
    System,
}

impl Refusal {
    /// Returns the status code of the response.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoToken | Self::WrongToken | Self::NoUser => StatusCode::UNAUTHORIZED,
            Self::NoSecret | Self::Malformed | Self::System => StatusCode::FORBIDDEN,
        }
    }

    /// Returns the heading of the page.
    pub fn heading(self) -> &'static str {
        match self {
            Self::NoToken | Self::WrongToken | Self::NoUser => "Not signed in",
            Self::NoSecret => "The proxy is not trusted",
            Self::Malformed | Self::System => "The user is not accepted",
        }
    }

    /// Returns what happened, and what the user can do.
    pub fn text(self) -> &'static str {
        match self {
            Self::NoToken => {
                "The request has no bearer token. Open the console at the address of its proxy, which signs you in and \
                 adds the token."
            }
            Self::WrongToken => {
                "The API server does not accept your token. Sign in again at the proxy. If the error remains, ask the \
                 administrator whether the API server trusts the issuer of the token."
            }
            Self::NoUser => {
                "The request names no user. Open the console at the address of its proxy, which signs you in."
            }
            Self::NoSecret => {
                "The request names a user, but does not have the secret of the proxy. Open the console at the address \
                 of its proxy."
            }
            Self::Malformed => {
                "The proxy names a user or a group in a form that the console does not accept. Ask the administrator \
                 to check the headers that the proxy sets."
            }
            Self::System => {
                "The console does not act as a user or a group whose name begins with system:. Sign in as another user."
            }
        }
    }
}

impl From<Refusal> for PageError {
    fn from(refusal: Refusal) -> Self {
        Self::Unidentified(refusal)
    }
}
