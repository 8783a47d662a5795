//! One loss with all its inputs, owned: what every way of computing it is given, and what it must return.

use surprisal::objective::{Builtin, Input, Objective};
use surprisal::{Batch, Element, ExtrasScale, Loss, LossReport, Pair, Reduction};

use crate::rng::Rng;
use crate::storage::Storage;
use crate::vectors;

/// A batch, its logits and a loss. Logits are f32 here; a run rounds them to its own type first.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What the case is about.
    pub name: String,
    /// Token positions.
    pub rows: usize,
    /// Logits a row.
    pub vocab: usize,
    /// Raw logits, row-major, no padding.
    pub logits: Vec<f32>,
    /// Target of each row.
    pub targets: Vec<i64>,
    /// Rows with this target are ignored.
    pub ignore_index: Option<i64>,
    /// Side inputs, as in [`Batch`].
    pub token_weights: Option<Vec<f32>>,
    /// See [`Batch::ref_log_probs`].
    pub ref_log_probs: Option<Vec<f32>>,
    /// See [`Batch::old_log_probs`].
    pub old_log_probs: Option<Vec<f32>>,
    /// See [`Batch::advantages`].
    pub advantages: Option<Vec<f32>>,
    /// See [`Batch::groups`].
    pub groups: Option<Vec<u32>>,
    /// See [`Batch::sequences`].
    pub cu_seqlens: Option<Vec<i64>>,
    /// See [`Batch::pairs`].
    pub pairs: Option<Vec<Pair>>,
    /// See [`Batch::keep`].
    pub keep: Option<Vec<bool>>,
    /// The objective.
    pub objective: Builtin,
    /// The reduction.
    pub reduction: Reduction,
    /// Dense extras.
    pub extras: Extras,
}

/// The options of a loss beside its objective and reduction.
#[derive(Clone, Debug)]
pub struct Extras {
    /// See [`Loss::label_smoothing`].
    pub label_smoothing: f32,
    /// See [`Loss::z_loss`].
    pub z_loss: f32,
    /// See [`Loss::logit_scale`].
    pub logit_scale: f32,
    /// See [`Loss::softcap`].
    pub softcap: Option<f32>,
    /// See [`Loss::class_weights`].
    pub class_weights: Option<Vec<f32>>,
    /// See [`Loss::extras_scale`].
    pub scale: ExtrasScale,
    /// See [`Loss::grad_scale`].
    pub grad_scale: f32,
}

impl Default for Extras {
    fn default() -> Self {
        Self {
            label_smoothing: 0.0,
            z_loss: 0.0,
            logit_scale: 1.0,
            softcap: None,
            class_weights: None,
            scale: ExtrasScale::One,
            grad_scale: 1.0,
        }
    }
}

/// What a run returns.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The report.
    pub report: LossReport,
    /// −ln p of each row.
    pub nll: Vec<f64>,
    /// The gradient, widened.
    pub dlogits: Vec<f64>,
}

impl Problem {
    /// Logits of N(0, 3²) with every side input that some objective needs; SFT until told otherwise.
    pub fn random(rows: usize, vocab: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let logits = (0..rows * vocab).map(|_| 3.0 * rng.normal()).collect();
        let targets = (0..rows).map(|_| rng.below(vocab)).collect();
        let mut problem = Self::new(rows, vocab, logits, targets);
        problem.fill_inputs(&mut rng);
        problem.name = format!("{rows}x{vocab} random {seed}");
        problem
    }

    /// A problem without side inputs.
    pub fn new(rows: usize, vocab: usize, logits: Vec<f32>, targets: Vec<i64>) -> Self {
        Self {
            name: format!("{rows}x{vocab}"),
            rows,
            vocab,
            logits,
            targets,
            ignore_index: None,
            token_weights: None,
            ref_log_probs: None,
            old_log_probs: None,
            advantages: None,
            groups: None,
            cu_seqlens: None,
            pairs: None,
            keep: None,
            objective: Builtin::from_name("sft").expect("sft is an objective"),
            reduction: Reduction::Sum,
            extras: Extras::default(),
        }
    }

