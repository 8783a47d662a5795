//! Text into samples, samples into token sequences: what is read, what is masked, what is held out.

use crate::failure::{Failure, Outcome};
use std::fs;
use std::path::Path;

/// The target of a token that is not to be learnt.
pub(crate) const IGNORE_INDEX: i32 = -100;
/// The byte that begins and ends every sample.
pub(crate) const BOUNDARY: u8 = b'\n';
/// One sample in this many is held out for the evaluation.
const HELD_OUT_SHARE: usize = 10;

/// A question, which is only read, and its answer, which is learnt. Plain text has no question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The part that gives the context. Its targets are ignored.
    pub(crate) question: Vec<u8>,
    /// The part to be learnt.
    pub(crate) answer: Vec<u8>,
}

impl Sample {
    /// Plain text: all of it is learnt.
    pub(crate) fn text(text: String) -> Self {
        Self { question: Vec::new(), answer: text.into_bytes() }
    }

    /// A question and its answer in the one layout that all domains share.
    pub(crate) fn answer(question: &str, answer: &str) -> Self {
        Self {
            question: format!("Q: {question} A: ").into_bytes(),
            answer: answer.as_bytes().to_vec(),
        }
    }
}

/// A run of at most `context` tokens: what the model reads and what it should answer at each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sequence {
    /// The byte read at each position.
    pub(crate) inputs: Vec<u8>,
    /// The byte that comes next, or [`IGNORE_INDEX`].
    pub(crate) targets: Vec<i32>,
}

/// A corpus, split.
#[derive(Debug, Clone)]
pub(crate) struct Corpus {
    /// Where it came from, for people.
    pub(crate) name: String,
    /// What is learnt from.
    pub(crate) train: Vec<Sequence>,
    /// What is only measured on.
    pub(crate) held_out: Vec<Sequence>,
    /// A hash of every sample, for the key of the cached base model.
    pub(crate) fingerprint: u64,
}

impl Corpus {
    /// Splits the samples and cuts them into sequences of at most `context` tokens.
    pub(crate) fn new(name: String, samples: &[Sample], context: usize) -> Outcome<Self> {
        let all: Vec<u8> = samples
            .iter()
            .flat_map(|s| s.question.iter().chain(&[0]).chain(&s.answer).chain(&[1]))
            .copied()
            .collect();
        let (train, held_out) = split(samples, context);
        if train.is_empty() || held_out.is_empty() {
            return Err(Failure::Usage(format!(
                "{name}: too little text to train on one part and measure on another"
            )));
        }
        Ok(Self { name, train, held_out, fingerprint: crate::rng::hash(&all) })
    }
}

/// The last tenth is held out: of the samples, or of the sequences where there is but one long text.
fn split(samples: &[Sample], context: usize) -> (Vec<Sequence>, Vec<Sequence>) {
    let cut = |part: &[Sample]| part.iter().flat_map(|s| sequences(s, context)).collect::<Vec<_>>();
    if let [text] = samples {
        let mut train = sequences(text, context);
        let held_out = train.split_off(train.len() - held_out_of(train.len()));
        return (train, held_out);
    }
    let (train, held_out) = samples.split_at(samples.len() - held_out_of(samples.len()));
    (cut(train), cut(held_out))
}

/// How many of `count` are held out: one at least, where there are two or more.
fn held_out_of(count: usize) -> usize {
    if count < 2 { 0 } else { (count / HELD_OUT_SHARE).max(1) }
}

/// Cuts one sample into sequences of at most `context` tokens. A sequence with nothing to learn in it,
/// such as the middle of a long question, is dropped.
pub(crate) fn sequences(sample: &Sample, context: usize) -> Vec<Sequence> {
    let mut bytes = vec![BOUNDARY];
    bytes.extend(&sample.question);
    bytes.extend(&sample.answer);
    bytes.push(BOUNDARY);
    let first_learnt = 1 + sample.question.len();
    let targets: Vec<i32> = (1..bytes.len())
        .map(|at| if at < first_learnt { IGNORE_INDEX } else { i32::from(bytes[at]) })
        .collect();
    bytes.pop();
    bytes
        .chunks(context)
        .zip(targets.chunks(context))
        .filter(|(_, targets)| targets.iter().any(|&target| target != IGNORE_INDEX))
        .map(|(inputs, targets)| Sequence { inputs: inputs.to_vec(), targets: targets.to_vec() })
        .collect()
}

