//! Ports of the node that are opened and closed while the edge serves: those of NodePort and LoadBalancer Services.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::Limits;
use crate::accept::Door;
use crate::error::Error;
use crate::gate::{Gate, Peers};
use crate::listener;
use crate::routes::Entry;

/// Opens and closes ports of one edge. Clones are one.
#[derive(Clone)]
pub struct Ports(Arc<Shared>);

struct Shared {
    limits: Limits,
    peers: Arc<Peers>,
    /// To each serving thread.
    threads: Vec<Arc<Doors>>,
    open: Mutex<BTreeMap<u16, CancellationToken>>,
}

/// The doors that one thread is told to open. Never more than there are ports: one that was closed before it was
/// opened is taken out again.
#[derive(Default)]
pub(crate) struct Doors {
    waiting: Mutex<Vec<Door>>,
    more: Notify,
}

impl Ports {
    /// For so many threads, with what each of them has to listen to.
    pub(crate) fn new(limits: &Limits, peers: Arc<Peers>, threads: usize) -> (Self, Vec<Arc<Doors>>) {
        let doors: Vec<Arc<Doors>> = std::iter::repeat_with(Arc::default).take(threads).collect();
        let shared = Shared { limits: limits.clone(), peers, threads: doors.clone(), open: Mutex::default() };
        (Self(Arc::new(shared)), doors)
    }

    /// Leaves exactly these ports open, on this address: opens what is missing, with a socket for each thread, and closes
    /// what is too many. Connections on a closed port stay. Comes back with the ports that could not be
    /// opened; the next call tries them again.
    pub fn set(&self, address: IpAddr, ports: &BTreeSet<u16>) -> BTreeMap<u16, Error> {
        let mut open = self.0.open.lock();
        open.retain(|port, closed| {
            let stays = ports.contains(port);
            if !stays {
                closed.cancel();
            }
            stays
        });
        let mut failed = BTreeMap::new();
        for port in ports {
            if open.contains_key(port) {
                continue;
            }
            match self.0.open(SocketAddr::new(address, *port)) {
                Ok(closed) => drop(open.insert(*port, closed)),
                Err(error) => drop(failed.insert(*port, error)),
            }
        }
        failed
    }

    /// The ports that are open.
    pub fn open(&self) -> BTreeSet<u16> {
        self.0.open.lock().keys().copied().collect()
    }
}

impl Doors {
    fn add(&self, door: Door) {
        let mut waiting = self.waiting.lock();
        waiting.retain(|door| !door.closed.is_cancelled());
        waiting.push(door);
        drop(waiting);
        self.more.notify_one();
    }

    /// Those to open now, as soon as there are some.
    pub(crate) async fn take(&self) -> Vec<Door> {
        loop {
            let doors = std::mem::take(&mut *self.waiting.lock());
            if !doors.is_empty() {
                return doors;
            }
            self.more.notified().await;
        }
    }
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").field("waiting", &self.waiting.lock().len()).finish_non_exhaustive()
    }
}

impl Shared {
    fn open(&self, address: SocketAddr) -> Result<CancellationToken, Error> {
        let (_, sockets) = listener::bind(address, self.threads.len())?;
        let gate = Arc::new(Gate::new(&self.limits, self.peers.clone()));
        let closed = CancellationToken::new();
        for (thread, listener) in self.threads.iter().zip(sockets) {
            let entry = Entry::Port(address.port());
            let door = Door { listener, tls: None, gate: gate.clone(), entry, closed: closed.clone() };
            thread.add(door);
        }
        Ok(closed)
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ports").field(&self.open()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn a_port_that_is_closed_before_it_is_served_waits_no_longer() {
        let limits = Limits::default();
        let (ports, threads) = Ports::new(&limits, Arc::new(Peers::new(&limits)), 1);
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
        let (first, second) = (free().expect("a port").port(), free().expect("a port").port());
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        for port in [first, second] {
            assert!(ports.set(local, &BTreeSet::from([port])).is_empty());
        }
        let doors = futures_util::FutureExt::now_or_never(threads[0].take()).expect("one waits");
        assert_eq!(doors.iter().map(|door| door.entry).collect::<Vec<_>>(), [Entry::Port(second)]);
        assert!(futures_util::FutureExt::now_or_never(threads[0].take()).is_none());
    }
}
