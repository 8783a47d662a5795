/* Everything that the calls take, in one block, so that "nothing was written" is one memcmp; and every call on it. */
#ifndef WORLD_H
#define WORLD_H

#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "surprisal_tools.h"

enum { ROWS = 4, VOCAB = 6, SEQUENCES = 2, PAIRS = 2, BINS = 3, RANK = 2, COLUMNS = 3 };
enum { BUFFERS = 60, TOKENS = 58, SPARE = 59, ROOM = 64 };

/* A struct and what a longer version of it would have besides. */
#define WITH_TAIL(type, name)                                                                                         \
    type name;                                                                                                        \
    unsigned char name##_tail[64]

static struct world {
    WITH_TAIL(surprisal_loss, loss);
    WITH_TAIL(surprisal_batch, batch);
    WITH_TAIL(surprisal_logits, logits);
    WITH_TAIL(surprisal_logits_mut, dlogits);
    WITH_TAIL(surprisal_logits_mut, softmax);
    WITH_TAIL(surprisal_outputs, outputs);
    WITH_TAIL(surprisal_workspace, workspace);
    surprisal_denominator denominator;
    surprisal_report report, other;
    /* The arguments of the calls, by their names; with a suffix where another call has another array of this name. */
    const surprisal_loss *loss_;
    const surprisal_batch *batch_;
    const surprisal_logits *logits_;
    const surprisal_logits_mut *dlogits_, *softmax_;
    const surprisal_outputs *outputs_;
    const surprisal_workspace *workspace_;
    surprisal_denominator *denominator_;
    surprisal_report *report_;
    const surprisal_report *other_;
    const float *log_probs, *weights, *parameters, *initial, *gradient_w, *a, *b;
    float *out, *gradient, *weights_w, *da, *db;
    const double *logits_f64, *at, *max, *gradient_x;
    double *dlogits_f64, *out_f64, *penalty, *x;
    double *simple_loss;
    const float *simple_logits;
    float *simple_dlogits;
    const int32_t *simple_targets;
    const char *name, *number_name, *choice;
    uint64_t *bins;
    uint32_t *sequence_tokens;
    size_t *size;
    surprisal_stats *stats, *merged;
    const surprisal_stats *part;
    surprisal_term *terms;
    surprisal_gradient_check *check;
    surprisal_function function;
    size_t vocab, row_start, rows, bin_count, count, lora_rows, columns, rank;
    int32_t objective;
    double value, threshold, lambda, divisor, alpha, scale, step;
    double memory[BUFFERS][ROOM];
} w, before;

