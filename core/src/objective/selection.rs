//! Objectives that select: which samples, tokens or groups of tokens take part.

use super::{GroupPlan, Input, Objective, Over, Real, Selection, Statistic, Token};
use crate::error::{Error, check_parameter};

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

    fn group_plan(&self) -> Option<GroupPlan> {
        Some(GroupPlan::of([]).select(Selection::Kept))
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

    fn group_plan(&self) -> Option<GroupPlan> {
        let top = Statistic::Top(self.keep).over(Over::Batch);
        Some(GroupPlan::of([top]).select(Selection::Step(0)))
    }

    fn step<R: Real>(&self, _: usize, t: &Token<R>) -> R {
        t.ref_log_p - t.log_p
    }
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
        let [_, worst, of_group, of_batch] = t.shared;
        let weight = worst * (of_batch / of_group * self.worst_weight) + (1.0 - self.worst_weight);
        -(weight.stop() * t.log_p)
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::Groups]
    }

    fn check(&self) -> Result<(), Error> {
        let allowed = (0.0..=1.0).contains(&self.worst_weight);
        check_parameter("worst_weight", self.worst_weight, allowed, "a number in [0, 1]")
    }

    fn group_plan(&self) -> Option<GroupPlan> {
        use Over::{Batch, Group, Groups};
        use Statistic::{Mean, Sum, Top};
        let worst = Top(0.0).over(Groups);
        Some(GroupPlan::of([Mean.over(Group), worst, Sum.over(Group), Sum.over(Batch)]))
    }

    fn step<R: Real>(&self, index: usize, t: &Token<R>) -> R {
        match index {
            0 => -t.log_p,
            1 => t.shared[0],
            _ => R::lit(1.0),
        }
    }
}
