//! Where a guest may connect to: patterns of scheme, host and port.
//!
//! `https://api.example.com`, `https://*.example.com:8443`, `http://127.0.0.1:9000`, `tcp://10.0.0.0/8:5432`,
//! `udp://9.9.9.9:53`, `*://internal:*`. A pattern without a scheme means `https`; without a port, the port of
//! the scheme; `none` grants the interfaces and no destination. A name may resolve to public addresses only; private, loopback and link-local ones must be
//! granted by address, so that nobody who controls a name can turn a guest against the inside.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// One granted destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundPattern {
    scheme: SchemePattern,
    host: HostPattern,
    port: PortPattern,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum SchemePattern {
    Any,
    Only(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Any,
    /// Matches nothing: the pattern `none`, which lets a guest that needs the interfaces load.
    Nowhere,
    Name(String),
    /// Every name that ends with this, which starts with a dot: `.example.com`.
    Suffix(String),
    Net(IpNet),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PortPattern {
    Any,
    Only(u16),
}

/// Why a pattern was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The scheme is none that a guest can speak.
    #[error("`{0}` has an unknown scheme; known are https, http, tcp, udp and *")]
    Scheme(String),
    /// The host is missing, or not a name, `*.name`, address or network.
    #[error("`{0}` has no usable host; give a name, *.name, an address, a network or *")]
    Host(String),
    /// The port is not a number, or missing where the scheme has none of its own.
    #[error("`{0}` has no usable port; give :NUMBER or :*")]
    Port(String),
}

impl FromStr for OutboundPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text == "none" {
            return Ok(Self {
                scheme: SchemePattern::Any,
                host: HostPattern::Nowhere,
                port: PortPattern::Any,
            });
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let scheme = scheme.to_ascii_lowercase();
        if !["*", "http", "https", "tcp", "udp"].contains(&scheme.as_str()) {
            return Err(PatternError::Scheme(text.into()));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split_port(rest);
        let port = match (port, scheme.as_str()) {
            (Some("*"), _) => PortPattern::Any,
            (Some(number), _) => {
                PortPattern::Only(number.parse().map_err(|_| PatternError::Port(text.into()))?)
            }
            (None, "https") => PortPattern::Only(443),
            (None, "http") => PortPattern::Only(80),
            (None, "*") => PortPattern::Any,
            (None, _) => return Err(PatternError::Port(text.into())),
        };
        let scheme = if scheme == "*" { SchemePattern::Any } else { SchemePattern::Only(scheme) };
        let host = parse_host(host).ok_or_else(|| PatternError::Host(text.into()))?;
        Ok(Self { scheme, host, port })
    }
}

impl fmt::Display for OutboundPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host == HostPattern::Nowhere {
            return f.write_str("none");
        }
        match &self.scheme {
            SchemePattern::Any => f.write_str("*://")?,
            SchemePattern::Only(scheme) => write!(f, "{scheme}://")?,
        }
        match &self.host {
            HostPattern::Any | HostPattern::Nowhere => f.write_str("*")?,
            HostPattern::Name(name) => f.write_str(name)?,
            HostPattern::Suffix(suffix) => write!(f, "*{suffix}")?,
            HostPattern::Net(net) if net.max_prefix_len() == net.prefix_len() => match net.addr() {
                IpAddr::V4(address) => write!(f, "{address}")?,
                IpAddr::V6(address) => write!(f, "[{address}]")?,
            },
            HostPattern::Net(net @ IpNet::V4(_)) => write!(f, "{net}")?,
            HostPattern::Net(net @ IpNet::V6(_)) => write!(f, "[{net}]")?,
        }
        match self.port {
            PortPattern::Any => f.write_str(":*"),
            PortPattern::Only(port) => write!(f, ":{port}"),
        }
    }
}

/// Splits `host:port`, `[v6]:port`, `10.0.0.0/8:5432`; the port may be missing.
fn split_port(text: &str) -> (&str, Option<&str>) {
    if let Some(rest) = text.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(port))),
            None => (text, None),
        };
    }
    match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

fn parse_host(host: &str) -> Option<HostPattern> {
    if host == "*" {
        return Some(HostPattern::Any);
    }
    if let Ok(net) = host.parse::<IpNet>() {
        return Some(HostPattern::Net(net.trunc()));
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(HostPattern::Net(address.into()));
    }
    if let Some(name) = host.strip_prefix("*.") {
        return is_name(name).then(|| HostPattern::Suffix(format!(".{}", name.to_ascii_lowercase())));
    }
    is_name(host).then(|| HostPattern::Name(host.to_ascii_lowercase()))
}

fn is_name(host: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    host.len() <= 253 && host.split('.').all(label) && !is_number(host)
}

/// Whether the name is an address in an old way of writing, which some programs take for one: `127.1`, `0x7f000001`.
/// No name ends in a number.
fn is_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|digit| digit.is_ascii_hexdigit()),
        None => last.bytes().all(|digit| digit.is_ascii_digit()),
    }
}

/// Everything a guest may connect to. Empty: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboundRules(pub Vec<OutboundPattern>);

