/*
 * The loss of tensor parallelism: each rank has all rows of the logits and a shard of the vocabulary.
 *
 * The statistics of a row (six doubles) are a monoid, so that one collective over them makes the loss whole. After it
 * each rank has the terms of all rows, and the gradient of its shard is local, in place of its logits. Two ways to
 * combine the statistics:
 *
 *   merge    one MPI_Allreduce, whose operation is surprisal_stats_merge
 *   rebase   for collectives that have MAX and SUM only, as NCCL's: MAX of the maxima, surprisal_stats_rebase to them,
 *            SUM of the rest
 *
 * Every rank compares its part with the same call over the whole matrix.
 *
 *   mpicc -std=c11 -O3 vocab_parallel.c $(pkg-config --cflags --libs surprisal) -lm -o vocab_parallel
 *   mpirun -n 4 ./vocab_parallel
 *
 * MPI's own errors end the program: that is the default of MPI_COMM_WORLD.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <math.h>
#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <surprisal.h>

enum { ROWS = 128, VOCAB = 32000, SEQUENCES = 4 };

/* Doubles that a row's statistics have. */
enum { DOUBLES = sizeof(surprisal_stats) / sizeof(double) };

/* A rank's part of the vocabulary, and the whole of it to compare with. */
typedef struct shard {
    int rank, ranks;
    size_t begin, vocab;
    float *logits; /* [ROWS x vocab], later their gradient */
    float *whole, *dwhole; /* [ROWS x VOCAB] */
    surprisal_stats stats[ROWS];
    surprisal_term terms[ROWS];
} shard;

/* What to compute. */
static const struct example {
    int32_t objective;
    float label_smoothing;
    int ignore_every; /* rows; 0 for none */
} EXAMPLES[] = {
    {SURPRISAL_OBJECTIVE_SFT, 0.1f, 5},
    {SURPRISAL_OBJECTIVE_DFT, 0.0f, 0},
    {SURPRISAL_OBJECTIVE_TALR_AUTO, 0.0f, 0},
    {SURPRISAL_OBJECTIVE_EAFT, 0.0f, 0}, /* the statistics hold the entropy, too */
};

/* How a result differs from the unsharded one. */
typedef struct difference {
    double loss;
    double gradient; /* of the entry that differs most */
    double share; /* the largest difference as a share of what rounding allows it */
    double stats; /* rows whose statistics are not those of rank 0 */
} difference;

static void stop(const char *message)
{
    fprintf(stderr, "vocab_parallel: %s\n", message);
    MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
}

static void expect_ok(surprisal_status status, const surprisal_error_detail *detail)
{
    if (status != SURPRISAL_OK) {
        stop(detail->message);
    }
}

static float *allocate(size_t count)
{
    float *memory = malloc(count * sizeof *memory);
    if (memory == NULL) {
        stop("no memory");
    }
    return memory;
}

/* The class that a row should predict. */
static size_t target_of(size_t row)
{
    return row * 7919 % VOCAB;
}

