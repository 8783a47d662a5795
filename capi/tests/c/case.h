/*
 * The vectors file, as fscanf reads it:
 *
 *     case NAME
 *     text FIELD WORD               objective, reduction, extras_scale, kl, tau_from, normalize: their names
 *     number FIELD VALUE            rows, vocab, ignore_index, a number of surprisal_loss, expected_..., noise
 *     array FIELD COUNT VALUE...    logits, targets, ..., nll and dlogits (expected)
 *     end
 *
 * Values are hexadecimal floats, inf, -inf or nan. What is absent has its default.
 */
#ifndef CASE_H
#define CASE_H

#include <stddef.h>

#include "check.h"
#include "surprisal.h"

enum array {
    LOGITS, TARGETS, TOKEN_WEIGHTS, CLASS_WEIGHTS, REF_LOG_PROBS, OLD_LOG_PROBS, ADVANTAGES, GROUPS, CU_SEQLENS, PAIRS,
    KEEP, NLL, DLOGITS, ARRAYS
};

static const char *const array_names[ARRAYS] = {
    "logits", "targets", "token_weights", "class_weights", "ref_log_probs", "old_log_probs", "advantages", "groups",
    "cu_seqlens", "pairs", "keep", "nll", "dlogits"
};

/* A loss with its inputs and what it must give. */
typedef struct test_case {
    char name[96];
    size_t rows, vocab;
    double *arrays[ARRAYS];
    size_t counts[ARRAYS];
    surprisal_loss loss;
    surprisal_batch batch;
    surprisal_report expected;
    /* What the expectation may be off by, besides 1e-14 of itself. */
    double noise;
} test_case;

/* Memory of the current case, each block exactly as long as it was asked for. */
static void *blocks[4096];
static size_t block_count;

static void *allocate(size_t count, size_t size)
{
    void *block = calloc(count == 0 ? 1 : count, size);
    if (block == NULL || block_count == LENGTH(blocks)) {
        printf("out of memory\n");
        exit(EXIT_FAILURE);
    }
    return blocks[block_count++] = block;
}

static void free_all(void)
{
    while (block_count > 0) {
        free(blocks[--block_count]);
    }
}

static const struct {
    const char *field, *name;
    int32_t value;
    size_t offset;
} words[] = {
#define WORD(field, name, value) {#field, name, value, offsetof(test_case, loss.field)}
    WORD(reduction, "mean-tokens", SURPRISAL_MEAN_TOKENS),
    WORD(reduction, "sum", SURPRISAL_SUM),
    WORD(reduction, "mean-sequences", SURPRISAL_MEAN_SEQUENCES),
    WORD(reduction, "mean-weights", SURPRISAL_MEAN_WEIGHTS),
    WORD(reduction, "mean-pairs", SURPRISAL_MEAN_PAIRS),
    WORD(reduction, "by", SURPRISAL_BY),
    WORD(extras_scale, "none", SURPRISAL_EXTRAS_ONE),
    WORD(extras_scale, "objective", SURPRISAL_EXTRAS_OBJECTIVE),
    WORD(kl, "k1", SURPRISAL_KL_K1),
    WORD(kl, "k2", SURPRISAL_KL_K2),
    WORD(kl, "k3", SURPRISAL_KL_K3),
    WORD(kl, "k3-corrected", SURPRISAL_KL_K3_CORRECTED),
    WORD(kl, "k3-clamped", SURPRISAL_KL_K3_CLAMPED),
    WORD(tau_from, "sequence-median", SURPRISAL_TAU_FROM_SEQUENCE_MEDIAN),
    WORD(tau_from, "token-median", SURPRISAL_TAU_FROM_TOKEN_MEDIAN),
    WORD(normalize, "none", SURPRISAL_NORMALIZE_NONE),
    WORD(normalize, "sum1-sequence", SURPRISAL_NORMALIZE_SUM1_SEQUENCE),
    WORD(normalize, "sum1-batch", SURPRISAL_NORMALIZE_SUM1_BATCH),
    WORD(normalize, "mean1-batch", SURPRISAL_NORMALIZE_MEAN1_BATCH),
};

static const struct {
    const char *field;
    enum { SIZE, INT64, FLOAT, DOUBLE } type;
    size_t offset;
} numbers[] = {
#define OPTION(type, field) {#field, type, offsetof(test_case, loss.field)}
#define EXPECTED(type, field) {"expected_" #field, type, offsetof(test_case, expected.field)}
    {"rows", SIZE, offsetof(test_case, rows)},
    {"vocab", SIZE, offsetof(test_case, vocab)},
    {"ignore_index", INT64, offsetof(test_case, batch.ignore_index)},
    OPTION(DOUBLE, reduction_by), OPTION(FLOAT, label_smoothing), OPTION(FLOAT, z_loss), OPTION(FLOAT, logit_scale),
    OPTION(FLOAT, softcap), OPTION(DOUBLE, tau), OPTION(DOUBLE, floor), OPTION(DOUBLE, gamma), OPTION(DOUBLE, alpha),
    OPTION(DOUBLE, p_max), OPTION(DOUBLE, temperature), OPTION(DOUBLE, low), OPTION(DOUBLE, high), OPTION(DOUBLE, max),
    OPTION(DOUBLE, clip_low), OPTION(DOUBLE, clip_high), OPTION(DOUBLE, dual_clip), OPTION(DOUBLE, beta),
    OPTION(DOUBLE, keep), OPTION(DOUBLE, lambda), OPTION(DOUBLE, power), OPTION(DOUBLE, classes),
    OPTION(FLOAT, grad_scale), EXPECTED(DOUBLE, loss), EXPECTED(DOUBLE, loss_sum), EXPECTED(DOUBLE, nll_sum),
    EXPECTED(DOUBLE, weight_sum), EXPECTED(SIZE, tokens), EXPECTED(SIZE, correct),
    {"noise", DOUBLE, offsetof(test_case, noise)},
};

