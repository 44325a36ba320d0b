//! Where HTTP/1 requests begin and end in a byte stream, and which of them are ambiguous.
//!
//! The HTTP parser behind this one resolves some ambiguities silently: it drops a `content-length` beside
//! `transfer-encoding`, folds equal lengths into one, takes a bare line feed for a line end. Two servers in
//! a row that resolve them differently can be made to see different requests (request smuggling). This
//! witness reads the same bytes first and names the request that is ambiguous; the edge then refuses it. It
//! looks at line ends and at two header fields only; what else is malformed the parser refuses by itself.
//!
//! Source: RFC 9112 §2.2, §6.1, §6.3, §7.1.

use memchr::memchr;

/// Follows the requests of one connection. No IO: bytes in, verdicts out.
#[derive(Debug, Default)]
pub struct Framing {
    state: State,
    head: Head,
    line: Line,
    heads: u64,
    ambiguous: Option<(u64, Ambiguity)>,
}

/// Why the framing of a request can be understood in more than one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguity {
    /// A line of the head ends in a line feed without a carriage return.
    BareLineFeed,
    /// More than one `content-length`, even if all say the same.
    RepeatedLength,
    /// Both `content-length` and `transfer-encoding`.
    LengthAndEncoding,
    /// A `transfer-encoding` that is not exactly `chunked`, once.
    Encoding,
    /// One of the two in a line far longer than it has a reason to be.
    LongField,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the first byte of a request.
    #[default]
    Start,
    /// In the request line or the header fields.
    Head,
    /// In a body with this many bytes to go.
    Body(u64),
    /// In the line that gives the size of a chunk; the size so far.
    ChunkSize(u64),
    /// Behind the digits of that line.
    ChunkExtension(u64),
    /// In a chunk and the line end behind it, with this many bytes to go.
    Chunk(u64),
    /// In the trailer fields.
    Trailers,
    /// The bytes are not HTTP; the parser will say so.
    Lost,
}

/// What the head under way has said about its body.
#[derive(Debug, Default)]
struct Head {
    length: Option<u64>,
    encoded: bool,
}

/// The start of a line whose end is still to come.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    last: u8,
}

/// Bytes kept of a line that arrives in parts, and so the most that a `content-length` or `transfer-encoding`
/// line may have: several times what they need.
const LINE_BYTES: usize = 128;

