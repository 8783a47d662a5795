//! The reinforcement setting: what a model writes itself, and whether it is right.

use super::arena::{Arena, log_probs};
use super::measure::PROBLEM_CONTEXT;
use super::method::{Beside, Method};
use super::problem::Problem;
use crate::data::{BOUNDARY, Sample, Sequence, sequences};
use crate::model::{Memory, Transformer, VOCAB};
use crate::pack::{Tokens, in_order};
use crate::rng::Rng;
use crate::train::Lesson;
use candle_core::{Result, Tensor};
use surprisal::Pair;

/// Samples of a problem.
const SAMPLES: usize = 4;
/// Problems that are sampled before the model has learnt from any of them.
const PROBLEMS: usize = 16;
/// Samples in a step.
const ROWS: usize = 16;
/// What keeps the advantage finite where all samples of a problem are alike.
const LEAST_DEVIATION: f64 = 1e-4;

/// A problem, what a model answered, and whether it is right.
#[derive(Debug, Clone)]
struct Try {
    sequence: Sequence,
    right: bool,
    advantage: f32,
}

/// Where the lessons of a method come from that learns from samples; of others, none do.
pub(crate) struct Policy<'a> {
    arena: &'a Arena,
    method: &'a Method,
    rng: Rng,
    /// Lessons that have been made and not been learnt from; those of offline methods come round again.
    ready: Vec<Lesson>,
    drawn: usize,
}

impl<'a> Policy<'a> {
    /// Draws the samples of offline methods.
    pub(crate) fn new(arena: &'a Arena, method: &'a Method) -> Result<Self> {
        let mut rng = Rng::new(arena.seed, "compare: samples");
        let start = arena.start_model()?;
        let ready = match method.beside {
            Beside::RightSamples | Beside::PairedSamples => {
                let mut lessons = Vec::new();
                let tries = attempts(&start, &arena.problems, &mut rng)?;
                if method.beside == Beside::RightSamples {
                    let mut all: Vec<Try> = tries.into_iter().flatten().collect();
                    rng.shuffle(&mut all);
                    for part in all.chunks(2 * ROWS) {
                        lessons.push(kept(part));
                    }
                } else {
                    for part in pairs(&tries).chunks(ROWS / 2) {
                        lessons.push(paired(part, &start)?);
                    }
                }
                lessons
            }
            _ => Vec::new(),
        };
        Ok(Self { arena, method, rng, ready, drawn: 0 })
    }

    /// The lesson of a step.
    pub(crate) fn lesson(&mut self, model: &Transformer, step: usize) -> Result<Option<Lesson>> {
        match self.method.beside {
            Beside::RightSamples | Beside::PairedSamples => {
                let lesson = self.ready.get(step % self.ready.len().max(1));
                Ok(Some(lesson.cloned().unwrap_or_else(nothing)))
            }
            Beside::OnPolicy => {
                if self.ready.is_empty() {
                    self.ready = self.on_policy(model)?;
                }
                Ok(self.ready.pop())
            }
            _ => Ok(None),
        }
    }

    /// Lessons of what the model writes now.
    fn on_policy(&mut self, model: &Transformer) -> Result<Vec<Lesson>> {
        let problems: Vec<Problem> = (0..PROBLEMS)
            .map(|index| {
                self.arena.problems[(self.drawn + index) % self.arena.problems.len()].clone()
            })
            .collect();
        self.drawn += PROBLEMS;
        let mut tries = attempts(model, &problems, &mut self.rng)?;
        tries.iter_mut().for_each(|group| judge(group));
        let mut all: Vec<Try> = tries.into_iter().flatten().collect();
        self.rng.shuffle(&mut all);
        all.chunks(ROWS).map(|part| advantaged(part, model, &self.arena.start_model()?)).collect()
    }
}

