//! The one timer of a connection. It follows deadlines that move later with every request without being
//! touched: it looks again when it fires, and is set only when a deadline comes nearer.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::connection::Connection;
use crate::limits::Limit;
use crate::worker::Tick;

pub(crate) struct Watch {
    sleep: Pin<Box<Sleep>>,
    set_to: Tick,
    is_new: bool,
}

impl Watch {
    pub(crate) fn new(connection: &Connection) -> Self {
        let set_to = connection.due().map_or_else(|| connection.worker.now(), |(tick, _)| tick);
        let at = Instant::from_std(connection.worker.instant(set_to));
        Self { sleep: Box::pin(sleep_until(at)), set_to, is_new: true }
    }

    /// Ready when a deadline of the connection has passed. Call after everything else had its turn.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, connection: &Connection) -> Poll<Limit> {
        loop {
            let Some((due, limit)) = connection.due() else { return Poll::Pending };
            if due < self.set_to {
                self.set(due, connection);
            }
            if !self.is_new && !self.sleep.is_elapsed() {
                return Poll::Pending;
            }
            self.is_new = false;
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if due <= connection.worker.now() {
                return Poll::Ready(limit);
            }
            self.set(due, connection);
        }
    }

    fn set(&mut self, tick: Tick, connection: &Connection) {
        self.sleep.as_mut().reset(Instant::from_std(connection.worker.instant(tick)));
        self.set_to = tick;
        self.is_new = true;
    }
}
