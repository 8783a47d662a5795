/* Threads that share a batch by ranges of rows: the bits of one call, and sums that add up; and a matrix by its columns. Data races: sanitize.sh. */
#include <pthread.h>

#include "check.h"
#include "surprisal.h"

enum { ROWS = 37, VOCAB = 257, MOST_THREADS = 8 };

static float logits[ROWS][VOCAB];
static int32_t targets[ROWS];
static const int32_t offsets[] = {0, 5, 6, 20, 36, ROWS};
static surprisal_loss loss = SURPRISAL_LOSS_INIT;
static surprisal_batch batch = SURPRISAL_BATCH_INIT;
static surprisal_denominator denominator;
/* Side inputs: each thread writes those of its own rows before it computes, while others compute theirs. */
static float token_weights[ROWS], ref_log_probs[ROWS];
static uint32_t sequence_tokens[5];

/* What the threads of one run write. */
struct result {
    float dlogits[ROWS][VOCAB], nll[ROWS], weights[ROWS];
    surprisal_stats stats[ROWS];
    surprisal_term terms[ROWS];
    surprisal_report report;
};

/* One thread's rows. */
struct work {
    enum { COMPOSED, STATS, GRAD } stage;
    int in_place;
    size_t begin, end;
    struct result *result;
    surprisal_report report;
    surprisal_status status;
    /* Enough for a row of the vocabulary, and for all rows of an objective of a group. */
    double workspace[20 * ROWS];
};

static void *work_on(void *argument)
{
    struct work *w = argument;
    struct result *r = w->result;
    surprisal_outputs outputs = {sizeof outputs, r->stats, r->terms, NULL, r->nll, NULL, NULL, r->weights, NULL, NULL};
    surprisal_workspace workspace = {sizeof workspace, w->workspace, sizeof w->workspace};
    for (size_t row = w->begin; row < w->end; row++) {
        token_weights[row] = 0.5F + (float)(row % 3);
        ref_log_probs[row] = -1;
    }
    surprisal_logits z = surprisal_logits_f32(w->in_place ? r->dlogits[0] : logits[0], ROWS, VOCAB);
    surprisal_logits_mut dz = surprisal_logits_mut_f32(r->dlogits[0], ROWS, VOCAB);
    z = surprisal_logits_rows(z, w->begin, w->end);
    dz = surprisal_logits_mut_rows(dz, w->begin, w->end);
    switch (w->stage) {
    case COMPOSED: w->status = surprisal_forward_backward(&loss, &batch, &z, &dz, &outputs, &workspace, &w->report, NULL); break;
    case STATS: w->status = surprisal_row_stats(&loss, &batch, &z, r->stats, NULL); break;
    case GRAD: w->status = surprisal_logits_grad(&loss, &batch, &z, r->stats, r->terms, &dz, NULL); break;
    }
    return NULL;
}

/* Runs a stage over all rows on some threads; with a mistake, two of them have a row in common. */
static void run(int stage, int in_place, size_t threads, struct result *result, int mistake)
{
    static const surprisal_report empty = SURPRISAL_REPORT_INIT;
    pthread_t handles[MOST_THREADS];
    struct work work[MOST_THREADS];
    for (size_t i = 0; i < threads; i++) {
        size_t begin = i * ROWS / threads, end = (i + 1) * ROWS / threads;
        end += mistake && i == 0;
        work[i] = (struct work){stage, in_place, begin, end, result, empty, SURPRISAL_ERROR_UNKNOWN, {0}};
        CHECK_EQUAL(pthread_create(&handles[i], NULL, work_on, &work[i]), 0);
    }
    result->report = empty;
    for (size_t i = 0; i < threads; i++) {
        CHECK_EQUAL(pthread_join(handles[i], NULL), 0);
        CHECK_OK(work[i].status);
        CHECK_OK(surprisal_report_merge(&result->report, &work[i].report, NULL));
    }
}

