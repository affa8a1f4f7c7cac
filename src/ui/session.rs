//! Sign-in to the console on this machine: a one-time token in the printed address is exchanged for a session cookie.

use std::fmt::Write;

use parking_lot::Mutex;
use subtle::ConstantTimeEq;

/// Number of random bytes of a token and of a session.
const BYTES: usize = 32;

/// Random text that only the browser of the user knows.
#[derive(Clone)]
struct Secret(String);

impl Secret {
    /// Returns a new secret from the random source of the operating system.
    fn new() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes)?;
        let mut text = String::with_capacity(2 * BYTES);
        for byte in bytes {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Ok(Self(text))
    }

    /// Returns whether the text is this secret, in a time that does not depend on the text.
    fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

/// Sessions of one console.
pub struct Sessions {
    cookie: String,
    login: Mutex<Option<Secret>>,
    sessions: Mutex<Vec<Secret>>,
}

impl Sessions {
    /// Returns sessions with a new one-time token. Browsers send cookies to every port of a host, so the name of the
    /// cookie has the port.
    ///
    /// # Errors
    /// The operating system has no random source.
    pub fn new(port: u16) -> Result<Self, getrandom::Error> {
        let login = Mutex::new(Some(Secret::new()?));
        Ok(Self { cookie: format!("jobwright-{port}"), login, sessions: Mutex::default() })
    }

    /// Returns the path with the one-time token. `None` after the token was used.
    pub fn login_path(&self) -> Option<String> {
        self.login.lock().as_ref().map(|token| format!("/login?token={}", token.0))
    }

    /// Exchanges the one-time token for a session, and returns the value of the header `Set-Cookie`. `None` if the
    /// token is wrong or was used.
    ///
    /// # Errors
    /// The operating system has no random source.
    pub fn log_in(&self, token: &str) -> Result<Option<String>, getrandom::Error> {
        let mut login = self.login.lock();
        if !login.as_ref().is_some_and(|expected| expected.is(token)) {
            return Ok(None);
        }
        let session = Secret::new()?;
        let cookie = format!("{}={}; Path=/; HttpOnly; SameSite=Strict", self.cookie, session.0);
        self.sessions.lock().push(session);
        *login = None;
        Ok(Some(cookie))
    }

    /// Returns whether one of these values of the header `Cookie` has a session.
    pub fn has<'a>(&self, mut cookies: impl Iterator<Item = &'a str>) -> bool {
        let sessions = self.sessions.lock();
        cookies.any(|header| {
            let pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
            let mut own = pairs.filter(|(name, _)| *name == self.cookie);
            own.any(|(_, value)| sessions.iter().any(|session| session.is(value)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged_in(sessions: &Sessions) -> String {
        let path = sessions.login_path().unwrap();
        let cookie = sessions.log_in(path.strip_prefix("/login?token=").unwrap()).unwrap().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    #[test]
    fn token_is_exchanged_once() {
        let sessions = Sessions::new(7060).unwrap();
        let token = sessions.login_path().unwrap().replace("/login?token=", "");
        assert_eq!(token.len(), 64);
        for wrong in ["", "x", &token[..63], &format!("{token}0")] {
            assert_eq!(sessions.log_in(wrong).unwrap(), None, "{wrong:?}");
        }
        let cookie = sessions.log_in(&token).unwrap().unwrap();
        assert!(cookie.starts_with("jobwright-7060=") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"));
        assert_eq!(sessions.log_in(&token).unwrap(), None, "the token was used");
        assert_eq!(sessions.login_path(), None);
    }

    #[test]
    fn session_is_found_among_other_cookies() {
        let sessions = Sessions::new(7060).unwrap();
        assert!(!sessions.has(["jobwright-7060="].into_iter()));
        let own = logged_in(&sessions);
        assert!(sessions.has([own.as_str()].into_iter()));
        assert!(sessions.has(["a=b", &format!("a=b; jobwright-7060=wrong; {own};c")].into_iter()));
        let other = Sessions::new(7060).unwrap();
        let foreign = logged_in(&other);
        for wrong in ["", "jobwright-7060", &own[..own.len() - 1], &foreign, &own.replace("7060", "7061")] {
            assert!(!sessions.has([wrong].into_iter()), "{wrong:?}");
        }
    }
}
