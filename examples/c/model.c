#include "model.h"

#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float *table_of(const model *m, float *all, size_t place)
{
    return all + place * m->vocab * m->hidden;
}

float *model_output(const model *m, float *all)
{
    return all + m->context * m->vocab * m->hidden;
}

model model_create(size_t context, size_t vocab, size_t hidden, uint64_t seed)
{
    model m = {.context = context, .vocab = vocab, .hidden = hidden};
    m.count = context * vocab * hidden + hidden * vocab;
    m.parameters = allocate(m.count, sizeof(float));
    m.gradient = allocate(m.count, sizeof(float));
    m.mean = allocate(m.count, sizeof(float));
    m.square = allocate(m.count, sizeof(float));
    /* The output begins at zero: a model that knows nothing says so. */
    float *end = model_output(&m, m.parameters);
    for (float *weight = m.parameters; weight < end; weight++) {
        *weight = (float)((2.0 * random_unit(&seed) - 1.0) / sqrt((double)context));
    }
    return m;
}

void model_free(model *m)
{
    free(m->parameters);
    free(m->gradient);
    free(m->mean);
    free(m->square);
}

/* What the threads of a pass share. */
typedef struct pass_job {
    const model *m;
    const activations *a;
    size_t rows;
} pass_job;

/* Rows `begin .. end` of `hidden`. */
static void hidden_rows(void *user, size_t thread, size_t begin, size_t end)
{
    (void)thread;
    const pass_job *job = user;
    const model *m = job->m;
    for (size_t row = begin; row < end; row++) {
        float *hidden = job->a->hidden + row * m->hidden;
        memset(hidden, 0, m->hidden * sizeof *hidden);
        for (size_t place = 0; place < m->context; place++) {
            const size_t id = (size_t)job->a->context[row * m->context + place];
            const float *weights = table_of(m, m->parameters, place) + id * m->hidden;
            for (size_t unit = 0; unit < m->hidden; unit++) {
                hidden[unit] += weights[unit];
            }
        }
        for (size_t unit = 0; unit + 1 < m->hidden; unit++) {
            hidden[unit] = tanhf(hidden[unit]);
        }
        hidden[m->hidden - 1] = 1.0f;
    }
}

void model_forward(const model *m, const activations *a, size_t rows, size_t threads)
{
    pass_job job = {m, a, rows};
    parallel_for(threads, rows, hidden_rows, &job);
}

/* Rows `begin .. end` of `dhidden`, through tanh. Nothing is left of the constant unit's. */
static void dhidden_rows(void *user, size_t thread, size_t begin, size_t end)
{
    (void)thread;
    const pass_job *job = user;
    const size_t units = job->m->hidden;
    for (size_t i = begin * units; i < end * units; i++) {
        job->a->dhidden[i] *= 1.0f - job->a->hidden[i] * job->a->hidden[i];
    }
}

/* Places `begin .. end` of the tables' gradient: each row's `dhidden` goes to the weights of its id. */
static void table_gradient(void *user, size_t thread, size_t begin, size_t end)
{
    (void)thread;
    const pass_job *job = user;
    const model *m = job->m;
    for (size_t place = begin; place < end; place++) {
        float *gradient = table_of(m, m->gradient, place);
        memset(gradient, 0, m->vocab * m->hidden * sizeof *gradient);
        for (size_t row = 0; row < job->rows; row++) {
            const float *dhidden = job->a->dhidden + row * m->hidden;
            float *weights = gradient + (size_t)job->a->context[row * m->context + place] * m->hidden;
            for (size_t unit = 0; unit < m->hidden; unit++) {
                weights[unit] += dhidden[unit];
            }
        }
    }
}

void model_backward(model *m, const activations *a, size_t rows, size_t threads)
{
    pass_job job = {m, a, rows};
    parallel_for(threads, rows, dhidden_rows, &job);
    parallel_for(threads, m->context, table_gradient, &job);
}

/* What the threads of model_update share. */
typedef struct update_job {
    model *m;
    float rate, mean_scale, square_scale;
} update_job;

static const float MEAN_DECAY = 0.9f, SQUARE_DECAY = 0.999f;

/* Parameters `begin .. end`. */
static void update_parameters(void *user, size_t thread, size_t begin, size_t end)
{
    (void)thread;
    const update_job *job = user;
    float *restrict parameters = job->m->parameters;
    float *restrict mean = job->m->mean, *restrict square = job->m->square;
    const float *restrict gradient = job->m->gradient;
    for (size_t i = begin; i < end; i++) {
        mean[i] = MEAN_DECAY * mean[i] + (1.0f - MEAN_DECAY) * gradient[i];
        square[i] = SQUARE_DECAY * square[i] + (1.0f - SQUARE_DECAY) * gradient[i] * gradient[i];
        const float scale = sqrtf(square[i] * job->square_scale) + 1e-8f;
        parameters[i] -= job->rate * (mean[i] * job->mean_scale) / scale;
    }
}

void model_update(model *m, size_t step, double learning_rate, size_t threads)
{
    const double t = (double)step;
    update_job job = {.m = m, .rate = (float)learning_rate};
    job.mean_scale = (float)(1.0 / (1.0 - pow(MEAN_DECAY, t)));
    job.square_scale = (float)(1.0 / (1.0 - pow(SQUARE_DECAY, t)));
    parallel_for(threads, m->count, update_parameters, &job);
}
