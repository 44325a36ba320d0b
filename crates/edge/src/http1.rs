//! HTTP/1 on one connection, from its first request to its end.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use hyper::server::conn::http1::Builder;
use hyper_util::rt::TokioIo;

use crate::connection::{Connection, Ending};
use crate::limits::{HEADER_COUNT, HTTP1_BUFFER_BYTES, Limit, Limits};
use crate::service::Serve;
use crate::watch::Watch;
use crate::wire::{Transport, Wire};

/// Said to a client whose request head did not arrive in time: there is no request to answer.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Why the parser's driver stopped.
enum End {
    Http(hyper::Result<()>),
    Limit(Limit),
}

/// Serves requests until either side closes, a deadline passes, or the node drains.
pub(crate) async fn serve<T: Transport>(wire: Wire<T>, connection: Arc<Connection>) {
    let service = Serve::new(connection.clone());
    let mut http = builder(&connection.worker.limits).serve_connection(TokioIo::new(wire), service);
    let mut watch = Watch::new(&connection);
    let end = {
        let mut drain_begun = pin!(connection.worker.drain_begun.cancelled());
        let mut listens = false;
        poll_fn(|cx| {
            if !listens {
                // Registered once: the task has one waker for life, and what it wakes for is read below.
                listens = true;
                let _ = drain_begun.as_mut().poll(cx);
            }
            if let Poll::Ready(result) = http.poll_without_shutdown(cx) {
                return Poll::Ready(End::Http(result));
            }
            watch.poll(cx, &connection).map(End::Limit)
        })
        .await
    };
    let wire = http.into_parts().io.into_inner();
    finish(wire, end, &connection).await;
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder.max_buf_size(HTTP1_BUFFER_BYTES).max_header_size(limits.header_list.as_usize());
    if limits.header_count != HEADER_COUNT {
        // Any other number costs the parser an allocation per request.
        builder.max_headers(limits.header_count);
    }
    builder
}

async fn finish<T: Transport>(wire: Wire<T>, end: End, connection: &Connection) {
    let metrics = &connection.worker.metrics;
    let linger = connection.worker.limits.linger;
    match end {
        End::Limit(limit @ Limit::WriteStall) => {
            metrics.limit(limit);
            wire.reset();
        }
        End::Limit(limit @ Limit::HeaderRead) => {
            metrics.limit(limit);
            // Browsers open connections in advance; to one that was never used there is nothing to say.
            if connection.is_in_head() { wire.close_with(TOO_SLOW).await } else { wire.close().await }
        }
        End::Limit(limit) => {
            if !connection.worker.is_draining() {
                metrics.limit(limit);
            }
            wire.close().await;
        }
        End::Http(Err(error)) if error.is_parse() => {
            // The parser has answered by itself: 400, 414 or 431.
            if error.is_parse_too_large() {
                metrics.limit(Limit::HeaderList);
            } else {
                metrics.malformed.add(1);
            }
            wire.linger(linger).await;
        }
        End::Http(_) if connection.ending() == Ending::Reset => wire.reset(),
        End::Http(Ok(())) if connection.ending() == Ending::Linger => wire.linger(linger).await,
        End::Http(Ok(())) => wire.close().await,
        // The client broke the connection off; there is no one to tell.
        End::Http(Err(_)) => {}
    }
}
