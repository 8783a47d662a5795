/* Every value, option and shape that is refused: the status, the detail, and nothing written. Pointers: memory.c. */
#include "world.h"

enum {
    MISSING = SURPRISAL_ERROR_MISSING,
    EXTENT = SURPRISAL_ERROR_EXTENT,
    SHAPE = SURPRISAL_ERROR_SHAPE,
    OPTION = SURPRISAL_ERROR_OPTION,
    TARGET = SURPRISAL_ERROR_TARGET,
    VALUE = SURPRISAL_ERROR_VALUE,
    SEQUENCE = SURPRISAL_ERROR_SEQUENCES,
    PAIR = SURPRISAL_ERROR_PAIR,
    NEEDS_WHOLE = SURPRISAL_ERROR_NEEDS_WHOLE
};

/* The calls that look at the values of a batch's entries. */
enum { BATCH_VALUES = WITH_LOSS | LOG_PROBS };

static void options(void)
{
    static const double wrong[] = {-1, 0, 1.5, INFINITY, NAN};
    for (int i = 0; i < (int)LENGTH(wrong); i++) {
        double x = wrong[i];
        if (i != 1) {
            REFUSE(WITH_LOSS, OPTION, "label_smoothing", -1, x, w.loss.label_smoothing = (float)x);
        }
        if (i != 1 && i != 2) {
            REFUSE(WITH_LOSS, OPTION, "z_loss", -1, x, w.loss.z_loss = (float)x);
            REFUSE(WITH_LOSS, OPTION, "softcap", -1, x, w.loss.softcap = (float)x);
        }
        if (i != 2) {
            REFUSE(WITH_LOSS, OPTION, "logit_scale", -1, x, w.loss.logit_scale = (float)x);
            REFUSE(WITH_LOSS, OPTION, "reduction_by", -1, x, w.loss.reduction = SURPRISAL_BY; w.loss.reduction_by = x);
        }
        REFUSE(WITH_LOSS, OPTION, "reduction_by", -1, x, w.loss.reduction_by = x);
    }
    REFUSE(WITH_LOSS, OPTION, "reduction_by", -1, NAN, w.loss.reduction = SURPRISAL_BY);
    static const int32_t unknown[] = {-1, 22, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < LENGTH(unknown); i++) {
        int32_t x = unknown[i];
        REFUSE(WITH_LOSS, OPTION, "objective", -1, x, w.loss.objective = x);
        REFUSE(WITH_LOSS, OPTION, "reduction", -1, x, w.loss.reduction = x);
        REFUSE(WITH_LOSS, OPTION, "extras_scale", -1, x, w.loss.extras_scale = x);
        REFUSE(WITH_LOSS, OPTION, "kl", -1, x, w.loss.objective = SURPRISAL_GRPO; w.loss.kl = x);
        REFUSE(WITH_LOSS, OPTION, "tau_from", -1, x, w.loss.objective = SURPRISAL_TALR_AUTO; w.loss.tau_from = x);
        REFUSE(WITH_LOSS, OPTION, "normalize", -1, x, w.loss.objective = SURPRISAL_TALR_AUTO; w.loss.normalize = x);
        REFUSE(WITH_LOGITS, OPTION, "dtype", -1, x, w.logits.dtype = x);
        REFUSE(WITH_RESULT, OPTION, "dtype", -1, x, w.dlogits.dtype = x);
    }
    /* The first number after the last of each. */
    REFUSE(WITH_LOSS, OPTION, "reduction", -1, 6, w.loss.reduction = 6);
    REFUSE(WITH_LOSS, OPTION, "extras_scale", -1, 2, w.loss.extras_scale = 2);
    REFUSE(WITH_LOSS, OPTION, "kl", -1, 6, w.loss.objective = SURPRISAL_GRPO; w.loss.kl = 6);
    REFUSE(WITH_LOSS, OPTION, "tau_from", -1, 3, w.loss.objective = SURPRISAL_TALR_AUTO; w.loss.tau_from = 3);
    REFUSE(WITH_LOSS, OPTION, "normalize", -1, 5, w.loss.objective = SURPRISAL_TALR_AUTO; w.loss.normalize = 5);
    REFUSE(WITH_LOGITS, OPTION, "dtype", -1, 3, w.logits.dtype = 3);
    REFUSE(WITH_LOGITS, OPTION, "logits", -1, NAN, w.logits.reserved = 1);
    REFUSE(WITH_RESULT, OPTION, "dlogits", -1, NAN, w.dlogits.reserved = -1);
    REFUSE(SOFTMAX, OPTION, "out", -1, NAN, w.softmax.reserved = 1);
    /* A result is of the logits' type or f32. */
    for (int32_t z = SURPRISAL_F32; z <= SURPRISAL_F16; z++) {
        for (int32_t result = SURPRISAL_BF16; result <= SURPRISAL_F16; result++) {
            if (z != result) {
                REFUSE(WITH_RESULT | SOFTMAX, OPTION, "dtype", -1, result, w.logits.dtype = z;
                       w.dlogits.dtype = w.softmax.dtype = result);
            }
        }
    }
}

