//! The trace that a request belongs to, as its `traceparent` header says. The header itself stays in the
//! request, so that a guest can pass it on.
//!
//! Source: W3C Trace Context §3.2.

/// A parsed `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// Names the whole trace; never zero.
    pub trace_id: u128,
    /// Names the span that made the request; never zero.
    pub parent_id: u64,
    /// Whether the caller records this trace.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads a header value; none if it is malformed, which the specification treats like absent.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut parts = text.splitn(5, '-');
        let version = hex(parts.next()?, 2)?;
        let trace_id = hex(parts.next()?, 32)?;
        let parent_id = hex(parts.next()?, 16)?;
        let flags = hex(parts.next()?, 2)?;
        // Version 0 has four parts; later ones may have more; 255 is forbidden.
        let is_known = version != 0xff && (version != 0 || parts.next().is_none());
        if !is_known || trace_id == 0 || parent_id == 0 {
            return None;
        }
        Some(Self { trace_id, parent_id: u64::try_from(parent_id).ok()?, sampled: flags & 1 == 1 })
    }
}

fn hex(text: &str, length: usize) -> Option<u128> {
    let is_lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != length || !text.bytes().all(is_lower_hex) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proper_parent_is_read() {
        let parent = TraceParent::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(
            parent,
            Some(TraceParent {
                trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
                parent_id: 0xb7ad_6b71_6920_3331,
                sampled: true,
            })
        );
        let later = TraceParent::parse(b"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more");
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
            assert_eq!(TraceParent::parse(value.as_bytes()), None, "{value}");
        }
    }
}
