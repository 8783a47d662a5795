/*
 * surprisal: the loss layer of language-model fine-tuning.
 *
 * Between the logits and the backward pass a trainer needs a stable log-softmax, a weight per token, the weighted negative log-likelihood and
 * its gradient with respect to the logits. This library computes them over the caller's memory. The simple case is one line, over plain arrays:
 *
 *     double loss;                         // the mean over the rows that count
 *     surprisal_error_detail detail;       // an output, like loss
 *     surprisal_status status = surprisal_simple_f32(SURPRISAL_OBJECTIVE_DFT, logits, targets, rows, vocab, dlogits, &loss, &detail);
 *     if (status != SURPRISAL_OK) { puts(detail.message); }
 *
 * float logits[rows * vocab], row-major; int32_t targets[rows], the id that each row predicts, or -100 where a row does not count; float
 * dlogits[rows * vocab] is overwritten with the gradient of `loss`, with zeros in rows that do not count. It may be `logits` itself, or NULL.
 * SURPRISAL_OBJECTIVE_SFT is plain cross-entropy, DFT weighs it by the target's probability (detached); surprisal_objective has all formulas.
 * Link -lsurprisal, and nothing else.
 *
 * The full case has every input, option and output, in f32, bf16 or f16, for parts of a batch or of a vocabulary:
 *
 *     surprisal_loss loss = SURPRISAL_LOSS_INIT;     loss.objective = SURPRISAL_OBJECTIVE_TALR;
 *     status = surprisal_loss_set(&loss, "tau", 0.5, &detail);
 *     surprisal_batch batch = SURPRISAL_BATCH_INIT;  batch.rows = rows;  batch.targets_i32 = targets;  batch.token_weights = weights;
 *     surprisal_logits z = surprisal_logits_bf16(logits, rows, vocab);
 *     surprisal_logits_mut dz = surprisal_logits_mut_bf16(dlogits, rows, vocab);
 *     surprisal_report report;
 *     status = surprisal_forward_backward(&loss, &batch, &z, &dz, NULL, NULL, &report, &detail);
 *
 * Logits of a large vocabulary need never be whole: `surprisal_linear_forward_backward` takes hidden states and output weights, and goes through chunks
 * of rows with the trainer's own matrix product.
 *
 * What holds for every function:
 *
 * Errors. A function returns SURPRISAL_OK (0) or a negative status. Everything is checked before the first write: after an error nothing has
 *     been written but the detail. `detail` may be NULL; else it tells the argument, the row and the value. Nothing aborts, prints or throws.
 * Memory. Every buffer is the caller's and is used during the call only. Nothing is allocated. Arrays must be aligned to their element type.
 *     What is written may overlap nothing else of the call; only a gradient may lie exactly over its own logits. What a call needs besides, the
 *     caller lends it (`surprisal_workspace`).
 * Structs. Those that begin with `struct_size` are read by the library and may grow: begin with their _INIT macro, or their _init function. Older
 *     programs go on working, and so do newer ones with an older library, as long as what they set is known to it: what is not set is zero. Those
 *     without it are written by the library, or plain data, and keep their size; what they reserve is zero.
 * Rows and columns. A matrix is row-major, `row_stride` elements from row to row. It may be a part of the batch (`row_start`, `rows_total`) and
 *     of the vocabulary (`vocab_start`, `vocab_total`). Only its own columns are touched: shards of a vocabulary may lie side by side. Arrays of an
 *     entry a row have one for each row of the whole batch, and a call reads, checks and writes those of its matrix's rows and no others.
 *     Sequences, pairs and keep flags are those of the whole batch.
 * Threads. Every function is reentrant: no state, no locks, no threads. Calls may run at the same time if what one writes no other uses. So a
 *     caller's threads share a batch by ranges of rows, with the same `loss`, `batch` and `outputs` and a workspace each:
 *     token scope     surprisal_loss_denominator once (for means), then surprisal_forward_backward on each range (`surprisal_logits_rows`).
 *     group scope     surprisal_row_stats on each range, then surprisal_token_terms once, for all rows, then surprisal_logits_grad on each range.
 *     Gradients, statistics, terms and per-row outputs have the same bits however the rows are cut into calls. Reports of ranges are added by
 *     `surprisal_report_merge`: counts, `invalid_row` and `tau` are then those of one call, while the sums (`loss`, `loss_sum`, `nll_sum`,
 *     `weight_sum`) round otherwise, in the last digits of a double. (A cut of the vocabulary rounds anew: shards agree with whole rows within
 *     the accuracy.)
 * Accuracy. Against double precision on the same inputs, relative to itself: -ln p, and every f32 entry of the gradient, within
 *     2^-23 (4 + |z_j - max|), z the transformed logit of the target or of the entry's class, at any common offset of the logits; also where p
 *     is so near to 1 that 1 - p is 1e-12. 16-bit gradients are rounded once. Entries below the smallest normal number may be lost. Label
 *     smoothing adds 1.5 2^-23 of its uniform part; a soft-cap adds 2^-23 (8 + 4 cap) of -ln p, and 2 |scale z / cap| more of an entry. The
 *     coefficient is the one computed: where it is steep in ln p, the error of ln p moves it.
 * Special rows. Ignored: loss 0, gradient exactly 0, logits not read. All -inf, any NaN or any +inf: loss and gradient NaN, and the report
 *     names the first such row. An impossible target: +inf, or 0 where the objective's weight vanishes.
 * Other languages. All of it is functions, structs and numbers: the macros and inline functions of this header only fill fields of structs.
 *
 * Generated by cbindgen from the crate surprisal-capi. Do not edit: UPDATE_HEADER=1 cargo test -p surprisal-capi --test header
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef SURPRISAL_H
#define SURPRISAL_H

#include <stddef.h>
#include <stdint.h>

/** Version of this header; compare with surprisal_version(). */
#define SURPRISAL_VERSION_MAJOR 0
#define SURPRISAL_VERSION_MINOR 1
#define SURPRISAL_VERSION_PATCH 0
#define SURPRISAL_VERSION                                                                                             \
    (SURPRISAL_VERSION_MAJOR * 1000000 + SURPRISAL_VERSION_MINOR * 1000 + SURPRISAL_VERSION_PATCH)

/** The target that marks a row to skip, unless a batch says otherwise. */
#define SURPRISAL_IGNORE_INDEX (-100)

/* Define SURPRISAL_SHARED to link the shared library on Windows. */
#if defined(_WIN32) && defined(SURPRISAL_SHARED)
#define SURPRISAL_API __declspec(dllimport)
#else
#define SURPRISAL_API
#endif

/* A status that nobody looks at is a mistake. */
#if defined(__GNUC__) || defined(__clang__)
#define SURPRISAL_NODISCARD __attribute__((warn_unused_result))
#else
#define SURPRISAL_NODISCARD
#endif

/** Larger than any number of rows: of a matrix that every call refuses. */
#define SURPRISAL_NO_ROWS ((size_t)-1)

/// Version of the binary interface. It changes when a program that was compiled against an older header must be compiled again.
#define SURPRISAL_ABI_VERSION 1

/// Parameters that a loss can keep: more than any objective has.
#define SURPRISAL_MOST_PARAMETERS 8

