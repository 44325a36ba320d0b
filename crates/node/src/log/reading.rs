//! Reading what a container printed, as `kubectl logs` asks for it.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::writing::{FILES_MAX, aside};

/// Bytes that are read at once for one reader.
const CHUNK_BYTES: usize = 64 << 10;
/// Longest line of a file: what a guest printed is cut far below it.
const LINE_BYTES_MAX: usize = 1 << 20;

/// What is wanted of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Only the last lines.
    pub(crate) tail: Option<u64>,
    /// Only what was printed since then.
    pub(crate) since: Option<Timestamp>,
    /// With the time before each line.
    pub(crate) timestamps: bool,
    /// Only so many bytes.
    pub(crate) limit_bytes: Option<u64>,
    /// What comes later, too.
    pub(crate) follow: bool,
    /// The run before the last.
    pub(crate) previous: bool,
    /// `stdout` or `stderr` only; empty: both.
    pub(crate) stream: String,
}

/// Reads one run of a container.
pub(crate) struct Reader {
    path: PathBuf,
    file: Option<(BufReader<File>, u64)>,
    wanted: Wanted,
    /// Bytes that may still be given.
    left: u64,
    /// Whether the next piece begins a line.
    is_fresh: bool,
}

/// The runs of a container that have a log, oldest first.
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn runs(dir: &Path, container: &str) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(dir.join(container)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut runs = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        runs.extend(name.to_str().and_then(|name| name.strip_suffix(".log")?.parse::<u32>().ok()));
    }
    runs.sort_unstable();
    Ok(runs)
}

impl Reader {
    /// Begins where the wanted lines begin.
    ///
    /// # Errors
    /// The log cannot be read; not found: it was never written.
    pub(crate) fn begin(path: PathBuf, wanted: Wanted) -> io::Result<Self> {
        let ages: Vec<u32> = (0..FILES_MAX).rev().filter(|age| of_age(&path, *age).exists()).collect();
        let left = wanted.limit_bytes.unwrap_or(u64::MAX);
        let mut reader = Self { path, file: None, wanted, left, is_fresh: true };
        let Some(oldest) = ages.first() else { return Err(io::ErrorKind::NotFound.into()) };
        let Some(tail) = reader.wanted.tail else {
            reader.open(*oldest, 0)?;
            return Ok(reader);
        };
        let mut missing = tail;
        for age in ages.iter().rev() {
            let (found, offset) = last_lines(&of_age(&reader.path, *age), missing)?;
            missing -= found;
            if missing == 0 || age == oldest {
                reader.open(*age, offset)?;
                break;
            }
        }
        Ok(reader)
    }

    /// The next piece of the answer; empty: there is no more for now.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(crate) fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut line = Vec::new();
        while out.len() < CHUNK_BYTES && self.left > 0 {
            let Some((file, _)) = &mut self.file else { break };
            line.clear();
            let length = io::Read::take(&mut *file, LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
            if length > 0 && line.last() != Some(&b'\n') {
                // It is being written.
                file.seek_relative(-i64::try_from(length).unwrap_or(0))?;
                break;
            }
            if length == 0 && !self.advance()? {
                break;
            }
            self.render(&line, &mut out);
        }
        if self.left < out.len() as u64 {
            out.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        }
        self.left -= out.len() as u64;
        Ok(out)
    }