/* Each reader returns whether it knew the field. */
static int read_text(FILE *file, const char *field, test_case *c)
{
    char word[32];
    if (fscanf(file, "%31s", word) != 1) {
        return 0;
    }
    if (strcmp(field, "objective") == 0) {
        c->loss.objective = surprisal_objective_from_name(word);
        return c->loss.objective >= 0;
    }
    for (size_t i = 0; i < LENGTH(words); i++) {
        if (strcmp(words[i].field, field) == 0 && strcmp(words[i].name, word) == 0) {
            memcpy((char *)c + words[i].offset, &words[i].value, sizeof(int32_t));
            return 1;
        }
    }
    return 0;
}

static int read_number(FILE *file, const char *field, test_case *c)
{
    double value;
    size_t i = 0;
    while (i < LENGTH(numbers) && strcmp(numbers[i].field, field) != 0) {
        i++;
    }
    if (i == LENGTH(numbers) || fscanf(file, "%lf", &value) != 1) {
        return 0;
    }
    void *to = (char *)c + numbers[i].offset;
    switch (numbers[i].type) {
    case SIZE: *(size_t *)to = (size_t)value; break;
    case INT64: *(int64_t *)to = (int64_t)value; break;
    case FLOAT: *(float *)to = (float)value; break;
    case DOUBLE: *(double *)to = value; break;
    }
    return 1;
}

static int read_array(FILE *file, const char *field, test_case *c)
{
    size_t i = 0, count;
    while (i < ARRAYS && strcmp(array_names[i], field) != 0) {
        i++;
    }
    if (i == ARRAYS || fscanf(file, "%zu", &count) != 1) {
        return 0;
    }
    c->counts[i] = count;
    c->arrays[i] = allocate(count, sizeof(double));
    for (size_t k = 0; k < count; k++) {
        if (fscanf(file, "%lf", &c->arrays[i][k]) != 1) {
            return 0;
        }
    }
    return 1;
}

/* A copy of an array in the type that the library takes; NULL where there is none. */
#define TYPED(name, type)                                                                                             \
    static type *name(const test_case *c, enum array which)                                                           \
    {                                                                                                                 \
        type *values = c->arrays[which] == NULL ? NULL : allocate(c->counts[which], sizeof(type));                    \
        for (size_t i = 0; values != NULL && i < c->counts[which]; i++) {                                             \
            values[i] = (type)c->arrays[which][i];                                                                    \
        }                                                                                                             \
        return values;                                                                                                \
    }
TYPED(as_f32, float)
TYPED(as_i32, int32_t)
TYPED(as_i64, int64_t)
TYPED(as_u32, uint32_t)
TYPED(as_u8, uint8_t)

static void fill_batch(test_case *c)
{
    surprisal_batch *b = &c->batch;
    b->rows = c->rows;
    b->targets_i32 = as_i32(c, TARGETS);
    b->token_weights = as_f32(c, TOKEN_WEIGHTS);
    b->ref_log_probs = as_f32(c, REF_LOG_PROBS);
    b->old_log_probs = as_f32(c, OLD_LOG_PROBS);
    b->advantages = as_f32(c, ADVANTAGES);
    b->groups = as_u32(c, GROUPS);
    b->cu_seqlens_i32 = as_i32(c, CU_SEQLENS);
    b->sequence_count = c->counts[CU_SEQLENS] - 1;
    b->keep = as_u8(c, KEEP);
    b->pair_count = c->counts[PAIRS] / 2;
    surprisal_pair *pairs = c->arrays[PAIRS] == NULL ? NULL : allocate(b->pair_count, sizeof(surprisal_pair));
    for (size_t i = 0; i < b->pair_count; i++) {
        pairs[i].chosen = (size_t)c->arrays[PAIRS][2 * i];
        pairs[i].rejected = (size_t)c->arrays[PAIRS][2 * i + 1];
    }
    b->pairs = pairs;
    c->loss.class_weights = as_f32(c, CLASS_WEIGHTS);
}

static inline int is_ignored(const test_case *c, size_t row)
{
    return (int64_t)c->arrays[TARGETS][row] == c->batch.ignore_index;
}

/* Reads the next case; 0 at the end of the file. A file that is not in the format ends the program. */
static int read_case(FILE *file, test_case *c)
{
    static const surprisal_loss loss = SURPRISAL_LOSS_INIT;
    static const surprisal_batch batch = SURPRISAL_BATCH_INIT;
    static const surprisal_report report = SURPRISAL_REPORT_INIT;
    char kind[16], field[32] = "";
    int known = 1;
    *c = (test_case){.loss = loss, .batch = batch, .expected = report};
    if (fscanf(file, " case %95s", c->name) != 1) {
        return 0;
    }
    while (known && fscanf(file, "%15s", kind) == 1 && strcmp(kind, "end") != 0) {
        known = fscanf(file, "%31s", field) == 1 && ((strcmp(kind, "text") == 0 && read_text(file, field, c)) ||
                                                     (strcmp(kind, "number") == 0 && read_number(file, field, c)) ||
                                                     (strcmp(kind, "array") == 0 && read_array(file, field, c)));
    }
    if (!known || c->counts[LOGITS] != c->rows * c->vocab || c->counts[DLOGITS] != c->rows * c->vocab ||
        c->counts[TARGETS] != c->rows || c->counts[NLL] != c->rows || c->counts[CU_SEQLENS] == 0) {
        printf("%s: the file is not in the format, near \"%s\"\n", c->name, field);
        exit(EXIT_FAILURE);
    }
    fill_batch(c);
    return 1;
}

#endif
