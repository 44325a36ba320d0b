//! Addresses and ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::max_length;

/// Longest name of a port, in bytes (RFC 6335).
const PORT_NAME_BYTES_MAX: usize = 15;

/// The name of a port: an IANA service name.
pub fn port_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > PORT_NAME_BYTES_MAX {
        wrong.push(max_length(PORT_NAME_BYTES_MAX));
    }
    let in_set = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let rules = [
        (
            !text.is_empty() && text.chars().all(in_set),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (text.contains(|c: char| c.is_ascii_lowercase()), "must contain at least one letter (a-z)"),
        (!text.contains("--"), "must not contain consecutive hyphens"),
        (!text.starts_with('-') && !text.ends_with('-'), "must not begin or end with a hyphen"),
    ];
    wrong.extend(rules.into_iter().filter(|(right, _)| !right).map(|(_, words)| words.to_string()));
    wrong
}

/// The number of a port.
pub fn port(number: i64) -> Vec<String> {
    super::in_range(number, 1, 65_535)
}

/// An address, of IPv4 or IPv6.
pub fn ip(text: &str) -> Vec<String> {
    let words = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    if parse_ip(text).is_some() { Vec::new() } else { vec![words.into()] }
}

/// An address of IPv4.
pub fn ipv4(text: &str) -> Vec<String> {
    let right = parse_ip(text).is_some_and(|address| address.is_ipv4());
    if right { Vec::new() } else { vec!["must be a valid IPv4 address".into()] }
}

/// An address of IPv6.
pub fn ipv6(text: &str) -> Vec<String> {
    let right = parse_ip(text).is_some_and(|address| address.is_ipv6());
    if right { Vec::new() } else { vec!["must be a valid IPv6 address".into()] }
}

/// An address with the number of bits that name its network.
pub fn cidr(text: &str) -> Vec<String> {
    let words = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    if parse_cidr(text).is_some() { Vec::new() } else { vec![words.into()] }
}

/// Reads an address as Kubernetes does: zeros may lead (`010.0.0.1` is `10.0.0.1`), and an address of IPv4 written as
/// one of IPv6 is one of IPv4.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    if !text.contains(':') {
        return sloppy_ipv4(text).map(IpAddr::V4);
    }
    let address: Ipv6Addr = match text.rsplit_once(':') {
        Some((front, back)) if back.contains('.') => {
            let [a, b, c, d] = sloppy_ipv4(back)?.octets();
            format!("{front}:{:x}:{:x}", u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
                .parse()
                .ok()?
        }
        _ => text.parse().ok()?,
    };
    Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
}

/// Reads an address and the number of bits that name its network.
pub fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let address = parse_ip(address)?;
    let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    let bits: u8 = bits.parse().ok().filter(|_| digits)?;
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}

fn sloppy_ipv4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part =
            parts.next().filter(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))?;
        let digits = part.trim_start_matches('0');
        *octet = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    }
    parts.next().is_none().then_some(Ipv4Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_the_names_of_iana() {
        for right in ["http", "a", "a-b", "8080-a", "123456789012345".replace('5', "a").as_str()] {
            assert_eq!(port_name(right), Vec::<String>::new(), "{right}");
        }
        for (text, count) in [("", 2), ("A", 2), ("80", 1), ("a--b", 1), ("-a", 1), ("a234567890123456", 1)] {
            assert_eq!(port_name(text).len(), count, "{text}: {:?}", port_name(text));
        }
        assert_eq!(port(65_536), ["must be between 1 and 65535, inclusive"]);
        assert_eq!(port(65_535), Vec::<String>::new());
    }

    #[test]
    fn addresses_are_read_as_kubernetes_reads_them() {
        for (text, expected) in [
            ("10.0.0.1", Some("10.0.0.1")),
            ("010.000.0.001", Some("10.0.0.1")),
            ("::1", Some("::1")),
            ("::ffff:1.2.3.4", Some("1.2.3.4")),
            ("64:ff9b::1.2.3.4", Some("64:ff9b::102:304")),
            ("256.0.0.1", None),
            ("1.2.3", None),
            ("1.2.3.4.5", None),
            ("1.2.3.-4", None),
            ("", None),
            ("::1%eth0", None),
        ] {
            assert_eq!(parse_ip(text).map(|address| address.to_string()).as_deref(), expected, "{text}");
        }
        for (text, right) in [
            ("10.0.0.0/8", true),
            ("10.0.0.0/32", true),
            ("10.0.0.0/33", false),
            ("::/128", true),
            ("::/129", false),
            ("10.0.0.0", false),
            ("10.0.0.0/+8", false),
            ("10.0.0.0/", false),
        ] {
            assert_eq!(cidr(text).is_empty(), right, "{text}");
        }
    }
}
