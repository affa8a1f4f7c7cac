//! Rules about the headers `Host`, `Origin` and `Sec-Fetch-Site`, which keep other sites away from a console.
//!
//! A site can let its own name resolve to 127.0.0.1 (DNS rebinding). Such a request has that name as its `Host`. A form of
//! another site, or of another port of this machine, has another `Origin`.

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Method};

/// Header in which a browser names the relation between the page that sends a request and the console.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Reason to refuse a request because of its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginError {
    /// The header `Host` is missing, or names no address of the console.
    Host,
    /// Another site sent the request.
    CrossSite,
}

/// Addresses of a console.
#[derive(Clone, Debug)]
pub struct Origins {
    hosts: Vec<String>,
    is_behind_proxy: bool,
}

impl Origins {
    /// Returns the addresses of a console that listens on a loopback address.
    pub fn loopback(port: u16) -> Self {
        let names = ["127.0.0.1", "localhost", "[::1]"];
        let mut hosts: Vec<String> = names.iter().map(|name| format!("{name}:{port}")).collect();
        if port == 80 {
            // Browsers leave out the default port.
            hosts.extend(names.map(str::to_owned));
        }
        Self { hosts, is_behind_proxy: false }
    }

    /// Returns the addresses of a console behind a proxy that serves it with TLS under these hosts.
    pub fn behind_proxy(hosts: Vec<String>) -> Self {
        Self { hosts, is_behind_proxy: true }
    }

    /// Checks the headers of a request.
    ///
    /// # Errors
    /// The request is not for this console, or changes something and was sent by another site.
    pub fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), OriginError> {
        let host = only(headers, &HOST).filter(|host| self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)));
        let host = host.ok_or(OriginError::Host)?;
        if method.is_safe() {
            return Ok(());
        }
        let origin = only(headers, &ORIGIN).and_then(|origin| origin.split_once("://"));
        let is_own =
            |(scheme, origin): (&str, &str)| self.has_scheme(scheme, host) && origin.eq_ignore_ascii_case(host);
        if !origin.is_some_and(is_own) {
            return Err(OriginError::CrossSite);
        }
        // Old browsers do not send this header.
        match headers.contains_key(&SEC_FETCH_SITE) {
            true if only(headers, &SEC_FETCH_SITE) != Some("same-origin") => Err(OriginError::CrossSite),
            _ => Ok(()),
        }
    }

    /// Returns whether the pages of the console come with this scheme. Behind a proxy, `http` is accepted for this machine
    /// only, as with `kubectl port-forward`: elsewhere, an attacker in the network could be the origin.
    fn has_scheme(&self, scheme: &str, host: &str) -> bool {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let is_local = name.eq_ignore_ascii_case("localhost") || ["127.0.0.1", "[::1]"].contains(&name);
        match scheme {
            "http" => !self.is_behind_proxy || is_local,
            "https" => self.is_behind_proxy,
            _ => false,
        }
    }
}

/// Parses a host of `--hosts`, such as `console.example.com` or `localhost:8080`.
///
/// # Errors
/// The text is no host with an optional port. The error is a sentence that names the fix.
pub fn host(text: &str) -> Result<String, String> {
    let wrong = || "give a host with an optional port, such as console.example.com or localhost:8080".to_owned();
    let authority: http::uri::Authority = text.parse().map_err(|_| wrong())?;
    let is_only_host = authority.host().len() == text.len();
    if authority.host().is_empty() || text.contains(['@', '*', '%']) || !is_only_host && authority.port_u16().is_none()
    {
        return Err(wrong());
    }
    // Browsers leave out the default port.
    Ok(text.strip_suffix(":443").unwrap_or(text).to_ascii_lowercase())
}

