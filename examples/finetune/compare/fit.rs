//! One run: a copy of the start model, a method, a learning rate.

use super::arena::{Arena, log_probs};
use super::lora::{Adapters, numbers};
use super::method::{Beside, Method};
use super::policy::Policy;
use super::record::{Final, Point};
use crate::model::Transformer;
use crate::objective::Objective;
use crate::train::{self, Lesson, add, gradients, learning_rate};
use candle_core::backprop::GradStore;
use candle_core::{Device, Error, Result, Tensor, Var};
use candle_nn::optim::{AdamW, Optimizer};
use std::time::{Duration, Instant};
use surprisal::{Reduction, params};

/// Sixteenths of the steps after which everything is measured, besides the start.
const CHECKPOINTS: [usize; 6] = [1, 2, 4, 8, 12, 16];
/// Learning rate of the clean reference of Rho-1.
const REFERENCE_RATE: f64 = 1e-3;

/// What comes out of a run.
pub(crate) struct Fitted {
    pub(crate) points: Vec<Point>,
    pub(crate) test: Final,
    pub(crate) seconds_per_step: f64,
}

/// A model while it learns.
struct Learner<'a> {
    model: &'a Transformer,
    method: &'a Method,
    optimizer: AdamW,
    adapters: Option<Adapters>,
    /// The variables at the start, for L2 and averages.
    initial: Vec<Vec<f32>>,
}

/// Trains and measures; nothing where the weights come to be no numbers.
pub(crate) fn fit(arena: &Arena, method: &Method, rate: f64) -> Result<Option<Fitted>> {
    let model = arena.start_model()?;
    let mut lessons = lessons(arena, method)?;
    let mut policy = Policy::new(arena, method)?;
    let mut learner = Learner::new(&model, method, arena.seed)?;
    let steps = arena.lessons.len();
    let stops = CHECKPOINTS.map(|part| (steps * part / 16).max(1));
    let mut points = vec![arena.point(&model, &method.objective, 0)?];
    let mut spent = Duration::ZERO;
    for step in 0..steps {
        let began = Instant::now();
        if let Beside::Snapshot(every) = method.beside
            && step % every == 0
        {
            for lesson in lessons.iter_mut().skip(step).take(every) {
                lesson.known.old = Some(log_probs(&model, lesson)?);
            }
        }
        let sampled = policy.lesson(&model, step)?;
        let lesson = sampled.as_ref().unwrap_or_else(|| &lessons[step]);
        learner.optimizer.set_learning_rate(learning_rate(rate, step, steps));
        learner.step(lesson, &arena.replay[step])?;
        spent += began.elapsed();
        if !is_finite(&model)? {
            return Ok(None);
        }
        let is_last = step + 1 == steps;
        if is_last {
            learner.finish()?;
        }
        // An average is one of the end alone.
        let on_the_way = !matches!(method.beside, Beside::Average(_));
        if is_last || (on_the_way && stops.contains(&(step + 1))) {
            points.push(arena.point(&model, &method.objective, step + 1)?);
        }
    }
    let seconds_per_step = spent.as_secs_f64() / steps as f64;
    Ok(Some(Fitted { points, test: arena.last(&model)?, seconds_per_step }))
}