/// What a function returns: 0, or what is wrong. The numbers never change. Whenever a function returns an error it has written nothing but
/// the `detail`.
enum surprisal_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// Done.
    SURPRISAL_OK = 0,
    /// An argument is NULL that the call needs, or an input or workspace that the objective or the reduction needs was not given.
    SURPRISAL_ERROR_MISSING = -1,
    /// A pointer is not aligned to its element type.
    SURPRISAL_ERROR_MISALIGNED = -2,
    /// Memory that is written overlaps other memory of the call. (A gradient over its own logits is fine: same address, dtype and stride.)
    SURPRISAL_ERROR_OVERLAP = -3,
    /// A size overflows, or the memory would not fit the address space.
    SURPRISAL_ERROR_EXTENT = -4,
    /// Rows, vocabularies, strides, shards or lengths that do not fit each other.
    SURPRISAL_ERROR_SHAPE = -5,
    /// An option or parameter out of its range, unknown, or one that the objective does not have.
    SURPRISAL_ERROR_OPTION = -6,
    /// `struct_size` is none of this library's versions, or fields are set that this library does not know.
    SURPRISAL_ERROR_STRUCT_SIZE = -7,
    /// A target outside the vocabulary that is not `ignore_index`.
    SURPRISAL_ERROR_TARGET = -8,
    /// An entry that its array does not allow (NaN, negative, out of range).
    SURPRISAL_ERROR_VALUE = -9,
    /// Sequence offsets that do not start at 0, that fall, or that do not end at the number of rows.
    SURPRISAL_ERROR_SEQUENCES = -10,
    /// A pair that does not name two sequences.
    SURPRISAL_ERROR_PAIR = -11,
    /// The call needs whole rows or the whole batch and was given a part: use the stages.
    SURPRISAL_ERROR_NEEDS_WHOLE = -12,
    /// No device of this index or name (surprisal_gpu.h).
    SURPRISAL_ERROR_NO_DEVICE = -13,
    /// The device failed, was lost or is out of memory (surprisal_gpu.h).
    SURPRISAL_ERROR_DEVICE = -14,
    /// A limit of the device is too small for the call (surprisal_gpu.h).
    SURPRISAL_ERROR_DEVICE_LIMIT = -15,
    /// Something that this version of the header has no name for.
    SURPRISAL_ERROR_UNKNOWN = -100,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum surprisal_status surprisal_status;
#else
typedef int32_t surprisal_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// Element types of a matrix. The numbers are those of `ggml_type`.
enum surprisal_dtype
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// `float`.
    SURPRISAL_DTYPE_F32 = 0,
    /// IEEE binary16 as `uint16_t`.
    SURPRISAL_DTYPE_F16 = 1,
    /// bfloat16 as `uint16_t`: the upper half of a `float`.
    SURPRISAL_DTYPE_BF16 = 30,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum surprisal_dtype surprisal_dtype;
#else
typedef int32_t surprisal_dtype;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// What a call does with the columns past the end of a row that it writes (`row_stride` above `vocab`).
enum surprisal_padding
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// They keep their values; the padding past the last row may be missing.
    SURPRISAL_PADDING_KEEP = 0,
    /// They become zero, past every row: for a vocabulary that is padded for speed, whose padding a matrix product reads.
    SURPRISAL_PADDING_ZERO = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum surprisal_padding surprisal_padding;
#else
typedef int32_t surprisal_padding;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// Objectives: what a token's surprisal costs. p is the probability of the target, l = -ln p, r = p/p_old, A the advantage, sg(.) a
/// stop-gradient. Parameters are set by name (`surprisal_loss_set`) and have the defaults given here; inputs are fields of `surprisal_batch`. The
/// numbers never change.
enum surprisal_objective
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
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
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum surprisal_objective surprisal_objective;
#else
typedef int32_t surprisal_objective;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// How much of a batch an objective must know before it can weigh a token.
enum surprisal_scope
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// The token alone: one pass over the logits, any range of rows.
    SURPRISAL_SCOPE_TOKEN = 0,
    /// Other tokens: of its sequence, of a pair of sequences, or of the batch. Two passes over the whole batch, with a workspace.
    SURPRISAL_SCOPE_GROUP = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum surprisal_scope surprisal_scope;
#else
typedef int32_t surprisal_scope;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// How the losses of a batch's tokens become one number. Ignored and dropped tokens count nowhere; where nothing counts, loss and gradient
/// are 0.
enum surprisal_reduction
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
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
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum surprisal_reduction surprisal_reduction;
#else
typedef int32_t surprisal_reduction;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// What multiplies label smoothing and z-loss besides the token weight.
enum surprisal_extras_scale
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// Nothing.
    SURPRISAL_EXTRAS_SCALE_ONE = 0,
    /// The objective's coefficient, detached.
    SURPRISAL_EXTRAS_SCALE_OBJECTIVE = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum surprisal_extras_scale surprisal_extras_scale;
#else
typedef int32_t surprisal_extras_scale;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// Estimators of grpo's KL term, with k = ln p_ref - ln p: values of its parameter `kl`, k3 by default.
enum surprisal_kl
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
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
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum surprisal_kl surprisal_kl;
#else
typedef int32_t surprisal_kl;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// Where talr-auto's temperature comes from: values of its parameter `tau_from`, the sequences' median by default.
enum surprisal_tau_from
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// Median over the sequences of their mean l.
    SURPRISAL_TAU_FROM_SEQUENCE_MEDIAN = 1,
    /// Median of the tokens' l.
    SURPRISAL_TAU_FROM_TOKEN_MEDIAN = 2,
    /// As the first, with 0 for sequences whose tokens are all ignored.
    SURPRISAL_TAU_FROM_SEQUENCE_MEDIAN_WITH_EMPTY = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum surprisal_tau_from surprisal_tau_from;
#else
typedef int32_t surprisal_tau_from;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// What talr-auto's weights are divided by: values of its parameter `normalize`, nothing by default.
enum surprisal_normalize
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// Nothing.
    SURPRISAL_NORMALIZE_NONE = 1,
    /// Their sum over the sequence.
    SURPRISAL_NORMALIZE_SUM1_SEQUENCE = 2,
    /// Their sum over the batch.
    SURPRISAL_NORMALIZE_SUM1_BATCH = 3,
    /// Their mean over the batch.
    SURPRISAL_NORMALIZE_MEAN1_BATCH = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum surprisal_normalize surprisal_normalize;
#else
typedef int32_t surprisal_normalize;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// The probability that dft-sequence weighs a sequence by: values of its parameter `probability`, the geometric mean by default.
enum surprisal_probability
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /// Of its tokens' p.
    SURPRISAL_PROBABILITY_GEOMETRIC_MEAN = 1,
    /// Of its tokens' p: next to 0 for all but short or certain sequences.
    SURPRISAL_PROBABILITY_PRODUCT = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum surprisal_probability surprisal_probability;
#else
typedef int32_t surprisal_probability;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/// What is wrong with a call, if something is. An output that needs no initial value: every call writes it whole.
typedef struct surprisal_error_detail {
    /// The status that the function returned.
    surprisal_status status;
    /// Zero.
    int32_t reserved;
    /// Row, entry or pair that is wrong; -1 where there is none.
    int64_t index;
    /// What was found there: the target, the entry, the option; NaN where an error has none.
    double value;
    /// The argument or option, by its name in the header: `"targets"`, `"label_smoothing"`. Ends with NUL.
    char argument[32];
    /// What is wrong with it, in English: `"targets: outside the vocabulary"`. Ends with NUL.
    char message[160];
} surprisal_error_detail;

/// A parameter of an objective, as `surprisal_loss_set` keeps it.
typedef struct surprisal_parameter {
    /// Its value.
    double value;
    /// Which one it is; 0 for none.
    int32_t id;
    /// Zero.
    int32_t reserved;
} surprisal_parameter;

/// What to compute. Begin with `SURPRISAL_LOSS_INIT`: plain sft, the objective's own reduction, no extras.
///
/// With u the token weight, w the class weights, e the label smoothing, c the z-loss and V the vocabulary, a token's loss is
/// `u ( w_t (1-e) objective(ln p_t) + x ( e/V sum_j w_j (-ln p_j) + c lse^2 ) )`, where x is 1, or the objective's coefficient (`extras_scale`).
///
/// The parameters of the objective are set by `surprisal_loss_set`; those that are not have the objective's defaults.
typedef struct surprisal_loss {
    /// `sizeof(surprisal_loss)`.
    size_t struct_size;
    /// Weight of each class of the whole vocabulary, finite and not negative, or NULL.
    const float *class_weights;
    /// The divisor of `SURPRISAL_REDUCTION_BY`, finite and above 0; 0 with any other reduction.
    double reduction_by;
    /// How much each token counts.
    surprisal_objective objective;
    /// How the tokens' losses become one number.
    surprisal_reduction reduction;
    /// What multiplies label smoothing and z-loss.
    surprisal_extras_scale extras_scale;
    /// 1: statistics also hold what `surprisal_stats_entropy` and `surprisal_stats_sum_squares` are made of, for another walk over each row;
    /// else 0. Objectives that need it ask by themselves.
    int32_t moments;
    /// Label smoothing in [0, 1], uniform over all classes.
    float label_smoothing;
    /// Multiplier of lse^2, not negative.
    float z_loss;
    /// Multiplies the logits before everything else, above 0; 1/T for a temperature T. The gradient is that of the raw logits.
    float logit_scale;
    /// Soft-cap: `cap tanh(logit_scale z / cap)` in place of `logit_scale z`; 0 for none.
    float softcap;
    /// Multiplies the gradient and nothing else, finite: the factor of loss scaling, or a framework's upstream gradient. Applied before the
    /// gradient is rounded to its type, so that small f16 entries survive.
    float grad_scale;
    /// Zero.
    int32_t reserved;
    /// The objective's parameters, as `surprisal_loss_set` keeps them; all zero where none is set.
    struct surprisal_parameter parameters[SURPRISAL_MOST_PARAMETERS];
} surprisal_loss;

