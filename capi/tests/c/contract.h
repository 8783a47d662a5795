/* The accuracy contract: what a result may differ from double precision. As tests/src/tolerance.rs has it. */
#ifndef CONTRACT_H
#define CONTRACT_H

#include "ways.h"

/* What a case must give for logits of some type. */
typedef struct expectation {
    surprisal_report report;
    const double *logits, *nll, *dlogits;
} expectation;

/* ULP of 1 in f32, and what float64 leaves where a gradient of 0 is expected. */
static const double epsilon = 0x1p-23, noise = 1e-14;

static inline double maximum(double a, double b)
{
    return a > b ? a : b;
}

/* A parameter, or the objective's default. */
static inline double or_default(double value, double otherwise)
{
    return value == SURPRISAL_DEFAULT ? otherwise : value;
}

/* The transformed logit. */
static inline double mapped(const surprisal_loss *loss, double z)
{
    double scaled = z * (double)loss->logit_scale, cap = (double)loss->softcap;
    return cap == 0 ? scaled : cap * tanh(scaled / cap);
}

static inline double nll_bound(const surprisal_loss *loss, double expected)
{
    return 2e-7 * fabs(expected) + 2e-7 + 2 * epsilon * (double)loss->softcap;
}

/* Of a sum of token losses: 1e-6 of what its tokens may contribute. */
static double sum_bound(const test_case *c, const expectation *e, double expected)
{
    double nll = 0;
    for (size_t row = 0; row < c->rows; row++) {
        nll += isfinite(e->nll[row]) ? e->nll[row] : 0;
    }
    return 1e-6 * (fabs(expected) + nll + (double)e->report.tokens * (4 + (double)c->loss.softcap));
}

/* Of the reduced loss: the sum's, reduced. */
static double loss_bound(const test_case *c, const expectation *e)
{
    double reduced = fabs(e->report.loss / e->report.loss_sum);
    double scale = isfinite(reduced) ? maximum(reduced, 0.01) : 1;
    return (scale < 1 ? scale : 1) * sum_bound(c, e, e->report.loss_sum);
}

/* d coef / d ln p, absolute and relative to the coefficient, where the coefficient is steep: ln p is known to 2e-7. */
static void sensitivity(const test_case *c, double *absolute, double *relative)
{
    const surprisal_loss *loss = &c->loss;
    *absolute = *relative = 0;
    switch (loss->objective) {
    case SURPRISAL_GRPO: *absolute = or_default(loss->beta, 0.04), *relative = 1; break;
    case SURPRISAL_INFOSFT: *absolute = 2, *relative = 1; break;
    case SURPRISAL_DPO: *relative = or_default(loss->beta, 0.1) * (double)c->rows; break;
    case SURPRISAL_TALR: *relative = 1 / or_default(loss->tau, 1); break;
    case SURPRISAL_POWER: *relative = or_default(loss->alpha, 1); break;
    default: break;
    }
}

/* Of a gradient entry, by its distance |z'_j - max|. */
static double entry_bound(const test_case *c, double expected, double largest, double distance, int is_target,
                          double nll)
{
    double mixed = c->loss.label_smoothing > 0 ? largest : 0;
    double capped = c->loss.softcap == 0 ? 0 : 8 + 4 * (double)c->loss.softcap;
    double miss = maximum(-expm1(-nll), 1e-300), absolute, relative;
    sensitivity(c, &absolute, &relative);
    double bound = epsilon * (2 + distance + capped) * (fabs(expected) + mixed) + 0x1p-126 * maximum(largest, 1) +
                   2e-7 * (absolute * exp(-distance) + relative * fabs(expected));
    if (is_target) {
        /* 4e-7 coef, from the entry coef (p - 1). */
        bound += 4e-7 * maximum(fabs(expected) / miss, mixed) + capped * epsilon * largest;
    }
    return bound;
}

/* Half an ULP of the smallest value of a binade, and half the spacing of subnormals; f32's is part of its bound. */
static double rounding(int32_t dtype, double expected)
{
    switch (dtype) {
    case SURPRISAL_BF16: return 0x1p-8 * fabs(expected);
    case SURPRISAL_F16: return 0x1p-11 * fabs(expected) + 0x1p-25;
    default: return 0;
    }
}

static void check_report(const test_case *c, const expectation *e, const surprisal_report *actual)
{
    CHECK_EQUAL(actual->tokens, e->report.tokens);
    CHECK_EQUAL(actual->correct, e->report.correct);
    CHECK_EQUAL(actual->invalid_row, e->report.invalid_row);
    CHECK_CLOSE(actual->loss, e->report.loss, loss_bound(c, e));
    CHECK_CLOSE(actual->loss_sum, e->report.loss_sum, sum_bound(c, e, e->report.loss_sum));
    CHECK_CLOSE(actual->nll_sum, e->report.nll_sum, sum_bound(c, e, e->report.nll_sum));
    CHECK_CLOSE(actual->weight_sum, e->report.weight_sum, 1e-12 * e->report.weight_sum);
}

static void check_nll(const test_case *c, const expectation *e, const float *nll, const float *log_probs)
{
    for (size_t row = 0; row < c->rows; row++) {
        double bound = nll_bound(&c->loss, e->nll[row]);
        CHECK(close_to((double)nll[row], e->nll[row], bound), "nll[%zu] is %.9g instead of %.17g", row,
              (double)nll[row], e->nll[row]);
        CHECK(close_to((double)log_probs[row], -(double)nll[row], 0), "log_probs[%zu] is %.9g, nll %.9g", row,
              (double)log_probs[row], (double)nll[row]);
    }
}

static void check_gradient(const test_case *c, const expectation *e, const matrix *dlogits)
{
    for (size_t row = 0; row < c->rows; row++) {
        double largest = 0, max = -INFINITY;
        for (size_t j = 0; j < c->vocab; j++) {
            largest = fmax(largest, fabs(e->dlogits[row * c->vocab + j]));
            max = fmax(max, mapped(&c->loss, e->logits[row * c->vocab + j]));
        }
        for (size_t j = 0; j < c->vocab; j++) {
            double expected = e->dlogits[row * c->vocab + j], actual = get(dlogits, row, j);
            double distance = fmin(fabs(mapped(&c->loss, e->logits[row * c->vocab + j]) - max), 200);
            int is_target = !is_ignored(c, row) && c->arrays[TARGETS][row] == (double)j;
            double bound = entry_bound(c, expected, largest, distance, is_target, e->nll[row]) +
                           rounding(dlogits->dtype, expected) + noise;
            CHECK(close_to(actual, expected, bound),
                  "dlogits[%zu][%zu] is %.9g instead of %.17g, off by %.3g, allowed %.3g", row, j, actual, expected,
                  fabs(actual - expected), bound);
        }
    }
}

#endif
