//! What an artifact is, told by its first bytes.

use std::path::Path;

/// What an artifact is, before anyone has looked into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A WebAssembly component.
    Component,
    /// A core WebAssembly module.
    Module,
    /// WebAssembly text (`.wat`), of a file of this machine only.
    Text,
    /// Code that `shoal compile` made, of a file of this machine only: who runs it checks its seal.
    Compiled,
}

/// As many first bytes as tell.
pub(crate) const HEAD_BYTES: usize = 8;

impl Kind {
    /// The kind of what begins so; none when it is no WebAssembly binary. The eight bytes are the preamble: magic
    /// number, version and layer (WebAssembly core specification 5.5.16; component model, "Binary").
    pub fn of(head: &[u8]) -> Option<Self> {
        match head.strip_prefix(b"\0asm")?.get(..4)? {
            [1, 0, 0, 0] => Some(Self::Module),
            [_, _, 1, 0] => Some(Self::Component),
            _ => None,
        }
    }

    pub(crate) fn of_bytes(head: impl AsRef<[u8]>) -> Option<Self> {
        Self::of(head.as_ref())
    }

    /// The kind of a file of this machine that begins so. What is no WebAssembly is not even tried: the words of a
    /// parser of text could show what else stands in a file.
    pub(crate) fn of_file(path: &Path, head: &[u8]) -> Option<Self> {
        let has_extension = |extension: &str| path.extension().is_some_and(|found| found == extension);
        match Self::of(head) {
            Some(kind) => Some(kind),
            None if has_extension("wat") => Some(Self::Text),
            None if has_extension("cwasm") && head.starts_with(b"\x7fELF") => Some(Self::Compiled),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell() {
        assert_eq!(Kind::of(b"\0asm\x01\0\0\0rest"), Some(Kind::Module));
        assert_eq!(Kind::of(b"\0asm\x0d\0\x01\0"), Some(Kind::Component));
        for other in
            [&b""[..], b"\0asm", b"\0asm\x01\0\0", b"\0asm\x02\0\0\0", b"(module)", b"\x7fELF\x02\x01\x01\0"]
        {
            assert_eq!(Kind::of(other), None, "{other:?}");
        }
    }

    #[test]
    fn text_and_compiled_code_are_taken_by_name_only() {
        let of = |path: &str, head: &[u8]| Kind::of_file(Path::new(path), head);
        assert_eq!(of("/a.wat", b"(module)"), Some(Kind::Text));
        assert_eq!(of("/a.cwasm", b"\x7fELF\x02\x01\x01\0"), Some(Kind::Compiled));
        assert_eq!(of("/a.cwasm", b"(module)"), None);
        assert_eq!(of("/etc/shadow", b"root:*:1"), None);
        assert_eq!(of("/a", b"\0asm\x01\0\0\0"), Some(Kind::Module));
    }
}
