//! WebSocket (RFC 6455), as much of it as a tunnel of bytes needs: binary messages of any length, pings, the end.

use bytes::{Buf as _, Bytes, BytesMut};

/// What the server's key is made of beside the client's (RFC 6455, 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Longest payload of a control frame (RFC 6455, 5.5).
const CONTROL_BYTES_MAX: u64 = 125;
/// Longest head of a frame: two bytes, a length of eight, a mask of four.
const HEAD_BYTES_MAX: usize = 14;

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What a client said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A part of a message; where messages end does not matter to a tunnel.
    Data(Bytes),
    /// It wants to hear this again.
    Ping(Bytes),
    /// It has ended.
    Close,
}

/// Why a client cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not WebSocket as it is spoken here: {0}")]
pub(super) struct Misspoken(&'static str);

/// Reads the frames of a client.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The frame whose payload is being read.
    frame: Option<Frame>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: u8,
    left: u64,
    mask: [u8; 4],
    /// Bytes of the payload that were unmasked before.
    at: usize,
}

impl Reader {
    /// The next of what the client said, taken out of `bytes`; none: more bytes are needed.
    ///
    /// # Errors
    /// It is no WebSocket, or a message of text.
    pub(super) fn read(&mut self, bytes: &mut BytesMut) -> Result<Option<Said>, Misspoken> {
        loop {
            let Some(frame) = self.frame else {
                match head(bytes)? {
                    Some(frame) => self.frame = Some(frame),
                    None => return Ok(None),
                }
                continue;
            };
            let is_control = frame.opcode >= CLOSE;
            let there = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
            // A control frame is small, and makes sense only whole.
            if is_control && (there as u64) < frame.left || frame.left > 0 && there == 0 {
                return Ok(None);
            }
            let payload = unmasked(bytes.split_to(there), frame.mask, frame.at);
            let left = frame.left - there as u64;
            self.frame = (left > 0).then_some(Frame { left, at: frame.at + there, ..frame });
            match frame.opcode {
                CLOSE => return Ok(Some(Said::Close)),
                PING => return Ok(Some(Said::Ping(payload))),
                PONG => {}
                _ if payload.is_empty() => {}
                _ => return Ok(Some(Said::Data(payload))),
            }
        }
    }
}

/// The head of a frame, taken out of `bytes`; none: it is not all there yet.
fn head(bytes: &mut BytesMut) -> Result<Option<Frame>, Misspoken> {
    let [first, second, ..] = bytes[..] else { return Ok(None) };
    let (is_last, opcode) = (first & 0x80 != 0, first & 0x0f);
    if first & 0x70 != 0 {
        return Err(Misspoken("an extension that was not agreed on"));
    }
    if second & 0x80 == 0 {
        return Err(Misspoken("a client masks what it says"));
    }
    let (length_bytes, short) = match second & 0x7f {
        126 => (2, 0),
        127 => (8, 0),
        short => (0, u64::from(short)),
    };
    let size = 2 + length_bytes + 4;
    debug_assert!(size <= HEAD_BYTES_MAX);
    if bytes.len() < size {
        return Ok(None);
    }
    let long = bytes[2..2 + length_bytes].iter().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
    let left = if length_bytes == 0 { short } else { long };
    match opcode {
        CONTINUATION | BINARY => {}
        CLOSE | PING | PONG if is_last && left <= CONTROL_BYTES_MAX => {}
        CLOSE | PING | PONG => return Err(Misspoken("a control frame is short, and whole")),
        _ => return Err(Misspoken("messages are binary")),
    }
    let mut mask = [0; 4];
    mask.copy_from_slice(&bytes[2 + length_bytes..size]);
    bytes.advance(size);
    Ok(Some(Frame { opcode, left, mask, at: 0 }))
}

fn unmasked(mut payload: BytesMut, mask: [u8; 4], at: usize) -> Bytes {
    for (index, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[(at + index) % 4];
    }
    payload.freeze()
}

/// A message with these bytes.
pub(super) fn message(payload: &[u8]) -> Vec<u8> {
    frame(BINARY, payload)
}

