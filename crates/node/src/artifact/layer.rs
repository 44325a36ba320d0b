//! Layers of container images: tar archives (POSIX.1-1988 "ustar", its extended headers, and GNU's long names).
//!
//! Only what is needed to find a file: names, sizes, contents, and the marks that remove files of lower layers (OCI image
//! specification, "Whiteouts"). Links, devices and modes are passed over.

use std::io::{self, Read};

/// What stands in a layer, by its path without a slash before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file with this many bytes, which can be read.
    File {
        /// Its path.
        path: String,
        /// Its size in bytes.
        size_bytes: u64,
    },
    /// What has this path in lower layers is gone, with all below it.
    Removed {
        /// The path.
        path: String,
    },
    /// All that is below this directory in lower layers is gone.
    Emptied {
        /// The directory; empty: the root.
        path: String,
    },
}

/// A layer that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// It is no tar archive.
    #[error("a layer is no tar archive: {0} at byte {1}")]
    Form(&'static str, u64),
    /// It unpacks to more than is allowed.
    #[error("a layer unpacks to more than {0} bytes")]
    TooLarge(u64),
    /// Reading or unpacking fails.
    #[error("a layer cannot be read: {0}")]
    Read(#[source] io::Error),
}

impl From<io::Error> for LayerError {
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(inner) => inner,
            Err(error) => Self::Read(error),
        }
    }
}

const BLOCK_BYTES: usize = 512;
/// Longest extended header or name: paths have 4096 bytes, and a few attributes stand beside them.
const HEADER_BYTES_MAX: u64 = 1 << 20;
/// Names of files that say that another is gone begin with this.
const WHITEOUT: &str = ".wh.";
/// The name of a file that says that its directory is emptied.
const OPAQUE: &str = ".wh..wh..opq";

/// Calls `visit` for each entry in its order, with its content to read as far as it likes. At most `bytes_max` bytes are
/// read of the archive.
///
/// # Errors
/// It is no archive, or too large, or `visit` fails.
pub fn read_layer<R: Read>(
    archive: R,
    bytes_max: u64,
    mut visit: impl FnMut(Entry, &mut dyn Read) -> io::Result<()>,
) -> Result<(), LayerError> {
    let mut archive = Archive { inner: archive, position: 0, bytes_max };
    let mut next = Extended::default();
    while let Some(header) = archive.header()? {
        match header.kind {
            b'x' => next.merge(&archive.text(header.size)?),
            b'L' => next.path = Some(lossy(until_zero(&archive.text(header.size)?))),
            b'0' | b'\0' | b'7' => {
                let Extended { path, size } = std::mem::take(&mut next);
                let (path, size) = (path.unwrap_or(header.path), size.unwrap_or(header.size));
                archive.entry(&path, size, &mut visit)?;
            }
            // What a long link name or a global header says concerns no content.
            b'K' | b'g' => archive.skip_entry(header.size)?,
            _ => {
                let size = std::mem::take(&mut next).size.unwrap_or(header.size);
                archive.skip_entry(size)?;
            }
        }
    }
    Ok(())
}

struct Header {
    path: String,
    size: u64,
    kind: u8,
}

/// What an extended header says of the entry behind it.
#[derive(Default)]
struct Extended {
    path: Option<String>,
    size: Option<u64>,
}

impl Extended {
    /// Records of the form `LENGTH KEY=VALUE\n` (POSIX.1-2001, pax).
    fn merge(&mut self, mut text: &[u8]) {
        while let Some(space) = text.iter().position(|&c| c == b' ') {
            let length =
                std::str::from_utf8(&text[..space]).ok().and_then(|digits| digits.parse::<usize>().ok());
            let Some((record, rest)) = length.and_then(|length| text.split_at_checked(length)) else {
                return;
            };
            let Some(record) = record.get(space + 1..) else { return };
            let record = record.strip_suffix(b"\n").unwrap_or(record);
            if let Some(path) = record.strip_prefix(b"path=") {
                self.path = Some(lossy(path));
            } else if let Some(size) = record.strip_prefix(b"size=") {
                self.size = std::str::from_utf8(size).ok().and_then(|size| size.parse().ok());
            }
            text = rest;
        }
    }
}

struct Archive<R> {
    inner: R,
    position: u64,
    bytes_max: u64,
}