#define CALLS(X)                                                                                                      \
    X(FORWARD, forward, (w.loss_, w.batch_, w.logits_, w.outputs_, w.workspace_, w.report_, detail))                  \
    X(BACKWARD, forward_backward,                                                                                     \
      (w.loss_, w.batch_, w.logits_, w.dlogits_, w.outputs_, w.workspace_, w.report_, detail))                        \
    X(STATS, row_stats, (w.loss_, w.batch_, w.logits_, w.stats, detail))                                              \
    X(TERMS, token_terms,                                                                                             \
      (w.loss_, w.batch_, w.vocab, w.row_start, w.rows, w.stats, w.terms, w.workspace_, w.report_, detail))           \
    X(GRAD, logits_grad, (w.loss_, w.batch_, w.logits_, w.stats, w.terms, w.dlogits_, detail))                        \
    X(COUNT, loss_denominator, (w.loss_, w.batch_, w.vocab, w.sequence_tokens, w.denominator_, detail))               \
    X(SET, loss_set, ((surprisal_loss *)w.loss_, w.number_name, w.value, detail))                                     \
    X(CHOOSE, loss_set_choice, ((surprisal_loss *)w.loss_, w.name, w.choice, detail))                                 \
    X(SIMPLE, simple_f32,                                                                                             \
      (w.objective, w.simple_logits, w.simple_targets, w.rows, w.vocab, w.simple_dlogits, w.simple_loss, detail))     \
    X(NO_STATS, stats_init, (w.stats, w.count, detail))                                                               \
    X(NO_REPORT, report_init, (w.report_, detail))                                                                    \
    X(LEND, workspace_size, (w.loss_, w.rows, w.vocab, w.size, detail))                                               \
    X(ORACLE, reference_forward_backward,                                                                             \
      (w.loss_, w.batch_, w.logits_f64, w.vocab, w.dlogits_f64, w.report_, detail))                                   \
    X(SURROGATE, reference_surrogate, (w.loss_, w.batch_, w.logits_f64, w.at, w.vocab, w.out_f64, detail))            \
    X(SOFTMAX, log_softmax, (w.logits_, w.softmax_, detail))                                                          \
    X(LSE, log_sum_exp, (w.logits_, w.out, detail))                                                                   \
    X(ENTROPY, entropy, (w.logits_, w.out, detail))                                                                   \
    X(LOG_PROBS, token_log_probs, (w.batch_, w.logits_, w.out, detail))                                               \
    X(HISTOGRAM, histogram, (w.batch_, w.log_probs, w.bins, w.bin_count, detail))                                     \
    X(HARD, hard_token_share, (w.batch_, w.log_probs, w.threshold, w.out_f64, detail))                                \
    X(SIZE, effective_sample_size, (w.batch_, w.weights, w.out_f64, detail))                                          \
    X(MOMENT, second_moment, (w.batch_, w.weights, w.out_f64, detail))                                                \
    X(L2, l2_to_initial, (w.parameters, w.initial, w.count, w.lambda, w.divisor, w.gradient, w.penalty, detail))      \
    X(WISE, wise_ft, (w.parameters, w.initial, w.count, w.alpha, w.out, detail))                                      \
    X(LORA, lora_merge, (w.lora_rows, w.columns, w.rank, w.scale, w.a, w.b, w.weights_w, detail))                     \
    X(LORA_GRAD, lora_gradients,                                                                                      \
      (w.lora_rows, w.columns, w.rank, w.scale, w.gradient_w, w.a, w.b, w.da, w.db, detail))                          \
    X(MERGE, stats_merge, (w.part, w.merged, w.count, detail))                                                        \
    X(REBASE, stats_rebase, (w.stats, w.max, w.count, detail))                                                        \
    X(REPORTS, report_merge, (w.report_, w.other_, detail))                                                           \
    X(CHECK_GRADIENT, check_gradient, (w.function, NULL, w.x, w.gradient_x, w.count, w.step, w.check, detail))

/* Sets of calls. */
enum {
#define X(name, function, arguments) name##_INDEX,
    CALLS(X)
#undef X
    CALL_COUNT,
#define X(name, function, arguments) name = 1 << name##_INDEX,
    CALLS(X)
#undef X
    COMPOSED = FORWARD | BACKWARD,
    /* The calls that check a loss; one more reads it. */
    WITH_LOSS = COMPOSED | STATS | TERMS | GRAD | COUNT | ORACLE | SURROGATE,
    WITH_OPTIONS = WITH_LOSS | LEND,
    GROUPED = COMPOSED | TERMS,
    DIAGNOSES = HISTOGRAM | HARD | SIZE | MOMENT,
    WITH_BATCH = WITH_LOSS | LOG_PROBS | DIAGNOSES,
    PER_ROW = LSE | ENTROPY | LOG_PROBS,
    WITH_LOGITS = COMPOSED | STATS | GRAD | SOFTMAX | PER_ROW,
    WITH_RESULT = BACKWARD | GRAD,
    WITH_REPORT = COMPOSED | TERMS | ORACLE | REPORTS,
    SETTERS = SET | CHOOSE,
    ALL = (1 << CALL_COUNT) - 1
};