static void arguments(void)
{
    static const double wrong[] = {-0.5, NAN, INFINITY, 0};
    for (int i = 0; i < (int)LENGTH(wrong); i++) {
        double x = wrong[i];
        if (i < 3) {
            REFUSE(HARD, OPTION, "threshold", -1, x, w.threshold = x);
            REFUSE(WISE, OPTION, "alpha", -1, x, w.alpha = x);
            REFUSE(L2, OPTION, "lambda", -1, x, w.lambda = x);
        }
        if (i != 2) {
            REFUSE(L2, OPTION, "divisor", -1, x, w.divisor = x);
        }
        REFUSE(CHECK_GRADIENT, OPTION, "step", -1, x, w.step = x);
    }
    REFUSE(LORA | LORA_GRAD, OPTION, "scale", -1, NAN, w.scale = NAN);
    REFUSE(LORA | LORA_GRAD, OPTION, "scale", -1, -INFINITY, w.scale = -INFINITY);
    REFUSE(CHECK_GRADIENT, MISSING, "function", -1, NAN, w.function = NULL);
    REFUSE(HISTOGRAM, SHAPE, "bin_count", -1, 0, w.bin_count = 0);
    REFUSE(REBASE, VALUE, "max", 2, 0.5, PUT(double, w.max, 2, 0.5));
    REFUSE(REBASE, VALUE, "max", 3, NAN, PUT(double, w.max, 3, NAN));
}

