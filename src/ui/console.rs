//! The state that all requests of a console share.

use std::sync::Arc;

use jiff::tz::TimeZone;
use tokio::sync::watch;

use super::access::Access;
use super::cache::{Caches, Kept, Visible};
use super::error::PageError;
use super::identity::User;
use super::logs::Followers;
use super::origin::Origins;
use super::pods::PodReads;
use super::queues::QueueReads;
use super::sign_in::SignIn;
use crate::client::cluster::ClusterContext;
use crate::client::suggest::Suggestions;

/// State that all requests of a console share.
pub struct Console {
    /// What is known of the cluster.
    pub caches: Arc<Caches>,
    /// What users are allowed to read.
    pub access: Access,
    /// Pods that were read in the last seconds.
    pub pods: PodReads,
    /// Pages that follow logs.
    pub followers: Followers,
    /// Queues of Kueue that were read in the last seconds.
    pub queues: QueueReads,
    /// Way in which users sign in.
    pub sign_in: SignIn,
    /// Addresses of the console.
    pub origins: Origins,
    /// Whether the console makes no changes.
    pub read_only: bool,
    /// Time zone in which times are shown.
    pub zone: TimeZone,
    /// Writes the commands that pages suggest.
    pub suggest: Suggestions,
    /// Name of the cluster, such as that of the context.
    pub cluster: String,
    /// Becomes true when the console stops.
    pub stop: watch::Receiver<bool>,
}

impl Console {
    /// Returns the cached objects of one kind that a user is allowed to list. `namespace` is one that the user asks for.
    ///
    /// # Errors
    /// The user is allowed to list such objects in no namespace, or the API server cannot be asked.
    pub async fn visible<T: Kept>(&self, user: &User, namespace: Option<&str>) -> Result<Visible<'_, T>, PageError> {
        self.caches.visible(&self.access, user, namespace).await
    }

    /// Returns a context that reads with the permissions of a user in a namespace.
    pub fn context(&self, user: &User, namespace: &str) -> ClusterContext {
        let namespace = namespace.to_owned();
        let suggest = self.suggest.in_namespace(&namespace);
        ClusterContext { client: user.client(), namespace, suggest }
    }
}
