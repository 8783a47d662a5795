/* The ways of the ABI to a loss and its gradient: in one call or in stages, rows by ranges, columns by shards. */
#ifndef WAYS_H
#define WAYS_H

#include "case.h"
#include "matrix.h"

/* How a loss and its gradient are computed. */
typedef struct way {
    const char *name;
    enum { COMPOSED, STAGED } calls;
    int in_place;
    /* Rows of a call, 0 for all, -1 for all but one; vocabulary shards, and how they merge. */
    int range;
    size_t shards;
    enum { MERGE, REBASE } merge;
    /* Elements between the rows of the logits; the result has two more. */
    size_t padding;
    /* Targets and sequences as int64_t. */
    int wide;
    /* Whether a workspace is lent where none is needed, and bytes more than it takes. */
    int workspace;
    size_t spare;
} way;

static const way ways[] = {
    {"whole", COMPOSED, 0, 0, 1, MERGE, 0, 0, 0, 0},
    {"int64_t", COMPOSED, 0, 0, 1, MERGE, 0, 1, 0, 0},
    {"padded", COMPOSED, 0, 0, 1, MERGE, 3, 0, 0, 0},
    {"in place", COMPOSED, 1, 0, 1, MERGE, 0, 0, 0, 0},
    {"in place, padded", COMPOSED, 1, 0, 1, MERGE, 5, 1, 0, 0},
    {"rows one by one", COMPOSED, 0, 1, 1, MERGE, 0, 0, 0, 0},
    {"ranges of 3 rows", COMPOSED, 0, 3, 1, MERGE, 1, 1, 0, 0},
    {"all rows but one", COMPOSED, 0, -1, 1, MERGE, 0, 0, 0, 0},
    {"ranges of 3 rows in place", COMPOSED, 1, 3, 1, MERGE, 2, 0, 0, 0},
    {"workspace", COMPOSED, 0, 0, 1, MERGE, 0, 0, 1, 0},
    {"workspace in place, padded", COMPOSED, 1, 0, 1, MERGE, 3, 0, 1, 0},
    {"ranges of 3 rows, workspace to spare", COMPOSED, 0, 3, 1, MERGE, 1, 1, 1, 100},
    {"staged", STAGED, 0, 0, 1, MERGE, 0, 0, 0, 0},
    {"staged by 3 rows", STAGED, 0, 3, 1, MERGE, 1, 1, 0, 0},
    {"staged in place", STAGED, 1, 0, 1, MERGE, 0, 0, 0, 0},
    {"2 shards", STAGED, 0, 0, 2, MERGE, 0, 0, 0, 0},
    {"3 shards in place by 3 rows", STAGED, 1, 3, 3, MERGE, 1, 1, 0, 0},
    {"2 shards rebased", STAGED, 0, 0, 2, REBASE, 0, 0, 0, 0},
    {"3 shards rebased", STAGED, 0, 3, 3, REBASE, 3, 0, 0, 0},
};

/* What a way returns. */
typedef struct outcome {
    surprisal_report report;
    surprisal_outputs outputs;
    matrix dlogits;
} outcome;

static matrix new_matrix(const test_case *c, int32_t dtype, size_t padding)
{
    matrix m = {NULL, dtype, c->rows, c->vocab, c->vocab + padding};
    m.bytes = allocate(matrix_bytes(&m), 1);
    memset(m.bytes, CANARY, matrix_bytes(&m));
    return m;
}

static matrix logits_of(const test_case *c, int32_t dtype, size_t padding)
{
    matrix m = new_matrix(c, dtype, padding);
    for (size_t i = 0; i < c->rows * c->vocab; i++) {
        put(&m, i / c->vocab, i % c->vocab, (float)c->arrays[LOGITS][i]);
    }
    return m;
}

static surprisal_outputs new_outputs(const test_case *c)
{
    surprisal_outputs o = SURPRISAL_OUTPUTS_INIT;
    o.stats = allocate(c->rows, sizeof *o.stats);
    o.terms = allocate(c->rows, sizeof *o.terms);
    o.nll = allocate(c->rows, sizeof *o.nll);
    o.log_probs = allocate(c->rows, sizeof *o.log_probs);
    return o;
}

/* Whether the objective looks at all rows, and so needs a workspace. */
static int needs_whole(const test_case *c)
{
    return surprisal_objective_scope(c->loss.objective) != SURPRISAL_SCOPE_TOKEN;
}

