//! Changes all that it can change, and tells what it finds: a new instance finds the same every time.
//!
//! `/` counts requests in a static; `/memory` digests its whole memory as it is at the start of a request;
//! `/pages` tells its size; `/grow?N` takes N MiB and fills them; `/scribble?N` writes to N places of the heap
//! and of the stack; `/leak` leaves resources of the host open; `/end` traps.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU32, Ordering};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

/// Initialised data, so that it lies in the image of the memory.
static VISITS: AtomicU32 = AtomicU32::new(1000);

thread_local! {
    static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static SEED: Cell<u64> = const { Cell::new(0x9e37_79b9_7f4a_7c15) };
}

/// Bytes of a page of linear memory.
const PAGE_BYTES: usize = 1 << 16;

struct Stateful;

impl Guest for Stateful {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let pages = core::arch::wasm32::memory_size(0);
        let digest = digest(pages);
        let visits = VISITS.fetch_add(1, Ordering::Relaxed) - 1000;
        let path = request.path_with_query().unwrap_or_default();
        let (path, argument) = path.split_once('?').unwrap_or((&path, ""));
        let argument: usize = argument.parse().unwrap_or(1);
        let text = match path {
            "/memory" => format!("{digest:016x}"),
            "/pages" => pages.to_string(),
            "/grow" => {
                KEPT.with_borrow_mut(|kept| kept.push(vec![0xa5; argument << 20]));
                format!("{} pages", core::arch::wasm32::memory_size(0))
            }
            "/scribble" => scribble(argument),
            "/leak" => {
                std::mem::forget(Fields::new());
                "leaked".into()
            }
            "/end" => core::arch::wasm32::unreachable(),
            _ => format!("{visits} requests before this one"),
        };
        answer(response_out, &text);
    }
}

/// FNV-1a of the first `pages` of the memory, but for the part of the stack that this call uses.
fn digest(pages: usize) -> u64 {
    let here = 0_u8;
    let stack = std::ptr::from_ref(&here).addr();
    let spared = stack.saturating_sub(256)..stack + 4096;
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for at in (0..pages * PAGE_BYTES).step_by(8) {
        if spared.contains(&at) {
            continue;
        }
        // SAFETY: within the memory; a volatile read, for this memory belongs to other values.
        let word = unsafe { std::ptr::with_exposed_provenance::<u64>(at.max(8)).read_volatile() };
        digest = (digest ^ word).wrapping_mul(0x0100_0000_01b3);
    }
    digest
}

/// Writes to `count` pseudo-random places of a large allocation and of the stack.
fn scribble(count: usize) -> String {
    let mut stack = [0_u8; 300_000];
    let mut heap = vec![0_u8; 3 << 20];
    for _ in 0..count {
        let seed = SEED.get().wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        SEED.set(seed);
        let at = (seed >> 33) as usize;
        heap[at % (3 << 20)] = 0x5a;
        stack[at % 300_000] = 0xa5;
    }
    let sum: usize = stack.iter().chain(&heap).map(|byte| usize::from(*byte)).sum();
    KEPT.with_borrow_mut(|kept| kept.push(heap));
    format!("{sum}")
}

fn answer(response_out: ResponseOutparam, text: &str) {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().expect("the body is taken once");
    ResponseOutparam::set(response_out, Ok(response));
    let stream = body.write().expect("the stream is taken once");
    stream.blocking_write_and_flush(text.as_bytes()).expect("the client takes the body");
    drop(stream);
    OutgoingBody::finish(body, None).expect("no length was announced");
}

wasip2::http::proxy::export!(Stateful);
