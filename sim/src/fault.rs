//! What goes wrong, and how often.

use shoal_base::splitmix::SplitMix64;

/// How rough it is. Chances are in a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A batch of changes comes some seconds later than it should.
    pub late: u64,
    /// A batch is lost; whoever listens notices some seconds later and reads everything anew.
    pub lost: u64,
    /// A batch comes twice.
    pub repeated: u64,
    /// A write fails, as when the store is busy; nothing is written.
    pub refused: u64,
    /// A write is done, and its answer lost.
    pub unanswered: u64,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self { late: 0, lost: 0, repeated: 0, refused: 0, unanswered: 0 };

    /// Much goes wrong.
    pub const ROUGH: Self = Self { late: 200, lost: 50, repeated: 100, refused: 50, unanswered: 50 };
}

/// Chance, from a seed.
pub struct Chance(SplitMix64);

impl Chance {
    /// The same for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.draw() % bound }
    }

    /// An index into something of this length.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or_default()
    }

    /// Whether it happens, with so many chances in a thousand.
    pub fn hits(&mut self, in_thousand: u64) -> bool {
        self.below(1000) < in_thousand
    }
}