/* A logit, of no model: a hash of its place, in -8 .. 8. Some rows know their target better than others. */
static float logit(size_t row, size_t class)
{
    const double knows = class == target_of(row) ? (double)(row % 16) : 0.0;
    uint64_t z = (row * VOCAB + class + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (float)((double)(z >> 11) * 0x1p-49 - 8.0 + knows);
}

static void fill(float *logits, size_t begin, size_t vocab)
{
    for (size_t row = 0; row < ROWS; row++) {
        for (size_t j = 0; j < vocab; j++) {
            logits[row * vocab + j] = logit(row, begin + j);
        }
    }
}

/* (a) The statistics of all shards by one collective, with an operation of our own. */
static void merge_op(void *part, void *merged, int *count, MPI_Datatype *type)
{
    (void)type;
    if (surprisal_stats_merge(part, merged, (size_t)*count, NULL) != SURPRISAL_OK) {
        stop("surprisal_stats_merge failed");
    }
}

static void combine_by_merge(surprisal_stats *stats)
{
    MPI_Datatype type;
    MPI_Op op;
    MPI_Type_contiguous(DOUBLES, MPI_DOUBLE, &type);
    MPI_Type_commit(&type);
    MPI_Op_create(merge_op, 1, &op);
    MPI_Allreduce(MPI_IN_PLACE, stats, ROWS, type, op, MPI_COMM_WORLD);
    MPI_Op_free(&op);
    MPI_Type_free(&type);
}

/* (b) The same by MAX and SUM. The sum of the maxima has no meaning: they are put back. */
static void combine_by_rebase(surprisal_stats *stats)
{
    double max[ROWS];
    for (size_t row = 0; row < ROWS; row++) {
        max[row] = stats[row].max;
    }
    MPI_Allreduce(MPI_IN_PLACE, max, ROWS, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    surprisal_error_detail detail;
    expect_ok(surprisal_stats_rebase(stats, max, ROWS, &detail), &detail);
    MPI_Allreduce(MPI_IN_PLACE, stats, DOUBLES * ROWS, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    for (size_t row = 0; row < ROWS; row++) {
        stats[row].max = max[row];
    }
}

/* Memory for objectives of the batch, as much as they take. */
static surprisal_workspace lend(const surprisal_loss *loss)
{
    static double memory[12 * ROWS + VOCAB / 2];
    surprisal_workspace workspace = {sizeof workspace, memory, 0};
    surprisal_error_detail detail;
    expect_ok(surprisal_workspace_size(loss, ROWS, VOCAB, &workspace.size, &detail), &detail);
    if (workspace.size > sizeof memory) {
        stop("the workspace is too small");
    }
    return workspace;
}

typedef void combine_function(surprisal_stats *stats);

/* What a trainer does: the loss of the whole batch on every rank, and the gradient over the shard's logits. */
static surprisal_report sharded(shard *s, const surprisal_loss *loss, const surprisal_batch *batch,
                                combine_function *combine)
{
    const surprisal_logits_mut dz = surprisal_logits_mut_shard(
        surprisal_logits_mut_f32(s->logits, ROWS, s->vocab), s->begin, VOCAB);
    const surprisal_logits z = surprisal_logits_shard(surprisal_logits_f32(s->logits, ROWS, s->vocab), s->begin, VOCAB);
    surprisal_report report = SURPRISAL_REPORT_INIT;
    surprisal_error_detail detail;
    expect_ok(surprisal_row_stats(loss, batch, &z, s->stats, &detail), &detail);
    combine(s->stats);
    const surprisal_workspace workspace = lend(loss);
    expect_ok(surprisal_token_terms(loss, batch, VOCAB, 0, ROWS, s->stats, s->terms, &workspace, &report, &detail),
              &detail);
    expect_ok(surprisal_logits_grad(loss, batch, &z, s->stats, s->terms, &dz, &detail), &detail);
    return report;
}

/* The same without shards. */
static surprisal_report unsharded(shard *s, const surprisal_loss *loss, const surprisal_batch *batch)
{
    const surprisal_logits z = surprisal_logits_f32(s->whole, ROWS, VOCAB);
    const surprisal_logits_mut dz = surprisal_logits_mut_f32(s->dwhole, ROWS, VOCAB);
    const surprisal_workspace workspace = lend(loss);
    surprisal_report report = SURPRISAL_REPORT_INIT;
    surprisal_error_detail detail;
    expect_ok(surprisal_forward_backward(loss, batch, &z, &dz, NULL, &workspace, &report, &detail), &detail);
    return report;
}

/* The logits of a row lie within this of each other. */
static const double SPREAD = 32.0;

/* What rounding may make of a loss. Exponentials are taken in f32, and where the vocabulary is cut decides how they
 * round: either result has -ln p within the library's bound, and no objective here moves by more than -ln p does. */
static double allowed_of_loss(const surprisal_report *report)
{
    return 2.0 * 0x1p-23 * (4.0 + SPREAD) * (surprisal_report_mean_nll(report) + fabs(report->loss));
}

/* And of a gradient entry: the library's bound for either result, of the entry and of the uniform part that label
 * smoothing takes from it; what the error of ln p does to a coefficient that follows p; and what is left where all of
 * that vanishes. */
static double allowed_of_gradient(const shard *s, const struct example *example, size_t row, size_t class)
{
    const surprisal_stats *stats = &s->stats[row];
    const double z = s->whole[row * VOCAB + class], entry = fabs((double)s->dwhole[row * VOCAB + class]);
    const double uniform = (double)example->label_smoothing * fabs(s->terms[row].dense) / VOCAB;
    const double of_p = (4.0 + stats->max - stats->target_logit) * surprisal_stats_nll(stats);
    const double moved = example->objective == SURPRISAL_OBJECTIVE_SFT ? 0.0 : of_p;
    return 2.0 * 0x1p-23 * (4.0 + fabs(z - stats->max) + moved) * (entry + uniform) + 1e-38;
}

/* 1 at the limit; NaN is as far apart as can be. */
static double share_of(double apart, double most)
{
    return apart == 0.0 ? 0.0 : apart <= most ? apart / most : INFINITY;
}

static void compare_gradients(const shard *s, const struct example *example, const int32_t *targets, difference *d)
{
    for (size_t row = 0; row < ROWS; row++) {
        for (size_t j = 0; j < s->vocab; j++) {
            const size_t class = s->begin + j;
            const double apart = fabs((double)s->logits[row * s->vocab + j] - (double)s->dwhole[row * VOCAB + class]);
            const double most = targets[row] < 0 ? 0.0 : allowed_of_gradient(s, example, row, class);
            d->gradient = fmax(d->gradient, apart);
            d->share = fmax(d->share, share_of(apart, most));
        }
    }
}

static void compare_statistics(const shard *s, difference *d)
{
    surprisal_stats first[ROWS];
    memcpy(first, s->stats, sizeof first);
    MPI_Bcast(first, DOUBLES * ROWS, MPI_DOUBLE, 0, MPI_COMM_WORLD);
    for (size_t row = 0; row < ROWS; row++) {
        d->stats += memcmp(&first[row], &s->stats[row], sizeof first[row]) != 0;
    }
}

/* Runs an example in one way; true if all ranks found what they should. */
static bool run(shard *s, const struct example *example, const char *way, combine_function *combine)
{
    int32_t targets[ROWS], offsets[SEQUENCES + 1];
    for (int row = 0; row < ROWS; row++) {
        const bool is_ignored = example->ignore_every > 0 && row % example->ignore_every == 0;
        targets[row] = is_ignored ? -100 : (int32_t)target_of((size_t)row);
    }
    for (int i = 0; i <= SEQUENCES; i++) {
        offsets[i] = i * ROWS / SEQUENCES;
    }
    surprisal_batch batch = SURPRISAL_BATCH_INIT;
    batch.rows = ROWS;
    batch.targets_i32 = targets;
    batch.cu_seqlens_i32 = offsets;
    batch.sequence_count = SEQUENCES;
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    loss.objective = example->objective;
    loss.label_smoothing = example->label_smoothing;

    fill(s->logits, s->begin, s->vocab);
    const surprisal_report expected = unsharded(s, &loss, &batch);
    const surprisal_report found = sharded(s, &loss, &batch, combine);
    difference d = {.loss = fabs(found.loss - expected.loss)};
    d.share = share_of(d.loss, allowed_of_loss(&expected));
    compare_gradients(s, example, targets, &d);
    compare_statistics(s, &d);
    MPI_Allreduce(MPI_IN_PLACE, &d, 4, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    const bool is_right = d.share <= 1.0 && d.stats == 0.0;
    if (s->rank == 0) {
        printf("%-10s %-7s %.12f %9.1e %9.1e %9.2f %6.0f  %s\n", surprisal_enum_name("objective", loss.objective), way,
               found.loss, d.loss, d.gradient, d.share, d.stats, is_right ? "ok" : "WRONG");
    }
    return is_right;
}

int main(int count, char **arguments)
{
    MPI_Init(&count, &arguments);
    static shard s;
    MPI_Comm_rank(MPI_COMM_WORLD, &s.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &s.ranks);
    s.begin = (size_t)VOCAB * (size_t)s.rank / (size_t)s.ranks;
    s.vocab = (size_t)VOCAB * (size_t)(s.rank + 1) / (size_t)s.ranks - s.begin;
    s.logits = allocate(ROWS * s.vocab);
    s.whole = allocate((size_t)ROWS * VOCAB);
    s.dwhole = allocate((size_t)ROWS * VOCAB);
    fill(s.whole, 0, VOCAB);
    if (s.rank == 0) {
        puts("objective  way     loss           differs  gradient  of bound  stats");
    }
    bool is_right = true;
    for (size_t i = 0; i < sizeof EXAMPLES / sizeof *EXAMPLES; i++) {
        is_right &= run(&s, &EXAMPLES[i], "merge", combine_by_merge);
        is_right &= run(&s, &EXAMPLES[i], "rebase", combine_by_rebase);
    }
    if (s.rank == 0) {
        printf("vocab_parallel: %s on %d ranks\n", is_right ? "ok" : "FAILED", s.ranks);
    }
    free(s.logits);
    free(s.whole);
    free(s.dwhole);
    MPI_Finalize();
    return is_right ? EXIT_SUCCESS : EXIT_FAILURE;
}
