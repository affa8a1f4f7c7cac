//! The user of a request. Everything that a page shows or does is authorized for this user by the API
//! server.

use std::sync::Arc;

use kube::Client;

/// User of the console.
#[derive(Clone)]
pub struct User {
    key: Arc<str>,
    client: Client,
}

impl User {
    /// Returns the user of a kubeconfig, whose console runs on the user's own machine.
    pub fn local(client: Client) -> Self {
        Self { key: "local".into(), client }
    }

    /// Returns a text that differs between users, so that what was read for one user is not shown to another one.
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// Returns a client whose requests have the permissions of the user.
    pub fn client(&self) -> Client {
        self.client.clone()
    }
}