impl OutboundRules {
    /// Whether `none` stands beside a pattern that grants something: the two contradict each other.
    pub fn contradicts_itself(&self) -> bool {
        let is_nowhere = |pattern: &OutboundPattern| pattern.host == HostPattern::Nowhere;
        self.0.iter().any(is_nowhere) && !self.0.iter().all(is_nowhere)
    }

    /// Whether a request to this scheme, host (a name, or an address as text) and port is granted. The
    /// addresses that a name resolves to must pass [`OutboundRules::allows_address`] as well.
    pub fn allows(&self, scheme: &str, host: &str, port: u16) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let host = host.to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        self.matching(scheme, port).any(|pattern| match (&pattern.host, address) {
            (HostPattern::Any, None) => true,
            (HostPattern::Any, Some(address)) => is_public(address),
            (HostPattern::Net(net), Some(address)) => net.contains(&address),
            (HostPattern::Name(name), None) => *name == host,
            (HostPattern::Suffix(suffix), None) => host.ends_with(suffix.as_str()),
            (HostPattern::Nowhere, _)
            | (HostPattern::Net(_), None)
            | (HostPattern::Name(_) | HostPattern::Suffix(_), Some(_)) => false,
        })
    }

    /// Whether a connection to this address is granted: public, or inside a network that a pattern names.
    pub fn allows_address(&self, scheme: &str, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        is_public(address)
            || self
                .matching(scheme, port)
                .any(|pattern| matches!(&pattern.host, HostPattern::Net(net) if net.contains(&address)))
    }

    /// Whether a raw socket may connect to this address: a pattern must name it, or any host.
    pub fn allows_socket(&self, scheme: &str, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        self.matching(scheme, port).any(|pattern| match &pattern.host {
            HostPattern::Net(net) => net.contains(&address),
            HostPattern::Any => is_public(address),
            HostPattern::Nowhere | HostPattern::Name(_) | HostPattern::Suffix(_) => false,
        })
    }

    /// Whether this name may be resolved for raw sockets: some `tcp` or `udp` pattern covers it.
    pub fn allows_lookup(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.for_sockets().any(|pattern| match &pattern.host {
            HostPattern::Any => true,
            HostPattern::Name(granted) => *granted == name,
            HostPattern::Suffix(suffix) => name.ends_with(suffix.as_str()),
            HostPattern::Nowhere | HostPattern::Net(_) => false,
        })
    }

    /// The names that a raw socket of this scheme may connect to at this port, wherever they resolve to within
    /// [`OutboundRules::allows_address`]. Those with a wildcard cannot be told.
    pub fn socket_names<'a>(&'a self, scheme: &'a str, port: u16) -> impl Iterator<Item = &'a str> {
        self.matching(scheme, port).filter_map(|pattern| match &pattern.host {
            HostPattern::Name(name) => Some(name.as_str()),
            _ => None,
        })
    }

    fn for_sockets(&self) -> impl Iterator<Item = &OutboundPattern> {
        self.0.iter().filter(|pattern| match &pattern.scheme {
            SchemePattern::Any => true,
            SchemePattern::Only(scheme) => scheme == "tcp" || scheme == "udp",
        })
    }

    fn matching<'a>(&'a self, scheme: &'a str, port: u16) -> impl Iterator<Item = &'a OutboundPattern> {
        self.0.iter().filter(move |pattern| {
            let scheme_fits = match &pattern.scheme {
                SchemePattern::Any => true,
                SchemePattern::Only(only) => only == scheme,
            };
            let port_fits = match pattern.port {
                PortPattern::Any => true,
                PortPattern::Only(only) => only == port,
            };
            scheme_fits && port_fits
        })
    }
}

