//! Code that is in use: the next workload of the same artifact shares it, whatever its name, grants and limits are.
//!
//! Replicas of one application, and applications made of one artifact, have one mapping of its machine code and one
//! image of its memory, and start without reading either again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::cache::{ArtifactDigest, Form};
use crate::compile::Compiled;

/// Entries below which nobody looks for those whose last workload has gone.
const SWEEP_MIN: usize = 64;

/// Code by the artifact and the form that it was compiled from, for as long as a workload has it.
#[derive(Default)]
pub(crate) struct Loaded(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    by_artifact: HashMap<(ArtifactDigest, Form), Weak<Compiled>>,
    /// How many were left after the last sweep.
    swept: usize,
}

impl Loaded {
    /// The code of an artifact, if a workload has it.
    pub(crate) fn get(&self, artifact: ArtifactDigest, form: Form) -> Option<Arc<Compiled>> {
        self.entries().by_artifact.get(&(artifact, form)).and_then(Weak::upgrade)
    }

    /// Has others find this code; gives what they found before, where another was quicker.
    pub(crate) fn share(&self, artifact: ArtifactDigest, form: Form, compiled: Compiled) -> Arc<Compiled> {
        let mut entries = self.entries();
        entries.sweep();
        let place = entries.by_artifact.entry((artifact, form)).or_default();
        if let Some(before) = place.upgrade() {
            return before;
        }
        let compiled = Arc::new(compiled);
        *place = Arc::downgrade(&compiled);
        compiled
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Forgets what nobody has any more, now and then: on average each entry is looked at once.
    fn sweep(&mut self) {
        if self.by_artifact.len() >= SWEEP_MIN.max(2 * self.swept) {
            self.by_artifact.retain(|_, compiled| compiled.strong_count() > 0);
            self.swept = self.by_artifact.len();
        }
    }
}
