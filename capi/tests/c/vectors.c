/* Every case of a vectors file (described in case.h), in every element type and in every way that the ABI has. */
#include "contract.h"

static const struct {
    const char *name;
    int32_t logits, result;
} types[] = {
    {"f32", SURPRISAL_DTYPE_F32, SURPRISAL_DTYPE_F32},
    {"f32 to bf16", SURPRISAL_DTYPE_F32, SURPRISAL_DTYPE_BF16},
    {"f32 to f16", SURPRISAL_DTYPE_F32, SURPRISAL_DTYPE_F16},
    {"bf16", SURPRISAL_DTYPE_BF16, SURPRISAL_DTYPE_BF16},
    {"bf16 to f16", SURPRISAL_DTYPE_BF16, SURPRISAL_DTYPE_F16},
    {"bf16 to f32", SURPRISAL_DTYPE_BF16, SURPRISAL_DTYPE_F32},
    {"f16", SURPRISAL_DTYPE_F16, SURPRISAL_DTYPE_F16},
    {"f16 to f32", SURPRISAL_DTYPE_F16, SURPRISAL_DTYPE_F32},
    {"f16 to bf16", SURPRISAL_DTYPE_F16, SURPRISAL_DTYPE_BF16},
};

/* The sums of ranges are those of the whole, up to the order of additions. */
static void check_same(const test_case *c, const outcome *o, const outcome *base, double relative)
{
    const surprisal_report *a = &o->report, *e = &base->report;
    CHECK(same_entries(&o->dlogits, &base->dlogits), "dlogits differ in their bits from those of the whole call");
    CHECK_BYTES(o->outputs.nll, base->outputs.nll, c->rows * sizeof(float));
    CHECK_EQUAL(a->tokens, e->tokens);
    CHECK_EQUAL(a->correct, e->correct);
    CHECK_EQUAL(a->invalid_row, e->invalid_row);
    CHECK_CLOSE(a->loss, e->loss, relative * maximum(fabs(e->loss), fabs(e->nll_sum)));
    CHECK_CLOSE(a->loss_sum, e->loss_sum, relative * maximum(fabs(e->loss_sum), fabs(e->nll_sum)));
    CHECK_CLOSE(a->nll_sum, e->nll_sum, relative * e->nll_sum);
    CHECK_CLOSE(a->weight_sum, e->weight_sum, relative * e->weight_sum);
}

static void check_forward(const test_case *c, const expectation *e, int32_t dtype)
{
    matrix z = logits_of(c, dtype, 0);
    surprisal_logits logits = view(&z, whole(&z));
    surprisal_outputs outputs = new_outputs(c);
    surprisal_workspace workspace = new_workspace(c, c->rows, 0);
    surprisal_report report = SURPRISAL_REPORT_INIT;
    CHECK_OK(surprisal_forward(&c->loss, &c->batch, &logits, &outputs, needs_whole(c) ? &workspace : NULL, &report, NULL));
    check_report(c, e, &report);
    check_nll(c, e, outputs.nll, outputs.log_probs);
}

/* Sum of exp(z' - max) over the classes other than one that has the largest logit. */
static double others_of(const test_case *c, const double *row, size_t largest)
{
    double sum = 0;
    for (size_t j = 0; j < c->vocab; j++) {
        sum += j == largest ? 0 : exp(mapped(&c->loss, row[j]) - mapped(&c->loss, row[largest]));
    }
    return sum;
}

/* The oracle on the rounded logits; for f32 the vectors themselves. */
static expectation expect(const test_case *c, int32_t dtype)
{
    static const surprisal_report empty = SURPRISAL_REPORT_INIT;
    size_t count = c->rows * c->vocab;
    double *logits = allocate(count, sizeof(double)), *dlogits = allocate(count, sizeof(double));
    double *nll = allocate(c->rows, sizeof(double));
    matrix z = logits_of(c, dtype, 0);
    expectation e = {empty, logits, nll, dlogits, c->noise};
    for (size_t i = 0; i < count; i++) {
        logits[i] = get(&z, i / c->vocab, i % c->vocab);
    }
    if (dtype == SURPRISAL_DTYPE_F32) {
        return (expectation){c->expected, logits, c->arrays[NLL], c->arrays[DLOGITS], c->noise};
    }
    CHECK_OK(surprisal_reference_forward_backward(&c->loss, &c->batch, logits, c->vocab, dlogits, &e.report, NULL));
    for (size_t row = 0; row < c->rows; row++) {
        double max = -INFINITY, sum = 0;
        for (size_t j = 0; j < c->vocab; j++) {
            max = fmax(max, mapped(&c->loss, logits[row * c->vocab + j]));
        }
        for (size_t j = 0; j < c->vocab; j++) {
            sum += exp(mapped(&c->loss, logits[row * c->vocab + j]) - max);
        }
        if (!is_ignored(c, row)) {
            /* The target is left out of the sum, so that nothing is lost where p is near 1. */
            size_t target = row * c->vocab + (size_t)c->arrays[TARGETS][row];
            double of_target = mapped(&c->loss, logits[target]);
            nll[row] = of_target == max ? log1p(others_of(c, logits + row * c->vocab, target % c->vocab))
                                        : max - of_target + log(sum);
        }
    }
    return e;
}