/// A preference pair: two sequences of the batch, by their index.
typedef struct surprisal_pair {
    /// The preferred sequence.
    size_t chosen;
    /// The other one.
    size_t rejected;
} surprisal_pair;

/// What the means of a loss divide by, for calls on ranges of a batch's rows: counted once for the whole batch by
/// `surprisal_loss_denominator` and handed to each of them by `batch.denominator`. An output that needs no initial value. The fields are the
/// library's: a caller copies the struct as a whole, and keeps the array that it names.
typedef struct surprisal_denominator {
    /// What the loss of every token is divided by; for the mean of the sequences, the number of sequences that have tokens.
    double value;
    /// For the mean of the sequences, the caller's array: the tokens of each.
    const uint32_t *sequence_tokens;
    /// Entries of `sequence_tokens`.
    size_t sequence_count;
    /// What it was counted for.
    surprisal_reduction reduction;
    /// Zero.
    uint32_t reserved[7];
} surprisal_denominator;

/// Targets and side inputs of a whole batch, one entry a row unless said otherwise. Begin with `SURPRISAL_BATCH_INIT`. NULL means that an
/// input is not given; the table of objectives says which need one.
///
/// A row is a token position (B*T flattened) and its target the id that the position predicts: already aligned, unlike the unshifted labels
/// of some frameworks. A row whose target is `ignore_index` has loss 0 and gradient exactly 0, its logits are not read, its entries in the
/// other arrays are not looked at, and it counts nowhere. Any other target outside the vocabulary is an error.
///
/// A call on a range of the rows looks at the entries of its own rows and at no others, which may be being written meanwhile. Sequences, pairs and
/// keep flags are those of the whole batch for every call.
typedef struct surprisal_batch {
    /// `sizeof(surprisal_batch)`.
    size_t struct_size;
    /// Rows of the batch.
    size_t rows;
    /// Target ids; either these or `targets_i64`.
    const int32_t *targets_i32;
    /// Target ids; either these or `targets_i32`.
    const int64_t *targets_i64;
    /// The target id that marks a row to skip, -100 by default.
    int64_t ignore_index;
    /// Weight of each token, finite and not negative; multiplies loss and gradient.
    const float *token_weights;
    /// ln p of each target under a frozen reference model, at most 1; -inf is allowed.
    const float *ref_log_probs;
    /// ln p of each target under the policy that sampled it, at most 1; -inf is allowed.
    const float *old_log_probs;
    /// Advantage of each token, finite.
    const float *advantages;
    /// Group id of each token, below `rows` (sft-go).
    const uint32_t *groups;
    /// Number of sequences.
    size_t sequence_count;
    /// Cumulative row offsets of the sequences, `sequence_count + 1` entries: 0, ..., rows. Either these or `cu_seqlens_i64`.
    const int32_t *cu_seqlens_i32;
    /// Cumulative row offsets of the sequences; either these or `cu_seqlens_i32`.
    const int64_t *cu_seqlens_i64;
    /// Preference pairs (dpo).
    const struct surprisal_pair *pairs;
    /// Number of preference pairs.
    size_t pair_count;
    /// 1 for each sequence to keep, 0 for the others (rft); one entry a sequence.
    const uint8_t *keep;
    /// What `surprisal_loss_denominator` counted, for calls on a range of the rows where the reduction is a mean over tokens, weights or
    /// sequences; other calls do not look at it.
    const struct surprisal_denominator *denominator;
} surprisal_batch;

/// Logits `[rows x vocab]` to read, row-major: rows `row_start .. row_start + rows` of a batch, classes `vocab_start .. vocab_start + vocab` of
/// a vocabulary. Begin with `surprisal_logits_f32(data, rows, vocab)` or one of its siblings, or with `SURPRISAL_LOGITS_INIT`; cut with
/// `surprisal_logits_rows` and `surprisal_logits_shard`.
typedef struct surprisal_logits {
    /// `sizeof(surprisal_logits)`.
    size_t struct_size;
    /// First element of the first row. The padding past the last row is not touched and may be missing.
    const void *data;
    /// Rows of this matrix.
    size_t rows;
    /// Columns that are read.
    size_t vocab;
    /// Elements from a row to the next, at least `vocab`; 0 for `vocab`.
    size_t row_stride;
    /// Row of the batch that this matrix begins with.
    size_t row_start;
    /// Rows of the whole batch; 0 for `rows`.
    size_t rows_total;
    /// Class of the vocabulary that the first column is.
    size_t vocab_start;
    /// Classes of the whole vocabulary; 0 for `vocab`.
    size_t vocab_total;
    /// Element type.
    surprisal_dtype dtype;
    /// Zero.
    int32_t reserved;
} surprisal_logits;

/// A matrix to write: the gradient of logits, or log-probabilities, in any element type. Most fields are those of `surprisal_logits`. It has
/// as many rows and columns as the logits, and their place in the batch and the vocabulary: named again, or not at all. With the logits' own
/// `data`, `row_stride` and `dtype` it is written in place.
typedef struct surprisal_logits_mut {
    /// `sizeof(surprisal_logits_mut)`.
    size_t struct_size;
    /// First element of the first row.
    void *data;
    /// Rows of this matrix.
    size_t rows;
    /// Columns that are written.
    size_t vocab;
    /// Elements from a row to the next, at least `vocab`; 0 for `vocab`.
    size_t row_stride;
    /// Row of the batch that this matrix begins with.
    size_t row_start;
    /// Rows of the whole batch; 0 for `rows`.
    size_t rows_total;
    /// Class of the vocabulary that the first column is.
    size_t vocab_start;
    /// Classes of the whole vocabulary; 0 for `vocab`.
    size_t vocab_total;
    /// Element type.
    surprisal_dtype dtype;
    /// What becomes of the columns past `vocab`.
    surprisal_padding padding;
} surprisal_logits_mut;

/// Statistics of one row, or of a part of one: six doubles, which a collective can carry. A monoid under `surprisal_stats_merge`, with
/// `SURPRISAL_STATS_EMPTY` as identity. Logits are the transformed ones here (after logit scale and soft-cap).
///
/// The target is left out of the sums over exp(z - max), so that 1 - p is one of them and never a difference: -ln p keeps its digits where p is
/// near 1.
///
/// A part without any finite logit is empty; NaN or +inf among the logits makes `others` NaN.
typedef struct surprisal_stats {
    /// Largest logit, the target's among them; `-DBL_MAX` where there is none.
    double max;
    /// Sum of exp(z - max) over the classes other than the target.
    double others;
    /// Logit of the target; 0 where the target is in another part.
    double target_logit;
    /// Sum of class weight times z over all classes, for label smoothing; NaN where it was not asked for.
    double sum_logits;
    /// Sum of exp(z - max) (z - max) over the classes other than the target, for the entropy; NaN where it was not asked for.
    double sum_exp_logits;
    /// Sum of exp(z - max)^2 over the classes other than the target, for the sum of p^2; NaN where it was not asked for.
    double sum_exp_squared;
} surprisal_stats;

/// What a token contributes: the output of `surprisal_token_terms` and an input of `surprisal_logits_grad`.
typedef struct surprisal_term {
    /// The token's weighted loss, before the reduction divides it.
    double loss;
    /// -d (reduced loss) / d ln p, all weights, the reduction and `grad_scale` included.
    double coef;
    /// What multiplies label smoothing and z-loss in the gradient of the row: token weight, reduction and `grad_scale`.
    double dense;
} surprisal_term;

