/* The output layer and the loss in one: against the composed path over the same products, and what is refused. */
#include "check.h"
#include "surprisal.h"

enum { ROWS = 9, D = 3, VOCAB = 5, SEQUENCES = 3, ROOM = 16384 };

static const int32_t targets[ROWS] = {0, 4, -100, 2, 3, -100, -100, 1, 2};
static const int32_t offsets[SEQUENCES + 1] = {0, 3, 6, ROWS};

/* All that the calls take, in one block, so that "nothing was written" is one memcmp. */
static struct world {
    surprisal_loss loss;
    surprisal_batch batch;
    surprisal_gemm gemm;
    surprisal_matrix hidden, weight;
    surprisal_matrix_mut dhidden, dweight;
    surprisal_linear_layer layer;
    surprisal_linear_gradients gradients;
    surprisal_outputs outputs;
    surprisal_workspace workspace;
    surprisal_denominator denominator;
    surprisal_report report;
    surprisal_stats stats[ROWS];
    surprisal_term terms[ROWS];
    float h[ROWS * D + D], w[VOCAB * D], bias[VOCAB], dh[ROWS * D], dw[VOCAB * D], dbias[VOCAB];
    float old[ROWS], advantages[ROWS], nll[ROWS], entropy[ROWS];
    uint32_t argmax[ROWS];
    uint16_t h16[ROWS * D], w16[VOCAB * D], dh16[ROWS * D], dw16[VOCAB * D];
    double memory[ROOM / 8];
} w, before;

static int products, tasks_called;

static void product(const surprisal_gemm *gemm, size_t m, size_t n, size_t k, const float *a, size_t a_rows, size_t a_cols,
                    const float *b, size_t b_rows, size_t b_cols, float beta, float *c, size_t c_rows, size_t c_cols)
{
    CHECK(gemm == &w.gemm && gemm->context == &products, "the product is not given the caller's struct");
    CHECK(m > 0 && n > 0 && k > 0 && (beta == 0 || beta == 1), "%zu x %zu x %zu, beta %g", m, n, k, (double)beta);
    products++;
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            float *entry = &c[i * c_rows + j * c_cols], sum = 0;
            for (size_t l = 0; l < k; l++) {
                sum += a[i * a_rows + l * a_cols] * b[l * b_rows + j * b_cols];
            }
            *entry = beta == 0 ? sum : *entry + sum;
        }
    }
}

/* Backwards, the first twice, the last not at all. */
static void odd_threads(const surprisal_gemm *gemm, size_t tasks, void (*task)(void *work, size_t index), void *work)
{
    CHECK(gemm == &w.gemm, "the threads are not given the caller's struct");
    tasks_called += (int)tasks;
    for (size_t i = tasks - 1; i-- > 0;) {
        task(work, i);
    }
    task(work, 0);
    task(work, tasks);
}

static float from_bf16(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* Of a number that bf16 has. */
static uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)(bits >> 16);
}

