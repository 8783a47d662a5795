#include "checks.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 2, COUNT = EMBEDDING * VOCAB + EMBEDDING * CONTEXT * HIDDEN + HIDDEN + HIDDEN * VOCAB };

/* What a computation gives: loss, gradient of the weights, and gradient of the logits (or, of a forward pass alone, the
 * logits). */
typedef struct result {
    double loss;
    float weights[COUNT], logits[ROWS * VOCAB];
} result;

_Noreturn void stop(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout);
    fputs("ggml: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(EXIT_FAILURE);
}

bool say(bool is_right, const char *claim)
{
    printf("%-110s %s\n", claim, is_right ? "ok" : "WRONG");
    return is_right;
}

surprisal_ggml *new_loss(const surprisal_loss *loss, int threads)
{
    surprisal_error_detail detail;
    surprisal_ggml *s = surprisal_ggml_new(loss, ROWS, VOCAB, threads, &detail);
    if (s == NULL) {
        stop("%s", detail.message);
    }
    return s;
}

void set_batch(surprisal_ggml *s, const batch *b)
{
    const surprisal_batch inputs = batch_inputs(b);
    surprisal_error_detail detail;
    if (surprisal_ggml_set_batch(s, &inputs, &detail) != SURPRISAL_OK) {
        stop("%s", detail.message);
    }
}

/* Allocates and computes a graph, takes what it gives, and frees it. */
static void finish(program *p, const model *m, const batch *b, int threads, result *out)
{
    ggml_set_output(p->logits);
    program_allocate(p);
    if (!program_run(p, m, b, threads)) {
        stop("the computation was aborted");
    }
    float *weights = out->weights;
    for (int i = 0; i < PARAMETERS && p->gradients[i] != NULL; weights += ggml_nelements(p->gradients[i++])) {
        read_tensor(p->gradients[i], weights);
    }
    read_tensor(p->dlogits != NULL ? p->dlogits : p->logits, out->logits);
    float loss = 0.0f;
    if (p->loss != NULL) {
        read_tensor(p->loss, &loss);
        out->loss = (double)loss;
    }
    program_free(p);
}

/* From the gradient of the logits. */
static void compute(const model *m, const surprisal_loss *loss, const batch *b, int threads, result *out)
{
    surprisal_report report = SURPRISAL_REPORT_INIT;
    surprisal_error_detail detail;
    surprisal_ggml *s = new_loss(loss, threads);
    program p = program_create(m);
    program_backward(&p, m, s);
    set_batch(s, b);
    finish(&p, m, b, threads, out);
    if (surprisal_ggml_result(s, &report, &detail) != SURPRISAL_OK) {
        stop("%s", detail.message);
    }
    out->loss = report.loss;
    surprisal_ggml_free(s);
}

/* From `factor` times the loss as a scalar. */
static void compute_scalar(const model *m, const surprisal_loss *loss, const batch *b, float factor, result *out)
{
    surprisal_ggml *s = new_loss(loss, THREADS - 1); /* for fewer threads than there are: one has no rows */
    program p = program_create(m);
    program_backward_from(&p, m, ggml_scale(p.ctx, surprisal_ggml_loss(p.ctx, p.logits, s), factor));
    set_batch(s, b);
    finish(&p, m, b, THREADS, out);
    surprisal_ggml_free(s);
}

/* By ggml's own cross-entropy, which takes a distribution a row. A masked row is one of zeros. */
static void compute_ggml(const model *m, const batch *b, result *out)
{
    float *labels = calloc(ROWS * VOCAB, sizeof *labels);
    GGML_ASSERT(labels != NULL);
    for (int row = 0; row < ROWS; row++) {
        if (b->targets[row] >= 0) {
            labels[row * VOCAB + b->targets[row]] = 1.0f;
        }
    }
    ggml_backend_tensor_set(m->labels, labels, 0, ROWS * VOCAB * sizeof *labels);
    free(labels);
    program p = program_create(m);
    program_backward_from(&p, m, ggml_cross_entropy_loss(p.ctx, p.logits, m->labels));
    finish(&p, m, b, THREADS, out);
}

/* In one call over the matrix, without ggml: the gradient of the logits. */
static void compute_whole(const model *m, const surprisal_loss *loss, const batch *b, result *out)
{
    program p = program_create(m);
    finish(&p, m, b, THREADS, out);
    const surprisal_batch inputs = batch_inputs(b);
    const surprisal_logits_mut dz = surprisal_logits_mut_f32(out->logits, ROWS, VOCAB);
    const surprisal_logits z = surprisal_logits_of_mut(dz);
    surprisal_workspace workspace = SURPRISAL_WORKSPACE_INIT;
    surprisal_report report = SURPRISAL_REPORT_INIT;
    surprisal_error_detail detail;
    surprisal_status status = surprisal_workspace_size(loss, ROWS, VOCAB, &workspace.size, &detail);
    workspace.data = malloc(workspace.size);
    if (status == SURPRISAL_OK) {
        status = surprisal_forward_backward(loss, &inputs, &z, &dz, NULL, &workspace, &report, &detail);
    }
    free(workspace.data);
    if (status != SURPRISAL_OK) {
        stop("%s", detail.message);
    }
    out->loss = report.loss;
}

