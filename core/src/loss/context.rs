//! All that a call knows besides logits: from a row's softmax to its term, and to the coefficients of its gradient.

use fearless_simd::Level;

use super::extras::{Extras, ExtrasScale};
use crate::batch::Batch;
use crate::error::Error;
use crate::grad::{Coefs, Options, RowGrad, RowValues, Term};
use crate::objective::{
    Dual, EXTRA_INPUTS, Input, Objective, Real, Scalars, Token, TokenTerm, floor_log_p,
};
use crate::reduction::{Denominator, DivisorCursor, Reduction};
use crate::report::over;
use crate::rows::{Ask, Facts, band_rows};
use crate::stats::Softmax;

/// Losses beyond this are those of a target with ln p = −1e300, or of a ratio to such a one: infinite.
const INFINITE_LOSS: f64 = 1e200;
/// The same over the weight of an impossible target, however small that is.
const INFINITE_NLL: f64 = 1e250;

fn infinite_from(limit: f64, loss: f64) -> f64 {
    if libm::fabs(loss) > limit { libm::copysign(f64::INFINITY, loss) } else { loss }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a, O> {
    pub(crate) objective: &'a O,
    pub(crate) reduction: Reduction,
    pub(crate) extras: Extras<'a>,
    pub(crate) options: Options<f64>,
    pub(crate) batch: &'a Batch<'a>,
    pub(crate) level: Level,
    /// Rows of a leaf of the sums' tree.
    pub(crate) band: usize,
    /// The extra inputs, in the objective's order.
    extra: [Option<&'a [f32]>; EXTRA_INPUTS],
    /// Whether a token wants to know the row's entropy or Σp².
    moments: bool,
}

impl<'a, O: Objective> Context<'a, O> {
    /// Everything must have been checked but the objective's inputs.
    pub(super) fn new(
        objective: &'a O,
        reduction: Reduction,
        extras: Extras<'a>,
        batch: &'a Batch<'a>,
        vocab_total: usize,
        level: Level,
    ) -> Result<Self, Error> {
        let inputs = objective.inputs();
        if let Some(missing) = inputs.iter().find_map(|&input| batch.lacks(input)) {
            return Err(Error::Missing(missing));
        }
        let mut extra = [None; EXTRA_INPUTS];
        let mut slots = extra.iter_mut();
        for input in inputs {
            if let Input::Extra(name) = *input {
                *slots.next().ok_or(Error::ExtraInputs { name })? = batch.extra_of(name);
            }
        }
        let moments = inputs.contains(&Input::Entropy) || inputs.contains(&Input::SumSquares);
        let (options, band) = (extras.options(vocab_total), band_rows(vocab_total));
        Ok(Self { objective, reduction, extras, options, batch, level, band, extra, moments })
    }

    /// The denominators, where every row that is not ignored counts.
    pub(crate) fn denominator(&self) -> Result<Denominator<'a>, Error> {
        if self.batch.is_whole() {
            Ok(self.denominator_of(&|row| self.counts(row)))
        } else {
            Denominator::of_range(self.reduction, self.batch)
        }
    }

    /// The denominators of the whole batch, given which rows count.
    pub(crate) fn denominator_of(&self, counts: &impl Fn(usize) -> bool) -> Denominator<'static> {
        let weight = |row| self.target(row).map_or(0.0, |target| self.caller_weight(row, target));
        Denominator::new(self.reduction, self.batch, counts, weight)
    }

    /// Whether a row is not ignored.
    pub(crate) fn counts(&self, row: usize) -> bool {
        self.batch.target(row).is_some()
    }

    /// A row's divisor, where every row that is not ignored counts.
    pub(crate) fn divisor(&self, cursor: &mut DivisorCursor<'_>, row: usize) -> f64 {
        cursor.at(row, self.batch, &|row| self.counts(row))
    }

    /// Token weight · class weight of the target.
    pub(crate) fn caller_weight(&self, row: usize, target: usize) -> f64 {
        self.batch.token_weight(row) * self.extras.class_weight(target)
    }

    /// Advantage of a token, 0 where none was given.
    pub(crate) fn advantage(&self, row: usize) -> f64 {
        self.batch.advantages.map_or(0.0, |advantages| self.batch.entry(advantages, row))
    }

    /// The extra inputs of a token, in the objective's order.
    #[inline]
    pub(crate) fn extra(&self, row: usize) -> [f64; EXTRA_INPUTS] {
        let mut extra = [0.0; EXTRA_INPUTS];
        for (value, values) in extra.iter_mut().zip(self.extra) {
            *value = values.map_or(0.0, |values| self.batch.entry(values, row));
        }
        extra
    }

    /// Class of a row's target; `None` where the row is ignored. Targets have been checked.
    pub(crate) fn target(&self, row: usize) -> Option<usize> {
        self.batch.target(row).and_then(|target| usize::try_from(target).ok())
    }

    /// Whether stage 1 sums what entropy and Σp² are made of, whatever outputs ask.
    pub(crate) fn sums_moments(&self) -> bool {
        self.moments || self.extras.moments
    }

    /// What first halves are asked for. `classes` are those of the row's columns.
    pub(crate) fn ask(
        &self,
        classes: core::ops::Range<usize>,
        outputs: &super::Outputs<'_>,
    ) -> Ask<'a> {
        let smoothed = self.extras.label_smoothing > 0.0;
        Ask {
            map: self.extras.map(),
            absent: 0.0,
            gradient: true,
            argmax: outputs.argmax.is_some(),
            moments: self.sums_moments() || outputs.entropy.is_some(),
            weighted: smoothed.then(|| self.extras.class_weights_of(classes)),
        }
    }

    /// Entropy and Σp² of a row, where a token wants to know them.
    #[inline]
    pub(crate) fn moments_of(&self, softmax: &Softmax) -> [f64; 2] {
        if self.moments { [softmax.entropy(), softmax.sum_squares()] } else { [0.0; 2] }
    }

    /// A token as the objective sees it.
    #[inline(always)]
    pub(crate) fn token<R: Real>(
        &self,
        row: usize,
        log_p: R,
        [entropy, sum_squares]: [f64; 2],
        scalars: &Scalars,
    ) -> Token<R> {
        let mut token = Token::new(log_p);
        token.ref_log_p = R::lit(self.batch.ref_log_p(row));
        token.old_log_p = R::lit(self.batch.old_log_p(row));
        token.advantage = R::lit(self.advantage(row));
        token.entropy = R::lit(entropy);
        token.sum_squares = R::lit(sum_squares);
        token.extra = self.extra(row).map(R::lit);
        token.shared = scalars.shared.map(R::lit);
        token
    }

    /// The term of an active row, and the objective's own weight.
    #[inline(always)]
    pub(crate) fn term(
        &self,
        row: usize,
        target: usize,
        softmax: &Softmax,
        scalars: &Scalars,
        divisor: f64,
    ) -> (TokenTerm, f64) {
        if !softmax.is_valid() {
            let nan = f64::NAN;
            return (TokenTerm { loss: nan, coef: nan, dense: nan }, nan);
        }
        let log_p = Dual::variable(floor_log_p(softmax.log_prob()));
        let token = self.token(row, log_p, self.moments_of(softmax), scalars);
        let Dual { value, slope } = self.objective.loss(&token);
        let mut limit = INFINITE_LOSS;
        if softmax.nll == f64::INFINITY && slope != 0.0 {
            limit = limit.min(INFINITE_NLL * libm::fabs(slope));
        }
        let value = infinite_from(limit, value);
        // Not −0, where the slope is 0.
        let weight = 0.0 - slope;
        let extras = match self.extras.scale {
            ExtrasScale::One => 1.0,
            ExtrasScale::Objective => weight,
        };
        let values = self.values(row, target, softmax, divisor);
        let Term { loss, coef, dense } = Term::new(value, weight, extras, &values, &self.options);
        (TokenTerm { loss: infinite_from(INFINITE_LOSS, loss), coef, dense }, weight)
    }

    #[inline]
    fn values(&self, row: usize, target: usize, softmax: &Softmax, divisor: f64) -> RowValues<f64> {
        let (stats, sum) = (&softmax.stats, self.options.class_weight_sum);
        RowValues {
            p: softmax.p,
            miss: softmax.miss,
            lse: softmax.log_sum_exp(),
            smoothed: softmax.target().smoothed(sum, sum * stats.max - stats.sum_logits),
            token_weight: self.batch.token_weight(row),
            class_weight: self.extras.class_weight(target),
            scale: over(f64::from(self.extras.grad_scale), divisor),
        }
    }

    /// The coefficients of a row's gradient, and the target's entry with respect to the transformed logits.
    #[inline]
    pub(crate) fn coefs(
        &self,
        row: usize,
        class: usize,
        softmax: &Softmax,
        term: &TokenTerm,
    ) -> (Coefs<f64>, f64) {
        let values = self.values(row, class, softmax, 1.0);
        let coefs = Coefs::new(term.coef, term.dense, values.lse, &self.options);
        (coefs, coefs.target(&values))
    }

    /// What turns a row into its gradient.
    #[inline]
    pub(crate) fn row_grad(
        &self,
        row: usize,
        class: usize,
        softmax: &Softmax,
        term: &TokenTerm,
        facts: &Facts<'_>,
        weights: Option<&'a [f32]>,
    ) -> RowGrad<'a> {
        let map = self.extras.map();
        let (coefs, entry) = self.coefs(row, class, softmax, term);
        let slope = |z| map.slope(z) * f64::from(map.scale);
        let target = facts.target.map(|(column, z)| (column, Real::weigh(slope(z), entry)));
        RowGrad { map, base: *facts.base, coefs, inverse: softmax.inverse, weights, target }
    }
}
