/* A language model over the last `context` bytes, with its backward pass and Adam.
 *
 *     hidden = tanh(sum over n of table[n][id of the n-th byte])
 *     logits = hidden output
 *
 * The first layer is linear in the one-hot context: each place in it has a row of weights for each id. The last
 * hidden unit is the constant 1, so that its row of `output` is the bias. The logits are the library's business: the model
 * ends with the hidden units. */
#ifndef MODEL_H
#define MODEL_H

#include <stddef.h>
#include <stdint.h>

typedef struct model {
    size_t context, vocab, hidden;
    size_t count; /* parameters: table [context x vocab x hidden], then output [hidden x vocab] */
    float *parameters;
    float *gradient;
    float *mean, *square; /* Adam's moments of the gradient */
} model;

/* What the model keeps of each row of a batch. */
typedef struct activations {
    const int32_t *context; /* [rows x context] ids */
    float *hidden; /* [rows x hidden] */
    float *dhidden; /* [rows x hidden] its gradient, and later that of tanh's argument */
} activations;

model model_create(size_t context, size_t vocab, size_t hidden, uint64_t seed);

void model_free(model *m);

/* The output among the parameters, or among their gradient: [hidden x vocab]. */
float *model_output(const model *m, float *all);

/* `hidden` from the context. */
void model_forward(const model *m, const activations *a, size_t rows, size_t threads);

/* The gradient of the tables from `dhidden`.
 *
 * The threads share the parameters and not the rows: each entry is added up by one thread in the order of the rows,
 * and has the same bits for any number of threads. */
void model_backward(model *m, const activations *a, size_t rows, size_t threads);

/* Adam's step number `step`, from 1 on. */
void model_update(model *m, size_t step, double learning_rate, size_t threads);

#endif
