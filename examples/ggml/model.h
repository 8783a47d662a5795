/* A small language model over bytes in ggml: embeddings of the last bytes, a hidden layer, logits. */
#ifndef MODEL_H
#define MODEL_H

#include "data.h"
#include "surprisal_ggml.h"

#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>

enum { EMBEDDING = 16, HIDDEN = 64, PARAMETERS = 4 };

/* Weights, momenta and inputs: what stays where it is from step to step. */
typedef struct model {
    ggml_backend_t backend;
    struct ggml_context *ctx;
    ggml_backend_buffer_t buffer;
    struct ggml_tensor *parameters[PARAMETERS]; /* embeddings, hidden weights, hidden bias, output weights */
    struct ggml_tensor *first_moments[PARAMETERS], *second_moments[PARAMETERS];
    struct ggml_tensor *ids;
    struct ggml_tensor *labels; /* [VOCAB, ROWS] what ggml's own loss compares with */
    struct ggml_tensor *adamw;  /* the optimizer's parameters */
    struct ggml_tensor *one;    /* the gradient of a scalar loss with respect to itself */
} model;

model model_create(uint64_t seed);
void model_free(model *m);

/* Copies the weights from another model, and forgets the momenta. */
void model_copy(model *m, const model *from);

/* A graph, and where its intermediate results are. */
typedef struct program {
    struct ggml_context *ctx;
    struct ggml_cgraph *graph;
    ggml_gallocr_t allocator;
    struct ggml_tensor *logits, *loss;
    struct ggml_tensor *dlogits; /* once there is a backward pass: over the logits, or by itself */
    struct ggml_tensor *gradients[PARAMETERS];
} program;

/* The forward pass. */
program program_create(const model *m);
void program_free(program *p);

/* The backward pass, from the gradient of the logits or from a scalar. */
void program_backward(program *p, const model *m, surprisal_ggml *s);
void program_backward_from(program *p, const model *m, struct ggml_tensor *loss);

/* An AdamW step after the backward pass. */
void program_optimize(program *p, const model *m);

/* To be called when the graph is complete. */
void program_allocate(program *p);

/* Computes the graph for a batch; false where it was aborted. */
bool program_run(const program *p, const model *m, const batch *b, int threads);

/* The optimizer's parameters for step 1, 2, ... */
void model_set_step(const model *m, int step, float learning_rate);

/* Copies a tensor's elements out. */
void read_tensor(const struct ggml_tensor *t, float *out);

#endif