/* The largest difference, over the largest entry of `b`. */
static double difference(const float *a, const float *b, size_t count)
{
    double most = 0.0, largest = 0.0;
    for (size_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)b[i]));
    }
    return most / largest;
}

static bool check_dense(const model *m, const batch *dense, result *a, result *b)
{
    const surprisal_loss sft = SURPRISAL_LOSS_INIT;
    compute(m, &sft, dense, THREADS, a);
    compute_ggml(m, dense, b);
    const double loss = fabs(a->loss / b->loss - 1.0), gradient = difference(a->weights, b->weights, COUNT);
    printf("every row counts, sft against ggml_cross_entropy_loss: loss %.6f and %.6f (%.1e apart), weight gradients "
           "%.1e of the largest\n",
           a->loss, b->loss, loss, gradient);
    return say(loss < 2e-6 && gradient < 2e-6, "they agree within 2e-6");
}

static bool check_masked(const model *m, const batch *masked, result *a, result *b)
{
    const surprisal_loss sft = SURPRISAL_LOSS_INIT;
    compute(m, &sft, masked, THREADS, a);
    compute_ggml(m, masked, b);
    int counted = 0;
    for (int row = 0; row < ROWS; row++) {
        counted += masked->targets[row] >= 0;
    }
    /* ggml divides by all rows. */
    double apart = 0.0, square = 0.0;
    for (int i = 0; i < COUNT; i++) {
        const double ours = (double)a->weights[i], theirs = (double)b->weights[i] * ROWS / counted;
        apart += (ours - theirs) * (ours - theirs);
        square += ours * ours;
    }
    printf("%d of %d rows count: ggml's loss is %.6f, with its division by all rows undone %.6f, ours %.6f;\n", counted,
           ROWS, b->loss, b->loss * ROWS / counted, a->loss);
    printf("    its weight gradients, scaled likewise, are %.0f %% off\n", 100.0 * sqrt(apart / square));
    bool softmax = masked->targets[0] < 0, zero = softmax;
    double sum = 0.0;
    for (int id = 0; id < VOCAB; id++) {
        softmax &= b->logits[id] > 0.0f;
        zero &= a->logits[id] == 0.0f;
        sum += (double)b->logits[id];
    }
    softmax &= fabs(sum * ROWS - 1.0) < 1e-5;
    zero = say(zero, "a masked row has no gradient");
    return say(softmax, "with ggml_cross_entropy_loss it has that of softmax, which moves the weights") && zero;
}

/* An objective of each kind, a node and three. */
static bool check_threads(const model *m, const batch *masked, result *a, result *b)
{
    static const int threads[] = {2, 3, 7};
    static const char *const names[] = {"dft", "talr-auto"};
    bool same = true, whole = true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        surprisal_loss loss = SURPRISAL_LOSS_INIT;
        loss.objective = surprisal_enum_value("objective", names[i]);
        compute(m, &loss, masked, 1, a);
        for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
            compute(m, &loss, masked, threads[t], b);
            same &= memcmp(a->weights, b->weights, sizeof a->weights) == 0;
        }
        compute_whole(m, &loss, masked, b);
        whole &= memcmp(a->logits, b->logits, sizeof a->logits) == 0;
    }
    whole = say(whole, "dft, talr-auto: the gradient of the logits has the bits of one call over the matrix");
    return say(same, "and that of the weights the same bits on 1, 2, 3 and 7 threads") && whole;
}

static bool check_scalar(const model *m, const batch *masked, result *a, result *b)
{
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    loss.objective = surprisal_enum_value("objective", "dft");
    compute(m, &loss, masked, THREADS, a);
    compute_scalar(m, &loss, masked, 1.0f, b);
    bool is_right = memcmp(a->weights, b->weights, sizeof a->weights) == 0 && fabs(b->loss / a->loss - 1.0) < 1e-5;
    is_right = say(is_right, "the scalar loss has the same weight gradients, bit for bit, and the loss as its value");
    loss.grad_scale = 0.25f;
    compute(m, &loss, masked, THREADS, a);
    loss.grad_scale = 1.0f;
    compute_scalar(m, &loss, masked, 0.25f, b);
    return say(memcmp(a->weights, b->weights, sizeof a->weights) == 0,
               "a quarter of it has those of grad_scale 0.25") &&
           is_right;
}

bool check_all(void)
{
    model m = model_create(2);
    batch *dense = malloc(sizeof *dense), *masked = malloc(sizeof *masked);
    result *a = malloc(sizeof *a), *b = malloc(sizeof *b);
    GGML_ASSERT(dense != NULL && masked != NULL && a != NULL && b != NULL);
    batch_fill(dense, 7, true);
    batch_fill(masked, 7, false);
    bool is_right = check_dense(&m, dense, a, b);
    is_right &= check_masked(&m, masked, a, b);
    is_right &= check_threads(&m, masked, a, b);
    is_right &= check_scalar(&m, masked, a, b);
    is_right &= check_traps(&m, masked);
    free(dense);
    free(masked);
    free(a);
    free(b);
    model_free(&m);
    return is_right;
}
