//! Addresses of pods. Nothing listens there: they name pods where others expect an address.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use tokio::sync::watch;

/// Gives out the addresses of a net, each to one pod at a time.
#[derive(Debug)]
pub(crate) struct Addresses {
    net: Ipv4Net,
    /// Which pod has it, by uid: nobody else can give it back.
    taken: BTreeMap<Ipv4Addr, String>,
    /// Where to look next: an address that was just given back is not given out at once.
    next: u32,
    /// Raised when there may be an address for whoever got none.
    freed: watch::Sender<u64>,
}

impl Addresses {
    pub(crate) fn new(net: Ipv4Net) -> Self {
        Self { net, taken: BTreeMap::new(), next: 0, freed: watch::Sender::new(0) }
    }

    /// The net, from now on. Addresses of the old one stay taken until they are given back.
    pub(crate) fn set_net(&mut self, net: Ipv4Net) {
        if self.net != net {
            self.net = net;
            self.tell();
        }
    }

    /// The net, as messages name it.
    pub(crate) fn net(&self) -> Ipv4Net {
        self.net
    }

    /// Raised when there may be an address for whoever got none.
    pub(crate) fn freed(&self) -> watch::Receiver<u64> {
        self.freed.subscribe()
    }

    /// The pod says that it has this address already. Whether it goes on having it: another pod may have it.
    #[must_use]
    pub(crate) fn keep(&mut self, address: &str, uid: &str) -> bool {
        let Ok(address) = address.parse() else { return true };
        self.taken.entry(address).or_insert_with(|| uid.to_owned()) == uid
    }

    /// An address that nobody has; none: the net is full.
    pub(crate) fn take(&mut self, uid: &str) -> Option<Ipv4Addr> {
        let count = Some(count(self.net)).filter(|count| *count > 0)?;
        let first = first(self.net);
        let found = (0..count).map(|step| (self.next % count).wrapping_add(step) % count);
        let mut found = found.map(|at| (at, Ipv4Addr::from(first.saturating_add(at))));
        let (at, address) = found.find(|(_, address)| !self.taken.contains_key(address))?;
        self.next = at.wrapping_add(1);
        self.taken.insert(address, uid.to_owned());
        Some(address)
    }

    /// The pod needs its address no more. Nothing happens when the address is another's.
    pub(crate) fn give_back(&mut self, address: &str, uid: &str) {
        let Ok(address) = address.parse::<Ipv4Addr>() else { return };
        if self.taken.get(&address).is_some_and(|owner| owner == uid) {
            self.taken.remove(&address);
            self.tell();
        }
    }

    fn tell(&self) {
        self.freed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// How many pods can have an address of a net.
pub(crate) fn count(net: Ipv4Net) -> u32 {
    u32::from(net.broadcast()).saturating_sub(first(net))
}

/// The first of a net is the net, the second its gateway, the last its broadcast: others expect so.
fn first(net: Ipv4Net) -> u32 {
    u32::from(net.network()).saturating_add(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(addresses: &mut Addresses, uid: &str) -> Option<String> {
        addresses.take(uid).map(|address| address.to_string())
    }

    #[test]
    fn an_address_is_given_out_once_and_not_at_once_again() {
        let net = "10.1.2.0/29".parse().expect("a net");
        let mut addresses = Addresses::new(net);
        assert!(addresses.keep("10.1.2.3", "old"));
        assert_eq!(take(&mut addresses, "a").as_deref(), Some("10.1.2.2"));
        addresses.give_back("10.1.2.2", "a");
        let taken: Vec<_> = (0..5).map(|_| take(&mut addresses, "b")).collect();
        let taken: Vec<_> = taken.iter().map(Option::as_deref).collect();
        assert_eq!(taken, [Some("10.1.2.4"), Some("10.1.2.5"), Some("10.1.2.6"), Some("10.1.2.2"), None]);
        assert_eq!(count(net), 5, "all of them are taken now");
        for (net, expected) in
            [("10.1.2.0/31", 0), ("10.1.2.0/32", 0), ("10.1.0.0/24", 253), ("0.0.0.0/0", u32::MAX - 2)]
        {
            let net = net.parse().expect("a net");
            assert_eq!(count(net), expected, "{net}");
            assert_eq!(take(&mut Addresses::new(net), "a").is_some(), expected > 0, "{net}");
        }
    }

    #[test]
    fn an_address_is_given_back_by_whoever_has_it_only() {
        let mut addresses = Addresses::new("10.1.2.0/30".parse().expect("a net"));
        assert_eq!(take(&mut addresses, "a").as_deref(), Some("10.1.2.2"));
        assert_eq!(take(&mut addresses, "b"), None);
        let mut freed = addresses.freed();
        addresses.give_back("10.1.2.2", "a");
        assert!(freed.has_changed().expect("it is followed"), "whoever got none may ask again");
        assert_eq!(take(&mut addresses, "b").as_deref(), Some("10.1.2.2"));
        // A pod that is over says so again and again.
        freed.mark_unchanged();
        addresses.give_back("10.1.2.2", "a");
        assert!(!freed.has_changed().expect("it is followed"));
        assert_eq!(take(&mut addresses, "c"), None, "b has it");
        assert!(!addresses.keep("10.1.2.2", "c") && addresses.keep("10.1.2.2", "b"));
        addresses.set_net("10.1.3.0/30".parse().expect("a net"));
        assert!(freed.has_changed().expect("it is followed"), "another net has others");
    }
}
