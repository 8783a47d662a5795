//! Where runs meet: one start model, one seed's problems in one order, and what every model is measured on.

use super::measure::{Seen, Text, expectations, in_rows, kl, measure};
use super::problem::{Class, Problem};
use super::record::{Final, Point, Probe};
use super::texts::Domain;
use crate::data::{Corpus, Sample};
use crate::loss::{self, Known};
use crate::model::{Config, Transformer};
use crate::objective::Objective;
use crate::pack::{Dealer, in_order};
use crate::rng::Rng;
use crate::train::Lesson;
use candle_core::{Error, Result, Tensor};
use std::collections::HashMap;
use surprisal::diagnose;

/// Training problems that the probe consists of.
const PROBE: usize = 100;
/// Rows of held-out general text that are measured on.
const GENERAL_ROWS: usize = 32;
/// Upper bounds of the bins of probability: decades below one half, then ever nearer to 1.
pub(crate) const BINS: [f64; 8] = [1e-4, 1e-3, 1e-2, 1e-1, 0.5, 0.9, 0.99, 1.1];
/// Base probabilities that part the cohorts.
const COHORTS: [f64; 2] = [0.2, 0.8];

/// What all runs of one setting and seed share.
pub(crate) struct Arena {
    pub(crate) config: Config,
    pub(crate) seed: u64,
    /// Weights of the start model.
    pub(crate) start: HashMap<String, Tensor>,
    /// The training problems, as they are learnt from: noisy, perhaps.
    pub(crate) problems: Vec<Problem>,
    /// One lesson a step; the start model is the reference and the old policy.
    pub(crate) lessons: Vec<Lesson>,
    /// The same lessons without noise.
    pub(crate) clean: Vec<Lesson>,
    /// General text to replay, one row a step.
    pub(crate) replay: Vec<Lesson>,
    /// Median over the training problems of their mean nll under the start model.
    pub(crate) tau: f64,
    probe: Text,
    validation: Text,
    test: Text,
    general: Text,
    tasks: Text,
    /// ln p of the probe's tokens under the start model.
    start_log_probs: Vec<f32>,
    start_on_general: Tensor,
    start_on_validation: Tensor,
}

/// How much is trained.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    pub(crate) steps: usize,
    pub(crate) rows: usize,
}

impl Arena {
    /// Deals the lessons and asks the start model about them.
    pub(crate) fn new(
        start: &Transformer,
        config: Config,
        (domain, noisy): (&Domain, bool),
        (general, tasks): (&Corpus, &[Sample]),
        (seed, length): (u64, Length),
    ) -> Result<Self> {
        let problems = if noisy { domain.noisy.clone() } else { domain.train.clone() };
        let order = order(problems.len(), seed, length);
        let lessons = |problems: &[Problem]| -> Result<Vec<Lesson>> {
            let chosen = |rows: &Vec<usize>| -> Vec<Problem> {
                rows.iter().map(|&row| problems[row].clone()).collect()
            };
            order.iter().map(|rows| Lesson::with_base(in_rows(&chosen(rows)), start)).collect()
        };
        let mut probe = Text::of_problems(&problems[..PROBE]);
        for lesson in &mut probe.lessons {
            *lesson = Lesson::with_base(lesson.tokens.clone(), start)?;
        }
        let validation = Text::of_problems(&domain.validation);
        let held_out = in_order(&general.held_out, GENERAL_ROWS, config.context, 1);
        let general_text =
            Text::of_lessons(held_out.into_iter().map(Lesson::new).collect(), Class::Format);
        let mut dealer = Dealer::new(&general.train, seed);
        let replay = (0..length.steps).map(|_| Lesson::new(dealer.deal(1, config.context)));
        let sft = Objective::pretraining();
        let whole = measure(start, &Text::of_problems(&problems), &sft)?;
        Ok(Self {
            config,
            seed,
            start: start.tensors(),
            lessons: lessons(&problems)?,
            clean: if noisy { lessons(&domain.train)? } else { Vec::new() },
            replay: replay.collect(),
            tau: median(whole.mean_nlls()),
            start_log_probs: measure(start, &probe, &sft)?.log_probs,
            start_on_general: expectations(start, &general_text)?.1,
            start_on_validation: expectations(start, &validation)?.1,
            test: Text::of_problems(&domain.test),
            tasks: Text::of_samples(tasks, config.context, Class::Reasoning),
            general: general_text,
            problems,
            probe,
            validation,
        })
    }

    /// A copy of the start model.
    pub(crate) fn start_model(&self) -> Result<Transformer> {
        Transformer::from_tensors(self.config, &self.start)
    }

