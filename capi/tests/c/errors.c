/* Every value, option and shape that is refused: the status, the detail, and nothing written. Pointers: memory.c. */
#include "matrix.h"
#include "world.h"

enum {
    MISSING = SURPRISAL_ERROR_MISSING,
    EXTENT = SURPRISAL_ERROR_EXTENT,
    MISALIGNED = SURPRISAL_ERROR_MISALIGNED,
    OVERLAP = SURPRISAL_ERROR_OVERLAP,
    SHAPE = SURPRISAL_ERROR_SHAPE,
    STRUCT_SIZE = SURPRISAL_ERROR_STRUCT_SIZE,
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
            REFUSE(WITH_OPTIONS, OPTION, "reduction_by", -1, i == 1 ? NAN : x,
                   w.loss.reduction = SURPRISAL_REDUCTION_BY; w.loss.reduction_by = x);
        }
        if (i > 2) {
            REFUSE(WITH_LOSS, OPTION, "grad_scale", -1, x, w.loss.grad_scale = (float)x);
        } else {
            ACCEPT(WITH_LOSS, w.loss.grad_scale = (float)x);
        }
        if (i != 1) {
            REFUSE(WITH_OPTIONS, OPTION, "reduction_by", -1, x, w.loss.reduction_by = x);
        }
    }
    REFUSE(WITH_OPTIONS, OPTION, "reduction_by", -1, NAN, w.loss.reduction = SURPRISAL_REDUCTION_BY);
    REFUSE(WITH_LOSS, OPTION, "logit_scale", -1, 0, w.loss.logit_scale = 0);
    static const int32_t unknown[] = {-1, 24, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < LENGTH(unknown); i++) {
        int32_t x = unknown[i];
        REFUSE(WITH_OPTIONS, OPTION, "objective", -1, x, w.loss.objective = x);
        REFUSE(WITH_OPTIONS, OPTION, "reduction", -1, x, w.loss.reduction = x);
        REFUSE(WITH_OPTIONS, OPTION, "extras_scale", -1, x, w.loss.extras_scale = x);
        REFUSE(WITH_OPTIONS, OPTION, "moments", -1, x, w.loss.moments = x);
        REFUSE(WITH_LOGITS, OPTION, "dtype", -1, x, w.logits.dtype = x);
        REFUSE(WITH_RESULT, OPTION, "dtype", -1, x, w.dlogits.dtype = x);
        REFUSE(WITH_RESULT | SOFTMAX, OPTION, "padding", -1, x, w.dlogits.padding = w.softmax.padding = x);
    }
    /* The first number past the end of each. */
    REFUSE(WITH_OPTIONS, OPTION, "reduction", -1, 7, w.loss.reduction = 7);
    REFUSE(WITH_OPTIONS, OPTION, "extras_scale", -1, 2, w.loss.extras_scale = 2);
    REFUSE(WITH_OPTIONS, OPTION, "moments", -1, 2, w.loss.moments = 2);
    /* Between the numbers of f16 and bf16. */
    REFUSE(WITH_LOGITS, OPTION, "dtype", -1, 2, w.logits.dtype = 2);
    REFUSE(WITH_LOGITS, OPTION, "logits", -1, NAN, w.logits.reserved = 1);
    REFUSE(WITH_RESULT | SOFTMAX, OPTION, "padding", -1, 2, w.dlogits.padding = w.softmax.padding = 2);
    /* Logits of any type have a result of any type. */
    for (int z = 0; z < DTYPES; z++) {
        for (int result = 0; result < DTYPES; result++) {
            ACCEPT(WITH_RESULT | SOFTMAX, w.logits.dtype = dtypes[z]; w.dlogits.dtype = w.softmax.dtype = dtypes[result]);
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
    REFUSE(TERMS | COUNT | ORACLE | SURROGATE, SHAPE, "vocab", -1, NAN, w.vocab = 0; w.loss.class_weights = NULL);
    REFUSE(WITH_LOGITS, SHAPE, "logits", -1, NAN, w.logits.row_stride = VOCAB - 1);
    REFUSE(WITH_LOGITS, SHAPE, "logits", -1, NAN, w.logits.row_start = 1);
    REFUSE(WITH_LOGITS, SHAPE, "logits", -1, NAN, w.logits.row_start = SIZE_MAX);
    REFUSE(WITH_LOGITS, SHAPE, "logits", -1, NAN, w.logits.vocab_start = 1);
    REFUSE(WITH_LOGITS, SHAPE, "logits", -1, NAN, w.logits.vocab_start = SIZE_MAX);
    REFUSE(WITH_LOGITS, SHAPE, "logits", -1, NAN, w.logits.vocab_total = VOCAB - 1);
    REFUSE(WITH_LOGITS & WITH_BATCH, SHAPE, "logits", -1, ROWS + 1, w.logits.rows_total = ROWS + 1);
    REFUSE(WITH_LOGITS & WITH_BATCH, SHAPE, "logits", -1, ROWS - 1, w.logits.rows = ROWS - 1; w.logits.rows_total = 0);
    REFUSE(TERMS, SHAPE, "row_start", -1, 1, w.row_start = 1);
    REFUSE(TERMS, SHAPE, "row_start", -1, (double)SIZE_MAX, w.row_start = SIZE_MAX);
    REFUSE(TERMS, SHAPE, "row_start", -1, 0, w.rows = ROWS + 1);
    /* Rows that the matrix lacks, of a matrix that is a part itself. */
    REFUSE(WITH_LOGITS, SHAPE, "logits", -1, NAN, w.logits = surprisal_logits_rows(surprisal_logits_rows(w.logits, 1, 3), 0, 3));
    REFUSE(WITH_LOGITS, SHAPE, "logits", -1, NAN, w.logits = surprisal_logits_rows(w.logits, 2, 1));
    REFUSE(WITH_RESULT, SHAPE, "dlogits", -1, NAN,
           w.dlogits = surprisal_logits_mut_rows(surprisal_logits_mut_rows(w.dlogits, 1, 3), 0, 3));
    REFUSE(SIMPLE, EXTENT, "logits", -1, NAN, w.vocab = SIZE_MAX);
    REFUSE(SIMPLE, SHAPE, "vocab", -1, NAN, w.vocab = 0);
    /* 0 stands for what follows from the rest. */
    ACCEPT(WITH_LOGITS, w.logits.row_stride = w.logits.rows_total = w.logits.vocab_total = 0);
    /* The result has the logits' place, or names none. */
    REFUSE(WITH_RESULT, SHAPE, "dlogits", -1, NAN, w.dlogits.rows = ROWS - 1);
    REFUSE(WITH_RESULT, SHAPE, "dlogits", -1, NAN, w.dlogits.vocab = w.dlogits.vocab_total = VOCAB - 1);
    REFUSE(WITH_RESULT, SHAPE, "dlogits", -1, NAN, w.dlogits.rows = VOCAB; w.dlogits.rows_total = VOCAB);
    REFUSE(WITH_RESULT, SHAPE, "dlogits", -1, NAN, w.dlogits.row_stride = VOCAB - 1);
    REFUSE(WITH_RESULT, SHAPE, "vocab", -1, NAN, w.dlogits.vocab = 0);
    REFUSE(WITH_RESULT, SHAPE, "dlogits", -1, 1, w.dlogits.vocab_total = VOCAB + 1; w.dlogits.vocab_start = 1);
    REFUSE(SOFTMAX, SHAPE, "out", -1, 0, w.softmax.vocab_total = VOCAB + 1);
    REFUSE(GRAD, SHAPE, "dlogits", -1, 2, w.logits.vocab_start = 1; w.dlogits.vocab_start = 2;
           w.logits.vocab_total = w.dlogits.vocab_total = 2 * VOCAB; w.loss.class_weights = NULL);
    ACCEPT(GRAD, w.logits.vocab_start = 1; w.logits.vocab_total = 2 * VOCAB; w.loss.class_weights = NULL);
    REFUSE(WITH_RESULT, SHAPE, "dlogits", -1, 1, w.logits.rows = w.dlogits.rows = ROWS - 1; w.dlogits.row_start = 1);
    ACCEPT(GRAD, w.logits.rows = w.dlogits.rows = w.dlogits.rows_total = ROWS - 1; w.logits.row_start = 1);
    REFUSE(SOFTMAX, SHAPE, "out", -1, NAN, w.softmax.rows = ROWS - 1);
    /* Sizes that overflow: of the matrix, of its bytes, of the arrays. */
    REFUSE(WITH_LOGITS, EXTENT, "logits", -1, NAN, w.logits.row_stride = SIZE_MAX / 2);
    REFUSE(WITH_LOGITS, EXTENT, "logits", -1, NAN, w.logits.row_stride = SIZE_MAX / 16);
    REFUSE(WITH_RESULT, EXTENT, "dlogits", -1, NAN, w.dlogits.row_stride = SIZE_MAX / 2);
    REFUSE(WITH_RESULT, EXTENT, "dlogits", -1, NAN, w.dlogits.row_stride = SIZE_MAX / 16);
    REFUSE(SOFTMAX, EXTENT, "out", -1, NAN, w.softmax.row_stride = SIZE_MAX / 2);
    REFUSE(WITH_BATCH & ~WITH_LOGITS & ~TERMS, EXTENT, "targets", -1, NAN, w.batch.rows = SIZE_MAX);
    REFUSE(WITH_BATCH, EXTENT, "sequence_count", -1, NAN, w.batch.sequence_count = SIZE_MAX);
    REFUSE(WITH_BATCH, EXTENT, "cu_seqlens", -1, NAN, w.batch.sequence_count = SIZE_MAX / 4);
    REFUSE(WITH_BATCH, EXTENT, "pairs", -1, NAN, w.batch.pair_count = SIZE_MAX / 4);
    REFUSE(WITH_LOSS & WITH_LOGITS, EXTENT, "class_weights", -1, NAN, w.logits.vocab_total = SIZE_MAX / 4);
    REFUSE(TERMS | COUNT | ORACLE | SURROGATE, EXTENT, "class_weights", -1, NAN, w.vocab = SIZE_MAX / 4);
    REFUSE(ORACLE | SURROGATE, EXTENT, "logits", -1, NAN, w.vocab = SIZE_MAX; w.loss.class_weights = NULL);
    REFUSE(HISTOGRAM, EXTENT, "bins", -1, NAN, w.bin_count = SIZE_MAX / 8);
    REFUSE(L2 | WISE, EXTENT, "parameters", -1, NAN, w.count = SIZE_MAX / 4);
    REFUSE(MERGE, EXTENT, "part", -1, NAN, w.count = SIZE_MAX);
    REFUSE(REBASE, EXTENT, "stats", -1, NAN, w.count = SIZE_MAX / 48);
    REFUSE(CHECK_GRADIENT, EXTENT, "x", -1, NAN, w.count = SIZE_MAX / 8);
    REFUSE(LORA | LORA_GRAD, EXTENT, "a", -1, NAN, w.rank = SIZE_MAX);
    REFUSE(LORA | LORA_GRAD, EXTENT, "b", -1, NAN, w.lora_rows = SIZE_MAX);
    REFUSE(LORA | LORA_GRAD, EXTENT, "weights", -1, NAN, w.lora_rows = SIZE_MAX; w.rank = 0);
}

#define OBJECTIVE w.loss.objective = objective, w.loss.reduction = SURPRISAL_REDUCTION_SUM
#define ONE_ROW_LESS w.logits.rows = w.dlogits.rows = w.rows = ROWS - 1

/* A part where the whole is needed. */
static void parts(void)
{
    REFUSE(COMPOSED | SOFTMAX | PER_ROW, NEEDS_WHOLE, "logits", -1, NAN, w.loss.class_weights = NULL;
           w.logits.vocab_total = w.dlogits.vocab_total = w.softmax.vocab_total = 2 * VOCAB);
    for (int32_t objective = 0; surprisal_objective_scope(objective) >= 0; objective++) {
        ACCEPT(STATS | GRAD, OBJECTIVE; ONE_ROW_LESS);
        if (surprisal_objective_scope(objective) == SURPRISAL_SCOPE_TOKEN) {
            ACCEPT(GROUPED, OBJECTIVE; ONE_ROW_LESS);
        } else {
            REFUSE(GROUPED, NEEDS_WHOLE, "row_start", -1, NAN, OBJECTIVE; ONE_ROW_LESS);
        }
    }
}

/* A workspace that is needed, too small, misaligned or larger than memory. */
static void workspaces(void)
{
    enum { A_ROW = sizeof(surprisal_stats) + 3 * sizeof(surprisal_term) + sizeof(double) };
    static const size_t too_small[] = {0, 1, VOCAB * sizeof(float) - 1};
    for (size_t i = 0; i < LENGTH(too_small); i++) {
        REFUSE(COMPOSED, SHAPE, "workspace", -1, (double)too_small[i], w.workspace.size = too_small[i]);
        ACCEPT(TERMS, w.workspace.size = too_small[i]);
    }
    ACCEPT(COMPOSED, w.workspace.size = VOCAB * sizeof(float));
    ACCEPT(GROUPED, w.workspace.size = 0; w.workspace.data = NULL);
    for (int32_t objective = 0; surprisal_objective_scope(objective) >= 0; objective++) {
        if (surprisal_objective_scope(objective) == SURPRISAL_SCOPE_TOKEN) {
            ACCEPT(GROUPED, OBJECTIVE; w.workspace_ = NULL);
            continue;
        }
        ACCEPT(GROUPED, OBJECTIVE; w.workspace.size = ROWS * A_ROW; w.outputs_ = NULL);
        REFUSE(GROUPED, SHAPE, "workspace", -1, ROWS * A_ROW - 1, OBJECTIVE; w.workspace.size = ROWS * A_ROW - 1);
        REFUSE(GROUPED, MISALIGNED, "workspace", -1, NAN, OBJECTIVE;
               w.workspace.data = (char *)w.workspace.data + 4);
        REFUSE(GROUPED, MISSING, "workspace", -1, NAN, OBJECTIVE; w.workspace.data = NULL);
        REFUSE(GROUPED, MISSING, "workspace", -1, NAN, OBJECTIVE; w.workspace.data = NULL; w.workspace.size = 0);
        REFUSE(GROUPED, MISSING, "workspace", -1, NAN, OBJECTIVE; w.workspace_ = NULL);
        REFUSE(COMPOSED, OVERLAP, "workspace", -1, NAN, OBJECTIVE;
               w.workspace.data = get_pointer(offsetof(struct world, logits.data)));
        REFUSE(LEND, EXTENT, "workspace", -1, NAN, OBJECTIVE; w.rows = SIZE_MAX / A_ROW + 1);
    }
    REFUSE(LEND, EXTENT, "workspace", -1, NAN, w.vocab = SIZE_MAX / 4 + 1);
    REFUSE(LEND, EXTENT, "workspace", -1, NAN, w.vocab = SIZE_MAX);
}

/* What a mean of a range must know of the batch. */
static void denominators(void)
{
    enum { MEANS = COMPOSED | TERMS };
    static const int32_t means[] = {SURPRISAL_REDUCTION_MEAN_TOKENS, SURPRISAL_REDUCTION_MEAN_SEQUENCES, SURPRISAL_REDUCTION_MEAN_WEIGHTS};
    for (size_t i = 0; i < LENGTH(means); i++) {
        int32_t reduction = means[i];
        int of_sequences = reduction == SURPRISAL_REDUCTION_MEAN_SEQUENCES;
#define RANGE                                                                                                         \
    w.loss.reduction = reduction;                                                                                     \
    ONE_ROW_LESS;                                                                                                     \
    CHECK_OK(surprisal_loss_denominator(&w.loss, &w.batch, VOCAB, w.sequence_tokens, &w.denominator, NULL));          \
    w.batch.denominator = &w.denominator
        ACCEPT(MEANS, RANGE);
        ACCEPT(STATS | GRAD | LOG_PROBS, RANGE; w.batch.denominator = NULL);
        REFUSE(MEANS, MISSING, "denominator", -1, NAN, RANGE; w.batch.denominator = NULL);
        REFUSE(MEANS, MISALIGNED, "denominator", -1, NAN, RANGE;
               set_pointer(offsetof(struct world, batch.denominator), (char *)&w.denominator + 1));
        for (int32_t other = SURPRISAL_REDUCTION_DEFAULT; other <= SURPRISAL_REDUCTION_BY + 1; other++) {
            if (other != reduction) {
                REFUSE(MEANS, OPTION, "denominator", -1, other, RANGE; w.denominator.reduction = other);
            }
        }
        REFUSE(MEANS, SHAPE, "denominator", -1, 1, RANGE; w.denominator.sequence_count = 1);
        if (of_sequences) {
            REFUSE(MEANS, MISSING, "sequence_tokens", -1, NAN, RANGE; w.denominator.sequence_tokens = NULL);
            REFUSE(MEANS, MISALIGNED, "sequence_tokens", -1, NAN, RANGE;
                   set_pointer(offsetof(struct world, denominator.sequence_tokens), (char *)w.sequence_tokens + 1));
            REFUSE(MEANS, EXTENT, "sequence_tokens", -1, NAN, RANGE;
                   set_pointer(offsetof(struct world, denominator.sequence_tokens), (void *)(UINTPTR_MAX - 3)));
            REFUSE(COUNT, MISSING, "sequence_tokens", -1, NAN, w.loss.reduction = reduction; w.sequence_tokens = NULL);
            REFUSE(COUNT, OVERLAP, "sequence_tokens", -1, NAN, w.loss.reduction = reduction;
                   set_pointer(offsetof(struct world, sequence_tokens), w.batch.targets_i32));
        } else {
            ACCEPT(COUNT, w.loss.reduction = reduction; w.sequence_tokens = NULL);
        }
        /* Calls on the whole batch do not look at it, nor does the one that fills it. */
        ACCEPT(MEANS, w.loss.reduction = reduction; memset(&w.denominator, 0x5c, sizeof w.denominator); w.batch.denominator = &w.denominator);
        ACCEPT(COUNT, w.loss.reduction = reduction; w.batch.denominator = &w.denominator);
    }
    static const int32_t others[] = {SURPRISAL_REDUCTION_SUM, SURPRISAL_REDUCTION_BY};
    for (size_t i = 0; i < LENGTH(others); i++) {
        ACCEPT(MEANS, w.loss.reduction = others[i]; w.loss.reduction_by = i == 0 ? 0 : 3; ONE_ROW_LESS);
    }
}

/* Names that are none, and what a name stands for. */
static void setters(void)
{
    static const char *const no_numbers[] = {"", "taus", "objective", "reduction", "struct_size", "class_weights"};
    static const char *const no_choices[] = {"", "tau", "label_smoothing", "dtype", "scope"};
    for (size_t i = 0; i < LENGTH(no_numbers); i++) {
        REFUSE(SET, OPTION, "name", -1, NAN, w.number_name = no_numbers[i]);
    }
    for (size_t i = 0; i < LENGTH(no_choices); i++) {
        REFUSE(CHOOSE, OPTION, "name", -1, NAN, w.name = no_choices[i]);
    }
    REFUSE(SET, MISSING, "name", -1, NAN, w.number_name = NULL);
    REFUSE(CHOOSE, MISSING, "name", -1, NAN, w.name = NULL);
    REFUSE(CHOOSE, MISSING, "choice", -1, NAN, w.choice = NULL);
    REFUSE(CHOOSE, OPTION, "reduction", -1, NAN, w.choice = "dft");
    REFUSE(CHOOSE, OPTION, "objective", -1, NAN, w.name = "objective");
    REFUSE(CHOOSE, OPTION, "extras_scale", -1, NAN, w.name = "extras_scale");
    REFUSE(CHOOSE, OPTION, "choice", -1, NAN, w.name = "kl");
    REFUSE(CHOOSE, OPTION, "kl", -1, SURPRISAL_KL_K1, w.name = "kl"; w.choice = "k1");
    REFUSE(SET, OPTION, "moments", -1, 2, w.number_name = "moments"; w.value = 2);
    REFUSE(SET, OPTION, "moments", -1, NAN, w.number_name = "moments"; w.value = NAN);
    REFUSE(SET, OPTION, "objective", -1, 99, w.number_name = "tau"; w.loss.objective = (surprisal_objective)99);
    /* In any case, and with either dash. */
    ACCEPT(SET, w.number_name = "Label-Smoothing"; w.value = 0.25);
    CHECK_CLOSE((double)w.loss.label_smoothing, 0.25, 0);
    ACCEPT(CHOOSE, w.name = "Objective"; w.choice = "TALR_Auto");
    CHECK_EQUAL(w.loss.objective, SURPRISAL_OBJECTIVE_TALR_AUTO);
    ACCEPT(CHOOSE, w.loss.objective = SURPRISAL_OBJECTIVE_GRPO; w.name = "KL"; w.choice = "k3_clamped");
    CHECK_CLOSE(w.loss.parameters[0].value, SURPRISAL_KL_K3_CLAMPED, 0);
    /* The same parameter again, and another objective. */
    CHECK_OK(surprisal_loss_set(&w.loss, "kl", SURPRISAL_KL_K1, NULL));
    CHECK_OK(surprisal_loss_set(&w.loss, "beta", 0.5, NULL));
    CHECK(w.loss.parameters[0].value == SURPRISAL_KL_K1 && w.loss.parameters[1].value == 0.5 &&
              w.loss.parameters[2].id == 0, "parameters are not kept one after the other");
    CHECK_OK(surprisal_loss_set_choice(&w.loss, "objective", "grpo", NULL));
    CHECK(w.loss.parameters[1].value == 0.5, "parameters are forgotten");
    CHECK_OK(surprisal_loss_set_choice(&w.loss, "objective", "dpo", NULL));
    CHECK(w.loss.parameters[0].id == 0 && w.loss.parameters[1].id == 0, "parameters of another objective are kept");
    /* What no setter writes. */
    REFUSE(WITH_OPTIONS, OPTION, "parameters", -1, 77, w.loss.parameters[3].id = 77);
    REFUSE(WITH_OPTIONS, OPTION, "parameters", -1, -1, w.loss.parameters[0].id = -1);
}

/* The simple case takes what needs nothing but targets. */
static void simple(void)
{
    for (int32_t objective = 0; surprisal_enum_name("objective", objective) != NULL; objective++) {
        static const int32_t with_inputs[] = {SURPRISAL_OBJECTIVE_IW_TOKEN, SURPRISAL_OBJECTIVE_PSFT, SURPRISAL_OBJECTIVE_PPO,
                                              SURPRISAL_OBJECTIVE_GRPO, SURPRISAL_OBJECTIVE_DAPO, SURPRISAL_OBJECTIVE_CISPO};
        int needs_inputs = 0;
        for (size_t i = 0; i < LENGTH(with_inputs); i++) {
            needs_inputs |= objective == with_inputs[i];
        }
        if (surprisal_objective_scope((surprisal_objective)objective) == SURPRISAL_SCOPE_GROUP) {
            REFUSE(SIMPLE, OPTION, "objective", -1, NAN, w.objective = objective);
        } else if (!needs_inputs) {
            ACCEPT(SIMPLE, w.objective = objective);
            ACCEPT(SIMPLE, w.objective = objective; w.simple_dlogits = NULL);
            ACCEPT(SIMPLE, w.objective = objective; w.simple_dlogits = (float *)w.simple_logits);
        } else {
            const char *input = objective == SURPRISAL_OBJECTIVE_IW_TOKEN ? "ref_log_probs" : "old_log_probs";
            REFUSE(SIMPLE, MISSING, input, -1, NAN, w.objective = objective);
        }
    }
    REFUSE(SIMPLE, OPTION, "objective", -1, 24, w.objective = 24);
    REFUSE(SIMPLE, TARGET, "targets", 1, VOCAB, PUT(int32_t, w.simple_targets, 1, VOCAB));
    REFUSE(SIMPLE, OVERLAP, "dlogits", -1, NAN, w.simple_dlogits = (float *)w.simple_logits + 1);
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
           w.batch.pair_count = 0; w.loss.reduction = SURPRISAL_REDUCTION_MEAN_SEQUENCES);
    REFUSE(WITH_LOSS, MISSING, "pairs", -1, NAN, w.batch.pairs = NULL; w.batch.pair_count = 0;
           w.loss.reduction = SURPRISAL_REDUCTION_MEAN_PAIRS);
    /* Reductions without meaning. */
    REFUSE(WITH_LOSS, OPTION, "reduction", -1, NAN, w.loss.reduction = SURPRISAL_REDUCTION_MEAN_PAIRS);
    /* The objective's own is one that it has. */
    ACCEPT(WITH_LOSS, w.loss.objective = SURPRISAL_OBJECTIVE_DPO; w.loss.reduction = SURPRISAL_REDUCTION_DEFAULT);
    static const int32_t of_tokens[] = {SURPRISAL_REDUCTION_MEAN_TOKENS, SURPRISAL_REDUCTION_MEAN_SEQUENCES, SURPRISAL_REDUCTION_MEAN_WEIGHTS};
    for (size_t i = 0; i < LENGTH(of_tokens); i++) {
        REFUSE(WITH_LOSS, OPTION, "reduction", -1, NAN, w.loss.objective = SURPRISAL_OBJECTIVE_DPO;
               w.loss.reduction = of_tokens[i]);
    }
}

int main(void)
{
    ACCEPT(ALL, (void)0);
    options();
    arguments();
    shapes();
    parts();
    workspaces();
    denominators();
    setters();
    simple();
    entries();
    sequences();
    return finish("errors");
}
