//! Logits N(0, 3²), and targets that are likely more often than not: as the other benchmarks have them.

use half::{bf16, f16};

/// A storage type that both sides know.
pub(crate) trait Dtype:
    old::Paths + new::Paths + Copy + Into<f64> + PartialOrd + Send + Sync
{
    /// How far entries may be apart, in largest entries of their row: one unit in the last place, of 16 bits.
    const TOLERANCE: f64;
    /// How far they may be apart at any rate: the smallest number, if gradients can be as small.
    const TINY: f64;
    /// Rounds once.
    fn round(value: f32) -> Self;
}

macro_rules! dtype {
    ($($t:ty, $tolerance:expr, $tiny:expr, $round:expr;)*) => {$(
        impl Dtype for $t {
            const TOLERANCE: f64 = $tolerance;
            const TINY: f64 = $tiny;

            fn round(value: f32) -> Self {
                $round(value)
            }
        }
    )*};
}
dtype! {
    f32, 1e-5, 0.0, |value| value;
    bf16, 1.0 / 128.0, 0.0, bf16::from_f32;
    f16, 1.0 / 1024.0, 1.0 / (1_u32 << 24) as f64, f16::from_f32;
}

/// A logits matrix with its targets.
#[derive(Debug)]
pub(crate) struct Data<T> {
    /// `[rows × vocab]`.
    pub(crate) logits: Vec<T>,
    /// `[rows]`.
    pub(crate) targets: Vec<i32>,
    /// Cumulative offsets of sequences of up to 128 rows.
    pub(crate) sequences: Vec<i32>,
    vocab: usize,
}

impl<T: Dtype> Data<T> {
    /// The same for every run.
    pub(crate) fn new(rows: usize, vocab: usize) -> Self {
        let mut random = Random(0);
        let logits: Vec<T> = (0..rows * vocab).map(|_| T::round(3.0 * random.normal())).collect();
        let targets = logits.chunks(vocab).map(|row| target(row, random.next())).collect();
        let sequences = (0..rows).step_by(128).chain([rows]).map(index).collect();
        Self { logits, targets, sequences, vocab }
    }

    /// A row of a matrix of this shape.
    pub(crate) fn row<'m>(&self, matrix: &'m [T], row: usize) -> &'m [T] {
        &matrix[row * self.vocab..][..self.vocab]
    }
}

/// The likeliest of the first 64 classes in three rows of four, any class in the others.
fn target<T: Dtype>(row: &[T], random: u64) -> i32 {
    if random.is_multiple_of(4) {
        // Less than the length.
        return index(usize::try_from(random / 4 % row.len() as u64).unwrap_or(0));
    }
    let better = |best, class| if row[class] > row[best] { class } else { best };
    index((0..row.len().min(64)).fold(0, better))
}

fn index(value: usize) -> i32 {
    i32::try_from(value).expect("rows and classes are counted in i32")
}

/// `SplitMix64`, from its state.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Nearly normal: how many of 64 bits are set, with a fraction, standardised.
    fn normal(&mut self) -> f32 {
        let fraction = (self.next() >> 40) as f32 / (1_u32 << 24) as f32;
        // A bit has variance 1/4, the fraction 1/12.
        (self.next().count_ones() as f32 + fraction - 32.5) / 4.010_4
    }
}
