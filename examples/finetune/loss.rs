//! The loss layer: `surprisal` behind a candle custom op. No other file calls the library's loss.
//!
//! The library computes the loss and the gradient of the logits in one pass, so the forward half of
//! the op does both and keeps the gradient, and the backward half only hands it on. The softmax never
//! enters candle's graph.

use crate::data::IGNORE_INDEX;
use crate::pack::Tokens;
use crate::tensor::contiguous;
use candle_core::{CpuStorage, CustomOp1, Device, Error, Layout, Result, Shape, Tensor};
use std::sync::{Arc, Mutex};
use surprisal::objective::{Builtin, Input, Objective as _, Sft};
use surprisal::{
    Batch, Logits, LogitsMut, Loss, LossReport, Outputs, OwnedWorkspace, Reduction, Workspace,
};

/// What this program can tell the loss besides the targets.
const SUPPLIED: [Input; 7] = [
    Input::RefLogProbs,
    Input::OldLogProbs,
    Input::Advantages,
    Input::Sequences,
    Input::Groups,
    // These two the library computes.
    Input::Entropy,
    Input::SumSquares,
];

/// An objective that this program has all inputs for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Objective(Builtin);

impl Objective {
    /// What a base model is trained with.
    pub(crate) const PRETRAINING: Self = Self(Builtin::Sft(Sft));

    /// The library's objective of this name, with its default parameters; else a sentence on why not.
    pub(crate) fn named(name: &str) -> std::result::Result<Self, String> {
        let Some(builtin) = Builtin::from_name(name) else {
            let names: Vec<&str> = Self::supported().map(Self::name).collect();
            return Err(format!(
                "there is no objective \"{name}\"; choose from {}",
                names.join(", ")
            ));
        };
        match builtin.inputs().iter().find(|input| !SUPPLIED.contains(input)) {
            Some(input) => {
                Err(format!("{name} needs {}, and this program has none to give", input.name()))
            }
            None => Ok(Self(builtin)),
        }
    }

    /// Every objective that this program can run.
    pub(crate) fn supported() -> impl Iterator<Item = Self> {
        Builtin::NAMES.iter().filter_map(|name| Self::named(name).ok())
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        self.0.name()
    }
}

/// What is known of each token of a batch before the model has seen it.
#[derive(Debug)]
pub(crate) struct Known {
    targets: Vec<i32>,
    /// `cu_seqlens`: where each packed sequence begins, and the number of tokens.
    offsets: Vec<i32>,
    /// The base model is the reference and, since all fine-tuning starts there, the old policy too.
    base_log_probs: Option<Vec<f32>>,
    /// Text to learn from is good text: every advantage is 1.
    advantages: Vec<f32>,
    /// Kind of the target (digit, letter, other), for objectives that look for the worst group.
    groups: Vec<u32>,
}

impl Known {
    /// What the text alone tells.
    pub(crate) fn of(tokens: &Tokens) -> Self {
        Self {
            targets: tokens.targets.clone(),
            offsets: tokens.offsets.clone(),
            base_log_probs: None,
            advantages: vec![1.0; tokens.targets.len()],
            groups: tokens.targets.iter().map(|&target| kind(target)).collect(),
        }
    }

    /// The same, with the log-probabilities of the targets under the base model.
    pub(crate) fn with_base(self, log_probs: Vec<f32>) -> Self {
        Self { base_log_probs: Some(log_probs), ..self }
    }

    /// The same as the library takes it.
    pub(crate) fn batch(&self) -> Batch<'_> {
        let batch = Batch::new(&self.targets)
            .ignore_index(IGNORE_INDEX.into())
            .sequences(&self.offsets)
            .advantages(&self.advantages)
            .groups(&self.groups);
        match &self.base_log_probs {
            Some(base) => batch.ref_log_probs(base).old_log_probs(base),
            None => batch,
        }
    }
}

/// Digit, letter or something else.
fn kind(target: i32) -> u32 {
    match u8::try_from(target) {
        Ok(byte) if byte.is_ascii_digit() => 0,
        Ok(byte) if byte.is_ascii_alphabetic() => 1,
        _ => 2,
    }
}