/* Operands that bf16 has, and a call that wants everything. */
static void fresh(void)
{
    static const surprisal_loss loss = SURPRISAL_LOSS_INIT;
    static const surprisal_batch batch = SURPRISAL_BATCH_INIT;
    static const surprisal_gemm gemm = SURPRISAL_GEMM_INIT;
    static const surprisal_linear_layer layer = SURPRISAL_LINEAR_LAYER_INIT;
    static const surprisal_linear_gradients gradients = SURPRISAL_LINEAR_GRADIENTS_INIT;
    static const surprisal_outputs outputs = SURPRISAL_OUTPUTS_INIT;
    memset(&w, 0x5c, sizeof w);
    for (int i = 0; i < ROWS * D; i++) {
        w.h[i] = (float)(i * 7 % 16 - 8) / 8;
        w.h16[i] = to_bf16(w.h[i]);
    }
    for (int i = 0; i < VOCAB * D; i++) {
        w.w[i] = (float)(i * 11 % 16 - 8) / 4;
        w.w16[i] = to_bf16(w.w[i]);
        w.dw[i] = 0.5F;
        w.dw16[i] = to_bf16(0.5F);
    }
    for (int i = 0; i < VOCAB; i++) {
        w.bias[i] = (float)i / 4;
        w.dbias[i] = 2;
    }
    for (int i = 0; i < ROWS; i++) {
        w.old[i] = -1.5F;
        w.advantages[i] = i % 2 == 0 ? 1 : -0.5F;
    }
    w.loss = loss;
    w.batch = batch;
    w.batch.rows = ROWS;
    w.batch.targets_i32 = targets;
    w.batch.cu_seqlens_i32 = offsets;
    w.batch.sequence_count = SEQUENCES;
    w.batch.old_log_probs = w.old;
    w.batch.advantages = w.advantages;
    w.gemm = gemm;
    w.gemm.context = &products;
    w.gemm.product = product;
    w.hidden = surprisal_matrix_f32(w.h, ROWS, D);
    w.weight = surprisal_matrix_f32(w.w, VOCAB, D);
    w.dhidden = surprisal_matrix_mut_f32(w.dh, ROWS, D);
    w.dweight = surprisal_matrix_mut_f32(w.dw, VOCAB, D);
    w.layer = layer;
    w.layer.weight = &w.weight;
    w.layer.bias = w.bias;
    w.layer.gemm = &w.gemm;
    w.gradients = gradients;
    w.gradients.hidden = &w.dhidden;
    w.gradients.weight = &w.dweight;
    w.gradients.bias = w.dbias;
    w.outputs = outputs;
    w.outputs.nll = w.nll;
    w.outputs.entropy = w.entropy;
    w.outputs.argmax = w.argmax;
    w.workspace = (surprisal_workspace){sizeof(surprisal_workspace), w.memory, sizeof w.memory};
}

/* A workspace for chunks of so many rows. */
static void lend(size_t rows)
{
    CHECK_OK(surprisal_linear_workspace_size(&w.loss, &w.layer, ROWS, rows, &w.workspace.size, NULL));
    CHECK(w.workspace.size <= sizeof w.memory, "%zu bytes", w.workspace.size);
}

static surprisal_status run(surprisal_error_detail *detail)
{
    return surprisal_linear_forward_backward(&w.loss, &w.layer, &w.batch, &w.hidden, &w.gradients, &w.outputs, &w.workspace,
                                             &w.report, detail);
}

/* What the calls on whole logits and the same products give. */
static struct composed {
    surprisal_report report;
    float dh[ROWS * D], dw[VOCAB * D], dbias[VOCAB], nll[ROWS], entropy[ROWS];
    uint32_t argmax[ROWS];
} compose(void)
{
    float z[ROWS * VOCAB];
    double memory[ROOM / 8];
    surprisal_workspace workspace = {sizeof workspace, memory, sizeof memory};
    surprisal_outputs outputs = SURPRISAL_OUTPUTS_INIT;
    surprisal_logits_mut logits = surprisal_logits_mut_f32(z, ROWS, VOCAB);
    surprisal_logits same = surprisal_logits_of_mut(logits);
    struct composed c;
    memset(&c, 0, sizeof c);
    outputs.nll = c.nll;
    outputs.entropy = c.entropy;
    outputs.argmax = c.argmax;
    for (int i = 0; i < ROWS * VOCAB; i++) {
        z[i] = w.bias[i % VOCAB];
    }
    product(&w.gemm, ROWS, VOCAB, D, w.h, D, 1, w.w, 1, D, 1, z, VOCAB, 1);
    CHECK_OK(surprisal_forward_backward(&w.loss, &w.batch, &same, &logits, &outputs, &workspace, &c.report, NULL));
    product(&w.gemm, ROWS, D, VOCAB, z, VOCAB, 1, w.w, D, 1, 0, c.dh, D, 1);
    memcpy(c.dw, w.dw, sizeof c.dw);
    product(&w.gemm, VOCAB, D, ROWS, z, 1, VOCAB, w.h, D, 1, 1, c.dw, D, 1);
    for (int i = 0; i < ROWS * VOCAB; i++) {
        c.dbias[i % VOCAB] += z[i];
    }
    return c;
}