/* As much as a call on some rows takes; what it holds does not matter. */
static surprisal_workspace new_workspace(const test_case *c, size_t rows, size_t spare)
{
    surprisal_workspace workspace = SURPRISAL_WORKSPACE_INIT;
    CHECK_OK(surprisal_workspace_size(&c->loss, rows, c->vocab, &workspace.size, NULL));
    workspace.size += spare;
    workspace.data = allocate(workspace.size, 1);
    memset(workspace.data, 0xff, workspace.size);
    return workspace;
}

/* The denominators of the whole batch, for ranges of its rows. */
static surprisal_denominator *new_denominator(const test_case *c, const surprisal_batch *b)
{
    surprisal_denominator *denominator = allocate(1, sizeof *denominator);
    uint32_t *tokens = allocate(b->sequence_count, sizeof *tokens);
    CHECK_OK(surprisal_loss_denominator(&c->loss, b, c->vocab, tokens, denominator, NULL));
    return denominator;
}

static surprisal_batch wide_batch(const test_case *c)
{
    surprisal_batch b = c->batch;
    b.targets_i32 = b.cu_seqlens_i32 = NULL;
    b.targets_i64 = as_i64(c, TARGETS);
    b.cu_seqlens_i64 = as_i64(c, CU_SEQLENS);
    return b;
}

/* Rows of a call; all but one are followed by a call with the last. */
static size_t range_of(const way *w, const test_case *c)
{
    size_t all_but_one = c->rows > 1 ? c->rows - 1 : 1;
    return w->range == 0 ? c->rows : w->range < 0 ? all_but_one : (size_t)w->range;
}

/* Moves on to the next range of rows; begin with zeros. */
static int next_rows(const way *w, const test_case *c, part *p)
{
    size_t rows = range_of(w, c);
    p->row += p->rows;
    p->rows = rows < c->rows - p->row ? rows : c->rows - p->row;
    p->columns = c->vocab;
    return p->rows > 0;
}

static part shard_of(const way *w, part p, size_t vocab, size_t s)
{
    size_t shards = w->shards < vocab ? w->shards : vocab;
    p.column = s * vocab / shards;
    p.columns = (s + 1) * vocab / shards - p.column;
    return p;
}

static void add_report(surprisal_report *sum, const surprisal_report *range)
{
    CHECK_OK(surprisal_report_merge(sum, range, NULL));
}

/* One call a range of rows. Objectives of group scope refuse ranges. */
static surprisal_status compose(const test_case *c, const way *w, const surprisal_batch *b, const matrix *z, outcome *o)
{
    surprisal_status status = SURPRISAL_OK;
    surprisal_workspace workspace = new_workspace(c, range_of(w, c), w->spare);
    const surprisal_workspace *lent = w->workspace || needs_whole(c) ? &workspace : NULL;
    for (part p = {0}; next_rows(w, c, &p);) {
        surprisal_logits logits = view(z, p);
        surprisal_logits_mut dlogits = view_mut(&o->dlogits, p);
        surprisal_report report = SURPRISAL_REPORT_INIT;
        status = surprisal_forward_backward(&c->loss, b, &logits, &dlogits, &o->outputs, lent, &report, NULL);
        if (status != SURPRISAL_OK) {
            return status;
        }
        add_report(&o->report, &report);
    }
    return status;
}

/* Adds the statistics of a shard to those of all, by MAX and SUM. */
static void add_rebased(surprisal_stats *all, surprisal_stats *shard, size_t rows)
{
    double *max = allocate(rows, sizeof(double));
    for (size_t i = 0; i < rows; i++) {
        max[i] = fmax(all[i].max, shard[i].max);
    }
    CHECK_OK(surprisal_stats_rebase(all, max, rows, NULL));
    CHECK_OK(surprisal_stats_rebase(shard, max, rows, NULL));
    for (size_t i = 0; i < rows; i++) {
        all[i].others += shard[i].others;
        all[i].target_logit += shard[i].target_logit;
        all[i].sum_logits += shard[i].sum_logits;
        all[i].sum_exp_logits += shard[i].sum_exp_logits;
        all[i].sum_exp_squared += shard[i].sum_exp_squared;
    }
}

