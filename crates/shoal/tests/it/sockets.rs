//! What a guest can do with sockets, of WASI 0.2 and 0.3 alike, and what it is told when it may not.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use crate::process::{DEADLINE, Ended, Place, built};

const GUESTS: [&str; 2] = ["socket", "socket-p3"];

/// Runs a guest with these flags and arguments.
fn run(place: &Place, guest: &str, flags: &[&str], args: &[&str]) -> Ended {
    let artifact = built(guest).display().to_string();
    place.output(&[&["run", &artifact], flags, &["--"], args].concat())
}

/// Whether the guest was told that it may not; each says it in the words of its bindings.
fn is_denied(ended: &Ended) -> bool {
    let said = format!("{}{}", ended.stdout, ended.stderr);
    ended.code == Some(1) && ["access-denied", "AccessDenied"].iter().any(|word| said.contains(word))
}

#[test]
fn a_name_is_looked_up_only_where_it_is_granted() {
    let place = Place::new();
    for guest in GUESTS {
        for grant in ["tcp://localhost:5432", "udp://*:53", "*://localhost:*"] {
            let ended = run(&place, guest, &["--allow-outbound", grant], &["resolve", "LocalHost"]);
            assert_eq!(ended.code, Some(0), "{guest} {grant}: {ended:?}");
            assert!(ended.stdout.contains("Ipv"), "{guest} {grant}: {ended:?}");
        }
        for grant in [
            "tcp://db.test:5432",
            "http://localhost:80",
            "tcp://*.localhost:80",
            "tcp://127.0.0.1:80",
            "none",
        ] {
            let ended = run(&place, guest, &["--allow-outbound", grant], &["resolve", "localhost"]);
            assert!(is_denied(&ended), "{guest} {grant}: {ended:?}");
            let hint = "--allow-outbound tcp://localhost:PORT would grant it";
            assert!(ended.stderr.contains(hint), "{guest} {grant}: {ended:?}");
        }
    }
}

#[test]
fn an_address_as_text_is_no_name() {
    let place = Place::new();
    for guest in GUESTS {
        for address in ["192.0.2.1", "2001:db8::1"] {
            let ended = run(&place, guest, &["--allow-outbound", "none"], &["resolve", address]);
            assert_eq!(ended.code, Some(0), "{guest} {address}: {ended:?}");
        }
    }
}

#[test]
fn port_0_is_any_port_that_the_system_picks() {
    let place = Place::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let free = free.port().to_string();
    for guest in GUESTS {
        for (grant, wanted) in [("0", free.as_str()), (free.as_str(), "0")] {
            let ended = run(&place, guest, &["--allow-listen", grant], &["listen", wanted]);
            assert!(is_denied(&ended), "{guest} {grant}: {ended:?}");
        }
    }
    let ended = run(&place, "socket-p3", &["--allow-listen", "0"], &["listen", "0"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let mut command = place.shoal();
    command.arg("run").arg(built("socket")).args(["--allow-listen", "0", "--", "listen", "0"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("shoal starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    let port: u16 = line.trim().trim_start_matches("listening on ").parse().expect("a port");
    let mut peer = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    peer.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    peer.write_all(b"hello").expect("it takes what is sent");
    let mut echo = [0; 5];
    peer.read_exact(&mut echo).expect("an echo");
    assert_eq!(&echo, b"hello");
    drop(peer);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_connection_needs_its_grant() {
    let place = Place::new();
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("an address").port();
    let (granted, other) = (format!("tcp://127.0.0.1:{port}"), format!("udp://127.0.0.1:{port}"));
    let args = ["connect", "127.0.0.1", &port.to_string()];
    let ended = run(&place, "socket-p3", &["--allow-outbound", &granted], &args);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "connected\n"), "{ended:?}");
    let ended = run(&place, "socket-p3", &["--allow-outbound", &other], &args);
    assert!(is_denied(&ended), "{ended:?}");
}
