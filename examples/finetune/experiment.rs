//! The experiment: one base model, one fine-tuned copy per objective and learning rate, all measured
//! on the same held-out text and trained on the same batches in the same order.

use crate::cli::Settings;
use crate::cores::side_by_side;
use crate::data::Corpus;
use crate::dump;
use crate::evaluate::{Measure, measure};
use crate::failure::Outcome;
use crate::model::{Config, Transformer};
use crate::objective::Objective;
use crate::pack::{Dealer, in_order};
use crate::progress::Progress;
use crate::train::{self, Lesson};
use candle_core::{Result, Tensor};
use std::collections::HashMap;

/// Rows of the batches that are measured on.
const ROWS: usize = 8;
/// Batches of each text that are measured on, at most.
const MEASURED: usize = 10;

/// A model on the three texts it is measured on.
#[derive(Debug, Clone)]
pub(crate) struct Scores {
    /// Held-out text of the domain.
    pub(crate) domain: Measure,
    /// Held-out general text.
    pub(crate) general: Measure,
    /// The domain text it is fine-tuned on (the first batches of it).
    pub(crate) trained: Measure,
}

/// One fine-tuned model.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// What it was trained with.
    pub(crate) objective: Objective,
    /// The peak learning rate.
    pub(crate) rate: f64,
    /// How it did.
    pub(crate) scores: Scores,
    /// Single tokens of held-out domain text, if they are wanted.
    pub(crate) tokens: String,
}

/// All that came out.
#[derive(Debug, Clone)]
pub(crate) struct Results {
    /// The base model.
    pub(crate) base: Scores,
    /// The fine-tuned ones: objective by objective, learning rates rising.
    pub(crate) runs: Vec<Run>,
}

impl Results {
    /// The runs of each objective, learning rates rising.
    pub(crate) fn by_objective(&self) -> impl Iterator<Item = &[Run]> {
        self.runs.chunk_by(|left, right| left.objective.name() == right.objective.name())
    }

    /// A learning rate that every objective was run with, in the middle of those there are.
    pub(crate) fn middle_rate(&self) -> f64 {
        let rates = self.by_objective().next().unwrap_or_default();
        rates.get(rates.len().saturating_sub(1) / 2).map_or(0.0, |run| run.rate)
    }

    /// What a reader should take away, one sentence each.
    pub(crate) fn findings(&self) -> Vec<String> {
        let gain = |run: &Run| self.base.domain.nll() - run.scores.domain.nll();
        let lost = |run: &Run| run.scores.general.nll() - self.base.general.nll();
        // A run that diverged has gained nothing, whatever NaN compares like.
        let gained = self.runs.iter().filter(|run| gain(run) > 0.0 && lost(run).is_finite());
        let Some(best) = gained.max_by(|left, right| gain(left).total_cmp(&gain(right))) else {
            return vec!["No run gained anything in the domain.".to_owned()];
        };
        let describe = |run: &Run| {
            let (name, rate) = (run.objective.name(), run.rate);
            format!(
                "{name} at {rate:e} ({:+.3} nats in the domain, {:+.3} in general)",
                -gain(run),
                lost(run)
            )
        };
        let mut findings = vec![format!("The largest gain in the domain: {}.", describe(best))];
        let worthy = self.runs.iter().filter(|run| gain(run) >= 0.5 * gain(best));
        if let Some(mild) = worthy.min_by(|left, right| lost(left).total_cmp(&lost(right))) {
            findings.push(format!(
                "The least forgotten for at least half of that gain: {}.",
                describe(mild)
            ));
        }
        findings
    }
}

/// The batches that every model meets.
struct Texts {
    lessons: Vec<Lesson>,
    domain: Vec<Lesson>,
    general: Vec<Lesson>,
}

impl Texts {
    /// Deals the lessons, asks the base model about them, and lays out what is measured on.
    fn prepare(
        base: &Transformer,
        config: Config,
        settings: &Settings,
        domain: &Corpus,
        general: &Corpus,
    ) -> Result<Self> {
        let mut dealer = Dealer::new(&domain.train, settings.seed);
        let lessons = (0..settings.steps)
            .map(|_| Lesson::with_base(dealer.deal(settings.rows, config.context), base));
        let lessons = lessons.collect::<Result<_>>()?;
        let held_out = |corpus: &Corpus| {
            in_order(&corpus.held_out, ROWS, config.context, MEASURED)
                .into_iter()
                .map(|tokens| Lesson::with_base(tokens, base))
                .collect::<Result<_>>()
        };
        Ok(Self { lessons, domain: held_out(domain)?, general: held_out(general)? })
    }

    /// Measures one model on everything.
    fn score(&self, model: &Transformer) -> Result<Scores> {
        let trained = &self.lessons[..self.lessons.len().min(MEASURED)];
        Ok(Scores {
            domain: measure(model, &self.domain)?,
            general: measure(model, &self.general)?,
            trained: measure(model, trained)?,
        })
    }
}

/// Fine-tunes and measures every combination of objective and learning rate.
pub(crate) fn run(
    base: &Transformer,
    config: Config,
    settings: &Settings,
    (domain, general): (&Corpus, &Corpus),
    progress: &Progress,
) -> Outcome<Results> {
    let texts = Texts::prepare(base, config, settings, domain, general)?;
    let base_scores = texts.score(base)?;
    let rates = &settings.rates;
    let plan: Vec<(Objective, f64)> = settings
        .objectives
        .iter()
        .flat_map(|objective| rates.iter().map(move |&rate| (objective.clone(), rate)))
        .collect();
    let dumps = settings.dump.is_some();
    let job =
        Job { base, dumps, config, weights: base.tensors(), texts: &texts, plan: &plan, progress };
    Ok(Results { base: base_scores, runs: side_by_side(plan.len(), |index| job.run_one(index))? })
}

/// What the workers share.
struct Job<'a> {
    base: &'a Transformer,
    dumps: bool,
    config: Config,
    weights: HashMap<String, Tensor>,
    texts: &'a Texts,
    plan: &'a [(Objective, f64)],
    progress: &'a Progress,
}

impl Job<'_> {
    /// Fine-tunes and measures one copy of the base model.
    fn run_one(&self, index: usize) -> Result<Run> {
        let (objective, rate) = self.plan[index].clone();
        let model = Transformer::from_tensors(self.config, &self.weights)?;
        let name = format!("[{}/{}] {} lr {rate:e}", index + 1, self.plan.len(), objective.name());
        let mut phase = self.progress.phase(name, self.texts.lessons.len());
        train::fine_tune(&model, &objective, rate, &self.texts.lessons, &mut phase)?;
        let scores = self.texts.score(&model)?;
        phase.finish(&format!(
            "domain nll {:.3}  general nll {:.3}",
            scores.domain.nll(),
            scores.general.nll()
        ));
        let tokens = match self.texts.domain.first().filter(|_| self.dumps) {
            Some(lesson) => dump::lines(&objective, rate, [self.base, &model], lesson)?,
            None => String::new(),
        };
        Ok(Run { objective, rate, scores, tokens })
    }
}
