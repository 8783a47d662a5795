/*
 * See surprisal_ggml.h.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "surprisal_ggml.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a thread leaves behind: a ggml op returns nothing. */
typedef struct slot {
    surprisal_status status;
    surprisal_report report;
    surprisal_error_detail detail;
} slot;

struct surprisal_ggml {
    surprisal_loss loss;
    surprisal_batch batch;
    surprisal_denominator denominator;
    uint32_t *sequence_tokens; /* [rows] of the denominator */
    surprisal_stats *stats;    /* [rows] what the stages of a group objective hand to each other */
    surprisal_term *terms;     /* [rows] likewise */
    surprisal_workspace workspace;
    bool is_of_group;
    atomic_bool failed;
    size_t rows, vocab;
    int threads;
    slot slots[]; /* [threads] */
};

static surprisal_status refuse(surprisal_error_detail *detail, surprisal_status status, const char *message)
{
    *detail = (surprisal_error_detail){.status = status, .index = -1};
    snprintf(detail->message, sizeof detail->message, "%s", message);
    return status;
}

static void clear_slots(surprisal_ggml *s)
{
    for (int t = 0; t < s->threads; t++) {
        s->slots[t] = (slot){.status = SURPRISAL_OK, .report = SURPRISAL_REPORT_INIT};
    }
    atomic_store(&s->failed, false);
}

/* The memory of the stages, and of a mean over sequences. */
static bool allocate(surprisal_ggml *s)
{
    s->sequence_tokens = calloc(s->rows, sizeof *s->sequence_tokens);
    if (!s->is_of_group) {
        return s->sequence_tokens != NULL;
    }
    s->stats = calloc(s->rows, sizeof *s->stats);
    s->terms = calloc(s->rows, sizeof *s->terms);
    s->workspace.data = malloc(s->workspace.size);
    return s->sequence_tokens != NULL && s->stats != NULL && s->terms != NULL && s->workspace.data != NULL;
}

surprisal_ggml *surprisal_ggml_new(const surprisal_loss *loss, size_t rows, size_t vocab, int threads,
                                   surprisal_error_detail *detail)
{
    GGML_ASSERT(rows > 0 && vocab > 0 && threads > 0);
    size_t workspace;
    if (surprisal_workspace_size(loss, rows, vocab, &workspace, detail) != SURPRISAL_OK) {
        return NULL;
    }
    surprisal_ggml *s = calloc(1, sizeof *s + (size_t)threads * sizeof *s->slots);
    if (s != NULL) {
        s->loss = *loss;
        s->batch = (surprisal_batch)SURPRISAL_BATCH_INIT;
        s->workspace = (surprisal_workspace)SURPRISAL_WORKSPACE_INIT;
        s->workspace.size = workspace;
        s->is_of_group = surprisal_objective_scope(loss->objective) == SURPRISAL_SCOPE_GROUP;
        s->rows = rows;
        s->vocab = vocab;
        s->threads = threads;
        clear_slots(s);
    }
    if (s == NULL || !allocate(s)) {
        surprisal_ggml_free(s);
        (void)refuse(detail, SURPRISAL_ERROR_UNKNOWN, "no memory");
        return NULL;
    }
    return s;
}

void surprisal_ggml_free(surprisal_ggml *s)
{
    if (s != NULL) {
        free(s->sequence_tokens);
        free(s->stats);
        free(s->terms);
        free(s->workspace.data);
        free(s);
    }
}

surprisal_status surprisal_ggml_set_batch(surprisal_ggml *s, const surprisal_batch *batch,
                                          surprisal_error_detail *detail)
{
    clear_slots(s);
    s->batch = (surprisal_batch)SURPRISAL_BATCH_INIT; /* without rows: computing it after an error is another error */
    if (batch->rows != s->rows || batch->sequence_count > s->rows) {
        return refuse(detail, SURPRISAL_ERROR_SHAPE, "rows, sequence_count: not those that the loss was made for");
    }
    if (!s->is_of_group) {
        const surprisal_status status =
            surprisal_loss_denominator(&s->loss, batch, s->vocab, s->sequence_tokens, &s->denominator, detail);
        if (status != SURPRISAL_OK) {
            return status;
        }
    }
    s->batch = *batch;
    s->batch.denominator = &s->denominator;
    return SURPRISAL_OK;
}

