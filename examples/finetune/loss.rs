//! The output layer and the loss in one: `surprisal-linear` behind a candle custom op. No other file
//! calls the library's loss.
//!
//! The library goes from hidden states to the loss and back to their gradient, and to that of the
//! weights, a chunk of tokens at a time. So the forward half of the op does all of it and keeps the
//! gradients, and the backward half only hands them on. Neither logits nor softmax enter candle's graph.

use crate::data::IGNORE_INDEX;
use crate::pack::Tokens;
use crate::tensor::contiguous;
use candle_core::{CpuStorage, CustomOp2, Device, Error, Layout, Result, Shape, Tensor};
use std::sync::{Arc, Mutex};
use surprisal::objective::{Builtin, Input, Objective as _, Sft};
use surprisal::{Batch, Loss, LossReport, Outputs, Reduction};
use surprisal_linear::{Gradients, LinearLoss, Matrix, MatrixMut, Memory, OwnedWorkspace};

/// What the library returns.
type Outcome = std::result::Result<LossReport, surprisal_linear::Error>;

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

/// The loss of hidden states (`[tokens, width]`) before an output layer (`[width, vocab]`), as a scalar
/// that can be differentiated, and what else came out.
pub(crate) fn loss(
    objective: Objective,
    reduction: Reduction,
    hidden: &Tensor,
    head: &Tensor,
    known: &Arc<Known>,
) -> Result<(Tensor, LossReport)> {
    let kept = Arc::new(Mutex::new(None));
    let op = LossOp { objective, reduction, known: known.clone(), kept: kept.clone() };
    let loss = hidden.apply_op2(head, op)?;
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

/// Looks at the answers to a batch, of the same hidden states and layer.
pub(crate) fn observe(hidden: &Tensor, head: &Tensor, known: &Known) -> Result<Observed> {
    let ((rows, width), (_, vocab)) = (hidden.dims2()?, head.dims2()?);
    let (hidden, head) = (hidden.flatten_all()?.to_vec1()?, head.flatten_all()?.to_vec1()?);
    let (mut log_probs, mut answers) = (vec![0.0; rows], vec![0; rows]);
    let outputs = Outputs::new().log_probs(&mut log_probs).argmax(&mut answers);
    let forward = || -> Outcome {
        let weight = Matrix::<f32>::new(&head, width, vocab)?.transposed();
        let layer = LinearLoss::new(Loss::new(Sft), weight);
        let (hidden, mut workspace) =
            (Matrix::<f32>::new(&hidden, rows, width)?, workspace(layer.memory(rows)));
        layer.forward(hidden, &known.batch(), outputs, workspace.lend())
    };
    let report = forward().map_err(Error::wrap)?;
    // Not `report.correct`, where ties count: a model whose logits have all become equal is not right.
    let right = |(&answer, &target): (&u32, &i32)| i64::from(answer) == i64::from(target);
    let correct = answers.iter().zip(&known.targets).filter(|&pair| right(pair)).count();
    Ok(Observed { log_probs, nll_sum: report.nll_sum, tokens: report.tokens, correct })
}

/// Memory for chunks of the size that the library recommends.
fn workspace(memory: Memory) -> OwnedWorkspace {
    OwnedWorkspace::new(memory.len(memory.recommended_rows()))
}

/// Output layer and loss of one batch as an operation of candle's graph.
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
    dhidden: Tensor,
    dhead: Tensor,
}

impl LossOp {
    /// Loss and gradients. Candle's head is `[width, vocab]`, the library's weights are `[vocab, width]`:
    /// the same numbers with their strides exchanged.
    fn forward_backward(
        &self,
        hidden: Matrix<'_, f32>,
        head: Matrix<'_, f32>,
        dhidden: &mut [f32],
        dhead: &mut [f32],
    ) -> Outcome {
        let loss = Loss::new(self.objective.0).reduction(self.reduction);
        let layer = LinearLoss::new(loss, head.transposed());
        let gradients = Gradients::new()
            .hidden(MatrixMut::new(dhidden, hidden.rows(), hidden.cols())?)
            .weight(MatrixMut::new(dhead, head.rows(), head.cols())?.transposed());
        let mut workspace = workspace(layer.memory(hidden.rows()));
        let batch = self.known.batch();
        layer.forward_backward(hidden, &batch, gradients, Outputs::new(), workspace.lend())
    }
}

