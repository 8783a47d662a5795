//! What a backend of its own (a GPU, another language) needs of a loss: its rows with their denominators, its options, the coefficients of its
//! gradient rows, and its report. The objective, the arithmetic of a token, the checks and the denominators stay here.

use crate::batch::{Batch, Pair};
use crate::error::{Argument, Error, check_len};
pub use crate::grad::{Coefs, Options, RowValues, Term};
use crate::ids::{Ids, Sequences};
use crate::loss::context::Context;
use crate::loss::{ExtrasScale, Loss};
use crate::objective::{EXTRA_INPUTS, Objective, Real, TokenTerm};
use crate::reduction::{Denominator, DivisorCursor, Reduction};
use crate::report::{LossReport, Totals, over};
use crate::rows::sum_rows;
use crate::stats::{RowStats, Softmax};
pub use crate::target::TargetSoftmax;

/// A loss over a batch that has passed all checks; from [`Loss::plan`].
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a, O> {
    context: Context<'a, O>,
    /// Of per-token objectives; others know theirs only after its plan.
    denominator: Option<Denominator<'a>>,
}

/// What stage 2 is given of a row that is not ignored.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PlanRow {
    /// Index in the batch, as [`Plan::row_grad`] takes it.
    pub row: usize,
    /// The class of the target.
    pub target: usize,
    /// Token weight.
    pub token_weight: f64,
    /// Class weight of the target.
    pub class_weight: f64,
    /// What the row's gradient is multiplied by: [`Loss::grad_scale`] over the reduction's denominator. 0 for group objectives.
    pub scale: f64,
    /// ln p under the reference model, 0 where it was not given.
    pub ref_log_p: f64,
    /// ln p under the sampling policy, 0 where it was not given.
    pub old_log_p: f64,
    /// Advantage, 0 where it was not given.
    pub advantage: f64,
    /// The extra inputs, in the order in which the objective asks for them.
    pub extra: [f64; EXTRA_INPUTS],
}

/// The options that reach into every logit.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PlanOptions<'a> {
    /// [`Loss::logit_scale`].
    pub logit_scale: f32,
    /// [`Loss::softcap`].
    pub softcap: Option<f32>,
    /// [`Loss::class_weights`].
    pub class_weights: Option<&'a [f32]>,
    /// [`Loss::extras_scale`].
    pub extras_scale: ExtrasScale,
    /// The dense extras as numbers.
    pub extras: Options<f64>,
    /// Whether the objective, or [`Loss::with_moments`], wants the sums for entropy and Σp².
    pub moments: bool,
    /// What losses are divided by.
    pub reduction: Reduction,
    /// [`Loss::grad_scale`].
    pub grad_scale: f32,
}

/// What a batch says of sequences and groups, where it was given; for the plans of group objectives.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PlanSides<'a> {
    /// [`Batch::groups`].
    pub groups: Option<&'a [u32]>,
    /// [`Batch::sequences`].
    pub sequences: Option<Ids<'a>>,
    /// [`Batch::pairs`].
    pub pairs: Option<&'a [Pair]>,
    /// [`Batch::keep`].
    pub keep: Option<&'a [bool]>,
}

/// Coefficients of a gradient row: `dz[j] = (factor·exp(z'[j] − max) − uniform·w[j])·∂z'/∂z / logit_scale`, and in its place for the target
/// `target_entry·∂z'/∂z / logit_scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlanGrad {
    /// What the exponents are relative to.
    pub max: f64,
    /// Multiplier of the exponentials, with the logit scale.
    pub factor: f64,
    /// Subtracted everywhere times the class weight, with the logit scale.
    pub uniform: f64,
    /// The target's entry, with the logit scale.
    pub target_entry: f64,
}

impl<'a, O: Objective> Loss<'a, O> {
    /// The class weights, if there are some.
    pub fn given_class_weights(&self) -> Option<&'a [f32]> {
        self.extras().class_weights
    }

    /// Checks the loss against a batch and prepares what a backend of its own needs.
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn plan<'c>(
        &'c self,
        batch: &'c Batch<'c>,
        vocab_total: usize,
    ) -> Result<Plan<'c, O>, Error> {
        let context = self.check_batch(batch, batch.range().len(), vocab_total)?;
        let grouped = self.objective().group_plan().is_some();
        let denominator = if grouped { None } else { Some(context.denominator()?) };
        Ok(Plan { context, denominator })
    }
}

