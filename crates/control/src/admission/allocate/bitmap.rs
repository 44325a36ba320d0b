//! Bits: which of so many things are given.

/// So many things, of which the first are given only when all others are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    len: u32,
    free: u32,
    kept: u32,
}

impl Bitmap {
    /// `len` things, of which the first `kept` go last.
    ///
    /// # Panics
    /// When more are kept than there are.
    pub fn new(len: u32, kept: u32) -> Self {
        assert!(kept <= len, "{kept} of {len}");
        Self { words: vec![0; len.div_ceil(64) as usize], len, free: len, kept }
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are none at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many are left.
    pub fn free(&self) -> u32 {
        self.free
    }

    /// Gives one. Says whether it was left.
    pub fn set(&mut self, at: u32) -> bool {
        let was_free = at < self.len && !self.is_set(at);
        if was_free {
            self.words[(at / 64) as usize] |= 1 << (at % 64);
            self.free -= 1;
        }
        was_free
    }

    /// Takes one back.
    pub fn clear(&mut self, at: u32) {
        if at < self.len && self.is_set(at) {
            self.words[(at / 64) as usize] &= !(1 << (at % 64));
            self.free += 1;
        }
    }

    /// Gives one that is left, beginning at a place that `seed` decides; of the first ones only when no other is.
    pub fn set_some(&mut self, seed: u64) -> Option<u32> {
        let found = self.find(self.kept, self.len, seed).or_else(|| self.find(0, self.kept, seed))?;
        self.set(found).then_some(found)
    }

    fn find(&self, from: u32, to: u32, seed: u64) -> Option<u32> {
        let count = u64::from(to - from);
        if count == 0 || self.free == 0 {
            return None;
        }
        let start = from + u32::try_from(seed % count).expect("it is less than a u32");
        (start..to).chain(from..start).find(|at| !self.is_set(*at))
    }

    fn is_set(&self, at: u32) -> bool {
        self.words[(at / 64) as usize] & (1 << (at % 64)) != 0
    }
}