static void check_ways(const test_case *c)
{
    for (size_t t = 0; t < LENGTH(types); t++) {
        expectation e = expect(c, types[t].logits);
        outcome base = {0};
        snprintf(subject, sizeof subject, "%s, %s, forward", c->name, types[t].name);
        check_forward(c, &e, types[t].logits);
        for (size_t i = 0; i < LENGTH(ways); i++) {
            const way *w = &ways[i];
            if (w->in_place && types[t].logits != types[t].result) {
                continue;
            }
            snprintf(subject, sizeof subject, "%s, %s, %s", c->name, types[t].name, w->name);
            outcome o = run(c, w, types[t].logits, types[t].result);
            check_report(c, &e, &o.report);
            check_nll(c, &e, o.outputs.nll, o.outputs.log_probs);
            check_gradient(c, &e, &o.dlogits);
            if (i == 0) {
                base = o;
            } else if (w->shards == 1) {
                check_same(c, &o, &base, w->range == 0 ? 0 : 1e-13);
            }
        }
    }
}

/* A loss as a function of its logits, with what is detached held. */
struct surrogate {
    const test_case *c;
    const double *at;
};

static double surrogate(const double *logits, void *user)
{
    const struct surrogate *s = user;
    double value = NAN;
    CHECK_OK(surprisal_reference_surrogate(&s->c->loss, &s->c->batch, logits, s->at, s->c->vocab, &value, NULL));
    return value * (double)s->c->loss.grad_scale;
}

static void check_oracle(const test_case *c)
{
    size_t count = c->rows * c->vocab, finite = 0;
    double *dlogits = allocate(count, sizeof(double)), *x = allocate(count, sizeof(double));
    surprisal_report report = SURPRISAL_REPORT_INIT, alone = SURPRISAL_REPORT_INIT;
    surprisal_gradient_check worst = {0};
    struct surrogate user = {c, c->arrays[LOGITS]};
    snprintf(subject, sizeof subject, "%s, oracle", c->name);
    CHECK_OK(surprisal_reference_forward_backward(&c->loss, &c->batch, user.at, c->vocab, dlogits, &report, NULL));
    CHECK_OK(surprisal_reference_forward_backward(&c->loss, &c->batch, user.at, c->vocab, NULL, &alone, NULL));
    CHECK_BYTES(&alone, &report, sizeof report);
#define CHECK_ORACLE(actual, expected) CHECK_CLOSE(actual, expected, 1e-11 * fabs(expected) + 100 * c->noise)
    CHECK_ORACLE(report.loss, c->expected.loss);
    CHECK_ORACLE(report.loss_sum, c->expected.loss_sum);
    CHECK_ORACLE(report.nll_sum, c->expected.nll_sum);
    CHECK_ORACLE(report.weight_sum, c->expected.weight_sum);
    CHECK_EQUAL(report.tokens, c->expected.tokens);
    CHECK_EQUAL(report.correct, c->expected.correct);
    for (size_t i = 0; i < count; i++) {
        CHECK_ORACLE(dlogits[i], c->arrays[DLOGITS][i]);
        finite += isfinite(c->arrays[LOGITS][i]) != 0;
        x[i] = c->arrays[LOGITS][i];
    }
    if (finite == count) {
        CHECK_OK(surprisal_check_gradient(surrogate, &user, x, dlogits, count, 1e-3, &worst, NULL));
        /* About 1e-12 is left of rounding in the differences, however small the gradient is. */
        CHECK(worst.error <= 1e-9 || fabs(worst.analytic - worst.numeric) <= 1e-12,
              "gradient[%zu] is %.17g, numerically %.17g, error %.3g",
              worst.index, worst.analytic, worst.numeric, worst.error);
        CHECK_BYTES(x, c->arrays[LOGITS], count * sizeof *x);
    }
}

int main(int count, char **arguments)
{
    FILE *file = count == 2 ? fopen(arguments[1], "r") : NULL;
    test_case c;
    int cases = 0;
    if (file == NULL) {
        printf("usage: vectors FILE\n");
        return EXIT_FAILURE;
    }
    for (; read_case(file, &c); cases++) {
        check_oracle(&c);
        check_ways(&c);
        free_all();
    }
    *subject = '\0';
    CHECK(feof(file) && cases > 0, "%d cases, and not at the end of the file", cases);
    fclose(file);
    printf("%d cases\n", cases);
    return finish("vectors");
}
