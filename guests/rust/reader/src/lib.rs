//! Files over HTTP, from the directories that were granted (`wasi:filesystem`).
//!
//! - `GET /path` answers with the file, or lists the directory one name per line (directories end in `/`)
//! - `POST /path` and `PUT /path` store the body as the file, `DELETE /path` removes it, `POST /path?mkdir` makes a directory
//! - `GET /?preopens` lists the granted directories by their guest paths
//!
//! Paths are absolute guest paths; the longest granted directory that contains one is used. `?raw=PATH` instead passes
//! PATH unchanged to the first granted directory, which is how the tests try to get out of it.
//! Errors: 404 for what is absent, 403 for what is not permitted, 500 otherwise, with the error code as text.

use guest_support::{answer, body_of, copy, parameter, path_and_query, percent_decode, start};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, ErrorCode, OpenFlags, PathFlags,
};
use wasip2::http::types::{IncomingRequest, Method, OutgoingBody, ResponseOutparam};

struct Reader;

impl Guest for Reader {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let (path, query) = path_and_query(&request);
        let directories = get_directories();
        if parameter(&query, "preopens").is_some() {
            let lines: String = directories.iter().map(|(_, name)| format!("{name}\n")).collect();
            return answer(response_out, 200, &lines);
        }
        let place = match parameter(&query, "raw") {
            Some(raw) => directories.first().map(|(directory, _)| (directory, raw)),
            None => locate(&directories, &percent_decode(&path)),
        };
        let Some((directory, path)) = place else {
            return answer(response_out, 404, "no directory is granted there\n");
        };
        let done = match request.method() {
            Method::Get | Method::Head => return read(directory, &path, response_out),
            Method::Delete => directory.unlink_file_at(&path),
            _ if parameter(&query, "mkdir").is_some() => directory.create_directory_at(&path),
            _ => write(directory, &path, &request),
        };
        match done {
            Ok(()) => answer(response_out, 204, ""),
            Err(code) => refuse(code, response_out),
        }
    }
}

/// The longest granted directory that contains the path, and the rest of the path below it.
fn locate<'a>(directories: &'a [(Descriptor, String)], path: &str) -> Option<(&'a Descriptor, String)> {
    let below = |name: &str| {
        let rest = path.strip_prefix(name.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_matches('/').to_owned())
    };
    let matches = directories.iter().filter_map(|(directory, name)| Some((directory, name, below(name)?)));
    let (directory, _, rest) = matches.max_by_key(|(_, name, _)| name.len())?;
    Some((directory, if rest.is_empty() { ".".into() } else { rest }))
}

fn read(directory: &Descriptor, path: &str, response_out: ResponseOutparam) {
    let file =
        match directory.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ) {
            Ok(file) => file,
            Err(code) => return refuse(code, response_out),
        };
    match file.get_type() {
        Ok(DescriptorType::Directory) => match list(&file) {
            Ok(lines) => answer(response_out, 200, &lines),
            Err(code) => refuse(code, response_out),
        },
        Ok(_) => match file.read_via_stream(0) {
            Ok(input) => {
                let headers = [("content-type", &b"application/octet-stream"[..])];
                let (body, output) = start(response_out, 200, &headers);
                if copy(&input, &output).is_ok() {
                    drop(output);
                    let _client_left = OutgoingBody::finish(body, None);
                }
            }
            Err(code) => refuse(code, response_out),
        },
        Err(code) => refuse(code, response_out),
    }
}

fn list(directory: &Descriptor) -> Result<String, ErrorCode> {
    let entries = directory.read_directory()?;
    let mut names = Vec::new();
    while let Some(entry) = entries.read_directory_entry()? {
        let mark = if entry.type_ == DescriptorType::Directory { "/" } else { "" };
        names.push(format!("{}{mark}\n", entry.name));
    }
    names.sort();
    Ok(names.concat())
}

fn write(directory: &Descriptor, path: &str, request: &IncomingRequest) -> Result<(), ErrorCode> {
    let new = OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let file = directory.open_at(PathFlags::SYMLINK_FOLLOW, path, new, DescriptorFlags::WRITE)?;
    let output = file.write_via_stream(0)?;
    let (_body, input) = body_of(request);
    copy(&input, &output).map_err(|_| ErrorCode::Io)
}

fn refuse(code: ErrorCode, response_out: ResponseOutparam) {
    let status = match code {
        ErrorCode::NoEntry | ErrorCode::NotDirectory => 404,
        ErrorCode::Access | ErrorCode::NotPermitted | ErrorCode::ReadOnly => 403,
        _ => 500,
    };
    answer(response_out, status, &format!("{}\n", code.name()));
}

wasip2::http::proxy::export!(Reader);