/// The loss of `logits` (`[tokens, vocab]`) as a scalar that can be differentiated, and what else came out.
pub(crate) fn loss(
    objective: Objective,
    reduction: Reduction,
    logits: &Tensor,
    known: &Arc<Known>,
) -> Result<(Tensor, LossReport)> {
    let kept = Arc::new(Mutex::new(None));
    let op = LossOp { objective, reduction, known: known.clone(), kept: kept.clone() };
    let loss = logits.apply_op1(op)?;
    let report = kept.lock().expect("no panic while locked").as_ref().map(|kept| kept.report);
    Ok((loss, report.expect("the forward pass has run")))
}

/// What a model makes of a batch, without a gradient.
#[derive(Debug)]
pub(crate) struct Observed {
    /// Log-probability of each target; 0 where it is ignored.
    pub(crate) log_probs: Vec<f32>,
    /// Summed negative log-likelihood.
    pub(crate) nll_sum: f64,
    /// Targets that are not ignored.
    pub(crate) tokens: usize,
    /// Targets that the model would have answered.
    pub(crate) correct: usize,
}

/// Looks at the logits of a batch.
pub(crate) fn observe(logits: &Tensor, known: &Known) -> Result<Observed> {
    let (storage, layout) = logits.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else {
        return Err(Error::Msg("expected logits on the CPU".into()));
    };
    let (rows, vocab) = logits.dims2()?;
    let logits = Logits::new(contiguous(storage, layout)?, rows, vocab).map_err(Error::wrap)?;
    let (mut log_probs, mut answers) = (vec![0.0; rows], vec![0; rows]);
    let outputs = Outputs::new().log_probs(&mut log_probs).argmax(&mut answers);
    let report = Loss::new(Sft)
        .forward_with(logits, &known.batch(), outputs, Workspace::none())
        .map_err(Error::wrap)?;
    // Not `report.correct`, where ties count: a model whose logits have all become equal is not right.
    let right = |(&answer, &target): (&u32, &i32)| i64::from(answer) == i64::from(target);
    let correct = answers.iter().zip(&known.targets).filter(|&pair| right(pair)).count();
    Ok(Observed { log_probs, nll_sum: report.nll_sum, tokens: report.tokens, correct })
}

/// The loss of one batch as an operation of candle's graph.
struct LossOp {
    objective: Objective,
    reduction: Reduction,
    known: Arc<Known>,
    /// Filled by the forward pass. Shared, because candle takes the op and gives only a tensor back.
    kept: Arc<Mutex<Option<Kept>>>,
}

/// What the forward pass leaves behind.
struct Kept {
    report: LossReport,
    dlogits: Tensor,
}