/// Per-row outputs of a call. Begin with `SURPRISAL_OUTPUTS_INIT`. Each array has one entry for each row of the whole batch; a call writes those of
/// its matrix's rows. NULL means that an output is not wanted.
///
/// Ignored rows get `SURPRISAL_STATS_EMPTY`, a term of zeros, 0, `UINT32_MAX` (argmax) and 0 (correct).
typedef struct surprisal_outputs {
    /// `sizeof(surprisal_outputs)`.
    size_t struct_size;
    /// Row statistics.
    struct surprisal_stats *stats;
    /// Loss and gradient coefficient.
    struct surprisal_term *terms;
    /// Each token's weighted loss, before the reduction divides it.
    float *losses;
    /// -ln p of the target, in nats.
    float *nll;
    /// ln p of the target, in nats.
    float *log_probs;
    /// Entropy of the row, in nats. Costs another walk over the row while it is in cache.
    float *entropy;
    /// The objective's weight -d loss / d ln p, without token weight and reduction: p for dft, 1 for sft.
    float *weights;
    /// Index of the largest logit; the first among equals.
    uint32_t *argmax;
    /// 1 where the target has the largest logit (ties count), else 0.
    uint8_t *correct;
} surprisal_outputs;

/// Memory that a call may use: as much as `surprisal_workspace_size` says. Begin with `SURPRISAL_WORKSPACE_INIT`. What it holds, before and
/// after, means nothing. Calls at the same time need one each.
///
/// Objectives of group scope need it for the loss, between their two passes. To the others it is a row of the vocabulary in f32, so that no exponential
/// is computed twice: it makes 16-bit gradients faster (f32 ones need none) and changes no bit of a result.
typedef struct surprisal_workspace {
    /// `sizeof(surprisal_workspace)`.
    size_t struct_size;
    /// The memory, at an address that is a multiple of 8 (that of any malloc).
    void *data;
    /// Its bytes; 0 with NULL.
    size_t size;
} surprisal_workspace;

/// What a call computes besides gradients. An output that needs no initial value; one that reports are added to begins with `SURPRISAL_REPORT_INIT`.
///
/// Sums are over the tokens that count, in double precision, in an order that depends on nothing but the number and the length of the call's rows.
typedef struct surprisal_report {
    /// Tokens that count.
    size_t tokens;
    /// Tokens among them whose target has the largest logit (ties count).
    size_t correct;
    /// The reduced loss: what the gradient is the gradient of, but for `grad_scale`. Of a range of rows, its share.
    double loss;
    /// Sum of the tokens' weighted losses.
    double loss_sum;
    /// Sum of -ln p, unweighted: the number to watch, since weighted losses of different objectives do not compare.
    double nll_sum;
    /// Sum of token weight times class weight of the target.
    double weight_sum;
    /// The first row without a softmax (NaN or +inf among its logits, or nothing finite), whose loss and gradient are NaN; -1 where there is
    /// none.
    int64_t invalid_row;
    /// The temperature that the objective found in the batch (talr-auto, flow); 0 for objectives that look for none.
    double tau;
    /// Zero: room for more, which older programs do not look at.
    uint64_t reserved[6];
} surprisal_report;

/// Who multiplies matrices (BLAS, oneDNN, ggml, or whatever the trainer has), and who lends threads. Begin with `SURPRISAL_GEMM_INIT`. Both functions
/// are called during calls, on the caller's thread, with the address of this struct; neither may throw or jump out.
typedef struct surprisal_gemm {
    /// `sizeof(surprisal_gemm)`.
    size_t struct_size;
    /// The caller's own; the library does not look at it.
    void *context;
    /// `c = a b + beta c` in f32, with `a` `[m x k]`, `b` `[k x n]`, `c` `[m x n]`, and entry `(i, j)` at `i row_stride + j col_stride`. `beta` is 0
    /// or 1; with 0, `c` may hold NaN and is not read (as in BLAS). No size is 0. It may use threads of its own.
    ///
    /// One of the two strides of an operand is 1 if that is so of the caller's matrices: for cblas_sgemm the other one is the leading dimension, and
    /// which of them it is tells whether to transpose.
    void (*product)(const struct surprisal_gemm *gemm,
                    size_t m,
                    size_t n,
                    size_t k,
                    const float *a,
                    size_t a_row_stride,
                    size_t a_col_stride,
                    const float *b,
                    size_t b_row_stride,
                    size_t b_col_stride,
                    float beta,
                    float *c,
                    size_t c_row_stride,
                    size_t c_col_stride);
    /// Calls `task(work, i)` for each `i` below `tasks`, in any order, at the same time as far as there are threads, and returns when all are done:
    /// for what lies between the products, the loss and conversions. NULL: on the calling thread alone. Results have the same bits with any.
    void (*parallel)(const struct surprisal_gemm *gemm, size_t tasks, void (*task)(void *work, size_t index), void *work);
} surprisal_gemm;

/// A matrix `[rows x cols]` to read: entry `(i, j)` lies at `i row_stride + j col_stride`. Hidden states, whose rows are those of a batch, or weights,
/// whose rows are the classes of a vocabulary; either may be a part of it. Begin with `surprisal_matrix_f32(data, rows, cols)` or one of its
/// siblings, or with `SURPRISAL_MATRIX_INIT`; cut with `surprisal_matrix_rows`. What lies between its entries belongs to it.
typedef struct surprisal_matrix {
    /// `sizeof(surprisal_matrix)`.
    size_t struct_size;
    /// Entry (0, 0).
    const void *data;
    /// Rows of this matrix.
    size_t rows;
    /// Columns.
    size_t cols;
    /// Elements from a row to the next; 0 for `cols`.
    size_t row_stride;
    /// Elements from a column to the next; 0 for 1. Transposed weights `[cols x rows]` have a row stride of 1 and a column stride of `rows`.
    size_t col_stride;
    /// Row of the batch, or class of the vocabulary, that this matrix begins with.
    size_t row_start;
    /// Rows of the whole batch, or classes of the whole vocabulary; 0 for `rows`.
    size_t rows_total;
    /// Element type.
    surprisal_dtype dtype;
    /// Zero.
    int32_t reserved;
} surprisal_matrix;

/// A matrix to write; the fields are those of `surprisal_matrix`.
typedef struct surprisal_matrix_mut {
    /// `sizeof(surprisal_matrix_mut)`.
    size_t struct_size;
    /// Entry (0, 0).
    void *data;
    /// Rows of this matrix.
    size_t rows;
    /// Columns.
    size_t cols;
    /// Elements from a row to the next; 0 for `cols`.
    size_t row_stride;
    /// Elements from a column to the next; 0 for 1.
    size_t col_stride;
    /// Row of the batch, or class of the vocabulary, that this matrix begins with.
    size_t row_start;
    /// Rows of the whole batch, or classes of the whole vocabulary; 0 for `rows`.
    size_t rows_total;
    /// Element type.
    surprisal_dtype dtype;
    /// Zero.
    int32_t reserved;
} surprisal_matrix_mut;

/// An output layer: logits are `H W^T + bias`. Begin with `SURPRISAL_LINEAR_LAYER_INIT`.
typedef struct surprisal_linear_layer {
    /// `sizeof(surprisal_linear_layer)`.
    size_t struct_size;
    /// W `[vocab x d]`; as rows of it, a shard of the vocabulary.
    const struct surprisal_matrix *weight;
    /// One entry for each row of W; NULL for none.
    const float *bias;
    /// Who multiplies.
    const struct surprisal_gemm *gemm;
} surprisal_linear_layer;

/// The gradients that are wanted; each that is NULL saves its work. Begin with `SURPRISAL_LINEAR_GRADIENTS_INIT`. With dz the gradient with respect
/// to the logits:
typedef struct surprisal_linear_gradients {
    /// `sizeof(surprisal_linear_gradients)`.
    size_t struct_size;
    /// `dH = dz W`, written, in any element type; exactly 0 in ignored rows.
    const struct surprisal_matrix_mut *hidden;
    /// `dW += dz^T H`: added to what is there. In f32, or in 16 bits if W is: then rounded once for each chunk of rows.
    const struct surprisal_matrix_mut *weight;
    /// `dbias += sum over rows of dz`: added to what is there, an entry for each row of W.
    float *bias;
} surprisal_linear_gradients;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/// Version of the library that is linked: `1000000 * major + 1000 * minor + patch`, as `SURPRISAL_VERSION` is of the header.
SURPRISAL_API
SURPRISAL_NODISCARD
uint32_t surprisal_version(void);

