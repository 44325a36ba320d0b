//! Telling the disk how a pod is, and whoever must not go on before it knows.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shoal_base::backoff::Backoff;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::saved::{self, Saved};

/// How long a change may wait for others when nobody waits for the disk: a pod that starts changes a few times within a
/// moment, and each sync of a file costs as much as everything else that starts it. After a power cut meanwhile the pod goes
/// on from a moment ago, so the end of a command does not wait: it would be run again.
const GATHER: Duration = Duration::from_secs(1);
/// Before a file is written again that could not be written.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// The longest wait before that: a disk that is full may have room again.
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// What the disk knows of a pod.
pub(super) struct Disk {
    path: PathBuf,
    /// What is on the disk, if anything is.
    known: Option<Arc<Saved>>,
    /// What is to be there.
    newest: Option<Arc<Saved>>,
    writing: Option<(Arc<Saved>, JoinHandle<io::Result<()>>)>,
    /// Those who are told when what is being written is there.
    told: Vec<oneshot::Sender<()>>,
    /// Those who are told when the version after that is.
    waiting: Vec<oneshot::Sender<()>>,
    backoff: Backoff,
    /// When the newest is written, though nobody waits for it.
    due: Option<Instant>,
    /// The last try has failed: the next one is not before it is due, whoever waits.
    has_failed: bool,
    /// What comes next waits for no other change.
    is_urgent: bool,
    is_closed: bool,
}

impl Disk {
    /// `saved` is what the file has, if there is one.
    pub(super) fn new(path: PathBuf, saved: Option<Saved>) -> Self {
        let known = saved.map(Arc::new);
        Self {
            path,
            newest: known.clone(),
            known,
            writing: None,
            told: Vec::new(),
            waiting: Vec::new(),
            backoff: Backoff::new(RETRY_FIRST, RETRY_LONGEST),
            due: None,
            has_failed: false,
            is_urgent: false,
            is_closed: false,
        }
    }

    /// Tells when what [`Disk::is`] says next is on the disk.
    pub(super) fn tell(&mut self, who: oneshot::Sender<()>) {
        self.waiting.push(who);
    }

    /// What the pod is told to be next is written at once.
    pub(super) fn hurry(&mut self) {
        self.is_urgent = true;
    }

    /// How the pod is now.
    pub(super) fn is(&mut self, saved: Saved) {
        if self.is_closed {
            return;
        }
        if self.newest.as_deref() != Some(&saved) {
            self.newest = Some(Arc::new(saved));
        }
        if self.writing.is_some() {
            return;
        }
        if self.newest == self.known {
            // Whoever listens no more has been stopped.
            self.is_urgent = false;
            self.waiting.drain(..).for_each(|who| _ = who.send(()));
        } else if (self.waiting.is_empty() && !self.is_urgent) || self.has_failed {
            self.due.get_or_insert_with(|| Instant::now() + GATHER);
        } else {
            self.begin();
        }
    }

    /// Resolves when something has been written, or is being written now.
    ///
    /// # Errors
    /// The disk refuses. It will be tried again.
    pub(super) async fn written(&mut self) -> io::Result<()> {
        match (self.writing.is_some(), self.due) {
            (true, _) => self.end().await,
            (false, Some(due)) => {
                tokio::time::sleep_until(due).await;
                self.begin();
                Ok(())
            }
            (false, None) => std::future::pending().await,
        }
    }

