//! A file that is put aside when it has grown long enough.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::files::FileError;

/// Memory for lines that is kept between two writes; a busy moment takes more.
const WAITING_BYTES_KEPT: usize = 64 << 10;

/// The file that is written to, and those before it.
pub(super) struct Rotated {
    path: PathBuf,
    file: File,
    /// Lines that are not written yet.
    waiting: String,
    /// Length of the file, with what waits.
    bytes: u64,
    bytes_max: u64,
    files_max: usize,
    /// Whether the last write failed: it is said once.
    is_broken: bool,
}

impl Rotated {
    /// Opens the file at its end, or makes it.
    pub(super) fn open(path: PathBuf, bytes_max: u64, files_max: usize) -> Result<Self, FileError> {
        let file = open(&path).map_err(|source| FileError::new("open", &path, source))?;
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        Ok(Self { path, file, waiting: String::new(), bytes, bytes_max, files_max, is_broken: false })
    }

    /// Adds a line, which is in the file after [`Rotated::flush`].
    pub(super) fn write(&mut self, line: &str) {
        let length = line.len() as u64;
        if self.bytes > 0 && self.bytes + length > self.bytes_max {
            self.flush();
            let rotated = self.rotate();
            self.said(rotated);
        }
        self.waiting.push_str(line);
        self.bytes += length;
    }

    /// Writes what waits. A disk that cannot take it is said once in the log of the process: requests go on.
    pub(super) fn flush(&mut self) {
        let written = self.file.write_all(self.waiting.as_bytes());
        self.waiting.clear();
        self.waiting.shrink_to(WAITING_BYTES_KEPT);
        self.said(written);
    }

    fn said(&mut self, done: io::Result<()>) {
        match done {
            Ok(()) => self.is_broken = false,
            Err(error) if !self.is_broken => {
                self.is_broken = true;
                tracing::error!(%error, path = %self.path.display(), "cannot write the audit log");
            }
            Err(_) => {}
        }
    }

    /// Has the disk keep what was written.
    pub(super) fn sync(&self) {
        if let Err(error) = self.file.sync_all() {
            tracing::error!(%error, path = %self.path.display(), "cannot sync the audit log");
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.files_max).rev() {
            if self.numbered(number).exists() {
                fs::rename(self.numbered(number), self.numbered(number + 1))?;
            }
        }
        if self.files_max == 0 {
            fs::remove_file(&self.path)?;
        } else {
            fs::rename(&self.path, self.numbered(1))?;
        }
        self.file = open(&self.path)?;
        self.bytes = 0;
        Ok(())
    }

    fn numbered(&self, number: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}
