//! What a user is allowed to read, according to the API server (SelfSubjectAccessReview).
//!
//! Objects in a shared cache were read with the permissions of the console. They are shown to a user only if the API
//! server allows the user to list such objects in their namespace. A review that fails is a refusal.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::identity::User;
use crate::runtime::errors::message;
use crate::runtime::lru::Lru;

/// Time for which a review stays valid.
const VALID: Duration = Duration::from_secs(10);
/// Maximum number of reviews of one page that run concurrently.
const CONCURRENT: usize = 8;
/// Maximum number of users whose reviews are kept.
const MAX_USERS: usize = 500;
/// Maximum number of reviews of one user that are kept.
const MAX_REVIEWS: usize = 10_000;

/// Permission on a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Permission {
    /// Verb, such as `list`.
    pub verb: &'static str,
    /// API group of the resource.
    pub group: &'static str,
    /// Plural name of the resource, with a subresource after a slash.
    pub resource: &'static str,
}

/// Result of a review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The user is allowed.
    Allowed,
    /// The user is not allowed.
    Refused,
    /// The API server did not answer. The text is the error.
    Failed(String),
}

/// Namespaces of which a user is allowed to list the objects of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    namespaces: Namespaces,
    /// Error of a review that failed, so that objects may be missing.
    pub failed: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Namespaces {
    All,
    Some(BTreeSet<Arc<str>>),
}

impl Allowed {
    /// Returns whether the user is allowed to see objects of this namespace.
    pub fn contains(&self, namespace: &str) -> bool {
        match &self.namespaces {
            Namespaces::All => true,
            Namespaces::Some(allowed) => allowed.contains(namespace),
        }
    }

    /// Returns whether the user is allowed in all namespaces.
    pub fn is_all(&self) -> bool {
        self.namespaces == Namespaces::All
    }

    /// Returns whether the user is allowed in no known namespace.
    pub fn is_none(&self) -> bool {
        matches!(&self.namespaces, Namespaces::Some(allowed) if allowed.is_empty())
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Question {
    permission: Permission,
    namespace: Option<Arc<str>>,
}

/// Reviews of one user.
type Reviews = HashMap<Question, (Instant, Decision)>;

/// Reviews of the last seconds, by the key of the user.
pub struct Access {
    known: Mutex<Lru<Arc<str>, Reviews>>,
}

impl Default for Access {
    fn default() -> Self {
        Self { known: Mutex::new(Lru::new(MAX_USERS)) }
    }
}

impl Access {
    /// Returns whether a user has a permission in a namespace, or in all namespaces.
    pub async fn check(&self, user: &User, permission: Permission, namespace: Option<&Arc<str>>) -> Decision {
        let question = Question { permission, namespace: namespace.cloned() };
        let now = Instant::now();
        if let Some((at, decision)) = self.known.lock().peek_mut(user.key()).and_then(|known| known.get(&question))
            && now.duration_since(*at) < VALID
        {
            return decision.clone();
        }
        let decision = review(user, permission, namespace).await;
        if !matches!(decision, Decision::Failed(_)) {
            let mut users = self.known.lock();
            let known = users.entry(user.key(), Reviews::new);
            if known.len() >= MAX_REVIEWS {
                known.retain(|_, (at, _)| now.duration_since(*at) < VALID);
            }
            if known.len() >= MAX_REVIEWS {
                known.clear();
            }
            known.insert(question, (now, decision.clone()));
        }
        decision
    }

    /// Returns the namespaces among `candidates` in which a user has a permission, or all namespaces.
    pub async fn allowed(
        &self,
        user: &User,
        permission: Permission,
        candidates: impl FnOnce() -> BTreeSet<Arc<str>>,
    ) -> Allowed {
        match self.check(user, permission, None).await {
            Decision::Allowed => return Allowed { namespaces: Namespaces::All, failed: None },
            Decision::Failed(error) => {
                return Allowed { namespaces: Namespaces::Some(BTreeSet::new()), failed: Some(error) };
            }
            Decision::Refused => {}
        }
        let candidates: Vec<Arc<str>> = candidates().into_iter().collect();
        let (mut allowed, mut failed) = (BTreeSet::new(), None);
        for some in candidates.chunks(CONCURRENT) {
            let reviews = some.iter().map(|namespace| self.check(user, permission, Some(namespace)));
            for (namespace, decision) in some.iter().zip(join_all(reviews).await) {
                match decision {
                    Decision::Allowed => _ = allowed.insert(namespace.clone()),
                    Decision::Refused => {}
                    Decision::Failed(error) => failed = Some(error),
                }
            }
        }
        Allowed { namespaces: Namespaces::Some(allowed), failed }
    }
}

async fn review(user: &User, permission: Permission, namespace: Option<&Arc<str>>) -> Decision {
    let Permission { verb, group, resource } = permission;
    let (resource, subresource) = resource.split_once('/').map_or((resource, None), |(name, sub)| (name, Some(sub)));
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: subresource.map(str::to_owned),
                namespace: namespace.map(|namespace| namespace.to_string()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(user.client());
    match reviews.create(&PostParams::default(), &review).await {
        Ok(answer) if answer.status.as_ref().is_some_and(|status| status.allowed) => Decision::Allowed,
        Ok(_) => Decision::Refused,
        Err(error) => Decision::Failed(message(&error)),
    }
}

#[cfg(test)]
mod tests {
    use kube::Client;

    use super::*;
    use crate::ui::fixtures::client;

    #[tokio::test]
    async fn reviews_of_many_users_are_bounded() {
        let (access, shared): (Access, Client) = (Access::default(), client(&["*"]));
        let list = Permission { verb: "list", group: "batch", resource: "jobs" };
        let user = |number: usize| User::of_token(format!("Bearer {number}").parse().unwrap(), &shared);
        for number in 0..MAX_USERS + 10 {
            assert_eq!(access.check(&user(number), list, None).await, Decision::Allowed);
        }
        assert_eq!(access.known.lock().len(), MAX_USERS);
        let one = user(0);
        let namespaces: BTreeSet<Arc<str>> = (0..MAX_REVIEWS + 10).map(|number| format!("n{number}").into()).collect();
        for namespace in &namespaces {
            access.check(&one, list, Some(namespace)).await;
        }
        let kept = access.known.lock().peek_mut(one.key()).map(|known| known.len());
        assert!(kept.is_some_and(|kept| (1..=MAX_REVIEWS).contains(&kept)), "{kept:?}");
    }
}