static void fill(struct result *result, int in_place)
{
    memset(result, 0x5c, sizeof *result);
    if (in_place) {
        memcpy(result->dlogits, logits, sizeof logits);
    }
}

static void check_same(const struct result *actual, const struct result *expected)
{
    const surprisal_report *a = &actual->report, *e = &expected->report;
    CHECK_BYTES(actual->dlogits, expected->dlogits, sizeof actual->dlogits);
    CHECK_BYTES(actual->stats, expected->stats, sizeof actual->stats);
    CHECK_BYTES(actual->terms, expected->terms, sizeof actual->terms);
    CHECK_EQUAL(a->tokens, e->tokens);
    CHECK_EQUAL(a->correct, e->correct);
    CHECK_CLOSE(a->loss, e->loss, 1e-13 * e->loss);
    CHECK_CLOSE(a->loss_sum, e->loss_sum, 1e-13 * e->loss_sum);
    CHECK_CLOSE(a->nll_sum, e->nll_sum, 1e-13 * e->nll_sum);
    CHECK_CLOSE(a->weight_sum, e->weight_sum, 0);
}

/* dft, mean over the sequences: each thread does all of its rows. */
static void composed(size_t threads, const struct result *expected)
{
    static struct result result;
    loss.objective = SURPRISAL_OBJECTIVE_DFT;
    for (int in_place = 0; in_place < 2; in_place++) {
        snprintf(subject, sizeof subject, "dft, %zu threads, in place %d", threads, in_place);
        fill(&result, in_place);
        run(COMPOSED, in_place, threads, &result, 0);
        check_same(&result, expected);
        CHECK_BYTES(result.nll, expected->nll, sizeof result.nll);
        CHECK_BYTES(result.weights, expected->weights, sizeof result.weights);
    }
}

/* talr-auto: statistics and gradient by threads, the terms of the whole batch by one. */
static void staged(size_t threads, const struct result *expected)
{
    static struct result result;
    loss.objective = SURPRISAL_OBJECTIVE_TALR_AUTO;
    for (int in_place = 0; in_place < 2; in_place++) {
        snprintf(subject, sizeof subject, "talr-auto, %zu threads, in place %d", threads, in_place);
        fill(&result, in_place);
        surprisal_report report = SURPRISAL_REPORT_INIT;
        static double memory[ROWS * 16];
        surprisal_workspace workspace = {sizeof workspace, memory, sizeof memory};
        run(STATS, in_place, threads, &result, 0);
        CHECK_OK(surprisal_token_terms(&loss, &batch, VOCAB, 0, ROWS, result.stats, result.terms, &workspace, &report,
                                       NULL));
        run(GRAD, in_place, threads, &result, 0);
        result.report = report;
        check_same(&result, expected);
    }
}

/* One thread's columns of a matrix: a shard of the vocabulary between those of the others. */
struct shard {
    size_t begin, end;
    struct result *result;
    surprisal_stats stats[ROWS];
    surprisal_status status;
};

static void *stats_of_shard(void *argument)
{
    struct shard *s = argument;
    surprisal_logits z = surprisal_logits_f32(s->result->dlogits[0] + s->begin, ROWS, s->end - s->begin);
    z.row_stride = VOCAB;
    z = surprisal_logits_shard(z, s->begin, VOCAB);
    s->status = surprisal_row_stats(&loss, &batch, &z, s->stats, NULL);
    return NULL;
}

/* In place, so that between two rows that one thread writes others write theirs. */
static void *grad_of_shard(void *argument)
{
    struct shard *s = argument;
    surprisal_logits_mut dz = surprisal_logits_mut_f32(s->result->dlogits[0] + s->begin, ROWS, s->end - s->begin);
    dz.row_stride = VOCAB;
    dz = surprisal_logits_mut_shard(dz, s->begin, VOCAB);
    surprisal_logits z = surprisal_logits_of_mut(dz);
    s->status = surprisal_logits_grad(&loss, &batch, &z, s->result->stats, s->result->terms, &dz, NULL);
    return NULL;
}

