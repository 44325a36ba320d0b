//! The same answer as `hello` from one page of memory: a small stack, and an allocator over a fixed arena, so that
//! memory never grows and an instance costs the host next to nothing.
//!
//! The stack size is a link argument: see `build.rs`.
#![no_std]

extern crate alloc;

use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, UnsafeCell};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Hello;

impl Guest for Hello {
    fn handle(_request: IncomingRequest, response_out: ResponseOutparam) {
        let headers = Fields::new();
        let text = alloc::vec::Vec::from(&b"text/plain; charset=utf-8"[..]);
        if headers.set("content-type", &[text]).is_err() {
            return;
        }
        let response = OutgoingResponse::new(headers);
        let Ok(body) = response.body() else { return };
        ResponseOutparam::set(response_out, Ok(response));

        let Ok(stream) = body.write() else { return };
        let _ = stream.blocking_write_and_flush(b"Hello from Shoal\n");
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}

wasip2::http::proxy::export!(Hello);

/// Bytes of the arena. A request takes a few hundred.
const ARENA_SIZE: usize = 16 * 1024;

/// Hands out the arena from its start to its end, and starts again when everything was given back, so that an
/// instance that answers many requests does not run out.
struct Bump {
    arena: UnsafeCell<[u8; ARENA_SIZE]>,
    used: Cell<usize>,
    live: Cell<usize>,
}

// SAFETY: a wasm32-unknown-unknown instance has one thread.
unsafe impl Sync for Bump {}

// SAFETY: each block lies inside the arena, is aligned, and overlaps no other live block, because `used` only falls
// when no block is live.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = self.arena.get() as usize;
        let start = (base + self.used.get()).next_multiple_of(layout.align()) - base;
        let Some(end) = start.checked_add(layout.size()).filter(|end| *end <= ARENA_SIZE) else {
            return core::ptr::null_mut();
        };
        self.used.set(end);
        self.live.set(self.live.get() + 1);
        (base + start) as *mut u8
    }

    unsafe fn dealloc(&self, _block: *mut u8, _layout: Layout) {
        self.live.set(self.live.get() - 1);
        if self.live.get() == 0 {
            self.used.set(0);
        }
    }
}

#[global_allocator]
static ALLOCATOR: Bump =
    Bump { arena: UnsafeCell::new([0; ARENA_SIZE]), used: Cell::new(0), live: Cell::new(0) };

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
