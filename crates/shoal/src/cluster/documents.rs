//! Files of Kubernetes objects: YAML with several documents, JSON, lists.

use std::io::Read as _;
use std::path::Path;

use serde_json::Value;
use shoal_api::decode::{DecodeError, Strictness, free_yaml};
use shoal_cli::{Exit, exit};

/// Largest file: what an API server takes is 3 MiB for each object, and a file has some hundreds at most.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The objects of all files, in order; `-` is standard input.
pub(crate) fn read<'a>(files: impl IntoIterator<Item = &'a std::path::PathBuf>) -> Result<Vec<Value>, Exit> {
    let mut objects = Vec::new();
    for file in files {
        let shown =
            if file.as_os_str() == "-" { "standard input".into() } else { file.display().to_string() };
        objects.extend(parse(&shown, &content(file, &shown)?)?);
    }
    if objects.is_empty() {
        return Err(Exit::error(exit::USAGE, "the files hold no object")
            .hint("write Kubernetes objects, or an App, as YAML or JSON"));
    }
    Ok(objects)
}

fn content(file: &Path, shown: &str) -> Result<String, Exit> {
    let unreadable =
        |error: std::io::Error| Exit::error(exit::NO_INPUT, format!("cannot read {shown}: {error}"));
    let mut text = String::new();
    let limited = |source: &mut dyn std::io::Read, text: &mut String| {
        source.take(FILE_BYTES_MAX + 1).read_to_string(text)
    };
    let read = if file.as_os_str() == "-" {
        limited(&mut std::io::stdin().lock(), &mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| limited(&mut file, &mut text))
    };
    read.map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Exit::error(exit::USAGE, format!("{shown} is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// The objects of one file.
fn parse(shown: &str, text: &str) -> Result<Vec<Value>, Exit> {
    let mut objects = Vec::new();
    for (line, document) in documents(text) {
        let wrong = |why: &dyn std::fmt::Display| {
            Exit::error(exit::USAGE, format!("{shown}, the document at line {line}: {why}"))
        };
        let value = value(&document).map_err(|error| wrong(&error))?;
        match value {
            // Nothing but comments.
            Value::Null => {}
            Value::Object(_) if value["items"].is_array() && is_list(&value) => {
                for item in value["items"].as_array().into_iter().flatten() {
                    objects.push(checked(item.clone()).map_err(|why| wrong(&why))?);
                }
            }
            value => objects.push(checked(value).map_err(|why| wrong(&why))?),
        }
    }
    Ok(objects)
}

/// What a document holds. One that begins with a brace is JSON, or else YAML that is written so.
fn value(document: &str) -> Result<Value, DecodeError> {
    let read = |text: &str| free_yaml(text.as_bytes(), Strictness::Strict).map(|(value, _)| value);
    read(document).or_else(|error| read(&format!("---\n{document}")).map_err(|_| error))
}

fn is_list(value: &Value) -> bool {
    value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"))
}

fn checked(object: Value) -> Result<Value, String> {
    for field in ["apiVersion", "kind"] {
        if object[field].as_str().is_none_or(str::is_empty) {
            return Err(format!("it has no {field}, and is no object of Kubernetes"));
        }
    }
    if object["metadata"]["name"].as_str().is_none_or(str::is_empty) {
        let kind = object["kind"].as_str().unwrap_or_default();
        return Err(format!("its {kind} has no metadata.name"));
    }
    Ok(object)
}

/// The documents of a YAML stream with the lines at which they begin, from 1. Two are parted by a line that begins with
/// `---`; the end of one may be marked by a line `...`.
fn documents(text: &str) -> Vec<(usize, String)> {
    let mut documents = vec![(1, String::new())];
    for (number, line) in (1..).zip(text.lines()) {
        let marker =
            line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r']));
        let last = documents.last_mut().expect("there is one always");
        match marker {
            // What follows the marker on its line belongs to the document: `--- {kind: Pod}`.
            Some(rest) => documents.push((number, format!("{rest}\n"))),
            None if line.trim_end() == "..." => {}
            None => {
                last.1.push_str(line);
                last.1.push('\n');
            }
        }
    }
    documents.retain(|(_, document)| !document.trim().is_empty());
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Result<Vec<String>, String> {
        let objects = parse("a.yaml", text).map_err(|exit| match exit {
            Exit::Error(complaint) => complaint.what,
            Exit::Answer(text) => text,
        })?;
        Ok(objects.iter().map(|object| object["kind"].as_str().unwrap_or_default().to_owned()).collect())
    }

    const METADATA: &str = "metadata: {name: a}\napiVersion: v1\n";

    #[test]
    fn documents_are_parted_as_yaml_parts_them() {
        let two =
            format!("# first\n---\nkind: A\n{METADATA}--- # more\nkind: B\n{METADATA}...\n---\n# nothing\n");
        assert_eq!(kinds(&two), Ok(vec!["A".into(), "B".into()]));
        assert_eq!(kinds(""), Ok(vec![]));
        let text = format!("kind: A\n{METADATA}data: |\n  ---\n---not a marker\n");
        assert!(documents(&text).len() == 1);
        assert_eq!(documents("a\r\n---\r\nb\r\n").len(), 2);
    }

    #[test]
    fn json_and_lists_are_read() {
        let json = r#"{"kind": "A", "apiVersion": "v1", "metadata": {"name": "a"}}"#;
        assert_eq!(kinds(json), Ok(vec!["A".into()]));
        assert_eq!(kinds("{kind: A, apiVersion: v1, metadata: {name: a}}"), Ok(vec!["A".into()]));
        let list = format!(r#"{{"kind": "List", "apiVersion": "v1", "items": [{json}, {json}]}}"#);
        assert_eq!(kinds(&list), Ok(vec!["A".into(), "A".into()]));
    }

    #[test]
    fn what_is_no_object_is_named_with_its_place() {
        for (text, why) in [
            ("a: [", "a.yaml, the document at line 1: "),
            ("---\nservices: {}\n", "it has no apiVersion, and is no object of Kubernetes"),
            ("kind: A\napiVersion: v1\n", "its A has no metadata.name"),
            ("- a\n", "it has no apiVersion"),
            ("just words\n", "it has no apiVersion"),
            ("kind: A\nkind: B\n", "already set"),
        ] {
            assert!(kinds(text).is_err_and(|error| error.contains(why)), "{text}: {:?}", kinds(text));
        }
        let second = format!("kind: A\n{METADATA}---\nkind: B\n");
        assert!(kinds(&second).is_err_and(|error| error.contains("line 4")));
    }

    #[test]
    fn a_file_ends_at_its_limit() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.yaml");
        let file = std::fs::File::create(&path).expect("a file");
        for (size, fits) in [(FILE_BYTES_MAX, true), (FILE_BYTES_MAX + 1, false)] {
            // Bytes of a hole are zeros, which are characters too.
            file.set_len(size).expect("a size");
            assert_eq!(content(&path, "a").is_ok(), fits, "{size}");
        }
        assert!(content(Path::new("/nowhere/a"), "a").is_err());
    }
}
