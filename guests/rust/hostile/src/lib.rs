//! Everything a bad guest does, one way per path. Each must harm only its own request.
//!
//! Before an answer: `/loop` never ends, `/recurse` recurses for ever, `/memory` grows memory until it is refused and then
//! touches all of it, `/trap`, `/panic`, `/never` waits an hour, `/no-answer` returns without one, `/twice` gives two.
//! While answering: `/flood` sends for ever, `/trickle` sends one byte each 100 ms for ever, `/trap-mid-body` traps after
//! 5 bytes, `/drop-body` sends 500 of 1000 announced bytes, `/too-long` sends 1000 of 500, `/loop-mid-body` loops after 5.
//! Beside it: `/flood-stdout` and `/flood-stderr` print for ever, `/bad-header` tries headers that no guest may send and
//! reports what became of each, `/many-headers?n=N` sends N headers of 1 KB, `/early` answers without reading the body.
//! To measure limits: `/spin?ms=N` computes and `/sleep?ms=N` waits that long, `/grow?pages=N` grows memory, then answers.
//! `/hello` behaves.

use guest_support::{answer, parameter, path_and_query, start, start_with, write_all};
use wasip2::cli::{stderr, stdout};
use wasip2::clocks::monotonic_clock::{now, subscribe_duration};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::OutputStream;

const NANOSECONDS_PER_MS: u64 = 1_000_000;
const HOUR_MS: u64 = 3_600_000;
const PAGE_SIZE: usize = 64 * 1024;

struct Hostile;

impl Guest for Hostile {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let (path, query) = path_and_query(&request);
        let number =
            |name, absent| parameter(&query, name).and_then(|text| text.parse().ok()).unwrap_or(absent);
        match path.as_str() {
            "/loop" => spin_for_ever(),
            "/recurse" => answer(response_out, 200, &format!("{}\n", recurse(1))),
            "/memory" => {
                answer(response_out, 200, &format!("{} pages, then refused\n", take_memory(usize::MAX)))
            }
            "/grow" => answer(
                response_out,
                200,
                &format!("{} pages more\n", take_memory(number("pages", 1) as usize)),
            ),
            "/trap" => core::arch::wasm32::unreachable(),
            "/panic" => panic!("the guest panics as it was asked to"),
            "/never" => sleep(HOUR_MS),
            "/no-answer" => drop(response_out),
            "/twice" => twice(response_out),
            "/bad-header" => bad_headers(response_out),
            "/many-headers" => many_headers(response_out, number("n", 1000)),
            "/flood-stdout" => flood(&stdout::get_stdout()),
            "/flood-stderr" => flood(&stderr::get_stderr()),
            "/spin" => {
                spin(number("ms", 10));
                answer(response_out, 200, "done\n");
            }
            "/sleep" => {
                sleep(number("ms", 10));
                answer(response_out, 200, "done\n");
            }
            "/hello" | "/early" => answer(response_out, 200, "Hello from Shoal\n"),
            path => while_answering(path, response_out),
        }
    }
}

fn while_answering(path: &str, response_out: ResponseOutparam) {
    let length = match path {
        "/drop-body" => "1000",
        "/too-long" => "500",
        "/flood" | "/trickle" | "/trap-mid-body" | "/loop-mid-body" => "",
        _ => return answer(response_out, 404, "the paths are listed in the source of this guest\n"),
    };
    let headers = [("content-length", length.as_bytes())];
    let (body, stream) = start(response_out, 200, if length.is_empty() { &[] } else { &headers });
    match path {
        "/flood" => flood(&stream),
        "/trickle" => loop {
            write_all(&stream, b".").expect("the client reads");
            sleep(100);
        },
        "/trap-mid-body" => {
            write_all(&stream, b"half\n").expect("the client reads");
            core::arch::wasm32::unreachable();
        }
        "/loop-mid-body" => {
            write_all(&stream, b"half\n").expect("the client reads");
            spin_for_ever();
        }
        // The body is dropped unfinished.
        "/drop-body" => write_all(&stream, &[b'x'; 500]).expect("the client reads"),
        _ => {
            let refused = write_all(&stream, &[b'x'; 1000]).is_err();
            drop(stream);
            let refused = OutgoingBody::finish(body, None).is_err() || refused;
            assert!(!refused, "the host refused a body longer than announced");
        }
    }
}

fn spin_for_ever() -> ! {
    loop {
        core::hint::black_box(());
    }
}

fn spin(milliseconds: u64) {
    let end = now() + milliseconds * NANOSECONDS_PER_MS;
    while now() < end {
        // Few calls to the clock: what is measured is the guest's own time.
        (0..100_000).for_each(|number| {
            core::hint::black_box(number);
        });
    }
}

fn sleep(milliseconds: u64) {
    subscribe_duration(milliseconds * NANOSECONDS_PER_MS).block();
}

#[inline(never)]
#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    core::hint::black_box(recurse(core::hint::black_box(depth + 1))) + depth
}

/// Grows memory one page at a time, then writes to each new page; how many pages there were.
fn take_memory(pages_max: usize) -> usize {
    let first = core::arch::wasm32::memory_size(0);
    let taken = (0..pages_max).take_while(|_| core::arch::wasm32::memory_grow(0, 1) != usize::MAX).count();
    for page in first..first + taken {
        // SAFETY: memory was grown to hold this page, and the allocator does not know of it.
        unsafe { ((page * PAGE_SIZE) as *mut u8).write_volatile(1) };
    }
    taken
}

fn flood(stream: &OutputStream) {
    let line = [b'x'; 4095].iter().chain(b"\n").copied().collect::<Vec<u8>>();
    while write_all(stream, &line).is_ok() {}
}

fn twice(response_out: ResponseOutparam) {
    let handle = response_out.take_handle();
    for text in ["first\n", "second\n"] {
        // SAFETY: none: the second use of the handle is the offence.
        let response_out = unsafe { ResponseOutparam::from_handle(handle) };
        answer(response_out, 200, text);
    }
}

fn bad_headers(response_out: ResponseOutparam) {
    let attempts: [(&str, &[u8]); 8] = [
        ("connection", b"close"),
        ("transfer-encoding", b"chunked"),
        ("host", b"elsewhere"),
        ("upgrade", b"h2c"),
        ("keep-alive", b"1"),
        ("bad name", b"x"),
        ("x-split", b"a\r\nset-cookie: b"),
        ("x-nul", b"a\0b"),
    ];
    let fields = Fields::new();
    let mut lines = String::new();
    for (name, value) in attempts {
        let outcome = match fields.append(name, value) {
            Ok(()) => "accepted".to_owned(),
            Err(error) => format!("{error:?}"),
        };
        lines.push_str(&format!("{name}: {outcome}\n"));
    }
    let status_refused = OutgoingResponse::new(Fields::new()).set_status_code(99).is_err();
    lines.push_str(&format!("status 99: {}\n", if status_refused { "refused" } else { "accepted" }));
    answer(response_out, 200, &lines);
}

fn many_headers(response_out: ResponseOutparam, count: u64) {
    let fields = Fields::new();
    for number in 0..count {
        if fields.append(&format!("x-{number}"), &[b'v'; 1024]).is_err() {
            return answer(response_out, 200, &format!("{number} headers, then refused\n"));
        }
    }
    let (body, stream) = start_with(response_out, 200, fields);
    drop(stream);
    let _client_left = OutgoingBody::finish(body, None);
}

wasip2::http::proxy::export!(Hostile);