surprisal_status surprisal_ggml_result(const surprisal_ggml *s, surprisal_report *report,
                                       surprisal_error_detail *detail)
{
    *report = (surprisal_report)SURPRISAL_REPORT_INIT;
    for (int t = 0; t < s->threads; t++) {
        const slot *one = &s->slots[t];
        if (one->status != SURPRISAL_OK) {
            *detail = one->detail;
            return one->status;
        }
        const surprisal_status status = surprisal_report_merge(report, &one->report, detail);
        if (status != SURPRISAL_OK) {
            return status;
        }
    }
    return SURPRISAL_OK;
}

bool surprisal_ggml_failed(void *s)
{
    surprisal_ggml *mine = s;
    return atomic_load(&mine->failed);
}

/* A tensor's type is the library's: the numbers are the same. */
_Static_assert((int)GGML_TYPE_F32 == SURPRISAL_DTYPE_F32 && (int)GGML_TYPE_F16 == SURPRISAL_DTYPE_F16 &&
                   (int)GGML_TYPE_BF16 == SURPRISAL_DTYPE_BF16,
               "ggml has renumbered its types");

/* A thread's rows of the logits and of their gradient. */
typedef struct part {
    slot *mine;
    surprisal_logits z;
    surprisal_logits_mut dz;
} part;

/* False for a thread without rows. The tensors come from the op's own arguments: the scheduler and ggml_opt compute
 * copies of the nodes that were built. */
static bool take_part(part *p, surprisal_ggml *s, const struct ggml_tensor *logits, const struct ggml_tensor *dlogits,
                      int ith, int nth)
{
    const size_t parts = (size_t)(nth < s->threads ? nth : s->threads), mine = (size_t)ith;
    const size_t begin = s->rows * mine / parts, end = s->rows * (mine + 1) / parts;
    if (mine >= parts || begin == end) {
        return false;
    }
    surprisal_logits z = surprisal_logits_of(logits->data, (surprisal_dtype)logits->type, s->rows, s->vocab);
    z.row_stride = logits->nb[1] / ggml_type_size(logits->type); /* bytes to elements */
    p->mine = &s->slots[ith];
    p->z = surprisal_logits_rows(z, begin, end);
    if (dlogits != NULL) {
        surprisal_logits_mut dz = surprisal_logits_mut_f32(dlogits->data, s->rows, s->vocab);
        dz.row_stride = dlogits->nb[1] / sizeof(float);
        p->dz = surprisal_logits_mut_rows(dz, begin, end);
    }
    return true;
}

/* Keeps a thread's status, for the abort callback and surprisal_ggml_result. */
static void settle(surprisal_ggml *s, slot *mine, surprisal_status status)
{
    mine->status = status;
    if (status != SURPRISAL_OK) {
        atomic_store(&s->failed, true);
    }
}

/* Without the abort callback the rest of the graph is computed after an error, too: not with what happened to be in
 * memory. */
static void clear_gradient(const surprisal_logits_mut *dz)
{
    for (size_t row = 0; row < dz->rows; row++) {
        memset((float *)dz->data + row * dz->row_stride, 0, dz->vocab * sizeof(float));
    }
}

/* Objectives of token scope: src[0] is the logits. */
static void token_rows(struct ggml_tensor *dst, int ith, int nth, void *user)
{
    surprisal_ggml *s = user;
    part p;
    if (!take_part(&p, s, dst->src[0], dst, ith, nth)) {
        return;
    }
    settle(s, p.mine,
           surprisal_forward_backward(&s->loss, &s->batch, &p.z, &p.dz, NULL, NULL, &p.mine->report, &p.mine->detail));
    if (p.mine->status != SURPRISAL_OK) {
        clear_gradient(&p.dz);
    }
}

