#include "step.h"

#include "product.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

batch batch_create(const model *m, size_t rows, size_t length)
{
    batch b = {.rows = rows, .sequences = (rows + length - 1) / length};
    b.context = allocate(rows * m->context, sizeof *b.context);
    b.targets = allocate(rows, sizeof *b.targets);
    b.offsets = allocate(b.sequences + 1, sizeof *b.offsets);
    b.ref_log_probs = allocate(rows, sizeof *b.ref_log_probs);
    b.a.context = b.context;
    b.a.hidden = allocate(rows * m->hidden, sizeof *b.a.hidden);
    b.a.dhidden = allocate(rows * m->hidden, sizeof *b.a.dhidden);
    for (size_t i = 0; i <= b.sequences; i++) {
        b.offsets[i] = (int32_t)(i * length < rows ? i * length : rows);
    }
    return b;
}

void batch_free(batch *b)
{
    free(b->context);
    free(b->targets);
    free(b->offsets);
    free(b->ref_log_probs);
    free(b->a.hidden);
    free(b->a.dhidden);
}

surprisal_batch batch_inputs(const batch *b)
{
    surprisal_batch inputs = SURPRISAL_BATCH_INIT;
    inputs.rows = b->rows;
    inputs.targets_i32 = b->targets;
    inputs.ref_log_probs = b->ref_log_probs;
    inputs.cu_seqlens_i32 = b->offsets;
    inputs.sequence_count = b->sequences;
    return inputs;
}

/* The output layer and the loss, in one call: logits are computed a chunk of rows at a time in the workspace, and are gone afterwards. `gradients` may be
 * NULL. */
static surprisal_status output_layer(const model *m, const batch *b, const surprisal_loss *loss, size_t threads,
                                     const surprisal_linear_gradients *gradients, surprisal_report *report,
                                     surprisal_error_detail *detail)
{
    const surprisal_batch inputs = batch_inputs(b);
    const surprisal_matrix hidden = surprisal_matrix_f32(b->a.hidden, b->rows, m->hidden);
    /* The library's weights are [vocab x hidden], the model's [hidden x vocab]: a matter of strides. */
    surprisal_matrix weight = surprisal_matrix_f32(model_output(m, m->parameters), m->vocab, m->hidden);
    weight.row_stride = 1;
    weight.col_stride = m->vocab;
    product products;
    product_create(&products, threads, m->vocab * m->hidden);
    surprisal_linear_layer layer = SURPRISAL_LINEAR_LAYER_INIT;
    layer.weight = &weight;
    layer.gemm = &products.gemm;
    surprisal_workspace workspace = SURPRISAL_WORKSPACE_INIT;
    surprisal_status status = surprisal_linear_workspace_size(loss, &layer, b->rows, 0, &workspace.size, detail);
    if (status == SURPRISAL_OK) {
        workspace.data = allocate(workspace.size, 1);
        status = surprisal_linear_forward_backward(loss, &layer, &inputs, &hidden, gradients, NULL, &workspace, report,
                                                   detail);
        free(workspace.data);
    }
    product_free(&products);
    return status;
}

surprisal_status batch_gradient(model *m, const batch *b, const surprisal_loss *loss, size_t threads,
                                surprisal_report *report, surprisal_error_detail *detail)
{
    float *output = model_output(m, m->gradient);
    const surprisal_matrix_mut dhidden = surprisal_matrix_mut_f32(b->a.dhidden, b->rows, m->hidden);
    surprisal_matrix_mut dweight = surprisal_matrix_mut_f32(output, m->vocab, m->hidden);
    dweight.row_stride = 1;
    dweight.col_stride = m->vocab;
    surprisal_linear_gradients gradients = SURPRISAL_LINEAR_GRADIENTS_INIT;
    gradients.hidden = &dhidden;
    gradients.weight = &dweight;
    /* That of the weights is added to what is there. */
    memset(output, 0, m->vocab * m->hidden * sizeof *output);
    model_forward(m, &b->a, b->rows, threads);
    const surprisal_status status = output_layer(m, b, loss, threads, &gradients, report, detail);
    if (status == SURPRISAL_OK) {
        model_backward(m, &b->a, b->rows, threads);
    }
    return status;
}

surprisal_status batch_loss(model *m, const batch *b, const surprisal_loss *loss, size_t threads,
                            surprisal_report *report, surprisal_error_detail *detail)
{
    model_forward(m, &b->a, b->rows, threads);
    return output_layer(m, b, loss, threads, NULL, report, detail);
}
