//! What a call left of every row, on the host.

use surprisal::objective::{Objective, Scalars, TokenTerm};
use surprisal::{Batch, LossReport, RowStats, Workspace};

use crate::error::Error;
use crate::layout::{IGNORED, INVALID, LOWEST, Params, Part, RowOutput};
use crate::pipelines::Pipelines;

/// From here on a sum stands for infinity: it holds the share of an impossible class.
const INFINITE: f32 = 1.0e30;

/// What a call left of every row, on the host.
#[derive(Clone, Debug)]
pub struct RowResults {
    pub(crate) rows: Vec<RowOutput>,
    pub(crate) params: Params,
}

impl RowResults {
    /// Statistics of every row, which merge with those of the CPU and of other devices; [`RowStats::EMPTY`] on ignored rows.
    #[must_use]
    pub fn row_stats(&self) -> Vec<RowStats> {
        let of = |row: &RowOutput| {
            if row.target_id == IGNORED { RowStats::EMPTY } else { self.stats_of(row) }
        };
        self.rows.iter().map(of).collect()
    }

    fn stats_of(&self, row: &RowOutput) -> RowStats {
        let part = &row.stats;
        // The device leaves levels. In f64 their product with the logit scale is exact.
        let logit = |level: f32| f64::from(level) * f64::from(self.params.spread);
        let max = if part.max <= LOWEST { RowStats::EMPTY.max } else { logit(part.max) };
        let target = part.target_logit;
        let moment = |sum: f32| if self.params.moments == 0 { f64::NAN } else { f64::from(sum) };
        RowStats {
            max,
            others: if part.invalid == 0 { self.others(row) } else { f64::NAN },
            target_logit: if target <= LOWEST { f64::NEG_INFINITY } else { logit(target) },
            sum_logits: self.sum_logits(part, max),
            sum_exp_logits: moment(part.sum_exp_logits),
            sum_exp_squared: moment(part.sum_exp_squared),
        }
    }

    /// Σ exp(z − max) without the target, to all digits of a small rest where the device kept it.
    fn others(&self, row: &RowOutput) -> f64 {
        let Part { max, others, rest, argmax, .. } = row.stats;
        let led_by_another = max > LOWEST && argmax != row.target_id;
        if self.params.moments != 0 && led_by_another && rest < 0.5 {
            1.0 + f64::from(rest)
        } else {
            f64::from(others)
        }
    }

    fn sum_logits(&self, part: &Part, max: f64) -> f64 {
        let is_empty = part.max <= LOWEST;
        if self.params.label_smoothing == 0.0 {
            f64::NAN
        } else if part.weight > 0.0 && (is_empty || part.below_max >= INFINITE) {
            f64::NEG_INFINITY
        } else {
            f64::from(part.weight) * max - f64::from(part.below_max)
        }
    }

    /// Terms of every row; NaN on rows without a softmax, 0 on ignored ones.
    #[must_use]
    pub fn terms(&self) -> Vec<TokenTerm> {
        let of = |output: &RowOutput| {
            let RowOutput { loss, coef, dense, .. } = *output;
            let [loss, coef, dense] = [loss, coef, dense].map(f64::from);
            match (output.state, output.infinite) {
                (INVALID, _) => TokenTerm { loss: f64::NAN, coef: f64::NAN, dense: f64::NAN },
                (_, 0) => TokenTerm { loss, coef, dense },
                _ => TokenTerm { loss: f64::INFINITY.copysign(loss), coef, dense },
            }
        };
        self.rows.iter().map(of).collect()
    }

    /// −ln p of every row's target, in nats; 0 on ignored rows.
    #[must_use]
    pub fn nll(&self) -> Vec<f32> {
        let of = |output: &RowOutput| match output.state {
            INVALID => f32::NAN,
            _ if output.nll > INFINITE => f32::INFINITY,
            _ => output.nll,
        };
        self.rows.iter().map(of).collect()
    }

    /// The objective's weight −∂loss/∂ln p of every row; 0 on ignored rows.
    #[must_use]
    pub fn weights(&self) -> Vec<f32> {
        let of =
            |output: &RowOutput| if output.state == INVALID { f32::NAN } else { output.weight };
        self.rows.iter().map(of).collect()
    }

    /// Class of every row's largest logit, the first among equals; `u32::MAX` on ignored rows.
    #[must_use]
    pub fn argmax(&self) -> Vec<u32> {
        // Nobody leads an ignored row.
        self.rows.iter().map(|row| row.stats.argmax).collect()
    }

    /// The report. Of a group objective the host runs the plan again, in f64, on the statistics of the rows.
    ///
    /// # Errors
    /// [`Error::Loss`].
    pub fn report<O: Objective>(
        &self,
        pipelines: &Pipelines<'_, O>,
        batch: &Batch<'_>,
        vocab_total: usize,
    ) -> Result<LossReport, Error> {
        let (loss, stats, mut terms) = (pipelines.loss(), self.row_stats(), self.terms());
        if !pipelines.is_grouped() {
            return Ok(loss.plan(batch, vocab_total)?.report(&stats, &terms)?);
        }
        let mut scalars = vec![Scalars::DROPPED; stats.len()];
        let workspace = Workspace::none().scalars(&mut scalars);
        Ok(loss.token_terms(&stats, batch, vocab_total, &mut terms, workspace)?)
    }
}
