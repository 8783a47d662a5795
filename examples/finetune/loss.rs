//! The output layer and the loss in one, by `surprisal-candle`. No other file calls the library's loss.

use crate::data::IGNORE_INDEX;
use crate::objective::{Kind, Objective};
use crate::pack::Tokens;
use candle_core::{Result, Tensor};
use surprisal::{Batch, Loss, LossReport, Outputs, Pair, Reduction};

/// What is known of each token of a batch before the model has seen it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) targets: Vec<i32>,
    /// `cu_seqlens`: where each packed sequence begins, and the number of tokens.
    pub(crate) offsets: Vec<i32>,
    /// ln p of each target under a frozen reference model.
    pub(crate) reference: Option<Vec<f32>>,
    /// ln p of each target under the policy that wrote it, or under a snapshot of the model.
    pub(crate) old: Option<Vec<f32>>,
    /// Text to learn from is good text: every advantage is 1 unless somebody knows better.
    pub(crate) advantages: Vec<f32>,
    /// Kind of the target (digit, letter, other), for objectives that look for the worst group.
    groups: Vec<u32>,
    /// Whether each sequence is to be learnt from.
    pub(crate) keep: Vec<bool>,
    /// Pairs of a better and a worse sequence.
    pub(crate) pairs: Vec<Pair>,
}

impl Known {
    /// What the text alone tells.
    pub(crate) fn of(tokens: &Tokens) -> Self {
        Self {
            targets: tokens.targets.clone(),
            offsets: tokens.offsets.clone(),
            reference: None,
            old: None,
            advantages: vec![1.0; tokens.targets.len()],
            groups: tokens.targets.iter().map(|&target| kind(target)).collect(),
            keep: vec![true; tokens.offsets.len() - 1],
            pairs: Vec::new(),
        }
    }

    /// The same, where the base model is the reference and, since all fine-tuning starts there, the old policy too.
    pub(crate) fn with_base(self, log_probs: Vec<f32>) -> Self {
        Self { reference: Some(log_probs.clone()), old: Some(log_probs), ..self }
    }

    /// The same as the library takes it.
    pub(crate) fn batch(&self) -> Batch<'_> {
        let mut batch = Batch::new(&self.targets)
            .ignore_index(IGNORE_INDEX.into())
            .sequences(&self.offsets)
            .advantages(&self.advantages)
            .groups(&self.groups)
            .keep(&self.keep)
            .pairs(&self.pairs);
        if let Some(reference) = &self.reference {
            batch = batch.ref_log_probs(reference);
        }
        if let Some(old) = &self.old {
            batch = batch.old_log_probs(old);
        }
        batch
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
    objective: &Objective,
    reduction: Option<Reduction>,
    hidden: &Tensor,
    head: &Tensor,
    known: &Known,
) -> Result<(Tensor, LossReport)> {
    match objective.kind {
        Kind::Builtin(it) => linear(it, reduction, hidden, head, known, Outputs::new()),
        Kind::Anchored(it) => linear(it, reduction, hidden, head, known, Outputs::new()),
    }
}

/// What a model makes of a batch, without a gradient: an entry for each token, 0 where it is ignored.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// Log-probability of each target.
    pub(crate) log_probs: Vec<f32>,
    /// The objective's loss.
    pub(crate) losses: Vec<f32>,
    /// The objective's weight −∂loss/∂ln p.
    pub(crate) weights: Vec<f32>,
    /// Entropy of what the model expects.
    pub(crate) entropy: Vec<f32>,
    /// What the model would have answered; `u32::MAX` where ignored.
    pub(crate) answers: Vec<u32>,
}

impl Observed {
    /// Whether the model would have answered this token right. (The first among equal logits is its answer: a model
    /// whose logits have all become equal is not right.)
    pub(crate) fn is_right(&self, token: usize, known: &Known) -> bool {
        i64::from(self.answers[token]) == i64::from(known.targets[token])
    }
}

