/*
 * The loss of data parallelism: each rank has rows of its own, and not the same number of tokens that count.
 *
 * A mean over each rank's own tokens, averaged over the ranks, is another loss: a token weighs more where there are few.
 * What all ranks divide by is the number of tokens of all of them, which one collective finds before the pass:
 *
 *   total = Allreduce(SUM, tokens that count)
 *   loss.reduction = SURPRISAL_REDUCTION_BY, loss.reduction_by = total
 *   forward_backward, backward pass of the model
 *   Allreduce(SUM, gradients of the weights)           a sum, not a mean
 *
 * Every rank compares its gradient with that of one process that has all rows: they have the same bits.
 *
 *   mpicc -std=c11 -O3 data_parallel.c $(pkg-config --cflags --libs surprisal) -lm -o data_parallel
 *   mpirun -n 2 ./data_parallel
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <math.h>
#include <mpi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <surprisal.h>

enum { ROWS = 96, VOCAB = 500 };

static void stop(const char *message)
{
    fprintf(stderr, "data_parallel: %s\n", message);
    MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
}

/* The model: the logits after a token are its row of a table. */
static float table[VOCAB * VOCAB];
static int32_t tokens[ROWS], targets[ROWS];

static void make_model_and_batch(void)
{
    uint64_t state = 1;
    for (size_t i = 0; i < (size_t)VOCAB * VOCAB; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        table[i] = (float)((double)(state >> 40) * 0x1p-22 - 2.0);
    }
    /* Of the first rows most are a prompt, of the last ones few. */
    for (int row = 0; row < ROWS; row++) {
        tokens[row] = row * 37 % 11 * 7;
        targets[row] = row * 7 % ROWS < row ? row * row % VOCAB : SURPRISAL_IGNORE_INDEX;
    }
}

static double count_tokens(int begin, int end)
{
    double count = 0.0;
    for (int row = begin; row < end; row++) {
        count += targets[row] != SURPRISAL_IGNORE_INDEX;
    }
    return count;
}

/* The loss of some rows, divided by `by`, and its gradient over their logits. */
static double loss_of(int begin, int end, double by, float *dlogits)
{
    static float logits[ROWS * VOCAB];
    const size_t rows = (size_t)(end - begin);
    for (size_t row = 0; row < rows; row++) {
        memcpy(logits + row * VOCAB, table + (size_t)tokens[begin + (int)row] * VOCAB, VOCAB * sizeof *logits);
    }
    surprisal_batch batch = SURPRISAL_BATCH_INIT;
    batch.rows = rows;
    batch.targets_i32 = targets + begin;
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    loss.objective = SURPRISAL_OBJECTIVE_DFT;
    loss.reduction = SURPRISAL_REDUCTION_BY;
    loss.reduction_by = by;
    const surprisal_logits z = surprisal_logits_f32(logits, rows, VOCAB);
    const surprisal_logits_mut dz = surprisal_logits_mut_f32(dlogits, rows, VOCAB);
    surprisal_report report = SURPRISAL_REPORT_INIT;
    surprisal_error_detail detail;
    if (surprisal_forward_backward(&loss, &batch, &z, &dz, NULL, NULL, &report, &detail) != SURPRISAL_OK) {
        stop(detail.message);
    }
    return report.loss;
}

/* The backward pass of the model: in doubles, whose sums keep what rounding of the order would take. */
static void add_to_table(int begin, int end, const float *dlogits, double *dtable)
{
    for (int row = begin; row < end; row++) {
        for (size_t j = 0; j < VOCAB; j++) {
            dtable[(size_t)tokens[row] * VOCAB + j] += (double)dlogits[(size_t)(row - begin) * VOCAB + j];
        }
    }
}

/* What a trainer does on its rank: the loss of the whole batch, and the gradient of the table. */
static double step(int begin, int end, float *dlogits, double *dtable)
{
    double total = count_tokens(begin, end);
    MPI_Allreduce(MPI_IN_PLACE, &total, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    double loss = loss_of(begin, end, total, dlogits);
    add_to_table(begin, end, dlogits, dtable);
    MPI_Allreduce(MPI_IN_PLACE, dtable, VOCAB * VOCAB, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    MPI_Allreduce(MPI_IN_PLACE, &loss, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    return loss;
}

static double largest_difference(const double *a, const double *b)
{
    double difference = 0.0, largest = 0.0;
    for (size_t i = 0; i < (size_t)VOCAB * VOCAB; i++) {
        difference = fmax(difference, fabs(a[i] - b[i]));
        largest = fmax(largest, fabs(b[i]));
    }
    return difference / largest;
}

int main(int count, char **arguments)
{
    MPI_Init(&count, &arguments);
    int rank, ranks;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    const int begin = ROWS * rank / ranks, end = ROWS * (rank + 1) / ranks;
    make_model_and_batch();

    static float dlogits[ROWS * VOCAB], dlogits_whole[ROWS * VOCAB];
    static double dtable[VOCAB * VOCAB], dtable_whole[VOCAB * VOCAB], dtable_means[VOCAB * VOCAB];
    const double loss = step(begin, end, dlogits, dtable);

    /* One process that has all rows. */
    const double whole = loss_of(0, ROWS, count_tokens(0, ROWS), dlogits_whole);
    add_to_table(0, ROWS, dlogits_whole, dtable_whole);
    const float *ours = dlogits_whole + (size_t)begin * VOCAB;
    const bool same_bits = memcmp(dlogits, ours, (size_t)(end - begin) * VOCAB * sizeof *dlogits) == 0;
    const double apart = largest_difference(dtable, dtable_whole);

    /* The mean of the ranks' means: not the same. */
    loss_of(begin, end, count_tokens(begin, end) * ranks, dlogits);
    add_to_table(begin, end, dlogits, dtable_means);
    MPI_Allreduce(MPI_IN_PLACE, dtable_means, VOCAB * VOCAB, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    const double of_means = largest_difference(dtable_means, dtable_whole);

    int is_right = same_bits && apart <= 1e-12 && fabs(loss - whole) <= 1e-12 * whole && (ranks == 1 || of_means > 0.05);
    MPI_Allreduce(MPI_IN_PLACE, &is_right, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    printf("rank %d: %.0f of %d tokens count\n", rank, count_tokens(begin, end), end - begin);
    if (rank == 0) {
        printf("loss %.12f, in one process %.12f\n", loss, whole);
        printf("gradient: off by %.1e; by the mean of the means %.0f %%\n", apart, 100.0 * of_means);
        printf("data_parallel: %s on %d ranks\n", is_right ? "ok" : "FAILED", ranks);
    }
    MPI_Finalize();
    return is_right ? EXIT_SUCCESS : EXIT_FAILURE;
}
