//! What is wrong with a word: the names of `shoal_api`, and the few that only kinds need.

use serde_json::Value;
use shoal_api::field::Path;
use shoal_api::names;

use super::faults::Faults;

pub(crate) use names::config_key;
pub(crate) use names::dns1035_label;
pub(crate) use names::dns1123_label as dns_label;
pub(crate) use names::dns1123_subdomain as dns_subdomain;
pub(crate) use names::domain_prefixed_path;
pub(crate) use names::http_header as http_header_name;
pub(crate) use names::label_value;
pub(crate) use names::percent;
pub(crate) use names::port as port_number;
pub(crate) use names::port_name;
pub(crate) use names::qualified as qualified_name;
pub(crate) use names::relaxed_env_var as env_name;
pub(crate) use names::wildcard_subdomain;
pub(crate) use names::{cidr, ip, parse_cidr, parse_ip};

/// Most characters of the name of a storage driver.
const DRIVER_CHARACTERS_MAX: usize = 63;

/// What can stand in a path; of a prefix only its letters count.
pub(crate) fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    let mut messages = Vec::new();
    if !prefix && matches!(name, "." | "..") {
        messages.push(format!("may not be '{name}'"));
    }
    for letter in ['/', '%'] {
        if name.contains(letter) {
            messages.push(format!("may not contain '{letter}'"));
        }
    }
    messages
}

/// A user's or group's number.
pub(crate) fn identity(id: i64) -> Vec<String> {
    let most = i64::from(i32::MAX);
    if (0..=most).contains(&id) { Vec::new() } else { vec![in_range(0, most)] }
}

/// `must be between 1 and 2, inclusive`.
pub(crate) fn in_range(least: i64, most: i64) -> String {
    format!("must be between {least} and {most}, inclusive")
}

/// The name of a storage driver.
pub(crate) fn driver_name(name: &str, path: &Path, faults: &mut Faults) {
    if name.is_empty() {
        faults.required(path, "");
    }
    if name.len() > DRIVER_CHARACTERS_MAX {
        faults.too_long(path, DRIVER_CHARACTERS_MAX);
    }
    let lower = name.to_lowercase();
    faults.words(path, name, dns_subdomain(&lower));
}

/// An address that means something on other machines too.
pub(crate) fn ordinary_ip(text: &str, path: &Path, faults: &mut Faults) {
    let Some(ip) = parse_ip(text) else {
        faults.invalid(path, text, "must be a valid IP address");
        return;
    };
    let (link_local, local_multicast) = match ip {
        core::net::IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        core::net::IpAddr::V6(ip) => {
            (ip.segments()[0] & 0xffc0 == 0xfe80, ip.segments()[0] & 0xff0f == 0xff02)
        }
    };
    if ip.is_unspecified() {
        faults.invalid(path, text, &format!("may not be unspecified ({text})"));
    }
    if ip.is_loopback() {
        faults.invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if link_local {
        faults.invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if local_multicast {
        let message = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
        faults.invalid(path, text, message);
    }
}

/// Is it an IPv6 address?
pub(crate) fn is_ipv6(text: &str) -> bool {
    parse_ip(text).is_some_and(|ip| ip.is_ipv6())
}

/// Standard base64, as Go writes bytes in JSON; none when it is not.
pub(crate) fn bytes(value: &Value) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(value.as_str()?).ok()
}

/// Bytes as Go writes them in JSON.
pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
