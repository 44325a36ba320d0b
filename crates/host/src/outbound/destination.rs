//! Where a request goes: scheme, host and port, from its URI.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use http::Uri;

use super::OutboundError;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    pub(super) scheme: Scheme,
    /// A name in lower case without a final dot, or an address; IPv6 without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

/// The schemes that a guest can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Destination {
    /// The destination of a URI.
    pub(super) fn of(uri: &Uri) -> Result<Self, OutboundError> {
        let invalid = OutboundError::HttpRequestUriInvalid;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(invalid),
        };
        let authority = uri.authority().ok_or(OutboundError::HttpRequestUriInvalid)?;
        // Credentials in a URI end up in logs; and `a@b` reads like a host that it is not.
        if authority.as_str().contains('@') {
            return Err(invalid);
        }
        let host = authority.host();
        let host = match host.strip_prefix('[') {
            Some(v6) => {
                let v6 = v6.strip_suffix(']').and_then(|v6| v6.parse::<Ipv6Addr>().ok());
                v6.ok_or(OutboundError::HttpRequestUriInvalid)?.to_string()
            }
            None => host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase(),
        };
        let port = match (authority.port_u16(), authority.as_str().strip_prefix(authority.host())) {
            (Some(0), _) => return Err(invalid),
            (Some(port), _) => port,
            (None, Some("" | ":")) => scheme.port(),
            (None, _) => return Err(invalid),
        };
        if host.is_empty() { Err(invalid) } else { Ok(Self { scheme, host, port }) }
    }

    /// The address, when the host is one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// What stands in `Host` and `:authority`: the port only where it is not the scheme's own.
    pub(super) fn authority(&self) -> String {
        let host = self.bracketed();
        if self.port == self.scheme.port() { host } else { format!("{host}:{}", self.port) }
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

/// The pattern that would grant it.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.name(), self.bracketed(), self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_name_destinations() {
        for (uri, shown, authority) in [
            ("https://Api.Example.com/a?b", "https://api.example.com:443", "api.example.com"),
            ("http://api.example.com./", "http://api.example.com:80", "api.example.com"),
            ("http://127.0.0.1:9000/", "http://127.0.0.1:9000", "127.0.0.1:9000"),
            ("http://[::1]:80/", "http://[::1]:80", "[::1]"),
            ("https://[2001:DB8::0:1]/", "https://[2001:db8::1]:443", "[2001:db8::1]"),
            ("https://a:443/", "https://a:443", "a"),
        ] {
            let destination = Destination::of(&uri.parse().expect("a URI")).expect(uri);
            assert_eq!(
                (destination.to_string().as_str(), destination.authority().as_str()),
                (shown, authority)
            );
            assert!(shown.parse::<shoal_runtime::OutboundPattern>().is_ok(), "{shown} can be granted");
        }
    }

    #[test]
    fn other_uris_name_none() {
        for uri in [
            "/path",
            "ftp://a/",
            "http://user@a/",
            "http://user:pw@a/",
            "http://a:0/",
            "http://a:99999/",
            "a:80",
        ] {
            let destination = uri.parse().map(|uri| Destination::of(&uri));
            assert!(!matches!(destination, Ok(Ok(_))), "{uri}: {destination:?}");
        }
    }
}