static void shapes(void)
{
    REFUSE(WITH_LOGITS, SHAPE, "vocab", -1, NAN, w.logits.vocab = 0);
    REFUSE(TERMS | ORACLE | SURROGATE, SHAPE, "vocab", -1, NAN, w.vocab = 0; w.loss.class_weights = NULL);
    REFUSE(WITH_LOGITS, SHAPE, "logits", -1, NAN, w.logits.row_stride = VOCAB - 1);
    REFUSE(WITH_LOGITS, SHAPE, "logits", -1, NAN, w.logits.row_start = 1);
    REFUSE(WITH_LOGITS, SHAPE, "logits", -1, NAN, w.logits.row_start = SIZE_MAX);
    REFUSE(WITH_LOGITS, SHAPE, "logits", -1, NAN, w.logits.vocab_start = 1);
    REFUSE(WITH_LOGITS, SHAPE, "logits", -1, NAN, w.logits.vocab_start = SIZE_MAX);
    REFUSE(WITH_LOGITS, SHAPE, "logits", -1, NAN, w.logits.vocab_total = VOCAB - 1);
    REFUSE(WITH_LOGITS & WITH_BATCH, SHAPE, "logits", -1, ROWS + 1, w.logits.rows_total = ROWS + 1);
    REFUSE(WITH_LOGITS & WITH_BATCH, SHAPE, "logits", -1, ROWS - 1, w.logits.rows = ROWS - 1; w.logits.rows_total = 0);
    /* Scratch is a row at least, also where it is of no use. */
    static const size_t too_short[] = {0, 1, VOCAB - 1};
    for (size_t i = 0; i < LENGTH(too_short); i++) {
        REFUSE(COMPOSED, SHAPE, "scratch", -1, (double)too_short[i], w.outputs.scratch_len = too_short[i]);
        REFUSE(COMPOSED, SHAPE, "scratch", -1, (double)too_short[i], w.outputs.scratch_len = too_short[i];
               w.loss.objective = SURPRISAL_TALR_AUTO);
        REFUSE(COMPOSED, SHAPE, "scratch", -1, (double)too_short[i], w.outputs.scratch_len = too_short[i];
               w.logits.dtype = w.dlogits.dtype = SURPRISAL_BF16);
    }
    ACCEPT(COMPOSED, w.outputs.scratch_len = 7 * VOCAB + 1);
    REFUSE(TERMS, SHAPE, "row_start", -1, 1, w.row_start = 1);
    REFUSE(TERMS, SHAPE, "row_start", -1, (double)SIZE_MAX, w.row_start = SIZE_MAX);
    REFUSE(TERMS, SHAPE, "row_start", -1, 0, w.rows = ROWS + 1);
    /* 0 stands for what follows from the rest. */
    ACCEPT(WITH_LOGITS, w.logits.row_stride = w.logits.rows_total = w.logits.vocab_total = 0);
    /* The result has the logits' place. */
    REFUSE(WITH_RESULT, SHAPE, "dlogits", -1, NAN, w.dlogits.rows = ROWS - 1);
    REFUSE(WITH_RESULT, SHAPE, "dlogits", -1, NAN, w.dlogits.vocab = w.dlogits.vocab_total = VOCAB - 1);
    REFUSE(WITH_RESULT, SHAPE, "dlogits", -1, NAN, w.dlogits.rows = VOCAB; w.dlogits.rows_total = VOCAB);
    REFUSE(WITH_RESULT, SHAPE, "dlogits", -1, NAN, w.dlogits.vocab_total = VOCAB + 1);
    REFUSE(WITH_RESULT, SHAPE, "dlogits", -1, NAN, w.dlogits.row_stride = VOCAB - 1);
    REFUSE(WITH_RESULT, SHAPE, "vocab", -1, NAN, w.dlogits.vocab = 0);
    REFUSE(SOFTMAX, SHAPE, "out", -1, NAN, w.softmax.rows = ROWS - 1);
    REFUSE(SOFTMAX, SHAPE, "out", -1, NAN, w.softmax.vocab_total = VOCAB + 1);
    /* Sizes that overflow: of the matrix, of its bytes, of the arrays. */
    REFUSE(WITH_LOGITS, EXTENT, "logits", -1, NAN, w.logits.row_stride = SIZE_MAX / 2);
    REFUSE(WITH_LOGITS, EXTENT, "logits", -1, NAN, w.logits.row_stride = SIZE_MAX / 16);
    REFUSE(WITH_RESULT, EXTENT, "dlogits", -1, NAN, w.dlogits.row_stride = SIZE_MAX / 2);
    REFUSE(WITH_RESULT, EXTENT, "dlogits", -1, NAN, w.dlogits.row_stride = SIZE_MAX / 16);
    REFUSE(SOFTMAX, EXTENT, "out", -1, NAN, w.softmax.row_stride = SIZE_MAX / 2);
    REFUSE(WITH_BATCH, EXTENT, "targets", -1, NAN,
           w.batch.rows = w.logits.rows_total = w.dlogits.rows_total = SIZE_MAX);
    REFUSE(WITH_BATCH, EXTENT, "sequence_count", -1, NAN, w.batch.sequence_count = SIZE_MAX);
    REFUSE(WITH_BATCH, EXTENT, "cu_seqlens", -1, NAN, w.batch.sequence_count = SIZE_MAX / 4);
    REFUSE(WITH_BATCH, EXTENT, "pairs", -1, NAN, w.batch.pair_count = SIZE_MAX / 4);
    REFUSE(WITH_LOSS & WITH_LOGITS, EXTENT, "class_weights", -1, NAN, w.logits.vocab_total = SIZE_MAX / 4);
    REFUSE(TERMS | ORACLE | SURROGATE, EXTENT, "class_weights", -1, NAN, w.vocab = SIZE_MAX / 4);
    REFUSE(ORACLE | SURROGATE, EXTENT, "logits", -1, NAN, w.vocab = SIZE_MAX; w.loss.class_weights = NULL);
    REFUSE(COMPOSED, EXTENT, "scratch", -1, NAN, w.outputs.scratch_len = SIZE_MAX);
    REFUSE(COMPOSED, EXTENT, "scratch", -1, NAN, w.outputs.scratch_len = SIZE_MAX / 4);
    REFUSE(HISTOGRAM, EXTENT, "bins", -1, NAN, w.bin_count = SIZE_MAX / 8);
    REFUSE(L2 | WISE, EXTENT, "parameters", -1, NAN, w.count = SIZE_MAX / 4);
    REFUSE(MERGE, EXTENT, "part", -1, NAN, w.count = SIZE_MAX);
    REFUSE(REBASE, EXTENT, "stats", -1, NAN, w.count = SIZE_MAX / 40);
    REFUSE(CHECK_GRADIENT, EXTENT, "x", -1, NAN, w.count = SIZE_MAX / 8);
    REFUSE(LORA | LORA_GRAD, EXTENT, "a", -1, NAN, w.rank = SIZE_MAX);
    REFUSE(LORA | LORA_GRAD, EXTENT, "b", -1, NAN, w.lora_rows = SIZE_MAX);
    REFUSE(LORA | LORA_GRAD, EXTENT, "weights", -1, NAN, w.lora_rows = SIZE_MAX; w.rank = 0);
    /* A part where the whole is needed; a workspace that is. */
#define GROUPED w.loss.objective = objective, w.loss.reduction = SURPRISAL_SUM
#define ONE_ROW_LESS w.logits.rows = w.dlogits.rows = w.rows = ROWS - 1
    REFUSE(COMPOSED | SOFTMAX | PER_ROW, NEEDS_WHOLE, "logits", -1, NAN, w.loss.class_weights = NULL;
           w.logits.vocab_total = w.dlogits.vocab_total = w.softmax.vocab_total = 2 * VOCAB);
    for (int32_t objective = 0; surprisal_objective_scope(objective) >= 0; objective++) {
        if (surprisal_objective_scope(objective) == SURPRISAL_SCOPE_TOKEN) {
            ACCEPT(COMPOSED | TERMS, GROUPED; ONE_ROW_LESS);
            ACCEPT(COMPOSED, GROUPED; w.outputs_ = NULL);
            continue;
        }
        REFUSE(COMPOSED | TERMS, NEEDS_WHOLE, "row_start", -1, NAN, GROUPED; ONE_ROW_LESS);
        ACCEPT(STATS | GRAD, GROUPED; ONE_ROW_LESS);
        REFUSE(COMPOSED, MISSING, "terms", -1, NAN, GROUPED; w.outputs_ = NULL);
        REFUSE(COMPOSED, MISSING, "terms", -1, NAN, GROUPED; w.outputs.terms = NULL);
        REFUSE(COMPOSED, MISSING, "stats", -1, NAN, GROUPED; w.outputs.stats = NULL);
    }
}

