//! The corpora: general text of the strong and of the weak base, and the domain with its noisy copy.

use super::problem::{self, Part, Problem, Sum};
use crate::corpus::{KINDS_OF_WORDS, words};
use crate::data::{Corpus, Sample, read};
use crate::failure::{Failure, Outcome};
use crate::rng::Rng;
use std::path::Path;

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

/// Where the lines of general text come from that both bases read.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// Short tasks and sentences.
    Generated,
    /// The lines of a file.
    File(Vec<String>),
}

impl Source {
    /// The lines of a file, cut to what fits a row of the model; generated text where there is no file.
    pub(crate) fn of(file: Option<&Path>, context: usize) -> Outcome<Self> {
        let Some(file) = file else { return Ok(Self::Generated) };
        let mut lines = Vec::new();
        for Sample { question, answer } in read(file)? {
            let text = [question, answer].concat();
            let trimmed = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
            for line in trimmed.filter(|line| !line.is_empty()) {
                // Cuts may part a letter of several bytes.
                let cut = line.chunks(context - 2).map(|part| String::from_utf8_lossy(part).into());
                lines.extend(cut.filter(|part: &String| part.len() < context - 1));
            }
        }
        Ok(Self::File(lines))
    }
}

/// The general text of a base. What both have in common, and how much of it, is the same.
pub(crate) fn general(source: &Source, base: Base, seed: u64, context: usize) -> Outcome<Corpus> {
    let rng = &mut Rng::new(seed, "compare: general text");
    let special = &mut Rng::new(seed, base.name());
    let mut lines = match source {
        Source::Generated => Vec::new(),
        Source::File(lines) => lines.clone(),
    };
    Rng::new(seed, "compare: lines").shuffle(&mut lines);
    let (mut samples, mut bytes, mut special_bytes) = (Vec::new(), 0, 0);
    while bytes < GENERAL_BYTES {
        let is_special = (special_bytes as f64) < SPECIAL_SHARE * bytes as f64;
        let line = match (is_special, base, source) {
            (true, Base::Strong, _) => {
                let (asked, sum) = Sum::draw(special, Part::General).plainly(special);
                asked + &sum
            }
            (true, Base::Weak, _) => letters(special),
            (false, _, source) => match (rng.below(KINDS_OF_WORDS + 5), source) {
                (0 | 1, _) => problem::note(rng),
                (kind, Source::Generated) => words(kind - 2, rng),
                (_, Source::File(_)) => lines.pop().ok_or_else(|| {
                    Failure::Usage(format!(
                        "there is too little general text: about {GENERAL_BYTES} bytes are used"
                    ))
                })?,
            },
        };
        bytes += line.len() + 1;
        special_bytes += if is_special { line.len() + 1 } else { 0 };
        samples.push(Sample::text(line));
    }
    Rng::new(seed, "compare: order").shuffle(&mut samples);
    Corpus::new(format!("general text of the {} base", base.name()), &samples, context)
}

/// A task with letters: one of three kinds.
fn letters(rng: &mut Rng) -> String {
    words(rng.below(3), rng)
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

/// Tasks of a base's general text that have one right answer: the part that is read, and that answer. A file has none, so there
/// they are of what the base has read besides.
pub(crate) fn tasks(source: &Source, base: Base, seed: u64, count: usize) -> Vec<Sample> {
    let rng = &mut Rng::new(seed, "compare: tasks");
    let task = |_| {
        let line = match source {
            Source::Generated => words(rng.below(4), rng),
            Source::File(_) => letters(rng),
        };
        let at = line.rfind(": ").expect("a task has an answer") + 2;
        Sample { question: line[..at].into(), answer: line[at..].into() }
    };
    match (source, base) {
        (Source::File(_), Base::Strong) => gate(1 + seed, count),
        _ => (0..count).map(task).collect(),
    }
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
            let corpus = general(&Source::Generated, base, 1, 96).expect("a corpus");
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

    #[test]
    fn the_lines_of_a_file_are_general_text_of_both_bases() {
        let path = std::env::temp_dir().join(format!("compare-text-{}", std::process::id()));
        let line = |n: usize| format!("{n:05} {}", "word ".repeat(5 + n % 30));
        let text: Vec<String> = (0..12_000).map(line).collect();
        std::fs::write(&path, text.join("\n\n")).expect("a file");
        let source = Source::of(Some(&path), 96).expect("lines");
        for base in [Base::Strong, Base::Weak] {
            let corpus = general(&source, base, 1, 96).expect("a corpus");
            let bytes = |is_line: fn(&[u8]) -> bool| -> usize {
                let lines = corpus.train.iter().filter(|one| is_line(&one.inputs));
                lines.map(|one| one.inputs.len()).sum()
            };
            let lines = bytes(|text| text.windows(9).any(|part| part == b"word word"));
            assert!(2 * lines > bytes(|_| true), "{lines}");
            assert!(corpus.train.iter().all(|one| one.inputs[0] == b'\n'), "a line fits a row");
            let [task] = &tasks(&source, base, 0, 1)[..] else { panic!("one task") };
            assert_eq!(task.answer.iter().all(u8::is_ascii_digit), base == Base::Strong);
        }
        let Source::File(lines) = source else { panic!("a file") };
        let few = Source::File(lines[..1000].to_vec());
        assert!(general(&few, Base::Weak, 1, 96).is_err(), "too little text");
        std::fs::remove_file(&path).expect("tidy");
    }
}
