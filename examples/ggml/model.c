#include "model.h"

#include <ggml-cpu.h>
#include <math.h>
#include <stdlib.h>

enum { MAX_NODES = 256 };

static struct ggml_context *new_context(void)
{
    /* Room for descriptions alone, also of three graphs of the default size, which ggml_opt makes; data is given out
     * later, by a backend. */
    const struct ggml_init_params parameters = {.mem_size = (size_t)4 << 20, .no_alloc = true};
    struct ggml_context *ctx = ggml_init(parameters);
    GGML_ASSERT(ctx != NULL);
    return ctx;
}

/* Uniform weights in [-limit, limit]. */
static void randomize(struct ggml_tensor *t, double limit, uint64_t *random)
{
    const size_t count = (size_t)ggml_nelements(t);
    float *values = malloc(count * sizeof *values);
    GGML_ASSERT(values != NULL);
    for (size_t i = 0; i < count; i++) {
        values[i] = (float)(limit * (2.0 * random_unit(random) - 1.0));
    }
    ggml_backend_tensor_set(t, values, 0, count * sizeof *values);
    free(values);
}

model model_create(uint64_t seed)
{
    model m = {.backend = ggml_backend_cpu_init(), .ctx = new_context()};
    m.parameters[0] = ggml_new_tensor_2d(m.ctx, GGML_TYPE_F32, EMBEDDING, VOCAB);
    m.parameters[1] = ggml_new_tensor_2d(m.ctx, GGML_TYPE_F32, EMBEDDING * CONTEXT, HIDDEN);
    m.parameters[2] = ggml_new_tensor_1d(m.ctx, GGML_TYPE_F32, HIDDEN);
    m.parameters[3] = ggml_new_tensor_2d(m.ctx, GGML_TYPE_F32, HIDDEN, VOCAB);
    for (int i = 0; i < PARAMETERS; i++) {
        ggml_set_param(m.parameters[i]);
        m.first_moments[i] = ggml_dup_tensor(m.ctx, m.parameters[i]);
        m.second_moments[i] = ggml_dup_tensor(m.ctx, m.parameters[i]);
    }
    m.ids = ggml_new_tensor_1d(m.ctx, GGML_TYPE_I32, ROWS * CONTEXT);
    m.labels = ggml_new_tensor_2d(m.ctx, GGML_TYPE_F32, VOCAB, ROWS);
    m.adamw = ggml_new_tensor_1d(m.ctx, GGML_TYPE_F32, 7);
    m.one = ggml_new_tensor_1d(m.ctx, GGML_TYPE_F32, 1);
    m.buffer = ggml_backend_alloc_ctx_tensors(m.ctx, m.backend);
    GGML_ASSERT(m.buffer != NULL);
    ggml_backend_buffer_clear(m.buffer, 0);
    const float one = 1.0f;
    ggml_backend_tensor_set(m.one, &one, 0, sizeof one);
    randomize(m.parameters[0], 1.0, &seed);
    randomize(m.parameters[1], sqrt(3.0 / (EMBEDDING * CONTEXT)), &seed);
    randomize(m.parameters[3], sqrt(3.0 / HIDDEN), &seed);
    return m;
}

void model_free(model *m)
{
    ggml_backend_buffer_free(m->buffer);
    ggml_free(m->ctx);
    ggml_backend_free(m->backend);
}

void model_copy(model *m, const model *from)
{
    for (int i = 0; i < PARAMETERS; i++) {
        ggml_backend_tensor_copy(from->parameters[i], m->parameters[i]);
        ggml_set_zero(m->first_moments[i]);
        ggml_set_zero(m->second_moments[i]);
    }
}

void model_set_step(const model *m, int step, float learning_rate)
{
    const float beta1 = 0.9f, beta2 = 0.99f, epsilon = 1e-8f, decay = 0.0f;
    const float parameters[7] = {
        learning_rate,
        beta1,
        beta2,
        epsilon,
        decay,
        1.0f / (1.0f - powf(beta1, (float)step)),
        1.0f / (1.0f - powf(beta2, (float)step)),
    };
    ggml_backend_tensor_set(m->adamw, parameters, 0, sizeof parameters);
}

program program_create(const model *m)
{
    program p = {.ctx = new_context()};
    p.graph = ggml_new_graph_custom(p.ctx, MAX_NODES, true);
    struct ggml_tensor *inputs = ggml_get_rows(p.ctx, m->parameters[0], m->ids);
    inputs = ggml_reshape_2d(p.ctx, inputs, EMBEDDING * CONTEXT, ROWS);
    struct ggml_tensor *hidden = ggml_add(p.ctx, ggml_mul_mat(p.ctx, m->parameters[1], inputs), m->parameters[2]);
    p.logits = ggml_mul_mat(p.ctx, m->parameters[3], ggml_silu(p.ctx, hidden));
    ggml_build_forward_expand(p.graph, p.logits);
    p.allocator = ggml_gallocr_new(ggml_backend_get_default_buffer_type(m->backend));
    return p;
}

void program_free(program *p)
{
    ggml_gallocr_free(p->allocator);
    ggml_free(p->ctx);
}

/* Results that are read after the computation; the allocator would use the memory of the others again. */
static void keep_gradients(program *p, const model *m)
{
    ggml_set_output(p->dlogits);
    for (int i = 0; i < PARAMETERS; i++) {
        p->gradients[i] = ggml_graph_get_grad(p->graph, m->parameters[i]);
        GGML_ASSERT(p->gradients[i] != NULL);
        ggml_set_output(p->gradients[i]);
    }
}

void program_backward(program *p, const model *m, surprisal_ggml *s)
{
    surprisal_ggml_backward(p->ctx, p->graph, p->logits, s);
    p->dlogits = p->logits;
    keep_gradients(p, m);
}

void program_backward_from(program *p, const model *m, struct ggml_tensor *loss)
{
    p->loss = loss;
    ggml_set_loss(loss);
    ggml_set_output(loss);
    ggml_build_forward_expand(p->graph, loss);
    /* ggml would put the one that the backward pass begins with among the intermediate results, where ggml_gallocr
     * writes other things over it. */
    struct ggml_tensor *accumulators[MAX_NODES] = {NULL};
    accumulators[ggml_graph_n_nodes(p->graph) - 1] = m->one;
    ggml_build_backward_expand(p->ctx, p->graph, accumulators);
    p->dlogits = ggml_graph_get_grad(p->graph, p->logits);
    keep_gradients(p, m);
}

void program_optimize(program *p, const model *m)
{
    for (int i = 0; i < PARAMETERS; i++) {
        ggml_build_forward_expand(p->graph, ggml_opt_step_adamw(p->ctx, m->parameters[i], p->gradients[i],
                                                                m->first_moments[i], m->second_moments[i], m->adamw));
    }
}

void program_allocate(program *p)
{
    const bool done = ggml_gallocr_alloc_graph(p->allocator, p->graph);
    GGML_ASSERT(done);
}

bool program_run(const program *p, const model *m, const batch *b, int threads)
{
    ggml_backend_tensor_set(m->ids, b->ids, 0, sizeof b->ids);
    ggml_backend_cpu_set_n_threads(m->backend, threads);
    return ggml_backend_graph_compute(m->backend, p->graph) == GGML_STATUS_SUCCESS;
}

void read_tensor(const struct ggml_tensor *t, float *out)
{
    ggml_backend_tensor_get(t, out, 0, ggml_nbytes(t));
}
