//! Which media types bodies come in and answers are wanted in.

use shoal_api::Status;

/// Text, the form that everything has.
pub(crate) const JSON: &str = "application/json";
/// What typed clients written in Go send and prefer.
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What people write.
pub(crate) const YAML: &str = "application/yaml";

/// Clauses of an `Accept` header that are looked at; more are of no use to anyone.
const CLAUSES_MAX: usize = 32;

/// How an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Text or bytes.
    pub encoding: Encoding,
    /// The objects, or what is to be shown of them.
    pub shape: Shape,
}

/// How values are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Text.
    Json,
    /// Bytes.
    Protobuf,
    /// Text for people.
    Yaml,
}

/// What of the objects an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All.
    Object,
    /// Rows with cells (`as=Table`).
    Table,
    /// Only the metadata (`as=PartialObjectMetadata`, `as=PartialObjectMetadataList`).
    Metadata,
}

impl Wanted {
    /// JSON, whole.
    pub const PLAIN: Self = Self { encoding: Encoding::Json, shape: Shape::Object };

    /// The first of an `Accept` header that can be made. No header accepts everything.
    ///
    /// # Errors
    /// 406: none can be made.
    pub fn read(accept: Option<&str>, has_protobuf: bool) -> Result<Self, Status> {
        let accept = accept.map(str::trim).unwrap_or_default();
        if accept.is_empty() {
            return Ok(Self::PLAIN);
        }
        let wanted =
            accept.split(',').take(CLAUSES_MAX).find_map(|clause| Self::clause(clause, has_protobuf));
        wanted.ok_or_else(|| Status::not_acceptable(&[JSON, YAML, PROTOBUF]))
    }

    /// The same, for what has no rows.
    ///
    /// # Errors
    /// 406: rows are asked for.
    pub fn without_rows(self) -> Result<Self, Status> {
        if self.shape == Shape::Table {
            return Err(Status::not_acceptable(&[JSON, YAML, PROTOBUF]));
        }
        Ok(self)
    }

    fn clause(clause: &str, has_protobuf: bool) -> Option<Self> {
        let mut parts = clause.split(';').map(str::trim);
        let encoding = match parts.next()? {
            JSON | "*/*" | "application/*" => Encoding::Json,
            PROTOBUF if has_protobuf => Encoding::Protobuf,
            YAML => Encoding::Yaml,
            _ => return None,
        };
        let (mut kind, mut group, mut version) = ("", "", "");
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "as" => kind = value.trim(),
                "g" => group = value.trim(),
                "v" => version = value.trim(),
                _ => {}
            }
        }
        let shape = match (kind, group, version) {
            ("", _, _) => Shape::Object,
            ("Table", "meta.k8s.io", "v1") if encoding == Encoding::Json => Shape::Table,
            ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => Shape::Metadata,
            _ => return None,
        };
        Some(Self { encoding, shape })
    }
}

impl Encoding {
    /// The media type of an answer.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Protobuf => PROTOBUF,
            Self::Yaml => YAML,
        }
    }

    /// The encoding of a body; none is JSON.
    ///
    /// # Errors
    /// 415: it is another one.
    pub fn of_body(content_type: Option<&str>) -> Result<Self, Status> {
        match essence(content_type.unwrap_or_default()) {
            "" | JSON => Ok(Self::Json),
            PROTOBUF => Ok(Self::Protobuf),
            YAML => Ok(Self::Yaml),
            _ => Err(Status::unsupported_media_type(&[JSON, YAML, PROTOBUF])),
        }
    }
}

/// A media type without its parameters.
pub(crate) fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(accept: &str) -> Option<(Encoding, Shape)> {
        Wanted::read(Some(accept), true).ok().map(|wanted| (wanted.encoding, wanted.shape))
    }

    #[test]
    fn the_first_that_can_be_made_is_taken() {
        use Encoding::{Json, Protobuf};
        assert_eq!(
            read("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"),
            Some((Json, Shape::Table))
        );
        assert_eq!(
            read("application/json;as=Table;v=v9;g=meta.k8s.io, application/json"),
            Some((Json, Shape::Object))
        );
        assert_eq!(read("application/json;as=Table;v=v9;g=meta.k8s.io"), None);
        assert_eq!(
            read("application/vnd.kubernetes.protobuf,application/json"),
            Some((Protobuf, Shape::Object))
        );
        assert_eq!(
            read("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
            Some((Json, Shape::Metadata))
        );
        assert_eq!(read("*/*"), Some((Json, Shape::Object)));
        assert_eq!(read("text/html"), None);
        assert_eq!(Wanted::read(None, true).ok(), Some(Wanted::PLAIN));
        let custom = Wanted::read(Some("application/vnd.kubernetes.protobuf,application/json"), false);
        assert_eq!(custom.ok(), Some(Wanted::PLAIN));
    }

    #[test]
    fn bodies_of_unknown_types_are_refused() {
        assert_eq!(Encoding::of_body(Some("application/json; charset=utf-8")).ok(), Some(Encoding::Json));
        assert_eq!(Encoding::of_body(None).ok(), Some(Encoding::Json));
        assert_eq!(Encoding::of_body(Some("text/plain")).expect_err("unknown").code, 415);
    }
}
