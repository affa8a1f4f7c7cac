//! The number of pages that follow logs, which is limited for each user and for the console.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::ui::identity::User;

/// Maximum number of pages of one user that follow logs concurrently.
pub(super) const MAX_OF_USER: usize = 16;
/// Maximum number of pages that follow logs concurrently.
const MAX: usize = 256;

/// Number of pages that follow logs, by the key of the user.
#[derive(Clone, Default)]
pub struct Followers(Arc<Mutex<HashMap<Arc<str>, usize>>>);

/// Place of one page. It is free again when this value is dropped.
pub(super) struct Place {
    followers: Followers,
    user: Arc<str>,
}

impl Followers {
    /// Takes a place for a page of a user. `None` if the user, or the console, has too many.
    pub(super) fn enter(&self, user: &User) -> Option<Place> {
        let mut counts = self.0.lock();
        let own = counts.get(user.key()).copied().unwrap_or_default();
        if own >= MAX_OF_USER || counts.values().sum::<usize>() >= MAX {
            return None;
        }
        counts.insert(user.key().clone(), own + 1);
        Some(Place { followers: self.clone(), user: user.key().clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.followers.0.lock();
        match counts.get_mut(&self.user) {
            Some(own) if *own > 1 => *own -= 1,
            _ => _ = counts.remove(&self.user),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::ui::fixtures::client;

    #[tokio::test]
    async fn place_is_free_again_and_one_user_does_not_take_those_of_others() {
        let followers = Followers::default();
        let shared = client(&[]);
        let user = |number: usize| User::of_token(HeaderValue::from_str(&format!("Bearer {number}")).unwrap(), &shared);
        let mut places: Vec<Place> = (0..MAX_OF_USER).map(|_| followers.enter(&user(0)).unwrap()).collect();
        assert!(followers.enter(&user(0)).is_none());
        let other = followers.enter(&user(1)).unwrap();
        places.pop();
        places.push(followers.enter(&user(0)).unwrap());
        drop((places, other));
        assert!(followers.0.lock().is_empty());
        let all: Vec<Place> = (0..MAX).filter_map(|number| followers.enter(&user(number / MAX_OF_USER))).collect();
        assert!(all.len() == MAX && followers.enter(&user(MAX)).is_none());
    }
}