/// The same as text, `"major.minor.patch"`. Static.
SURPRISAL_API SURPRISAL_NODISCARD const char *surprisal_version_string(void);

/// `SURPRISAL_ABI_VERSION` of the library that is linked.
SURPRISAL_API SURPRISAL_NODISCARD uint32_t surprisal_abi_version(void);

/// A sentence that says what a status means, in English. Static; never NULL, whatever the number.
SURPRISAL_API SURPRISAL_NODISCARD const char *surprisal_status_string(int32_t status);

/// Scope of an objective with its default parameters, a `surprisal_scope`; `SURPRISAL_ERROR_OPTION` (negative) where there is none of this number.
SURPRISAL_API
SURPRISAL_NODISCARD
int32_t surprisal_objective_scope(surprisal_objective objective);

/// Name of an enumerator, as `"talr-auto"` for (`"objective"`, 13); NULL where there is none. Static.
///
/// `family` is the enum's name without `surprisal_`: `"objective"`, `"reduction"`, `"extras_scale"`, `"kl"`, `"tau_from"`, `"normalize"`, `"probability"`, `"dtype"`,
/// `"padding"`, `"scope"`. Objectives are numbered without gaps, so that a loop from 0 on sees every one.
SURPRISAL_API
SURPRISAL_NODISCARD
const char *surprisal_enum_name(const char *family,
                                int32_t value);

/// The enumerator of a name, in any case, with `_` or `-`: 13 for (`"objective"`, `"TALR_Auto"`); `SURPRISAL_ERROR_OPTION` where there is none,
/// `SURPRISAL_ERROR_MISSING` for NULL (both negative, which no enumerator is).
SURPRISAL_API
SURPRISAL_NODISCARD
int32_t surprisal_enum_value(const char *family,
                             const char *name);

/// The simple case: mean loss of the tokens, and its gradient with respect to the logits.
///
/// `logits` and `dlogits` are `[rows x vocab]`, row-major without padding; `targets` has one id a row, -100 for rows that do not count, which get
/// a gradient of 0. `dlogits` may be `logits` (the gradient overwrites them) or NULL (loss only); `detail` may be NULL. Where no row counts the loss is 0. Objectives that need more than targets are refused:
/// `surprisal_forward_backward` takes everything.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_simple_f32(surprisal_objective objective,
                                      const float *logits,
                                      const int32_t *targets,
                                      size_t rows,
                                      size_t vocab,
                                      float *dlogits,
                                      double *loss,
                                      struct surprisal_error_detail *detail);

/// Fills a loss with its initial values, as `SURPRISAL_LOSS_INIT` does.
SURPRISAL_API SURPRISAL_NODISCARD surprisal_status surprisal_loss_init(struct surprisal_loss *loss, size_t struct_size);

/// Sets a parameter of the objective, or any option of the loss that is a number, by its name: `surprisal_loss_set(&loss, "tau", 0.5, &detail)`.
///
/// `loss.objective` comes first: a parameter that it does not have is an error, here or in the call, if the objective changes afterwards. A value is
/// an enumerator for the parameters that have some: `surprisal_loss_set(&loss, "kl", SURPRISAL_KL_K1, &detail)`. Ranges are checked by the calls that
/// use the loss. Names may have any case, and `-` for `_`.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_loss_set(struct surprisal_loss *loss,
                                    const char *name,
                                    double value,
                                    struct surprisal_error_detail *detail);

/// As `surprisal_loss_set`, for what has named values: `surprisal_loss_set_choice(&loss, "objective", "dft", &detail)`, `"reduction"`,
/// `"extras_scale"`, and the parameters `"kl"`, `"tau_from"`, `"normalize"`, `"probability"`.
///
/// Another objective begins with its own parameters: those of the one before are forgotten.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_loss_set_choice(struct surprisal_loss *loss,
                                           const char *name,
                                           const char *choice,
                                           struct surprisal_error_detail *detail);

/// Fills a batch with its initial values, as `SURPRISAL_BATCH_INIT` does.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_batch_init(struct surprisal_batch *batch,
                                      size_t struct_size);

/// Counts the denominators of a whole batch, for calls on ranges of its rows. Looks at every row's target and weight, and at no
/// `batch.denominator`. `vocab_total` is the whole vocabulary.
///
/// `sequence_tokens` has one entry a sequence and is written for `SURPRISAL_REDUCTION_MEAN_SEQUENCES` alone, else it may be NULL; it must live as long as `out`
/// is used. Objectives of group scope need no denominator: their terms hold it.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_loss_denominator(const struct surprisal_loss *loss,
                                            const struct surprisal_batch *batch,
                                            size_t vocab_total,
                                            uint32_t *sequence_tokens,
                                            struct surprisal_denominator *out,
                                            struct surprisal_error_detail *detail);

/// Fills a matrix with its initial values, as `SURPRISAL_LOGITS_INIT` does.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_logits_init(struct surprisal_logits *logits,
                                       size_t struct_size);

/// Fills a matrix with its initial values, as `SURPRISAL_LOGITS_MUT_INIT` does.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_logits_mut_init(struct surprisal_logits_mut *logits,
                                           size_t struct_size);

/// Fills outputs with their initial values, as `SURPRISAL_OUTPUTS_INIT` does.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_outputs_init(struct surprisal_outputs *outputs,
                                        size_t struct_size);

/// Fills a workspace with its initial values, as `SURPRISAL_WORKSPACE_INIT` does.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_workspace_init(struct surprisal_workspace *workspace,
                                          size_t struct_size);

/// Writes to `size` how many bytes of workspace a call on `rows` rows of `vocab` columns takes with this loss.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_workspace_size(const struct surprisal_loss *loss,
                                          size_t rows,
                                          size_t vocab,
                                          size_t *size,
                                          struct surprisal_error_detail *detail);

/// Makes a report that of no rows, to add others to, as `SURPRISAL_REPORT_INIT` does.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_report_init(struct surprisal_report *report,
                                       struct surprisal_error_detail *detail);

/// Adds the report of another range of rows of the same batch to `report`; everything adds up, the loss too. (Over micro-batches or ranks
/// whose losses are means of their own, add the sums and divide.)
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_report_merge(struct surprisal_report *report,
                                        const struct surprisal_report *other,
                                        struct surprisal_error_detail *detail);

/// Mean of -ln p over the tokens, in nats; 0 without tokens, NaN for NULL.
SURPRISAL_API SURPRISAL_NODISCARD double surprisal_report_mean_nll(const struct surprisal_report *report);

/// e to the mean of -ln p; NaN for NULL.
SURPRISAL_API SURPRISAL_NODISCARD double surprisal_report_perplexity(const struct surprisal_report *report);

/// Code length: mean of -log2 p, in bits; NaN for NULL.
SURPRISAL_API SURPRISAL_NODISCARD double surprisal_report_bits_per_token(const struct surprisal_report *report);

/// Share of the tokens whose target has the largest logit; 0 without tokens, NaN for NULL.
SURPRISAL_API SURPRISAL_NODISCARD double surprisal_report_accuracy(const struct surprisal_report *report);

/// Loss only, of the matrix's rows, with per-row outputs on request.
///
/// `outputs` and `workspace` may be NULL, but objectives of group scope need a workspace, and all rows. A range of rows takes a `batch.denominator`
/// where the reduction is a mean over tokens, weights or sequences.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_forward(const struct surprisal_loss *loss,
                                   const struct surprisal_batch *batch,
                                   const struct surprisal_logits *logits,
                                   const struct surprisal_outputs *outputs,
                                   const struct surprisal_workspace *workspace,
                                   struct surprisal_report *report,
                                   struct surprisal_error_detail *detail);

/// Loss of the matrix's rows, and its gradient with respect to the raw logits into `dlogits`: in any element type, or over the logits
/// themselves. One pass over memory for objectives of token scope, two for the others.
///
/// `outputs` and `workspace` may be NULL, but objectives of group scope need a workspace, and all rows. A range of rows takes a `batch.denominator`
/// where the reduction is a mean over tokens, weights or sequences.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_forward_backward(const struct surprisal_loss *loss,
                                            const struct surprisal_batch *batch,
                                            const struct surprisal_logits *logits,
                                            const struct surprisal_logits_mut *dlogits,
                                            const struct surprisal_outputs *outputs,
                                            const struct surprisal_workspace *workspace,
                                            struct surprisal_report *report,
                                            struct surprisal_error_detail *detail);

