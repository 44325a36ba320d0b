//! Phase *accept*: one address, one listening socket per thread.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::error::Error;

/// Connections that the kernel keeps for one thread until it accepts them. A burst of clients fits; the
/// kernel cuts it down to `net.core.somaxconn`.
const ACCEPT_QUEUE: i32 = 4096;

/// Opens `count` sockets that share the address; the kernel spreads connections over them.
///
/// # Errors
/// When the address cannot be had, and in particular when another process listens there, even one that
/// would share the address: two programs that unknowingly split a port are a riddle.
pub(crate) fn bind(address: SocketAddr, count: usize) -> Result<(SocketAddr, Vec<TcpListener>), Error> {
    let refused = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => Error::InUse { address },
        _ => Error::Listen { address, source },
    };
    if address.port() != 0 {
        probe(address).map_err(refused)?;
    }
    let first = open(address).map_err(refused)?;
    let bound = first.local_addr().map_err(refused)?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(open(bound).map_err(refused)?);
    }
    Ok((bound, sockets))
}

/// Binds without sharing, which fails while any other process listens there, and lets go.
fn probe(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&SockAddr::from(address))
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Accepted sockets inherit this one: answers are whole, and waiting for more would only delay them.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(ACCEPT_QUEUE)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_share_one_port_and_no_one_else_does() {
        let (address, sockets) = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 3).expect("binds");
        assert_eq!(sockets.len(), 3);
        for socket in &sockets {
            assert_eq!(socket.local_addr().expect("has an address"), address);
        }
        let client = std::net::TcpStream::connect(address).expect("connects");
        let accepted = loop {
            if let Some(Ok((socket, _))) = sockets.iter().map(TcpListener::accept).find(Result::is_ok) {
                break socket;
            }
        };
        assert!(accepted.nodelay().expect("has the option"), "accepted sockets inherit the option");
        drop(client);
        let error = bind(address, 1).expect_err("the port is taken");
        assert!(matches!(error, Error::InUse { .. }), "{error}");
        assert!(error.hint().is_some());
    }
}
