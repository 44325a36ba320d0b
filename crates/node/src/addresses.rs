//! Addresses of pods. Nothing listens there: they name pods where others expect an address.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Gives out the addresses of a net, each once.
#[derive(Debug)]
pub(crate) struct Addresses {
    net: Ipv4Net,
    taken: BTreeSet<Ipv4Addr>,
    /// Where to look next: an address that was just given back is not given out at once.
    next: u32,
}

impl Addresses {
    pub(crate) fn new(net: Ipv4Net) -> Self {
        Self { net, taken: BTreeSet::new(), next: 0 }
    }

    /// The net, from now on. Addresses of the old one stay taken until they are given back.
    pub(crate) fn set_net(&mut self, net: Ipv4Net) {
        self.net = net;
    }

    /// A pod has this address already.
    pub(crate) fn keep(&mut self, address: &str) {
        self.taken.extend(address.parse::<Ipv4Addr>().ok());
    }

    /// An address that nobody has; none: the net is full.
    pub(crate) fn take(&mut self) -> Option<Ipv4Addr> {
        // The first of a net is the net, the second its gateway, the last its broadcast: others expect so.
        let first = u32::from(self.net.network()).saturating_add(2);
        let count = u32::from(self.net.broadcast()).checked_sub(first).filter(|count| *count > 0)?;
        let found = (0..count).map(|step| (self.next.wrapping_add(step)) % count);
        let mut found = found.map(|at| (at, Ipv4Addr::from(first + at)));
        let (at, address) = found.find(|(_, address)| !self.taken.contains(address))?;
        self.next = at.wrapping_add(1);
        self.taken.insert(address);
        Some(address)
    }

    /// A pod needs its address no more.
    pub(crate) fn give_back(&mut self, address: &str) {
        if let Ok(address) = address.parse() {
            self.taken.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_given_out_once_and_not_at_once_again() {
        let mut addresses = Addresses::new("10.1.2.0/29".parse().expect("a net"));
        addresses.keep("10.1.2.3");
        let take = |addresses: &mut Addresses| addresses.take().map(|address| address.to_string());
        assert_eq!(take(&mut addresses).as_deref(), Some("10.1.2.2"));
        addresses.give_back("10.1.2.2");
        let taken: Vec<_> = (0..5).map(|_| take(&mut addresses)).collect();
        let taken: Vec<_> = taken.iter().map(Option::as_deref).collect();
        assert_eq!(taken, [Some("10.1.2.4"), Some("10.1.2.5"), Some("10.1.2.6"), Some("10.1.2.2"), None]);
        let mut tiny = Addresses::new("10.1.2.0/31".parse().expect("a net"));
        assert_eq!(tiny.take(), None);
    }
}