impl<R: Read> Archive<R> {
    fn wrong<T>(&self, why: &'static str) -> Result<T, LayerError> {
        Err(LayerError::Form(why, self.position))
    }

    /// The next header; none at the end, which is a block of zeros or nothing at all.
    fn header(&mut self) -> Result<Option<Header>, LayerError> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            match self.read(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return self.wrong("a header is cut off"),
                read => filled += read,
            }
        }
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        self.parse(&block).map(Some)
    }

    fn parse(&self, block: &[u8; BLOCK_BYTES]) -> Result<Header, LayerError> {
        let Some(sum) = number(&block[148..156]) else { return self.wrong("a header has no checksum") };
        let blank = |(at, byte): (usize, &u8)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte });
        if sum != block.iter().enumerate().map(blank).sum::<u64>() {
            return self.wrong("a header has another checksum");
        }
        let Some(size) = number(&block[124..136]) else { return self.wrong("a header has no size") };
        let name = lossy(until_zero(&block[..100]));
        let prefix = until_zero(&block[345..500]);
        // GNU uses the place of the prefix for other things, and writes another version.
        let has_prefix = &block[257..263] == b"ustar\0" && !prefix.is_empty();
        let path = if has_prefix { format!("{}/{name}", lossy(prefix)) } else { name };
        Ok(Header { path, size, kind: block[156] })
    }

    /// The content of a header that says something about the next entry.
    fn text(&mut self, size: u64) -> Result<Vec<u8>, LayerError> {
        if size > HEADER_BYTES_MAX {
            return self.wrong("an extended header is too long");
        }
        let mut text = Vec::new();
        self.by_ref().take(size).read_to_end(&mut text)?;
        if (text.len() as u64) < size {
            return self.wrong("an extended header is cut off");
        }
        self.skip(padding(size))?;
        Ok(text)
    }

    fn entry(
        &mut self,
        path: &str,
        size_bytes: u64,
        visit: &mut impl FnMut(Entry, &mut dyn Read) -> io::Result<()>,
    ) -> Result<(), LayerError> {
        let entry = plain_path(path).map(|path| {
            let (dir, name) = path.rsplit_once('/').unwrap_or(("", &path));
            let join = |name: &str| if dir.is_empty() { name.into() } else { format!("{dir}/{name}") };
            match name.strip_prefix(WHITEOUT) {
                _ if name == OPAQUE => Entry::Emptied { path: dir.into() },
                Some(removed) => Entry::Removed { path: join(removed) },
                None => Entry::File { path, size_bytes },
            }
        });
        let mut content = self.by_ref().take(size_bytes);
        if let Some(entry) = entry {
            visit(entry, &mut content)?;
        }
        let left = content.limit();
        self.skip(left)?;
        self.skip(padding(size_bytes))
    }

    fn skip_entry(&mut self, size: u64) -> Result<(), LayerError> {
        self.skip(size)?;
        self.skip(padding(size))
    }

    fn skip(&mut self, bytes: u64) -> Result<(), LayerError> {
        let skipped = io::copy(&mut self.by_ref().take(bytes), &mut io::sink())?;
        if skipped < bytes { self.wrong("an entry is cut off") } else { Ok(()) }
    }
}

impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.position += read as u64;
        if self.position > self.bytes_max {
            return Err(io::Error::other(LayerError::TooLarge(self.bytes_max)));
        }
        Ok(read)
    }
}

fn padding(size: u64) -> u64 {
    let block = BLOCK_BYTES as u64;
    (block - size % block) % block
}

/// A number in octal digits, or in binary with the highest bit set before it (GNU).
fn number(field: &[u8]) -> Option<u64> {
    if let [first, rest @ ..] = field
        && first & 0x80 != 0
    {
        let digits = std::iter::once(first & 0x7F).chain(rest.iter().copied());
        return digits.map(u64::from).try_fold(0_u64, |value, digit| Some(value.checked_mul(256)? | digit));
    }
    let text = std::str::from_utf8(until_zero(field)).ok()?.trim();
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The path without `.` and without a slash before it; none when it is a directory or leads out of the image.
fn plain_path(path: &str) -> Option<String> {
    if path.ends_with('/') {
        return None;
    }
    let words: Vec<&str> = path.split('/').filter(|word| !word.is_empty() && *word != ".").collect();
    (!words.is_empty() && !words.contains(&"..")).then(|| words.join("/"))
}

#[cfg(test)]
mod tests;