/// Makes `count` statistics those of no logits, `SURPRISAL_STATS_EMPTY`, to merge others into.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_stats_init(struct surprisal_stats *stats,
                                      size_t count,
                                      struct surprisal_error_detail *detail);

/// Merges the statistics of other parts of the same rows: `merged[i] = merge(merged[i], part[i])` for each of `count` rows.
///
/// Associative up to rounding in double precision, commutative bit for bit. The body of an `MPI_Op`:
/// `surprisal_stats_merge(in, inout, *len, NULL)`.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_stats_merge(const struct surprisal_stats *part,
                                       struct surprisal_stats *merged,
                                       size_t count,
                                       struct surprisal_error_detail *detail);

/// Expresses statistics relative to a common maximum, after which parts merge by adding all fields but `max`. For collectives that only have
/// MAX and SUM: reduce each row's `max` by MAX, rebase to it, sum the others.
///
/// `max[i]` is at least `stats[i].max`, for each of `count` rows.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_stats_rebase(struct surprisal_stats *stats,
                                        const double *max,
                                        size_t count,
                                        struct surprisal_error_detail *detail);

/// -ln p of the target, in nats, from the statistics of a whole row. Never negative, and accurate relative to itself however near p is to 1.
/// NaN for a row without a softmax and for NULL.
SURPRISAL_API
SURPRISAL_NODISCARD
double surprisal_stats_nll(const struct surprisal_stats *stats);

/// 1 - p of the target: the probability of all other classes, accurate relative to itself. NaN for a row without a softmax and for NULL.
SURPRISAL_API
SURPRISAL_NODISCARD
double surprisal_stats_miss(const struct surprisal_stats *stats);

/// ln of the sum of exp(z). NaN for a row without a softmax and for NULL.
SURPRISAL_API SURPRISAL_NODISCARD double surprisal_stats_log_sum_exp(const struct surprisal_stats *stats);

/// Entropy of the row, in nats, from the statistics of a call that was asked for it (`loss.moments` or `outputs.entropy`); NaN for others, for a row
/// without a softmax and for NULL.
SURPRISAL_API
SURPRISAL_NODISCARD
double surprisal_stats_entropy(const struct surprisal_stats *stats);

/// Sum of p^2 over the classes of the row: the probability that two draws agree. From the statistics of a call that was asked for it, as
/// `surprisal_stats_entropy`; NaN for others, for a row without a softmax and for NULL.
SURPRISAL_API
SURPRISAL_NODISCARD
double surprisal_stats_sum_squares(const struct surprisal_stats *stats);

/// Stage 1: statistics of the matrix's rows, of whole rows or of a vocabulary shard.
///
/// `stats` has one entry for each row of the whole batch; those of the matrix's rows are written. A target outside the shard contributes 0 to
/// `target_logit`. `loss.moments` asks for the sums of entropy and p^2. Merge shards with `surprisal_stats_merge`.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_row_stats(const struct surprisal_loss *loss,
                                     const struct surprisal_batch *batch,
                                     const struct surprisal_logits *logits,
                                     struct surprisal_stats *stats,
                                     struct surprisal_error_detail *detail);

/// Stage 2: the plan, the denominators, and the term of each of `rows` rows from `row_start` on, from merged statistics.
///
/// `stats` and `terms` have one entry for each row of the whole batch; those of the range are read and written. Objectives of group scope need all
/// rows at once, and a workspace; it takes some hundred nanoseconds a row. Others need none: `workspace` may be NULL. `vocab_total` is the whole
/// vocabulary. A range of rows takes a `batch.denominator` where the reduction is a mean over tokens, weights or sequences.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_token_terms(const struct surprisal_loss *loss,
                                       const struct surprisal_batch *batch,
                                       size_t vocab_total,
                                       size_t row_start,
                                       size_t rows,
                                       const struct surprisal_stats *stats,
                                       struct surprisal_term *terms,
                                       const struct surprisal_workspace *workspace,
                                       struct surprisal_report *report,
                                       struct surprisal_error_detail *detail);

/// Stage 3: the gradient of the matrix's rows, of whole rows or of a vocabulary shard, from merged statistics and terms.
///
/// `dlogits[j] = coef (p[j] - [j = target])`, with the dense extras. `stats` and `terms` have one entry for each row of the whole batch; those
/// of the matrix's rows are read.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_logits_grad(const struct surprisal_loss *loss,
                                       const struct surprisal_batch *batch,
                                       const struct surprisal_logits *logits,
                                       const struct surprisal_stats *stats,
                                       const struct surprisal_term *terms,
                                       const struct surprisal_logits_mut *dlogits,
                                       struct surprisal_error_detail *detail);

/// Log-probabilities of every class: `out[j] = (z[j] - max) - ln sum exp(z - max)`, in nats; in any element type, or in place.
///
/// Within 2 ULP of the result plus 2e-7, whatever common offset the logits have. A row with NaN or +inf, or without a finite logit, is NaN; -inf
/// among finite logits stays.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_log_softmax(const struct surprisal_logits *logits,
                                       const struct surprisal_logits_mut *out,
                                       struct surprisal_error_detail *detail);

/// ln of the sum of exp(z) of each of the matrix's rows, in nats, rounded once. `out` has one entry for each row of the whole batch.
///
/// A row with NaN or +inf, or without a finite logit, is NaN.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_log_sum_exp(const struct surprisal_logits *logits,
                                       float *out,
                                       struct surprisal_error_detail *detail);

/// Entropy of each of the matrix's rows, in nats. `out` has one entry for each row of the whole batch.
///
/// A class of probability 0 adds 0. A row with NaN or +inf, or without a finite logit, is NaN.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_entropy(const struct surprisal_logits *logits,
                                   float *out,
                                   struct surprisal_error_detail *detail);

/// ln p of the target of each of the matrix's rows, in nats; 0 on ignored rows. What policy and reference models are asked for. `out` has one
/// entry for each row of the whole batch.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_token_log_probs(const struct surprisal_batch *batch,
                                           const struct surprisal_logits *logits,
                                           float *out,
                                           struct surprisal_error_detail *detail);

/// Fills it with its initial values, as `SURPRISAL_GEMM_INIT` does.
SURPRISAL_API SURPRISAL_NODISCARD surprisal_status surprisal_gemm_init(struct surprisal_gemm *gemm, size_t struct_size);

/// Fills a matrix with its initial values, as `SURPRISAL_MATRIX_INIT` does.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_matrix_init(struct surprisal_matrix *matrix,
                                       size_t struct_size);

/// Fills a matrix with its initial values, as `SURPRISAL_MATRIX_MUT_INIT` does.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_matrix_mut_init(struct surprisal_matrix_mut *matrix,
                                           size_t struct_size);

/// Fills a layer with its initial values, as `SURPRISAL_LINEAR_LAYER_INIT` does.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_linear_layer_init(struct surprisal_linear_layer *layer,
                                             size_t struct_size);

/// Fills it with its initial values, as `SURPRISAL_LINEAR_GRADIENTS_INIT` does.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_linear_gradients_init(struct surprisal_linear_gradients *gradients,
                                                 size_t struct_size);

/// Writes to `size` how many bytes of workspace a call on `rows` rows takes that goes through chunks of `chunk_rows` rows; 0 stands for 512 rows, or
/// all of a shorter call, beyond which a call gains little.
///
/// `4 chunk_rows (V + d)` bytes, V being the vocabulary rounded up to an odd number of cache lines, so that columns do not share their place in
/// the cache; 4 MiB more (or one class of d) for weights of 16 bits, which are converted in parts; and some 100 bytes a row for objectives of group
/// scope. A call takes any workspace of at least the size for one row, and makes its chunks as large as that allows. Of `layer` only the weights' shape
/// and type are looked at.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_linear_workspace_size(const struct surprisal_loss *loss,
                                                 const struct surprisal_linear_layer *layer,
                                                 size_t rows,
                                                 size_t chunk_rows,
                                                 size_t *size,
                                                 struct surprisal_error_detail *detail);

