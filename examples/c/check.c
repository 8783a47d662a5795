#include "check.h"

#include "step.h"
#include "support.h"

#include <surprisal_tools.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 3, VOCAB = 7, HIDDEN = 6, ROWS = 14, LENGTH = 4, THREADS = 3 };
enum { COUNT = CONTEXT * VOCAB * HIDDEN + HIDDEN * VOCAB };

/* A loss as a function of the parameters. */
typedef struct problem {
    const batch *b;
    const surprisal_loss *loss;
    surprisal_batch inputs;
    double at[ROWS * VOCAB]; /* logits of the parameters that the gradient was taken at */
} problem;

/* The model once more, in double precision and without any haste. */
static void logits_in_double(const batch *b, const double *parameters, double *logits)
{
    const double *output = parameters + CONTEXT * VOCAB * HIDDEN;
    for (int row = 0; row < ROWS; row++) {
        double hidden[HIDDEN] = {0};
        for (int unit = 0; unit < HIDDEN; unit++) {
            for (int place = 0; place < CONTEXT; place++) {
                const int id = b->context[row * CONTEXT + place];
                hidden[unit] += parameters[(place * VOCAB + id) * HIDDEN + unit];
            }
            hidden[unit] = unit == HIDDEN - 1 ? 1.0 : tanh(hidden[unit]);
        }
        for (int id = 0; id < VOCAB; id++) {
            double sum = 0.0;
            for (int unit = 0; unit < HIDDEN; unit++) {
                sum += hidden[unit] * output[unit * VOCAB + id];
            }
            logits[row * VOCAB + id] = sum;
        }
    }
}

/* What the gradient is the gradient of. For sft that is the loss; where the objective stops a gradient, what it
 * detaches stays as it is at the logits `at`. */
static double surrogate(const double *parameters, void *user)
{
    const problem *p = user;
    double logits[ROWS * VOCAB], value;
    logits_in_double(p->b, parameters, logits);
    const surprisal_status status =
        surprisal_reference_surrogate(p->loss, &p->inputs, logits, p->at, VOCAB, &value, NULL);
    return status == SURPRISAL_OK ? value : NAN;
}

/* Random parameters, contexts and targets, and a row that is ignored. */
static void fill(model *m, batch *b, uint64_t random)
{
    for (size_t i = 0; i < COUNT; i++) {
        m->parameters[i] = (float)(2.0 * random_unit(&random) - 1.0);
    }
    for (size_t i = 0; i < ROWS * CONTEXT; i++) {
        b->context[i] = (int32_t)random_below(&random, VOCAB);
    }
    for (size_t row = 0; row < ROWS; row++) {
        b->targets[row] = (int32_t)random_below(&random, VOCAB);
        b->ref_log_probs[row] = (float)(-3.0 * random_unit(&random));
    }
    b->targets[5] = -100;
}

/* Whether the gradient has the same bits on one thread. */
static bool is_same_on_one_thread(model *m, const batch *b, const surprisal_loss *loss)
{
    float before[COUNT];
    surprisal_report report;
    surprisal_error_detail detail;
    memcpy(before, m->gradient, sizeof before);
    const surprisal_status status = batch_gradient(m, b, loss, 1, &report, &detail);
    return status == SURPRISAL_OK && memcmp(before, m->gradient, sizeof before) == 0;
}

/* Whether the loss is that of whole logits in double precision. */
static bool is_of_whole_logits(const problem *p, const surprisal_report *report)
{
    surprisal_report whole;
    const surprisal_status status =
        surprisal_reference_forward_backward(p->loss, &p->inputs, p->at, VOCAB, NULL, &whole, NULL);
    return status == SURPRISAL_OK && whole.tokens == report->tokens && fabs(whole.loss - report->loss) <= 1e-6 * (1.0 + fabs(whole.loss));
}

static bool check_objective(model *m, const batch *b, int32_t objective)
{
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    loss.objective = objective;
    loss.label_smoothing = 0.1f;
    surprisal_report report;
    surprisal_error_detail detail;
    const char *name = surprisal_enum_name("objective", objective);
    const surprisal_status status = batch_gradient(m, b, &loss, THREADS, &report, &detail);
    if (status != SURPRISAL_OK) {
        printf("%-16s not for this trainer: %s\n", name, detail.message);
        return status == SURPRISAL_ERROR_MISSING;
    }
    problem p = {.b = b, .loss = &loss, .inputs = batch_inputs(b)};
    double parameters[COUNT], gradient[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        parameters[i] = m->parameters[i];
        gradient[i] = m->gradient[i];
    }
    logits_in_double(b, parameters, p.at);
    surprisal_gradient_check check;
    if (surprisal_check_gradient(surrogate, &p, parameters, gradient, COUNT, 1e-3, &check, &detail) < 0) {
        fail(EXIT_FAILURE, "%s: %s", name, detail.message);
    }
    const bool close = check.error < 1e-5 && is_of_whole_logits(&p, &report), same = is_same_on_one_thread(m, b, &loss);
    printf("%-16s largest error %.1e%s%s\n", name, check.error, close ? "" : ", WRONG",
           same ? "" : ", DEPENDS ON THE THREADS");
    return close && same;
}

bool check_gradients(void)
{
    model m = model_create(CONTEXT, VOCAB, HIDDEN, 1);
    batch b = batch_create(&m, ROWS, LENGTH);
    fill(&m, &b, 1);
    bool right = true;
    for (int32_t objective = 0; surprisal_enum_name("objective", objective) != NULL; objective++) {
        right &= check_objective(&m, &b, objective);
    }
    printf("check: %s\n", right ? "ok" : "FAILED");
    batch_free(&b);
    model_free(&m);
    return right;
}
