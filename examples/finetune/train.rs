//! Training: one loop for the base model and for every fine-tuning run.

use crate::cores::Core;
use crate::loss::{self, Known};
use crate::model::Transformer;
use crate::objective::Objective;
use crate::pack::Tokens;
use crate::progress::Phase;
use candle_core::backprop::GradStore;
use candle_core::{Result, Var};
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};
use std::thread;
use surprisal::{LossReport, Reduction};

/// Share of the steps in which the learning rate grows from 0.
const WARMUP_SHARE: f64 = 0.1;
/// What is left of the learning rate at the end.
const FINAL_SHARE: f64 = 0.1;

/// The text of one step, and what the loss is told of it.
#[derive(Debug, Clone)]
pub(crate) struct Lesson {
    /// What the model reads.
    pub(crate) tokens: Tokens,
    /// What the loss knows.
    pub(crate) known: Known,
}

impl Lesson {
    /// A lesson without a base model to refer to.
    pub(crate) fn new(tokens: Tokens) -> Self {
        Self { known: Known::of(&tokens), tokens }
    }

    /// A lesson that also knows what the frozen base model thinks of it.
    pub(crate) fn with_base(tokens: Tokens, base: &Transformer) -> Result<Self> {
        let known = Known::of(&tokens);
        let observed =
            loss::observe(&Objective::pretraining(), &base.forward(&tokens)?, base.head(), &known)?;
        Ok(Self { known: known.with_base(observed.log_probs), tokens })
    }
}

/// The learning rate of a step: linear warmup, then a straight line down.
pub(crate) fn learning_rate(peak: f64, step: usize, steps: usize) -> f64 {
    let warmup = (steps as f64 * WARMUP_SHARE).ceil();
    let warm = ((step + 1) as f64 / warmup).min(1.0);
    let done = step as f64 / steps as f64;
    peak * warm * (1.0 - (1.0 - FINAL_SHARE) * done)
}

/// The optimiser of these variables.
pub(crate) fn optimizer(variables: Vec<Var>) -> Result<AdamW> {
    AdamW::new(variables, ParamsAdamW { beta2: 0.98, weight_decay: 0.0, ..ParamsAdamW::default() })
}

/// Gradients of the model's variables for one lesson, and the report of the loss.
pub(crate) fn gradients(
    model: &Transformer,
    objective: &Objective,
    reduction: Option<Reduction>,
    Lesson { tokens, known }: &Lesson,
) -> Result<(GradStore, LossReport)> {
    let hidden = model.forward(tokens)?;
    let (loss, report) = loss::loss(objective, reduction, &hidden, model.head(), known)?;
    Ok((loss.backward()?, report))
}

/// Fine-tunes `model` under `objective`, one lesson a step.
pub(crate) fn fine_tune(
    model: &Transformer,
    objective: &Objective,
    peak: f64,
    lessons: &[Lesson],
    phase: &mut Phase<'_>,
) -> Result<()> {
    let mut optimizer = optimizer(model.variables())?;
    for (step, lesson) in lessons.iter().enumerate() {
        optimizer.set_learning_rate(learning_rate(peak, step, lessons.len()));
        let (gradients, report) = gradients(model, objective, None, lesson)?;
        optimizer.step(&gradients)?;
        phase.step(report.mean_nll(), lesson.tokens.filled);
    }
    Ok(())
}

/// Trains `model` from nothing. `deal` gives the shards of a step.
pub(crate) fn pretrain(
    model: &Transformer,
    peak: f64,
    steps: usize,
    mut deal: impl FnMut() -> Vec<Lesson>,
    phase: &mut Phase<'_>,
) -> Result<()> {
    let (mut optimizer, mut cores) = (optimizer(model.variables())?, Vec::new());
    for step in 0..steps {
        optimizer.set_learning_rate(learning_rate(peak, step, steps));
        let shards = deal();
        cores.resize_with(shards.len(), Core::new);
        let (gradients, nll) = sharded_step(model, &shards, &cores)?;
        optimizer.step(&gradients)?;
        phase.step(nll, shards.iter().map(|shard| shard.tokens.filled).sum());
    }
    Ok(())
}

