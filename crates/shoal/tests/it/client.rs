//! HTTP/1.1 by hand: what goes over the wire is what the test says, and how a body ends is seen.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::process::DEADLINE;

/// A connection that is used for one request after another.
pub(crate) struct Client<S: Read + Write>(BufReader<S>);

/// A response whose body ended as it should.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Why there is no whole response.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection ended before the first byte of a response.
    NoResponse(io::Error),
    /// The head came, and the body did not end as it should: how much of it there was.
    Body {
        status: u16,
        #[expect(dead_code, reason = "shown when a test fails")]
        body: Vec<u8>,
    },
}

impl Client<TcpStream> {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        stream.set_write_timeout(Some(DEADLINE)).expect("a deadline");
        stream.set_nodelay(true).expect("a socket option");
        Self::over(stream)
    }
}

impl<S: Read + Write> Client<S> {
    /// A client over any stream.
    pub(crate) fn over(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    /// The stream below.
    pub(crate) fn stream(&self) -> &S {
        self.0.get_ref()
    }

    /// The stream below; nothing may have been read over it yet.
    pub(crate) fn into_stream(self) -> S {
        assert!(self.0.buffer().is_empty(), "bytes would be lost");
        self.0.into_inner()
    }

    /// Sends a request and reads the whole response.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response, Broken> {
        self.write(method, path, headers, body).map_err(Broken::NoResponse)?;
        self.read()
    }

    /// Sends a request.
    pub(crate) fn write(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<()> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: shop.test\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let stream = self.0.get_mut();
        stream.write_all(&[head.as_bytes(), body].concat())?;
        stream.flush()
    }

    /// Reads the whole response.
    pub(crate) fn read(&mut self) -> Result<Response, Broken> {
        let (status, headers) = self.head().map_err(Broken::NoResponse)?;
        let mut body = Vec::new();
        let response = Response { status, headers, body: Vec::new() };
        let read = match (response.header("transfer-encoding"), response.header("content-length")) {
            (Some("chunked"), None) => self.chunks(&mut body),
            (None, Some(length)) => self.exactly(length.parse().expect("a length"), &mut body),
            (None, None) if matches!(status, 204 | 304) => Ok(()),
            other => panic!("no framing that this client knows: {other:?}"),
        };
        match read {
            Ok(()) => Ok(Response { body, ..response }),
            Err(_) => Err(Broken::Body { status, body }),
        }
    }

    /// Reads the response head: its status and fields.
    pub(crate) fn head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {line}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok((status, headers));
            }
            let (name, value) = line.split_once(':').expect("a header field");
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(&line, 16).expect("the size of a chunk");
            if size == 0 {
                return self.line().map(|line| assert_eq!(line, "", "no trailers are expected"));
            }
            self.exactly(size, body)?;
            self.line()?;
        }
    }

    /// Reads this many bytes; what came before the connection broke is kept.
    fn exactly(&mut self, count: usize, body: &mut Vec<u8>) -> io::Result<()> {
        let mut part = Vec::new();
        let read = (&mut self.0).take(count as u64).read_to_end(&mut part);
        let is_whole = part.len() == count;
        body.append(&mut part);
        read?;
        if is_whole { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a header; panics when there are several.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(found, _)| found == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is there twice");
        value
    }
}