/// Loss of an output layer, with the gradients of hidden states, weights and bias as far as they are wanted: without the logits ever being whole. They
/// are computed a chunk of rows at a time in the workspace, by the layer's product.
///
/// `hidden` is H `[rows x d]`. `gradients` may be NULL: the loss alone takes one product over the rows, each of dH and dW one more; objectives of
/// group scope compute the logits twice if they do not fit into one chunk. Ignored rows are left out before the first product: their hidden states are
/// not read, and their dH is exactly 0. `outputs` may be NULL. W must be whole: with a shard of the vocabulary, use
/// `surprisal_linear_row_stats`, `surprisal_token_terms` and `surprisal_linear_backward`.
///
/// Logits are the product's sums in f32 and never rounded to 16 bits. Where an entry of a product depends on nothing but its row and column, per-row
/// outputs and dH have the same bits for chunks of any size, in any threads, and however rows are cut into calls; dW, dbias and the sums of the report
/// differ by the rounding of their partial sums. A row without a softmax that the objective does not leave out makes its dH, and all of dW and dbias,
/// NaN.
///
/// Calls on ranges of the rows (`surprisal_matrix_rows`, with a `batch.denominator` for means) may run at the same time with a dW and a dbias of their
/// own, to be added up; or let one call have the caller's threads, in `surprisal_gemm`.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_linear_forward_backward(const struct surprisal_loss *loss,
                                                   const struct surprisal_linear_layer *layer,
                                                   const struct surprisal_batch *batch,
                                                   const struct surprisal_matrix *hidden,
                                                   const struct surprisal_linear_gradients *gradients,
                                                   const struct surprisal_outputs *outputs,
                                                   const struct surprisal_workspace *workspace,
                                                   struct surprisal_report *report,
                                                   struct surprisal_error_detail *detail);

/// Stage 1 by itself: statistics of rows whose logits are `H W^T + bias`, of whole rows or of a vocabulary shard (W being rows of all weights).
///
/// `stats` has one entry for each row of the whole batch; those of H's rows are written. Merge shards with `surprisal_stats_merge`. Of the workspace the
/// size for an objective of token scope is enough.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_linear_row_stats(const struct surprisal_loss *loss,
                                            const struct surprisal_linear_layer *layer,
                                            const struct surprisal_batch *batch,
                                            const struct surprisal_matrix *hidden,
                                            struct surprisal_stats *stats,
                                            const struct surprisal_workspace *workspace,
                                            struct surprisal_error_detail *detail);

/// Stage 3 by itself: the gradients from merged statistics and terms, of whole rows or of a vocabulary shard. Computes the logits once more.
///
/// Of a shard, dW and dbias are those of its classes, and dH is its part: the sum over the shards is the gradient. `stats` and `terms` have one entry for
/// each row of the whole batch; those of H's rows are read.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_linear_backward(const struct surprisal_loss *loss,
                                           const struct surprisal_linear_layer *layer,
                                           const struct surprisal_batch *batch,
                                           const struct surprisal_matrix *hidden,
                                           const struct surprisal_stats *stats,
                                           const struct surprisal_term *terms,
                                           const struct surprisal_linear_gradients *gradients,
                                           const struct surprisal_workspace *workspace,
                                           struct surprisal_error_detail *detail);

/// Histogram of the targets' probabilities over `bin_count` equal bins of [0, 1]: adds each token of `log_probs` (one entry a row) to its bin.
///
/// Bin i of n holds i/n <= p < (i+1)/n; p = 1 falls in the last. NaN and ignored rows are not counted.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_histogram(const struct surprisal_batch *batch,
                                     const float *log_probs,
                                     uint64_t *bins,
                                     size_t bin_count,
                                     struct surprisal_error_detail *detail);

/// Share of the tokens that are hard: p below `threshold`. 0 without tokens. `log_probs` has one entry a row.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_hard_token_share(const struct surprisal_batch *batch,
                                            const float *log_probs,
                                            double threshold,
                                            double *out,
                                            struct surprisal_error_detail *detail);

/// Effective sample size of the tokens' weights (one entry a row): (sum w)^2 / sum w^2. The number of tokens where all weigh the same, 1 where one
/// has all the weight, 0 without weight.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_effective_sample_size(const struct surprisal_batch *batch,
                                                 const float *weights,
                                                 double *out,
                                                 struct surprisal_error_detail *detail);

/// Second moment of the tokens' weights (one entry a row): mean of w^2. 0 without tokens.
SURPRISAL_API
SURPRISAL_NODISCARD
surprisal_status surprisal_second_moment(const struct surprisal_batch *batch,
                                         const float *weights,
                                         double *out,
                                         struct surprisal_error_detail *detail);