    /// Side inputs near the problem's own log-probabilities, four sequences, two pairs.
    fn fill_inputs(&mut self, rng: &mut Rng) {
        let rows = self.rows;
        let own = self.log_probs();
        let mut near = |spread: f32| -> Vec<f32> {
            own.iter().map(|p| (p + spread * rng.normal()).min(0.0)).collect()
        };
        self.ref_log_probs = Some(near(0.5));
        self.old_log_probs = Some(near(0.3));
        self.advantages = Some((0..rows).map(|_| 2.0 * rng.normal()).collect());
        self.groups =
            Some((0..rows).map(|_| u32::try_from(rng.below(rows.min(3))).unwrap()).collect());
        let cut = |quarter: usize| i64::try_from(rows * quarter / 4).unwrap();
        self.cu_seqlens = Some((0..=4).map(cut).collect());
        self.pairs = Some(vec![Pair { chosen: 1, rejected: 0 }, Pair { chosen: 2, rejected: 3 }]);
        self.keep = Some(vec![true, false, true, true]);
    }

    /// ln p of the targets in f64, rounded to f32.
    fn log_probs(&self) -> Vec<f32> {
        let row = |(row, &target): (&[f32], &i64)| {
            let max = row.iter().copied().fold(f32::MIN, f32::max);
            let sum: f64 = row.iter().map(|z| f64::from(z - max).exp()).sum();
            let z = usize::try_from(target).map_or(0.0, |target| row[target] - max);
            (f64::from(z) - sum.ln()) as f32
        };
        self.logits.chunks(self.vocab).zip(&self.targets).map(row).collect()
    }

    /// The same problem with another objective; DPO brings a reduction of pairs with it.
    #[must_use]
    pub fn objective(mut self, objective: Builtin) -> Self {
        if objective.inputs().contains(&Input::Pairs) {
            self.reduction = Reduction::MeanPairs;
        }
        self.name = format!("{} {objective:?}", self.name);
        self.objective = objective;
        self
    }

