/* The accuracy contract: what a result may differ from double precision. As tests/src/tolerance.rs has it. */
#ifndef CONTRACT_H
#define CONTRACT_H

#include "ways.h"

/* What a case must give for logits of some type. */
typedef struct expectation {
    surprisal_report report;
    const double *logits, *nll, *dlogits;
    double noise;
} expectation;

/* ULP of 1 in f32, and its smallest normal number. */
static const double epsilon = 0x1p-23, smallest = 0x1p-126;

static inline double maximum(double a, double b)
{
    return a > b ? a : b;
}

/* The transformed logit. */
static inline double mapped(const surprisal_loss *loss, double z)
{
    double scaled = z * (double)loss->logit_scale, cap = (double)loss->softcap;
    return cap == 0 ? scaled : cap * tanh(scaled / cap);
}

/* ULPs that a soft-cap adds to -ln p and to every entry. */
static inline double capped(const surprisal_loss *loss)
{
    return loss->softcap == 0 ? 0 : 8 + 4 * (double)loss->softcap;
}

/* |z'_j - max| of a class of a row, as far as it matters. */
static inline double distance_of(const test_case *c, const expectation *e, size_t row, size_t class)
{
    double max = -INFINITY;
    for (size_t j = 0; j < c->vocab; j++) {
        max = fmax(max, mapped(&c->loss, e->logits[row * c->vocab + j]));
    }
    return fmin(fabs(mapped(&c->loss, e->logits[row * c->vocab + class]) - max), 200);
}

/* Of itself, by the distance of the target's logit from the maximum. */
static inline double nll_bound(const test_case *c, const expectation *e, size_t row)
{
    double distance = is_ignored(c, row) ? 0 : distance_of(c, e, row, (size_t)c->arrays[TARGETS][row]);
    return epsilon * (4 + distance + capped(&c->loss)) * fabs(e->nll[row]) + smallest * (double)c->vocab + e->noise;
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
    /* A r + beta r (ln p_ref - ln p) vanishes somewhere; ratios r reach 10 in the cases. */
    case SURPRISAL_OBJECTIVE_GRPO: *absolute = 10 * parameter_of(c, "beta", 0.04), *relative = 1; break;
    /* 1 - logit(p) / logit(p_max) vanishes at p_max. */
    case SURPRISAL_OBJECTIVE_INFOSFT: *absolute = 2, *relative = 1; break;
    /* sigma(-beta D), where D sums over the sequence. */
    case SURPRISAL_OBJECTIVE_DPO: *relative = parameter_of(c, "beta", 0.1) * (double)c->rows; break;
    /* Powers of 1 - p. */
    case SURPRISAL_OBJECTIVE_FOCAL: case SURPRISAL_OBJECTIVE_FOCAL_DETACHED: *relative = 2 * parameter_of(c, "gamma", 2); break;
    /* The entropy is a difference where one class that is not the target has nearly everything. */
    case SURPRISAL_OBJECTIVE_EAFT: *absolute = parameter_of(c, "power", 1), *relative = 4 * *absolute; break;
    /* p^a with a = sum of p^2. */
    case SURPRISAL_OBJECTIVE_DEFT: *relative = 8; break;
    case SURPRISAL_OBJECTIVE_TALR: *relative = 1 / parameter_of(c, "tau", 1); break;
    case SURPRISAL_OBJECTIVE_POWER: *relative = parameter_of(c, "alpha", 1); break;
    default: break;
    }
}

/* Of a gradient entry, by its distance |z'_j - max|, where the row's largest entry is `largest`. */
static double entry_bound(const test_case *c, double expected, double largest, double distance, int is_target)
{
    /* Entries may be sums of a part that follows p and one that does not; those of the target also where p is squared. */
    int mixed = c->loss.label_smoothing > 0 || (is_target && c->loss.z_loss > 0);
    double size = fabs(expected) + (mixed ? largest : 0), absolute, relative;
    sensitivity(c, &absolute, &relative);
    return epsilon * (4 + distance + capped(&c->loss)) * size + smallest * maximum(largest, 1) +
           2e-7 * (absolute * exp(-distance) + relative * fabs(expected));
}

/* Half an ULP of the smallest value of a binade, and half the spacing of subnormals; f32's is part of its bound. */
static double rounding(int32_t dtype, double expected)
{
    switch (dtype) {
    case SURPRISAL_DTYPE_BF16: return 0x1p-8 * fabs(expected);
    case SURPRISAL_DTYPE_F16: return 0x1p-11 * fabs(expected) + 0x1p-25;
    default: return 0;
    }
}

/* An expected entry as its type has it: beyond the largest number it is infinite. */
static double within_range(int32_t dtype, double expected)
{
    double largest = dtype == SURPRISAL_DTYPE_F32 ? 0x1.ffffffp127 : dtype == SURPRISAL_DTYPE_BF16 ? 0x1.ffp127 : 65520;
    return fabs(expected) >= largest ? copysign(INFINITY, expected) : expected;
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
        double bound = nll_bound(c, e, row);
        CHECK(close_to((double)nll[row], e->nll[row], bound), "nll[%zu] is %.9g instead of %.17g", row,
              (double)nll[row], e->nll[row]);
        CHECK(close_to((double)log_probs[row], -(double)nll[row], 0), "log_probs[%zu] is %.9g, nll %.9g", row,
              (double)log_probs[row], (double)nll[row]);
    }
}

static void check_row(const test_case *c, const expectation *e, const matrix *dlogits, size_t row)
{
    double largest = 0;
    for (size_t j = 0; j < c->vocab; j++) {
        largest = fmax(largest, fabs(within_range(dlogits->dtype, e->dlogits[row * c->vocab + j])));
    }
    for (size_t j = 0; j < c->vocab; j++) {
        double expected = within_range(dlogits->dtype, e->dlogits[row * c->vocab + j]), actual = get(dlogits, row, j);
        int is_target = !is_ignored(c, row) && c->arrays[TARGETS][row] == (double)j;
        double bound = entry_bound(c, expected, largest, distance_of(c, e, row, j), is_target) +
                       rounding(dlogits->dtype, expected) + e->noise;
        CHECK(close_to(actual, expected, bound),
              "dlogits[%zu][%zu] is %.9g instead of %.17g, off by %.3g, allowed %.3g", row, j, actual, expected,
              fabs(actual - expected), bound);
    }
}

static void check_gradient(const test_case *c, const expectation *e, const matrix *dlogits)
{
    for (size_t row = 0; row < c->rows; row++) {
        check_row(c, e, dlogits, row);
    }
}

#endif
