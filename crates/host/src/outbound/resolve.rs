//! Names into addresses.

use std::io;
use std::net::SocketAddr;

use futures_util::future::BoxFuture;

use super::OutboundError;
use super::destination::Destination;

/// A name with more addresses than this is spread over them anyway.
const ADDRESSES_MAX: usize = 16;

/// Turns names into addresses.
pub trait Resolve: Send + Sync {
    /// The addresses of a host, each with this port.
    ///
    /// # Errors
    /// When the resolver fails, or knows no such name.
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let host = host.to_string();
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// The addresses to try for a destination, the families taking turns in the order of the resolver.
pub(super) async fn addresses(
    resolver: &dyn Resolve,
    destination: &Destination,
) -> Result<Vec<SocketAddr>, OutboundError> {
    if let Some(address) = destination.address() {
        return Ok(vec![SocketAddr::new(address, destination.port)]);
    }
    let found = resolver.resolve(&destination.host, destination.port).await;
    let found = found.map_err(|error| OutboundError::DnsError(error.to_string()))?;
    let turns = taking_turns(found);
    if turns.is_empty() { Err(OutboundError::DestinationNotFound) } else { Ok(turns) }
}

fn taking_turns(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let six_first = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| address.is_ipv6() == six_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    while turns.len() < ADDRESSES_MAX {
        let before = turns.len();
        turns.extend(first.next());
        turns.extend(second.next());
        if turns.len() == before {
            break;
        }
    }
    turns.truncate(ADDRESSES_MAX);
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_there_is_an_end() {
        let all =
            |addresses: &[&str]| addresses.iter().map(|a| a.parse().expect("an address")).collect::<Vec<_>>();
        assert_eq!(
            taking_turns(all(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"])),
            all(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"])
        );
        let many = (0..40).map(|n| SocketAddr::from(([1, 1, 1, n], 1))).collect::<Vec<_>>();
        assert_eq!(taking_turns(many.clone()), many[..ADDRESSES_MAX]);
        assert_eq!(taking_turns(Vec::new()), Vec::new());
    }
}