static void check_result(const struct composed *c)
{
    CHECK_CLOSE(w.report.loss, c->report.loss, 1e-12);
    CHECK_EQUAL(w.report.tokens, 6);
    CHECK_EQUAL(w.report.correct, c->report.correct);
    CHECK_BYTES(w.nll, c->nll, sizeof w.nll);
    CHECK_BYTES(w.entropy, c->entropy, sizeof w.entropy);
    CHECK_BYTES(w.argmax, c->argmax, sizeof w.argmax);
    CHECK_BYTES(w.dh, c->dh, sizeof w.dh);
    for (int i = 0; i < VOCAB * D; i++) {
        CHECK_CLOSE((double)w.dw[i], (double)c->dw[i], 1e-6);
    }
    for (int i = 0; i < VOCAB; i++) {
        CHECK_CLOSE((double)w.dbias[i], 2 + (double)c->dbias[i], 1e-6);
    }
}

/* Objectives of either scope, in chunks of one row, of some and of all, by whatever threads. */
static void whole(void)
{
    static const int32_t objectives[] = {SURPRISAL_OBJECTIVE_SFT, SURPRISAL_OBJECTIVE_DFT, SURPRISAL_OBJECTIVE_PPO,
                                         SURPRISAL_OBJECTIVE_GSPO, SURPRISAL_OBJECTIVE_TALR_AUTO};
    for (size_t i = 0; i < LENGTH(objectives); i++) {
        for (size_t rows = 0; rows <= 6; rows += 2) {
            fresh();
            snprintf(subject, sizeof subject, "objective %d, chunks of %zu", (int)objectives[i], rows);
            w.loss.objective = objectives[i];
            w.gemm.parallel = rows == 4 ? odd_threads : NULL;
            struct composed c = compose();
            lend(rows == 2 ? 1 : rows);
            products = 0;
            CHECK_OK(run(NULL));
            check_result(&c);
            if (rows == 0) {
                CHECK_EQUAL(products, 3);
            }
        }
    }
    *subject = '\0';
}

/* Each gradient for itself, none, and no loss of work. */
static void asked(void)
{
    fresh();
    struct composed c = compose();
    static const int counts[] = {1, 2, 2, 1};
    for (int which = 0; which < 4; which++) {
        fresh();
        w.gradients.hidden = which == 1 ? &w.dhidden : NULL;
        w.gradients.weight = which == 2 ? &w.dweight : NULL;
        w.gradients.bias = which == 3 ? w.dbias : NULL;
        products = 0;
        CHECK_OK(surprisal_linear_forward_backward(&w.loss, &w.layer, &w.batch, &w.hidden, which == 0 ? NULL : &w.gradients, NULL,
                                                   &w.workspace, &w.report, NULL));
        CHECK_EQUAL(products, counts[which]);
        CHECK_CLOSE(w.report.loss, c.report.loss, 1e-12);
        if (which == 1) {
            CHECK_BYTES(w.dh, c.dh, sizeof w.dh);
        }
        CHECK(which == 1 || memcmp(w.dh, w.dh16, 4) == 0, "dH was written");
        CHECK((which == 2) == (w.dw[0] != 0.5F), "dW is %g", (double)w.dw[0]);
        CHECK((which == 3) == (w.dbias[0] != 2), "dbias is %g", (double)w.dbias[0]);
    }
}

/* bf16 in, with gradients in bf16 that are those of f32, rounded; transposed weights. */
static void types(void)
{
    fresh();
    CHECK_OK(run(NULL));
    float dh[ROWS * D], dw[VOCAB * D];
    memcpy(dh, w.dh, sizeof dh);
    memcpy(dw, w.dw, sizeof dw);
    fresh();
    for (int i = 0; i < VOCAB * D; i++) {
        w.w16[i % D * VOCAB + i / D] = to_bf16(w.w[i]);
    }
    w.hidden = surprisal_matrix_bf16(w.h16, ROWS, D);
    w.weight = surprisal_matrix_bf16(w.w16, VOCAB, D);
    w.weight.row_stride = 1;
    w.weight.col_stride = VOCAB;
    w.dhidden = surprisal_matrix_mut_bf16(w.dh16, ROWS, D);
    w.dweight = surprisal_matrix_mut_bf16(w.dw16, VOCAB, D);
    lend(2);
    CHECK_OK(run(NULL));
    for (int i = 0; i < ROWS * D; i++) {
        double actual = (double)from_bf16(w.dh16[i]);
        CHECK_CLOSE(actual, (double)dh[i], fabs((double)dh[i]) / 256 + 1e-7);
    }
    for (int i = 0; i < VOCAB * D; i++) {
        CHECK_CLOSE((double)from_bf16(w.dw16[i]), (double)dw[i], fabs((double)dw[i]) / 64);
    }
}