/// Advantages within a group: (R − mean) / (standard deviation + a little).
fn judge(group: &mut [Try]) {
    let n = group.len() as f64;
    let reward = |one: &Try| f64::from(u8::from(one.right));
    let mean = group.iter().map(reward).sum::<f64>() / n;
    let variance = group.iter().map(|one| (reward(one) - mean).powi(2)).sum::<f64>() / n;
    for one in group {
        #[expect(clippy::cast_possible_truncation, reason = "an advantage is of f32")]
        let advantage = ((reward(one) - mean) / (variance.sqrt() + LEAST_DEVIATION)) as f32;
        one.advantage = advantage;
    }
}

/// A right and a wrong answer to each problem that has both.
fn pairs(tries: &[Vec<Try>]) -> Vec<[Try; 2]> {
    let of = |group: &Vec<Try>| {
        let first = |right| group.iter().find(|one| one.right == right).cloned();
        Some([first(true)?, first(false)?])
    };
    tries.iter().filter_map(of).collect()
}

/// A lesson of samples, in order.
fn lesson(tries: &[Try]) -> Lesson {
    let sequences: Vec<Sequence> = tries.iter().map(|one| one.sequence.clone()).collect();
    let rows = sequences.len().max(1);
    let batch = in_order(&sequences, rows, PROBLEM_CONTEXT, 1).pop();
    Lesson::new(batch.unwrap_or_else(|| Tokens::padding(PROBLEM_CONTEXT)))
}

/// A lesson for rejection sampling: all samples, and which to keep.
fn kept(tries: &[Try]) -> Lesson {
    let mut lesson = lesson(tries);
    if !tries.is_empty() {
        lesson.known.keep = tries.iter().map(|one| one.right).collect();
    }
    lesson
}

/// A lesson where nothing is right, or nothing wrong: there is nothing to learn.
fn nothing() -> Lesson {
    let Lesson { tokens, known } = kept(&[]);
    let log_probs = vec![0.0; known.targets.len()];
    Lesson { known: known.with_base(log_probs), tokens }
}

/// A lesson of preference pairs, with the start model as the reference.
fn paired(pairs: &[[Try; 2]], start: &Transformer) -> Result<Lesson> {
    let mut lesson = lesson(&pairs.concat());
    lesson.known.pairs =
        (0..pairs.len()).map(|pair| Pair { chosen: 2 * pair, rejected: 2 * pair + 1 }).collect();
    lesson.known.reference = Some(log_probs(start, &lesson)?);
    Ok(lesson)
}

/// A lesson of the model's own samples.
fn advantaged(tries: &[Try], model: &Transformer, start: &Transformer) -> Result<Lesson> {
    let mut lesson = lesson(tries);
    let known = &mut lesson.known;
    for (bounds, one) in known.offsets.windows(2).zip(tries) {
        let rows = bounds[0].unsigned_abs() as usize..bounds[1].unsigned_abs() as usize;
        known.advantages[rows].fill(one.advantage);
    }
    lesson.known.old = Some(log_probs(model, &lesson)?);
    lesson.known.reference = Some(log_probs(start, &lesson)?);
    Ok(lesson)
}

/// Answers of a model to problems, several to each.
fn attempts(model: &Transformer, problems: &[Problem], rng: &mut Rng) -> Result<Vec<Vec<Try>>> {
    let mut all = Vec::new();
    for part in problems.chunks(PROBLEMS) {
        let prompts: Vec<Vec<u8>> = part
            .iter()
            .flat_map(|problem| std::iter::repeat_n(problem.question.clone().into_bytes(), SAMPLES))
            .collect();
        let answers = write(model, &prompts, rng)?;
        for (problem, answers) in part.iter().zip(answers.chunks(SAMPLES)) {
            let of = |answer: &Option<Vec<u8>>| {
                let text = answer.clone().unwrap_or_default();
                let right = answer.is_some() && problem.is_answered_by(&text);
                let sample = Sample { question: problem.question.clone().into(), answer: text };
                let sequence = sequences(&sample, PROBLEM_CONTEXT).remove(0);
                Try { sequence, right, advantage: 0.0 }
            };
            all.push(answers.iter().map(of).collect());
        }
    }
    Ok(all)
}

