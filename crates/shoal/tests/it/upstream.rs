//! A server for guests to ask: keeps what was asked, and answers each request in the same way.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

/// Answers until the test ends.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    messages: Arc<Mutex<Vec<(String, String)>>>,
}

impl Upstream {
    /// Answers every request with these bytes of HTTP/1.1, and closes.
    pub(crate) fn new(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let messages: Arc<Mutex<Vec<_>>> = Arc::default();
        let kept = Arc::clone(&messages);
        // Ends with the process of the test: an accept cannot be called off.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("a connection");
                let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
                let (mut head, mut length) = (String::new(), 0);
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|size| size > 2) {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                        length = value.trim().parse().expect("a length");
                    }
                    head.push_str(&line);
                    line.clear();
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).expect("a body");
                let body = String::from_utf8_lossy(&body).into_owned();
                kept.lock().unwrap_or_else(PoisonError::into_inner).push((head, body));
                // A guest that has gone away is not this server's trouble.
                drop((&stream).write_all(answer.as_bytes()));
            }
        });
        Self { address, messages }
    }

    /// How many requests came.
    pub(crate) fn requests(&self) -> usize {
        self.messages().len()
    }

    /// The heads of the requests that came.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.messages().into_iter().map(|(head, _)| head).collect()
    }

    /// Heads and bodies of the requests that came.
    pub(crate) fn messages(&self) -> Vec<(String, String)> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
