//! The objectives, by number and by name.

use surprisal::objective::{Builtin, Objective};

use crate::names;
use crate::status::Failure;

/// Any number that C may hold for a `surprisal_objective`.
pub type objective_value = i32;

/// Objectives: what a token's surprisal costs. p is the probability of the target, l = -ln p, r = p/p_old, A the advantage, sg(.) a
/// stop-gradient. Parameters are set by name (`surprisal_loss_set`) and have the defaults given here; inputs are fields of `surprisal_batch`. The
/// numbers never change.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum surprisal_objective {
    /// l: plain supervised fine-tuning.
    SURPRISAL_OBJECTIVE_SFT = 0,
    /// sg(p) l.
    SURPRISAL_OBJECTIVE_DFT = 1,
    /// sg(max(max(p, p_min)^(1/tau), floor)) l. tau 1, floor 0.01, p_min 0.
    SURPRISAL_OBJECTIVE_TALR = 2,
    /// (1-p)^gamma l, with its true gradient. gamma 2.
    SURPRISAL_OBJECTIVE_FOCAL = 3,
    /// sg((1-p)^gamma) l. gamma 2.
    SURPRISAL_OBJECTIVE_FOCAL_DETACHED = 4,
    /// (1 - p^alpha) / alpha. alpha 1.
    SURPRISAL_OBJECTIVE_POWER = 5,
    /// sg(p relu(1 - logit p / logit p_max)) l. p_max 0.93.
    SURPRISAL_OBJECTIVE_INFOSFT = 6,
    /// sg(clamp((p/p_ref)^temperature, low, high)) l. temperature 1, low 0.2, high 1.8. Needs `ref_log_probs`.
    SURPRISAL_OBJECTIVE_IW_TOKEN = 7,
    /// -min(r, 1 + clip_high). clip_high 0.28. Needs `old_log_probs`.
    SURPRISAL_OBJECTIVE_PSFT = 8,
    /// -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A); for A < 0 at most -dual_clip A. clip_low 0.2, clip_high 0.2, no dual_clip. Needs
    /// `old_log_probs`, `advantages`.
    SURPRISAL_OBJECTIVE_PPO = 9,
    /// ppo + beta KL(reference) by estimator `kl`. clip_low 0.2, clip_high 0.2, beta 0.04, kl k3. Needs `old_log_probs`, `advantages`,
    /// `ref_log_probs`.
    SURPRISAL_OBJECTIVE_GRPO = 10,
    /// ppo with clip_low 0.2, clip_high 0.28. Needs `old_log_probs`, `advantages`.
    SURPRISAL_OBJECTIVE_DAPO = 11,
    /// sg(min(r, 1 + clip_high)) A l. clip_high 4. Needs `old_log_probs`, `advantages`.
    SURPRISAL_OBJECTIVE_CISPO = 12,
    /// talr with tau from the batch (`tau_from`) and weights divided by their sum or mean (`normalize`). floor 0.01, p_min 0. Group
    /// scope. Needs sequences.
    SURPRISAL_OBJECTIVE_TALR_AUTO = 13,
    /// sg(clamp(exp(temperature mean ln(p/p_ref)), 0, max)) l. temperature 1, max 16. Group scope. Needs `ref_log_probs`, sequences.
    SURPRISAL_OBJECTIVE_IW_SEQUENCE = 14,
    /// exp(-mean l_ref / tau) l. tau: the batch's median by default. Group scope. Needs `ref_log_probs`, sequences.
    SURPRISAL_OBJECTIVE_FLOW = 15,
    /// sg(exp(mean ln p)) l, or the sum of ln p (`probability`). Group scope. Needs sequences.
    SURPRISAL_OBJECTIVE_DFT_SEQUENCE = 16,
    /// ppo with the sequence's ratio exp(mean ln r). clip_low 3e-4, clip_high 4e-4. Group scope. Needs `old_log_probs`, `advantages`,
    /// sequences.
    SURPRISAL_OBJECTIVE_GSPO = 17,
    /// -ln sigma(beta D) per pair, D the difference of the summed log-ratios to the reference. beta 0.1. Group scope. Needs
    /// `ref_log_probs`, sequences, `pairs`; its reduction is the mean over the pairs, their sum, or `SURPRISAL_REDUCTION_BY`.
    SURPRISAL_OBJECTIVE_DPO = 18,
    /// l on the sequences that are kept. Group scope. Needs sequences, `keep`.
    SURPRISAL_OBJECTIVE_RFT = 19,
    /// l on the share `keep` of the tokens with the largest excess loss l + ln p_ref. keep 0.6. Group scope. Needs `ref_log_probs`.
    SURPRISAL_OBJECTIVE_RHO1 = 20,
    /// (1 - worst_weight) mean l + worst_weight of the worst group. worst_weight 0.5. Group scope. Needs `groups`.
    SURPRISAL_OBJECTIVE_SFT_GO = 21,
    /// sg(min(H / ln classes, 1)^power) l, H the entropy of the row. power 1, classes 20. Another walk over each row.
    SURPRISAL_OBJECTIVE_EAFT = 22,
    /// (1 - p^a) / (a + 1e-6), a = sg(sum of p^2 over the row). Another walk over each row.
    SURPRISAL_OBJECTIVE_DEFT = 23,
}

/// How much of a batch an objective must know before it can weigh a token.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum surprisal_scope {
    /// The token alone: one pass over the logits, any range of rows.
    SURPRISAL_SCOPE_TOKEN = 0,
    /// Other tokens: of its sequence, of a pair of sequences, or of the batch. Two passes over the whole batch, with a workspace.
    SURPRISAL_SCOPE_GROUP = 1,
}

/// The objective of a number, with its default parameters.
pub(crate) fn builtin(objective: objective_value) -> Result<Builtin, Failure> {
    let name = names::name_of(names::OBJECTIVE, objective).and_then(|name| name.to_str().ok());
    let failure = Failure::option("objective", "is not a surprisal_objective");
    name.and_then(Builtin::from_name).ok_or(failure.value(f64::from(objective)))
}

/// Scope of an objective with its default parameters, a `surprisal_scope`; `SURPRISAL_ERROR_OPTION` (negative) where there is none of this number.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn surprisal_objective_scope(objective: objective_value) -> i32 {
    match builtin(objective).map(|objective| objective.group_plan().is_some()) {
        Ok(false) => surprisal_scope::SURPRISAL_SCOPE_TOKEN as i32,
        Ok(true) => surprisal_scope::SURPRISAL_SCOPE_GROUP as i32,
        Err(failure) => failure.status as i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_objective_of_the_core_has_a_number() {
        let mut numbered: Vec<_> = (0..)
            .map_while(|number| builtin(number).ok())
            .map(|objective| objective.name())
            .collect();
        let mut named = Builtin::NAMES.to_vec();
        // Numbers stay: a newer objective has the next one, wherever the documentation has it.
        numbered.sort_unstable();
        named.sort_unstable();
        assert_eq!(numbered, named);
    }
}
