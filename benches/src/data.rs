//! Logits and targets as a language model has them: N(0, 3²), and targets that are likely more often than not.

use rayon::prelude::*;
use surprisal::{Element, bf16, f16};

use crate::shape::Shape;

/// A storage type that can be measured.
pub trait Dtype: Element + PartialEq {
    /// Its name in the tables.
    const NAME: &'static str;
    /// Rounds once.
    fn round(value: f32) -> Self;
    /// Widens exactly.
    fn widen(self) -> f64;
    /// Half of the distance from 1 to the next number.
    const UNIT: f64;
}

macro_rules! dtype {
    ($($t:ty, $name:literal, $unit:expr, $round:expr, $widen:expr;)*) => {$(
        impl Dtype for $t {
            const NAME: &'static str = $name;
            const UNIT: f64 = $unit;

            fn round(value: f32) -> Self {
                $round(value)
            }

            fn widen(self) -> f64 {
                $widen(self)
            }
        }
    )*};
}
dtype! {
    f32, "f32", 1.0 / (1_u32 << 24) as f64, |value| value, f64::from;
    bf16, "bf16", 1.0 / 256.0, bf16::from_f32, bf16::to_f64;
    f16, "f16", 1.0 / 2048.0, f16::from_f32, f16::to_f64;
}

/// A logits matrix with its targets.
#[derive(Debug)]
pub struct Data<T> {
    /// Sizes.
    pub shape: Shape,
    /// `[rows × vocab]`.
    pub logits: Vec<T>,
    /// `[rows]`.
    pub targets: Vec<i32>,
    /// Cumulative offsets of sequences of up to 128 rows.
    pub sequences: Vec<i32>,
}

impl<T: Dtype> Data<T> {
    /// The same for every run.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let mut logits = vec![T::ZERO; shape.len()];
        logits.par_chunks_mut(shape.vocab).enumerate().for_each(|(row, logits)| {
            let mut random = Random::new(row);
            for z in logits {
                *z = T::round(3.0 * random.normal());
            }
        });
        let targets = (0..shape.rows).map(|row| target(&logits, shape, row)).collect();
        let offset = |row: usize| i32::try_from(row.min(shape.rows)).unwrap_or(i32::MAX);
        let sequences = (0..=shape.rows.div_ceil(128)).map(|i| offset(128 * i)).collect();
        Self { shape, logits, targets, sequences }
    }
}

/// The likeliest of the first 64 classes in three rows of four, any class in the others.
fn target<T: Dtype>(logits: &[T], shape: Shape, row: usize) -> i32 {
    let random = Random::new(!row).next();
    let class = if random.is_multiple_of(4) {
        // Less than `vocab`.
        usize::try_from(random / 4 % shape.vocab as u64).unwrap_or(0)
    } else {
        let row = &logits[row * shape.vocab..][..shape.vocab.min(64)];
        let of_row = |a: &usize, b: &usize| row[*a].widen().total_cmp(&row[*b].widen());
        (0..row.len()).max_by(of_row).unwrap_or(0)
    };
    i32::try_from(class).unwrap_or(i32::MAX)
}

/// `SplitMix64`, from its state.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn new(seed: usize) -> Self {
        Self((seed as u64).wrapping_mul(0xd134_2543_de82_ef95))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Nearly normal: the sum of eight 8-bit numbers, standardised, with their low bits filled up.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: u64 = bits.to_le_bytes().iter().map(|&byte| u64::from(byte)).sum();
        let fine = (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1_u64 << 24) as f32;
        // A byte has variance (256² − 1)/12, the fraction 1/12.
        (sum as f32 + fine - 1020.5) / 209.022
    }
}
