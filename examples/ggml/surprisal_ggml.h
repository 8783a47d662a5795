/*
 * surprisal as the loss of a ggml graph, for the CPU backend. Copy surprisal_ggml.h and surprisal_ggml.c into a project
 * of your own; docs/embedding/ggml.md explains them.
 *
 *     surprisal_ggml *s = surprisal_ggml_new(&loss, rows, vocab, threads, &detail);    once
 *     surprisal_ggml_backward(ctx, graph, logits, s);                                  when the graph is built
 *     ggml_backend_cpu_set_abort_callback(backend, surprisal_ggml_failed, s);
 *
 *     status = surprisal_ggml_set_batch(s, &batch, &detail);                           in each step
 *     ggml_backend_graph_compute(backend, graph);
 *     status = surprisal_ggml_result(s, &report, &detail);
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef SURPRISAL_GGML_H
#define SURPRISAL_GGML_H

#include <ggml.h>
#include <stdbool.h>
#include <surprisal.h>

#ifdef __cplusplus
extern "C" {
#endif

/* `detail` is never NULL here. */

/* What the nodes of a graph share: the loss, the batch, and what each thread has to say. Must outlive the graph, and
 * serves one computation at a time. */
typedef struct surprisal_ggml surprisal_ggml;

/* For logits `[vocab, rows]` and at most `threads` threads. Copies `loss`, but not the class weights that it names.
 * NULL, with the reason in `detail`, where the library refuses the loss or memory is short. */
surprisal_ggml *surprisal_ggml_new(const surprisal_loss *loss, size_t rows, size_t vocab, int threads,
                                   surprisal_error_detail *detail);

void surprisal_ggml_free(surprisal_ggml *s);

/* The batch of the next computation. Copies `batch`; its arrays must live until the computation has ended. Counts what
 * a mean divides by, so that most mistakes of a batch come to light here. */
surprisal_status surprisal_ggml_set_batch(surprisal_ggml *s, const surprisal_batch *batch,
                                          surprisal_error_detail *detail);

/* What the computation has found: the report of the whole batch, or the first error of its threads. */
surprisal_status surprisal_ggml_result(const surprisal_ggml *s, surprisal_report *report,
                                       surprisal_error_detail *detail);

/* Whether a thread has failed: a ggml_abort_callback, which ends the computation before the optimizer moves a weight.
 */
bool surprisal_ggml_failed(void *s);

/* A node (three for objectives of group scope) whose data is the gradient of the loss with respect to `logits`, as f32
 * in a tensor that ggml takes for constant. */
struct ggml_tensor *surprisal_ggml_dlogits(struct ggml_context *ctx, struct ggml_tensor *logits, surprisal_ggml *s);

/* The loss as a scalar that ggml can differentiate: for ggml_opt, and wherever the loss is a term among others. */
struct ggml_tensor *surprisal_ggml_loss(struct ggml_context *ctx, struct ggml_tensor *logits, surprisal_ggml *s);

/* Builds the backward pass of `graph`, which holds the forward pass up to `logits`, from the gradient of the logits,
 * written over them. It costs nothing beyond the loss itself. `loss.grad_scale` is the upstream factor. Not to be mixed
 * with ggml_graph_reset, which knows scalar losses only. */
void surprisal_ggml_backward(struct ggml_context *ctx, struct ggml_cgraph *graph, struct ggml_tensor *logits,
                             surprisal_ggml *s);

#ifdef __cplusplus
}
#endif

#endif
