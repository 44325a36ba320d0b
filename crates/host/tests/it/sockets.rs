//! What raw sockets may do, asked as `wasmtime-wasi` asks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shoal_host::outbound::socket_check;
use shoal_runtime::OutboundRules;
use wasmtime_wasi::sockets::SocketAddrUse::{self, *};

use super::outbound::Script;

async fn check(patterns: &[&str], listen: &[u16], cases: &[(SocketAddrUse, &str, bool)]) {
    let rules = OutboundRules(patterns.iter().map(|pattern| pattern.parse().expect("a pattern")).collect());
    let script = Script::new("db.test", &[&["93.184.216.34", "10.0.0.1"]]);
    let allowed = socket_check("test".to_string(), Arc::new(rules), listen.to_vec(), script, None);
    for (reason, address, expected) in cases {
        let parsed: SocketAddr = address.parse().expect("an address");
        assert_eq!(
            allowed(parsed, *reason).await,
            *expected,
            "{reason:?} {address} with {patterns:?} {listen:?}"
        );
    }
}

#[tokio::test]
async fn connecting_needs_the_address_its_network_or_any() {
    let by_address = ["tcp://10.0.0.0/8:5432", "tcp://[fd00::1]:7", "udp://9.9.9.9:53"];
    check(
        &by_address,
        &[],
        &[
            (TcpConnect, "10.1.2.3:5432", true),
            (TcpConnect, "[::ffff:10.1.2.3]:5432", true),
            (TcpConnect, "10.1.2.3:5433", false),
            (TcpConnect, "11.1.2.3:5432", false),
            (TcpConnect, "[fd00::1]:7", true),
            (TcpConnect, "9.9.9.9:53", false),
            (UdpSend, "9.9.9.9:53", true),
            (UdpReceive, "9.9.9.9:53", true),
            (UdpSend, "8.8.8.8:53", false),
            (UdpReceive, "8.8.8.8:53", false),
            (UdpSend, "10.1.2.3:5432", false),
        ],
    )
    .await;
    check(
        &["*://*:*"],
        &[],
        &[
            (TcpConnect, "93.184.216.34:80", true),
            (TcpConnect, "127.0.0.1:80", false),
            (TcpConnect, "[::ffff:127.0.0.1]:80", false),
            (TcpConnect, "169.254.169.254:80", false),
            (UdpSend, "[::1]:80", false),
        ],
    )
    .await;
    check(&[], &[], &[(TcpConnect, "93.184.216.34:80", false), (UdpSend, "93.184.216.34:80", false)]).await;
}

#[tokio::test]
async fn listening_needs_its_port() {
    check(
        &[],
        &[8080, 53],
        &[
            (TcpBind, "0.0.0.0:8080", true),
            (TcpBind, "[::]:53", true),
            (TcpBind, "0.0.0.0:8081", false),
            (TcpBind, "0.0.0.0:0", true),
            (TcpListen, "127.0.0.1:8080", true),
            (TcpListen, "127.0.0.1:45678", false),
            (TcpListen, "0.0.0.0:0", false),
            (TcpAccept, "203.0.113.9:55555", true),
            (TcpConnect, "203.0.113.9:8080", false),
            (UdpBind, "0.0.0.0:53", true),
            (UdpBind, "0.0.0.0:54", false),
        ],
    )
    .await;
    check(
        &["tcp://93.184.216.34:80"],
        &[],
        &[
            (TcpBind, "0.0.0.0:0", true),
            (TcpBind, "0.0.0.0:8080", false),
            (TcpListen, "0.0.0.0:8080", false),
            (TcpListen, "0.0.0.0:40000", false),
            (TcpAccept, "203.0.113.9:55555", false),
        ],
    )
    .await;
}

#[tokio::test]
async fn port_0_is_what_the_system_picks_and_no_port_that_the_guest_does() {
    check(
        &[],
        &[0],
        &[
            (TcpBind, "0.0.0.0:0", true),
            (TcpBind, "0.0.0.0:8080", false),
            (TcpListen, "0.0.0.0:0", true),
            (TcpListen, "127.0.0.1:45678", true),
            (TcpAccept, "203.0.113.9:55555", true),
            (TcpConnect, "203.0.113.9:8080", false),
            (UdpBind, "0.0.0.0:0", true),
            (UdpBind, "0.0.0.0:53", false),
            (UdpReceive, "203.0.113.9:4444", true),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_udp_server_answers_those_who_asked_and_no_others() {
    check(
        &[],
        &[53],
        &[
            (UdpSend, "203.0.113.9:4444", false),
            (UdpReceive, "203.0.113.9:4444", true),
            (UdpSend, "203.0.113.9:4444", true),
            (UdpSend, "203.0.113.9:4445", false),
        ],
    )
    .await;
    check(&[], &[], &[(UdpReceive, "203.0.113.9:4444", false), (UdpSend, "203.0.113.9:4444", false)]).await;
}

#[tokio::test]
async fn a_udp_server_forgets_those_who_asked_long_ago() {
    let script = Script::new("db.test", &[&[]]);
    let allowed = socket_check("test".to_string(), Arc::default(), vec![53], script, None);
    let peer = |number: u32| {
        SocketAddr::from((std::net::Ipv4Addr::from(0xcb00_7100 + number / 256), 1 + (number % 256) as u16))
    };
    for number in 0..1024 {
        assert!(allowed(peer(number), UdpReceive).await);
    }
    assert!(allowed(peer(0), UdpSend).await, "1024 are remembered");
    assert!(allowed(peer(1024), UdpReceive).await);
    assert!(!allowed(peer(0), UdpSend).await, "and no more");
    assert!(allowed(peer(1), UdpSend).await && allowed(peer(1024), UdpSend).await);
}

#[tokio::test]
async fn a_name_grants_the_public_addresses_it_resolves_to() {
    let cases = [
        (TcpConnect, "93.184.216.34:5432", true),
        (TcpConnect, "[::ffff:93.184.216.34]:5432", true),
        (TcpConnect, "93.184.216.34:5433", false),
        (TcpConnect, "93.184.216.35:5432", false),
        (TcpConnect, "10.0.0.1:5432", false),
        (UdpSend, "93.184.216.34:5432", false),
    ];
    check(&["tcp://db.test:5432"], &[], &cases).await;
    check(&["tcp://db.test:5432", "tcp://10.0.0.1:5432"], &[], &[(TcpConnect, "10.0.0.1:5432", true)]).await;
    check(&["tcp://*.test:5432", "tcp://other.test:5432"], &[], &[(TcpConnect, "93.184.216.34:5432", false)])
        .await;

    let script = Script::new("db.test", &[&["93.184.216.34"]]);
    let rules = OutboundRules(vec!["tcp://db.test:5432".parse().expect("a pattern")]);
    let allowed = socket_check("test".to_string(), Arc::new(rules), Vec::new(), script.clone(), None);
    assert!(!allowed("127.0.0.1:5432".parse().expect("an address"), TcpConnect).await);
    assert_eq!(script.asked.load(Ordering::Relaxed), 0, "nothing is asked about what cannot be granted");
}
