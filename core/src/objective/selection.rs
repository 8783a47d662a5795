//! Objectives that select: which samples, tokens or groups of tokens take part.

use super::order::{self, nan_last};
use super::{Group, GroupPass, Input, Objective, Real, Scalars, Token};
use crate::entry;
use crate::error::{Error, check_parameter};

/// Scalars of a token that takes part, or does not.
fn selected(keep: bool) -> Scalars {
    if keep { Scalars::of([0.0; 2]) } else { Scalars::DROPPED }
}

/// RFT, rejection-sampling fine-tuning: −ln p on the sequences that the caller keeps; the others do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rft;

impl Objective for Rft {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        -t.log_p
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::Sequences, Input::Keep]
    }

    fn group_pass(&self) -> Option<&dyn GroupPass> {
        Some(self)
    }
}

impl GroupPass for Rft {
    fn run(&self, group: &Group<'_>, scalars: &mut [Scalars]) -> Option<f64> {
        for (sequence, rows) in group.sequences().enumerate() {
            scalars.get_mut(rows).unwrap_or_default().fill(selected(group.keeps(sequence)));
        }
        None
    }
}

/// Rho-1, selective language modelling: −ln p on the tokens with the largest excess loss nll − nll_ref. Lin et al. 2024, arXiv 2404.07965.
///
/// Keeps the top ⌈keep·n⌉ of the batch's n tokens (ties: earlier rows first); the others do not count, so that a mean divides by the number kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rho1 {
    /// Share of tokens to keep, in (0, 1].
    pub keep: f64,
}

impl Default for Rho1 {
    fn default() -> Self {
        Self { keep: 0.6 }
    }
}

impl Objective for Rho1 {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        -t.log_p
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::RefLogProbs]
    }

    fn check(&self) -> Result<(), Error> {
        let allowed = self.keep > 0.0 && self.keep <= 1.0;
        check_parameter("keep", self.keep, allowed, "a share in (0, 1]")
    }

    fn group_pass(&self) -> Option<&dyn GroupPass> {
        Some(self)
    }
}

impl GroupPass for Rho1 {
    fn run(&self, group: &Group<'_>, scalars: &mut [Scalars]) -> Option<f64> {
        for row in group.active_rows() {
            let excess = group.ref_log_p(row) - group.log_p(row);
            entry::write(scalars, row, Scalars::of([nan_last(excess), 0.0]));
        }
        // Largest excess first.
        let key = |token: &Scalars| !order::key(token.values()[0]);
        let keys = group.active_rows().filter_map(|row| scalars.get(row)).map(key);
        let kept = kept_of(keys.clone().count(), self.keep);
        let last = kept.checked_sub(1).and_then(|index| order::select(keys, index));
        let (last, equals) = last?;
        // Earlier rows first among equals.
        let mut ties = equals + 1;
        for row in group.active_rows() {
            let key = scalars.get(row).map_or(u64::MAX, key);
            let tie = key == last && ties > 0;
            ties -= usize::from(tie);
            entry::write(scalars, row, selected(key < last || tie));
        }
        None
    }
}

/// ⌈share·count⌉, between 1 and count; 0 of none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a count lies within it"
)]
fn kept_of(count: usize, share: f64) -> usize {
    (libm::ceil(share * count as f64) as usize).max(1).min(count)
}

/// SFT-GO: (1−λ)·mean nll + λ·(largest mean nll of a group of tokens), λ = `worst_weight`. arXiv 2506.15021.
///
/// Under `Reduction::MeanTokens` loss and gradient are exactly that: a token weighs (1−λ), and λ·n/n_g more in the worst group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SftGo {
    /// Weight λ in [0, 1] of the worst group.
    pub worst_weight: f64,
}

impl Default for SftGo {
    fn default() -> Self {
        Self { worst_weight: 0.5 }
    }
}

impl Objective for SftGo {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        -(t.shared[0].stop() * t.log_p)
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::Groups]
    }

    fn check(&self) -> Result<(), Error> {
        let allowed = (0.0..=1.0).contains(&self.worst_weight);
        check_parameter("worst_weight", self.worst_weight, allowed, "a number in [0, 1]")
    }

    fn group_pass(&self) -> Option<&dyn GroupPass> {
        Some(self)
    }
}

impl GroupPass for SftGo {
    fn run(&self, group: &Group<'_>, scalars: &mut [Scalars]) -> Option<f64> {
        // Sum of nll and count of each group, at the index of its id.
        for row in group.active_rows() {
            if let Some(slot) = scalars.get_mut(group.group_id(row)) {
                let [sum, count] = slot.values();
                *slot = Scalars::of([sum - group.log_p(row), count + 1.0]);
            }
        }
        let mean = |slot: &Scalars| nan_last(slot.values()[0] / slot.values()[1]);
        let groups = scalars.iter().enumerate().filter(|(_, slot)| slot.counts());
        // Of equal groups the lower id.
        let worst = groups.max_by(|(i, a), (j, b)| mean(a).total_cmp(&mean(b)).then(j.cmp(i)));
        let (worst, size) = worst.map(|(id, slot)| (id, slot.values()[1]))?;
        let tokens = group.active_rows().count() as f64;
        for row in group.active_rows() {
            let is_worst = group.group_id(row) == worst;
            let extra = if is_worst { self.worst_weight * tokens / size } else { 0.0 };
            entry::write(scalars, row, Scalars::of([1.0 - self.worst_weight + extra, 0.0]));
        }
        None
    }
}
