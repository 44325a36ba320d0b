//! The access log: a line per request, gathered per thread, written by a thread of its own.

use std::fmt::Write as _;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Version;
use serde_json::json;
use shoal_runtime::TraceContext;

use crate::config::AccessLog;
use crate::metrics::{Metrics, Timing};

/// Bytes that a thread gathers before it hands them over.
const BATCH_BYTES: usize = 32 << 10;

/// How long a line waits at most before it is handed over.
pub(crate) const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

/// Batches that wait for a slow writer. What is more is dropped and counted: a log must not stop the service.
const QUEUE_BATCHES: usize = 64;

/// Bytes of a path or user agent that a line shows; a client must not fill the disk.
const SHOWN_BYTES: usize = 1024;

/// What a line says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) id: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) version: Version,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) user_agent: Option<&'a [u8]>,
    /// The host that was asked for; none where there is but one workload.
    pub(crate) host: Option<&'a [u8]>,
    /// `namespace/name` of the Service; none: no route leads to one.
    pub(crate) service: Option<&'a str>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) status: u16,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) timing: Timing,
    pub(crate) failure: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Human,
    Json,
}

/// The lines of one thread.
pub(crate) struct ThreadLog {
    format: Format,
    /// Lines, and how many; never contended, since one thread writes.
    batch: Mutex<Batch>,
    sender: SyncSender<Vec<u8>>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
}

/// Where lines go, for making the log of each thread.
pub(crate) struct Sink {
    format: Format,
    sender: SyncSender<Vec<u8>>,
}

/// The other end: writes until the last [`Sink`] and [`ThreadLog`] are gone.
pub(crate) struct Drainpipe {
    receiver: Receiver<Vec<u8>>,
    writer: Box<dyn Write + Send>,
}

/// Sets up the log, if one is asked for.
pub(crate) fn open(log: AccessLog) -> Option<(Sink, Drainpipe)> {
    let (format, writer) = match log {
        AccessLog::Off => return None,
        AccessLog::Human(writer) => (Format::Human, writer),
        AccessLog::Json(writer) => (Format::Json, writer),
    };
    let (sender, receiver) = sync_channel(QUEUE_BATCHES);
    Some((Sink { format, sender }, Drainpipe { receiver, writer }))
}

impl Sink {
    pub(crate) fn for_thread(&self, metrics: Arc<Metrics>) -> ThreadLog {
        ThreadLog { format: self.format, batch: Mutex::default(), sender: self.sender.clone(), metrics }
    }
}

impl Drainpipe {
    /// Writes what comes. Blocks until all senders are gone.
    pub(crate) fn run(mut self) {
        for batch in self.receiver {
            // A log that cannot be written is no reason to stop serving; its reader will miss it.
            let _ = self.writer.write_all(&batch).and_then(|()| self.writer.flush());
        }
    }
}

impl ThreadLog {
    pub(crate) fn write(&self, record: &Record<'_>) {
        let line = match self.format {
            Format::Human => human(record, SystemTime::now()),
            Format::Json => json(record, SystemTime::now()),
        };
        let is_full = {
            let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
            batch.bytes.extend_from_slice(line.as_bytes());
            batch.lines += 1;
            batch.bytes.len() >= BATCH_BYTES
        };
        if is_full {
            self.flush();
        }
    }

    /// Hands over the lines gathered so far.
    pub(crate) fn flush(&self) {
        let batch = std::mem::take(&mut *self.batch.lock().unwrap_or_else(PoisonError::into_inner));
        if batch.bytes.is_empty() {
            return;
        }
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.sender.try_send(batch.bytes)
        {
            self.metrics.log_lines_lost.add(batch.lines);
        }
    }
}