/// Gradients and nll per token of one step. Each shard has a thread of its own, and since all of them
/// divide by the tokens of the whole step, their gradients add up to exactly its mean.
fn sharded_step(
    model: &Transformer,
    shards: &[Lesson],
    cores: &[Core],
) -> Result<(GradStore, f64)> {
    let learnt = shards.iter().map(|shard| shard.tokens.learnt().count()).sum::<usize>() as f64;
    let pretraining = Objective::pretraining();
    let one = |shard| gradients(model, &pretraining, Some(Reduction::By(learnt)), shard);
    let results: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = shards
            .iter()
            .zip(cores)
            .map(|(shard, core)| scope.spawn(move || core.run(|| one(shard))))
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("a shard does not panic")).collect()
    });
    let mut results = results.into_iter();
    let (mut total, report) = results.next().expect("at least one shard")?;
    let mut nll_sum = report.nll_sum;
    for result in results {
        let (more, report) = result?;
        add(model, &mut total, &more)?;
        nll_sum += report.nll_sum;
    }
    Ok((total, nll_sum / learnt))
}

/// Adds the gradients of one shard to those of another.
pub(crate) fn add(model: &Transformer, total: &mut GradStore, more: &GradStore) -> Result<()> {
    for var in model.variables() {
        if let (Some(left), Some(right)) = (total.get(&var), more.get(&var)) {
            let sum = (left + right)?;
            total.insert(&var, sum);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Core, Lesson, gradients, learning_rate, optimizer, sharded_step};
    use crate::data::{Sample, sequences};
    use crate::loss::tests::{gap, whole_logits};
    use crate::model::{Config, Transformer};
    use crate::objective::Objective;
    use crate::pack::in_order;
    use candle_core::Result;
    use candle_nn::optim::Optimizer;

    const SMALL: Config = Config { layers: 1, heads: 2, width: 16, context: 16 };

    #[test]
    fn the_learning_rate_warms_up_and_comes_down() {
        let rates: Vec<f64> = (0..100).map(|step| learning_rate(1.0, step, 100)).collect();
        assert!(rates[..9].is_sorted() && rates[9..].iter().rev().is_sorted());
        assert!(rates[0] > 0.0 && rates[0] < 0.11 && rates[99] < 0.12);
        assert!(learning_rate(1.0, 0, 1) > 0.0, "one step alone still learns");
    }

    #[test]
    fn shards_add_up_to_the_whole_step() -> Result<()> {
        let model = Transformer::random(SMALL, 3)?;
        let texts = ["one", "and two", "three, too"].map(|text| Sample::text(text.into()));
        let corpus: Vec<_> = texts.iter().flat_map(|text| sequences(text, 16)).collect();
        let step = |rows| -> Vec<Lesson> {
            in_order(&corpus, rows, 16, 9).into_iter().map(Lesson::new).collect()
        };
        let cores: Vec<Core> = step(1).iter().map(|_| Core::new()).collect();
        let (whole, nll) = sharded_step(&model, &step(9), &cores)?;
        let (parts, nll_of_parts) = sharded_step(&model, &step(1), &cores)?;
        assert!((nll - nll_of_parts).abs() < 1e-6);
        for var in model.variables() {
            let gap = (whole.get(&var).expect("whole") - parts.get(&var).expect("parts"))?;
            assert!(gap.abs()?.max_all()?.to_scalar::<f32>()? < 1e-6);
        }
        Ok(())
    }

    #[test]
    fn training_goes_as_with_whole_logits() -> Result<()> {
        let samples = [Sample::answer("1+1", "2"), Sample::text("three, too".into())];
        let corpus: Vec<_> = samples.iter().flat_map(|sample| sequences(sample, 16)).collect();
        let lesson = Lesson::new(in_order(&corpus, 3, 16, 1).remove(0));
        for objective in ["sft", "dft", "talr-auto"] {
            let objective = Objective::named(objective).expect("an objective");
            let models = [Transformer::random(SMALL, 3)?, Transformer::random(SMALL, 3)?];
            let [mut ours, mut whole] =
                [optimizer(models[0].variables())?, optimizer(models[1].variables())?];
            for step in 0..20 {
                let (gradients, report) = gradients(&models[0], &objective, None, &lesson)?;
                ours.step(&gradients)?;
                let hidden = models[1].forward(&lesson.tokens)?;
                let (loss, expected) =
                    whole_logits(&objective, &hidden, models[1].head(), &lesson.known)?;
                whole.step(&loss.backward()?)?;
                let gap = (report.loss - expected.loss).abs();
                assert!(gap < 1e-5, "{} step {step}: {gap}", objective.name());
            }
            for (ours, whole) in models[0].variables().iter().zip(models[1].variables()) {
                let gap = gap(ours, &whole)?;
                assert!(gap < 1e-4, "{}: {gap}", objective.name());
            }
        }
        Ok(())
    }
}