static void entries(void)
{
    static const int32_t targets[] = {-1, -101, VOCAB, INT32_MAX, INT32_MIN};
    static const int64_t wide[] = {-1, VOCAB, INT64_MAX, INT64_MIN, INT64_C(1) << 32};
    for (size_t i = 0; i < LENGTH(targets); i++) {
        REFUSE(BATCH_VALUES, TARGET, "targets", 2, targets[i], PUT(int32_t, w.batch.targets_i32, 2, targets[i]));
        REFUSE(BATCH_VALUES, TARGET, "targets", 1, (double)wide[i],
               w.batch.targets_i64 = (int64_t *)w.memory[SPARE]; w.batch.targets_i32 = NULL;
               PUT(int64_t, w.batch.targets_i64, 1, wide[i]));
    }
    REFUSE(BATCH_VALUES, TARGET, "targets", 0, -100, w.batch.ignore_index = 0;
           PUT(int32_t, w.batch.targets_i32, 0, -100));
    static const float negative = -0.5F, above_one = 1.5F;
#define REFUSE_FLOAT(calls, array, pointer, value)                                                                    \
    REFUSE(calls, VALUE, array, 3, (double)(value), PUT(float, pointer, 3, value))
    REFUSE_FLOAT(BATCH_VALUES, "token_weights", w.batch.token_weights, negative)
    REFUSE_FLOAT(BATCH_VALUES, "token_weights", w.batch.token_weights, INFINITY)
    REFUSE_FLOAT(BATCH_VALUES, "token_weights", w.batch.token_weights, NAN)
    REFUSE_FLOAT(BATCH_VALUES, "ref_log_probs", w.batch.ref_log_probs, above_one)
    REFUSE_FLOAT(BATCH_VALUES, "ref_log_probs", w.batch.ref_log_probs, NAN)
    REFUSE_FLOAT(BATCH_VALUES, "old_log_probs", w.batch.old_log_probs, above_one)
    REFUSE_FLOAT(BATCH_VALUES, "old_log_probs", w.batch.old_log_probs, NAN)
    REFUSE_FLOAT(BATCH_VALUES, "advantages", w.batch.advantages, -INFINITY)
    REFUSE_FLOAT(BATCH_VALUES, "advantages", w.batch.advantages, NAN)
    REFUSE_FLOAT(WITH_LOSS, "class_weights", w.loss.class_weights, negative)
    REFUSE_FLOAT(WITH_LOSS, "class_weights", w.loss.class_weights, INFINITY)
    REFUSE_FLOAT(WITH_LOSS, "class_weights", w.loss.class_weights, NAN)
    REFUSE(BATCH_VALUES, VALUE, "groups", 1, ROWS, PUT(uint32_t, w.batch.groups, 1, ROWS));
    REFUSE(BATCH_VALUES, VALUE, "groups", 1, UINT32_MAX, PUT(uint32_t, w.batch.groups, 1, UINT32_MAX));
    REFUSE(WITH_BATCH, VALUE, "keep", 1, 2, PUT(uint8_t, w.batch.keep, 1, 2));
    REFUSE(WITH_BATCH, VALUE, "keep", 0, 255, PUT(uint8_t, w.batch.keep, 0, 255));
    /* Both types of an array. */
    REFUSE(WITH_BATCH, OPTION, "targets", -1, NAN, w.batch.targets_i64 = (int64_t *)w.memory[SPARE]);
    REFUSE(WITH_BATCH, OPTION, "cu_seqlens", -1, NAN, w.batch.cu_seqlens_i64 = (int64_t *)w.memory[SPARE]);
}

