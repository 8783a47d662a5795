/* A batch, and the passes over it: the model's, and the library's with its output layer. */
#ifndef STEP_H
#define STEP_H

#include "model.h"

#include <surprisal.h>

/* Rows are positions in the text, in sequences of consecutive ones. */
typedef struct batch {
    size_t rows, sequences;
    int32_t *context; /* [rows x context] ids before the position */
    int32_t *targets; /* [rows] the id at the position, or the library's ignore_index */
    int32_t *offsets; /* [sequences + 1] */
    float *ref_log_probs; /* [rows] of the target under a reference model */
    activations a;
} batch;

/* A batch of zeros: sequences of `length` rows, the last of which may be shorter. */
batch batch_create(const model *m, size_t rows, size_t length);

void batch_free(batch *b);

/* The batch as the library sees it. */
surprisal_batch batch_inputs(const batch *b);

/* The loss of a batch and the model's gradient. */
surprisal_status batch_gradient(model *m, const batch *b, const surprisal_loss *loss, size_t threads,
                                surprisal_report *report, surprisal_error_detail *detail);

/* The loss alone. */
surprisal_status batch_loss(model *m, const batch *b, const surprisal_loss *loss, size_t threads,
                            surprisal_report *report, surprisal_error_detail *detail);

#endif
