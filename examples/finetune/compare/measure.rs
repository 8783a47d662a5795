//! What is measured of a model: likelihood by class, whole answers, how far it is from the base.

use super::problem::{Class, Problem};
use crate::data::{BOUNDARY, Sample, sequences};
use crate::loss::{self, Observed};
use crate::model::Transformer;
use crate::objective::Objective;
use crate::pack::in_order;
use crate::train::Lesson;
use candle_core::{D, Result, Tensor};

/// Tokens in a row that holds one problem.
pub(crate) const PROBLEM_CONTEXT: usize = 42;
/// Rows of a batch that is measured on.
const ROWS: usize = 50;

/// Text to measure on: batches, and the class of each token that counts.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) lessons: Vec<Lesson>,
    classes: Vec<Vec<Option<Class>>>,
}

impl Text {
    /// Problems of the domain, one to a row.
    pub(crate) fn of_problems(problems: &[Problem]) -> Self {
        let lessons = problems.chunks(ROWS).map(|problems| Lesson::new(in_rows(problems)));
        let classes = problems.chunks(ROWS).map(classes_in_rows);
        Self { classes: classes.collect(), lessons: lessons.collect() }
    }

    /// Samples whose every answered byte is of one class. The boundary behind an answer does not count: general text may go on.
    pub(crate) fn of_samples(samples: &[Sample], context: usize, class: Class) -> Self {
        let cut: Vec<_> = samples.iter().flat_map(|sample| sequences(sample, context)).collect();
        let batches = in_order(&cut, ROWS, context, usize::MAX / ROWS);
        let mut text = Self::of_lessons(batches.into_iter().map(Lesson::new).collect(), class);
        for (lesson, classes) in text.lessons.iter().zip(&mut text.classes) {
            let targets = lesson.known.targets.iter().zip(classes);
            targets
                .filter(|(target, _)| **target == i32::from(BOUNDARY))
                .for_each(|(_, class)| *class = None);
        }
        text
    }

    /// Batches whose every learnt byte is of one class.
    pub(crate) fn of_lessons(lessons: Vec<Lesson>, class: Class) -> Self {
        let of = |lesson: &Lesson| {
            let mut classes = vec![None; lesson.known.targets.len()];
            lesson.tokens.learnt().for_each(|token| classes[token] = Some(class));
            classes
        };
        Self { classes: lessons.iter().map(of).collect(), lessons }
    }
}

/// Problems as a batch of a row each.
pub(crate) fn in_rows(problems: &[Problem]) -> crate::pack::Tokens {
    let sample = |problem: &Problem| Sample {
        question: problem.question.clone().into_bytes(),
        answer: problem.answer.clone(),
    };
    let cut: Vec<_> =
        problems.iter().flat_map(|p| sequences(&sample(p), PROBLEM_CONTEXT)).collect();
    let mut batches = in_order(&cut, problems.len(), PROBLEM_CONTEXT, 1);
    assert!(cut.len() == problems.len() && batches.len() == 1, "a problem fits a row");
    batches.remove(0)
}

/// The classes of the tokens of [`in_rows`]: the answer's begin where its first byte is predicted, the boundary behind
/// it is format.
fn classes_in_rows(problems: &[Problem]) -> Vec<Option<Class>> {
    let mut classes = Vec::with_capacity(problems.len() * PROBLEM_CONTEXT);
    for (row, problem) in problems.iter().enumerate() {
        classes.extend(std::iter::repeat_n(None, problem.question.len()));
        classes.extend(problem.classes.iter().copied().map(Some));
        classes.push(Some(Class::Format));
        classes.resize((row + 1) * PROBLEM_CONTEXT, None);
    }
    classes
}

/// Sums over the tokens of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Tally {
    tokens: usize,
    nll: f64,
    right: usize,
    entropy: f64,
}

/// A model on a text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// By class.
    tallies: [Tally; 4],
    /// Sequences whose every byte but the style is right.
    exact: usize,
    /// Summed nll and tokens of each sequence.
    nll_of_sequences: Vec<(f64, usize)>,
    /// Of each learnt token, in order: ln p, and the objective's loss and weight.
    pub(crate) log_probs: Vec<f32>,
    pub(crate) losses: Vec<f32>,
    pub(crate) weights: Vec<f32>,
}

impl Seen {
    /// Mean nll of a class, in nats.
    pub(crate) fn nll(&self, class: Class) -> f64 {
        let tally = self.tallies[class as usize];
        tally.nll / tally.tokens as f64
    }

    /// Share of a class's bytes that are right.
    pub(crate) fn right(&self, class: Class) -> f64 {
        let tally = self.tallies[class as usize];
        tally.right as f64 / tally.tokens as f64
    }

