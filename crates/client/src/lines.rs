//! A stream of lines of JSON.

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;

use crate::Body;

/// Longest line: an object has 3 MiB at most, and escapes can double it.
pub(crate) const LINE_BYTES_MAX: usize = 8 << 20;

/// Lines of a body, as they come.
pub(crate) struct Lines {
    body: Body,
    rest: BytesMut,
    /// How much of `rest` has no line end.
    searched: usize,
    /// Whether the stream may end within a line, which is then whole.
    ends_anywhere: bool,
}

impl Lines {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, rest: BytesMut::new(), searched: 0, ends_anywhere: false }
    }

    /// Lines of a text, whose last one may have no end.
    pub(crate) fn of_text(body: Body) -> Self {
        Self { ends_anywhere: true, ..Self::new(body) }
    }

    /// The next line without its end; none when the stream has ended.
    ///
    /// # Errors
    /// A sentence: the stream broke, or a line is too long.
    pub(crate) async fn next(&mut self) -> Result<Option<BytesMut>, String> {
        loop {
            if let Some(at) = self.rest[self.searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.rest.split_to(self.searched + at);
                self.rest.advance(1);
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.rest.len();
            if self.searched > LINE_BYTES_MAX {
                return Err(format!("a line is longer than {LINE_BYTES_MAX} bytes"));
            }
            match self.body.frame().await {
                None if self.rest.is_empty() => return Ok(None),
                None if self.ends_anywhere => {
                    self.searched = 0;
                    return Ok(Some(self.rest.split()));
                }
                None => return Err("the stream ended within a line".into()),
                Some(Err(error)) => return Err(error.to_string()),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.rest.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    fn lines(pieces: &[&'static [u8]]) -> Lines {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece)))).collect();
        Lines::new(StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync())
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_were_cut() {
        let mut lines = lines(&[b"on", b"e\ntwo\n\nth", b"", b"ree\n"]);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().await.expect("lines") {
            seen.push(String::from_utf8(line.to_vec()).expect("text"));
        }
        assert_eq!(seen, ["one", "two", "", "three"]);
    }

    #[tokio::test]
    async fn half_a_line_and_one_too_long_are_errors() {
        let mut half = lines(&[b"one\ntw"]);
        assert!(half.next().await.is_ok());
        assert_eq!(half.next().await, Err("the stream ended within a line".into()));
        let mut text = Lines { ends_anywhere: true, ..lines(&[b"one\ntw"]) };
        assert!(text.next().await.is_ok());
        assert_eq!(text.next().await.map(|line| line.map(|line| line.to_vec())), Ok(Some(b"tw".to_vec())));
        assert_eq!(text.next().await, Ok(None));
        let body = |length: usize| {
            let mut text = vec![b'x'; length];
            text.push(b'\n');
            Lines::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync())
        };
        assert!(body(LINE_BYTES_MAX).next().await.is_ok());
        let text = vec![Ok(Frame::data(Bytes::from(vec![b'x'; LINE_BYTES_MAX + 1])))];
        let mut long = Lines::new(StreamBody::new(futures_util::stream::iter(text)).boxed_unsync());
        assert!(long.next().await.is_err());
    }
}
