//! Limits of the edge, as typed: `--edge-limit NAME=VALUE`. One flag for all, since few people ever need one.

use std::time::Duration;

use shoal_base::units::Bytes;

use super::each_once;
use super::limits::duration;
use crate::exit::Exit;

/// Limits of the edge that were given. What is none keeps its default; what each means is said where the edge
/// has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the limit of the edge with its name")]
pub struct EdgeLimits {
    pub header_read: Option<Duration>,
    pub tls_handshake: Option<Duration>,
    pub keep_alive: Option<Duration>,
    pub body_stall: Option<Duration>,
    pub write_stall: Option<Duration>,
    pub header_count: Option<u32>,
    pub uri: Option<Bytes>,
    pub connections: Option<u32>,
    pub connections_per_peer: Option<u32>,
    pub requests_per_thread: Option<u32>,
    pub h2_streams: Option<u32>,
    pub h2_resets: Option<u32>,
    pub early_response_drain: Option<Bytes>,
    pub linger: Option<Duration>,
}

/// One `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TypedEdgeLimit {
    name: &'static str,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Time(Duration),
    Size(Bytes),
    Count(u32),
}

/// Where a limit of each kind is kept.
#[derive(Clone, Copy)]
enum Place {
    Time(fn(&mut EdgeLimits) -> &mut Option<Duration>),
    Size(fn(&mut EdgeLimits) -> &mut Option<Bytes>),
    Count(fn(&mut EdgeLimits) -> &mut Option<u32>),
}

/// Every limit that can be given, in the order of the specification. `request_body` and `header_list` are
/// limits of the workload, with flags of their own.
const PLACES: [(&str, Place); 14] = [
    ("header_read", Place::Time(|limits| &mut limits.header_read)),
    ("tls_handshake", Place::Time(|limits| &mut limits.tls_handshake)),
    ("keep_alive", Place::Time(|limits| &mut limits.keep_alive)),
    ("body_stall", Place::Time(|limits| &mut limits.body_stall)),
    ("write_stall", Place::Time(|limits| &mut limits.write_stall)),
    ("header_count", Place::Count(|limits| &mut limits.header_count)),
    ("uri", Place::Size(|limits| &mut limits.uri)),
    ("connections", Place::Count(|limits| &mut limits.connections)),
    ("connections_per_peer", Place::Count(|limits| &mut limits.connections_per_peer)),
    ("requests_per_thread", Place::Count(|limits| &mut limits.requests_per_thread)),
    ("h2_streams", Place::Count(|limits| &mut limits.h2_streams)),
    ("h2_resets", Place::Count(|limits| &mut limits.h2_resets)),
    ("early_response_drain", Place::Size(|limits| &mut limits.early_response_drain)),
    ("linger", Place::Time(|limits| &mut limits.linger)),
];

/// The names, as a sentence lists them.
fn names() -> String {
    PLACES.map(|(name, _)| name).join(", ")
}

/// The help of the flag.
pub(crate) fn help() -> String {
    format!("Set a limit of the edge; NAME is one of {}", names())
}

/// Reads `NAME=VALUE`.
pub(crate) fn parse(text: &str) -> Result<TypedEdgeLimit, String> {
    let (typed, value) =
        text.split_once('=').ok_or_else(|| format!("it is not NAME=VALUE; NAME is one of {}", names()))?;
    let (name, place) = PLACES.into_iter().find(|(name, _)| *name == typed).ok_or_else(|| match typed {
        "request_body" | "header_list" => {
            format!("this is a limit of the workload: --{}", typed.replace('_', "-"))
        }
        _ => format!("there is no limit `{typed}`; NAME is one of {}", names()),
    })?;
    let value = match place {
        Place::Time(_) => Value::Time(duration(value)?),
        Place::Size(_) => {
            Value::Size(value.parse().map_err(|error: shoal_base::units::UnitError| error.to_string())?)
        }
        Place::Count(_) => {
            Value::Count(value.parse().map_err(|_| format!("it is not a number from 0 to {}", u32::MAX))?)
        }
    };
    Ok(TypedEdgeLimit { name, value })
}

/// All that were given, each once.
pub(crate) fn meaning(typed: &[TypedEdgeLimit]) -> Result<EdgeLimits, Exit> {
    each_once("--edge-limit", typed.iter().map(|limit| limit.name))?;
    let mut limits = EdgeLimits::default();
    for (name, place) in PLACES {
        let given = typed.iter().find(|limit| limit.name == name).map(|limit| limit.value);
        match (place, given) {
            (Place::Time(place), Some(Value::Time(value))) => *place(&mut limits) = Some(value),
            (Place::Size(place), Some(Value::Size(value))) => *place(&mut limits) = Some(value),
            (Place::Count(place), Some(Value::Count(value))) => *place(&mut limits) = Some(value),
            (_, None) => {}
            (_, Some(_)) => unreachable!("a value is read by the kind of its place"),
        }
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(typed: &[&str]) -> EdgeLimits {
        let typed: Vec<_> = typed.iter().map(|text| parse(text).expect("a limit")).collect();
        meaning(&typed).expect("each once")
    }

    #[test]
    fn each_limit_is_set_by_its_name_and_no_other_is() {
        let second = Some(Duration::from_secs(1));
        let none = EdgeLimits::default();
        for (typed, expected) in [
            ("header_read=1s", EdgeLimits { header_read: second, ..none.clone() }),
            ("tls_handshake=1s", EdgeLimits { tls_handshake: second, ..none.clone() }),
            ("keep_alive=1s", EdgeLimits { keep_alive: second, ..none.clone() }),
            ("body_stall=1s", EdgeLimits { body_stall: second, ..none.clone() }),
            ("write_stall=1s", EdgeLimits { write_stall: second, ..none.clone() }),
            ("header_count=7", EdgeLimits { header_count: Some(7), ..none.clone() }),
            ("uri=1KiB", EdgeLimits { uri: Some(Bytes::kib(1)), ..none.clone() }),
            ("connections=7", EdgeLimits { connections: Some(7), ..none.clone() }),
            ("connections_per_peer=7", EdgeLimits { connections_per_peer: Some(7), ..none.clone() }),
            ("requests_per_thread=7", EdgeLimits { requests_per_thread: Some(7), ..none.clone() }),
            ("h2_streams=7", EdgeLimits { h2_streams: Some(7), ..none.clone() }),
            ("h2_resets=0", EdgeLimits { h2_resets: Some(0), ..none.clone() }),
            ("early_response_drain=0", EdgeLimits { early_response_drain: Some(Bytes(0)), ..none.clone() }),
            ("linger=1s", EdgeLimits { linger: second, ..none.clone() }),
        ] {
            assert_eq!(set(&[typed]), expected, "{typed}");
        }
        assert_eq!(set(&[]), none);
        let both = EdgeLimits { uri: Some(Bytes(64)), linger: second, ..none };
        assert_eq!(set(&["uri=64", "linger=1s"]), both);
    }

    #[test]
    fn counts_end_at_their_limit() {
        assert!(parse("connections=4294967295").is_ok());
        for wrong in ["connections=4294967296", "connections=-1", "connections=", "connections=many"] {
            assert_eq!(parse(wrong), Err("it is not a number from 0 to 4294967295".into()), "{wrong}");
        }
    }

    #[test]
    fn the_guide_and_the_help_have_every_name() {
        let guide = include_str!("../../../../../docs/cli.md");
        for (name, _) in PLACES {
            assert!(guide.contains(&format!("| `{name}` |")), "docs/cli.md lacks `{name}`");
            assert!(help().contains(name), "{name}");
        }
    }
}
