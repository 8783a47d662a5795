//! The objectives, by number and by name.

use core::ffi::{CStr, c_char};
use core::ptr;

use surprisal::objective::{Builtin, Objective};

use crate::status::surprisal_status::{SURPRISAL_ERROR_MISSING, SURPRISAL_ERROR_OPTION};

/// Objectives: what a token's surprisal costs. p is the probability of the target, l = -ln p, r = p/p_old, A the advantage, sg(.) a
/// stop-gradient. Parameters are fields of `surprisal_loss`, with the defaults given here; inputs are fields of `surprisal_batch`. The
/// numbers never change.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum surprisal_objective {
    /// l: plain supervised fine-tuning.
    SURPRISAL_SFT = 0,
    /// sg(p) l.
    SURPRISAL_DFT = 1,
    /// sg(max(p^(1/tau), floor)) l. tau 1, floor 0.01.
    SURPRISAL_TALR = 2,
    /// (1-p)^gamma l, with its true gradient. gamma 2.
    SURPRISAL_FOCAL = 3,
    /// sg((1-p)^gamma) l. gamma 2.
    SURPRISAL_FOCAL_DETACHED = 4,
    /// (1 - p^alpha) / alpha. alpha 1.
    SURPRISAL_POWER = 5,
    /// sg(p relu(1 - logit p / logit p_max)) l. p_max 0.93.
    SURPRISAL_INFOSFT = 6,
    /// sg(clamp((p/p_ref)^temperature, low, high)) l. temperature 1, low 0.2, high 1.8. Needs `ref_log_probs`.
    SURPRISAL_IW_TOKEN = 7,
    /// -min(r, 1 + clip_high). clip_high 0.28. Needs `old_log_probs`.
    SURPRISAL_PSFT = 8,
    /// -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A); for A < 0 at most -dual_clip A. clip_low 0.2, clip_high 0.2, no dual_clip. Needs
    /// `old_log_probs`, `advantages`.
    SURPRISAL_PPO = 9,
    /// ppo + beta KL(reference) by estimator `kl`. clip_low 0.2, clip_high 0.2, beta 0.04, kl k3. Needs `old_log_probs`, `advantages`,
    /// `ref_log_probs`.
    SURPRISAL_GRPO = 10,
    /// ppo with clip_low 0.2, clip_high 0.28. Needs `old_log_probs`, `advantages`.
    SURPRISAL_DAPO = 11,
    /// sg(min(r, 1 + clip_high)) A l. clip_high 4. Needs `old_log_probs`, `advantages`.
    SURPRISAL_CISPO = 12,
    /// talr with tau from the batch (`tau_from`) and weights divided by their sum or mean (`normalize`). floor 0.01. Group scope. Needs sequences.
    SURPRISAL_TALR_AUTO = 13,
    /// sg(clamp(exp(temperature mean ln(p/p_ref)), 0, max)) l. temperature 1, max 16. Group scope. Needs `ref_log_probs`, sequences.
    SURPRISAL_IW_SEQUENCE = 14,
    /// exp(-mean l_ref / tau) l. tau: the batch's median by default. Group scope. Needs `ref_log_probs`, sequences.
    SURPRISAL_FLOW = 15,
    /// sg(exp(mean ln p)) l. Group scope. Needs sequences.
    SURPRISAL_DFT_SEQUENCE = 16,
    /// ppo with the sequence's ratio exp(mean ln r). clip_low 3e-4, clip_high 4e-4. Group scope. Needs `old_log_probs`, `advantages`,
    /// sequences.
    SURPRISAL_GSPO = 17,
    /// -ln sigma(beta D) per pair, D the difference of the summed log-ratios to the reference. beta 0.1. Group scope. Needs
    /// `ref_log_probs`, sequences, `pairs`; its reduction is the mean over the pairs, their sum, or `SURPRISAL_BY`.
    SURPRISAL_DPO = 18,
    /// l on the sequences that are kept. Group scope. Needs sequences, `keep`.
    SURPRISAL_RFT = 19,
    /// l on the share `keep` of the tokens with the largest excess loss l + ln p_ref. keep 0.6. Group scope. Needs `ref_log_probs`.
    SURPRISAL_RHO1 = 20,
    /// (1 - lambda) mean l + lambda of the worst group. lambda 0.5. Group scope. Needs `groups`.
    SURPRISAL_SFT_GO = 21,
    /// sg(min(H / ln classes, 1)^power) l, H the entropy of the row. power 1, classes 20. Another walk over each row.
    SURPRISAL_EAFT = 22,
    /// (1 - p^a) / (a + 1e-6), a = sg(sum of p^2 over the row). Another walk over each row.
    SURPRISAL_DEFT = 23,
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

/// Names of the objectives, in the order of their numbers; those of the core, for C.
const NAMES: [&CStr; 24] = [
    c"sft",
    c"dft",
    c"talr",
    c"focal",
    c"focal-detached",
    c"power",
    c"infosft",
    c"iw-token",
    c"psft",
    c"ppo",
    c"grpo",
    c"dapo",
    c"cispo",
    c"talr-auto",
    c"iw-sequence",
    c"flow",
    c"dft-sequence",
    c"gspo",
    c"dpo",
    c"rft",
    c"rho1",
    c"sft-go",
    c"eaft",
    c"deft",
];

pub(crate) fn name(objective: i32) -> Option<&'static CStr> {
    usize::try_from(objective).ok().and_then(|index| NAMES.get(index).copied())
}

/// Name of an objective, as `"talr-auto"`; NULL where there is none of this number, so that a loop from 0 on sees every objective. Static.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn surprisal_objective_name(objective: i32) -> *const c_char {
    name(objective).map_or(ptr::null(), CStr::as_ptr)
}

/// Scope of an objective with its default parameters, a `surprisal_scope`; `SURPRISAL_ERROR_OPTION` (negative) where there is none of this number.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn surprisal_objective_scope(objective: i32) -> i32 {
    let name = name(objective).and_then(|name| name.to_str().ok());
    match name.and_then(Builtin::from_name).map(|objective| objective.group_pass().is_some()) {
        Some(false) => surprisal_scope::SURPRISAL_SCOPE_TOKEN as i32,
        Some(true) => surprisal_scope::SURPRISAL_SCOPE_GROUP as i32,
        None => SURPRISAL_ERROR_OPTION as i32,
    }
}

/// The objective of a name; `SURPRISAL_ERROR_OPTION` where there is none, `SURPRISAL_ERROR_MISSING` for NULL (both negative).
///
/// `name` ends with NUL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_objective_from_name(name: *const c_char) -> i32 {
    if name.is_null() {
        return SURPRISAL_ERROR_MISSING as i32;
    }
    // SAFETY: not NULL, and the caller's text ends with NUL.
    let name = unsafe { CStr::from_ptr(name) };
    let found = (0..).zip(NAMES).find(|(_, known)| *known == name);
    found.map_or(SURPRISAL_ERROR_OPTION as i32, |(objective, _)| objective)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_objective_of_the_core_has_its_number_and_name() {
        // Numbers stay: a newer objective has the next one, wherever the documentation has it.
        let sorted = |mut names: Vec<&'static str>| {
            names.sort_unstable();
            names
        };
        let names = NAMES.iter().map(|name| name.to_str().unwrap()).collect();
        assert_eq!(sorted(names), sorted(Builtin::NAMES.to_vec()));
        assert_eq!(surprisal_objective::SURPRISAL_DEFT as usize, NAMES.len() - 1);
    }
}