impl<O: Objective> Plan<'_, O> {
    /// The options.
    #[must_use]
    pub fn options(&self) -> PlanOptions<'_> {
        let Context { extras, options, .. } = &self.context;
        PlanOptions {
            logit_scale: extras.logit_scale,
            softcap: extras.softcap,
            class_weights: extras.class_weights,
            extras_scale: extras.scale,
            extras: *options,
            moments: self.context.sums_moments(),
            reduction: self.context.reduction,
            grad_scale: extras.grad_scale,
        }
    }

    /// The rows of the batch's range, in order; `None` where one is ignored.
    pub fn rows(&self) -> impl Iterator<Item = Option<PlanRow>> + '_ {
        let (context, batch) = (&self.context, self.context.batch);
        let mut cursor = self.denominator.map(DivisorCursor::new);
        batch.range().map(move |row| {
            let target = context.target(row)?;
            let divisor = cursor.as_mut().map_or(0.0, |cursor| context.divisor(cursor, row));
            Some(PlanRow {
                row,
                target,
                token_weight: batch.token_weight(row),
                class_weight: context.extras.class_weight(target),
                scale: over(f64::from(context.extras.grad_scale), divisor),
                ref_log_p: batch.ref_log_p(row),
                old_log_p: batch.old_log_p(row),
                advantage: context.advantage(row),
                extra: context.extra(row),
            })
        })
    }

    /// The sequences and groups of the batch.
    #[must_use]
    pub fn sides(&self) -> PlanSides<'_> {
        let Batch { groups, sequences, pairs, keep, .. } = *self.context.batch;
        PlanSides { groups, sequences: sequences.map(|Sequences(offsets)| offsets), pairs, keep }
    }

    /// The gradient's coefficients of a row (an index of the batch) with this target; `None` where the row's gradient is 0.
    #[must_use]
    pub fn row_grad(
        &self,
        row: usize,
        target: usize,
        stats: &RowStats,
        term: &TokenTerm,
    ) -> Option<PlanGrad> {
        let softmax = stats.softmax();
        let (coefs, entry) = self.context.coefs(row, target, &softmax, term);
        let scale = f64::from(self.context.extras.logit_scale);
        (!coefs.is_zero()).then(|| PlanGrad {
            max: stats.max,
            factor: coefs.prob() * scale * softmax.inverse,
            uniform: coefs.uniform() * scale,
            target_entry: Real::weigh(scale, entry),
        })
    }

    /// The report of a per-token objective, from every row's statistics and term.
    ///
    /// # Errors
    /// [`Error::Length`] where there is not one entry a row; [`Error::NeedsWholeBatch`] for a group objective, whose report
    /// [`Loss::token_terms`] gives.
    pub fn report(&self, stats: &[RowStats], terms: &[TokenTerm]) -> Result<LossReport, Error> {
        let range = self.context.batch.range();
        check_len(Argument::Stats, stats.len(), range.len())?;
        check_len(Argument::Terms, terms.len(), range.len())?;
        let denominator = self.denominator.ok_or(Error::NeedsWholeBatch)?;
        let mut cursor = DivisorCursor::new(denominator);
        let totals = sum_rows(0..range.len(), self.context.band, &mut |rows| {
            let mut totals = Totals::default();
            let stats = stats.get(rows.clone()).unwrap_or_default();
            for (local, softmax) in rows.zip(Softmax::of_rows(self.context.level, stats)) {
                let row = range.start + local;
                if let (Some(target), Some(term)) = (self.context.target(row), terms.get(local)) {
                    let weight = self.context.caller_weight(row, target);
                    let divisor = self.context.divisor(&mut cursor, row);
                    totals.count(row, &softmax, term, weight, divisor);
                }
            }
            totals
        });
        Ok(denominator.finish(totals))
    }
}