/// Whether the address is on the public internet: not loopback, private, link-local, shared, multicast,
/// documentation, benchmarking, reserved, nor an IPv6 form of one of those (RFC 6890 and its updates).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let special = v4.is_unspecified()
                || v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_documentation()
                || a == 0
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (b == 18 || b == 19))
                || a >= 240;
            !special
        }
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            let embedded = match segments {
                // 64:ff9b::/96, NAT64 of an IPv4 address.
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some((high, low)),
                // 2002::/16, 6to4.
                [0x2002, high, low, ..] => Some((high, low)),
                _ => None,
            };
            if let Some((high, low)) = embedded {
                let v4 = std::net::Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
                return is_public(IpAddr::V4(v4));
            }
            // Global unicast is 2000::/3, less documentation and the protocol-assignment block (Teredo among it).
            (segments[0] & 0xe000) == 0x2000
                && !(segments[0] == 0x2001 && (segments[1] == 0x0db8 || segments[1] < 0x0200))
                && !(segments[0] == 0x3fff && segments[1] < 0x1000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(patterns: &[&str]) -> OutboundRules {
        OutboundRules(patterns.iter().map(|p| p.parse().expect("a pattern")).collect())
    }

    #[test]
    fn patterns_are_shown_whole() {
        for (typed, shown) in [
            ("api.example.com", "https://api.example.com:443"),
            ("http://Example.com/", "http://example.com:80"),
            ("https://*.example.com:8443", "https://*.example.com:8443"),
            ("tcp://10.0.0.0/8:5432", "tcp://10.0.0.0/8:5432"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("*://*:*", "*://*:*"),
            ("none", "none"),
        ] {
            assert_eq!(typed.parse::<OutboundPattern>().map(|p| p.to_string()), Ok(shown.into()), "{typed}");
        }
    }

    #[test]
    fn bad_patterns_say_what_is_wrong() {
        for (typed, wrong) in [
            ("ftp://example.com", PatternError::Scheme("ftp://example.com".into())),
            ("ftp://example.com:21", PatternError::Scheme("ftp://example.com:21".into())),
            ("tcp://example.com", PatternError::Port("tcp://example.com".into())),
            ("https://exa mple.com", PatternError::Host("https://exa mple.com".into())),
            ("https://:443", PatternError::Host("https://:443".into())),
            // An old way to write 127.0.0.1: it would be looked up as a name, and never match.
            ("http://127.1", PatternError::Host("http://127.1".into())),
            ("http://2130706433", PatternError::Host("http://2130706433".into())),
            ("http://0x7f.0X1", PatternError::Host("http://0x7f.0X1".into())),
            ("https://a.com:99999", PatternError::Port("https://a.com:99999".into())),
        ] {
            assert_eq!(typed.parse::<OutboundPattern>(), Err(wrong), "{typed}");
        }
    }

    #[test]
    fn a_scheme_is_the_same_in_capitals() {
        assert_eq!("TCP://127.0.0.1:1".parse::<OutboundPattern>(), "tcp://127.0.0.1:1".parse());
        assert!("https://a.x0x1".parse::<OutboundPattern>().is_ok(), "a name with digits");
    }

    #[test]
    fn a_name_is_granted_by_its_name_alone() {
        let rules = rules(&["https://api.example.com", "http://*.shop.test:8080"]);
        assert!(rules.allows("https", "API.example.com", 443));
        assert!(rules.allows("https", "api.example.com.", 443), "a trailing dot is the same name");
        assert!(rules.allows("http", "a.b.shop.test", 8080));
        for (scheme, host, port) in [
            ("http", "api.example.com", 443),
            ("https", "api.example.com", 8443),
            ("https", "evil-api.example.com", 443),
            ("http", "shop.test", 8080),
            ("http", "eshop.test", 8080),
            ("https", "93.184.216.34", 443),
        ] {
            assert!(!rules.allows(scheme, host, port), "{scheme}://{host}:{port}");
        }
    }

    #[test]
    fn none_grants_nothing() {
        let rules = rules(&["none"]);
        let address = "93.184.216.34".parse().expect("an address");
        assert!(!rules.allows("https", "example.com", 443));
        assert!(!rules.allows("https", "93.184.216.34", 443));
        assert!(!rules.allows_socket("tcp", address, 443));
        assert!(!rules.allows_lookup("example.com"));
    }

    #[test]
    fn inner_addresses_are_granted_by_address_only() {
        let any = rules(&["*://*:*"]);
        for inner in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.16.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "::7f00:1",
            "ff02::1",
        ] {
            let inner: IpAddr = inner.parse().expect("an address");
            assert!(!any.allows_address("http", inner, 80), "{inner}");
            assert!(!any.allows("http", &inner.to_string(), 80), "{inner}");
            assert!(!any.allows_socket("tcp", inner, 80), "{inner}");
        }
        for outer in ["93.184.216.34", "2606:2800:220:1::1", "2002:5db8:d822::"] {
            assert!(any.allows_address("http", outer.parse().expect("an address"), 80), "{outer}");
        }
        let by_address = rules(&["http://127.0.0.1:9000", "tcp://10.0.0.0/8:*"]);
        assert!(by_address.allows("http", "127.0.0.1", 9000));
        assert!(by_address.allows_address("http", "::ffff:127.0.0.1".parse().expect("v6"), 9000));
        assert!(!by_address.allows("http", "127.0.0.1", 9001));
        assert!(by_address.allows_socket("tcp", "10.9.9.9".parse().expect("v4"), 1));
        assert!(!by_address.allows_socket("udp", "10.9.9.9".parse().expect("v4"), 1));
    }

    #[test]
    fn names_are_resolved_for_sockets_by_patterns_for_sockets() {
        let rules =
            rules(&["tcp://db.example.com:5432", "https://api.example.com", "udp://*.example.org:53"]);
        assert!(rules.allows_lookup("DB.example.com.") && rules.allows_lookup("ns.example.org"));
        assert!(!rules.allows_lookup("api.example.com"), "that is for HTTP, which resolves by itself");
        assert_eq!(rules.socket_names("tcp", 5432).collect::<Vec<_>>(), ["db.example.com"]);
        assert_eq!(rules.socket_names("tcp", 5433).count() + rules.socket_names("udp", 53).count(), 0);
        let by_address = OutboundRules(vec!["tcp://10.0.0.0/8:*".parse().expect("a pattern")]);
        assert!(!by_address.allows_lookup("10.0.0.1.example.com"));
    }
}