/* Objectives of group scope, stage 1: src[0] is the logits. */
static void stats_rows(struct ggml_tensor *dst, int ith, int nth, void *user)
{
    surprisal_ggml *s = user;
    part p;
    if (take_part(&p, s, dst->src[0], NULL, ith, nth)) {
        settle(s, p.mine, surprisal_row_stats(&s->loss, &s->batch, &p.z, s->stats, &p.mine->detail));
    }
}

/* Stage 2, all rows at once. `n_tasks` only limits the threads of the whole graph: every one of them comes here. */
static void group_terms(struct ggml_tensor *dst, int ith, int nth, void *user)
{
    (void)dst;
    (void)nth;
    surprisal_ggml *s = user;
    if (ith != 0 || atomic_load(&s->failed)) {
        return;
    }
    slot *mine = &s->slots[0];
    settle(s, mine,
           surprisal_token_terms(&s->loss, &s->batch, s->vocab, 0, s->rows, s->stats, s->terms, &s->workspace,
                                 &mine->report, &mine->detail));
}

/* Stage 3: src[0] is the logits. */
static void grad_rows(struct ggml_tensor *dst, int ith, int nth, void *user)
{
    surprisal_ggml *s = user;
    part p;
    if (!take_part(&p, s, dst->src[0], dst, ith, nth)) {
        return;
    }
    if (!atomic_load(&s->failed)) {
        settle(s, p.mine, surprisal_logits_grad(&s->loss, &s->batch, &p.z, s->stats, s->terms, &p.dz, &p.mine->detail));
    }
    if (p.mine->status != SURPRISAL_OK || atomic_load(&s->failed)) {
        clear_gradient(&p.dz);
    }
}

static void check_shape(const struct ggml_tensor *logits, const surprisal_ggml *s)
{
    GGML_ASSERT(ggml_is_matrix(logits) && "surprisal: reshape the logits to [vocab, rows]");
    GGML_ASSERT((size_t)logits->ne[0] == s->vocab && (size_t)logits->ne[1] == s->rows);
    GGML_ASSERT(logits->nb[0] == ggml_type_size(logits->type) && logits->nb[1] >= s->vocab * logits->nb[0]);
    GGML_ASSERT(logits->nb[1] % logits->nb[0] == 0);
    GGML_ASSERT((logits->type == GGML_TYPE_F32 || logits->type == GGML_TYPE_F16 || logits->type == GGML_TYPE_BF16) &&
                "surprisal: quantised logits have no gradient");
}

/* A node of one element, for what it does and for the barrier after it. */
static struct ggml_tensor *stage(struct ggml_context *ctx, struct ggml_tensor *after, ggml_custom_op_t op, int tasks,
                                 surprisal_ggml *s)
{
    return ggml_custom_4d(ctx, GGML_TYPE_I32, 1, 1, 1, 1, &after, 1, op, tasks, s);
}

/* Stages 1 and 2, or NULL for objectives of token scope, which need none. */
static struct ggml_tensor *first_stages(struct ggml_context *ctx, struct ggml_tensor *logits, surprisal_ggml *s)
{
    check_shape(logits, s);
    if (!s->is_of_group) {
        return NULL;
    }
    struct ggml_tensor *stats = stage(ctx, logits, stats_rows, GGML_N_TASKS_MAX, s);
    return stage(ctx, stats, group_terms, 1, s);
}