/// What a model writes after prompts of one length, at temperature 1, up to the boundary; nothing where it does not come to an
/// end.
fn write(model: &Transformer, prompts: &[Vec<u8>], rng: &mut Rng) -> Result<Vec<Option<Vec<u8>>>> {
    let prompt = prompts.first().map_or(0, Vec::len);
    assert!(prompts.iter().all(|text| text.len() == prompt), "prompts of one length");
    let mut memory = Memory::default();
    let mut hidden = model.read(&vec![BOUNDARY; prompts.len()], &mut memory)?;
    for at in 0..prompt {
        let bytes: Vec<u8> = prompts.iter().map(|text| text[at]).collect();
        hidden = model.read(&bytes, &mut memory)?;
    }
    let mut texts = vec![Vec::new(); prompts.len()];
    let mut ended = vec![None; prompts.len()];
    for _ in prompt + 1..PROBLEM_CONTEXT {
        let next = draw(model, &hidden, rng)?;
        for ((text, &byte), ended) in texts.iter_mut().zip(&next).zip(&mut ended) {
            if byte == BOUNDARY && ended.is_none() {
                *ended = Some(text.clone());
            }
            text.push(byte);
        }
        if ended.iter().all(Option::is_some) {
            break;
        }
        hidden = model.read(&next, &mut memory)?;
    }
    Ok(ended)
}

/// A byte for each hidden state.
fn draw(model: &Transformer, hidden: &Tensor, rng: &mut Rng) -> Result<Vec<u8>> {
    let logits = hidden.matmul(&model.head().detach())?.flatten_all()?.to_vec1::<f32>()?;
    Ok(logits.chunks(VOCAB).map(|logits| pick(logits, rng.unit())).collect())
}

/// The byte at a place between 0 and 1 among all, each as wide as it is probable.
fn pick(logits: &[f32], place: f32) -> u8 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f32> = logits.iter().map(|logit| (logit - max).exp()).collect();
    let mut left = place * weights.iter().sum::<f32>();
    let found = weights.iter().position(|weight| {
        left -= weight;
        left < 0.0
    });
    u8::try_from(found.unwrap_or(0)).expect("a byte")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_of(right: bool) -> Try {
        let sample = Sample { question: b"1+1> ".to_vec(), answer: b"2".to_vec() };
        Try { sequence: sequences(&sample, PROBLEM_CONTEXT).remove(0), right, advantage: 0.0 }
    }

    #[test]
    fn advantages_of_a_group_add_up_to_nothing_and_agreement_has_none() {
        let mut group = [true, false, false, false].map(try_of);
        judge(&mut group);
        assert!(group.iter().map(|one| one.advantage).sum::<f32>().abs() < 1e-5);
        assert!((group[0].advantage - 3.0_f32.sqrt()).abs() < 1e-3);
        let mut group = [true; 4].map(try_of);
        judge(&mut group);
        assert!(group.iter().all(|one| one.advantage == 0.0));
    }

    #[test]
    fn pairs_and_kept_samples_are_where_their_sequences_are() {
        let tries = vec![
            vec![try_of(false), try_of(true), try_of(true)],
            vec![try_of(true)],
            vec![try_of(true), try_of(false)],
        ];
        let pairs = pairs(&tries);
        assert_eq!(pairs.len(), 2);
        assert!(pairs.iter().all(|pair| pair[0].right && !pair[1].right));
        let lesson = kept(&tries.concat());
        assert_eq!(lesson.known.keep, [false, true, true, true, true, false]);
        assert_eq!(lesson.known.offsets.len(), 7);
        assert_eq!(kept(&[]).tokens.learnt().count(), 0);
    }

    #[test]
    fn bytes_are_drawn_as_they_are_probable() {
        let mut logits = vec![f32::NEG_INFINITY; VOCAB];
        (logits[3], logits[200]) = (0.0, 3.0_f32.ln());
        let mut rng = Rng::new(1, "test");
        let high = (0..4000).filter(|_| pick(&logits, rng.unit()) == 200).count();
        assert!((2850..3150).contains(&high), "{high}");
        assert_eq!((pick(&logits, 0.0), pick(&logits, 0.26)), (3, 200));
    }
}