impl Drop for ThreadLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// `2026-11-22T20:44:18.123Z 127.0.0.1:5123 GET /path HTTP/1.1 200 …`
fn human(record: &Record<'_>, now: SystemTime) -> String {
    let Timing { total, queue, instantiate, guest } = record.timing;
    let mut line = format!(
        "{} {} {} {} {:?} {} in={} out={} total={} queue={} instantiate={} guest={}",
        timestamp(now),
        record.peer,
        record.method,
        escape(record.path.as_bytes()),
        record.version,
        record.status,
        record.bytes_in,
        record.bytes_out,
        millis(total),
        millis(queue),
        millis(instantiate),
        millis(guest),
    );
    if let Some(host) = record.host {
        let _ = write!(line, " host={}", escape(host));
    }
    if let Some(service) = record.service {
        let _ = write!(line, " service={service}");
    }
    if let Some(failure) = record.failure {
        let _ = write!(line, " failure={failure} request={:016x}", record.id);
    }
    if let Some(trace) = record.trace {
        let _ = write!(line, " trace={:032x}", trace.trace_id);
    }
    if let Some(user_agent) = record.user_agent {
        let _ = write!(line, " \"{}\"", escape(user_agent));
    }
    line.push('\n');
    line
}

fn json(record: &Record<'_>, now: SystemTime) -> String {
    let micros = |duration: Duration| duration.as_nanos() as f64 / 1e3;
    let mut object = json!({
        "time": timestamp(now),
        "request": format!("{:016x}", record.id),
        "peer": record.peer.to_string(),
        "method": record.method,
        "path": shorten(record.path),
        "version": format!("{:?}", record.version),
        "status": record.status,
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
        "total_us": micros(record.timing.total),
        "queue_us": micros(record.timing.queue),
        "instantiate_us": micros(record.timing.instantiate),
        "guest_us": micros(record.timing.guest),
        "failure": record.failure,
        "trace": record.trace.map(|trace| format!("{:032x}", trace.trace_id)),
        "user_agent": record.user_agent.map(|agent| shorten(&String::from_utf8_lossy(agent)).to_owned()),
    });
    if let Some(host) = record.host {
        object["host"] = shorten(&String::from_utf8_lossy(host)).into();
    }
    if let Some(service) = record.service {
        object["service"] = service.into();
    }
    let mut line = object.to_string();
    line.push('\n');
    line
}

fn millis(duration: Duration) -> String {
    format!("{:.3}ms", duration.as_secs_f64() * 1e3)
}

/// Text that stays on its line and inside of its quotes: everything but plain ASCII is escaped, and what
/// is too long is cut.
fn escape(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let mut text = shown.escape_ascii().to_string();
    if shown.len() < bytes.len() {
        text.push_str("...");
    }
    text
}

fn shorten(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_BYTES)]
}

/// RFC 3339 in UTC with milliseconds.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// RFC 3339 in UTC with whole seconds.
pub(crate) fn timestamp_seconds(time: SystemTime) -> String {
    timestamp(time).split('.').next().map(|whole| format!("{whole}Z")).unwrap_or_default()
}