static void sequences(void)
{
    static const struct {
        int32_t offsets[SEQUENCES + 1];
        int64_t index;
    } wrong[] = {{{1, 2, 4}, 0}, {{0, 5, 4}, 2}, {{0, 2, 5}, 2}, {{0, 2, 3}, 2}, {{0, -1, 4}, 1}, {{-1, 2, 4}, 0},
                 {{0, 4, 2}, 2}, {{0, 2, INT32_MIN}, 2}};
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        REFUSE(BATCH_VALUES, SEQUENCE, "cu_seqlens", wrong[i].index, wrong[i].offsets[wrong[i].index],
               memcpy(get_pointer(offsetof(struct world, batch.cu_seqlens_i32)), wrong[i].offsets,
                      sizeof wrong[i].offsets));
    }
    REFUSE(BATCH_VALUES, SEQUENCE, "cu_seqlens", SEQUENCES, (double)INT64_MAX, w.batch.cu_seqlens_i32 = NULL;
           w.batch.cu_seqlens_i64 = (int64_t *)w.memory[SPARE]; PUT(int64_t, w.memory[SPARE], SEQUENCES, INT64_MAX));
    /* No sequences at all, but rows. */
    REFUSE(BATCH_VALUES, SEQUENCE, "cu_seqlens", 0, 0, w.batch.sequence_count = 0; w.batch.keep = NULL;
           w.batch.pair_count = 0);
    static const surprisal_pair pairs[] = {{0, 0}, {0, SEQUENCES}, {SEQUENCES, 0}, {SIZE_MAX, 0}, {1, SIZE_MAX}};
    for (size_t i = 0; i < LENGTH(pairs); i++) {
        REFUSE(BATCH_VALUES, PAIR, "pairs", 1, NAN, PUT(surprisal_pair, w.batch.pairs, 1, pairs[i]));
    }
#define WITHOUT_SEQUENCES w.batch.sequence_count = 0, w.batch.cu_seqlens_i32 = NULL
    REFUSE(BATCH_VALUES, MISSING, "cu_seqlens", -1, NAN, WITHOUT_SEQUENCES; w.batch.keep = NULL);
    REFUSE(BATCH_VALUES, MISSING, "cu_seqlens", -1, NAN, WITHOUT_SEQUENCES; w.batch.pairs = NULL;
           w.batch.pair_count = 0);
    REFUSE(WITH_LOSS, MISSING, "cu_seqlens", -1, NAN, WITHOUT_SEQUENCES; w.batch.keep = NULL; w.batch.pairs = NULL;
           w.batch.pair_count = 0; w.loss.reduction = SURPRISAL_MEAN_SEQUENCES);
    REFUSE(WITH_LOSS, MISSING, "pairs", -1, NAN, w.batch.pairs = NULL; w.batch.pair_count = 0;
           w.loss.reduction = SURPRISAL_MEAN_PAIRS);
    /* Reductions without meaning. */
    REFUSE(WITH_LOSS, OPTION, "reduction", -1, NAN, w.loss.reduction = SURPRISAL_MEAN_PAIRS);
    static const int32_t of_tokens[] = {SURPRISAL_MEAN_TOKENS, SURPRISAL_MEAN_SEQUENCES, SURPRISAL_MEAN_WEIGHTS};
    for (size_t i = 0; i < LENGTH(of_tokens); i++) {
        REFUSE(WITH_LOSS, OPTION, "reduction", -1, NAN, w.loss.objective = SURPRISAL_DPO;
               w.loss.reduction = of_tokens[i]);
    }
}

int main(void)
{
    ACCEPT(ALL, (void)0);
    options();
    arguments();
    shapes();
    entries();
    sequences();
    return finish("errors");
}
