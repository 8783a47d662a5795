//! The choices of a loss, as C numbers them.
//!
//! C may hold any number where an enumerator is expected, so fields and arguments are plain integers here. The header gives them the enum's name
//! (cbindgen renames the aliases below): C++ and C23 refuse an enumerator of another family.

use surprisal::Reduction;

/// Any number that C may hold for a `surprisal_reduction`.
pub type reduction_value = i32;
/// Any number that C may hold for a `surprisal_extras_scale`.
pub type extras_scale_value = i32;

/// How the losses of a batch's tokens become one number. Ignored and dropped tokens count nowhere; where nothing counts, loss and gradient
/// are 0.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum surprisal_reduction {
    /// The objective's own: the mean over the tokens; for dpo the mean over the pairs.
    SURPRISAL_REDUCTION_DEFAULT = 0,
    /// Their sum over the number of tokens.
    SURPRISAL_REDUCTION_MEAN_TOKENS = 1,
    /// Their sum.
    SURPRISAL_REDUCTION_SUM = 2,
    /// Mean over the sequences of each sequence's mean.
    SURPRISAL_REDUCTION_MEAN_SEQUENCES = 3,
    /// Their sum over the sum of token weight times class weight of the target.
    SURPRISAL_REDUCTION_MEAN_WEIGHTS = 4,
    /// Mean over the preference pairs.
    SURPRISAL_REDUCTION_MEAN_PAIRS = 5,
    /// Their sum over `reduction_by`: the tokens of all micro-batches and ranks, for instance.
    SURPRISAL_REDUCTION_BY = 6,
}

/// What multiplies label smoothing and z-loss besides the token weight.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum surprisal_extras_scale {
    /// Nothing.
    SURPRISAL_EXTRAS_SCALE_ONE = 0,
    /// The objective's coefficient, detached.
    SURPRISAL_EXTRAS_SCALE_OBJECTIVE = 1,
}

/// Estimators of grpo's KL term, with k = ln p_ref - ln p: values of its parameter `kl`, k3 by default.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum surprisal_kl {
    /// -k.
    SURPRISAL_KL_K1 = 1,
    /// k^2 / 2.
    SURPRISAL_KL_K2 = 2,
    /// e^k - k - 1.
    SURPRISAL_KL_K3 = 3,
    /// r times k3, for tokens that the old policy sampled.
    SURPRISAL_KL_K3_CORRECTED = 4,
    /// k3 with k limited to +-20 and the value to 10.
    SURPRISAL_KL_K3_CLAMPED = 5,
}

/// Where talr-auto's temperature comes from: values of its parameter `tau_from`, the sequences' median by default.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum surprisal_tau_from {
    /// Median over the sequences of their mean l.
    SURPRISAL_TAU_FROM_SEQUENCE_MEDIAN = 1,
    /// Median of the tokens' l.
    SURPRISAL_TAU_FROM_TOKEN_MEDIAN = 2,
    /// As the first, with 0 for sequences whose tokens are all ignored.
    SURPRISAL_TAU_FROM_SEQUENCE_MEDIAN_WITH_EMPTY = 3,
}

/// What talr-auto's weights are divided by: values of its parameter `normalize`, nothing by default.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum surprisal_normalize {
    /// Nothing.
    SURPRISAL_NORMALIZE_NONE = 1,
    /// Their sum over the sequence.
    SURPRISAL_NORMALIZE_SUM1_SEQUENCE = 2,
    /// Their sum over the batch.
    SURPRISAL_NORMALIZE_SUM1_BATCH = 3,
    /// Their mean over the batch.
    SURPRISAL_NORMALIZE_MEAN1_BATCH = 4,
}

/// The probability that dft-sequence weighs a sequence by: values of its parameter `probability`, the geometric mean by default.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum surprisal_probability {
    /// Of its tokens' p.
    SURPRISAL_PROBABILITY_GEOMETRIC_MEAN = 1,
    /// Of its tokens' p: next to 0 for all but short or certain sequences.
    SURPRISAL_PROBABILITY_PRODUCT = 2,
}

impl surprisal_reduction {
    /// The number of a reduction.
    pub(crate) fn number(reduction: Reduction) -> i32 {
        let choice = match reduction {
            Reduction::MeanTokens => Self::SURPRISAL_REDUCTION_MEAN_TOKENS,
            Reduction::Sum => Self::SURPRISAL_REDUCTION_SUM,
            Reduction::MeanSequences => Self::SURPRISAL_REDUCTION_MEAN_SEQUENCES,
            Reduction::MeanWeights => Self::SURPRISAL_REDUCTION_MEAN_WEIGHTS,
            Reduction::MeanPairs => Self::SURPRISAL_REDUCTION_MEAN_PAIRS,
            Reduction::By(_) => Self::SURPRISAL_REDUCTION_BY,
            // None that a caller can choose.
            _ => Self::SURPRISAL_REDUCTION_DEFAULT,
        };
        choice as i32
    }
}
