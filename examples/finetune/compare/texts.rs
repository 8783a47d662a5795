//! The corpora: general text of the strong and of the weak base, and the domain with its noisy copy.

use super::problem::{self, Part, Problem, Sum};
use crate::corpus::{KINDS_OF_WORDS, words};
use crate::data::{Corpus, Sample};
use crate::failure::Outcome;
use crate::rng::Rng;

/// Training, validation and test problems of the domain.
const PROBLEMS: [(Part, usize); 3] =
    [(Part::Train, 400), (Part::Validation, 200), (Part::Test, 400)];
/// Bytes of general text, of which a tenth is held out.
const GENERAL_BYTES: usize = 600_000;
/// Share of the bytes by which the two bases differ.
const SPECIAL_SHARE: f64 = 0.25;
/// Share of the digits that are wrong in the noisy copy.
const NOISE: f32 = 0.15;

/// Which base model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Base {
    /// It has read arithmetic, plainly worded.
    Strong,
    /// It has read tasks with letters instead.
    Weak,
}

impl Base {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Strong => "strong",
            Self::Weak => "weak",
        }
    }
}

/// The general text of a base. What both have in common, and how much of it, is the same.
pub(crate) fn general(base: Base, seed: u64, context: usize) -> Outcome<Corpus> {
    let rng = &mut Rng::new(seed, "compare: general text");
    let special = &mut Rng::new(seed, base.name());
    let (mut samples, mut bytes, mut special_bytes) = (Vec::new(), 0, 0);
    while bytes < GENERAL_BYTES {
        let is_special = (special_bytes as f64) < SPECIAL_SHARE * bytes as f64;
        let line = match (is_special, base) {
            (false, _) => match rng.below(KINDS_OF_WORDS + 5) {
                0 | 1 => problem::note(rng),
                kind => words(kind - 2, rng),
            },
            (true, Base::Strong) => {
                let (asked, sum) = Sum::draw(special, Part::General).plainly(special);
                asked + &sum
            }
            (true, Base::Weak) => words(special.below(3), special),
        };
        bytes += line.len() + 1;
        special_bytes += if is_special { line.len() + 1 } else { 0 };
        samples.push(Sample::text(line));
    }
    Rng::new(seed, "compare: order").shuffle(&mut samples);
    Corpus::new(format!("general text of the {} base", base.name()), &samples, context)
}

/// Sums that neither base has read, worded as the strong one has read others: the gate.
pub(crate) fn gate(seed: u64, count: usize) -> Vec<Sample> {
    let rng = &mut Rng::new(seed, "compare: gate");
    let asked = |_| {
        let (asked, sum) = Sum::draw(rng, Part::Gate).plainly(rng);
        Sample { question: asked.into_bytes(), answer: sum.into_bytes() }
    };
    (0..count).map(asked).collect()
}

/// Tasks of general text that have one right answer: the part that is read, and that answer.
pub(crate) fn tasks(seed: u64, count: usize) -> Vec<Sample> {
    let rng = &mut Rng::new(seed, "compare: tasks");
    let task = |_| {
        let line = words(rng.below(4), rng);
        let at = line.rfind(": ").expect("a task has an answer") + 2;
        Sample { question: line[..at].into(), answer: line[at..].into() }
    };
    (0..count).map(task).collect()
}

/// The domain. Validation and test are the same for every seed; the training problems are its own.
#[derive(Debug, Clone)]
pub(crate) struct Domain {
    pub(crate) train: Vec<Problem>,
    pub(crate) noisy: Vec<Problem>,
    pub(crate) validation: Vec<Problem>,
    pub(crate) test: Vec<Problem>,
}

/// The domain of one seed.
pub(crate) fn domain(seed: u64) -> Domain {
    let [train, validation, test] = PROBLEMS.map(|(part, count)| {
        let seed = if part == Part::Train { seed } else { 0 };
        let rng = &mut Rng::new(seed, &format!("compare: {part:?}"));
        (0..count).map(|_| Problem::draw(rng, part)).collect::<Vec<_>>()
    });
    let rng = &mut Rng::new(seed, "compare: noise");
    let noisy = train.iter().map(|problem| problem.clone().with_noise(rng, NOISE)).collect();
    Domain { train, noisy, validation, test }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_strong_base_s_text_is_arithmetic_and_none_of_the_weak_one_s() {
        let digits = |base| {
            let corpus = general(base, 1, 96).expect("a corpus");
            let bytes: Vec<u8> =
                corpus.train.iter().flat_map(|sequence| sequence.inputs.clone()).collect();
            let numbers = corpus
                .train
                .iter()
                .filter(|sequence| sequence.inputs.iter().any(u8::is_ascii_digit))
                .map(|sequence| sequence.inputs.len())
                .sum::<usize>();
            (bytes.len(), numbers as f64 / bytes.len() as f64)
        };
        let ((strong, share), (weak, none)) = (digits(Base::Strong), digits(Base::Weak));
        assert!((share - SPECIAL_SHARE).abs() < 0.01, "{share}");
        assert!(none == 0.0 && strong.abs_diff(weak) < strong / 50, "{none} {strong} {weak}");
    }

    #[test]
    fn seeds_differ_in_what_is_learnt_from_and_not_in_what_is_measured_on() {
        let (one, other) = (domain(1), domain(2));
        assert_eq!((one.validation == other.validation, one.test == other.test), (true, true));
        assert_ne!(one.train, other.train);
        assert_eq!(one.train, domain(1).train);
        assert_ne!(one.train, one.noisy);
        assert!(one.train.iter().zip(&one.noisy).all(|(a, b)| a.question == b.question));
    }
}
