//! SplitMix64: numbers that look random and are the same for the same seed.
//!
//! For identifiers, simulations and tests. Whoever sees one number can tell the next: not for secrets.
//!
//! Source: Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014.

/// A sequence of numbers.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

/// 2^64 divided by the golden ratio, made odd: visits every state before it returns.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl SplitMix64 {
    /// The sequence of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed of the rest of the sequence.
    pub const fn seed(&self) -> u64 {
        self.0
    }

    /// The next number.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number, below `end`, which is not zero. Slightly uneven for a large `end`.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_the_reference_implementation() {
        let mut numbers = SplitMix64::new(1_234_567);
        let drawn = [numbers.draw(), numbers.draw(), numbers.draw()];
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
        let mut rest = SplitMix64::new(numbers.seed());
        assert_eq!(rest.draw(), 4_593_380_528_125_082_431);
        assert!((0..100).all(|_| numbers.below(3) < 3));
    }
}
