#include "step.h"

#include "support.h"

#include <stdbool.h>
#include <stdlib.h>

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
    b.a.logits = allocate(rows * m->vocab, sizeof *b.a.logits);
    b.stats = allocate(rows, sizeof *b.stats);
    b.terms = allocate(rows, sizeof *b.terms);
    b.sequence_tokens = allocate(b.sequences, sizeof *b.sequence_tokens);
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
    free(b->a.logits);
    free(b->stats);
    free(b->terms);
    free(b->sequence_tokens);
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

/* What the threads of a pass share, and what each of them has to say. */
typedef struct pass {
    const model *m;
    const batch *b;
    const surprisal_loss *loss;
    surprisal_batch inputs;
    surprisal_denominator denominator;
    struct result {
        surprisal_status status;
        surprisal_report report;
        surprisal_error_detail detail;
    } results[MAX_THREADS];
} pass;

static pass begin_pass(model *m, const batch *b, const surprisal_loss *loss)
{
    pass p = {.m = m, .b = b, .loss = loss, .inputs = batch_inputs(b)};
    for (size_t t = 0; t < MAX_THREADS; t++) {
        p.results[t] = (struct result){.status = SURPRISAL_OK, .report = SURPRISAL_REPORT_INIT};
    }
    model_begin(m);
    return p;
}

/* Counts what a mean must know of the whole batch, for threads that work on parts of it. */
static surprisal_status count_denominator(pass *p, surprisal_error_detail *detail)
{
    p->inputs.denominator = &p->denominator;
    return surprisal_loss_denominator(p->loss, &p->inputs, p->m->vocab, p->b->sequence_tokens, &p->denominator, detail);
}

/* The sum of the threads' reports, or the first of their errors. */
static surprisal_status end_pass(const pass *p, size_t threads, surprisal_report *report,
                                 surprisal_error_detail *detail)
{
    *report = (surprisal_report)SURPRISAL_REPORT_INIT;
    for (size_t t = 0; t < threads; t++) {
        const struct result *r = &p->results[t];
        if (r->status != SURPRISAL_OK) {
            *detail = r->detail;
            return r->status;
        }
        const surprisal_status status = surprisal_report_merge(report, &r->report, detail);
        if (status != SURPRISAL_OK) {
            return status;
        }
    }
    return SURPRISAL_OK;
}

/* The rows of one thread, which know their place in the batch. */
static surprisal_logits logits_of(const pass *p, size_t begin, size_t end)
{
    const surprisal_logits all = surprisal_logits_f32(p->b->a.logits, p->b->rows, p->m->vocab);
    return surprisal_logits_rows(all, begin, end);
}

/* The same memory: the gradient overwrites the logits. */
static surprisal_logits_mut dlogits_of(const pass *p, size_t begin, size_t end)
{
    const surprisal_logits_mut all = surprisal_logits_mut_f32(p->b->a.logits, p->b->rows, p->m->vocab);
    return surprisal_logits_mut_rows(all, begin, end);
}

/* Objectives of token scope: a thread takes its rows through the model, the library and back, and waits for nobody. */
static void token_rows(void *user, size_t thread, size_t begin, size_t end)
{
    pass *p = user;
    struct result *r = &p->results[thread];
    const surprisal_logits z = logits_of(p, begin, end);
    const surprisal_logits_mut dz = dlogits_of(p, begin, end);
    model_forward(p->m, &p->b->a, begin, end);
    r->status = surprisal_forward_backward(p->loss, &p->inputs, &z, &dz, NULL, NULL, &r->report, &r->detail);
    if (r->status == SURPRISAL_OK) {
        model_backward(p->m, &p->b->a, begin, end);
    }
}

/* Objectives of group scope, before all rows meet: logits and their statistics. */
static void statistics_rows(void *user, size_t thread, size_t begin, size_t end)
{
    pass *p = user;
    struct result *r = &p->results[thread];
    const surprisal_logits z = logits_of(p, begin, end);
    model_forward(p->m, &p->b->a, begin, end);
    r->status = surprisal_row_stats(p->loss, &p->inputs, &z, p->b->stats, &r->detail);
}