/* Ranges of rows, and shards of the vocabulary. */
static void parts(void)
{
    fresh();
    struct composed c = compose();
    surprisal_report sum = SURPRISAL_REPORT_INIT;
    CHECK_OK(surprisal_loss_denominator(&w.loss, &w.batch, VOCAB, NULL, &w.denominator, NULL));
    w.batch.denominator = &w.denominator;
    surprisal_matrix all = w.hidden;
    surprisal_matrix_mut result = w.dhidden;
    for (size_t begin = 0; begin < ROWS; begin += 4) {
        size_t end = begin + 4 < ROWS ? begin + 4 : ROWS;
        w.hidden = surprisal_matrix_rows(all, begin, end);
        w.dhidden = surprisal_matrix_mut_rows(result, begin, end);
        CHECK_OK(run(NULL));
        CHECK_OK(surprisal_report_merge(&sum, &w.report, NULL));
    }
    w.report = sum;
    check_result(&c);

    fresh();
    w.loss.objective = SURPRISAL_OBJECTIVE_GSPO;
    c = compose();
    surprisal_stats part[ROWS];
    float dh[ROWS * D] = {0};
    CHECK_OK(surprisal_stats_init(w.stats, ROWS, NULL));
    surprisal_matrix vocabulary = w.weight;
    surprisal_matrix_mut dvocabulary = w.dweight;
    for (size_t begin = 0; begin < VOCAB; begin += 3) {
        w.weight = surprisal_matrix_rows(vocabulary, begin, begin == 0 ? 3 : VOCAB);
        w.layer.bias = w.bias + begin;
        CHECK_OK(surprisal_linear_row_stats(&w.loss, &w.layer, &w.batch, &w.hidden, part, &w.workspace, NULL));
        CHECK_OK(surprisal_stats_merge(part, w.stats, ROWS, NULL));
    }
    CHECK_OK(surprisal_token_terms(&w.loss, &w.batch, VOCAB, 0, ROWS, w.stats, w.terms, &w.workspace, &w.report, NULL));
    CHECK_CLOSE(w.report.loss, c.report.loss, 1e-6);
    for (size_t begin = 0; begin < VOCAB; begin += 3) {
        w.weight = surprisal_matrix_rows(vocabulary, begin, begin == 0 ? 3 : VOCAB);
        w.dweight = surprisal_matrix_mut_rows(dvocabulary, begin, begin == 0 ? 3 : VOCAB);
        w.layer.bias = w.bias + begin;
        w.gradients.bias = w.dbias + begin;
        CHECK_EQUAL(run(NULL), SURPRISAL_ERROR_NEEDS_WHOLE);
        CHECK_OK(surprisal_linear_backward(&w.loss, &w.layer, &w.batch, &w.hidden, w.stats, w.terms, &w.gradients, &w.workspace, NULL));
        for (int i = 0; i < ROWS * D; i++) {
            dh[i] += w.dh[i];
        }
    }
    for (int i = 0; i < ROWS * D; i++) {
        CHECK_CLOSE((double)dh[i], (double)c.dh[i], 1e-6);
    }
    for (int i = 0; i < VOCAB * D; i++) {
        CHECK_CLOSE((double)w.dw[i], (double)c.dw[i], 1e-6);
    }
}