    /// All measures of a model on the way.
    pub(crate) fn point(
        &self,
        model: &Transformer,
        objective: &Objective,
        step: usize,
    ) -> Result<Point> {
        let sft = Objective::pretraining();
        let (validation, on_validation) = expectations(model, &self.validation)?;
        let (general, on_general) = expectations(model, &self.general)?;
        Ok(Point {
            step,
            exact: validation.exact(),
            nll: Class::ALL.map(|class| validation.nll(class)),
            right: Class::ALL.map(|class| validation.right(class)),
            style_entropy: validation.entropy(Class::Style),
            general_nll: general.nll(Class::Format),
            general_exact: measure(model, &self.tasks, &sft)?.exact(),
            general_kl: kl(&self.start_on_general, &on_general)?,
            domain_kl: kl(&self.start_on_validation, &on_validation)?,
            probe: self.probe(model, objective)?,
        })
    }

    /// The fixed training probe, seen through the objective.
    fn probe(&self, model: &Transformer, objective: &Objective) -> Result<Probe> {
        let seen = measure(model, &self.probe, objective)?;
        let tokens = vec![0; seen.weights.len()];
        let batch = surprisal::Batch::new(&tokens);
        let weight: f64 = seen.weights.iter().map(|&w| f64::from(w)).sum();
        let lower = |bin: usize| if bin == 0 { -1.0 } else { BINS[bin - 1] };
        Ok(Probe {
            loss: mean(&seen.losses),
            nll: Class::ALL.map(|class| seen.nll(class)),
            low: seen.share(|p| p < 0.01),
            high: seen.share(|p| p > 0.95),
            bins: std::array::from_fn(|bin| seen.share(|p| p >= lower(bin) && p < BINS[bin])),
            effective: diagnose::effective_sample_size(&batch, &seen.weights)
                .map_err(Error::wrap)?
                / seen.weights.len() as f64,
            second_moment: diagnose::second_moment(&batch, &seen.weights).map_err(Error::wrap)?,
            // DPO gives weight to pairs alone, of which the probe has none.
            cohorts: cohorts(&self.start_log_probs, &seen.weights)
                .map(|sum| if weight > 0.0 { sum / weight } else { 0.0 }),
        })
    }

    /// The measures that are reported.
    pub(crate) fn last(&self, model: &Transformer) -> Result<Final> {
        let test: Seen = measure(model, &self.test, &Objective::pretraining())?;
        Ok(Final {
            exact: test.exact(),
            nll: Class::ALL.map(|class| test.nll(class)),
            right: Class::ALL.map(|class| test.right(class)),
        })
    }
}

/// Which problems each step learns from: a new order each time round.
fn order(problems: usize, seed: u64, Length { steps, rows }: Length) -> Vec<Vec<usize>> {
    let rng = &mut Rng::new(seed, "compare: order of problems");
    let mut queue: Vec<usize> = Vec::new();
    let mut step = || {
        while queue.len() < rows {
            let mut round: Vec<usize> = (0..problems).collect();
            rng.shuffle(&mut round);
            queue.splice(0..0, round);
        }
        queue.split_off(queue.len() - rows)
    };
    (0..steps).map(|_| step()).collect()
}

/// ln p of a batch's targets under a model.
pub(crate) fn log_probs(model: &Transformer, lesson: &Lesson) -> Result<Vec<f32>> {
    let Lesson { tokens, known } = lesson;
    let known: &Known = known;
    let hidden = model.forward(tokens)?;
    Ok(loss::observe(&Objective::pretraining(), &hidden, model.head(), known)?.log_probs)
}

/// Sums of the weights of hard, middling and easy tokens, as the start model found them.
fn cohorts(start: &[f32], weights: &[f32]) -> [f64; 3] {
    let mut sums = [0.0; 3];
    for (log_p, weight) in start.iter().zip(weights) {
        let p = f64::from(*log_p).exp();
        let cohort = COHORTS.iter().filter(|&&bound| p >= bound).count();
        sums[cohort] += f64::from(*weight);
    }
    sums
}

/// The lower median.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_comes_once_a_round() {
        let steps = order(40, 1, Length { steps: 10, rows: 8 });
        let mut first: Vec<usize> = steps[..5].concat();
        first.sort_unstable();
        assert_eq!(first, (0..40).collect::<Vec<_>>());
        assert_ne!(steps[..5].concat(), steps[5..].concat());
        assert_ne!(steps, order(40, 2, Length { steps: 10, rows: 8 }));
        assert!(order(10, 1, Length { steps: 4, rows: 16 }).iter().all(|rows| rows.len() == 16));
    }

    #[test]
    fn a_token_s_weight_goes_to_the_cohort_of_its_first_probability() {
        let start = [0.1_f32, 0.2, 0.5, 0.8, 0.9].map(f32::ln);
        let sums = cohorts(&start, &[1.0, 2.0, 4.0, 8.0, 16.0]);
        // 0.2 and 0.8 round either way in f32.
        assert_eq!(sums.iter().sum::<f64>(), 31.0);
        assert_eq!(
            cohorts(&[0.1_f32.ln(), 0.5_f32.ln(), 0.9_f32.ln()], &[1.0, 2.0, 4.0]),
            [1.0, 2.0, 4.0]
        );
        assert_eq!(median(vec![3.0, 1.0, 2.0, 9.0]), 2.0);
    }
}
