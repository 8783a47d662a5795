#include "checks.h"

#include <ggml-cpu.h>
#include <ggml-opt.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 3, PADDED = 296, OPT_STEPS = 20 };

static void count_calls(struct ggml_tensor *dst, int ith, int nth, void *user)
{
    (void)dst;
    (void)ith;
    (void)nth;
    atomic_fetch_add((atomic_int *)user, 1);
}

/* Whether ggml still calls a node of one task from every thread. Nothing here relies on either answer. */
static void show_tasks(const model *m)
{
    atomic_int calls = 0;
    program p = program_create(m);
    ggml_build_forward_expand(p.graph,
                              ggml_custom_4d(p.ctx, GGML_TYPE_F32, 1, 1, 1, 1, &p.logits, 1, count_calls, 1, &calls));
    program_allocate(&p);
    ggml_backend_cpu_set_n_threads(m->backend, THREADS);
    ggml_backend_graph_compute(m->backend, p.graph);
    printf("a custom node with n_tasks = 1 in a graph of %d threads: called %d times\n", THREADS, atomic_load(&calls));
    program_free(&p);
}

/* The gradient `dz` of the logits `z`, both [width, ROWS], where the loss is that of the first VOCAB columns: if there
 * are more, of a view, whose rows lie further apart than they are long. */
static void differentiate(const model *m, surprisal_ggml *s, const batch *b, size_t width, const float *z, float *dz)
{
    struct ggml_context *ctx = ggml_init((struct ggml_init_params){.mem_size = (size_t)1 << 20, .no_alloc = true});
    struct ggml_cgraph *graph = ggml_new_graph_custom(ctx, 64, true);
    struct ggml_tensor *all = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, (int64_t)width, ROWS), *logits = all;
    ggml_set_param(all);
    if (width > VOCAB) {
        logits = ggml_view_2d(ctx, all, VOCAB, ROWS, all->nb[1], 0);
    }
    struct ggml_tensor *loss = surprisal_ggml_loss(ctx, logits, s);
    ggml_set_loss(loss);
    ggml_build_forward_expand(graph, loss);
    ggml_build_backward_expand(ctx, graph, NULL);
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors(ctx, m->backend);
    GGML_ASSERT(buffer != NULL);
    ggml_graph_reset(graph); /* the gradient of the loss: one */
    ggml_backend_tensor_set(all, z, 0, ggml_nbytes(all));
    set_batch(s, b);
    ggml_backend_graph_compute(m->backend, graph);
    read_tensor(ggml_graph_get_grad(graph, all), dz);
    ggml_backend_buffer_free(buffer);
    ggml_free(ctx);
}

/* Logits in rows of `width`, with byte 5 (which is in no text) at `fifth`. */
static bool is_gradient_right(const model *m, const batch *b, size_t width, float fifth)
{
    const surprisal_loss sft = SURPRISAL_LOSS_INIT;
    surprisal_ggml *s = new_loss(&sft, THREADS);
    const size_t size = width * ROWS;
    float *z = malloc(size * sizeof *z), *dz = malloc(size * sizeof *dz), *expected = calloc(size, sizeof *expected);
    GGML_ASSERT(z != NULL && dz != NULL && expected != NULL);
    uint64_t random = 3;
    for (size_t i = 0; i < size; i++) {
        z[i] = i % width == 5 ? fifth : (float)(8.0 * random_unit(&random) - 4.0);
    }
    differentiate(m, s, b, width, z, dz);

    const surprisal_batch inputs = batch_inputs(b);
    surprisal_logits narrow = surprisal_logits_f32(z, ROWS, VOCAB);
    surprisal_logits_mut out = surprisal_logits_mut_f32(expected, ROWS, VOCAB);
    surprisal_report report = SURPRISAL_REPORT_INIT;
    narrow.row_stride = out.row_stride = width;
    bool same = surprisal_forward_backward(&sft, &inputs, &narrow, &out, NULL, NULL, &report, NULL) == SURPRISAL_OK;
    for (size_t i = 0; i < size; i++) {
        same &= dz[i] == expected[i];
    }
    free(z);
    free(dz);
    free(expected);
    surprisal_ggml_free(s);
    return same;
}

