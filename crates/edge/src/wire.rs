//! The bytes of one connection, watched on their way.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::connection::{Connection, Protocol};
use crate::framing::Framing;

/// A connection with the client, plain or encrypted.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Whether the end must be announced, so that it is not taken for one that an attacker made.
    const SAYS_GOODBYE: bool;

    /// The socket underneath.
    fn socket(&self) -> &TcpStream;
}

/// Hands bytes through, counts them, notes when writing is blocked, and over HTTP/1 follows the framing.
pub(crate) struct Wire<T> {
    transport: T,
    /// What was read before the protocol was known.
    first: Vec<u8>,
    framing: Option<Framing>,
    connection: Arc<Connection>,
}

/// What a closing connection reads at most while it lingers: what fits into the buffers of both kernels.
const LINGER_BYTES: usize = 8 << 20;

/// Buffers of together no more than this are written as one: the kernel takes longer for a list of buffers than it
/// takes to copy them.
const SMALL_WRITE_BYTES: usize = 512;

impl<T: Transport> Wire<T> {
    pub(crate) fn new(transport: T, first: Vec<u8>, connection: Arc<Connection>) -> Self {
        let framing = (connection.protocol == Protocol::Http1).then(Framing::default);
        Self { transport, first, framing, connection }
    }

    /// Sends the last bytes that belong to the encryption, if any, and closes.
    pub(crate) async fn close(mut self) {
        if !T::SAYS_GOODBYE {
            return;
        }
        // A peer that is gone is closed already.
        let _ = tokio::time::timeout(self.connection.worker.limits.linger, self.transport.shutdown()).await;
    }

    /// Sends these bytes as far as they fit, and closes.
    pub(crate) async fn close_with(mut self, last_words: &[u8]) {
        let linger = self.connection.worker.limits.linger;
        let _ = tokio::time::timeout(linger, self.transport.write_all(last_words)).await;
        self.linger(linger).await;
    }

    /// Ends the sending side and reads on, so that the client gets the response: a socket that is closed
    /// with unread bytes resets the connection, which makes the client throw away what it has received.
    pub(crate) async fn linger(mut self, longest: Duration) {
        let drain = async {
            self.transport.shutdown().await?;
            let mut scrap = vec![0; 16 << 10];
            let mut left = LINGER_BYTES;
            while left > 0 {
                match self.transport.read(&mut scrap).await? {
                    0 => break,
                    count => left = left.saturating_sub(count),
                }
            }
            io::Result::Ok(())
        };
        let _ = tokio::time::timeout(longest, drain).await;
    }

    /// Breaks the connection off, visibly: the client cannot take what it has for the whole response.
    pub(crate) fn reset(self) {
        // If it fails the peer is gone already.
        let _ = SockRef::from(self.transport.socket()).set_linger(Some(Duration::ZERO));
    }

    fn took_in(&mut self, bytes: &[u8]) {
        self.connection.worker.metrics.bytes_in.add(bytes.len() as u64);
        if let Some(framing) = &mut self.framing {
            framing.feed(bytes);
            self.connection.set_in_head(framing.in_head());
            if let Some((request, _)) = framing.ambiguous() {
                self.connection.mark_ambiguous(request);
            }
        }
    }

    fn gave_out(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(count)) => {
                self.connection.worker.metrics.bytes_out.add(*count as u64);
                self.connection.set_blocked(false);
            }
            Poll::Ready(Err(_)) => self.connection.set_blocked(false),
            Poll::Pending => self.connection.set_blocked(true),
        }
    }
}

/// Copies small buffers into one; none if they do not fit.
fn gather<'a>(bufs: &[IoSlice<'_>], into: &'a mut [u8; SMALL_WRITE_BYTES]) -> Option<&'a [u8]> {
    let mut filled = 0;
    for buf in bufs {
        into.get_mut(filled..filled + buf.len())?.copy_from_slice(buf);
        filled += buf.len();
    }
    Some(&into[..filled])
}

impl<T: Transport> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        let before = buf.filled().len();
        if me.first.is_empty() {
            std::task::ready!(Pin::new(&mut me.transport).poll_read(cx, buf))?;
        } else {
            let rest = me.first.split_off(me.first.len().min(buf.remaining()));
            buf.put_slice(&std::mem::replace(&mut me.first, rest));
        }
        me.took_in(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<T: Transport> AsyncWrite for Wire<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.transport).poll_write(cx, buf);
        self.gave_out(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut gathered = [0; SMALL_WRITE_BYTES];
        let result = match gather(bufs, &mut gathered) {
            Some(bytes) => Pin::new(&mut self.transport).poll_write(cx, bytes),
            None => Pin::new(&mut self.transport).poll_write_vectored(cx, bufs),
        };
        self.gave_out(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

impl Transport for TcpStream {
    const SAYS_GOODBYE: bool = false;

    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Transport for TlsStream<TcpStream> {
    const SAYS_GOODBYE: bool = true;

    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}
