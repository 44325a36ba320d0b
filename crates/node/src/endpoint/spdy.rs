//! SPDY/3.1, as far as API servers and `kubectl` speak it to nodes: streams of bytes in one connection.
//!
//! From draft-mbelshe-httpbis-spdy-00 (version 3.1). There is no flow control: those who speak it to nodes neither send
//! nor expect window updates.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress};

/// Longest frame: `kubectl` copies in pieces of 32 KiB, but a client that writes on a stream itself sends each write as one
/// frame. The protocol would allow sixteen megabytes.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Longest headers of a stream, without compression: those of port-forwarding have some fifty bytes.
const HEADERS_BYTES_MAX: usize = 16 << 10;
/// Headers of one stream.
const HEADERS_MAX: usize = 64;
/// Before the length: a control bit with version and type, or the stream; then flags and length.
const HEAD_BYTES: usize = 8;

const VERSION: u16 = 3;
const CONTROL: u16 = 0x8000;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
/// The flag of the last frame of a stream in its direction.
const LAST: u8 = 1;
/// Why a stream is reset: it makes no sense.
pub(super) const PROTOCOL_ERROR: u32 = 1;
/// Why a stream is reset: there are too many.
pub(super) const REFUSED_STREAM: u32 = 3;

/// The words that compression begins with, each after its length (section 2.6.10.1), and the text behind them.
const WORDS: &str = "options,head,post,put,delete,trace,accept,accept-charset,accept-encoding,accept-language,accept-ranges,\
age,allow,authorization,cache-control,connection,content-base,content-encoding,content-language,content-length,\
content-location,content-md5,content-range,content-type,date,etag,expect,expires,from,host,if-match,if-modified-since,\
if-none-match,if-range,if-unmodified-since,last-modified,location,max-forwards,pragma,proxy-authenticate,\
proxy-authorization,range,referer,retry-after,server,te,trailer,transfer-encoding,upgrade,user-agent,vary,via,warning,\
www-authenticate,method,get,status,200 OK,version,HTTP/1.1,url,public,set-cookie,keep-alive,origin";
const TEXT: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept \
Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch\
charset=utf-8charset=iso-8859-1,utf-,*,enq=0.";
/// The checksum by which a compressed text names this dictionary.
const DICTIONARY: u32 = 0xe3c6_a7c2;

/// What the other side says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A new stream; the names of its headers are in lower case.
    Open {
        /// Its number.
        stream: u32,
        /// Whether the other side will send nothing on it.
        is_last: bool,
        /// Names and values.
        headers: Vec<(String, String)>,
    },
    /// Bytes of a stream.
    Data {
        /// Its number.
        stream: u32,
        /// Whether nothing will follow.
        is_last: bool,
        /// The bytes.
        bytes: Bytes,
    },
    /// The stream is over, both ways.
    Reset(u32),
    /// To be sent back.
    Ping(u32),
    /// No more streams will come.
    Away,
    /// What needs no answer.
    Other,
}

/// Reads frames from bytes as they come.
#[derive(Default)]
pub struct Frames {
    bytes: BytesMut,
    inflate: Inflate,
}

