//! The rows that `accuracy/torch_errors.py` specifies, and the exact results for them.

use crate::data::Random;

/// Rows of a family.
const ROWS: usize = 8;

/// Rows of one kind, with the number of classes or the target's distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Normal numbers, N(0, 3²).
    Normal(usize),
    /// The same, coarser, around 1000.
    Offset(usize),
    /// All logits equal.
    Equal(usize),
    /// The target so far above 0, which no other logit exceeds.
    Sure(u8),
    /// The target so far below 0, among normal numbers.
    Far(u8),
}

impl Family {
    /// In the order of the table.
    pub const ALL: [Self; 16] = [
        Self::Normal(1000),
        Self::Normal(32_000),
        Self::Normal(151_936),
        Self::Offset(1000),
        Self::Offset(32_000),
        Self::Offset(151_936),
        Self::Equal(1000),
        Self::Equal(32_000),
        Self::Equal(151_936),
        Self::Sure(10),
        Self::Sure(12),
        Self::Sure(15),
        Self::Sure(20),
        Self::Sure(27),
        Self::Far(30),
        Self::Far(80),
    ];

    /// Its name in the table.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Normal(vocab) => format!("normal-{vocab}"),
            Self::Offset(vocab) => format!("offset-{vocab}"),
            Self::Equal(vocab) => format!("equal-{vocab}"),
            Self::Sure(gap) => format!("sure-{gap}"),
            Self::Far(gap) => format!("far-{gap}"),
        }
    }

    fn vocab(self) -> usize {
        match self {
            Self::Normal(vocab) | Self::Offset(vocab) | Self::Equal(vocab) => vocab,
            Self::Sure(_) | Self::Far(_) => 1000,
        }
    }

    /// The rows, one after the other.
    pub(super) fn rows(self) -> impl Iterator<Item = Row> {
        let mut random = Random(self.vocab() as u64);
        (0..ROWS).map(move |row| {
            let Row { target, mut logits } = Row::draw(&mut random, self.vocab());
            let first = logits[0];
            for (class, z) in logits.iter_mut().enumerate() {
                *z = match self {
                    Self::Normal(_) => *z,
                    Self::Offset(_) => (64.0 * *z).floor() / 64.0 + 1000.0,
                    Self::Equal(_) => first,
                    Self::Sure(gap) if class == target => gap.into(),
                    Self::Sure(_) if row == 0 => 0.0,
                    Self::Sure(_) => -z.abs(),
                    Self::Far(gap) if class == target => -f32::from(gap),
                    Self::Far(_) => *z,
                };
            }
            Row { target, logits }
        })
    }
}

/// Logits and target of one row.
pub(super) struct Row {
    pub(super) target: usize,
    pub(super) logits: Vec<f32>,
}

impl Row {
    /// Normal numbers, as exact in f32 as all that is made of them.
    fn draw(random: &mut Random, vocab: usize) -> Self {
        let target = (((random.next() >> 32) * vocab as u64) >> 32) as usize;
        let normal = |_| {
            let mut sum = 0;
            for _ in 0..4 {
                let bits = random.next();
                sum += [0, 19, 38].map(|low| (bits >> low) & 0x7_ffff).iter().sum::<u64>();
            }
            3.0 * (sum as f32 - 6.0 * 524_288.0) / 524_288.0
        };
        Self { target, logits: (0..vocab).map(normal).collect() }
    }

    /// −ln p and its gradient in f64; without cancellation, because the target is left out of the sum.
    pub(super) fn exact(&self) -> (f64, Vec<f64>) {
        let at_target = f64::from(self.logits[self.target]);
        let mut p: Vec<f64> =
            self.logits.iter().map(|&z| (f64::from(z) - at_target).exp()).collect();
        p[self.target] = 0.0;
        let others: f64 = p.iter().sum();
        p[self.target] = -others;
        (others.ln_1p(), p.into_iter().map(|p| p / (1.0 + others)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_those_of_split_mix_64() {
        let mut random = Random(1_234_567);
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(published.map(|_| random.next()), published);
    }

    /// Normal numbers are multiples of 2^-19: the numerators of the first three and the last, and their sum, from a program in Python.
    #[test]
    fn rows_are_those_of_the_specification() {
        let points: [(usize, [usize; ROWS], [i64; 5]); 3] = [
            (
                1000,
                [234, 890, 759, 871, 6, 656, 29, 409],
                [1_395_792, -95_475, 2_690_736, 754_248, -48_026_637],
            ),
            (
                32_000,
                [26_883, 18_885, 6004, 17_758, 16_364, 20_614, 15_124, 3902],
                [71_520, -459_084, -653_115, -1_022_178, -144_448_209],
            ),
            (
                151_936,
                [19_339, 123_859, 1284, 55_386, 53_492, 15_304, 75_265, 109_763],
                [-190_080, -2_005_389, 441_957, -1_186_122, 165_111_918],
            ),
        ];
        for (vocab, targets, numerators) in points {
            let rows: Vec<Row> = Family::Normal(vocab).rows().collect();
            assert_eq!(rows.iter().map(|row| row.target).collect::<Vec<_>>(), targets);
            let all = || rows.iter().flat_map(|row| &row.logits).map(|&z| f64::from(z));
            let sum = all().sum();
            let found = all().take(3).chain(all().next_back()).chain([sum]).map(|x| x * 524_288.0);
            assert_eq!(found.collect::<Vec<_>>(), numerators.map(|n| n as f64));
        }
    }

    #[test]
    fn families_have_the_logits_that_are_specified() {
        let rows = |family: Family| -> Vec<Row> { family.rows().collect() };
        let normal = rows(Family::Normal(1000));
        for (row, (offset, equal)) in
            rows(Family::Offset(1000)).iter().zip(rows(Family::Equal(1000))).enumerate()
        {
            for (class, &n) in normal[row].logits.iter().enumerate() {
                let below = n - (offset.logits[class] - 1000.0);
                assert!((0.0..1.0 / 64.0).contains(&below), "{below}");
                assert_eq!(equal.logits[class], normal[row].logits[0]);
            }
        }
        for (row, (sure, far)) in
            rows(Family::Sure(12)).iter().zip(rows(Family::Far(30))).enumerate()
        {
            for (class, &n) in normal[row].logits.iter().enumerate() {
                let expected = match (class == normal[row].target, row) {
                    (true, _) => (12.0, -30.0),
                    (false, 0) => (0.0, n),
                    (false, _) => (-n.abs(), n),
                };
                assert_eq!((sure.logits[class], far.logits[class]), expected);
            }
        }
    }
}