impl CustomOp1 for LossOp {
    fn name(&self) -> &'static str {
        "surprisal"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let z = contiguous(storage, layout)?;
        let (rows, vocab) = layout.shape().dims2()?;
        let mut dz = vec![0.0; z.len()];
        // For objectives that look at a whole sequence or batch; the others leave it alone.
        let mut workspace = OwnedWorkspace::new();
        let report = Loss::new(self.objective.0)
            .reduction(self.reduction)
            .forward_backward_with(
                Logits::new(z, rows, vocab).map_err(Error::wrap)?,
                &self.known.batch(),
                LogitsMut::new(&mut dz, rows, vocab).map_err(Error::wrap)?,
                Outputs::new(),
                workspace.lend(rows, vocab),
            )
            .map_err(Error::wrap)?;
        let dlogits = Tensor::from_vec(dz, (rows, vocab), &Device::Cpu)?;
        *self.kept.lock().expect("no panic while locked") = Some(Kept { report, dlogits });
        #[expect(clippy::cast_possible_truncation, reason = "the graph computes in f32")]
        let loss = report.loss as f32;
        Ok((CpuStorage::F32(vec![loss]), Shape::from(())))
    }

    fn bwd(&self, _logits: &Tensor, _loss: &Tensor, upstream: &Tensor) -> Result<Option<Tensor>> {
        match &*self.kept.lock().expect("no panic while locked") {
            Some(kept) => kept.dlogits.broadcast_mul(upstream).map(Some),
            None => Err(Error::Msg("backward before forward".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Known, Objective, loss, observe};
    use crate::data::{Sample, sequences};
    use crate::pack::in_order;
    use candle_core::{Device, Result, Tensor, Var};
    use std::sync::Arc;
    use surprisal::Reduction;

    const VOCAB: usize = 256;

    /// Two samples with masked questions and padding, and logits for them.
    fn example() -> Result<(Known, Var, Vec<u32>, Vec<u32>)> {
        let samples = [Sample::answer("1+1", "2"), Sample::answer("two and two", "four")];
        let cut: Vec<_> = samples.iter().flat_map(|sample| sequences(sample, 32)).collect();
        let tokens = in_order(&cut, 2, 32, 1).remove(0);
        let wave = |n: usize| (n as f32 * 0.37).sin() * 4.0;
        let logits = Var::from_vec((0..64 * VOCAB).map(wave).collect(), (64, VOCAB), &Device::Cpu)?;
        let rows: Vec<u32> =
            tokens.learnt().map(|row| u32::try_from(row).expect("small")).collect();
        let targets = tokens.learnt().map(|row| tokens.targets[row].unsigned_abs()).collect();
        Ok((Known::of(&tokens), logits, rows, targets))
    }

    /// Candle's own cross-entropy over the learnt tokens.
    fn candles_own(logits: &Tensor, rows: Vec<u32>, targets: Vec<u32>) -> Result<Tensor> {
        let count = rows.len();
        let rows = Tensor::from_vec(rows, count, &Device::Cpu)?;
        let targets = Tensor::from_vec(targets, count, &Device::Cpu)?;
        candle_nn::loss::cross_entropy(&logits.index_select(&rows, 0)?, &targets)
    }

    #[test]
    fn sft_has_the_loss_and_the_gradient_of_candles_own_cross_entropy() -> Result<()> {
        let (known, logits, rows, targets) = example()?;
        let own = candles_own(&logits, rows, targets)?;
        let (ours, report) =
            loss(Objective::PRETRAINING, Reduction::MeanTokens, &logits, &Arc::new(known))?;
        assert!((ours.to_scalar::<f32>()? - own.to_scalar::<f32>()?).abs() < 1e-5);
        assert!((report.mean_nll() - f64::from(own.to_scalar::<f32>()?)).abs() < 1e-5);
        // Scaled, to see that the gradient from above is not forgotten.
        let (ours, own) = ((ours * 3.0)?.backward()?, (own * 3.0)?.backward()?);
        let gap = (ours.get(&logits).expect("ours") - own.get(&logits).expect("candle's"))?;
        let gap = gap.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(gap < 1e-6, "{gap}");
        Ok(())
    }

    #[test]
    fn masked_and_padded_tokens_have_no_gradient() -> Result<()> {
        let (known, logits, rows, _) = example()?;
        let (loss, report) =
            loss(Objective::PRETRAINING, Reduction::MeanTokens, &logits, &Arc::new(known))?;
        let gradient = loss.backward()?.get(&logits).expect("a gradient").to_vec2::<f32>()?;
        assert_eq!(report.tokens, rows.len());
        for (row, gradient) in (0u32..).zip(gradient) {
            assert_eq!(gradient.iter().all(|&g| g == 0.0), !rows.contains(&row), "row {row}");
        }
        Ok(())
    }

    #[test]
    fn a_model_that_cannot_decide_is_not_right() -> Result<()> {
        let (known, logits, rows, _) = example()?;
        let observed = observe(&logits.zeros_like()?, &known)?;
        assert_eq!((observed.tokens, observed.correct), (rows.len(), 0));
        Ok(())
    }

    #[test]
    fn every_supported_objective_runs_and_the_others_say_what_they_miss() -> Result<()> {
        let (known, logits, ..) = example()?;
        let base = observe(&logits, &known)?.log_probs;
        let known = Arc::new(known.with_base(base));
        assert!(Objective::supported().count() >= 15);
        for objective in Objective::supported() {
            let (loss, report) = loss(objective, Reduction::MeanTokens, &logits, &known)?;
            let loss = loss.to_scalar::<f32>()?;
            assert!(loss.is_finite() && report.tokens > 0, "{}: {loss}", objective.name());
        }
        assert!(Objective::named("dpo").unwrap_err().contains("pairs"));
        assert!(Objective::named("nonsense").unwrap_err().contains("talr-auto"));
        Ok(())
    }
}
