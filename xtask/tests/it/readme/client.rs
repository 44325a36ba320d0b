//! As much of curl as the README uses.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// What one exchange may take: a debug build on a busy machine.
const EXCHANGE_MAX: Duration = Duration::from_secs(60);

/// The body that `curl WORDS` shows.
pub(super) fn curl(words: &[&str]) -> Result<String, String> {
    let (url, data, name) = match words {
        [url] => (url, None, None),
        ["-d", data, url] => (url, Some(data.trim_matches('\'')), None),
        ["-H", "'Host:", name, url] => (url, None, Some(name.trim_matches('\''))),
        _ => return Err(format!("the test knows `curl [-d DATA] [-H 'Host: NAME'] URL`, not {words:?}")),
    };
    let url = url.trim_matches('\'');
    let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url} is not http://"))?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    let name = name.unwrap_or(host);
    let request = match data {
        None => format!("GET {path} HTTP/1.0\r\nhost: {name}\r\n\r\n"),
        Some(data) => {
            format!("POST {path} HTTP/1.0\r\nhost: {name}\r\ncontent-length: {}\r\n\r\n{data}", data.len())
        }
    };
    let response = exchange(host, request.as_bytes()).map_err(|error| format!("{host}: {error}"))?;
    let (_, body) = response.split_once("\r\n\r\n").ok_or("an answer without a head")?;
    Ok(body.to_owned())
}

/// HTTP/1.0: the answer ends with the connection.
fn exchange(host: &str, request: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(EXCHANGE_MAX))?;
    stream.write_all(request)?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}
