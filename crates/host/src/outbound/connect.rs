//! TCP to the first address that answers (a light RFC 8305).

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

use super::OutboundError;

/// The next address is tried when the last one has not answered for this long (RFC 8305, 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to one of the addresses, which all were checked.
pub(super) async fn tcp(addresses: &[SocketAddr]) -> Result<TcpStream, OutboundError> {
    let stream = race(addresses, TcpStream::connect).await;
    let stream = stream.map_err(|error| OutboundError::of_connect(&error))?;
    // Requests are written whole; waiting to fill a segment only delays them.
    stream.set_nodelay(true).map_err(|error| OutboundError::of_connect(&error))?;
    Ok(stream)
}

/// Starts one attempt after the other, the next as soon as one fails or is slow; the first success wins and
/// ends the others. The last error is the one that counts.
async fn race<T, F>(addresses: &[SocketAddr], dial: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = addresses.iter().copied();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address");
    loop {
        match waiting.next() {
            Some(address) => attempts.push(dial(address)),
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        let more = waiting.len() > 0;
        tokio::select! {
            ended = attempts.next() => match ended {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last = error,
                None => {}
            },
            () = tokio::time::sleep(STAGGER), if more => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// Addresses 10.0.0.N: those that answer after N milliseconds, and 127.0.0.N, which refuse after N.
    async fn dial(address: SocketAddr) -> io::Result<SocketAddr> {
        let SocketAddr::V4(v4) = address else { unreachable!("the test has only v4") };
        let [network, .., millis] = v4.ip().octets();
        tokio::time::sleep(Duration::from_millis(u64::from(millis) * 10)).await;
        if network == 10 { Ok(address) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
    }

    async fn check(addresses: &[&str], winner: Option<&str>, millis: u64) {
        let parse = |address: &&str| SocketAddr::new(address.parse().expect("an address"), 1);
        let addresses: Vec<_> = addresses.iter().map(parse).collect();
        let start = Instant::now();
        let won = race(&addresses, dial).await;
        assert_eq!(won.ok(), winner.as_ref().map(parse));
        assert_eq!(start.elapsed().as_millis(), u128::from(millis), "{addresses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_address_is_tried_when_one_fails_or_is_slow() {
        check(&["10.0.0.5", "10.0.0.1"], Some("10.0.0.5"), 50).await;
        check(&["127.0.0.2", "10.0.0.1"], Some("10.0.0.1"), 30).await;
        check(&["10.0.0.200", "10.0.0.1"], Some("10.0.0.1"), 260).await;
        check(&["10.0.0.50", "10.0.0.40"], Some("10.0.0.50"), 500).await;
        check(&["127.0.0.1", "127.0.0.2"], None, 30).await;
        check(&[], None, 0).await;
    }
}