/* Stage 1 over all shards. */
static void stage1(const test_case *c, const way *w, const surprisal_batch *b, const matrix *z, outcome *o)
{
    static const surprisal_stats empty = SURPRISAL_STATS_EMPTY;
    surprisal_stats *shard = allocate(c->rows, sizeof *shard);
    for (size_t i = 0; i < c->rows; i++) {
        o->outputs.stats[i] = empty;
    }
    for (size_t s = 0; s < w->shards && s < c->vocab; s++) {
        for (part p = {0}; next_rows(w, c, &p);) {
            surprisal_logits logits = view(z, shard_of(w, p, c->vocab, s));
            CHECK_OK(surprisal_row_stats(&c->loss, b, &logits, shard, NULL));
        }
        if (w->merge == MERGE) {
            CHECK_OK(surprisal_stats_merge(shard, o->outputs.stats, c->rows, NULL));
        } else {
            add_rebased(o->outputs.stats, shard, c->rows);
        }
    }
}

/* Stage 2: by ranges of rows where the objective allows it. */
static void stage2(const test_case *c, const way *w, const surprisal_batch *b, outcome *o)
{
    const surprisal_stats *stats = o->outputs.stats;
    surprisal_term *terms = o->outputs.terms;
    surprisal_workspace workspace = new_workspace(c, c->rows, w->spare);
    const surprisal_workspace *lent = needs_whole(c) ? &workspace : NULL;
    surprisal_status status = SURPRISAL_OK;
    for (part p = {0}; next_rows(w, c, &p);) {
        surprisal_report report = SURPRISAL_REPORT_INIT;
        status = surprisal_token_terms(&c->loss, b, c->vocab, p.row, p.rows, stats, terms, lent, &report, NULL);
        if (status == SURPRISAL_ERROR_NEEDS_WHOLE) {
            break;
        }
        CHECK_OK(status);
        add_report(&o->report, &report);
    }
    if (status == SURPRISAL_ERROR_NEEDS_WHOLE) {
        CHECK_OK(surprisal_token_terms(&c->loss, b, c->vocab, 0, c->rows, stats, terms, lent, &o->report, NULL));
    }
}

static void staged(const test_case *c, const way *w, const surprisal_batch *b, const matrix *z, outcome *o)
{
    stage1(c, w, b, z, o);
    stage2(c, w, b, o);
    for (size_t s = 0; s < w->shards && s < c->vocab; s++) {
        for (part p = {0}; next_rows(w, c, &p);) {
            surprisal_logits logits = view(z, shard_of(w, p, c->vocab, s));
            surprisal_logits_mut dlogits = view_mut(&o->dlogits, shard_of(w, p, c->vocab, s));
            CHECK_OK(surprisal_logits_grad(&c->loss, b, &logits, o->outputs.stats, o->outputs.terms, &dlogits, NULL));
        }
    }
    for (size_t i = 0; i < c->rows; i++) {
        double nll = is_ignored(c, i) ? 0 : surprisal_stats_nll(&o->outputs.stats[i]);
        o->outputs.nll[i] = (float)nll;
        o->outputs.log_probs[i] = (float)-nll;
    }
}

static outcome run(const test_case *c, const way *w, int32_t logits_type, int32_t result_type)
{
    static const surprisal_report empty = SURPRISAL_REPORT_INIT;
    surprisal_batch batch = w->wide ? wide_batch(c) : c->batch;
    matrix z = logits_of(c, logits_type, w->padding), before = logits_of(c, logits_type, w->padding);
    outcome o = {empty, new_outputs(c), w->in_place ? z : new_matrix(c, result_type, w->padding + 2)};
    surprisal_status status = SURPRISAL_ERROR_NEEDS_WHOLE;
    batch.denominator = w->range == 0 ? NULL : new_denominator(c, &batch);
    if (w->calls == COMPOSED) {
        status = compose(c, w, &batch, &z, &o);
    }
    if (w->calls == STAGED || (w->range != 0 && status == SURPRISAL_ERROR_NEEDS_WHOLE)) {
        staged(c, w, &batch, &z, &o);
    } else {
        CHECK_OK(status);
    }
    CHECK(padding_survived(&o.dlogits), "padding was written");
    if (!w->in_place) {
        CHECK_BYTES(z.bytes, before.bytes, matrix_bytes(&z));
    }
    return o;
}

#endif
