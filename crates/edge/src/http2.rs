//! HTTP/2 on one connection, from its preface to its end.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use hyper::rt::Executor;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::task::TaskTracker;

use crate::connection::Connection;
use crate::limits::{
    H2_CONNECTION_BYTES, H2_PENDING_RESETS, H2_PING_INTERVAL, H2_SEND_BYTES, H2_STREAM_BYTES, Limit, Limits,
};
use crate::service::Serve;
use crate::watch::Watch;
use crate::wire::{Transport, Wire};

/// Runs each stream as a task on this thread that the drain waits for.
#[derive(Clone)]
struct Streams(TaskTracker);

/// What happened to the connection besides its requests.
enum Event {
    Ended,
    DrainBegan,
    Limit(Limit),
}

/// Serves streams until either side closes, a deadline passes, or the node drains.
pub(crate) async fn serve<T: Transport>(wire: Wire<T>, connection: Arc<Connection>, tracker: TaskTracker) {
    let service = Serve::new(connection.clone());
    let mut http = pin!(
        builder(&connection.worker.limits, Streams(tracker)).serve_connection(TokioIo::new(wire), service)
    );
    let mut watch = Watch::new(&connection);
    let mut drain_begun = pin!(connection.worker.drain_begun.cancelled());
    let (mut listens, mut is_closing) = (false, false);
    loop {
        let event = poll_fn(|cx| {
            if !listens {
                // Registered once: the task has one waker for life, and what it wakes for is read below.
                listens = true;
                let _ = drain_begun.as_mut().poll(cx);
            }
            if http.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Ended);
            }
            if !is_closing && connection.worker.is_draining() {
                return Poll::Ready(Event::DrainBegan);
            }
            if connection.resets_too_often() {
                return Poll::Ready(Event::Limit(Limit::H2Resets));
            }
            watch.poll(cx, &connection).map(Event::Limit)
        })
        .await;
        match event {
            // Why it ended is known already, or it is the client's business.
            Event::Ended => return,
            Event::DrainBegan => {
                is_closing = true;
                http.as_mut().graceful_shutdown();
            }
            Event::Limit(limit @ Limit::KeepAlive) if !is_closing => {
                connection.worker.metrics.limit(limit);
                is_closing = true;
                connection.touch();
                http.as_mut().graceful_shutdown();
            }
            Event::Limit(limit) => {
                if !connection.worker.is_draining() {
                    connection.worker.metrics.limit(limit);
                }
                return;
            }
        }
    }
}

fn builder(limits: &Limits, streams: Streams) -> Builder<Streams> {
    let mut builder = Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(u32::try_from(limits.header_list.0).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(H2_PENDING_RESETS)
        .max_local_error_reset_streams(H2_PENDING_RESETS)
        .initial_stream_window_size(H2_STREAM_BYTES)
        .initial_connection_window_size(H2_CONNECTION_BYTES)
        .max_send_buf_size(H2_SEND_BYTES)
        .keep_alive_interval(H2_PING_INTERVAL);
    builder
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}
