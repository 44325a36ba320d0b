//! What people grant: destinations, directories, stores.
#![allow(unreachable_pub, reason = "a module of the fuzz targets and of the tests of shoal-runtime")]

use std::net::IpAddr;

use shoal_runtime::{DirGrant, OutboundPattern, OutboundRules, StoreGrant, StorePlace};

/// Patterns, one a line, then an empty line, then hosts to ask them about. A pattern is shown in a form that means
/// the same; whatever allows a host by address or by socket also allows the address.
pub fn outbound(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (patterns, hosts) = text.split_once("\n\n").unwrap_or((text, "127.0.0.1\nlocalhost\n[::1]"));
    let mut rules = Vec::new();
    for line in patterns.lines() {
        match line.parse::<OutboundPattern>() {
            Ok(pattern) => {
                assert_eq!(pattern.to_string().parse(), Ok(pattern.clone()), "{line:?}");
                rules.push(pattern);
            }
            Err(error) => assert!(error.to_string().contains(line), "{error} does not name {line:?}"),
        }
    }
    let rules = OutboundRules(rules);
    for host in hosts.lines() {
        for (scheme, port) in [("https", 443), ("http", 80), ("tcp", 5432), ("udp", 53)] {
            ask(&rules, scheme, host, port);
        }
        let shouted = host.to_ascii_uppercase();
        assert_eq!(rules.allows_lookup(host), rules.allows_lookup(&shouted), "{host:?}");
    }
}

fn ask(rules: &OutboundRules, scheme: &str, host: &str, port: u16) {
    let allowed = rules.allows(scheme, host, port);
    let Ok(address) = host.parse::<IpAddr>() else { return };
    let reachable = rules.allows_address(scheme, address, port);
    assert!(!allowed || reachable, "{scheme}://{host}:{port} is allowed, its address is not");
    let by_socket = rules.allows_socket(scheme, address, port);
    assert!(!by_socket || reachable, "a socket to {host}:{port} is allowed, its address is not");
    if rules.0.is_empty() {
        assert!(!allowed && !by_socket, "nothing was granted, but {scheme}://{host}:{port} is allowed");
    }
}

/// A grant that is understood names what a grant must name; an error quotes what was typed.
pub fn grants(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<DirGrant>() {
        Ok(grant) => {
            assert!(
                grant.guest.starts_with('/') && !grant.host.as_os_str().is_empty(),
                "{text:?}: {grant:?}"
            );
            assert!(grant.writable || text.ends_with(":ro"), "{text:?}: {grant:?}");
            let is_plain = |name: &str| !name.contains(':') && name != "." && name != "..";
            assert!(grant.guest.split('/').all(is_plain), "{text:?}: {grant:?}");
        }
        Err(error) => assert!(error.to_string().contains(text)),
    }
    match text.parse::<StoreGrant>() {
        Ok(StoreGrant { name, place: StorePlace::Memory }) => assert_eq!(name, text),
        Ok(StoreGrant { name, place: StorePlace::Path(path) }) => {
            assert!(!name.is_empty() && format!("{name}={}", path.display()) == text, "{text:?}");
        }
        Err(error) => assert!(error.to_string().contains(text)),
    }
}