/// The date of a day counted from 1970-01-01, by counting years of 365.2425 days from a first of March.
fn civil(days: u64) -> (u64, u64, u64) {
    let from_march_0000 = days + 719_468;
    let (era, day_of_era) = (from_march_0000 / 146_097, from_march_0000 % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_from_march + 2) / 5 + 1;
    let month = if months_from_march < 10 { months_from_march + 3 } else { months_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn record() -> Record<'static> {
        Record {
            id: 0xa1,
            peer: SocketAddr::from(([127, 0, 0, 1], 5123)),
            version: Version::HTTP_11,
            method: "GET",
            path: "/a?b=c",
            user_agent: Some(b"curl/8.0"),
            host: None,
            service: None,
            trace: TraceContext::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            status: 200,
            bytes_in: 3,
            bytes_out: 5,
            timing: Timing {
                total: Duration::from_micros(1500),
                queue: Duration::from_nanos(1200),
                instantiate: Duration::from_micros(7),
                guest: Duration::from_micros(40),
            },
            failure: None,
        }
    }

    fn check(record: &Record<'_>, as_human: &Expect, as_json: &Expect) {
        let now = UNIX_EPOCH + Duration::from_millis(1_795_380_258_123);
        as_human.assert_eq(&human(record, now));
        as_json.assert_eq(&json(record, now));
    }

    #[test]
    fn a_line_says_who_asked_what_and_what_it_took() {
        check(
            &record(),
            &expect![[r#"
                2026-11-22T20:44:18.123Z 127.0.0.1:5123 GET /a?b=c HTTP/1.1 200 in=3 out=5 total=1.500ms queue=0.001ms instantiate=0.007ms guest=0.040ms trace=0af7651916cd43dd8448eb211c80319c "curl/8.0"
            "#]],
            &expect![[r#"
                {"bytes_in":3,"bytes_out":5,"failure":null,"guest_us":40.0,"instantiate_us":7.0,"method":"GET","path":"/a?b=c","peer":"127.0.0.1:5123","queue_us":1.2,"request":"00000000000000a1","status":200,"time":"2026-11-22T20:44:18.123Z","total_us":1500.0,"trace":"0af7651916cd43dd8448eb211c80319c","user_agent":"curl/8.0","version":"HTTP/1.1"}
            "#]],
        );
    }

    #[test]
    fn a_line_cannot_be_forged() {
        let forged = Record {
            path: "/\u{e9}",
            user_agent: Some(b"x\" 200\r\n2026 10.0.0.1 GET /admin\x1b[31m\xff"),
            failure: Some("trap"),
            trace: None,
            host: Some(b"a test\n"),
            service: Some("shop/web"),
            status: 500,
            ..record()
        };
        check(
            &forged,
            &expect![[r#"
                2026-11-22T20:44:18.123Z 127.0.0.1:5123 GET /\xc3\xa9 HTTP/1.1 500 in=3 out=5 total=1.500ms queue=0.001ms instantiate=0.007ms guest=0.040ms host=a test\n service=shop/web failure=trap request=00000000000000a1 "x\" 200\r\n2026 10.0.0.1 GET /admin\x1b[31m\xff"
            "#]],
            &expect![[r#"
                {"bytes_in":3,"bytes_out":5,"failure":"trap","guest_us":40.0,"host":"a test\n","instantiate_us":7.0,"method":"GET","path":"/é","peer":"127.0.0.1:5123","queue_us":1.2,"request":"00000000000000a1","service":"shop/web","status":500,"time":"2026-11-22T20:44:18.123Z","total_us":1500.0,"trace":null,"user_agent":"x\" 200\r\n2026 10.0.0.1 GET /admin\u001b[31m�","version":"HTTP/1.1"}
            "#]],
        );
    }

    #[test]
    fn what_is_too_long_is_cut() {
        assert_eq!(escape(&[b'a'; SHOWN_BYTES]).len(), SHOWN_BYTES);
        assert!(escape(&[b'a'; SHOWN_BYTES + 1]).ends_with("a..."));
        assert_eq!(shorten(&"\u{e9}".repeat(SHOWN_BYTES)).len(), SHOWN_BYTES);
    }

    #[test]
    fn dates_are_right_around_leap_days() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn lines_that_find_no_room_are_counted() {
        let metrics = Arc::new(Metrics::default());
        let (sink, pipe) = open(AccessLog::Human(Box::new(std::io::sink()))).expect("a log");
        let log = sink.for_thread(metrics.clone());
        for _ in 0..QUEUE_BATCHES {
            log.write(&record());
            log.flush();
        }
        assert_eq!(metrics.log_lines_lost.get(), 0);
        log.write(&record());
        log.write(&record());
        log.flush();
        assert_eq!(metrics.log_lines_lost.get(), 2);
        drop((log, sink));
        pipe.run();
    }
}
