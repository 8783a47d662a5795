//! From statistics to term to gradient row: the arithmetic of one token, in f64.

use crate::batch::Batch;
use crate::entry;
use crate::extras::{Constants, Extras, ExtrasScale};
use crate::kernel::{LogitMap, Moments, RowGrad, RowSums};
use crate::objective::{Dual, Objective, Real, Token, TokenTerm, floor_log_p, side_log_p};
use crate::reduction::{Reduction, Scale};
use crate::stats::{RowStats, Softmax};

/// Losses beyond this are those of a target with ln p = −1e300: infinite.
const INFINITE_LOSS: f64 = 1e200;

/// 0 wins over ∞: what has no weight costs nothing.
#[inline]
fn weigh(weight: f64, value: f64) -> f64 {
    if weight == 0.0 { 0.0 } else { weight * value }
}

/// All that a call knows besides logits and statistics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a, O> {
    pub(crate) objective: &'a O,
    pub(crate) reduction: Reduction,
    pub(crate) extras: Extras<'a>,
    pub(crate) constants: Constants,
    pub(crate) batch: &'a Batch<'a>,
}

impl<'a, O: Objective> Context<'a, O> {
    pub(crate) fn new(
        objective: &'a O,
        reduction: Reduction,
        extras: Extras<'a>,
        batch: &'a Batch<'a>,
        vocab_total: usize,
    ) -> Self {
        let constants = Constants::new(&extras, vocab_total);
        Self { objective, reduction, extras, constants, batch }
    }

    /// The scale of every token, given which rows count.
    pub(crate) fn scale(&self, counts: &impl Fn(usize) -> bool) -> Scale {
        let weight = |row| self.target(row).map_or(0.0, |target| self.caller_weight(row, target));
        Scale::new(self.reduction, self.batch, counts, weight)
    }

    /// Token weight · class weight of the target.
    pub(crate) fn caller_weight(&self, row: usize, target: usize) -> f64 {
        self.batch.token_weight(row) * self.extras.class_weight(target)
    }

    /// Advantage of a token, 0 where none was given.
    pub(crate) fn advantage(&self, row: usize) -> f64 {
        self.batch.advantages.map_or(0.0, |advantages| entry::read(advantages, row))
    }

    /// Class of a row's target; `None` where the row is ignored. Targets have been checked.
    pub(crate) fn target(&self, row: usize) -> Option<usize> {
        self.batch.target(row).and_then(|target| usize::try_from(target).ok())
    }

    /// The term of an active row, and the objective's own weight.
    pub(crate) fn term(
        &self,
        row: usize,
        target: usize,
        softmax: &Softmax,
        scalars: &TokenTerm,
        scale: f64,
    ) -> (TokenTerm, f64) {
        if !softmax.stats.is_valid() {
            let nan = f64::NAN;
            return (TokenTerm { loss: nan, coef: nan, dense: nan }, nan);
        }
        let batch = self.batch;
        let token = Token {
            log_p: Dual::variable(floor_log_p(softmax.log_prob())),
            ref_log_p: Dual::lit(side_log_p(batch.ref_log_probs, row)),
            old_log_p: Dual::lit(side_log_p(batch.old_log_probs, row)),
            advantage: Dual::lit(self.advantage(row)),
            group: [Dual::lit(scalars.loss), Dual::lit(scalars.coef)],
        };
        let Dual { value, slope } = self.objective.loss(&token);
        let infinite = libm::fabs(value) > INFINITE_LOSS;
        let value = if infinite { libm::copysign(f64::INFINITY, value) } else { value };
        // Not −0, where the slope is 0.
        let weight = 0.0 - slope;

        let extras = match self.extras.scale {
            ExtrasScale::One => 1.0,
            ExtrasScale::Objective => weight,
        };
        let objective_weight = self.extras.objective_weight(target);
        let dense = weigh(extras, self.extras.loss(softmax, &self.constants));
        let token_weight = batch.token_weight(row);
        let term = TokenTerm {
            loss: weigh(token_weight, weigh(objective_weight, value) + dense),
            coef: weigh(scale * token_weight * objective_weight, weight),
            dense: scale * token_weight * extras,
        };
        (term, weight)
    }

    /// What the gradient kernel needs of a row. `target` is the target's column and raw logit, where this part of the row has it.
    pub(crate) fn row_grad(
        &self,
        softmax: &Softmax,
        term: &TokenTerm,
        class: usize,
        target: Option<(usize, f32)>,
    ) -> RowGrad {
        let (map, stats) = (self.extras.map(), &softmax.stats);
        let pivot = LogitMap::pivot(stats.max);
        if term.coef == 0.0 && term.dense == 0.0 {
            // Nothing flows, whatever the logits are: the objective dropped the token or gives it no weight.
            let target = target.map(|(column, _)| (column, 0.0));
            return RowGrad { pivot, factor: 0.0, uniform: 0.0, target };
        }
        let coefs = self.extras.row_coefs(softmax, term, &self.constants);
        let scale = f64::from(map.scale);
        let entry = |z: f32| coefs.target(softmax, self.extras.class_weight(class)) * map.slope(z);
        let off_pivot = f64::from(pivot) - stats.max;
        let rebase = if off_pivot == 0.0 { 1.0 } else { libm::exp(off_pivot) };
        #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
        let round = |value: f64| value as f32;
        RowGrad {
            pivot,
            // Finite (or NaN), so that a class of probability 0 gets 0 also from an infinite coefficient.
            factor: round(coefs.prob() * scale / stats.sum_exp * rebase).clamp(f32::MIN, f32::MAX),
            uniform: round(coefs.uniform * scale),
            target: target.map(|(column, z)| (column, entry(z))),
        }
    }
}

/// Statistics from the sums of a kernel. `target_logit` is raw.
#[inline]
pub(crate) fn stats_of(
    sums: &RowSums,
    moments: Moments,
    target_logit: Option<f32>,
    map: &LogitMap,
) -> RowStats {
    let relative_to_pivot = RowStats {
        max: f64::from(sums.pivot),
        sum_exp: sums.sum_exp,
        // + 0.0 makes a −0 positive: merging compares and adds, where the sign of a zero would depend on the order.
        target_logit: target_logit.map_or(0.0, |z| map.apply(z) + 0.0),
        sum_logits: moments.sum_logits,
        sum_exp_logits: moments.sum_exp_logits,
    };
    relative_to_pivot.rebase(sums.max + 0.0)
}
