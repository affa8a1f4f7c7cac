//! The identity that the headers of a request state: a bearer token, or a user and groups of a trusted proxy.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Refusal;
use super::secret::ProxySecret;

/// Prefix of the users and groups that the API server itself assigns, such as `system:masters` and those of service
/// accounts.
const SYSTEM: &str = "system:";
/// Maximum number of groups of a user.
const MAX_GROUPS: usize = 500;

/// Headers of a trusted proxy.
pub struct ProxyHeaders {
    /// Header with the name of the user.
    pub user: HeaderName,
    /// Header with the groups of the user, separated by commas.
    pub groups: HeaderName,
    /// Header with the secret of the proxy.
    pub secret: HeaderName,
}

/// User and groups that a trusted proxy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Name of the user.
    pub user: String,
    /// Groups of the user.
    pub groups: Vec<String>,
}

/// Returns the header `Authorization` of a request that has exactly one bearer token.
///
/// # Errors
/// The request has no token, more than one, or one that cannot be a token.
pub fn bearer(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let value = single(headers, &AUTHORIZATION).ok_or(Refusal::NoToken)?;
    let text = value.to_str().map_err(|_| Refusal::NoToken)?;
    let (scheme, token) = text.split_once(' ').ok_or(Refusal::NoToken)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.contains(char::is_whitespace) {
        return Err(Refusal::NoToken);
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Refusal::NoToken)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Returns the user that a trusted proxy names.
///
/// # Errors
/// The request does not have the secret of the proxy, names no user, or names a user or a group that the console does not
/// act as.
pub fn named(headers: &HeaderMap, names: &ProxyHeaders, secret: &ProxySecret) -> Result<Named, Refusal> {
    let is_trusted = single(headers, &names.secret).is_some_and(|given| secret.is(given.as_bytes()));
    if !is_trusted {
        let is_forged = [&names.user, &names.groups, &names.secret].into_iter().any(|name| headers.contains_key(name));
        return Err(if is_forged { Refusal::NoSecret } else { Refusal::NoUser });
    }
    if !headers.contains_key(&names.user) {
        return Err(Refusal::NoUser);
    }
    let user = text(headers, &names.user)?;
    if user.is_empty() {
        return Err(Refusal::NoUser);
    }
    let groups = if headers.contains_key(&names.groups) { text(headers, &names.groups)? } else { "" };
    let groups: Vec<String> =
        groups.split(',').map(str::trim).filter(|group| !group.is_empty()).map(str::to_owned).collect();
    if groups.len() > MAX_GROUPS {
        return Err(Refusal::Malformed);
    }
    if user.starts_with(SYSTEM) || groups.iter().any(|group| group.starts_with(SYSTEM)) {
        return Err(Refusal::System);
    }
    Ok(Named { user: user.to_owned(), groups })
}

/// Returns the text of a header that occurs exactly once. A header that occurs twice could have a value of the client
/// beside that of the proxy.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Refusal> {
    let value = single(headers, name).ok_or(Refusal::Malformed)?;
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| Refusal::Malformed)?;
    if text.contains(char::is_control) {
        return Err(Refusal::Malformed);
    }
    Ok(text.trim())
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    #[test]
    fn request_has_exactly_one_bearer_token() {
        for given in ["Bearer a.b-c", "bearer a.b-c", "BEARER  a.b-c "] {
            let token = bearer(&map(&[("authorization", given)])).unwrap();
            assert!(token == "Bearer a.b-c" && token.is_sensitive(), "{given:?}");
        }
        for wrong in ["", "Bearer", "Bearer ", "Basic YTpi", "a.b-c", "Bearer a b", "Bearer \u{e4}"] {
            assert_eq!(bearer(&map(&[("authorization", wrong)])), Err(Refusal::NoToken), "{wrong:?}");
        }
        assert_eq!(bearer(&map(&[])), Err(Refusal::NoToken));
        let two = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert_eq!(bearer(&map(&two)), Err(Refusal::NoToken));
    }

    const SECRET: (&str, &str) = ("x-secret", "0123456789abcdef");

    fn of(headers: &[(&'static str, &str)]) -> Result<Named, Refusal> {
        let header = HeaderName::from_static;
        let names = ProxyHeaders { user: header("x-user"), groups: header("x-groups"), secret: header("x-secret") };
        named(&map(headers), &names, &ProxySecret::new(b"0123456789abcdef").unwrap())
    }

    #[test]
    fn proxy_with_the_secret_names_a_user_and_groups() {
        let jane = |groups: &[&str]| {
            Ok(Named { user: "jane".to_owned(), groups: groups.iter().map(|&group| group.to_owned()).collect() })
        };
        assert_eq!(of(&[SECRET, ("x-user", "jane")]), jane(&[]));
        assert_eq!(of(&[SECRET, ("x-user", " jane "), ("x-groups", "dev, ops,,")]), jane(&["dev", "ops"]));
        let other = of(&[SECRET, ("x-user", "j\u{fc}rgen@example.com")]).unwrap();
        assert_eq!(other.user, "j\u{fc}rgen@example.com");
    }

    #[test]
    fn user_without_the_secret_is_refused() {
        let jane = ("x-user", "jane");
        let wrong = ("x-secret", "0123456789abcdeg");
        for headers in [&[jane][..], &[("x-groups", "dev")], &[jane, wrong], &[wrong], &[jane, SECRET, SECRET]] {
            assert_eq!(of(headers), Err(Refusal::NoSecret), "{headers:?}");
        }
        assert_eq!(of(&[]), Err(Refusal::NoUser));
        for headers in [&[SECRET][..], &[SECRET, ("x-user", "")], &[SECRET, ("x-user", " "), ("x-groups", "dev")]] {
            assert_eq!(of(headers), Err(Refusal::NoUser), "{headers:?}");
        }
    }

    #[test]
    fn users_and_groups_of_the_system_are_refused() {
        let user = |name| of(&[SECRET, ("x-user", name)]);
        for name in ["system:admin", " system:serviceaccount:a:b", "system:kube-controller-manager", "system:"] {
            assert_eq!(user(name), Err(Refusal::System), "{name:?}");
        }
        assert!(user("a-system:b").is_ok() && user("systems").is_ok());
        for groups in ["system:masters", "dev,system:masters", "dev , system:nodes ,ops", ",system:"] {
            let named = of(&[SECRET, ("x-user", "jane"), ("x-groups", groups)]);
            assert_eq!(named, Err(Refusal::System), "{groups:?}");
        }
    }

    #[test]
    fn ambiguous_headers_are_refused() {
        let jane = ("x-user", "jane");
        let many = ["g"; MAX_GROUPS + 1].join(",");
        for headers in [
            &[SECRET, jane, ("x-user", "joe")][..],
            &[SECRET, jane, ("x-groups", "dev"), ("x-groups", "ops")],
            &[SECRET, jane, ("x-groups", "dev\tops")],
            &[SECRET, jane, ("x-groups", &many)],
        ] {
            assert_eq!(of(headers), Err(Refusal::Malformed), "{headers:?}");
        }
        let mut not_utf8 = map(&[SECRET]);
        not_utf8.append("x-user", HeaderValue::from_bytes(b"j\xfc").unwrap());
        let header = HeaderName::from_static;
        let names = ProxyHeaders { user: header("x-user"), groups: header("x-groups"), secret: header("x-secret") };
        let secret = ProxySecret::new(b"0123456789abcdef").unwrap();
        assert_eq!(named(&not_utf8, &names, &secret), Err(Refusal::Malformed));
    }
}