static const char *const call_names[] = {
#define X(name, function, arguments) #function,
    CALLS(X)
#undef X
};

static inline void about_call(int which)
{
    int index = 0;
    while (which >> index != 1) {
        index++;
    }
    snprintf(subject, sizeof subject, "surprisal_%s, objective %d", call_names[index], w.loss.objective);
}

static inline surprisal_status call(int which, surprisal_error_detail *detail)
{
    switch (which) {
#define X(name, function, arguments)                                                                                  \
    case name:                                                                                                        \
        return surprisal_##function arguments;
        CALLS(X)
#undef X
    default:
        return SURPRISAL_ERROR_UNKNOWN;
    }
}

/* The arrays of the calls: which refuse NULL, which read them, which write them. */
static const struct array {
    const char *argument;
    size_t pointer, size, count;
    int needed, read, written;
} arrays[] = {
#define ARRAY(argument, pointer, type, count, needed, read, written)                                                  \
    {argument, offsetof(struct world, pointer), sizeof(type), count, needed, read, written}
    ARRAY("class_weights", loss.class_weights, float, VOCAB, 0, WITH_LOSS, 0),
    ARRAY("targets", batch.targets_i32, int32_t, ROWS, WITH_BATCH, WITH_BATCH, 0),
    ARRAY("token_weights", batch.token_weights, float, ROWS, 0, WITH_BATCH, 0),
    ARRAY("ref_log_probs", batch.ref_log_probs, float, ROWS, 0, WITH_BATCH, 0),
    ARRAY("old_log_probs", batch.old_log_probs, float, ROWS, 0, WITH_BATCH, 0),
    ARRAY("advantages", batch.advantages, float, ROWS, 0, WITH_BATCH, 0),
    ARRAY("groups", batch.groups, uint32_t, ROWS, 0, WITH_BATCH, 0),
    ARRAY("cu_seqlens", batch.cu_seqlens_i32, int32_t, SEQUENCES + 1, WITH_BATCH, WITH_BATCH, 0),
    ARRAY("pairs", batch.pairs, surprisal_pair, PAIRS, WITH_BATCH, WITH_BATCH, 0),
    ARRAY("keep", batch.keep, uint8_t, SEQUENCES, 0, WITH_BATCH, 0),
    ARRAY("logits", logits.data, float, ROWS * VOCAB, WITH_LOGITS, WITH_LOGITS, 0),
    ARRAY("dlogits", dlogits.data, float, ROWS * VOCAB, WITH_RESULT, 0, WITH_RESULT),
    ARRAY("out", softmax.data, float, ROWS * VOCAB, SOFTMAX, 0, SOFTMAX),
    ARRAY("stats", outputs.stats, surprisal_stats, ROWS, 0, 0, COMPOSED),
    ARRAY("terms", outputs.terms, surprisal_term, ROWS, 0, 0, COMPOSED),
    ARRAY("losses", outputs.losses, float, ROWS, 0, 0, COMPOSED),
    ARRAY("nll", outputs.nll, float, ROWS, 0, 0, COMPOSED),
    ARRAY("log_probs", outputs.log_probs, float, ROWS, 0, 0, COMPOSED),
    ARRAY("entropy", outputs.entropy, float, ROWS, 0, 0, COMPOSED),
    ARRAY("weights", outputs.weights, float, ROWS, 0, 0, COMPOSED),
    ARRAY("argmax", outputs.argmax, uint32_t, ROWS, 0, 0, COMPOSED),
    ARRAY("correct", outputs.correct, uint8_t, ROWS, 0, 0, COMPOSED),
    ARRAY("targets", simple_targets, int32_t, ROWS, SIMPLE, SIMPLE, 0),
    ARRAY("logits", simple_logits, float, ROWS * VOCAB, SIMPLE, SIMPLE, 0),
    ARRAY("dlogits", simple_dlogits, float, ROWS * VOCAB, 0, 0, SIMPLE),
    ARRAY("loss", simple_loss, double, 1, SIMPLE, 0, SIMPLE),
    /* A row of the vocabulary in f32. */
    ARRAY("workspace", workspace.data, double, VOCAB / 2, COMPOSED, 0, COMPOSED),
    ARRAY("size", size, size_t, 1, LEND, 0, LEND),
    ARRAY("stats", stats, surprisal_stats, ROWS, STATS | TERMS | GRAD | REBASE | NO_STATS, TERMS | GRAD, STATS | REBASE | NO_STATS),
    ARRAY("terms", terms, surprisal_term, ROWS, TERMS | GRAD, GRAD, TERMS),
    ARRAY("log_probs", log_probs, float, ROWS, HISTOGRAM | HARD, HISTOGRAM | HARD, 0),
    ARRAY("weights", weights, float, ROWS, SIZE | MOMENT, SIZE | MOMENT, 0),
    ARRAY("bins", bins, uint64_t, BINS, HISTOGRAM, 0, HISTOGRAM),
    ARRAY("out", out, float, ROWS, PER_ROW | WISE, 0, PER_ROW | WISE),
    ARRAY("out", out_f64, double, 1, HARD | SIZE | MOMENT | SURROGATE, 0, HARD | SIZE | MOMENT | SURROGATE),
    ARRAY("parameters", parameters, float, ROWS, L2 | WISE, L2 | WISE, 0),
    ARRAY("initial", initial, float, ROWS, L2 | WISE, L2 | WISE, 0),
    ARRAY("gradient", gradient, float, ROWS, L2, 0, L2),
    ARRAY("penalty", penalty, double, 1, L2, 0, L2),
    ARRAY("a", a, float, RANK * COLUMNS, LORA | LORA_GRAD, LORA | LORA_GRAD, 0),
    ARRAY("b", b, float, ROWS * RANK, LORA | LORA_GRAD, LORA | LORA_GRAD, 0),
    ARRAY("weights", weights_w, float, ROWS * COLUMNS, LORA, 0, LORA),
    ARRAY("gradient", gradient_w, float, ROWS * COLUMNS, LORA_GRAD, LORA_GRAD, 0),
    ARRAY("da", da, float, RANK * COLUMNS, LORA_GRAD, 0, LORA_GRAD),
    ARRAY("db", db, float, ROWS * RANK, LORA_GRAD, 0, LORA_GRAD),
    ARRAY("part", part, surprisal_stats, ROWS, MERGE, MERGE, 0),
    ARRAY("merged", merged, surprisal_stats, ROWS, MERGE, 0, MERGE),
    ARRAY("max", max, double, ROWS, REBASE, REBASE, 0),
    ARRAY("logits", logits_f64, double, ROWS * VOCAB, ORACLE | SURROGATE, ORACLE | SURROGATE, 0),
    ARRAY("dlogits", dlogits_f64, double, ROWS * VOCAB, 0, 0, ORACLE),
    ARRAY("at", at, double, ROWS * VOCAB, SURROGATE, SURROGATE, 0),
    ARRAY("x", x, double, ROWS, CHECK_GRADIENT, 0, CHECK_GRADIENT),
    ARRAY("gradient", gradient_x, double, ROWS, CHECK_GRADIENT, CHECK_GRADIENT, 0),
    ARRAY("out", check, surprisal_gradient_check, 1, CHECK_GRADIENT, 0, CHECK_GRADIENT),
};