/// Name of the SIMD level that the library runs at on this machine: `"avx512"`, `"avx2"`, `"sse2"`, `"neon"`, ... Static.
SURPRISAL_API
SURPRISAL_NODISCARD
const char *surprisal_simd_level(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus


/* Initial values. */

#define SURPRISAL_LOGITS_INIT {sizeof(surprisal_logits), NULL, 0, 0, 0, 0, 0, 0, 0, SURPRISAL_DTYPE_F32, 0}
#define SURPRISAL_LOGITS_MUT_INIT                                                                                     \
    {sizeof(surprisal_logits_mut), NULL, 0, 0, 0, 0, 0, 0, 0, SURPRISAL_DTYPE_F32, SURPRISAL_PADDING_KEEP}
#define SURPRISAL_BATCH_INIT                                                                                          \
    {sizeof(surprisal_batch), 0,    NULL, NULL, SURPRISAL_IGNORE_INDEX, NULL, NULL, NULL, NULL,                      \
     NULL,                    0,    NULL, NULL, NULL,                   0,    NULL, NULL}
#define SURPRISAL_OUTPUTS_INIT {sizeof(surprisal_outputs), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL}
#define SURPRISAL_WORKSPACE_INIT {sizeof(surprisal_workspace), NULL, 0}
#define SURPRISAL_LOSS_INIT                                                                                           \
    {sizeof(surprisal_loss), NULL, 0.0,  SURPRISAL_OBJECTIVE_SFT,                                                     \
     SURPRISAL_REDUCTION_DEFAULT,  SURPRISAL_EXTRAS_SCALE_ONE,    0, 0.0f, 0.0f, 1.0f, 0.0f, 1.0f, 0, {{0.0, 0, 0}}}
#define SURPRISAL_GEMM_INIT {sizeof(surprisal_gemm), NULL, NULL, NULL}
#define SURPRISAL_MATRIX_INIT {sizeof(surprisal_matrix), NULL, 0, 0, 0, 0, 0, 0, SURPRISAL_DTYPE_F32, 0}
#define SURPRISAL_MATRIX_MUT_INIT {sizeof(surprisal_matrix_mut), NULL, 0, 0, 0, 0, 0, 0, SURPRISAL_DTYPE_F32, 0}
#define SURPRISAL_LINEAR_LAYER_INIT {sizeof(surprisal_linear_layer), NULL, NULL, NULL}
#define SURPRISAL_LINEAR_GRADIENTS_INIT {sizeof(surprisal_linear_gradients), NULL, NULL, NULL}
#define SURPRISAL_REPORT_INIT {0, 0, 0.0, 0.0, 0.0, 0.0, -1, 0.0, {0}}

/** Statistics of no logits at all: the identity of surprisal_stats_merge. */
#define SURPRISAL_STATS_EMPTY {-1.7976931348623157e308, 0.0, 0.0, 0.0, 0.0, 0.0}

/* Matrices from typed pointers. */

static inline surprisal_logits surprisal_logits_of(const void *data, surprisal_dtype dtype, size_t rows, size_t vocab)
{
    surprisal_logits logits = SURPRISAL_LOGITS_INIT;
    logits.data = data;
    logits.dtype = dtype;
    logits.rows = rows;
    logits.vocab = vocab;
    return logits;
}

static inline surprisal_logits_mut surprisal_logits_mut_of(void *data, surprisal_dtype dtype, size_t rows, size_t vocab)
{
    surprisal_logits_mut logits = SURPRISAL_LOGITS_MUT_INIT;
    logits.data = data;
    logits.dtype = dtype;
    logits.rows = rows;
    logits.vocab = vocab;
    return logits;
}

/** Logits `[rows x vocab]` without padding. */
static inline surprisal_logits surprisal_logits_f32(const float *data, size_t rows, size_t vocab)
{
    return surprisal_logits_of(data, SURPRISAL_DTYPE_F32, rows, vocab);
}

/** As surprisal_logits_f32, in bfloat16. */
static inline surprisal_logits surprisal_logits_bf16(const uint16_t *data, size_t rows, size_t vocab)
{
    return surprisal_logits_of(data, SURPRISAL_DTYPE_BF16, rows, vocab);
}

/** As surprisal_logits_f32, in IEEE binary16. */
static inline surprisal_logits surprisal_logits_f16(const uint16_t *data, size_t rows, size_t vocab)
{
    return surprisal_logits_of(data, SURPRISAL_DTYPE_F16, rows, vocab);
}

/** A matrix `[rows x vocab]` to write, without padding. */
static inline surprisal_logits_mut surprisal_logits_mut_f32(float *data, size_t rows, size_t vocab)
{
    return surprisal_logits_mut_of(data, SURPRISAL_DTYPE_F32, rows, vocab);
}

/** As surprisal_logits_mut_f32, in bfloat16. */
static inline surprisal_logits_mut surprisal_logits_mut_bf16(uint16_t *data, size_t rows, size_t vocab)
{
    return surprisal_logits_mut_of(data, SURPRISAL_DTYPE_BF16, rows, vocab);
}

/** As surprisal_logits_mut_f32, in IEEE binary16. */
static inline surprisal_logits_mut surprisal_logits_mut_f16(uint16_t *data, size_t rows, size_t vocab)
{
    return surprisal_logits_mut_of(data, SURPRISAL_DTYPE_F16, rows, vocab);
}

/** A matrix as logits to read; with both a call works in place. */
static inline surprisal_logits surprisal_logits_of_mut(surprisal_logits_mut matrix)
{
    surprisal_logits logits = SURPRISAL_LOGITS_INIT;
    logits.data = matrix.data;
    logits.rows = matrix.rows;
    logits.vocab = matrix.vocab;
    logits.row_stride = matrix.row_stride;
    logits.row_start = matrix.row_start;
    logits.rows_total = matrix.rows_total;
    logits.vocab_start = matrix.vocab_start;
    logits.vocab_total = matrix.vocab_total;
    logits.dtype = matrix.dtype;
    return logits;
}

/* Parts of matrices. */

/** Bytes from the start of a matrix to its row `row`. */
static inline size_t surprisal_row_offset(surprisal_dtype dtype, size_t row_stride, size_t vocab, size_t row)
{
    size_t element = dtype == SURPRISAL_DTYPE_F32 ? sizeof(float) : sizeof(uint16_t);
    return row * (row_stride == 0 ? vocab : row_stride) * element;
}

/** Rows `begin .. end` of a matrix, which know their place in the batch: what one thread works on. Calls refuse rows that the matrix lacks. */
static inline surprisal_logits surprisal_logits_rows(surprisal_logits logits, size_t begin, size_t end)
{
    if (logits.rows_total == 0) {
        logits.rows_total = logits.rows;
    }
    if (begin > end || end > logits.rows) {
        logits.rows = SURPRISAL_NO_ROWS;
        return logits;
    }
    logits.data = (const unsigned char *)logits.data +
                  surprisal_row_offset(logits.dtype, logits.row_stride, logits.vocab, begin);
    logits.row_start += begin;
    logits.rows = end - begin;
    return logits;
}

/** As surprisal_logits_rows. */
static inline surprisal_logits_mut surprisal_logits_mut_rows(surprisal_logits_mut logits, size_t begin, size_t end)
{
    if (logits.rows_total == 0) {
        logits.rows_total = logits.rows;
    }
    if (begin > end || end > logits.rows) {
        logits.rows = SURPRISAL_NO_ROWS;
        return logits;
    }
    logits.data = (unsigned char *)logits.data +
                  surprisal_row_offset(logits.dtype, logits.row_stride, logits.vocab, begin);
    logits.row_start += begin;
    logits.rows = end - begin;
    return logits;
}

/** The columns as the classes from `vocab_start` on of a vocabulary of `vocab_total` (tensor parallelism). */
static inline surprisal_logits surprisal_logits_shard(surprisal_logits logits, size_t vocab_start, size_t vocab_total)
{
    logits.vocab_start = vocab_start;
    logits.vocab_total = vocab_total;
    return logits;
}

/** As surprisal_logits_shard. */
static inline surprisal_logits_mut
surprisal_logits_mut_shard(surprisal_logits_mut logits, size_t vocab_start, size_t vocab_total)
{
    logits.vocab_start = vocab_start;
    logits.vocab_total = vocab_total;
    return logits;
}

/* Matrices of an output layer. */

static inline surprisal_matrix surprisal_matrix_of(const void *data, surprisal_dtype dtype, size_t rows, size_t cols)
{
    surprisal_matrix matrix = SURPRISAL_MATRIX_INIT;
    matrix.data = data;
    matrix.dtype = dtype;
    matrix.rows = rows;
    matrix.cols = cols;
    return matrix;
}

static inline surprisal_matrix_mut surprisal_matrix_mut_of(void *data, surprisal_dtype dtype, size_t rows, size_t cols)
{
    surprisal_matrix_mut matrix = SURPRISAL_MATRIX_MUT_INIT;
    matrix.data = data;
    matrix.dtype = dtype;
    matrix.rows = rows;
    matrix.cols = cols;
    return matrix;
}

/** A matrix `[rows x cols]`, row-major without padding. */
static inline surprisal_matrix surprisal_matrix_f32(const float *data, size_t rows, size_t cols)
{
    return surprisal_matrix_of(data, SURPRISAL_DTYPE_F32, rows, cols);
}

/** As surprisal_matrix_f32, in bfloat16. */
static inline surprisal_matrix surprisal_matrix_bf16(const uint16_t *data, size_t rows, size_t cols)
{
    return surprisal_matrix_of(data, SURPRISAL_DTYPE_BF16, rows, cols);
}

/** As surprisal_matrix_f32, in IEEE binary16. */
static inline surprisal_matrix surprisal_matrix_f16(const uint16_t *data, size_t rows, size_t cols)
{
    return surprisal_matrix_of(data, SURPRISAL_DTYPE_F16, rows, cols);
}

/** A matrix `[rows x cols]` to write, row-major without padding. */
static inline surprisal_matrix_mut surprisal_matrix_mut_f32(float *data, size_t rows, size_t cols)
{
    return surprisal_matrix_mut_of(data, SURPRISAL_DTYPE_F32, rows, cols);
}

/** As surprisal_matrix_mut_f32, in bfloat16. */
static inline surprisal_matrix_mut surprisal_matrix_mut_bf16(uint16_t *data, size_t rows, size_t cols)
{
    return surprisal_matrix_mut_of(data, SURPRISAL_DTYPE_BF16, rows, cols);
}

/** As surprisal_matrix_mut_f32, in IEEE binary16. */
static inline surprisal_matrix_mut surprisal_matrix_mut_f16(uint16_t *data, size_t rows, size_t cols)
{
    return surprisal_matrix_mut_of(data, SURPRISAL_DTYPE_F16, rows, cols);
}

/** Rows `begin .. end` of a matrix, which know their place: of hidden states those of one thread, of weights a shard of the vocabulary. Calls refuse
    rows that the matrix lacks. */
static inline surprisal_matrix surprisal_matrix_rows(surprisal_matrix matrix, size_t begin, size_t end)
{
    if (matrix.rows_total == 0) {
        matrix.rows_total = matrix.rows;
    }
    if (begin > end || end > matrix.rows) {
        matrix.rows = SURPRISAL_NO_ROWS;
        return matrix;
    }
    matrix.data = (const unsigned char *)matrix.data +
                  surprisal_row_offset(matrix.dtype, matrix.row_stride, matrix.cols, begin);
    matrix.row_start += begin;
    matrix.rows = end - begin;
    return matrix;
}

/** As surprisal_matrix_rows. */
static inline surprisal_matrix_mut surprisal_matrix_mut_rows(surprisal_matrix_mut matrix, size_t begin, size_t end)
{
    if (matrix.rows_total == 0) {
        matrix.rows_total = matrix.rows;
    }
    if (begin > end || end > matrix.rows) {
        matrix.rows = SURPRISAL_NO_ROWS;
        return matrix;
    }
    matrix.data = (unsigned char *)matrix.data +
                  surprisal_row_offset(matrix.dtype, matrix.row_stride, matrix.cols, begin);
    matrix.row_start += begin;
    matrix.rows = end - begin;
    return matrix;
}

#endif /* SURPRISAL_H */
