#include "measure.h"

#include "checks.h"
#include "surprisal_ggml.h"

#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS_TIMED = 512, RUNS = 9 };

/* A graph from logits to their gradient. */
typedef struct timed {
    struct ggml_context *ctx;
    struct ggml_cgraph *graph;
    struct ggml_tensor *logits, *labels;
    surprisal_ggml *s;
} timed;

static void differentiate(timed *t, struct ggml_tensor *loss)
{
    ggml_set_loss(loss);
    ggml_build_forward_expand(t->graph, loss);
    ggml_build_backward_expand(t->ctx, t->graph, NULL);
}

static void by_ggml(timed *t)
{
    t->labels = ggml_dup_tensor(t->ctx, t->logits);
    differentiate(t, ggml_cross_entropy_loss(t->ctx, t->logits, t->labels));
}

static void by_product(timed *t)
{
    struct ggml_tensor *dz = surprisal_ggml_dlogits(t->ctx, t->logits, t->s);
    dz = ggml_view_2d(t->ctx, dz, dz->ne[0], dz->ne[1], dz->nb[1], 0);
    dz->type = GGML_TYPE_F32;
    differentiate(t, ggml_sum(t->ctx, ggml_mul(t->ctx, t->logits, dz)));
}

static void by_dots(timed *t)
{
    differentiate(t, surprisal_ggml_loss(t->ctx, t->logits, t->s));
}

static void by_itself(timed *t)
{
    ggml_build_forward_expand(t->graph, surprisal_ggml_dlogits(t->ctx, t->logits, t->s));
}

static void in_place(timed *t)
{
    ggml_build_forward_expand(t->graph, t->logits);
    surprisal_ggml_backward(t->ctx, t->graph, t->logits, t->s);
    ggml_build_forward_expand(t->graph, ggml_graph_get_grad(t->graph, t->logits));
}

static const struct way {
    const char *name, *objective;
    void (*build)(timed *t);
} WAYS[] = {
    {"the node with the gradient, by itself", "sft", by_itself},   {"its three stages", "talr-auto", by_itself},
    {"surprisal_ggml_backward, over the logits", "sft", in_place}, {"surprisal_ggml_loss, a dot a row", "sft", by_dots},
    {"sum(z dz) by ggml_mul and ggml_sum", "sft", by_product},     {"ggml_cross_entropy_loss", "sft", by_ggml},
};

/* A batch, and logits for it. */
typedef struct inputs {
    size_t vocab;
    float *logits;
    int32_t targets[ROWS_TIMED], offsets[2];
} inputs;

static surprisal_batch batch_of(const inputs *in)
{
    surprisal_batch b = SURPRISAL_BATCH_INIT;
    b.rows = ROWS_TIMED;
    b.targets_i32 = in->targets;
    b.cu_seqlens_i32 = in->offsets;
    b.sequence_count = 1;
    return b;
}

/* Seconds of the fastest run. */
static double seconds(timed *t, const inputs *in, ggml_backend_t backend)
{
    const surprisal_batch b = batch_of(in);
    surprisal_report report = SURPRISAL_REPORT_INIT;
    surprisal_error_detail detail;
    int64_t best = INT64_MAX;
    for (int run = 0; run < RUNS; run++) {
        /* Again each time: the gradient may have been written over them. */
        ggml_backend_tensor_set(t->logits, in->logits, 0, ggml_nbytes(t->logits));
        if (surprisal_ggml_set_batch(t->s, &b, &detail) != SURPRISAL_OK) {
            stop("%s", detail.message);
        }
        const int64_t begin = ggml_time_us();
        ggml_backend_graph_compute(backend, t->graph);
        const int64_t time = ggml_time_us() - begin;
        best = time < best ? time : best;
        if (surprisal_ggml_result(t->s, &report, &detail) != SURPRISAL_OK) {
            stop("%s", detail.message);
        }
    }
    return 1e-6 * (double)best;
}

static double measure_way(const struct way *way, const inputs *in, int threads)
{
    surprisal_error_detail detail;
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    loss.objective = surprisal_enum_value("objective", way->objective);
    timed t = {.ctx = ggml_init((struct ggml_init_params){.mem_size = (size_t)1 << 20, .no_alloc = true})};
    t.s = surprisal_ggml_new(&loss, ROWS_TIMED, in->vocab, threads, &detail);
    if (t.ctx == NULL || t.s == NULL) {
        stop("%s", detail.message);
    }
    t.graph = ggml_new_graph_custom(t.ctx, 64, true);
    t.logits = ggml_new_tensor_2d(t.ctx, GGML_TYPE_F32, (int64_t)in->vocab, ROWS_TIMED);
    ggml_set_param(t.logits);
    way->build(&t);
    ggml_backend_t backend = ggml_backend_cpu_init();
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors(t.ctx, backend);
    if (buffer == NULL) {
        stop("no memory for %zu columns", in->vocab);
    }
    ggml_backend_buffer_clear(buffer, 0);
    ggml_backend_cpu_set_n_threads(backend, threads);
    const double time = seconds(&t, in, backend);
    ggml_backend_buffer_free(buffer);
    ggml_backend_free(backend);
    surprisal_ggml_free(t.s);
    ggml_free(t.ctx);
    return time;
}

void measure(int threads)
{
    static const size_t vocabs[] = {256, 32000};
    ggml_time_init();
    for (size_t v = 0; v < sizeof vocabs / sizeof *vocabs; v++) {
        inputs in = {.vocab = vocabs[v], .offsets = {0, ROWS_TIMED}};
        uint64_t random = 1;
        in.logits = malloc(ROWS_TIMED * in.vocab * sizeof *in.logits);
        GGML_ASSERT(in.logits != NULL);
        for (size_t i = 0; i < ROWS_TIMED * in.vocab; i++) {
            in.logits[i] = (float)(8.0 * random_unit(&random) - 4.0);
        }
        for (size_t row = 0; row < ROWS_TIMED; row++) {
            in.targets[row] = (int32_t)(random_unit(&random) * (double)in.vocab);
        }
        printf("loss and gradient of %d rows of %zu logits, %d threads\n", ROWS_TIMED, in.vocab, threads);
        double first = 0.0;
        for (size_t i = 0; i < sizeof WAYS / sizeof *WAYS; i++) {
            const double time = measure_way(&WAYS[i], &in, threads);
            first = i == 0 ? time : first;
            printf("    %-42s %9.3f ms  %6.2f\n", WAYS[i].name, 1e3 * time, time / first);
        }
        free(in.logits);
    }
}
