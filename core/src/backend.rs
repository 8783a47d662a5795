//! What a backend of its own (a GPU, another language) needs of a loss: its rows with their denominators, its options, the coefficients of its
//! gradient rows, and its report. The objective, the checks and the denominators stay here.

use crate::batch::Batch;
use crate::error::{Argument, Error, check_len};
use crate::extras::ExtrasScale;
use crate::loss::Loss;
use crate::objective::{Objective, Scope, TokenTerm, side_log_p};
use crate::reduction::{LossReport, Scale, ScaleCursor, Totals};
use crate::rows::sum_rows;
use crate::stats::RowStats;
use crate::term::Context;

/// A loss over a batch that has passed all checks; from [`Loss::plan`].
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a, O> {
    context: Context<'a, O>,
    /// Of objectives of a token; those of a group know theirs only after the group pass.
    scale: Option<Scale>,
}

/// What stage 2 is given of a row that is not ignored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlanRow {
    /// The class of the target.
    pub target: usize,
    /// Token weight.
    pub token_weight: f64,
    /// Class weight of the target.
    pub class_weight: f64,
    /// Of the reduction: what the row's loss is multiplied by. 0 for objectives of a group.
    pub scale: f64,
    /// ln p under the reference model, 0 where it was not given.
    pub ref_log_p: f64,
    /// ln p under the sampling policy, 0 where it was not given.
    pub old_log_p: f64,
    /// Advantage, 0 where it was not given.
    pub advantage: f64,
}

/// The options that reach into every logit.
#[derive(Clone, Copy, Debug)]
pub struct PlanOptions<'a> {
    /// [`Loss::logit_scale`].
    pub logit_scale: f32,
    /// [`Loss::softcap`].
    pub softcap: Option<f32>,
    /// [`Loss::label_smoothing`].
    pub label_smoothing: f32,
    /// [`Loss::z_loss`].
    pub z_loss: f32,
    /// [`Loss::class_weights`].
    pub class_weights: Option<&'a [f32]>,
    /// [`Loss::extras_scale`].
    pub extras_scale: ExtrasScale,
    /// Σ of the class weights: the vocabulary without.
    pub class_weight_sum: f64,
    /// Label smoothing over the vocabulary.
    pub smoothing_per_class: f64,
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
        let of_token = self.objective().scope() == Scope::Token;
        let scale = of_token.then(|| context.scale(&|row| batch.target(row).is_some()));
        Ok(Plan { context, scale })
    }
}

impl<O: Objective> Plan<'_, O> {
    /// The options.
    #[must_use]
    pub fn options(&self) -> PlanOptions<'_> {
        let Context { extras, constants, .. } = &self.context;
        PlanOptions {
            logit_scale: extras.logit_scale,
            softcap: extras.softcap,
            label_smoothing: extras.label_smoothing,
            z_loss: extras.z_loss,
            class_weights: extras.class_weights,
            extras_scale: extras.scale,
            class_weight_sum: constants.class_weight_sum,
            smoothing_per_class: constants.smoothing_per_class,
        }
    }

    /// The rows of the batch's range, in order; `None` where one is ignored.
    pub fn rows(&self) -> impl Iterator<Item = Option<PlanRow>> + '_ {
        let batch = self.context.batch;
        let mut cursor = self.scale.map(ScaleCursor::new);
        batch.range().map(move |row| {
            let target = self.context.target(row)?;
            let active = |row: usize| batch.target(row).is_some();
            Some(PlanRow {
                target,
                token_weight: batch.token_weight(row),
                class_weight: self.context.extras.class_weight(target),
                scale: cursor.as_mut().map_or(0.0, |cursor| cursor.at(row, batch, &active)),
                ref_log_p: side_log_p(batch.ref_log_probs, row),
                old_log_p: side_log_p(batch.old_log_probs, row),
                advantage: self.context.advantage(row),
            })
        })
    }

    /// The gradient's coefficients of a row with this target; `None` where the row's gradient is 0.
    #[must_use]
    pub fn row_grad(&self, target: usize, stats: &RowStats, term: &TokenTerm) -> Option<PlanGrad> {
        if term.coef == 0.0 && term.dense == 0.0 {
            return None;
        }
        let Context { extras, constants, .. } = &self.context;
        let softmax = stats.softmax();
        let coefs = extras.row_coefs(&softmax, term, constants);
        let scale = f64::from(extras.logit_scale);
        Some(PlanGrad {
            max: stats.max,
            factor: coefs.prob() * scale / stats.sum_exp,
            uniform: coefs.uniform * scale,
            target_entry: coefs.target(&softmax, extras.class_weight(target)) * scale,
        })
    }

    /// The report of an objective of a token, from every row's statistics and term.
    ///
    /// # Errors
    /// [`Error::Length`] where there is not one entry a row; [`Error::NeedsWholeBatch`] for an objective of a group, whose report
    /// [`Loss::token_terms`] gives.
    pub fn report(&self, stats: &[RowStats], terms: &[TokenTerm]) -> Result<LossReport, Error> {
        let (batch, range) = (self.context.batch, self.context.batch.range());
        check_len(Argument::Stats, stats.len(), range.len())?;
        check_len(Argument::Terms, terms.len(), range.len())?;
        let scale = self.scale.ok_or(Error::NeedsWholeBatch)?;
        let mut cursor = ScaleCursor::new(scale);
        let totals = sum_rows(0..range.len(), &mut |rows| {
            let mut totals = Totals::default();
            for local in rows {
                let row = range.start + local;
                let scale = cursor.at(row, batch, &|row| batch.target(row).is_some());
                let known = (self.context.target(row), stats.get(local), terms.get(local));
                if let (Some(target), Some(stats), Some(term)) = known {
                    let weight = self.context.caller_weight(row, target);
                    totals.count(row, &stats.softmax(), term, weight, scale);
                }
            }
            totals
        });
        Ok(scale.finish(totals))
    }
}
