//! Writing what a container prints.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use parking_lot::Mutex;
use shoal_runtime::{Output, Stream};
use tokio::sync::watch;

use crate::volume::tree::private;

/// A file that has grown so long is put aside, as the kubelet does it.
pub(crate) const FILE_BYTES_MAX: u64 = 10 << 20;
/// Files of one run of a container that are kept, with the one that is written, as the kubelet does it.
pub(crate) const FILES_MAX: u32 = 5;

/// The log of one run of a container.
pub(crate) struct Log {
    path: PathBuf,
    limits: (u64, u32),
    file: Mutex<Option<Open>>,
    /// Raised with each line; whoever follows looks again.
    written: watch::Sender<u64>,
    is_closed: AtomicBool,
}

struct Open {
    file: File,
    length: u64,
}

/// The file of a run: `DIR/CONTAINER/RUN.log`; older ones of the same run have `.1`, `.2`, … behind it.
pub(crate) fn path(dir: &Path, container: &str, run: u32) -> PathBuf {
    dir.join(container).join(format!("{run}.log"))
}

/// A file that was put aside so many times.
pub(crate) fn aside(path: &Path, age: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{age}"));
    name.into()
}

impl Log {
    /// Opens the log of a run, and goes on with it if there is one.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        Self::with_limits(path, FILE_BYTES_MAX, FILES_MAX)
    }

    fn with_limits(path: PathBuf, bytes_max: u64, files_max: u32) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            private(dir)?;
        }
        let file = open(&path)?;
        Ok(Self {
            path,
            limits: (bytes_max, files_max),
            file: Mutex::new(Some(file)),
            written: watch::Sender::new(0),
            is_closed: AtomicBool::new(false),
        })
    }

    /// Wakes whoever follows, with each line.
    pub(crate) fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// Nothing more will be written: the run is over.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.written.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Whether something may still be written.
    pub(crate) fn is_open(&self) -> bool {
        !self.is_closed.load(Ordering::Acquire)
    }

    fn put(&self, line: &[u8]) -> io::Result<()> {
        let mut guard = self.file.lock();
        let (bytes_max, files_max) = self.limits;
        let length = line.len() as u64;
        if guard.as_ref().is_none_or(|open| open.length > 0 && open.length + length > bytes_max) {
            *guard = None;
            rotate(&self.path, files_max)?;
            *guard = Some(open(&self.path)?);
        }
        if let Some(open) = guard.as_mut() {
            // One call for one line: a reader sees lines whole.
            open.file.write_all(line)?;
            open.length += length;
        }
        Ok(())
    }
}

impl Output for Log {
    fn write(&self, stream: Stream, piece: &[u8], is_end: bool) {
        let tag = if is_end { 'F' } else { 'P' };
        let mut line = format!("{:.9} {} {tag} ", Timestamp::now(), stream.name()).into_bytes();
        // A piece has no line end in it, but for what the guest meant otherwise.
        line.extend(piece.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
        line.push(b'\n');
        // A full disk must not stop the guest; whoever reads the log sees that it ends.
        if let Err(error) = self.put(&line) {
            tracing::debug!(%error, path = %self.path.display(), "a line of a container is lost");
        }
        self.written.send_modify(|count| *count = count.wrapping_add(1));
    }
}

fn open(path: &Path) -> io::Result<Open> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let length = file.metadata()?.len();
    Ok(Open { file, length })
}

/// Puts the file aside, and the oldest away.
fn rotate(path: &Path, files_max: u32) -> io::Result<()> {
    let missing_is_fine = |done: io::Result<()>| match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    };
    let oldest = files_max.saturating_sub(1);
    for age in (0..oldest).rev() {
        let from = if age == 0 { path.to_owned() } else { aside(path, age) };
        missing_is_fine(fs::rename(from, aside(path, age + 1)))?;
    }
    if oldest == 0 { missing_is_fine(fs::remove_file(path)) } else { Ok(()) }
}

/// Removes the log of a run.
///
/// # Errors
/// The disk refuses.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    for age in 0..FILES_MAX {
        let file = if age == 0 { path.to_owned() } else { aside(path, age) };
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_put_aside_at_their_limit_and_the_oldest_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = path(dir.path(), "web", 0);
        // A line of ten bytes is one of 51 with what stands before it and its end.
        let log = Log::with_limits(path.clone(), 102, 3).expect("a log");
        let lines = |path: &Path| fs::read_to_string(path).map_or(0, |text| text.lines().count());
        for line in 0..2 {
            log.write(Stream::Stdout, format!("line {line:05}").as_bytes(), true);
        }
        assert_eq!(fs::metadata(&path).expect("a file").len(), 2 * 51);
        assert_eq!((lines(&path), lines(&aside(&path, 1))), (2, 0), "a full file is not yet too long");
        for line in 2..9 {
            log.write(Stream::Stderr, format!("line {line:05}").as_bytes(), true);
        }
        let counts =
            [path.clone(), aside(&path, 1), aside(&path, 2), aside(&path, 3)].map(|path| lines(&path));
        assert_eq!(counts, [1, 2, 2, 0]);
        let text = fs::read_to_string(aside(&path, 2)).expect("a file");
        assert!(text.lines().next().is_some_and(|line| line.ends_with(" stderr F line 00004")), "{text}");
    }

    #[test]
    fn a_guest_cannot_forge_a_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = path(dir.path(), "web", 0);
        let log = Log::open(path.clone()).expect("a log");
        log.write(Stream::Stdout, b"a\n2026-01-01T00:00:00Z stdout F b", true);
        log.write(Stream::Stdout, b"part", false);
        let text = fs::read_to_string(&path).expect("a file");
        assert_eq!(text.lines().count(), 2);
        assert!(text.ends_with(" stdout P part\n"), "{text}");
    }
}
