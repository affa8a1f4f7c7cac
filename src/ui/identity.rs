//! The user of a request. Everything that a page shows or does is authorized for this user by the API
//! server.

use std::fmt::Write;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use kube::Client;
use kube::client::Body;
use sha2::{Digest, Sha256};

use super::sign_in::identity::Named;

/// Header with the user that a request impersonates.
const IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");
/// Header with a group of that user. It can occur several times.
const IMPERSONATE_GROUP: HeaderName = HeaderName::from_static("impersonate-group");

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

    /// Returns the user of a header with a bearer token. Requests go through the connections of `shared`, which has no
    /// credentials of its own.
    pub fn of_token(token: HeaderValue, shared: &Client) -> Self {
        let key = key("token", [token.as_bytes()]);
        Self { key, client: with_headers(shared, [(AUTHORIZATION, token)].into_iter().collect()) }
    }

    /// Returns a user that the console impersonates. Requests go through the connections of `shared`, which
    /// has the credentials of the console. `None` if a name cannot be the value of a header.
    pub fn impersonated(named: &Named, shared: &Client) -> Option<Self> {
        let Named { user, groups } = named;
        let key = key("user", [user].into_iter().chain(groups).map(|name| name.as_bytes()));
        let mut headers = HeaderMap::new();
        headers.insert(IMPERSONATE_USER, HeaderValue::from_bytes(user.as_bytes()).ok()?);
        for group in groups {
            headers.append(IMPERSONATE_GROUP, HeaderValue::from_bytes(group.as_bytes()).ok()?);
        }
        Some(Self { key, client: with_headers(shared, headers) })
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

/// Returns a hash of these parts, which does not reveal a token. The length of each part is included, so that other parts
/// do not give the same key.
fn key<'a>(kind: &str, parts: impl IntoIterator<Item = &'a [u8]>) -> Arc<str> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let mut key = format!("{kind}:");
    for byte in hash.finalize() {
        // Writing to a String cannot fail.
        let _ = write!(key, "{byte:02x}");
    }
    key.into()
}

/// Returns a client that sends its requests through another one, with these headers.
fn with_headers(shared: &Client, headers: HeaderMap) -> Client {
    let shared = shared.clone();
    let service = tower::service_fn(move |mut request: Request<Body>| {
        let own = request.headers_mut();
        for name in [AUTHORIZATION, IMPERSONATE_USER, IMPERSONATE_GROUP] {
            own.remove(name);
        }
        for (name, value) in &headers {
            own.append(name.clone(), value.clone());
        }
        let shared = shared.clone();
        async move { shared.send(request).await }
    });
    Client::new(service, "default")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_differs_between_users_and_reveals_no_token() {
        let of = |user: &[&str]| key("user", user.iter().map(|part| part.as_bytes()));
        let users: [&[&str]; 6] = [&["a"], &["a", "b"], &["a", "b", "c"], &["a", "bc"], &["ab", "c"], &["a,b"]];
        for (number, one) in users.iter().enumerate() {
            assert!(users.iter().skip(number + 1).all(|other| of(one) != of(other)), "{one:?}");
        }
        let token = key("token", [b"Bearer secret".as_slice()]);
        assert!(token.starts_with("token:") && token.len() == 70 && !token.contains("secret"), "{token}");
    }
}