impl Frames {
    /// Where bytes are put as they come.
    pub fn bytes(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// The next frame; none: more bytes are needed.
    ///
    /// # Errors
    /// A sentence. What follows cannot be read, either: headers are compressed over the whole connection.
    pub fn take(&mut self) -> Result<Option<Frame>, String> {
        let Some(head) = self.bytes.get(..HEAD_BYTES) else { return Ok(None) };
        let length = usize::from(head[5]) << 16 | usize::from(head[6]) << 8 | usize::from(head[7]);
        if length > FRAME_BYTES_MAX {
            return Err(format!("a frame has {length} bytes, more than {FRAME_BYTES_MAX}"));
        }
        if self.bytes.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        let mut head = self.bytes.split_to(HEAD_BYTES);
        let body = self.bytes.split_to(length).freeze();
        let first = head.get_u32();
        let is_last = head.get_u8() & LAST != 0;
        let control = (first >> 16) as u16;
        if control & CONTROL == 0 {
            return Ok(Some(Frame::Data { stream: first, is_last, bytes: body }));
        }
        if control != CONTROL | VERSION {
            return Err(format!("a frame is of version {}, not {VERSION}", control & !CONTROL));
        }
        self.control(first as u16, is_last, body).map(Some)
    }

    fn control(&mut self, kind: u16, is_last: bool, mut body: Bytes) -> Result<Frame, String> {
        let needed = match kind {
            SYN_STREAM => 10,
            SYN_REPLY | PING | GOAWAY | HEADERS => 4,
            RST_STREAM => 8,
            _ => return Ok(Frame::Other),
        };
        if body.len() < needed {
            return Err(format!(
                "a control frame of the kind {kind} has {} bytes, fewer than {needed}",
                body.len()
            ));
        }
        let number = body.get_u32();
        let stream = number & !(1 << 31);
        match kind {
            SYN_STREAM => {
                // The stream that it belongs to, its priority, its slot.
                body.advance(6);
                let headers = parse_headers(&self.inflate.inflate(&body)?)?;
                Ok(Frame::Open { stream, is_last, headers })
            }
            // Nobody reads them, but what comes later is compressed with them.
            SYN_REPLY | HEADERS => self.inflate.inflate(&body).map(|_| Frame::Other),
            RST_STREAM => Ok(Frame::Reset(stream)),
            PING => Ok(Frame::Ping(number)),
            _ => Ok(Frame::Away),
        }
    }
}

/// The headers of a connection, which are one compressed text.
#[derive(Default)]
struct Inflate {
    /// None: it has not begun.
    state: Option<Decompress>,
}

impl Inflate {
    fn inflate(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>, String> {
        if self.state.is_none() {
            self.state = Some(begin(&mut bytes)?);
        }
        let state = self.state.as_mut().ok_or("it has begun")?;
        let mut out = Vec::new();
        let mut piece = [0; 1024];
        loop {
            let (read, written) = (state.total_in(), state.total_out());
            state
                .decompress(bytes, &mut piece, FlushDecompress::Sync)
                .map_err(|error| format!("the headers of a stream cannot be read: {error}"))?;
            let read = usize::try_from(state.total_in() - read).unwrap_or(bytes.len());
            let written = usize::try_from(state.total_out() - written).unwrap_or(piece.len());
            bytes = bytes.get(read..).unwrap_or_default();
            out.extend_from_slice(&piece[..written]);
            if out.len() > HEADERS_BYTES_MAX {
                return Err(format!("the headers of a stream have more than {HEADERS_BYTES_MAX} bytes"));
            }
            // A piece that is not full means that there is no more.
            if written < piece.len() && (bytes.is_empty() || read == 0) {
                return Ok(out);
            }
        }
    }
}

/// Takes the beginning off a compressed text: what it is compressed with, and which words it begins with.
fn begin(bytes: &mut &[u8]) -> Result<Decompress, String> {
    const DEFLATE: u8 = 8;
    const HAS_DICTIONARY: u8 = 0x20;
    let mut state = Decompress::new(false);
    let Some((&[method, flags], rest)) = bytes.split_first_chunk() else {
        return Err("the first headers are too short".into());
    };
    if method & 0xf != DEFLATE || (u16::from(method) << 8 | u16::from(flags)) % 31 != 0 {
        return Err("the first headers are not compressed as they should be".into());
    }
    *bytes = rest;
    if flags & HAS_DICTIONARY == 0 {
        return Ok(state);
    }
    let Some((checksum, rest)) = bytes.split_first_chunk() else {
        return Err("the first headers are too short".into());
    };
    if u32::from_be_bytes(*checksum) != DICTIONARY {
        return Err("the headers are compressed with words that nobody knows".into());
    }
    *bytes = rest;
    // Words that were there before are words that came first: as they are, in a block that is not the last.
    let words = dictionary();
    let length = u16::try_from(words.len()).map_err(|error| error.to_string())?;
    let mut block = vec![0];
    block.put_u16_le(length);
    block.put_u16_le(!length);
    block.extend_from_slice(&words);
    let mut out = vec![0; words.len()];
    state.decompress(&block, &mut out, FlushDecompress::Sync).map_err(|error| error.to_string())?;
    Ok(state)
}

fn dictionary() -> Vec<u8> {
    let mut all = Vec::new();
    for word in WORDS.split(',') {
        all.put_u32(word.len() as u32);
        all.extend_from_slice(word.as_bytes());
    }
    all.extend_from_slice(TEXT.as_bytes());
    all
}

fn parse_headers(mut bytes: &[u8]) -> Result<Vec<(String, String)>, String> {
    let number = |bytes: &mut &[u8]| {
        bytes
            .try_get_u32()
            .map(|number| number as usize)
            .map_err(|_| "the headers of a stream are cut off".to_owned())
    };
    let count = number(&mut bytes)?;
    if count > HEADERS_MAX {
        return Err(format!("a stream has {count} headers, more than {HEADERS_MAX}"));
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let mut word = || {
            let length = number(&mut bytes)?;
            let (word, rest) = bytes.split_at_checked(length).ok_or("the headers of a stream are cut off")?;
            bytes = rest;
            Ok::<_, String>(String::from_utf8_lossy(word).into_owned())
        };
        let name = word()?.to_ascii_lowercase();
        headers.push((name, word()?));
    }
    Ok(headers)
}

/// Takes a stream, without headers. `is_first`: it is the first reply of the connection.
pub(super) fn reply(stream: u32, is_first: bool) -> Bytes {
    // Headers are compressed over the connection, too. None of them, four zeros, stand in a block as they are; an empty one
    // behind it says that readers need not wait for more.
    const BEGIN: [u8; 2] = [0x78, 0x01];
    const NONE: [u8; 14] = [0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    let begin = if is_first { &BEGIN[..] } else { &[] };
    control(SYN_REPLY, &[&stream.to_be_bytes(), begin, &NONE])
}

/// Bytes of a stream.
pub(super) fn data(stream: u32, is_last: bool, bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD_BYTES + bytes.len());
    out.put_u32(stream);
    put_length(&mut out, if is_last { LAST } else { 0 }, bytes.len());
    out.put_slice(bytes);
    out.freeze()
}

/// Ends a stream both ways.
pub(super) fn reset(stream: u32, why: u32) -> Bytes {
    control(RST_STREAM, &[&stream.to_be_bytes(), &why.to_be_bytes()])
}

/// Sends a ping back.
pub(super) fn pong(number: u32) -> Bytes {
    control(PING, &[&number.to_be_bytes()])
}

fn control(kind: u16, parts: &[&[u8]]) -> Bytes {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut out = BytesMut::with_capacity(HEAD_BYTES + length);
    out.put_u16(CONTROL | VERSION);
    out.put_u16(kind);
    put_length(&mut out, 0, length);
    parts.iter().for_each(|part| out.put_slice(part));
    out.freeze()
}

/// Lengths of frames are below sixteen megabytes: nothing longer is ever sent.
fn put_length(out: &mut BytesMut, flags: u8, length: usize) {
    debug_assert!(length <= FRAME_BYTES_MAX);
    out.put_u32(u32::from(flags) << 24 | (length as u32 & 0x00ff_ffff));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client of Go compresses `streamtype: error, port: 8080, requestid: 0` to, and after it the same of `data`.
    const FIRST: &str = "78f9e3c6a7c202253a703a2b294a4dcc851625aca9a0808614cb45e01c6061606100a4398b20d198094ade8c0600000000ffff";
    const SECOND: &str = "c2aa19540e2512d60b000000ffff";

    fn unhex(text: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
        (0..text.len()).step_by(2).map(digit).collect()
    }

    fn syn_stream(stream: u32, headers: &[u8]) -> Bytes {
        control(SYN_STREAM, &[&stream.to_be_bytes(), &[0; 6], headers])
    }

    fn all(bytes: &[u8]) -> Result<Vec<Frame>, String> {
        let mut frames = Frames::default();
        let mut all = Vec::new();
        // Byte by byte, as a slow connection.
        for byte in bytes {
            frames.bytes().put_u8(*byte);
            while let Some(frame) = frames.take()? {
                all.push(frame);
            }
        }
        Ok(all)
    }

    #[test]
    fn frames_are_read_with_headers_that_are_compressed_over_the_connection() {
        let bytes = [
            syn_stream(1, &unhex(FIRST)),
            data(1, true, b""),
            syn_stream(3, &unhex(SECOND)),
            data(3, false, b"hello"),
            pong(7),
            control(9, &[&[0; 8]]),
            reset(3, PROTOCOL_ERROR),
            control(GOAWAY, &[&[0; 8]]),
        ];
        let open = |stream, kind: &str| Frame::Open {
            stream,
            is_last: false,
            headers: [("streamtype", kind), ("port", "8080"), ("requestid", "0")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
        };
        let data = |stream, is_last, bytes| Frame::Data { stream, is_last, bytes: Bytes::from_static(bytes) };
        let expected = [
            open(1, "error"),
            data(1, true, b""),
            open(3, "data"),
            data(3, false, b"hello"),
            Frame::Ping(7),
            Frame::Other,
            Frame::Reset(3),
            Frame::Away,
        ];
        assert_eq!(all(&bytes.concat()), Ok(expected.to_vec()));
    }

    #[test]
    fn what_makes_no_sense_is_an_error_and_never_a_panic() {
        let first = unhex(FIRST);
        let mut wrong_words = first.clone();
        wrong_words[2] ^= 1;
        let table = [
            (Bytes::from_static(&[0x80, 2, 0, 1, 0, 0, 0, 0]), "a frame is of version 2, not 3"),
            (
                Bytes::from_static(&[0, 0, 0, 1, 0, 0x10, 0, 1]),
                "a frame has 1048577 bytes, more than 1048576",
            ),
            (control(SYN_STREAM, &[&[0; 9]]), "a control frame of the kind 1 has 9 bytes, fewer than 10"),
            (syn_stream(1, &[]), "the first headers are too short"),
            (syn_stream(1, &[0x78, 0xf9, 1]), "the first headers are too short"),
            (syn_stream(1, b"GET / HTTP"), "the first headers are not compressed as they should be"),
            (syn_stream(1, &wrong_words), "the headers are compressed with words that nobody knows"),
            (syn_stream(1, &first[..20]), "the headers of a stream are cut off"),
        ];
        for (bytes, expected) in table {
            assert_eq!(all(&bytes), Err(expected.to_owned()), "{bytes:?}");
        }
        for at in 6..first.len() {
            for bit in 0..8 {
                let mut broken = first.clone();
                broken[at] ^= 1 << bit;
                drop(all(&syn_stream(1, &broken)));
            }
        }
        let length = |length: u32| [&1_u32.to_be_bytes()[..], &length.to_be_bytes(), b"abc"].concat();
        for block in [length(4), length(u32::MAX), vec![0, 0, 0, 65], vec![0]] {
            assert!(parse_headers(&block).is_err(), "{block:?}");
        }
    }

    #[test]
    fn headers_end_at_their_limit() {
        let compressed = |bytes: usize| {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
            std::io::Write::write_all(&mut encoder, &vec![0; bytes]).expect("compressed");
            std::io::Write::flush(&mut encoder).expect("compressed");
            encoder.get_ref().clone()
        };
        assert!(all(&syn_stream(1, &compressed(HEADERS_BYTES_MAX))).is_ok());
        assert!(all(&syn_stream(1, &compressed(HEADERS_BYTES_MAX + 1))).is_err());
        // A bomb.
        assert!(all(&syn_stream(1, &compressed(100 << 20))).is_err());
    }

    #[test]
    fn replies_have_no_headers_and_can_be_read() {
        let bytes = [reply(1, true), reply(3, false)].concat();
        assert_eq!(all(&bytes), Ok(vec![Frame::Other, Frame::Other]));
        let mut inflate = Inflate { state: None };
        assert_eq!(inflate.inflate(&bytes[12..28]), Ok(vec![0; 4]));
        assert_eq!(inflate.inflate(&bytes[40..]), Ok(vec![0; 4]));
    }
}
