//! An object store over HTTP (`wasi:blobstore`): `/CONTAINER/OBJECT`, bodies streamed both ways.
//!
//! - `PUT /c/o` stores the body (the container is created where it is absent), `DELETE /c/o` removes it
//! - `GET /c/o` answers with the object; `?start=N&end=M` with the bytes from N to M, both included
//! - `GET /c/o?info` answers with name, container and size; `GET /c/o?has` with `true` or `false`
//! - `POST /c/o?copy=c2/o2` and `?move=c2/o2` copy and move it
//! - `GET /c` lists the objects, one per line; `GET /c?has` says whether the container exists
//! - `PUT /c` creates a container, `DELETE /c` removes it, `POST /c?clear` empties it
//!
//! Errors are 404 for reads and 500 otherwise, with the host's text.

use guest_support::{answer, body_of, copy, parameter, path_and_query, percent_decode, start};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, Method, OutgoingBody, ResponseOutparam};

use self::wasi::blobstore::blobstore;
use self::wasi::blobstore::container::Container;
use self::wasi::blobstore::types::{IncomingValue, ObjectId, OutgoingValue};

wit_bindgen::generate!({
    path: ["../../../wit/deps/io-0.2.0", "../../../wit/deps/blobstore-0.2.0-draft"],
    inline: r#"
        package shoal:blobs;
        world blobs {
            import wasi:blobstore/types@0.2.0-draft;
            import wasi:blobstore/container@0.2.0-draft;
            import wasi:blobstore/blobstore@0.2.0-draft;
        }
    "#,
    with: {
        "wasi:io/error@0.2.0": wasip2::io::error,
        "wasi:io/poll@0.2.0": wasip2::io::poll,
        "wasi:io/streams@0.2.0": wasip2::io::streams,
    },
    generate_all,
});

/// Names asked for at a time when listing.
const PAGE: u64 = 100;

/// What a request answers with.
enum Answer {
    Text(u16, String),
    Object(IncomingValue),
}

struct Blobs;

impl Guest for Blobs {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let (path, query) = path_and_query(&request);
        let path = percent_decode(path.trim_start_matches('/'));
        let answered = match path.split_once('/') {
            Some((container, object)) => on_object(&request, container, object, &query),
            None => on_container(&request.method(), &path, &query),
        };
        match answered {
            Ok(Answer::Text(status, text)) => answer(response_out, status, &text),
            Ok(Answer::Object(value)) => send(value, response_out),
            Err(text) => {
                let status = if matches!(request.method(), Method::Get) { 404 } else { 500 };
                answer(response_out, status, &format!("{text}\n"));
            }
        }
    }
}

fn on_container(method: &Method, name: &str, query: &str) -> Result<Answer, String> {
    let asks = |word| parameter(query, word).is_some();
    match method {
        Method::Put => blobstore::create_container(name).map(|_| done()),
        Method::Delete => blobstore::delete_container(name).map(|()| done()),
        Method::Post if asks("clear") => blobstore::get_container(name)?.clear().map(|()| done()),
        _ if asks("has") => Ok(Answer::Text(200, format!("{}\n", blobstore::container_exists(name)?))),
        _ => list(&blobstore::get_container(name)?),
    }
}

fn on_object(
    request: &IncomingRequest,
    container: &str,
    object: &str,
    query: &str,
) -> Result<Answer, String> {
    let id = |container: &str, object: &str| ObjectId { container: container.into(), object: object.into() };
    let asks = |word| parameter(query, word);
    let number = |word, absent| asks(word).and_then(|text| text.parse().ok()).unwrap_or(absent);
    let target =
        |to: &str| to.split_once('/').map(|(c, o)| id(c, o)).ok_or("give the target as container/object");
    match request.method() {
        Method::Put => store(request, container, object),
        Method::Delete => blobstore::get_container(container)?.delete_object(object).map(|()| done()),
        Method::Post => match (asks("copy"), asks("move")) {
            (Some(to), _) => blobstore::copy_object(&id(container, object), &target(&to)?).map(|()| done()),
            (_, Some(to)) => blobstore::move_object(&id(container, object), &target(&to)?).map(|()| done()),
            _ => Err("give ?copy=container/object or ?move=container/object".into()),
        },
        _ => {
            let bucket = blobstore::get_container(container)?;
            if asks("has").is_some() {
                return Ok(Answer::Text(200, format!("{}\n", bucket.has_object(object)?)));
            }
            if asks("info").is_some() {
                let info = bucket.object_info(object)?;
                let text =
                    format!("name: {}\ncontainer: {}\nsize: {}\n", info.name, info.container, info.size);
                return Ok(Answer::Text(200, text));
            }
            // The end of a range is the last byte itself; the largest number means "to the end".
            bucket.get_data(object, number("start", 0), number("end", u64::MAX)).map(Answer::Object)
        }
    }
}

fn store(request: &IncomingRequest, container: &str, object: &str) -> Result<Answer, String> {
    let bucket = match blobstore::container_exists(container)? {
        true => blobstore::get_container(container)?,
        false => blobstore::create_container(container)?,
    };
    let value = OutgoingValue::new_outgoing_value();
    let output = value.outgoing_value_write_body().map_err(|()| "the body was taken twice")?;
    bucket.write_data(object, &value)?;
    let (_source, input) = body_of(request);
    copy(&input, &output).map_err(|error| format!("the body broke off: {error:?}"))?;
    drop(output);
    OutgoingValue::finish(value)?;
    Ok(Answer::Text(201, String::new()))
}

fn list(container: &Container) -> Result<Answer, String> {
    let names = container.list_objects()?;
    let mut lines = String::new();
    loop {
        let (page, ended) = names.read_stream_object_names(PAGE)?;
        page.iter().for_each(|name| lines.extend([name, "\n"]));
        if ended {
            return Ok(Answer::Text(200, lines));
        }
    }
}

fn send(value: IncomingValue, response_out: ResponseOutparam) {
    let size = value.size();
    let input = match IncomingValue::incoming_value_consume_async(value) {
        Ok(input) => input,
        Err(text) => return answer(response_out, 500, &format!("{text}\n")),
    };
    let length = size.to_string();
    let headers = [("content-type", &b"application/octet-stream"[..]), ("x-object-size", length.as_bytes())];
    let (body, output) = start(response_out, 200, &headers);
    // An object that breaks off is left unfinished, so that the client sees it.
    if copy(&input, &output).is_ok() {
        drop(output);
        let _client_left = OutgoingBody::finish(body, None);
    }
}

fn done() -> Answer {
    Answer::Text(204, String::new())
}

wasip2::http::proxy::export!(Blobs);