    /// The same problem, reduced otherwise, where the objective allows it.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        let of_pairs = self.objective.inputs().contains(&Input::Pairs);
        let any = matches!(reduction, Reduction::Sum | Reduction::By(_));
        if any || (reduction == Reduction::MeanPairs) == of_pairs {
            self.reduction = reduction;
        }
        self.name = format!("{} {:?}", self.name, self.reduction);
        self
    }

    /// Every third row ignored, its logits NaN: nothing may look at them.
    #[must_use]
    pub fn with_ignored_rows(mut self) -> Self {
        self.ignore_index = Some(-100);
        for row in (0..self.rows).step_by(3) {
            self.targets[row] = -100;
            self.logits[row * self.vocab..][..self.vocab].fill(f32::NAN);
        }
        self.name += " ignored";
        self
    }

    /// Token weights between 0 and 2, some of them 0.
    #[must_use]
    pub fn with_token_weights(mut self) -> Self {
        self.token_weights = Some((0..self.rows).map(|row| (row % 5) as f32 * 0.5).collect());
        self.name += " weighted";
        self
    }

    /// All dense extras at once.
    #[must_use]
    pub fn with_extras(mut self, scale: ExtrasScale) -> Self {
        self.extras = Extras {
            label_smoothing: 0.125,
            z_loss: 1e-3,
            logit_scale: 0.75,
            softcap: Some(8.0),
            class_weights: Some((0..self.vocab).map(|j| 0.25 + (j % 7) as f32 * 0.25).collect()),
            scale,
            grad_scale: 1.0,
        };
        self.name = format!("{} extras {scale:?}", self.name);
        self
    }

    /// The same problem with the logits rounded to `T`.
    #[must_use]
    pub fn rounded<T: Element + Storage>(mut self) -> Self {
        for z in &mut self.logits {
            *z = T::round(*z).widen();
        }
        self
    }

    /// The batch view of the inputs.
    pub fn batch(&self) -> Batch<'_> {
        let mut batch = Batch::new(&self.targets);
        if let Some(id) = self.ignore_index {
            batch = batch.ignore_index(id);
        }
        if let Some(weights) = &self.token_weights {
            batch = batch.token_weights(weights);
        }
        if let Some(log_probs) = &self.ref_log_probs {
            batch = batch.ref_log_probs(log_probs);
        }
        if let Some(log_probs) = &self.old_log_probs {
            batch = batch.old_log_probs(log_probs);
        }
        if let Some(advantages) = &self.advantages {
            batch = batch.advantages(advantages);
        }
        if let Some(groups) = &self.groups {
            batch = batch.groups(groups);
        }
        if let Some(offsets) = &self.cu_seqlens {
            batch = batch.sequences(offsets);
        }
        if let Some(pairs) = &self.pairs {
            batch = batch.pairs(pairs);
        }
        if let Some(keep) = &self.keep {
            batch = batch.keep(keep);
        }
        batch
    }

    /// The loss.
    pub fn loss(&self) -> Loss<'_, Builtin> {
        let extras = &self.extras;
        let mut loss = Loss::new(self.objective)
            .reduction(self.reduction)
            .label_smoothing(extras.label_smoothing)
            .z_loss(extras.z_loss)
            .logit_scale(extras.logit_scale)
            .extras_scale(extras.scale)
            .grad_scale(extras.grad_scale);
        if let Some(cap) = extras.softcap {
            loss = loss.softcap(cap);
        }
        if let Some(weights) = &extras.class_weights {
            loss = loss.class_weights(weights);
        }
        loss
    }

    /// What the f64 oracle says.
    pub fn oracle(&self) -> Outcome {
        let logits: Vec<f64> = self.logits.iter().copied().map(f64::from).collect();
        let mut dlogits = vec![0.0; logits.len()];
        let (loss, batch) = (self.loss(), self.batch());
        let report = surprisal::reference::forward_backward(
            &loss,
            &logits,
            self.rows,
            self.vocab,
            &batch,
            &mut dlogits,
        )
        .unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let nll = (0..self.rows).map(|row| self.oracle_nll(&logits, row)).collect();
        Outcome { report, nll, dlogits }
    }

    fn oracle_nll(&self, logits: &[f64], row: usize) -> f64 {
        let Some(target) = self.batch().target(row) else { return 0.0 };
        let row = &logits[row * self.vocab..][..self.vocab];
        let mapped: Vec<f64> = row.iter().map(|&z| self.mapped(z)).collect();
        surprisal::reference::nll(&mapped, usize::try_from(target).unwrap())
    }

    /// The transformed logit.
    pub fn mapped(&self, z: f64) -> f64 {
        let scaled = z * f64::from(self.extras.logit_scale);
        self.extras.softcap.map_or(scaled, |cap| {
            let cap = f64::from(cap);
            cap * (scaled / cap).tanh()
        })
    }
}

impl From<&vectors::Case> for Problem {
    fn from(case: &vectors::Case) -> Self {
        let signed = |offsets: &Vec<usize>| -> Vec<i64> {
            offsets.iter().map(|&o| i64::try_from(o).unwrap()).collect()
        };
        let whole = vec![0, i64::try_from(case.rows).unwrap()];
        let pair = |&[chosen, rejected]: &[usize; 2]| Pair { chosen, rejected };
        Self {
            name: case.name.clone(),
            ignore_index: case.ignore_index,
            token_weights: case.token_weights.clone(),
            ref_log_probs: case.ref_log_probs.clone(),
            old_log_probs: case.old_log_probs.clone(),
            advantages: case.advantages.clone(),
            groups: case.groups.clone(),
            cu_seqlens: Some(case.cu_seqlens.as_ref().map_or(whole, signed)),
            pairs: case.pairs.as_ref().map(|pairs| pairs.iter().map(pair).collect()),
            keep: case.keep.as_ref().map(|keep| keep.iter().map(|&k| k == 1).collect()),
            objective: case.builtin(),
            reduction: case.reduction.into(),
            extras: Extras {
                label_smoothing: case.label_smoothing as f32,
                z_loss: case.z_loss as f32,
                logit_scale: case.logit_scale as f32,
                softcap: case.softcap.map(|cap| cap as f32),
                class_weights: case.class_weights.clone(),
                scale: case.extras_scale.into(),
                grad_scale: case.grad_scale,
            },
            ..Self::new(case.rows, case.vocab, case.logits.clone(), case.targets.clone())
        }
    }
}