/// Whether all weights are numbers: the sum of their squares is none where one of them is none.
fn is_finite(model: &Transformer) -> Result<bool> {
    for var in model.variables() {
        if !var.sqr()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The lessons of a method that is told its text in advance.
fn lessons(arena: &Arena, method: &Method) -> Result<Vec<Lesson>> {
    let mut lessons = arena.lessons.clone();
    if method.beside == Beside::CleanReference {
        let clean = if arena.clean.is_empty() { &arena.lessons } else { &arena.clean };
        let reference = arena.start_model()?;
        plainly(&reference, REFERENCE_RATE, clean)?;
        for lesson in &mut lessons {
            lesson.known.reference = Some(log_probs(&reference, lesson)?);
        }
    }
    Ok(lessons)
}

/// SFT without measures: for references, and for start models that know a little of the domain.
pub(crate) fn plainly(model: &Transformer, rate: f64, lessons: &[Lesson]) -> Result<()> {
    let mut optimizer = train::optimizer(model.variables())?;
    for (step, lesson) in lessons.iter().enumerate() {
        optimizer.set_learning_rate(learning_rate(rate, step, lessons.len()));
        let (gradients, _) = gradients(model, &Objective::pretraining(), None, lesson)?;
        optimizer.step(&gradients)?;
    }
    Ok(())
}

impl<'a> Learner<'a> {
    fn new(model: &'a Transformer, method: &'a Method, seed: u64) -> Result<Self> {
        let adapters = match method.beside {
            Beside::Lora(rank, alpha) => Some(Adapters::new(model, rank, alpha, seed)?),
            _ => None,
        };
        let variables = adapters.as_ref().map_or_else(|| model.variables(), Adapters::variables);
        let initial = match method.beside {
            Beside::L2(_) | Beside::Average(_) => {
                model.variables().iter().map(|var| numbers(var)).collect::<Result<_>>()?
            }
            _ => Vec::new(),
        };
        Ok(Self { model, method, optimizer: train::optimizer(variables)?, adapters, initial })
    }

    /// One step on a lesson; `replay` is general text for those who want some.
    fn step(&mut self, lesson: &Lesson, replay: &Lesson) -> Result<()> {
        let Method { objective, reduction, beside, .. } = self.method;
        let mut all = match *beside {
            Beside::Replay(share) => self.with_replay(lesson, replay, share)?,
            _ => gradients(self.model, objective, *reduction, lesson)?.0,
        };
        if let Beside::L2(lambda) = *beside {
            self.pull_back(lambda, &mut all)?;
        }
        if let Some(adapters) = &self.adapters {
            adapters.differentiate(&mut all)?;
        }
        self.optimizer.step(&all)?;
        self.adapters.as_ref().map_or(Ok(()), Adapters::merge)
    }

    /// The gradient of a mean in which replayed tokens have a given share.
    fn with_replay(&self, lesson: &Lesson, replay: &Lesson, share: f64) -> Result<GradStore> {
        let part = |lesson: &Lesson, share: f64| {
            let by = Reduction::By(lesson.tokens.learnt().count() as f64 / share);
            gradients(self.model, &self.method.objective, Some(by), lesson)
        };
        let (mut all, _) = part(lesson, 1.0 - share)?;
        let (of_replay, _) = part(replay, share)?;
        add(self.model, &mut all, &of_replay)?;
        Ok(all)
    }

    /// Adds the gradient of λ·Σ(θ−θ₀)².
    fn pull_back(&self, lambda: f64, gradients: &mut GradStore) -> Result<()> {
        for (var, initial) in self.model.variables().iter().zip(&self.initial) {
            let Some(gradient) = gradients.get(var) else { continue };
            let mut gradient = numbers(gradient)?;
            params::l2_to_initial(&numbers(var)?, initial, lambda, 1.0, &mut gradient)
                .map_err(Error::wrap)?;
            gradients.insert(var, Tensor::from_vec(gradient, var.shape(), &Device::Cpu)?);
        }
        Ok(())
    }

    /// What is left to do after the last step.
    fn finish(&self) -> Result<()> {
        let Beside::Average(share) = self.method.beside else { return Ok(()) };
        for (var, initial) in self.model.variables().iter().zip(&self.initial) {
            average(var, initial, share)?;
        }
        Ok(())
    }
}

/// Moves a variable back towards where it was.
fn average(var: &Var, initial: &[f32], share: f64) -> Result<()> {
    let now = numbers(var)?;
    let mut out = vec![0.0; now.len()];
    params::wise_ft(&now, initial, share, &mut out).map_err(Error::wrap)?;
    var.set(&Tensor::from_vec(out, var.shape(), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::is_finite;
    use crate::model::{Config, Transformer};
    use candle_core::{Result, Tensor};

    #[test]
    fn one_weight_that_is_no_number_is_seen() -> Result<()> {
        let config = Config { layers: 1, heads: 2, width: 16, context: 16 };
        let model = Transformer::random(config, 1)?;
        assert!(is_finite(&model)?);
        let last = model.variables().pop().expect("a variable");
        let mut values = super::numbers(&last)?;
        values[3] = f32::NAN;
        last.set(&Tensor::from_vec(values, last.shape(), last.device())?)?;
        assert!(!is_finite(&model)?);
        Ok(())
    }
}
