/*
 * The vectors file, as fscanf reads it:
 *
 *     case NAME
 *     text FIELD WORD               a choice of the loss: objective, which comes first, reduction, extras_scale, kl, tau_from, ...
 *     number FIELD VALUE            rows, vocab, ignore_index, expected_..., noise, or a number of the loss
 *     array FIELD COUNT VALUE...    logits, targets, ..., nll and dlogits (expected)
 *     end
 *
 * Values are hexadecimal floats, inf, -inf or nan. What is absent has its default.
 */
#ifndef CASE_H
#define CASE_H

#include <stddef.h>

#include "check.h"
#include "surprisal_tools.h"

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
    /* The parameters that are set. */
    struct {
        char name[32];
        double value;
    } parameters[16];
    size_t parameter_count;
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
    const char *field;
    enum { SIZE, INT64, DOUBLE } type;
    size_t offset;
} numbers[] = {
#define EXPECTED(type, field) {"expected_" #field, type, offsetof(test_case, expected.field)}
    {"rows", SIZE, offsetof(test_case, rows)},
    {"vocab", SIZE, offsetof(test_case, vocab)},
    {"ignore_index", INT64, offsetof(test_case, batch.ignore_index)},
    EXPECTED(DOUBLE, loss), EXPECTED(DOUBLE, loss_sum), EXPECTED(DOUBLE, nll_sum), EXPECTED(DOUBLE, weight_sum),
    EXPECTED(SIZE, tokens), EXPECTED(SIZE, correct),
    {"noise", DOUBLE, offsetof(test_case, noise)},
};

/* Each reader returns whether it knew the field. */
static int read_text(FILE *file, const char *field, test_case *c)
{
    char word[32];
    return fscanf(file, "%31s", word) == 1 && surprisal_loss_set_choice(&c->loss, field, word, NULL) == SURPRISAL_OK;
}

static int set_number(const char *field, double value, test_case *c)
{
    if (c->parameter_count == LENGTH(c->parameters) || surprisal_loss_set(&c->loss, field, value, NULL) != SURPRISAL_OK) {
        return 0;
    }
    strcpy(c->parameters[c->parameter_count].name, field);
    c->parameters[c->parameter_count++].value = value;
    return 1;
}

/* A parameter of the case's objective, or the objective's default. */
static inline double parameter_of(const test_case *c, const char *name, double otherwise)
{
    for (size_t i = 0; i < c->parameter_count; i++) {
        if (strcmp(c->parameters[i].name, name) == 0) {
            return c->parameters[i].value;
        }
    }
    return otherwise;
}

static int read_number(FILE *file, const char *field, test_case *c)
{
    double value;
    size_t i = 0;
    if (fscanf(file, "%lf", &value) != 1) {
        return 0;
    }
    while (i < LENGTH(numbers) && strcmp(numbers[i].field, field) != 0) {
        i++;
    }
    if (i == LENGTH(numbers)) {
        return set_number(field, value, c);
    }
    void *to = (char *)c + numbers[i].offset;
    switch (numbers[i].type) {
    case SIZE: *(size_t *)to = (size_t)value; break;
    case INT64: *(int64_t *)to = (int64_t)value; break;
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