typedef char every_array_has_memory[LENGTH(arrays) <= TOKENS ? 1 : -1];

/* The structs of the calls, with the argument that has them. */
static const struct structure {
    const char *argument;
    size_t pointer, structure, size;
    int needed, calls, is_versioned;
} structs[] = {
#define STRUCT(argument, name, type, needed, calls, is_versioned)                                                     \
    {argument, offsetof(struct world, name##_), offsetof(struct world, name), sizeof(type), needed, calls, is_versioned}
    STRUCT("loss", loss, surprisal_loss, WITH_OPTIONS | SETTERS, WITH_OPTIONS | SETTERS, 1),
    STRUCT("batch", batch, surprisal_batch, WITH_BATCH, WITH_BATCH, 1),
    STRUCT("logits", logits, surprisal_logits, WITH_LOGITS, WITH_LOGITS, 1),
    STRUCT("dlogits", dlogits, surprisal_logits_mut, WITH_RESULT, WITH_RESULT, 1),
    STRUCT("out", softmax, surprisal_logits_mut, SOFTMAX, SOFTMAX, 1),
    STRUCT("outputs", outputs, surprisal_outputs, 0, COMPOSED, 1),
    STRUCT("workspace", workspace, surprisal_workspace, 0, GROUPED, 1),
    STRUCT("out", denominator, surprisal_denominator, COUNT, COUNT, 0),
    STRUCT("report", report, surprisal_report, WITH_REPORT | NO_REPORT, WITH_REPORT | NO_REPORT, 0),
    STRUCT("other", other, surprisal_report, REPORTS, REPORTS, 0),
};

static inline unsigned char *at_offset(size_t offset)
{
    return (unsigned char *)&w + offset;
}

static inline void set_pointer(size_t offset, const void *value)
{
    memcpy(at_offset(offset), &value, sizeof value);
}

static inline unsigned char *get_pointer(size_t offset)
{
    unsigned char *value;
    memcpy(&value, at_offset(offset), sizeof value);
    return value;
}

static inline double square_of_first(const double *x, void *user)
{
    (void)user;
    return x[0] * x[0];
}

/* Entries of the constant arrays, which are the world's own. */
#define PUT(type, pointer, index, value) (((type *)(pointer))[index] = (value))

/* Arguments with which every call succeeds: all inputs and all outputs are given. */
static inline void fresh(void)
{
    static const surprisal_loss loss = SURPRISAL_LOSS_INIT;
    static const surprisal_batch batch = SURPRISAL_BATCH_INIT;
    static const surprisal_outputs outputs = SURPRISAL_OUTPUTS_INIT;
    static const surprisal_workspace workspace = SURPRISAL_WORKSPACE_INIT;
    static const surprisal_report report = SURPRISAL_REPORT_INIT;
    memset(&w, 0, sizeof w);
    memset(w.memory, 0x5c, sizeof w.memory);
    w.loss = loss;
    w.batch = batch;
    w.outputs = outputs;
    w.workspace = workspace;
    w.report = w.other = report;
    w.logits = surprisal_logits_f32(NULL, ROWS, VOCAB);
    w.dlogits = w.softmax = surprisal_logits_mut_f32(NULL, ROWS, VOCAB);
    /* The batch is not told by a matrix that becomes a part of it. */
    w.logits.rows_total = w.dlogits.rows_total = w.softmax.rows_total = ROWS;
    w.logits.vocab_total = w.dlogits.vocab_total = w.softmax.vocab_total = VOCAB;
    for (size_t i = 0; i < LENGTH(structs); i++) {
        set_pointer(structs[i].pointer, at_offset(structs[i].structure));
    }
    for (size_t i = 0; i < LENGTH(arrays); i++) {
        set_pointer(arrays[i].pointer, w.memory[i]);
        if (arrays[i].read & ~(TERMS | GRAD) && arrays[i].size != 1) {
            memset(w.memory[i], 0, sizeof w.memory[i]);
        }
    }
    memset(w.memory[SPARE], 0, sizeof w.memory[SPARE]);
    for (int row = 0; row < ROWS; row++) {
        PUT(float, w.batch.token_weights, row, 1);
        PUT(float, w.batch.ref_log_probs, row, -1);
        PUT(float, w.batch.old_log_probs, row, -1);
        PUT(float, w.batch.advantages, row, 1);
        PUT(double, w.max, row, 1e300);
        PUT(surprisal_stats, w.stats, row, ((surprisal_stats){1, 2, 0.5, 0, 0, 0.25}));
    }
    PUT(int32_t, w.batch.cu_seqlens_i32, 1, 2);
    PUT(int32_t, w.batch.cu_seqlens_i32, 2, ROWS);
    PUT(surprisal_pair, w.batch.pairs, 0, ((surprisal_pair){0, 1}));
    PUT(surprisal_pair, w.batch.pairs, 1, ((surprisal_pair){1, 0}));
    PUT(uint8_t, w.batch.keep, 0, 1);
    PUT(uint8_t, w.batch.keep, 1, 0);
    w.batch.rows = w.rows = w.lora_rows = ROWS;
    w.batch.sequence_count = SEQUENCES;
    w.batch.pair_count = PAIRS;
    w.vocab = VOCAB;
    /* Enough for every objective. */
    w.workspace.size = sizeof w.memory[0];
    w.sequence_tokens = (uint32_t *)w.memory[TOKENS];
    w.bin_count = BINS;
    w.count = ROWS;
    w.columns = COLUMNS;
    w.rank = RANK;
    w.function = square_of_first;
    w.number_name = "label_smoothing";
    w.name = "reduction";
    w.choice = "sum";
    w.threshold = w.lambda = w.divisor = w.alpha = w.scale = w.step = 0.5;
}

/* Makes a call that must be refused as told, with and without a detail, and must not have written anything else. */
static inline void refused(const char *file, int line, int which, surprisal_status status, const char *argument,
                           int64_t index, double value)
{
    surprisal_error_detail detail;
    memcpy(&before, &w, sizeof w);
    check_equal(file, line, "status", call(which, &detail), status);
    check_equal(file, line, "detail.status", detail.status, status);
    check_equal(file, line, "detail.reserved", detail.reserved, 0);
    check_equal(file, line, "detail.index", detail.index, index);
    check_close(file, line, "detail.value", detail.value, value, 0);
    check_text(file, line, "detail.argument", detail.argument, argument);
    check(file, line, memchr(detail.message, '\0', sizeof detail.message) != NULL, "detail.message does not end");
    check(file, line, strncmp(detail.message, detail.argument, strlen(detail.argument)) == 0 &&
                          strlen(detail.message) > strlen(detail.argument) + 2,
          "detail.message is \"%s\"", detail.message);
    check_equal(file, line, "status without detail", call(which, NULL), status);
    check_bytes(file, line, "what the call was given", &w, &before, sizeof w);
}

static inline void accepted(const char *file, int line, int which)
{
    static const surprisal_error_detail nothing = {SURPRISAL_OK, 0, -1, 0, {0}, {0}};
    surprisal_error_detail detail;
    memset(&detail, 0x5c, sizeof detail);
    check_equal(file, line, "status", call(which, &detail), SURPRISAL_OK);
    check_bytes(file, line, "the detail of a success", &detail, &nothing, sizeof detail);
}

/* Runs statements, then one of the checks above, for each call of a set, each on fresh arguments. */
#define FOR_CALLS(calls, check_of_call, ...)                                                                          \
    for (int which = 1; which < ALL; which <<= 1) {                                                                   \
        if ((calls) & which) {                                                                                        \
            fresh();                                                                                                  \
            __VA_ARGS__;                                                                                              \
            about_call(which);                                                                                        \
            check_of_call;                                                                                            \
        }                                                                                                             \
    }

/* For each call of a set: after the statements it is refused with this detail. */
#define REFUSE(calls, status, argument, index, value, ...)                                                            \
    FOR_CALLS(calls, refused(__FILE__, __LINE__, which, status, argument, index, value), __VA_ARGS__)

#define ACCEPT(calls, ...) FOR_CALLS(calls, accepted(__FILE__, __LINE__, which), __VA_ARGS__)

#endif
