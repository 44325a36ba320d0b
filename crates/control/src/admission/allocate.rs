//! Addresses and ports that Services are given, each to one Service.
//!
//! An [`Allocator`] is rebuilt from the Services that exist and then kept beside them by the one process that
//! writes Services: [`Allocator::assign`] takes what a request needs at once, so that two requests never get the
//! same; what was taken is given back when the write fails, what was freed when it succeeded.

mod bitmap;
mod service;

use core::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

pub use bitmap::Bitmap;

use crate::snapshot::{items, text};

/// Largest range of addresses that is handed out: 2¹⁶, 8 KiB of bits. Of a larger network the first ones are used.
pub const ADDRESSES_MAX: u32 = 1 << 16;

/// Ports that nodes open for Services.
pub const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// Why something cannot be given, in the words of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nothing is left.
    Full,
    /// Somebody has it.
    AddressTaken,
    /// It is none that can be given; with the range.
    AddressOutside(IpAddr, IpNet),
    /// Somebody has it.
    PortTaken,
    /// It is none that can be given.
    PortOutside,
}

/// What was given or taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// Given by this request: to be given back when it fails.
    pub taken: Holdings,
    /// Needed no more: to be given back when the request succeeded.
    pub freed: Holdings,
}

/// Addresses and ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Ports.
    pub ports: Vec<u16>,
}

/// Addresses and ports for Services.
#[derive(Clone, Debug)]
pub struct Allocator {
    network: IpNet,
    addresses: Bitmap,
    ports: Bitmap,
}

impl Allocator {
    /// With nothing given yet.
    pub fn new(network: IpNet) -> Self {
        let bits = u32::from(network.max_prefix_len() - network.prefix_len());
        let all = 1_u32.checked_shl(bits).unwrap_or(ADDRESSES_MAX).min(ADDRESSES_MAX);
        // The first address names the network, the last one of IPv4 is for broadcasts.
        let usable = all.saturating_sub(if network.addr().is_ipv4() { 2 } else { 1 });
        let ports = u32::from(*NODE_PORTS.end() - *NODE_PORTS.start()) + 1;
        Self {
            network: network.trunc(),
            addresses: Bitmap::new(usable, reserved(usable, 16, 256)),
            ports: Bitmap::new(ports, reserved(ports, 32, 128)),
        }
    }

    /// With what these Services have.
    pub fn rebuild<'a>(network: IpNet, services: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut allocator = Self::new(network);
        for service in services {
            let held = Holdings::of(service);
            for address in held.addresses {
                // One that is outside, or that two have, was written past us: the first one keeps it.
                let _ = allocator.take_address(address);
            }
            for port in held.ports {
                let _ = allocator.take_port(port);
            }
        }
        allocator
    }

    /// The range of addresses.
    pub fn network(&self) -> IpNet {
        self.network
    }

    /// How many addresses and ports are left.
    pub fn left(&self) -> (u32, u32) {
        (self.addresses.free(), self.ports.free())
    }

    /// Gives this address.
    ///
    /// # Errors
    /// When somebody has it, or it is none of ours.
    pub fn take_address(&mut self, address: IpAddr) -> Result<(), Refused> {
        let at = self.position(address).ok_or(Refused::AddressOutside(address, self.network))?;
        if self.addresses.set(at) { Ok(()) } else { Err(Refused::AddressTaken) }
    }

    /// Gives some address; `seed` is chance.
    ///
    /// # Errors
    /// When none is left.
    pub fn take_some_address(&mut self, seed: u64) -> Result<IpAddr, Refused> {
        let at = self.addresses.set_some(seed).ok_or(Refused::Full)?;
        Ok(self.address(at))
    }

    /// Gives this port.
    ///
    /// # Errors
    /// When somebody has it, or it is none of ours.
    pub fn take_port(&mut self, port: u16) -> Result<(), Refused> {
        if !NODE_PORTS.contains(&port) {
            return Err(Refused::PortOutside);
        }
        if self.ports.set(u32::from(port - NODE_PORTS.start())) { Ok(()) } else { Err(Refused::PortTaken) }
    }

    /// Gives some port; `seed` is chance.
    ///
    /// # Errors
    /// When none is left.
    pub fn take_some_port(&mut self, seed: u64) -> Result<u16, Refused> {
        let at = self.ports.set_some(seed).ok_or(Refused::Full)?;
        Ok(NODE_PORTS.start() + u16::try_from(at).expect("there are fewer ports than 2^16"))
    }

    /// Takes back what is not needed any more.
    pub fn release(&mut self, holdings: &Holdings) {
        for address in &holdings.addresses {
            if let Some(at) = self.position(*address) {
                self.addresses.clear(at);
            }
        }
        for port in holdings.ports.iter().filter(|port| NODE_PORTS.contains(*port)) {
            self.ports.clear(u32::from(port - NODE_PORTS.start()));
        }
    }

    fn position(&self, address: IpAddr) -> Option<u32> {
        let offset = match (address, self.network.network()) {
            (IpAddr::V4(address), IpAddr::V4(base)) => {
                u128::from(u32::from(address).checked_sub(u32::from(base))?)
            }
            (IpAddr::V6(address), IpAddr::V6(base)) => u128::from(address).checked_sub(u128::from(base))?,
            _ => return None,
        };
        let at = u32::try_from(offset).ok()?.checked_sub(1)?;
        (at < self.addresses.len()).then_some(at)
    }

    fn address(&self, at: u32) -> IpAddr {
        match self.network.network() {
            IpAddr::V4(base) => IpAddr::V4((u32::from(base) + at + 1).into()),
            IpAddr::V6(base) => IpAddr::V6((u128::from(base) + u128::from(at) + 1).into()),
        }
    }
}

