//! Users of a console in the cluster. Each request names its user; there are no sessions and no anonymous users.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Refusal;
use super::identity::{ProxyHeaders, bearer, named};
use super::secret::ProxySecret;
use crate::runtime::errors::message;
use crate::runtime::lru::Lru;
use crate::ui::error::PageError;
use crate::ui::identity::User;

/// Time after which the API server is asked again whether it accepts a token.
const VALID: Duration = Duration::from_secs(10);
/// Maximum number of users whose clients are kept.
const MAX_USERS: usize = 1000;
/// User and group of a request without credentials.
const ANONYMOUS: [&str; 2] = ["system:anonymous", "system:unauthenticated"];

/// Header by which requests name their users.
enum Naming {
    /// The token of the user, which the API server checks.
    Token,
    /// The name of the user, from a proxy that has the secret.
    Proxy { headers: ProxyHeaders, secret: ProxySecret },
}

/// Client of a user who was accepted, and when.
struct Known {
    user: User,
    accepted: Instant,
}

/// Users of a console in the cluster.
pub struct InCluster {
    naming: Naming,
    shared: Client,
    known: Mutex<Lru<Arc<str>, Known>>,
}

impl InCluster {
    /// Returns users with bearer tokens. `shared` sends no credentials of its own.
    pub fn with_tokens(shared: Client) -> Self {
        Self::new(Naming::Token, shared)
    }

    /// Returns users that a trusted proxy names. `shared` has the credentials of the console, which impersonates them.
    pub fn behind_trusted_proxy(headers: ProxyHeaders, secret: ProxySecret, shared: Client) -> Self {
        Self::new(Naming::Proxy { headers, secret }, shared)
    }

    fn new(naming: Naming, shared: Client) -> Self {
        Self { naming, shared, known: Mutex::new(Lru::new(MAX_USERS)) }
    }

    /// Returns the user of a request.
    ///
    /// # Errors
    /// The request names no user, or one that the console or the API server refuses.
    pub async fn user(&self, headers: &HeaderMap) -> Result<User, PageError> {
        let user = match &self.naming {
            Naming::Token => User::of_token(bearer(headers)?, &self.shared),
            Naming::Proxy { headers: names, secret } => {
                let named = named(headers, names, secret).inspect_err(|refusal| {
                    let (user, groups) = (headers.get(&names.user), headers.get(&names.groups));
                    match refusal {
                        Refusal::System => tracing::warn!(?user, ?groups, "refused a user or a group of the system"),
                        Refusal::NoSecret => tracing::warn!(?user, "refused a user without the secret of the proxy"),
                        _ => {}
                    }
                })?;
                User::impersonated(&named, &self.shared).ok_or(Refusal::Malformed)?
            }
        };
        self.check(&user).await?;
        // The client of an earlier request is used again.
        Ok(self.known.lock().peek_mut(user.key()).map_or(user, |known| known.user.clone()))
    }

    /// Checks that the API server accepts the token of a user. The answer stays valid for some seconds.
    ///
    /// # Errors
    /// The API server refuses the token, or does not answer.
    pub async fn check(&self, user: &User) -> Result<(), PageError> {
        let now = Instant::now();
        let is_fresh = |known: &mut Known| now.duration_since(known.accepted) < VALID;
        if self.known.lock().peek_mut(user.key()).is_some_and(is_fresh) {
            return Ok(());
        }
        if matches!(self.naming, Naming::Token) {
            review(user).await?;
        }
        let mut known = self.known.lock();
        known.entry(user.key(), || Known { user: user.clone(), accepted: now }).accepted = now;
        Ok(())
    }
}

/// Asks the API server who the user is.
async fn review(user: &User) -> Result<(), PageError> {
    let reviews: Api<SelfSubjectReview> = Api::all(user.client());
    match reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await {
        Ok(review) => {
            let info = review.status.and_then(|status| status.user_info).unwrap_or_default();
            let names = info.username.iter().chain(info.groups.iter().flatten());
            let is_anonymous = names.into_iter().any(|name| ANONYMOUS.contains(&name.as_str()));
            if is_anonymous { Err(Refusal::WrongToken.into()) } else { Ok(()) }
        }
        Err(kube::Error::Api(status)) if status.code == 401 => Err(Refusal::WrongToken.into()),
        // The API server knows the user, who is not allowed to ask.
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
        Err(error) => Err(PageError::Unreadable { what: "the owner of your token".to_owned(), error: message(&error) }),
    }
}