struct ggml_tensor *surprisal_ggml_dlogits(struct ggml_context *ctx, struct ggml_tensor *logits, surprisal_ggml *s)
{
    struct ggml_tensor *terms = first_stages(ctx, logits, s), *arguments[] = {logits, terms};
    return ggml_custom_4d(ctx, GGML_TYPE_I32, logits->ne[0], logits->ne[1], 1, 1, arguments, terms != NULL ? 2 : 1,
                          terms != NULL ? grad_rows : token_rows, GGML_N_TASKS_MAX, s);
}

/* ggml has no stop-gradient and no backward pass of custom nodes: it stops the program at one. But it passes over I32
 * nodes, and what is computed in one may be looked at as F32. */
static struct ggml_tensor *constant(struct ggml_context *ctx, struct ggml_tensor *node)
{
    struct ggml_tensor *view = ggml_view_2d(ctx, node, node->ne[0], node->ne[1], node->nb[1], 0);
    view->type = GGML_TYPE_F32;
    return view;
}

/* What is missing from sum(z dz), src[0], to the loss. */
static void loss_difference(struct ggml_tensor *dst, int ith, int nth, void *user)
{
    (void)nth;
    const surprisal_ggml *s = user;
    if (ith != 0) {
        return;
    }
    surprisal_report report;
    surprisal_error_detail detail;
    float sum = 0.0f;
    memcpy(&sum, dst->src[0]->data, sizeof sum);
    const bool is_ok = surprisal_ggml_result(s, &report, &detail) == SURPRISAL_OK;
    const float difference = (is_ok ? (float)report.loss : 0.0f) - sum;
    memcpy(dst->data, &difference, sizeof difference);
}

struct ggml_tensor *surprisal_ggml_loss(struct ggml_context *ctx, struct ggml_tensor *logits, surprisal_ggml *s)
{
    struct ggml_tensor *node = surprisal_ggml_dlogits(ctx, logits, s);
    /* sum(z dz) has the gradient dz. As a dot a row, [vocab, 1, rows] by itself, its backward pass is one product; with
     * ggml_mul it would be a sum, a repetition and a product, of which only the last uses more than one thread. */
    struct ggml_tensor *z = ggml_permute(ctx, logits, 0, 2, 1, 3);
    struct ggml_tensor *dz = ggml_permute(ctx, constant(ctx, node), 0, 2, 1, 3);
    struct ggml_tensor *sum = ggml_sum(ctx, ggml_mul_mat(ctx, dz, z));
    struct ggml_tensor *arguments[] = {sum, node};
    struct ggml_tensor *difference =
        ggml_custom_4d(ctx, GGML_TYPE_I32, 1, 1, 1, 1, arguments, 2, loss_difference, 1, s);
    return ggml_add(ctx, sum, constant(ctx, difference));
}

void surprisal_ggml_backward(struct ggml_context *ctx, struct ggml_cgraph *graph, struct ggml_tensor *logits,
                             surprisal_ggml *s)
{
    GGML_ASSERT(logits->type == GGML_TYPE_F32);
    struct ggml_tensor *terms = first_stages(ctx, logits, s);
    struct ggml_tensor *dlogits = ggml_custom_inplace(ctx, logits, &terms, terms != NULL ? 1 : 0,
                                                      terms != NULL ? grad_rows : token_rows, GGML_N_TASKS_MAX, s);
    /* The accumulator of the logits' gradient is the gradient itself. */
    const int nodes = ggml_graph_n_nodes(graph);
    struct ggml_tensor **accumulators = calloc((size_t)nodes, sizeof *accumulators);
    GGML_ASSERT(accumulators != NULL);
    bool found = false;
    for (int i = 0; i < nodes; i++) {
        if (ggml_graph_node(graph, i) == logits) {
            accumulators[i] = dlogits;
            found = true;
        }
    }
    GGML_ASSERT(found && "surprisal: the graph does not hold the logits");
    logits->flags |= GGML_TENSOR_FLAG_LOSS; /* ggml wants one; ggml_set_loss takes scalars only */
    ggml_build_backward_expand(ctx, graph, accumulators);
    free(accumulators);
}