impl Holdings {
    /// What a Service has.
    pub fn of(service: &Value) -> Self {
        let spec = &service["spec"];
        let all = items(&spec["clusterIPs"]).chain([&spec["clusterIP"]]);
        let mut addresses: Vec<IpAddr> = all.filter_map(|ip| text(ip).parse().ok()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let of_ports = items(&spec["ports"]).map(|port| &port["nodePort"]);
        let of_ports = of_ports.chain([&spec["healthCheckNodePort"]]);
        let ports = of_ports.filter_map(|port| u16::try_from(port.as_u64()?).ok().filter(|port| *port > 0));
        let mut ports: Vec<u16> = ports.collect();
        ports.sort_unstable();
        ports.dedup();
        Self { addresses, ports }
    }

    /// What is here and not there.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let addresses = self.addresses.iter().filter(|address| !other.addresses.contains(address));
        let ports = self.ports.iter().filter(|port| !other.ports.contains(port));
        Self { addresses: addresses.copied().collect(), ports: ports.copied().collect() }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => f.write_str("range is full"),
            Self::AddressTaken => f.write_str("provided IP is already allocated"),
            Self::AddressOutside(address, network) => write!(
                f,
                "the provided IP ({address}) is not in the valid range. The range of valid IPs is {network}"
            ),
            Self::PortTaken => f.write_str("provided port is already allocated"),
            Self::PortOutside => write!(
                f,
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                NODE_PORTS.start(),
                NODE_PORTS.end()
            ),
        }
    }
}

/// How many at the beginning are kept for those who ask for one by name, as long as others are left: a share, at
/// least 16 and at most `most`.
fn reserved(size: u32, share: u32, most: u32) -> u32 {
    let reserved = (size / share).clamp(16, most);
    if reserved >= size { 0 } else { reserved }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocator(network: &str) -> Allocator {
        Allocator::new(network.parse().expect("a network"))
    }

    #[test]
    fn each_address_is_given_once_the_upper_ones_first() {
        let mut all = allocator("10.0.0.0/24");
        let mut given: Vec<IpAddr> =
            (0..254).map(|seed| all.take_some_address(seed * 7919).expect("left")).collect();
        let upper = given.iter().take(238).all(|address| *address >= IpAddr::from([10, 0, 0, 17]));
        assert!(upper, "the first sixteen are kept");
        assert_eq!(all.take_some_address(1), Err(Refused::Full));
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 254);
        assert_eq!((given[0], given[253]), ([10, 0, 0, 1].into(), [10, 0, 0, 254].into()));
        all.release(&Holdings { addresses: vec![[10, 0, 0, 9].into()], ports: vec![] });
        assert_eq!(all.take_some_address(5), Ok([10, 0, 0, 9].into()));
    }

    #[test]
    fn what_cannot_be_given_is_refused_in_words() {
        let mut all = allocator("10.96.0.0/16");
        assert_eq!(all.take_address([10, 96, 0, 5].into()), Ok(()));
        let said = |refused: Result<(), Refused>| refused.expect_err("refused").to_string();
        assert_eq!(said(all.take_address([10, 96, 0, 5].into())), "provided IP is already allocated");
        for outside in [[10, 96, 0, 0], [10, 96, 255, 255], [10, 97, 0, 1], [1, 1, 1, 1]] {
            assert!(
                matches!(all.take_address(outside.into()), Err(Refused::AddressOutside(..))),
                "{outside:?}"
            );
        }
        assert_eq!(
            said(all.take_address("::1".parse().expect("an address"))),
            "the provided IP (::1) is not in the valid range. The range of valid IPs is 10.96.0.0/16"
        );
        assert_eq!(all.take_port(30_000), Ok(()));
        assert_eq!(said(all.take_port(30_000)), "provided port is already allocated");
        for outside in [29_999, 32_768, 0] {
            assert_eq!(
                said(all.take_port(outside)),
                "provided port is not in the valid range. The range of valid ports is 30000-32767"
            );
        }
    }

    #[test]
    fn ports_are_given_from_above_the_kept_ones_until_none_is_left() {
        let mut all = allocator("10.96.0.0/16");
        let given: Vec<u16> = (0..2768).map(|seed| all.take_some_port(seed * 31).expect("left")).collect();
        assert!(
            given.iter().take(2768 - 86).all(|port| *port >= 30_086),
            "86 are kept for who asks by number"
        );
        assert_eq!((all.take_some_port(0), all.left().1), (Err(Refused::Full), 0));
    }

    #[test]
    fn large_and_small_networks_are_cut_to_what_can_be_given() {
        let first = |network: &str| {
            let mut all = allocator(network);
            let left = all.left().0;
            (left, all.take_some_address(0).map_err(|refused| refused.to_string()))
        };
        assert_eq!(first("fd00::/64").0, ADDRESSES_MAX - 1);
        assert_eq!(first("10.0.0.0/8").0, ADDRESSES_MAX - 2);
        assert_eq!(first("10.0.0.0/30"), (2, Ok([10, 0, 0, 1].into())));
        assert_eq!(first("10.0.0.0/32"), (0, Err("range is full".into())));
    }
}
