//! Cached objects that a user is allowed to see. There is no other way from a page to the caches, so a forgotten check of
//! permissions does not compile.

use std::sync::Arc;
use std::time::Duration;

use super::{Caches, FeedOf, Installed, Interest, Kept};
use crate::runtime::cache::Cached;
use crate::ui::access::{Access, Allowed, Decision};
use crate::ui::error::PageError;
use crate::ui::identity::User;

/// Longest time that a page waits for a cache that is not complete yet.
const COMPLETE_IN: Duration = Duration::from_secs(2);

/// Objects of one kind that a user is allowed to list.
pub struct Visible<'a, T> {
    feed: FeedOf<'a, T>,
    allowed: Allowed,
}

impl Caches {
    /// Returns the objects of one kind that the user is allowed to list. `namespace` is one that the user asks for, which
    /// is checked even if it has no objects.
    ///
    /// # Errors
    /// The user is allowed to list such objects in no namespace, or the API server cannot be asked.
    pub async fn visible<T: Kept>(
        &self,
        access: &Access,
        user: &User,
        namespace: Option<&str>,
    ) -> Result<Visible<'_, T>, PageError> {
        let feed = T::feed(self);
        let permission = feed.0.permission;
        // A refusal does not wait for a cache that the console may not be allowed to fill.
        if let Some(namespace) = self.only_namespace().or(namespace)
            && !feed.0.synced.is_done()
            && access.allowed(user, permission, || [namespace.into()].into()).await.is_none()
            && let Decision::Refused = access.check(user, permission, Some(&namespace.into())).await
        {
            return Err(PageError::Forbidden { permission, namespace: Some(namespace.to_owned()) });
        }
        // The page is shown after this time in any case, and names the cache that is not complete.
        let _ = tokio::time::timeout(COMPLETE_IN, async {
            if *feed.0.installed.lock() == Installed::Yes {
                feed.0.synced.wait().await;
            }
        })
        .await;
        let allowed = access
            .allowed(user, permission, || match (namespace, self.only_namespace()) {
                (_, Some(only)) => [only.into()].into(),
                (Some(namespace), None) => [namespace.into()].into(),
                (None, None) => feed.0.namespaces(),
            })
            .await;
        if allowed.is_none() {
            return Err(match allowed.failed {
                Some(error) => PageError::Unreviewed { permission, error },
                None => {
                    let namespace = self.only_namespace().or(namespace).map(str::to_owned);
                    PageError::Forbidden { permission, namespace }
                }
            });
        }
        Ok(Visible { feed, allowed })
    }
}

impl<T: Cached> Visible<'_, T> {
    /// Calls `visit` for each object, in no particular order. `visit` must not wait.
    pub fn for_each(&self, mut visit: impl FnMut(&Arc<T>)) {
        self.feed.0.cache.for_each(|object| {
            if self.allowed.contains(&object.identity().namespace) {
                visit(object);
            }
        });
    }

    /// Returns all objects that `wanted` accepts, in no particular order.
    pub fn all(&self, wanted: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        let mut all = Vec::new();
        self.for_each(|object| {
            if wanted(object) {
                all.push(object.clone());
            }
        });
        all
    }

    /// Returns the permissions by which the objects were selected.
    pub fn allowed(&self) -> &Allowed {
        &self.allowed
    }

    /// Returns the interest of a page that shows these objects.
    pub fn interest(&self) -> Interest {
        Interest::Objects { resource: self.feed.0.permission.resource, allowed: self.allowed.clone() }
    }

    /// Returns whether the cache is complete.
    pub fn is_complete(&self) -> bool {
        *self.feed.0.installed.lock() == Installed::No || self.feed.0.synced.is_done()
    }

    /// Returns whether the cluster has the resource.
    pub fn installed(&self) -> Installed {
        *self.feed.0.installed.lock()
    }
}