    /// Mean entropy of what the model expects at bytes of a class.
    pub(crate) fn entropy(&self, class: Class) -> f64 {
        let tally = self.tallies[class as usize];
        tally.entropy / tally.tokens as f64
    }

    /// Share of the answers that are right as a whole.
    pub(crate) fn exact(&self) -> f64 {
        self.exact as f64 / self.nll_of_sequences.len() as f64
    }

    /// Mean nll of each sequence.
    pub(crate) fn mean_nlls(&self) -> Vec<f64> {
        self.nll_of_sequences.iter().map(|&(nll, tokens)| nll / tokens as f64).collect()
    }

    /// Share of the learnt tokens whose probability is within some bounds.
    pub(crate) fn share(&self, within: impl Fn(f64) -> bool) -> f64 {
        let count = self.log_probs.iter().filter(|&&log_p| within(f64::from(log_p).exp())).count();
        count as f64 / self.log_probs.len() as f64
    }

    /// Takes in one batch.
    fn add(&mut self, lesson: &Lesson, classes: &[Option<Class>], seen: &Observed) {
        let known = &lesson.known;
        for bounds in known.offsets.windows(2) {
            let rows = bounds[0].unsigned_abs() as usize..bounds[1].unsigned_abs() as usize;
            let (mut nll, mut learnt, mut wrong) = (0.0, 0, false);
            for (token, class) in rows.filter_map(|token| Some((token, classes[token]?))) {
                let right = seen.is_right(token, known);
                learnt += 1;
                nll -= f64::from(seen.log_probs[token]);
                wrong |= !right && class != Class::Style;
                let tally = &mut self.tallies[class as usize];
                tally.tokens += 1;
                tally.nll -= f64::from(seen.log_probs[token]);
                tally.right += usize::from(right);
                tally.entropy += f64::from(seen.entropy[token]);
                self.log_probs.push(seen.log_probs[token]);
                self.losses.push(seen.losses[token]);
                self.weights.push(seen.weights[token]);
            }
            if learnt > 0 {
                self.nll_of_sequences.push((nll, learnt));
                self.exact += usize::from(!wrong);
            }
        }
    }
}

/// Measures a model on a text, with the weights that an objective would give its tokens.
pub(crate) fn measure(model: &Transformer, text: &Text, objective: &Objective) -> Result<Seen> {
    let mut total = Seen::default();
    for (lesson, classes) in text.lessons.iter().zip(&text.classes) {
        let hidden = model.forward(&lesson.tokens)?;
        total.add(
            lesson,
            classes,
            &loss::observe(objective, &hidden, model.head(), &lesson.known)?,
        );
    }
    Ok(total)
}

/// The same for SFT, and what the model expects at each learnt token of the text, as ln p of every byte: `[tokens, vocab]`.
pub(crate) fn expectations(model: &Transformer, text: &Text) -> Result<(Seen, Tensor)> {
    let (mut total, mut parts) = (Seen::default(), Vec::new());
    let sft = Objective::pretraining();
    for (lesson, classes) in text.lessons.iter().zip(&text.classes) {
        let hidden = model.forward(&lesson.tokens)?;
        total.add(lesson, classes, &loss::observe(&sft, &hidden, model.head(), &lesson.known)?);
        parts.push(expected(model, lesson, &hidden)?);
    }
    Ok((total, Tensor::cat(&parts, 0)?))
}

/// ln p of every byte at each learnt token of a batch.
fn expected(model: &Transformer, lesson: &Lesson, hidden: &Tensor) -> Result<Tensor> {
    let rows: Vec<u32> =
        lesson.tokens.learnt().map(|token| u32::try_from(token).expect("small")).collect();
    let rows = Tensor::from_slice(&rows, rows.len(), &candle_core::Device::Cpu)?;
    let logits = hidden.detach().index_select(&rows, 0)?.matmul(&model.head().detach())?;
    let logits = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
    let log_sum = logits.exp()?.sum_keepdim(D::Minus1)?.log()?;
    logits.broadcast_sub(&log_sum)
}