impl Framing {
    /// Takes the next bytes of the connection.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Start | State::Head | State::Trailers => self.line(bytes),
                State::Body(left) => {
                    let (rest, left) = skip(bytes, left);
                    self.state = if left == 0 { State::Start } else { State::Body(left) };
                    rest
                }
                State::Chunk(left) => {
                    let (rest, left) = skip(bytes, left);
                    self.state = if left == 0 { State::ChunkSize(0) } else { State::Chunk(left) };
                    rest
                }
                State::ChunkSize(size) => self.chunk_digit(bytes, size),
                State::ChunkExtension(size) => self.chunk_extension(bytes, size),
                State::Lost => return,
            };
        }
    }

    /// The first ambiguous request, counted from 0, and why. Nothing after it can be trusted.
    pub fn ambiguous(&self) -> Option<(u64, Ambiguity)> {
        self.ambiguous
    }

    /// Whether the bytes so far end inside of a request head.
    pub fn in_head(&self) -> bool {
        self.state == State::Head || (self.state == State::Start && self.line.is_begun())
    }

    /// Takes bytes up to the end of a line of a head or of trailers.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(end) = memchr(b'\n', bytes) else {
            self.line.push(bytes);
            return &[];
        };
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        if self.line.is_begun() {
            self.line.push(line);
            let line = std::mem::take(&mut self.line);
            self.line_end(&line.bytes, line.last == b'\r');
        } else {
            self.line_end(line, line.last() == Some(&b'\r'));
        }
        rest
    }

    /// A whole line without its line feed.
    fn line_end(&mut self, line: &[u8], has_return: bool) {
        if self.state == State::Trailers {
            if line == b"\r" {
                self.state = State::Start;
            }
            return;
        }
        if !has_return {
            self.suspect(Ambiguity::BareLineFeed);
        }
        let is_empty = line.is_empty() || line == b"\r";
        match (self.state, is_empty) {
            // RFC 9112 §2.2: an empty line before the request line is skipped.
            (State::Start, true) => {}
            (State::Start, false) => self.state = State::Head,
            (_, true) => self.head_end(),
            (_, false) => self.field(line),
        }
    }

    fn field(&mut self, line: &[u8]) {
        // Names of other lengths or letters are the common case, and leave at once.
        let length = value_of(line, b"content-length");
        let encoding = value_of(line, b"transfer-encoding");
        if (length.is_some() || encoding.is_some()) && line.len() >= LINE_BYTES {
            self.suspect(Ambiguity::LongField);
        } else if let Some(value) = length {
            match (parse_length(value), self.head.length) {
                (None, _) => self.state = State::Lost,
                (Some(_), Some(_)) => self.suspect(Ambiguity::RepeatedLength),
                (Some(length), None) => self.head.length = Some(length),
            }
        } else if let Some(value) = encoding {
            if self.head.encoded || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                self.suspect(Ambiguity::Encoding);
            }
            self.head.encoded = true;
        }
    }

    fn head_end(&mut self) {
        let head = std::mem::take(&mut self.head);
        if head.encoded && head.length.is_some() {
            self.suspect(Ambiguity::LengthAndEncoding);
        }
        self.heads += 1;
        self.state = match head {
            Head { encoded: true, .. } => State::ChunkSize(0),
            Head { length: Some(length @ 1..), .. } => State::Body(length),
            Head { .. } => State::Start,
        };
    }

    fn chunk_digit<'a>(&mut self, bytes: &'a [u8], size: u64) -> &'a [u8] {
        match char::from(bytes[0]).to_digit(16) {
            Some(digit) if size >> 60 == 0 => {
                self.state = State::ChunkSize((size << 4) | u64::from(digit));
                &bytes[1..]
            }
            Some(_) => {
                self.state = State::Lost;
                bytes
            }
            None => {
                self.state = State::ChunkExtension(size);
                bytes
            }
        }
    }

    fn chunk_extension<'a>(&mut self, bytes: &'a [u8], size: u64) -> &'a [u8] {
        let Some(end) = memchr(b'\n', bytes) else { return &[] };
        // The chunk is followed by its own line end. A size near the largest number is no size.
        self.state = match (size, size.checked_add(2)) {
            (0, _) => State::Trailers,
            (_, Some(with_line_end)) => State::Chunk(with_line_end),
            (_, None) => State::Lost,
        };
        &bytes[end + 1..]
    }

    fn suspect(&mut self, ambiguity: Ambiguity) {
        self.ambiguous.get_or_insert((self.heads, ambiguity));
    }
}

impl Line {
    fn is_begun(&self) -> bool {
        !self.bytes.is_empty()
    }

    fn push(&mut self, part: &[u8]) {
        let room = LINE_BYTES.saturating_sub(self.bytes.len()).min(part.len());
        self.bytes.extend_from_slice(&part[..room]);
        self.last = part.last().copied().unwrap_or(self.last);
    }
}

