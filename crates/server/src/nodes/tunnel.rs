//! A client and a node, talking past the server: bytes in both directions, until one of them or the server ends.

use std::io;

use bytes::BytesMut;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use shoal_base::drain::Drain;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::sync::mpsc;

use super::websocket::{self, Reader, Said};

/// Bytes that are read at once, in each direction.
const PIECE_BYTES: usize = 32 << 10;
/// Answers to pings that wait for the writer; a client that sends more before reading any is cut off.
const PONGS_MAX: usize = 16;

/// How the client speaks; the node speaks bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrap {
    /// Bytes as they are.
    Plain,
    /// Bytes in binary messages.
    WebSocket,
}

/// Joins a client and a node, once both have agreed to it, until the first end or the drain.
pub(super) fn join(client: OnUpgrade, wrap: Wrap, node: Upgraded, drain: &Drain) {
    let (drain, guard) = (drain.clone(), drain.guard());
    tokio::spawn(async move {
        let talked = async {
            let client = TokioIo::new(client.await.map_err(io::Error::other)?);
            let node = TokioIo::new(node);
            match wrap {
                Wrap::Plain => plain(client, node).await,
                Wrap::WebSocket => wrapped(client, node).await,
            }
        };
        tokio::select! {
            ended = talked => if let Err(error) = ended {
                tracing::debug!(%error, "a tunnel to a node broke off");
            },
            () = drain.begun() => {}
        }
        drop(guard);
    });
}

async fn plain(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    mut node: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    tokio::io::copy_bidirectional_with_sizes(&mut client, &mut node, PIECE_BYTES, PIECE_BYTES).await?;
    Ok(())
}

/// Takes the bytes out of the messages of a client, and puts those of the node into messages.
async fn wrapped(client: impl AsyncRead + AsyncWrite, node: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let (mut from_client, mut to_client) = split(client);
    let (mut from_node, mut to_node) = split(node);
    let (pongs, mut asked) = mpsc::channel(PONGS_MAX);
    let up = async {
        let (mut reader, mut bytes) = (Reader::default(), BytesMut::with_capacity(PIECE_BYTES));
        loop {
            while let Some(said) = reader.read(&mut bytes).map_err(io::Error::other)? {
                match said {
                    Said::Data(payload) => to_node.write_all(&payload).await?,
                    Said::Ping(payload) => pongs.try_send(payload).map_err(io::Error::other)?,
                    Said::Close => return Ok(()),
                }
            }
            bytes.reserve(PIECE_BYTES);
            if from_client.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        }
    };
    let down = async {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            tokio::select! {
                read = from_node.read(&mut piece) => match read? {
                    0 => return Ok(()),
                    read => to_client.write_all(&websocket::message(&piece[..read])).await?,
                },
                Some(payload) = asked.recv() => to_client.write_all(&websocket::pong(&payload)).await?,
            }
        }
    };
    let ended: io::Result<()> = tokio::select! { ended = up => ended, ended = down => ended };
    // Whoever has gone already does not hear it.
    let _ = to_client.write_all(&websocket::close()).await;
    let _ = to_client.shutdown().await;
    ended
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn messages_become_bytes_and_bytes_messages() {
        let (mut client, near) = tokio::io::duplex(1 << 16);
        let (far, mut node) = tokio::io::duplex(1 << 16);
        let tunnel = tokio::spawn(wrapped(near, far));
        // `hi`, masked with zeros; a ping; and, after the node has answered, the end.
        client
            .write_all(&[0x82, 0x82, 0, 0, 0, 0, b'h', b'i', 0x89, 0x80, 0, 0, 0, 0])
            .await
            .expect("written");
        let mut two = [0; 2];
        node.read_exact(&mut two).await.expect("read");
        assert_eq!(&two, b"hi");
        let mut pong = [0; 2];
        client.read_exact(&mut pong).await.expect("read");
        assert_eq!(pong, [0x8a, 0]);
        node.write_all(b"yes").await.expect("written");
        let mut answer = [0; 5];
        client.read_exact(&mut answer).await.expect("read");
        assert_eq!(&answer, b"\x82\x03yes");
        client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.expect("written");
        let ended = tokio::time::timeout(Duration::from_secs(10), tunnel).await.expect("it ends");
        ended.expect("no panic").expect("a clean end");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("read");
        assert_eq!(rest, websocket::close());
    }
}