    /// Whether there is nothing more to come, whatever is written.
    pub(crate) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Goes on with the file that was begun when this one was put aside.
    fn advance(&mut self) -> io::Result<bool> {
        let Some((_, inode)) = self.file else { return Ok(false) };
        let is_ours =
            |age: &u32| fs::metadata(of_age(&self.path, *age)).is_ok_and(|meta| meta.ino() == inode);
        match (0..FILES_MAX).find(is_ours) {
            Some(0) => return Ok(false),
            Some(age) => self.open(age - 1, 0)?,
            // It was put away while nobody read: go on with the oldest.
            None => match (0..FILES_MAX).rev().find(|age| of_age(&self.path, *age).exists()) {
                Some(age) => self.open(age, 0)?,
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    fn open(&mut self, age: u32, offset: u64) -> io::Result<()> {
        let mut file = File::open(of_age(&self.path, age))?;
        let inode = file.metadata()?.ino();
        file.seek(SeekFrom::Start(offset))?;
        self.file = Some((BufReader::new(file), inode));
        Ok(())
    }

    fn render(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some((time, stream, is_end, text)) = parts(line) else { return };
        if !self.wanted.stream.is_empty() && self.wanted.stream.as_bytes() != stream {
            return;
        }
        if let Some(since) = self.wanted.since {
            let written = std::str::from_utf8(time).ok().and_then(|time| time.parse::<Timestamp>().ok());
            if written.is_none_or(|written| written < since) {
                return;
            }
        }
        if self.wanted.timestamps && self.is_fresh {
            out.extend_from_slice(time);
            out.push(b' ');
        }
        out.extend_from_slice(text);
        if is_end {
            out.push(b'\n');
        }
        self.is_fresh = is_end;
    }
}

fn of_age(path: &Path, age: u32) -> PathBuf {
    if age == 0 { path.to_owned() } else { aside(path, age) }
}

/// Time, stream, whether the line ends, text.
type Parts<'a> = (&'a [u8], &'a [u8], bool, &'a [u8]);

fn parts(line: &[u8]) -> Option<Parts<'_>> {
    let mut words = line.strip_suffix(b"\n")?.splitn(4, |byte| *byte == b' ');
    let (time, stream, tag, text) = (words.next()?, words.next()?, words.next()?, words.next()?);
    Some((time, stream, tag == b"F", text))
}

/// How many of the last lines there are in a file, at most so many, and where they begin.
fn last_lines(path: &Path, wanted: u64) -> io::Result<(u64, u64)> {
    let text = fs::read(path)?;
    if wanted == 0 {
        return Ok((0, text.len() as u64));
    }
    let mut found = 0;
    let mut begin = text.len();
    for line in text.split_inclusive(|byte| *byte == b'\n').rev() {
        // Pieces belong to the line that ends after them.
        if parts(line).is_some_and(|(_, _, is_end, _)| is_end) {
            if found == wanted {
                break;
            }
            found += 1;
        }
        begin -= line.len();
    }
    Ok((found, begin as u64))
}

#[cfg(test)]
mod tests {
    use shoal_runtime::{Output as _, Stream};

    use super::super::writing::{Log, path};
    use super::*;

    fn all(reader: &mut Reader) -> String {
        let mut text = Vec::new();
        loop {
            let piece = reader.next().expect("it can be read");
            if piece.is_empty() {
                return String::from_utf8(text).expect("text");
            }
            text.extend(piece);
        }
    }

    #[test]
    fn what_is_asked_for_is_what_comes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = path(dir.path(), "web", 0);
        let older = "2026-01-01T00:00:01.000000000Z stdout F one\n2026-01-01T00:00:02.000000000Z stderr P tw\n\
                     2026-01-01T00:00:02.100000000Z stderr F o\n";
        let newer =
            "2026-01-01T00:00:03.000000000Z stdout F three\n2026-01-01T00:00:04.000000000Z stdout F four\n";
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(aside(&path, 1), older).expect("written");
        fs::write(&path, newer).expect("written");
        let read = |wanted: Wanted| all(&mut Reader::begin(path.clone(), wanted).expect("a log"));
        let tail = |tail| Wanted { tail: Some(tail), ..Wanted::default() };
        let table = [
            (Wanted::default(), "one\ntwo\nthree\nfour\n"),
            (tail(0), ""),
            (tail(1), "four\n"),
            (tail(2), "three\nfour\n"),
            (tail(3), "two\nthree\nfour\n"),
            (tail(9), "one\ntwo\nthree\nfour\n"),
            (Wanted { since: "2026-01-01T00:00:03Z".parse().ok(), ..Wanted::default() }, "three\nfour\n"),
            (Wanted { limit_bytes: Some(6), ..Wanted::default() }, "one\ntw"),
            (Wanted { stream: "stderr".into(), ..Wanted::default() }, "two\n"),
            (Wanted { timestamps: true, ..tail(1) }, "2026-01-01T00:00:04.000000000Z four\n"),
        ];
        for (wanted, expected) in table {
            assert_eq!(read(wanted.clone()), expected, "{wanted:?}");
        }
        assert!(Reader::begin(dir.path().join("none.log"), Wanted::default()).is_err());
    }

    #[test]
    fn a_reader_follows_through_rotation() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = path(dir.path(), "web", 0);
        let log = Log::open(path.clone()).expect("a log");
        log.write(Stream::Stdout, b"one", true);
        let mut reader = Reader::begin(path.clone(), Wanted::default()).expect("a log");
        assert_eq!(all(&mut reader), "one\n");
        log.write(Stream::Stdout, b"two", true);
        for _ in 0..2 {
            // As rotation does it, twice while nobody reads.
            if aside(&path, 1).exists() {
                fs::rename(aside(&path, 1), aside(&path, 2)).expect("renamed");
            }
            fs::rename(&path, aside(&path, 1)).expect("renamed");
            Log::open(path.clone()).expect("a log").write(Stream::Stdout, b"three", true);
        }
        assert_eq!(all(&mut reader), "two\nthree\nthree\n");
        assert_eq!(runs(dir.path(), "web").expect("runs"), [0]);
        assert_eq!(runs(dir.path(), "none").expect("runs"), Vec::<u32>::new());
    }
}