/// The value of the field, if the line has this name (in lower case).
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    if start[0] | 0x20 != name[0] || !start.eq_ignore_ascii_case(name) {
        return None;
    }
    rest.strip_prefix(b":")
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn skip(bytes: &[u8], left: u64) -> (&[u8], u64) {
    let taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    (&bytes[taken..], left - taken as u64)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Pieces of which ambiguous requests are made.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let known = prop::sample::select(vec![
            "GET / HTTP/1.1\r\n",
            "\r\n",
            "\n",
            "\r",
            "content-length: 3\r\n",
            "Content-Length: 0\r\n",
            "transfer-encoding: chunked\r\n",
            "host: a\r\n",
            "3\r\n",
            "abc\r\n",
            "0\r\n",
            "ffffffffffffffff\r\n",
            ";x=y",
        ]);
        prop_oneof![8 => known.prop_map(|text| text.as_bytes().to_vec()), 1 => vec(any::<u8>(), 0..200), 1 => Just(vec![b' '; LINE_BYTES])]
    }

    proptest! {
        #[test]
        fn the_verdict_does_not_depend_on_how_bytes_arrive(pieces in vec(piece(), 0..30), size in 1..40usize) {
            let bytes = pieces.concat();
            let run = |size: usize| {
                let mut framing = Framing::default();
                bytes.chunks(size).for_each(|part| framing.feed(part));
                (framing.heads, framing.ambiguous(), framing.in_head())
            };
            prop_assert_eq!(run(size), run(usize::MAX));
        }
    }

    /// Feeds the text whole, byte by byte, and cut in two at every place; all must agree.
    fn verdict(text: &str) -> (u64, Option<(u64, Ambiguity)>, bool) {
        let run = |parts: &mut dyn Iterator<Item = &[u8]>| {
            let mut framing = Framing::default();
            parts.for_each(|part| framing.feed(part));
            (framing.heads, framing.ambiguous(), framing.in_head())
        };
        let bytes = text.as_bytes();
        let whole = run(&mut std::iter::once(bytes));
        assert_eq!(run(&mut bytes.chunks(1)), whole, "byte by byte: {text:?}");
        for cut in 0..bytes.len() {
            let (start, end) = bytes.split_at(cut);
            assert_eq!(run(&mut [start, end].into_iter()), whole, "cut at {cut}: {text:?}");
        }
        whole
    }

    #[test]
    fn requests_are_counted_over_every_kind_of_body() {
        for (heads, text) in [
            (1, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            (2, "GET / HTTP/1.1\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
            (2, "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n"),
            (2, "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
            (1, "POST / HTTP/1.1\r\nContent-Length: 30\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
            (
                2,
                "POST / HTTP/1.1\r\ntransfer-ENCODING:chunked\r\n\r\n5\r\n\r\n\r\n\n\r\nA;x=y\r\n0123456789\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            ),
        ] {
            assert_eq!(verdict(text), (heads, None, false), "{text:?}");
        }
    }

    #[test]
    fn ambiguous_requests_are_named() {
        use Ambiguity::{BareLineFeed, Encoding, LengthAndEncoding, RepeatedLength};
        for (at, ambiguity, text) in [
            (0, BareLineFeed, "GET / HTTP/1.1\nHost: a\r\n\r\n"),
            (0, BareLineFeed, "GET / HTTP/1.1\r\nHost: a\n\r\n"),
            (0, BareLineFeed, "GET / HTTP/1.1\r\nHost: a\r\n\n"),
            (0, RepeatedLength, "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
            (0, RepeatedLength, "POST / HTTP/1.1\r\nContent-Length: 3\r\ncontent-length: 4\r\n\r\nabc"),
            (
                0,
                LengthAndEncoding,
                "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            ),
            (
                0,
                LengthAndEncoding,
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
            ),
            (0, Encoding, "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            (
                0,
                Encoding,
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            ),
            (
                1,
                BareLineFeed,
                "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\nHost: a\r\n\r\n",
            ),
        ] {
            assert_eq!(verdict(text).1, Some((at, ambiguity)), "{text:?}");
        }
    }

    #[test]
    fn a_field_that_matters_may_be_as_long_as_its_limit() {
        let request = |bytes: usize| {
            let spaces = bytes - "Content-Length:3\r".len();
            format!("POST / HTTP/1.1\r\nContent-Length:{:spaces$}3\r\n\r\nabc", "")
        };
        assert_eq!(verdict(&request(LINE_BYTES - 1)), (1, None, false));
        assert_eq!(verdict(&request(LINE_BYTES)).1, Some((0, Ambiguity::LongField)));
        assert_eq!(verdict(&request(10 * LINE_BYTES)).1, Some((0, Ambiguity::LongField)));
    }

    #[test]
    fn a_body_may_look_like_anything() {
        let body = "GET / HTTP/1.1\nContent-Length: 1\nContent-Length: 2\n\n";
        let text = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert_eq!(verdict(&text), (1, None, false));
        let text = format!(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
        assert_eq!(verdict(&text), (1, None, false));
    }

    #[test]
    fn a_head_under_way_is_seen() {
        for (in_head, text) in [
            (false, ""),
            (true, "G"),
            (true, "GET / HTTP/1.1\r\n"),
            (true, "GET / HTTP/1.1\r\nHost: a\r\n\r"),
            (false, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            (false, "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na"),
        ] {
            assert_eq!(verdict(text).2, in_head, "{text:?}");
        }
    }

    #[test]
    fn a_long_line_in_parts_is_not_kept() {
        let mut framing = Framing::default();
        framing.feed(b"GET / HTTP/1.1\r\nx: ");
        for _ in 0..1000 {
            framing.feed(&[b'a'; 100]);
        }
        assert!(framing.line.bytes.capacity() <= 4 * LINE_BYTES, "{}", framing.line.bytes.capacity());
        framing.feed(b"\r\n\r\n");
        assert_eq!((framing.heads, framing.ambiguous()), (1, None));
    }
}
