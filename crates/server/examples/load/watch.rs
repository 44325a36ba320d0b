//! How long a change takes to all who watch, and whether each of them has it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;
use tokio::task::LocalSet;

use crate::client::{Call, Connection, Server, config_maps};
use crate::{Result, row, say, times};

/// Handshakes at once.
const CONNECTING: usize = 32;
/// How long the watchers have for what is still on its way after the last change.
const PATIENCE: Duration = Duration::from_secs(60);

/// When each change was sent and answered, and when it came to the watchers.
#[derive(Default)]
struct Seen {
    sent: Vec<Instant>,
    answered: Vec<Instant>,
    /// The change and when it came, in no order.
    received: Vec<(usize, Instant)>,
}

/// Measures so many changes, one after the other with a pause.
pub(crate) async fn run(server: &Server, watchers: usize, events: usize, pause_ms: u64) -> Result<()> {
    let mut writer = server.connect().await?;
    writer.make_namespace().await?;
    let resident = server.process.resident_mib();
    let from = writer.json(Call::get(format!("{}?limit=1", config_maps("")))).await?;
    let from = from["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let bodies = open(server, watchers, &from).await?;
    // The first connection may have been idle for too long meanwhile.
    let mut writer = server.connect().await?;
    let each = (server.process.resident_mib() - resident) * 1024.0 / watchers as f64;
    say(&format!("{} watches are open, {each:.1} KiB each", bodies.len()));
    let seen = Rc::new(RefCell::new(Seen::default()));
    let local = LocalSet::new();
    let followers: Vec<_> = bodies
        .into_iter()
        .map(|(connection, body)| local.spawn_local(follow(connection, body, events, seen.clone())))
        .collect();
    // Watches that were just opened come to rest.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let cpu = server.process.cpu_seconds();
    local.run_until(write(&mut writer, events, pause_ms, &seen)).await?;
    let whole = local.run_until(async {
        let mut whole = 0;
        for follower in followers {
            match tokio::time::timeout(PATIENCE, follower).await {
                Ok(Ok(Ok(()))) => whole += 1,
                Ok(Ok(Err(error))) => say(&format!("a watcher: {error}")),
                _ => say("a watcher waits for ever"),
            }
        }
        whole
    });
    let whole: usize = whole.await;
    let cpu = server.process.cpu_seconds() - cpu;
    for index in 0..events {
        writer.want(Call::delete(config_maps(&format!("w{index}")))).await?;
    }
    let seen = seen.take();
    let since = |begins: &[Instant]| -> Vec<f64> {
        seen.received
            .iter()
            .map(|(at, when)| when.saturating_duration_since(begins[*at]).as_secs_f64())
            .collect()
    };
    let (all, received) = (events * watchers, seen.received.len());
    row(
        &format!("{events} changes to {watchers} watchers"),
        &format!(
            "{received} of {all} received, {whole} watchers missed nothing; from the request {}, from its answer {}; \
             {:.1} µs CPU each, {each:.0} KiB for each watch",
            times(since(&seen.sent)),
            times(since(&seen.answered)),
            cpu / received.max(1) as f64 * 1e6,
        ),
    );
    if whole == watchers { Ok(()) } else { Err(format!("{} watchers missed something", watchers - whole)) }
}

/// Opens the watches.
async fn open(server: &Server, count: usize, from: &str) -> Result<Vec<(Connection, Incoming)>> {
    let path = format!("{}?watch=true&resourceVersion={from}&timeoutSeconds=3600", config_maps(""));
    let one = || async {
        let mut connection = server.connect().await?;
        let answer = connection.send(Call::get(&path)).await?;
        if answer.status().is_success() {
            Ok((connection, answer.into_body()))
        } else {
            Err(format!("a watch was answered with {}", answer.status()))
        }
    };
    let (mut opening, mut open, mut begun) = (FuturesUnordered::new(), Vec::with_capacity(count), 0);
    while open.len() < count {
        while begun < count && opening.len() < CONNECTING {
            opening.push(one());
            begun += 1;
        }
        if let Some(opened) = opening.next().await {
            open.push(opened?);
        }
    }
    Ok(open)
}

/// Makes the changes.
async fn write(writer: &mut Connection, events: usize, pause_ms: u64, seen: &RefCell<Seen>) -> Result<()> {
    for index in 0..events {
        let call = Call::post(config_maps(""), &json!({"metadata": {"name": format!("w{index}")}}));
        seen.borrow_mut().sent.push(Instant::now());
        writer.want(call).await?;
        seen.borrow_mut().answered.push(Instant::now());
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
    Ok(())
}

/// Takes what comes, which must be every change once and in order.
async fn follow(_open: Connection, mut body: Incoming, events: usize, seen: Rc<RefCell<Seen>>) -> Result<()> {
    let (mut rest, mut next) = (Vec::new(), 0);
    while next < events {
        let Some(frame) = body.frame().await else {
            return Err(format!("its watch ended before change {next}"));
        };
        let frame = frame.map_err(|error| error.to_string())?.into_data().unwrap_or_default();
        let now = Instant::now();
        rest.extend_from_slice(&frame);
        while let Some(end) = memchr::memchr(b'\n', &rest) {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let Some(index) = created(&line) else { continue };
            if index != next {
                return Err(format!("change {index} came in place of {next}"));
            }
            seen.borrow_mut().received.push((index, now));
            next += 1;
        }
    }
    Ok(())
}

/// Which change a line tells of.
fn created(line: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"\"name\":\"w";
    if !line.starts_with(b"{\"type\":\"ADDED\"") {
        return None;
    }
    let rest = &line[memchr::memmem::find(line, NAME)? + NAME.len()..];
    std::str::from_utf8(&rest[..memchr::memchr(b'"', rest)?]).ok()?.parse().ok()
}
