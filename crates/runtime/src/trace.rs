//! The trace that a request belongs to, and where traces are sent.
//!
//! Source: W3C Trace Context §3.2; OpenTelemetry, OTLP/HTTP.

use std::fmt;
use std::str::FromStr;

use http::{HeaderValue, Uri};

/// A place in a trace, as a `traceparent` header says it: a span, and the trace that it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Names the whole trace; never zero.
    pub trace_id: u128,
    /// Names the span, the parent of what is done on its behalf; never zero.
    pub span_id: u64,
    /// Whether this trace is recorded.
    pub sampled: bool,
}

/// The header that carries a [`TraceContext`].
pub const TRACEPARENT: http::HeaderName = http::HeaderName::from_static("traceparent");

/// The header in which tracing systems keep notes beside it.
pub const TRACESTATE: http::HeaderName = http::HeaderName::from_static("tracestate");

/// The base address of an OpenTelemetry collector that takes OTLP over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorUrl {
    /// Whether it speaks TLS.
    pub https: bool,
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path that traces are posted to: that of the base address and `/v1/traces`.
    pub path: String,
}

/// Why a text is no [`CollectorUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectorUrlError {
    /// It is no URL, or of another scheme.
    #[error("it is not http://HOST[:PORT] or https://HOST[:PORT], such as http://127.0.0.1:4318")]
    Scheme,
    /// No port has this number.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// It names a user.
    #[error("a user and password in it would be shown to everyone who lists processes, and are not sent")]
    User,
    /// It has a query.
    #[error("it has a query; give the base address, to which /v1/traces is added")]
    Query,
}

/// The part of all traces that begin here which is recorded, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleRatio(f64);

/// Bits of a trace id that decide: those that W3C Trace Context level 2 has random.
const DECIDING_BITS: u32 = 56;

impl TraceContext {
    /// Reads a header value; none if it is malformed, which the specification treats like absent.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut parts = text.splitn(5, '-');
        let version = hex(parts.next()?, 2)?;
        let trace_id = hex(parts.next()?, 32)?;
        let span_id = hex(parts.next()?, 16)?;
        let flags = hex(parts.next()?, 2)?;
        // Version 0 has four parts; later ones may have more; 255 is forbidden.
        let is_known = version != 0xff && (version != 0 || parts.next().is_none());
        if !is_known || trace_id == 0 || span_id == 0 {
            return None;
        }
        Some(Self { trace_id, span_id: u64::try_from(span_id).ok()?, sampled: flags & 1 == 1 })
    }

    /// The header value, of version 0.
    pub fn header(&self) -> HeaderValue {
        HeaderValue::try_from(self.to_string()).expect("hexadecimal digits and dashes are a header value")
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

fn hex(text: &str, length: usize) -> Option<u128> {
    let is_lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != length || !text.bytes().all(is_lower_hex) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

impl FromStr for CollectorUrl {
    type Err = CollectorUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| CollectorUrlError::Scheme)?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(CollectorUrlError::Scheme),
        };
        let authority = uri.authority().ok_or(CollectorUrlError::Scheme)?;
        if authority.as_str().contains('@') {
            return Err(CollectorUrlError::User);
        }
        if uri.query().is_some() {
            return Err(CollectorUrlError::Query);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(CollectorUrlError::Scheme);
        }
        let port = match authority.as_str().rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => port.parse().map_err(|_| CollectorUrlError::Port)?,
            _ if https => 443,
            _ => 80,
        };
        if port == 0 {
            return Err(CollectorUrlError::Port);
        }
        let base = uri.path().trim_end_matches('/').trim_end_matches("/v1/traces");
        Ok(Self { https, host: host.to_owned(), port, path: format!("{base}/v1/traces") })
    }
}

impl CollectorUrl {
    /// `HOST:PORT` as the `host` header has it.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for CollectorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl SampleRatio {
    /// Every trace.
    pub const ALL: Self = Self(1.0);

    /// Whether a trace with this id is recorded. All nodes with the same ratio decide alike.
    pub fn takes(self, trace_id: u128) -> bool {
        let deciding = trace_id & ((1 << DECIDING_BITS) - 1);
        // Exact: below 2^56 the product has no more bits than the ratio.
        deciding < (self.0 * (1u64 << DECIDING_BITS) as f64) as u128
    }
}

impl Default for SampleRatio {
    /// One in ten: enough to see what is slow, too little to be what is slow.
    fn default() -> Self {
        Self(0.1)
    }
}

impl fmt::Display for SampleRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SampleRatio {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(Self(ratio)),
            _ => Err("it is not a number from 0 (none) to 1 (all)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proper_parent_is_read_and_written() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = TraceContext::parse(text.as_bytes());
        assert_eq!(
            parent,
            Some(TraceContext {
                trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
                span_id: 0xb7ad_6b71_6920_3331,
                sampled: true,
            })
        );
        assert_eq!(parent.map(|parent| parent.header()), Some(HeaderValue::from_static(text)));
        let later = TraceContext::parse(b"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more");
        assert_eq!(later.map(|parent| parent.sampled), Some(false));
    }

    #[test]
    fn malformed_parents_are_absent() {
        for value in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn a_collector_is_named_by_its_base_address() {
        for (typed, meant) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
            ("https://otel.example.com", "https://otel.example.com:443/v1/traces"),
            ("http://otel.example.com/tenant/a", "http://otel.example.com:80/tenant/a/v1/traces"),
            ("http://[::1]:4318/v1/traces", "http://[::1]:4318/v1/traces"),
            ("http://[::1]", "http://[::1]:80/v1/traces"),
        ] {
            assert_eq!(typed.parse::<CollectorUrl>().map(|url| url.to_string()), Ok(meant.into()), "{typed}");
        }
    }

    #[test]
    fn what_is_no_collector_says_why() {
        for (typed, why) in [
            ("", CollectorUrlError::Scheme),
            ("localhost:4318", CollectorUrlError::Scheme),
            ("grpc://localhost:4317", CollectorUrlError::Scheme),
            ("http://", CollectorUrlError::Scheme),
            ("http://:4318", CollectorUrlError::Scheme),
            ("http://a:0", CollectorUrlError::Port),
            ("http://a:65536", CollectorUrlError::Port),
            ("http://a:", CollectorUrlError::Port),
            ("http://ada:secret@a", CollectorUrlError::User),
            ("http://a/?key=1", CollectorUrlError::Query),
        ] {
            assert_eq!(typed.parse::<CollectorUrl>(), Err(why), "{typed}");
        }
    }

    #[test]
    fn the_ratio_takes_its_part_and_ends_at_its_bounds() {
        let ratio = |text: &str| text.parse::<SampleRatio>();
        let [none, half, all] = ["0", "0.5", "1"].map(|text| ratio(text).expect("a ratio"));
        let largest = (1u128 << DECIDING_BITS) - 1;
        assert!(!none.takes(0) && all.takes(largest) && all.takes(u128::MAX));
        assert!(half.takes(largest / 2) && !half.takes(largest / 2 + 1));
        assert!(half.takes(1 << DECIDING_BITS), "bits above those that decide do not count");
        for wrong in ["-0.1", "1.01", "NaN", "10%", ""] {
            assert!(ratio(wrong).is_err(), "{wrong}");
        }
    }
}
