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
#define SURPRISAL_VERSION_MAJOR @MAJOR@
#define SURPRISAL_VERSION_MINOR @MINOR@
#define SURPRISAL_VERSION_PATCH @PATCH@
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