    /// Writes what is not written yet, and waits for it.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        loop {
            self.end().await?;
            if self.newest == self.known || self.is_closed {
                return Ok(());
            }
            self.begin();
        }
    }

    /// Takes the file away; from now on nothing is written.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        self.is_closed = true;
        // What could not be written need not be there.
        drop(self.end().await);
        self.due = None;
        let path = self.path.clone();
        let removed = tokio::task::spawn_blocking(move || saved::remove(&path)).await;
        removed.map_err(io::Error::other).and_then(|removed| removed)
    }

    /// Writes the newest; nothing is being written yet.
    fn begin(&mut self) {
        self.due = None;
        self.is_urgent = false;
        let Some(newest) = self.newest.clone() else { return };
        self.told.append(&mut self.waiting);
        let (path, saved) = (self.path.clone(), newest.clone());
        let writing = tokio::task::spawn_blocking(move || saved::write(&path, &saved.to_text()));
        self.writing = Some((newest, writing));
    }

    /// Waits for what is being written, if anything is. May be dropped and called again.
    async fn end(&mut self) -> io::Result<()> {
        let Some((_, writing)) = &mut self.writing else { return Ok(()) };
        let done = writing.await.map_err(io::Error::other).and_then(|done| done);
        let written = self.writing.take();
        match done {
            Ok(()) => {
                self.known = written.map(|(saved, _)| saved);
                self.told.drain(..).for_each(|who| _ = who.send(()));
                self.backoff.reset();
                self.has_failed = false;
                Ok(())
            }
            Err(error) => {
                self.waiting.append(&mut self.told);
                self.has_failed = true;
                self.due = Some(Instant::now() + self.backoff.wait());
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn saved(phase: &str) -> Saved {
        let status = json!({"phase": phase});
        let pod = json!({"metadata": {"name": "job", "uid": "u"}, "status": status});
        Saved { pod: Arc::new(pod), status, ..Saved::default() }
    }

    #[tokio::test]
    async fn whoever_waits_is_told_when_the_disk_knows_and_not_before() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = saved::path(dir.path(), "u");
        // Where the next version is written, nothing can be written.
        let in_the_way = path.with_extension("next");
        std::fs::create_dir(&in_the_way).expect("made");
        let mut disk = Disk::new(path.clone(), None);
        let (who, mut told) = oneshot::channel();
        disk.tell(who);
        disk.is(saved("Running"));
        disk.written().await.expect_err("the disk refuses");
        disk.is(saved("Running"));
        assert_eq!(told.try_recv(), Err(TryRecvError::Empty));
        assert!(!path.exists());
        std::fs::remove_dir(&in_the_way).expect("removed");
        // The wait before the next try, then the try.
        disk.written().await.expect("it is tried again");
        disk.is(saved("Running"));
        disk.written().await.expect("the disk takes it");
        assert_eq!(told.try_recv(), Ok(()));
        assert_eq!(saved::read(&path).expect("a file"), Some(saved("Running")));
        // What is there already is told at once.
        let (who, mut told) = oneshot::channel();
        disk.tell(who);
        disk.is(saved("Running"));
        assert_eq!(told.try_recv(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_is_gathered_for_a_moment() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = saved::path(dir.path(), "u");
        let mut disk = Disk::new(path.clone(), None);
        let begun = Instant::now();
        for phase in ["Pending", "Running", "Succeeded"] {
            disk.is(saved(phase));
            let soon = tokio::time::timeout(GATHER / 4, disk.written()).await;
            assert!(soon.is_err() && !path.exists(), "{phase}");
        }
        disk.written().await.expect("it is begun");
        assert_eq!(begun.elapsed().as_secs(), GATHER.as_secs());
        disk.written().await.expect("the disk takes it");
        assert_eq!(saved::read(&path).expect("a file"), Some(saved("Succeeded")));
    }

    #[tokio::test]
    async fn what_is_urgent_does_not_wait_for_other_changes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = saved::path(dir.path(), "u");
        let mut disk = Disk::new(path.clone(), None);
        disk.is(saved("Running"));
        assert!(disk.writing.is_none(), "it is gathered");
        disk.hurry();
        disk.is(saved("Succeeded"));
        assert!(disk.writing.is_some());
        // Nor does what became urgent while something else was written.
        disk.hurry();
        disk.is(saved("Failed"));
        disk.written().await.expect("the disk takes the one before");
        disk.is(saved("Failed"));
        assert!(disk.writing.is_some());
        disk.written().await.expect("the disk takes it");
        assert_eq!(saved::read(&path).expect("a file"), Some(saved("Failed")));
        disk.is(saved("Running"));
        assert!(disk.writing.is_none(), "only once");
    }

    #[tokio::test]
    async fn the_last_word_is_written_before_the_end_and_none_after_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = saved::path(dir.path(), "u");
        let mut disk = Disk::new(path.clone(), None);
        for phase in ["Pending", "Running", "Succeeded"] {
            disk.is(saved(phase));
        }
        disk.flush().await.expect("written");
        assert_eq!(saved::read(&path).expect("a file"), Some(saved("Succeeded")));
        disk.is(saved("Failed"));
        disk.close().await.expect("removed");
        disk.is(saved("Running"));
        disk.flush().await.expect("there is nothing to write");
        assert!(!path.exists());
    }
}