/* Copies the weights out. */
static float *weights_of(const model *m, size_t *count)
{
    *count = 0;
    for (int i = 0; i < PARAMETERS; i++) {
        *count += (size_t)ggml_nelements(m->parameters[i]);
    }
    float *weights = malloc(*count * sizeof *weights), *to = weights;
    GGML_ASSERT(weights != NULL);
    for (int i = 0; i < PARAMETERS; to += ggml_nelements(m->parameters[i++])) {
        read_tensor(m->parameters[i], to);
    }
    return weights;
}

/* A wrong target in the middle of a batch, found by the thread that has its row: the computation ends before the
 * optimizer's step. */
static bool check_error(const model *m, const batch *b)
{
    enum { ROW = 300 };
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    loss.objective = surprisal_enum_value("objective", "talr-auto");
    surprisal_ggml *s = new_loss(&loss, THREADS);
    program p = program_create(m);
    program_backward(&p, m, s);
    program_optimize(&p, m);
    program_allocate(&p);
    ggml_backend_cpu_set_abort_callback(m->backend, surprisal_ggml_failed, s);
    batch wrong = *b;
    wrong.targets[ROW] = VOCAB + 44;
    set_batch(s, &wrong);
    size_t count;
    float *before = weights_of(m, &count);
    const bool done = program_run(&p, m, &wrong, THREADS);
    float *after = weights_of(m, &count);
    surprisal_report report = SURPRISAL_REPORT_INIT;
    surprisal_error_detail detail;
    const surprisal_status status = surprisal_ggml_result(s, &report, &detail);
    printf("a wrong target: status %d, \"%s\", row %lld, value %.0f\n", (int)status, detail.message,
           (long long)detail.index, detail.value);
    const bool found = !done && status == SURPRISAL_ERROR_TARGET && detail.index == ROW;
    const bool unmoved = memcmp(before, after, count * sizeof *before) == 0;
    ggml_backend_cpu_set_abort_callback(m->backend, NULL, NULL);
    free(before);
    free(after);
    program_free(&p);
    surprisal_ggml_free(s);
    return say(found && unmoved, "it ends the computation, and no weight has moved");
}

/* What the checks above see in the graph, surprisal_ggml_set_batch sees before it, where the loss is a mean. */
static bool check_early_error(const batch *b)
{
    const surprisal_loss sft = SURPRISAL_LOSS_INIT;
    surprisal_ggml *s = new_loss(&sft, THREADS);
    batch wrong = *b;
    wrong.targets[0] = -1;
    const surprisal_batch inputs = batch_inputs(&wrong);
    surprisal_error_detail detail;
    const surprisal_status status = surprisal_ggml_set_batch(s, &inputs, &detail);
    surprisal_ggml_free(s);
    return say(status == SURPRISAL_ERROR_TARGET && detail.index == 0,
               "where the loss is a mean, before the computation");
}

static struct ggml_opt_optimizer_params optimizer_of_ggml(void *user)
{
    (void)user;
    struct ggml_opt_optimizer_params parameters = {
        .adamw = {.alpha = 0.004f, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f}, .sgd = {.alpha = 0.004f}};
    return parameters;
}

/* The same steps by ggml_opt, which differentiates a scalar, and by a loop of one's own. */
static void train_by_ggml_opt(model *m, surprisal_ggml *s)
{
    program p = program_create(m);
    struct ggml_tensor *loss = surprisal_ggml_loss(p.ctx, p.logits, s);
    ggml_backend_sched_t scheduler = ggml_backend_sched_new(&m->backend, NULL, 1, 1024, false, true);
    struct ggml_opt_params parameters = ggml_opt_default_params(scheduler, GGML_OPT_LOSS_TYPE_SUM);
    parameters.ctx_compute = p.ctx;
    parameters.inputs = m->ids;
    parameters.outputs = loss;
    parameters.get_opt_pars = optimizer_of_ggml;
    ggml_opt_context_t optimizer = ggml_opt_init(parameters);
    ggml_backend_cpu_set_n_threads(m->backend, 1);
    for (int step = 1; step <= OPT_STEPS; step++) {
        batch b;
        batch_fill(&b, (uint64_t)step, false);
        set_batch(s, &b);
        ggml_opt_alloc(optimizer, true);
        ggml_backend_tensor_set(m->ids, b.ids, 0, sizeof b.ids);
        ggml_opt_eval(optimizer, NULL);
    }
    ggml_opt_free(optimizer);
    ggml_backend_sched_free(scheduler);
    program_free(&p);
}