/// The answer to a ping.
pub(super) fn pong(payload: &[u8]) -> Vec<u8> {
    frame(PONG, payload)
}

/// The end, for no bad reason (1000).
pub(super) fn close() -> Vec<u8> {
    frame(CLOSE, &1000_u16.to_be_bytes())
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + HEAD_BYTES_MAX);
    out.push(0x80 | opcode);
    match payload.len() {
        length @ 0..126 => out.push(u8::try_from(length).expect("it is below 126")),
        length => match u16::try_from(length) {
            Ok(length) => {
                out.push(126);
                out.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => {
                out.push(127);
                out.extend_from_slice(&(length as u64).to_be_bytes());
            }
        },
    }
    out.extend_from_slice(payload);
    out
}

/// What a server answers to the `Sec-WebSocket-Key` of a client.
pub(super) fn accept(key: &str) -> String {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    use base64::Engine as _;
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    base64::prelude::BASE64_STANDARD.encode(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a client says it.
    fn masked(opcode: u8, payload: &[u8], length: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let hidden = payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]);
        [&[0x80 | opcode], length, &mask].concat().into_iter().chain(hidden).collect()
    }

    fn all(bytes: &[u8], piece: usize) -> Result<Vec<Said>, Misspoken> {
        let (mut reader, mut held, mut said) = (Reader::default(), BytesMut::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            held.extend_from_slice(piece);
            while let Some(one) = reader.read(&mut held)? {
                match (said.last_mut(), one) {
                    (Some(Said::Data(before)), Said::Data(more)) => {
                        *before = [before.as_ref(), more.as_ref()].concat().into();
                    }
                    (_, one) => said.push(one),
                }
            }
        }
        Ok(said)
    }

    #[test]
    fn the_key_is_answered_as_the_standard_says() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn frames_are_read_in_pieces_of_any_size() {
        let long = vec![7; 70_000];
        let bytes = [
            masked(BINARY, b"hello", &[0x80 | 5]),
            masked(PING, b"p", &[0x80 | 1]),
            masked(BINARY, &long, &[[0xff].as_slice(), &70_000_u64.to_be_bytes()].concat()),
            masked(CONTINUATION, &[8; 200], &[0x80 | 126, 0, 200]),
            masked(PONG, b"", &[0x80]),
            masked(CLOSE, b"", &[0x80]),
        ]
        .concat();
        let together = [long, vec![8; 200]].concat();
        let expected = [
            Said::Data(Bytes::from_static(b"hello")),
            Said::Ping(Bytes::from_static(b"p")),
            Said::Data(together.into()),
            Said::Close,
        ];
        for piece in [1, 3, 4096, 100_000] {
            assert_eq!(all(&bytes, piece).as_deref(), Ok(expected.as_slice()), "{piece}");
        }
    }

    #[test]
    fn what_is_no_frame_of_a_client_is_refused() {
        for wrong in [
            vec![0x82, 5, 0, 0, 0, 0, 0],
            masked(1, b"text", &[0x80 | 4]),
            vec![0xc2, 0x80],
            masked(PING, &[0; 126], &[0x80 | 126, 0, 126]),
            vec![0x09, 0x80, 0, 0, 0, 0],
        ] {
            assert!(all(&wrong, 1).is_err(), "{wrong:?}");
        }
        assert_eq!(all(&masked(PING, &[0; 125], &[0x80 | 125]), 9).map(|said| said.len()), Ok(1));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut random = shoal_base::splitmix::SplitMix64::new(7);
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..random.draw() % 64).map(|_| random.draw().to_le_bytes()[0]).collect();
            let _ = all(&bytes, 5);
        }
    }

    #[test]
    fn frames_are_written_with_the_shortest_length() {
        for (length, head) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            assert_eq!(message(&vec![0; length]).len(), length + head, "{length}");
        }
        assert_eq!(close(), [0x88, 2, 3, 0xe8]);
        assert_eq!(pong(b"x"), [0x8a, 1, b'x']);
    }
}