/// Looks at the answers to a batch, of the same hidden states and layer.
pub(crate) fn observe(
    objective: &Objective,
    hidden: &Tensor,
    head: &Tensor,
    known: &Known,
) -> Result<Observed> {
    let rows = hidden.dim(0)?;
    let zeros = || vec![0.0; rows];
    let mut seen = Observed {
        log_probs: zeros(),
        losses: zeros(),
        weights: zeros(),
        entropy: zeros(),
        answers: vec![0; rows],
    };
    let outputs = Outputs::new()
        .log_probs(&mut seen.log_probs)
        .losses(&mut seen.losses)
        .weights(&mut seen.weights)
        .entropy(&mut seen.entropy)
        .argmax(&mut seen.answers);
    let (hidden, head) = (hidden.detach(), head.detach());
    match objective.kind {
        Kind::Builtin(it) => linear(it, None, &hidden, &head, known, outputs),
        Kind::Anchored(it) => linear(it, None, &hidden, &head, known, outputs),
    }?;
    Ok(seen)
}

/// Output layer and loss, as the adapter has them: its weights are `[vocab, width]`.
fn linear(
    objective: impl surprisal::objective::Objective,
    reduction: Option<Reduction>,
    hidden: &Tensor,
    head: &Tensor,
    known: &Known,
    outputs: Outputs<'_>,
) -> Result<(Tensor, LossReport)> {
    let loss = Loss::new(objective);
    let loss = reduction.map_or(loss.by_ref(), |by| loss.by_ref().reduction(by));
    surprisal_candle::linear_loss_with(&loss, hidden, &head.t()?, &known.batch(), None, outputs)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Kind, Known, Objective, loss, observe};
    use crate::data::{Sample, sequences};
    use crate::pack::in_order;
    use candle_core::{Device, Error, Result, Tensor, Var};
    use surprisal::objective::Dft;
    use surprisal::{LogitsMut, Loss, LossReport, Outputs, OwnedWorkspace};

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
        objective: &Objective,
        hidden: &Tensor,
        head: &Tensor,
        known: &Known,
    ) -> Result<(Tensor, LossReport)> {
        let logits = hidden.matmul(head)?;
        let (rows, vocab) = logits.dims2()?;
        let mut z = logits.flatten_all()?.to_vec1::<f32>()?;
        let mut workspace = OwnedWorkspace::new();
        let Kind::Builtin(builtin) = objective.kind else { panic!("one of the library's") };
        let report = Loss::new(builtin)
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
        let (ours, report) = loss(&Objective::pretraining(), None, &hidden, &head, &known)?;
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
        let base = observe(&Objective::pretraining(), &(&*hidden * 0.9)?, &head, &known)?.log_probs;
        let known = known.with_base(base);
        assert!(Objective::supported().count() >= 15);
        for objective in Objective::supported() {
            let name = objective.name();
            let (ours, report) = loss(&objective, None, &hidden, &head, &known)?;
            let (whole, expected) = whole_logits(&objective, &hidden, &head, &known)?;
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
        let (loss, report) = loss(&Objective::pretraining(), None, &hidden, &head, &known)?;
        let gradient = loss.backward()?.get(&hidden).expect("a gradient").to_vec2::<f32>()?;
        assert_eq!(report.tokens, rows.len());
        for (row, gradient) in (0u32..).zip(gradient) {
            assert_eq!(gradient.iter().all(|&g| g == 0.0), !rows.contains(&row), "row {row}");
        }
        Ok(())
    }

    #[test]
    fn an_anchored_objective_is_the_sum_of_its_two_terms() -> Result<()> {
        let Example { known, hidden, head, .. } = example()?;
        let base = observe(&Objective::pretraining(), &(&*hidden * 0.9)?, &head, &known)?.log_probs;
        let known = known.with_base(base.clone());
        let [plain, anchored] = [Objective::of(Dft), Objective::anchored(Dft, 0.5)]
            .map(|objective| observe(&objective, &hidden, &head, &known));
        let (plain, anchored) = (plain?, anchored?);
        for row in (0..base.len()).filter(|&row| plain.log_probs[row] != 0.0) {
            let k = base[row] - plain.log_probs[row];
            let loss = plain.losses[row] + 0.5 * (k.exp() - k - 1.0);
            let weight = plain.weights[row] + 0.5 * (k.exp() - 1.0);
            assert!((anchored.losses[row] - loss).abs() < 1e-5 * (1.0 + loss.abs()));
            assert!((anchored.weights[row] - weight).abs() < 1e-5 * (1.0 + weight.abs()));
        }
        Ok(())
    }
}