static void train_by_hand(const model *m, surprisal_ggml *s)
{
    program p = program_create(m);
    program_backward(&p, m, s);
    program_optimize(&p, m);
    program_allocate(&p);
    for (int step = 1; step <= OPT_STEPS; step++) {
        batch b;
        batch_fill(&b, (uint64_t)step, false);
        set_batch(s, &b);
        model_set_step(m, step, 0.004f);
        program_run(&p, m, &b, 1);
    }
    program_free(&p);
}

static bool check_ggml_opt(const model *from)
{
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    loss.objective = surprisal_enum_value("objective", "talr-auto");
    model a = model_create(1), b = model_create(1);
    model_copy(&a, from);
    model_copy(&b, from);
    surprisal_ggml *s = new_loss(&loss, THREADS);
    train_by_ggml_opt(&a, s);
    train_by_hand(&b, s);
    size_t count;
    float *theirs = weights_of(&a, &count), *ours = weights_of(&b, &count);
    double most = 0.0;
    for (size_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)theirs[i] - (double)ours[i]));
    }
    printf("talr-auto, %d steps by ggml_opt and by a loop of one's own: weights at most %.1e apart\n", OPT_STEPS, most);
    free(theirs);
    free(ours);
    surprisal_ggml_free(s);
    model_free(&a);
    model_free(&b);
    return say(most < 1e-6, "ggml_opt takes the same steps");
}

/* How far SGD moves a weight whose gradient is 1 in two evaluations of dynamic graphs, the second over the first. */
static double second_step(ggml_backend_t backend, bool reset)
{
    struct ggml_init_params parameters = {.mem_size = (size_t)1 << 20, .no_alloc = true};
    struct ggml_context *ctx = ggml_init(parameters);
    struct ggml_tensor *weight = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, 1);
    struct ggml_tensor *input = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, 1);
    ggml_set_param(weight);
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors(ctx, backend);
    ggml_backend_sched_t scheduler = ggml_backend_sched_new(&backend, NULL, 1, GGML_DEFAULT_GRAPH_SIZE, false, true);
    struct ggml_opt_params options = ggml_opt_default_params(scheduler, GGML_OPT_LOSS_TYPE_SUM);
    options.optimizer = GGML_OPT_OPTIMIZER_TYPE_SGD;
    options.get_opt_pars = optimizer_of_ggml;
    ggml_opt_context_t optimizer = ggml_opt_init(options);
    const float one = 1.0f;
    float weights[3] = {1.0f};
    ggml_backend_tensor_set(weight, &one, 0, sizeof one);
    ggml_backend_tensor_set(input, &one, 0, sizeof one);
    for (int step = 1; step <= 2; step++) {
        struct ggml_context *graph_ctx = ggml_init(parameters);
        struct ggml_cgraph *graph = ggml_new_graph_custom(graph_ctx, 64, true);
        struct ggml_tensor *output = ggml_mul(graph_ctx, weight, input);
        ggml_build_forward_expand(graph, output);
        ggml_opt_prepare_alloc(optimizer, graph_ctx, graph, input, output);
        ggml_opt_alloc(optimizer, true);
        if (reset) {
            ggml_opt_reset(optimizer, false);
        }
        ggml_opt_eval(optimizer, NULL);
        read_tensor(weight, &weights[step]);
        ggml_free(graph_ctx);
    }
    ggml_opt_free(optimizer);
    ggml_backend_sched_free(scheduler);
    ggml_backend_buffer_free(buffer);
    ggml_free(ctx);
    return (double)(weights[2] - weights[1]) / (double)(weights[1] - weights[0]);
}

/* That dynamic graphs add up the gradients of all steps, unless they are told not to. */
static bool check_accumulators(const model *m)
{
    printf("ggml_opt with dynamic graphs: a second step with the same gradient moves a weight %.2f times as far\n",
           second_step(m->backend, false));
    return say(fabs(second_step(m->backend, true) - 1.0) < 1e-3, "as far, with ggml_opt_reset after ggml_opt_alloc");
}

bool check_traps(const model *m, const batch *b)
{
    show_tasks(m);
    bool is_right = say(is_gradient_right(m, b, PADDED, 0.5f),
                        "logits that are a view of a padded vocabulary: the right gradient, and none for the padding");
    is_right &= say(is_gradient_right(m, b, VOCAB, -INFINITY),
                    "logits of -inf: the scalar loss is NaN, but the gradient is right");
    is_right &= check_error(m, b);
    is_right &= check_early_error(b);
    is_right &= check_ggml_opt(m);
    return check_accumulators(m) && is_right;
}