/// Mean KL divergence of a model from another, Σ p·(ln p − ln q) with p the first, in nats a token.
pub(crate) fn kl(from: &Tensor, to: &Tensor) -> Result<f64> {
    let each = (from.exp()? * (from - to)?)?.sum(D::Minus1)?;
    Ok(f64::from(each.mean_all()?.to_scalar::<f32>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::problem::Part;
    use crate::rng::Rng;
    use candle_core::Device;

    fn problems() -> Vec<Problem> {
        let rng = &mut Rng::new(1, "test");
        (0..3).map(|_| Problem::draw(rng, Part::Test)).collect()
    }

    /// What a model that answers everything right with probability one half would be seen to do.
    fn perfect(lesson: &Lesson) -> Observed {
        let targets = &lesson.known.targets;
        Observed {
            log_probs: vec![0.5_f32.ln(); targets.len()],
            losses: vec![1.0; targets.len()],
            weights: vec![1.0; targets.len()],
            entropy: vec![0.25; targets.len()],
            answers: targets.iter().map(|target| target.unsigned_abs()).collect(),
        }
    }

    /// The token of a class's first byte in the second problem.
    fn first_of(text: &Text, class: Class) -> usize {
        let mut tokens = PROBLEM_CONTEXT..2 * PROBLEM_CONTEXT;
        tokens.find(|&token| text.classes[0][token] == Some(class)).expect("a byte of the class")
    }

    #[test]
    fn classes_lie_where_their_bytes_are_predicted() {
        let problems = problems();
        let text = Text::of_problems(&problems);
        for (row, problem) in problems.iter().enumerate() {
            let rows = row * PROBLEM_CONTEXT..(row + 1) * PROBLEM_CONTEXT;
            let learnt: Vec<(i32, Option<Class>)> = rows
                .filter(|&token| text.lessons[0].known.targets[token] >= 0)
                .map(|token| (text.lessons[0].known.targets[token], text.classes[0][token]))
                .collect();
            let bytes =
                problem.answer.iter().map(|&byte| i32::from(byte)).chain([i32::from(b'\n')]);
            let classes = problem.classes.iter().copied().chain([Class::Format]).map(Some);
            assert_eq!(learnt, bytes.zip(classes).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_answer_counts_when_all_but_its_style_is_right() {
        let text = Text::of_problems(&problems());
        let (lesson, classes) = (&text.lessons[0], &text.classes[0]);
        let exact = |wrong: Option<Class>| {
            let mut seen = perfect(lesson);
            if let Some(class) = wrong {
                seen.answers[first_of(&text, class)] = 0;
            }
            let mut total = Seen::default();
            total.add(lesson, classes, &seen);
            (total.exact() * 3.0).round()
        };
        assert_eq!((exact(None), exact(Some(Class::Style))), (3.0, 3.0));
        assert_eq!((exact(Some(Class::Format)), exact(Some(Class::Reasoning))), (2.0, 2.0));
    }

    #[test]
    fn what_follows_an_answer_in_general_text_does_not_count() {
        let samples = [Sample { question: b"47+8=".to_vec(), answer: b"55".to_vec() }];
        let text = Text::of_samples(&samples, 16, Class::Reasoning);
        let (lesson, classes) = (&text.lessons[0], &text.classes[0]);
        let exact = |wrong: usize| {
            let mut seen = perfect(lesson);
            seen.answers[wrong] = 0;
            let mut total = Seen::default();
            total.add(lesson, classes, &seen);
            total.exact()
        };
        // The boundary before, five bytes read, and the answer's two are predicted from the fifth on.
        assert_eq!((exact(5), exact(6), exact(7)), (0.0, 0.0, 1.0));
    }

    #[test]
    fn nll_and_right_bytes_are_counted_by_class() {
        let text = Text::of_problems(&problems());
        let mut seen = perfect(&text.lessons[0]);
        let at = first_of(&text, Class::Reasoning);
        (seen.answers[at], seen.log_probs[at]) = (0, -30.0);
        let mut total = Seen::default();
        total.add(&text.lessons[0], &text.classes[0], &seen);
        let ln2 = std::f64::consts::LN_2;
        let count = text.classes[0].iter().filter(|&&c| c == Some(Class::Reasoning)).count() as f64;
        let expected = (ln2 * (count - 1.0) + 30.0) / count;
        assert!((total.nll(Class::Reasoning) - expected).abs() < 1e-5);
        assert!((total.right(Class::Reasoning) - (count - 1.0) / count).abs() < 1e-12);
        assert!((total.nll(Class::Style) - ln2).abs() < 1e-6 && total.right(Class::Style) == 1.0);
        assert!((total.entropy(Class::Format) - 0.25).abs() < 1e-6);
        assert!((total.share(|p| p < 0.01) * total.log_probs.len() as f64 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn kl_is_nothing_of_oneself_and_the_sum_by_hand_of_another() -> Result<()> {
        let of = |p: [f32; 3]| Tensor::from_vec(p.map(f32::ln).to_vec(), (1, 3), &Device::Cpu);
        let (p, q) = (of([0.5, 0.25, 0.25])?, of([0.25, 0.5, 0.25])?);
        assert!(kl(&p, &p)?.abs() < 1e-7);
        let expected = 0.5 * 2.0_f64.ln() - 0.25 * 2.0_f64.ln();
        assert!((kl(&p, &q)? - expected).abs() < 1e-6);
        let skewed = of([0.9, 0.05, 0.05])?;
        assert!((kl(&p, &skewed)? - kl(&skewed, &p)?).abs() > 0.01, "it has a direction");
        Ok(())
    }
}