/// Reads a file: JSON lines with `question` and `answer` if its name or its first line says so, else plain text.
pub(crate) fn read(path: &Path) -> Outcome<Vec<Sample>> {
    let bytes = fs::read(path)
        .map_err(|why| Failure::Usage(format!("cannot read {}: {why}", path.display())))?;
    let text = String::from_utf8_lossy(&bytes);
    if text.trim().is_empty() {
        return Err(Failure::Usage(format!("{} is empty", path.display())));
    }
    if is_json_lines(path, &text) {
        parse_json_lines(&text).map_err(|why| Failure::Usage(format!("{}, {why}", path.display())))
    } else {
        Ok(vec![Sample::text(text.into_owned())])
    }
}

/// Whether the name ends in `.jsonl` or `.json`, or the first line is a JSON object.
fn is_json_lines(path: &Path, text: &str) -> bool {
    let named = path.extension().is_some_and(|end| end == "jsonl" || end == "json");
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    named || serde_json::from_str::<serde_json::Value>(first).is_ok_and(|value| value.is_object())
}

/// One sample a line; blank lines are skipped.
fn parse_json_lines(text: &str) -> Result<Vec<Sample>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| parse_line(line).map_err(|why| format!("line {}: {why}", index + 1)))
        .collect()
}

/// A JSON object with the strings `question` and `answer`.
fn parse_line(line: &str) -> Result<Sample, String> {
    let object: serde_json::Value =
        serde_json::from_str(line).map_err(|why| format!("not JSON ({why})"))?;
    let field = |name: &str| {
        object
            .get(name)
            .and_then(serde_json::Value::as_str)
            .ok_or_else(|| format!("no string called \"{name}\""))
    };
    let (question, answer) = (field("question")?, field("answer")?);
    if answer.is_empty() {
        Err("the answer is empty".to_owned())
    } else {
        Ok(Sample::answer(question, answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_masked_and_the_answer_is_not() {
        let [sequence] =
            &sequences(&Sample { question: b"ab".to_vec(), answer: b"c".to_vec() }, 16)[..]
        else {
            panic!("one sequence")
        };
        assert_eq!(sequence.inputs, b"\nabc");
        assert_eq!(
            sequence.targets,
            [IGNORE_INDEX, IGNORE_INDEX, i32::from(b'c'), i32::from(b'\n')]
        );
    }

    #[test]
    fn long_samples_are_cut_and_fully_masked_pieces_dropped() {
        let pieces =
            sequences(&Sample { question: b"12345678".to_vec(), answer: b"abcd".to_vec() }, 4);
        let inputs: Vec<&[u8]> = pieces.iter().map(|piece| &piece.inputs[..]).collect();
        assert_eq!(inputs, [b"8abc".as_slice(), b"d"]);
        let learnt = pieces
            .iter()
            .flat_map(|piece| &piece.targets)
            .filter(|&&target| target != IGNORE_INDEX)
            .count();
        assert_eq!(learnt, 5, "the four bytes of the answer and the boundary");
    }

    #[test]
    fn json_lines_give_samples_and_bad_lines_are_named() {
        let good = "{\"question\": \"1+1\", \"answer\": \"2\"}\n\n{\"question\": \"\\u00e9\", \"answer\": \"e\"}\n";
        let samples = parse_json_lines(good).expect("two samples");
        assert_eq!(samples.len(), 2);
        assert_eq!(samples[0], Sample::answer("1+1", "2"));
        assert!(
            parse_json_lines("{\"question\": \"a\"}")
                .unwrap_err()
                .contains("line 1: no string called \"answer\"")
        );
        assert!(parse_json_lines(&format!("{good}oops")).unwrap_err().contains("line 4: not JSON"));
    }

    #[test]
    fn json_lines_are_known_by_name_or_by_their_first_line() {
        assert!(is_json_lines(Path::new("a.jsonl"), "oops"));
        assert!(is_json_lines(Path::new("a.txt"), "\n{\"question\": \"a\"}\n"));
        assert!(!is_json_lines(Path::new("a.txt"), "{ printf(\"hello\"); }"));
    }

    #[test]
    fn a_tenth_is_held_out_and_one_text_is_split_by_position() {
        let samples: Vec<Sample> = (0..30).map(|n| Sample::text(format!("sample {n}"))).collect();
        let (train, held_out) = split(&samples, 32);
        assert_eq!((train.len(), held_out.len()), (27, 3));
        let (train, held_out) = split(&[Sample::text("x".repeat(99))], 10);
        assert_eq!((train.len(), held_out.len()), (9, 1));
        assert_eq!(split(&samples[..1], 32).1.len(), 0, "too short to split");
    }
}