/* And after that: from each row's term to the gradients. */
static void gradient_rows(void *user, size_t thread, size_t begin, size_t end)
{
    pass *p = user;
    struct result *r = &p->results[thread];
    const surprisal_logits z = logits_of(p, begin, end);
    const surprisal_logits_mut dz = dlogits_of(p, begin, end);
    r->status = surprisal_logits_grad(p->loss, &p->inputs, &z, p->b->stats, p->b->terms, &dz, &r->detail);
    if (r->status == SURPRISAL_OK) {
        model_backward(p->m, &p->b->a, begin, end);
    }
}

/* The loss of the rows of one thread. */
static void loss_rows(void *user, size_t thread, size_t begin, size_t end)
{
    pass *p = user;
    struct result *r = &p->results[thread];
    const surprisal_logits z = logits_of(p, begin, end);
    model_forward(p->m, &p->b->a, begin, end);
    r->status = surprisal_forward(p->loss, &p->inputs, &z, NULL, NULL, &r->report, &r->detail);
}

static bool is_of_token(int32_t objective)
{
    return surprisal_objective_scope(objective) == SURPRISAL_SCOPE_TOKEN;
}

/* The terms of all rows, with the memory that this takes. */
static surprisal_status terms_of_batch(const pass *p, surprisal_report *report, surprisal_error_detail *detail)
{
    const batch *b = p->b;
    surprisal_workspace workspace = SURPRISAL_WORKSPACE_INIT;
    surprisal_status status = surprisal_workspace_size(p->loss, b->rows, p->m->vocab, &workspace.size, detail);
    if (status != SURPRISAL_OK) {
        return status;
    }
    workspace.data = allocate(workspace.size, 1);
    status = surprisal_token_terms(p->loss, &p->inputs, p->m->vocab, 0, b->rows, b->stats, b->terms, &workspace, report,
                                   detail);
    free(workspace.data);
    return status;
}

/* The three stages. Between the two that the threads share by rows, one looks at the whole batch: it reads the six
 * statistics of each row and takes no time to speak of. */
static surprisal_status staged(pass *p, size_t threads, surprisal_report *report, surprisal_error_detail *detail)
{
    parallel_for(threads, p->b->rows, statistics_rows, p);
    surprisal_status status = end_pass(p, threads, report, detail);
    if (status == SURPRISAL_OK) {
        status = terms_of_batch(p, &p->results[0].report, detail);
    }
    if (status != SURPRISAL_OK) {
        return status;
    }
    parallel_for(threads, p->b->rows, gradient_rows, p);
    return end_pass(p, threads, report, detail);
}

surprisal_status batch_gradient(model *m, const batch *b, const surprisal_loss *loss, size_t threads,
                                surprisal_report *report, surprisal_error_detail *detail)
{
    pass p = begin_pass(m, b, loss);
    surprisal_status status;
    if (is_of_token(loss->objective)) {
        status = count_denominator(&p, detail);
        if (status == SURPRISAL_OK) {
            parallel_for(threads, b->rows, token_rows, &p);
            status = end_pass(&p, threads, report, detail);
        }
    } else {
        status = staged(&p, threads, report, detail);
    }
    if (status == SURPRISAL_OK) {
        model_gradient(m, &b->a, b->rows, threads);
    }
    return status;
}

surprisal_status batch_loss(model *m, const batch *b, const surprisal_loss *loss, size_t threads,
                            surprisal_report *report, surprisal_error_detail *detail)
{
    pass p = begin_pass(m, b, loss);
    const surprisal_status status = count_denominator(&p, detail);
    if (status != SURPRISAL_OK) {
        return status;
    }
    parallel_for(threads, b->rows, loss_rows, &p);
    return end_pass(&p, threads, report, detail);
}
