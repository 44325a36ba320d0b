//! Phase *accept*: who may open a connection.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::{Limit, Limits};

/// Counts the open connections of one listener, on all its threads.
pub(crate) struct Gate {
    open: AtomicUsize,
    most: usize,
    peers: Arc<Peers>,
}

/// Counts the open connections of each peer, on all listeners.
#[derive(Debug)]
pub(crate) struct Peers {
    open: Mutex<HashMap<IpAddr, usize>>,
    most: usize,
}

/// Held while a connection is open.
pub(crate) struct Pass {
    gate: Arc<Gate>,
    peer: IpAddr,
}

impl Gate {
    pub(crate) fn new(limits: &Limits, peers: Arc<Peers>) -> Self {
        Self { open: AtomicUsize::new(0), most: limits.connections, peers }
    }

    /// Lets a connection in.
    ///
    /// # Errors
    /// The limit that it would exceed.
    pub(crate) fn enter(self: &Arc<Self>, peer: SocketAddr) -> Result<Pass, Limit> {
        if self.open.fetch_add(1, Relaxed) >= self.most {
            self.open.fetch_sub(1, Relaxed);
            return Err(Limit::Connections);
        }
        let peer = network_of(peer.ip());
        if !self.peers.enter(peer) {
            self.open.fetch_sub(1, Relaxed);
            return Err(Limit::ConnectionsPerPeer);
        }
        Ok(Pass { gate: self.clone(), peer })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.open.fetch_sub(1, Relaxed);
        self.gate.peers.leave(self.peer);
    }
}

impl Peers {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { open: Mutex::default(), most: limits.connections_per_peer }
    }

    fn enter(&self, peer: IpAddr) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(peer).or_insert(0);
        let has_room = *count < self.most;
        *count += usize::from(has_room);
        has_room
    }

    fn leave(&self, peer: IpAddr) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&peer);
            }
        }
    }
}

/// What counts as one peer: an IPv4 address, or the IPv6 network that one subscriber gets.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(connections: usize, connections_per_peer: usize) -> Arc<Gate> {
        let limits = Limits { connections, connections_per_peer, ..Limits::default() };
        Arc::new(Gate::new(&limits, Arc::new(Peers::new(&limits))))
    }

    fn from(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().expect("an address"), 1)
    }

    #[test]
    fn the_listener_is_full_at_its_limit_and_has_room_again() {
        let gate = gate(2, 10);
        let first = gate.enter(from("10.0.0.1")).ok();
        let _second = gate.enter(from("10.0.0.2")).unwrap_or_else(|limit| panic!("full: {limit:?}"));
        assert_eq!(gate.enter(from("10.0.0.3")).err(), Some(Limit::Connections));
        drop(first);
        assert!(gate.enter(from("10.0.0.3")).is_ok());
    }

    #[test]
    fn a_peer_is_full_at_its_limit_and_others_are_not() {
        let gate = gate(10, 1);
        let first = gate.enter(from("2001:db8::1")).ok();
        assert_eq!(gate.enter(from("2001:db8::ffff:1")).err(), Some(Limit::ConnectionsPerPeer));
        assert!(gate.enter(from("2001:db8:0:1::1")).is_ok());
        assert!(gate.enter(from("::ffff:10.0.0.1")).is_ok());
        drop(first);
        let again = gate.enter(from("2001:db8::1"));
        assert_eq!(gate.open.load(Relaxed), 1);
        drop(again);
        assert!(gate.peers.open.lock().expect("not poisoned").is_empty(), "nobody is kept who is gone");
    }
}
