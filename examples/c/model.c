#include "model.h"

#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float *table_of(const model *m, float *all, size_t place)
{
    return all + place * m->vocab * m->hidden;
}

static float *output_of(const model *m, float *all)
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
    m.transposed = allocate(vocab * hidden, sizeof(float));
    /* The output begins at zero: a model that knows nothing says so. */
    float *end = output_of(&m, m.parameters);
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
    free(m->transposed);
}

void model_begin(model *m)
{
    const float *output = output_of(m, m->parameters);
    for (size_t unit = 0; unit < m->hidden; unit++) {
        for (size_t id = 0; id < m->vocab; id++) {
            m->transposed[id * m->hidden + unit] = output[unit * m->vocab + id];
        }
    }
}

/* c += sum over k of a[k * stride] b[k], where c and each b[k] have `columns` elements. Every product of the model has
 * this form. Its inner loop is over independent entries, of which the compiler makes SIMD. */
static void add_rows(float *restrict c, const float *a, size_t stride, const float *b, size_t inner,
                     size_t columns)
{
    size_t k = 0;
    for (; k + 4 <= inner; k += 4, a += 4 * stride, b += 4 * columns) {
        const float a0 = a[0], a1 = a[stride], a2 = a[2 * stride], a3 = a[3 * stride];
        const float *b1 = b + columns, *b2 = b1 + columns, *b3 = b2 + columns;
        for (size_t j = 0; j < columns; j++) {
            c[j] += (a0 * b[j] + a1 * b1[j]) + (a2 * b2[j] + a3 * b3[j]);
        }
    }
    for (; k < inner; k++, a += stride, b += columns) {
        for (size_t j = 0; j < columns; j++) {
            c[j] += a[0] * b[j];
        }
    }
}

void model_forward(const model *m, const activations *a, size_t begin, size_t end)
{
    const float *output = output_of(m, m->parameters);
    for (size_t row = begin; row < end; row++) {
        float *hidden = a->hidden + row * m->hidden;
        memset(hidden, 0, m->hidden * sizeof *hidden);
        for (size_t place = 0; place < m->context; place++) {
            const size_t id = (size_t)a->context[row * m->context + place];
            const float *weights = table_of(m, m->parameters, place) + id * m->hidden;
            for (size_t unit = 0; unit < m->hidden; unit++) {
                hidden[unit] += weights[unit];
            }
        }
        for (size_t unit = 0; unit + 1 < m->hidden; unit++) {
            hidden[unit] = tanhf(hidden[unit]);
        }
        hidden[m->hidden - 1] = 1.0f;
        float *logits = a->logits + row * m->vocab;
        memset(logits, 0, m->vocab * sizeof *logits);
        add_rows(logits, hidden, 1, output, m->hidden, m->vocab);
    }
}

void model_backward(const model *m, const activations *a, size_t begin, size_t end)
{
    for (size_t row = begin; row < end; row++) {
        const float *hidden = a->hidden + row * m->hidden;
        float *dhidden = a->dhidden + row * m->hidden;
        memset(dhidden, 0, m->hidden * sizeof *dhidden);
        add_rows(dhidden, a->logits + row * m->vocab, 1, m->transposed, m->vocab, m->hidden);
        /* Nothing is left of the constant unit's. */
        for (size_t unit = 0; unit < m->hidden; unit++) {
            dhidden[unit] *= 1.0f - hidden[unit] * hidden[unit];
        }
    }
}

/* What the threads of model_gradient share. */
typedef struct gradient_job {
    model *m;
    const activations *a;
    size_t rows;
} gradient_job;

/* Hidden units `begin .. end` of the output's gradient, hidden^T dlogits. */
static void output_gradient(void *user, size_t thread, size_t begin, size_t end)
{
    (void)thread;
    const gradient_job *job = user;
    const model *m = job->m;
    float *gradient = output_of(m, m->gradient);
    memset(gradient + begin * m->vocab, 0, (end - begin) * m->vocab * sizeof *gradient);
    for (size_t unit = begin; unit < end; unit++) {
        const float *hidden = job->a->hidden + unit;
        add_rows(gradient + unit * m->vocab, hidden, m->hidden, job->a->logits, job->rows, m->vocab);
    }
}

/* Places `begin .. end` of the tables' gradient: each row's `dhidden` goes to the weights of its id. */
static void table_gradient(void *user, size_t thread, size_t begin, size_t end)
{
    (void)thread;
    const gradient_job *job = user;
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

void model_gradient(model *m, const activations *a, size_t rows, size_t threads)
{
    gradient_job job = {m, a, rows};
    parallel_for(threads, m->hidden, output_gradient, &job);
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