/* A changed call is refused, names the argument, and has written nothing. */
#define REFUSE(expected, name, ...)                                                                                   \
    do {                                                                                                              \
        surprisal_error_detail detail;                                                                                \
        fresh();                                                                                                      \
        __VA_ARGS__;                                                                                                  \
        before = w;                                                                                                   \
        surprisal_status status = run(&detail);                                                                       \
        CHECK(status == (expected) && detail.status == status, "%s: status %d: %s", #__VA_ARGS__, status, detail.message); \
        CHECK_TEXT(detail.argument, name);                                                                            \
        CHECK_BYTES(&w, &before, sizeof w);                                                                           \
    } while (0)

static void refused(void)
{
    REFUSE(SURPRISAL_ERROR_MISSING, "weight", w.layer.weight = NULL);
    REFUSE(SURPRISAL_ERROR_MISSING, "gemm", w.layer.gemm = NULL);
    REFUSE(SURPRISAL_ERROR_MISSING, "product", w.gemm.product = NULL);
    REFUSE(SURPRISAL_ERROR_MISSING, "hidden", w.hidden.data = NULL);
    REFUSE(SURPRISAL_ERROR_MISSING, "weight", w.weight.data = NULL);
    REFUSE(SURPRISAL_ERROR_MISSING, "dhidden", w.dhidden.data = NULL);
    REFUSE(SURPRISAL_ERROR_MISALIGNED, "hidden", w.hidden.data = (const char *)w.h + 1);
    REFUSE(SURPRISAL_ERROR_MISALIGNED, "bias", w.layer.bias = (const float *)(const void *)((const char *)w.bias + 2));
    REFUSE(SURPRISAL_ERROR_MISALIGNED, "workspace", w.workspace.data = (char *)w.memory + 4; w.workspace.size -= 8);
    REFUSE(SURPRISAL_ERROR_STRUCT_SIZE, "gemm", w.gemm.struct_size--);
    REFUSE(SURPRISAL_ERROR_STRUCT_SIZE, "layer", w.layer.struct_size = 0);
    REFUSE(SURPRISAL_ERROR_STRUCT_SIZE, "weight", w.weight.struct_size++);
    REFUSE(SURPRISAL_ERROR_STRUCT_SIZE, "gradients", w.gradients.struct_size = 1000);
    REFUSE(SURPRISAL_ERROR_STRUCT_SIZE, "dweight", w.dweight.struct_size -= 8);
    REFUSE(SURPRISAL_ERROR_OPTION, "dtype", w.hidden.dtype = (surprisal_dtype)7);
    REFUSE(SURPRISAL_ERROR_OPTION, "weight", w.weight.reserved = 1);
    REFUSE(SURPRISAL_ERROR_OPTION, "dweight", w.dweight = surprisal_matrix_mut_bf16(w.dw16, VOCAB, D));
    REFUSE(SURPRISAL_ERROR_SHAPE, "hidden", w.hidden.cols = D - 1);
    REFUSE(SURPRISAL_ERROR_SHAPE, "hidden", w.hidden.cols = w.weight.cols = w.dhidden.cols = w.dweight.cols = 0);
    REFUSE(SURPRISAL_ERROR_SHAPE, "vocab", w.weight.rows = w.dweight.rows = 0);
    REFUSE(SURPRISAL_ERROR_SHAPE, "dhidden", w.dhidden.rows = ROWS - 1);
    REFUSE(SURPRISAL_ERROR_SHAPE, "dweight", w.dweight.rows--);
    REFUSE(SURPRISAL_ERROR_SHAPE, "hidden", w.batch.rows = ROWS - 1);
    REFUSE(SURPRISAL_ERROR_SHAPE, "hidden", w.hidden.row_start = 1);
    REFUSE(SURPRISAL_ERROR_SHAPE, "hidden", w.hidden = surprisal_matrix_rows(w.hidden, 4, ROWS + 1));
    REFUSE(SURPRISAL_ERROR_SHAPE, "hidden", w.hidden.row_stride = 2);
    REFUSE(SURPRISAL_ERROR_SHAPE, "dhidden", w.dhidden = surprisal_matrix_mut_rows(w.dhidden, 1, 2);
           w.hidden = surprisal_matrix_rows(w.hidden, 0, 1));
    REFUSE(SURPRISAL_ERROR_EXTENT, "weight", w.weight.row_stride = SIZE_MAX / 2);
    REFUSE(SURPRISAL_ERROR_EXTENT, "hidden", w.hidden.row_stride = SIZE_MAX / 16);
    REFUSE(SURPRISAL_ERROR_SHAPE, "workspace", lend(1); w.workspace.size -= 8);
    REFUSE(SURPRISAL_ERROR_SHAPE, "workspace", w.workspace.data = NULL; w.workspace.size = 0);
    REFUSE(SURPRISAL_ERROR_SHAPE, "workspace", w.loss.objective = SURPRISAL_OBJECTIVE_GSPO; w.workspace.size = ROWS * 128);
    REFUSE(SURPRISAL_ERROR_NEEDS_WHOLE, "logits", w.weight = surprisal_matrix_rows(w.weight, 1, VOCAB);
           w.dweight = surprisal_matrix_mut_rows(w.dweight, 1, VOCAB));
    REFUSE(SURPRISAL_ERROR_TARGET, "targets", w.weight.rows = w.dweight.rows = VOCAB - 1);

    /* Whatever is written may overlap nothing. */
    REFUSE(SURPRISAL_ERROR_OVERLAP, "dhidden", w.dhidden.data = w.h);
    REFUSE(SURPRISAL_ERROR_OVERLAP, "dweight", w.dweight.data = w.w);
    REFUSE(SURPRISAL_ERROR_OVERLAP, "dbias", w.gradients.bias = w.bias + 1);
    REFUSE(SURPRISAL_ERROR_OVERLAP, "workspace", w.workspace.data = &w.layer; w.workspace.size = sizeof w - offsetof(struct world, layer));
    REFUSE(SURPRISAL_ERROR_OVERLAP, "dweight", w.outputs.nll = w.dw);
    REFUSE(SURPRISAL_ERROR_OVERLAP, "dhidden", w.dhidden.data = &w.gemm);
    REFUSE(SURPRISAL_ERROR_OVERLAP, "dhidden", w.dhidden.data = &w.gradients);

    fresh();
    surprisal_error_detail detail;
    before = w;
    CHECK_EQUAL(surprisal_linear_forward_backward(&w.loss, &w.layer, &w.batch, &w.hidden, &w.gradients, &w.outputs, NULL, &w.report, &detail),
                SURPRISAL_ERROR_MISSING);
    CHECK_TEXT(detail.argument, "workspace");
    CHECK_EQUAL(surprisal_linear_backward(&w.loss, &w.layer, &w.batch, &w.hidden, w.stats, w.terms, NULL, &w.workspace, &detail),
                SURPRISAL_ERROR_MISSING);
    CHECK_TEXT(detail.argument, "gradients");
    CHECK_EQUAL(surprisal_linear_row_stats(&w.loss, &w.layer, &w.batch, &w.hidden, NULL, &w.workspace, &detail), SURPRISAL_ERROR_MISSING);
    CHECK_TEXT(detail.argument, "stats");
    CHECK_EQUAL(surprisal_linear_workspace_size(&w.loss, &w.layer, SIZE_MAX, SIZE_MAX, &w.workspace.size, &detail), SURPRISAL_ERROR_EXTENT);
    CHECK_BYTES(&w, &before, sizeof w);
}

/* The functions that initialise do what the macros do. */
static void initial_values(void)
{
    static const surprisal_gemm gemm = SURPRISAL_GEMM_INIT;
    static const surprisal_matrix matrix = SURPRISAL_MATRIX_INIT;
    static const surprisal_matrix_mut matrix_mut = SURPRISAL_MATRIX_MUT_INIT;
    static const surprisal_linear_layer layer = SURPRISAL_LINEAR_LAYER_INIT;
    static const surprisal_linear_gradients gradients = SURPRISAL_LINEAR_GRADIENTS_INIT;
    memset(&w, 0x5c, sizeof w);
    CHECK_OK(surprisal_gemm_init(&w.gemm, sizeof gemm));
    CHECK_OK(surprisal_matrix_init(&w.hidden, sizeof matrix));
    CHECK_OK(surprisal_matrix_mut_init(&w.dhidden, sizeof matrix_mut));
    CHECK_OK(surprisal_linear_layer_init(&w.layer, sizeof layer));
    CHECK_OK(surprisal_linear_gradients_init(&w.gradients, sizeof gradients));
    CHECK_BYTES(&w.gemm, &gemm, sizeof gemm);
    CHECK_BYTES(&w.hidden, &matrix, sizeof matrix);
    CHECK_BYTES(&w.dhidden, &matrix_mut, sizeof matrix_mut);
    CHECK_BYTES(&w.layer, &layer, sizeof layer);
    CHECK_BYTES(&w.gradients, &gradients, sizeof gradients);
    CHECK_EQUAL(surprisal_gemm_init(NULL, sizeof gemm), SURPRISAL_ERROR_MISSING);
}

int main(void)
{
    initial_values();
    whole();
    asked();
    types();
    parts();
    refused();
    return finish("linear");
}