static void each_shard(struct shard *shards, size_t threads, void *(*work)(void *))
{
    pthread_t handles[MOST_THREADS];
    for (size_t i = 0; i < threads; i++) {
        CHECK_EQUAL(pthread_create(&handles[i], NULL, work, &shards[i]), 0);
    }
    for (size_t i = 0; i < threads; i++) {
        CHECK_EQUAL(pthread_join(handles[i], NULL), 0);
        CHECK_OK(shards[i].status);
    }
}

static void columns(size_t threads, const struct result *expected)
{
    static struct result result;
    static struct shard shards[MOST_THREADS];
    surprisal_report report;
    loss.objective = SURPRISAL_OBJECTIVE_DFT;
    snprintf(subject, sizeof subject, "dft, columns of %zu threads", threads);
    fill(&result, 1);
    for (size_t i = 0; i < threads; i++) {
        shards[i].begin = i * VOCAB / threads;
        shards[i].end = (i + 1) * VOCAB / threads;
        shards[i].result = &result;
    }
    each_shard(shards, threads, stats_of_shard);
    CHECK_OK(surprisal_stats_init(result.stats, ROWS, NULL));
    for (size_t i = 0; i < threads; i++) {
        CHECK_OK(surprisal_stats_merge(shards[i].stats, result.stats, ROWS, NULL));
    }
    CHECK_OK(surprisal_token_terms(&loss, &batch, VOCAB, 0, ROWS, result.stats, result.terms, NULL, &report, NULL));
    each_shard(shards, threads, grad_of_shard);
    CHECK_CLOSE(report.loss, expected->report.loss, 1e-6 * expected->report.loss);
    for (size_t i = 0; i < (size_t)ROWS * VOCAB; i++) {
        double entry = (double)expected->dlogits[i / VOCAB][i % VOCAB];
        CHECK_CLOSE((double)result.dlogits[i / VOCAB][i % VOCAB], entry, 1e-5 * fabs(entry));
    }
}

int main(int count, char **arguments)
{
    static struct result dft, talr, raced;
    static const size_t threads[] = {1, 2, 3, MOST_THREADS};
    for (size_t i = 0; i < (size_t)ROWS * VOCAB; i++) {
        logits[i / VOCAB][i % VOCAB] = 4 * sinf((float)(i * i % 1009));
    }
    for (int32_t row = 0; row < ROWS; row++) {
        targets[row] = row % 9 == 4 ? -100 : row * 41 % VOCAB;
    }
    batch.rows = ROWS;
    batch.targets_i32 = targets;
    batch.sequence_count = LENGTH(offsets) - 1;
    batch.cu_seqlens_i32 = offsets;
    batch.token_weights = token_weights;
    batch.ref_log_probs = ref_log_probs;
    loss.reduction = SURPRISAL_REDUCTION_MEAN_SEQUENCES;
    CHECK_OK(surprisal_loss_denominator(&loss, &batch, VOCAB, sequence_tokens, &denominator, NULL));
    batch.denominator = &denominator;
    /* The first calls of all are at the same time. */
    loss.objective = SURPRISAL_OBJECTIVE_DFT;
    fill(&raced, 0);
    run(COMPOSED, 0, MOST_THREADS, &raced, count > 1 && strcmp(arguments[1], "race") == 0);
    fill(&dft, 0);
    run(COMPOSED, 0, 1, &dft, 0);
    check_same(&raced, &dft);
    loss.objective = SURPRISAL_OBJECTIVE_TALR_AUTO;
    fill(&talr, 0);
    run(COMPOSED, 0, 1, &talr, 0);
    for (size_t i = 0; i < LENGTH(threads); i++) {
        composed(threads[i], &dft);
        staged(threads[i], &talr);
        columns(threads[i], &dft);
    }
    return finish("threads");
}