/// Returns the value of a header that occurs once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    values.next()?.to_str().ok().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, headers: &[(&'static str, &str)]) -> Result<(), OriginError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Origins::loopback(7060).check(&method, &map)
    }

    #[test]
    fn host_must_be_an_address_of_the_console() {
        for host in ["127.0.0.1:7060", "localhost:7060", "LocalHost:7060", "[::1]:7060"] {
            assert_eq!(check(Method::GET, &[("host", host)]), Ok(()), "{host}");
        }
        let wrong =
            ["", "127.0.0.1", "127.0.0.1:7061", "evil.example:7060", "127.0.0.1.evil.example:7060", "a@localhost:7060"];
        for host in wrong {
            assert_eq!(check(Method::GET, &[("host", host)]), Err(OriginError::Host), "{host}");
        }
        assert_eq!(check(Method::GET, &[]), Err(OriginError::Host));
        let two = [("host", "localhost:7060"), ("host", "evil.example")];
        assert_eq!(check(Method::GET, &two), Err(OriginError::Host));
        let mut port_80 = HeaderMap::new();
        port_80.append(HOST, "localhost".parse().unwrap());
        assert_eq!(Origins::loopback(80).check(&Method::GET, &port_80), Ok(()));
    }

    #[test]
    fn change_behind_a_proxy_must_come_with_tls() {
        let origins = Origins::behind_proxy(vec!["console.example.com".to_owned(), "localhost:8080".to_owned()]);
        let check = |host: &str, origin: &str| {
            let mut map = HeaderMap::new();
            map.append(HOST, host.parse().unwrap());
            map.append(ORIGIN, origin.parse().unwrap());
            origins.check(&Method::POST, &map)
        };
        assert_eq!(check("console.example.com", "https://console.example.com"), Ok(()));
        assert_eq!(check("localhost:8080", "http://localhost:8080"), Ok(()));
        for (host, origin) in [
            ("console.example.com", "http://console.example.com"),
            ("console.example.com", "https://console.example.com:8443"),
            ("console.example.com", "https://localhost:8080"),
            ("console.example.com", "ftp://console.example.com"),
            ("console.example.com", "console.example.com"),
        ] {
            assert_eq!(check(host, origin), Err(OriginError::CrossSite), "{origin}");
        }
        for host in ["10.0.0.1:8080", "console.example.com.", "127.0.0.1:8080", "other.example.com"] {
            assert_eq!(check(host, &format!("https://{host}")), Err(OriginError::Host), "{host}");
        }
    }

    #[test]
    fn host_of_a_flag_is_a_name_with_an_optional_port() {
        for (text, is) in [
            ("Console.Example.com", "console.example.com"),
            ("console.example.com:443", "console.example.com"),
            ("localhost:8080", "localhost:8080"),
            ("[::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(host(text).as_deref(), Ok(is));
        }
        for wrong in ["", "*", "*.example.com", "https://a.example", "a@b.example", "a.example/x", "a:b", "a:", "a b"] {
            assert!(host(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn change_must_come_from_a_page_of_the_console() {
        let host = ("host", "localhost:7060");
        let own = ("origin", "http://localhost:7060");
        assert_eq!(check(Method::POST, &[host, own]), Ok(()));
        assert_eq!(check(Method::POST, &[host, own, ("sec-fetch-site", "same-origin")]), Ok(()));
        let wrong: [&[(&str, &str)]; 9] = [
            &[],
            &[("origin", "null")],
            &[("origin", "https://localhost:7060")],
            &[("origin", "http://localhost:7061")],
            &[("origin", "http://127.0.0.1:7060")],
            &[("origin", "http://evil.example")],
            &[own, own],
            &[own, ("sec-fetch-site", "cross-site")],
            &[own, ("sec-fetch-site", "same-site")],
        ];
        for headers in wrong {
            let all: Vec<_> = [host].iter().chain(headers).copied().collect();
            assert_eq!(check(Method::POST, &all), Err(OriginError::CrossSite), "{headers:?}");
            assert_eq!(check(Method::DELETE, &all), Err(OriginError::CrossSite), "{headers:?}");
            assert_eq!(check(Method::GET, &all), Ok(()), "{headers:?}");
        }
    }
}