/// A matrix of candle's as the library takes it.
fn matrix<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<Matrix<'a, f32>> {
    let (rows, columns) = layout.shape().dims2()?;
    Matrix::new(contiguous(storage, layout)?, rows, columns).map_err(Error::wrap)
}

impl CustomOp2 for LossOp {
    fn name(&self) -> &'static str {
        "surprisal"
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        hidden_layout: &Layout,
        head: &CpuStorage,
        head_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (hidden, head) = (matrix(hidden, hidden_layout)?, matrix(head, head_layout)?);
        let (mut dhidden, mut dhead) =
            (vec![0.0; hidden.data().len()], vec![0.0; head.data().len()]);
        let report =
            self.forward_backward(hidden, head, &mut dhidden, &mut dhead).map_err(Error::wrap)?;
        let dhidden = Tensor::from_vec(dhidden, hidden.shape(), &Device::Cpu)?;
        let dhead = Tensor::from_vec(dhead, head.shape(), &Device::Cpu)?;
        *self.kept.lock().expect("no panic while locked") = Some(Kept { report, dhidden, dhead });
        #[expect(clippy::cast_possible_truncation, reason = "the graph computes in f32")]
        let loss = report.loss as f32;
        Ok((CpuStorage::F32(vec![loss]), Shape::from(())))
    }

    fn bwd(
        &self,
        _hidden: &Tensor,
        _head: &Tensor,
        _loss: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let kept = self.kept.lock().expect("no panic while locked");
        let Kept { dhidden, dhead, .. } =
            kept.as_ref().ok_or_else(|| Error::Msg("backward before forward".into()))?;
        Ok((Some(dhidden.broadcast_mul(upstream)?), Some(dhead.broadcast_mul(upstream)?)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Known, Objective, loss, observe};
    use crate::data::{Sample, sequences};
    use crate::pack::in_order;
    use candle_core::{Device, Error, Result, Tensor, Var};
    use std::sync::Arc;
    use surprisal::{LogitsMut, Loss, LossReport, Outputs, OwnedWorkspace, Reduction};

    const VOCAB: usize = 256;
    const WIDTH: usize = 24;

    /// Two samples with masked questions and padding.
    struct Example {
        known: Known,
        hidden: Var,
        head: Var,
        /// The learnt tokens and their targets.
        rows: Vec<u32>,
        targets: Vec<u32>,
    }

    fn example() -> Result<Example> {
        let samples = [Sample::answer("1+1", "2"), Sample::answer("two and two", "four")];
        let cut: Vec<_> = samples.iter().flat_map(|sample| sequences(sample, 32)).collect();
        let tokens = in_order(&cut, 2, 32, 1).remove(0);
        let wave = |rows: usize, columns: usize, pitch: f32| {
            let values = (0..rows * columns).map(|n| (n as f32 * pitch).sin()).collect();
            Var::from_vec(values, (rows, columns), &Device::Cpu)
        };
        let rows = tokens.learnt().map(|row| u32::try_from(row).expect("small")).collect();
        let targets = tokens.learnt().map(|row| tokens.targets[row].unsigned_abs()).collect();
        let (hidden, head) = (wave(64, WIDTH, 0.37)?, wave(WIDTH, VOCAB, 0.73)?);
        Ok(Example { known: Known::of(&tokens), hidden, head, rows, targets })
    }

    /// Candle's own cross-entropy over the learnt tokens.
    fn candles_own(example: &Example) -> Result<Tensor> {
        let Example { hidden, head, rows, targets, .. } = example;
        let rows = Tensor::from_slice(rows, rows.len(), &Device::Cpu)?;
        let targets = Tensor::from_slice(targets, targets.len(), &Device::Cpu)?;
        let logits = hidden.matmul(head)?;
        candle_nn::loss::cross_entropy(&logits.index_select(&rows, 0)?, &targets)
    }

    /// The composed path: whole logits by candle, their loss and gradient, and candle's way back. Only the
    /// gradients of the tensor mean something.
    pub(crate) fn whole_logits(
        objective: Objective,
        reduction: Reduction,
        hidden: &Tensor,
        head: &Tensor,
        known: &Known,
    ) -> Result<(Tensor, LossReport)> {
        let logits = hidden.matmul(head)?;
        let (rows, vocab) = logits.dims2()?;
        let mut z = logits.flatten_all()?.to_vec1::<f32>()?;
        let mut workspace = OwnedWorkspace::new();
        let report = Loss::new(objective.0)
            .reduction(reduction)
            .forward_backward_in_place_with(
                LogitsMut::new(&mut z, rows, vocab).map_err(Error::wrap)?,
                &known.batch(),
                Outputs::new(),
                workspace.lend(rows, vocab),
            )
            .map_err(Error::wrap)?;
        let dlogits = Tensor::from_vec(z, (rows, vocab), &Device::Cpu)?;
        Ok(((logits * dlogits)?.sum_all()?, report))
    }

    /// The largest difference, as a share of the largest entry.
    pub(crate) fn gap(actual: &Tensor, expected: &Tensor) -> Result<f32> {
        let largest = |tensor: Tensor| tensor.abs()?.max_all()?.to_scalar::<f32>();
        Ok(largest((actual - expected)?)? / largest(expected.clone())?)
    }

    #[test]
    fn sft_has_the_loss_and_the_gradients_of_candles_own_cross_entropy() -> Result<()> {
        let example = example()?;
        let own = candles_own(&example)?;
        let Example { known, hidden, head, .. } = example;
        let known = Arc::new(known);
        let (ours, report) =
            loss(Objective::PRETRAINING, Reduction::MeanTokens, &hidden, &head, &known)?;
        assert!((ours.to_scalar::<f32>()? - own.to_scalar::<f32>()?).abs() < 1e-5);
        assert!((report.mean_nll() - f64::from(own.to_scalar::<f32>()?)).abs() < 1e-5);
        // Scaled, to see that the gradient from above is not forgotten.
        let (ours, own) = ((ours * 3.0)?.backward()?, (own * 3.0)?.backward()?);
        for var in [hidden, head] {
            let gap = gap(ours.get(&var).expect("ours"), own.get(&var).expect("candle's"))?;
            assert!(gap < 1e-5, "{gap}");
        }
        Ok(())
    }

    #[test]
    fn every_objective_has_the_loss_and_the_gradients_of_whole_logits() -> Result<()> {
        let Example { known, hidden, head, .. } = example()?;
        // The text is not what the model would have said: the base model is another one.
        let base = observe(&(&*hidden * 0.9)?, &head, &known)?.log_probs;
        let known = Arc::new(known.with_base(base));
        assert!(Objective::supported().count() >= 15);
        for objective in Objective::supported() {
            let name = objective.name();
            let by = Reduction::MeanTokens;
            let (ours, report) = loss(objective, by, &hidden, &head, &known)?;
            let (whole, expected) = whole_logits(objective, by, &hidden, &head, &known)?;
            assert_eq!(report.tokens, expected.tokens);
            assert!((report.loss - expected.loss).abs() < 1e-6 * expected.nll_sum, "{name}");
            let (ours, whole) = (ours.backward()?, whole.backward()?);
            for var in [&hidden, &head] {
                let gap = gap(ours.get(var).expect("ours"), whole.get(var).expect("whole"))?;
                assert!(gap < 1e-5, "{name}: {gap}");
            }
        }
        Ok(())
    }

    #[test]
    fn masked_and_padded_tokens_have_no_gradient() -> Result<()> {
        let Example { known, hidden, head, rows, .. } = example()?;
        let known = Arc::new(known);
        let (loss, report) =
            loss(Objective::PRETRAINING, Reduction::MeanTokens, &hidden, &head, &known)?;
        let gradient = loss.backward()?.get(&hidden).expect("a gradient").to_vec2::<f32>()?;
        assert_eq!(report.tokens, rows.len());
        for (row, gradient) in (0u32..).zip(gradient) {
            assert_eq!(gradient.iter().all(|&g| g == 0.0), !rows.contains(&row), "row {row}");
        }
        Ok(())
    }

    #[test]
    fn a_model_that_cannot_decide_is_not_right() -> Result<()> {
        let Example { known, hidden, head, rows, .. } = example()?;
        let observed = observe(&hidden.zeros_like()?, &head, &known)?;
        assert_eq!((observed.tokens, observed.correct), (rows.len(), 0));
        Ok(())
    }

    #[test]
    fn an_objective_that_cannot_be_run_is_said_to() {
        assert!(Objective::named("dpo").unwrap_err().contains("pairs"));
        assert!(Objective::named("nonsense").unwrap_err().contains("talr-auto"));
    }
}
