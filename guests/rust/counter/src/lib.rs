//! Counts visits per path in a key-value store (`wasi:keyvalue` 0.2.0-draft), and shows the rest of the interface.
//!
//! - `GET /path` adds one and answers with the new count; `?by=N` adds N
//! - `GET /path?get` answers with the value as it is, 404 when absent; `?exists` with `true` or `false`
//! - `PUT /path` stores the body, `DELETE /path` removes the value
//! - `GET /?keys` lists all keys, one per line
//! - `POST /?batch` takes `key=value` lines, stores them at once, reads them back at once, deletes those without a value
//! - `?store=NAME` names the store, `default` otherwise
//!
//! Errors: 404 `no-such-store`, 403 `access-denied`, 500 with the text of any other.

use guest_support::{answer, answer_bytes, parameter, path_and_query, read_body};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, Method, ResponseOutparam};

use self::wasi::keyvalue::atomics;
use self::wasi::keyvalue::batch;
use self::wasi::keyvalue::store::{self, Bucket, Error};

wit_bindgen::generate!({
    path: "../../../wit/deps/keyvalue-0.2.0-draft",
    inline: r#"
        package shoal:counter;
        world counter {
            import wasi:keyvalue/store@0.2.0-draft;
            import wasi:keyvalue/atomics@0.2.0-draft;
            import wasi:keyvalue/batch@0.2.0-draft;
        }
    "#,
    generate_all,
});

/// Bytes of a value; longer ones are refused with 413.
const VALUE_MAX: usize = 16 * 1024 * 1024;

struct Counter;

impl Guest for Counter {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let Some(body) = read_body(&request, VALUE_MAX) else {
            return answer(response_out, 413, "the value is too long\n");
        };
        let (path, query) = path_and_query(&request);
        match respond(&request.method(), &path, &query, &body) {
            Ok((status, bytes)) => answer_bytes(response_out, status, "text/plain; charset=utf-8", &bytes),
            Err(Error::NoSuchStore) => answer(response_out, 404, "no-such-store\n"),
            Err(Error::AccessDenied) => answer(response_out, 403, "access-denied\n"),
            Err(Error::Other(text)) => answer(response_out, 500, &format!("{text}\n")),
        }
    }
}

fn respond(method: &Method, path: &str, query: &str, body: &[u8]) -> Result<(u16, Vec<u8>), Error> {
    let bucket = store::open(&parameter(query, "store").unwrap_or_else(|| "default".into()))?;
    let asks = |name| parameter(query, name).is_some();
    match method {
        Method::Put => bucket.set(path, body).map(|()| (204, Vec::new())),
        Method::Delete => bucket.delete(path).map(|()| (204, Vec::new())),
        Method::Post if asks("batch") => in_batch(&bucket, body),
        _ if asks("keys") => keys(&bucket),
        _ if asks("exists") => Ok((200, format!("{}\n", bucket.exists(path)?).into_bytes())),
        _ if asks("get") => Ok(match bucket.get(path)? {
            Some(value) => (200, value),
            None => (404, b"no such key\n".to_vec()),
        }),
        _ => {
            let by = parameter(query, "by").and_then(|by| by.parse().ok()).unwrap_or(1);
            Ok((200, format!("{}\n", atomics::increment(&bucket, path, by)?).into_bytes()))
        }
    }
}

fn keys(bucket: &Bucket) -> Result<(u16, Vec<u8>), Error> {
    let mut lines = String::new();
    let mut cursor = None;
    loop {
        let page = bucket.list_keys(cursor)?;
        page.keys.iter().for_each(|key| lines.extend([key, "\n"]));
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok((200, lines.into_bytes()));
        }
    }
}

fn in_batch(bucket: &Bucket, body: &[u8]) -> Result<(u16, Vec<u8>), Error> {
    let text = String::from_utf8_lossy(body);
    let (set, deleted): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.contains('='));
    let pairs: Vec<(String, Vec<u8>)> = set
        .iter()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.into(), value.into()))
        .collect();
    let deleted: Vec<String> = deleted.into_iter().map(Into::into).collect();
    batch::set_many(bucket, &pairs)?;
    batch::delete_many(bucket, &deleted)?;

    let names: Vec<String> = pairs.into_iter().map(|(key, _)| key).chain(deleted).collect();
    let mut lines = String::new();
    for (name, entry) in names.iter().zip(batch::get_many(bucket, &names)?) {
        let value = entry.map(|(_, value)| String::from_utf8_lossy(&value).into_owned());
        lines.push_str(&format!("{name}: {}\n", value.as_deref().unwrap_or("absent")));
    }
    Ok((200, lines.into_bytes()))
}

wasip2::http::proxy::export!(Counter);
