/* What a call writes a row, worked out by hand; rows that are special, and no rows at all. */
#include "rows.h"
#include "surprisal_tools.h"

static void check_valid(const struct rows *r, int is_dft)
{
    const double e = exp(1), tie = e / (2 * e + 2), ln_tie = log(tie);
    const double p[ROWS] = {0.25, tie, 1, 0}, nll[] = {log(4), -ln_tie, 0, INFINITY};
    const double entropy[] = {-(log(1.0 / 8) + 2 * log(2.0 / 8) + 5 * log(5.0 / 8)) / 8,
                              -2 * (tie * ln_tie + tie / e * (ln_tie - 1)), 0, log(3)};
    static const uint32_t argmax[] = {2, 0, UINT32_MAX, 0};
    static const uint8_t correct[] = {0, 1, 0, 0};
    for (size_t row = 0; row < VALID; row++) {
        snprintf(subject, sizeof subject, "%s, row %zu", is_dft ? "dft" : "sft", row);
        int counts = row != IGNORED;
        double weight = counts ? (is_dft ? p[row] : 1) : 0, loss = weight == 0 ? 0 : weight * nll[row];
        CHECK_CLOSE((double)r->nll[row], nll[row], 4e-7);
        CHECK_CLOSE((double)r->log_probs[row], -nll[row], 4e-7);
        CHECK_CLOSE((double)r->entropy[row], entropy[row], 1e-6);
        CHECK_CLOSE((double)r->weights[row], weight, 2e-7);
        CHECK_EQUAL(r->argmax[row], argmax[row]);
        CHECK_EQUAL(r->correct[row], correct[row]);
        CHECK_CLOSE(r->terms[row].loss, loss, 4e-7);
        CHECK_CLOSE((double)r->losses[row], (double)(float)r->terms[row].loss, 0);
        CHECK_CLOSE(r->terms[row].coef, weight / TOKENS, 1e-7);
        CHECK_CLOSE(r->terms[row].dense, counts ? 1.0 / TOKENS : 0, 1e-16);
    }
}

static void check_gradient(const struct rows *r, int is_dft)
{
    const double e = exp(1), tie = e / (2 * e + 2), low = 1 / (2 * e + 2), third = 1.0 / 3;
    const double p[VALID][VOCAB] = {
        {0.125, 0.25, 0.625, 0}, {tie, tie, low, low}, {0, 0, 0, 0}, {third, 0, third, third}
    };
    for (size_t row = 0; row < VALID; row++) {
        snprintf(subject, sizeof subject, "%s, row %zu", is_dft ? "dft" : "sft", row);
        double coef = row == IGNORED ? 0 : (is_dft ? p[row][1] : 1) / TOKENS;
        for (int j = 0; j < VOCAB; j++) {
            CHECK_CLOSE((double)r->dlogits[row][j], coef * (p[row][j] - (j == 1)), 1e-7);
        }
    }
}

static void per_row_outputs(void)
{
    const double nll_of_tie = log(2 + 2 / exp(1));
    static const surprisal_stats empty = SURPRISAL_STATS_EMPTY;
    for (int is_dft = 0; is_dft < 2; is_dft++) {
        struct rows r = compute(is_dft ? SURPRISAL_OBJECTIVE_DFT : SURPRISAL_OBJECTIVE_SFT, 0, VALID, 0);
        struct rows forward = compute(is_dft ? SURPRISAL_OBJECTIVE_DFT : SURPRISAL_OBJECTIVE_SFT, 0, VALID, 1);
        double sum = is_dft ? 0.25 * log(4) + exp(-nll_of_tie) * nll_of_tie : INFINITY;
        check_valid(&r, is_dft);
        check_valid(&forward, is_dft);
        check_gradient(&r, is_dft);
        CHECK_BYTES(&forward.report, &r.report, sizeof r.report);
        CHECK_EQUAL(r.report.tokens, VALID - 1);
        CHECK_EQUAL(r.report.correct, 1);
        CHECK_EQUAL(r.report.invalid_row, -1);
        CHECK_CLOSE(r.report.loss_sum, sum, 1e-6);
        CHECK_CLOSE(r.report.loss, sum / TOKENS, 1e-6);
        CHECK_CLOSE(r.report.nll_sum, INFINITY, 0);
        CHECK_CLOSE(r.report.weight_sum, VALID - 1, 0);
        /* Statistics: of 1, 2, 5 relative to 5; of an ignored row. */
        CHECK_CLOSE(r.stats[0].max, log(5), 1e-7);
        CHECK_CLOSE(r.stats[0].others, 1.2, 1e-6);
        CHECK_CLOSE(r.stats[0].target_logit, log(2), 1e-7);
        CHECK_CLOSE(r.stats[0].sum_logits, NAN, 0);
        CHECK_CLOSE(r.stats[0].sum_exp_logits, log(0.2) / 5, 1e-6);
        CHECK_CLOSE(r.stats[0].sum_exp_squared, 1.04, 1e-6);
        CHECK_BYTES(&r.stats[IGNORED], &empty, sizeof empty);
        for (int j = 0; j < VOCAB; j++) {
            CHECK(r.dlogits[IGNORED][j] == 0 && !signbit(r.dlogits[IGNORED][j]), "not exactly 0");
        }
        /* Rows of other calls stay as they were. */
        CHECK_EQUAL(r.correct[VALID], 0x5c);
        CHECK_EQUAL(r.argmax[VALID], 0x5c5c5c5c);
        CHECK(memcmp(&r.nll[VALID], &r.weights[VALID], sizeof(float)) == 0, "rows of another call were written");
    }
}

static void rows_without_softmax(void)
{
    struct rows r = compute(SURPRISAL_OBJECTIVE_SFT, 0, ROWS, 0), last = compute(SURPRISAL_OBJECTIVE_DFT, ROWS - 1, ROWS, 0);
    for (size_t row = VALID; row < ROWS; row++) {
        snprintf(subject, sizeof subject, "row %zu", row);
        CHECK(isnan(r.nll[row]) && isnan(r.log_probs[row]) && isnan(r.entropy[row]) && isnan(r.weights[row]),
              "not NaN");
        CHECK(isnan(r.terms[row].loss) && isnan(r.terms[row].coef), "terms are not NaN");
        CHECK_EQUAL(r.correct[row], 0);
        for (int j = 0; j < VOCAB; j++) {
            CHECK(isnan(r.dlogits[row][j]), "dlogits[%d] is %g", j, (double)r.dlogits[row][j]);
        }
    }
    *subject = '\0';
    CHECK_EQUAL(r.report.invalid_row, VALID);
    CHECK_EQUAL(last.report.invalid_row, ROWS - 1);
    CHECK_EQUAL(r.report.tokens, TOKENS);
    CHECK(isnan(r.report.loss) && isnan(r.report.loss_sum) && isnan(r.report.nll_sum), "the report is not NaN");
    CHECK_CLOSE(r.report.weight_sum, TOKENS, 0);
}

/* A report of nothing; objectives that look for a temperature have one all the same. */
static void check_empty(const surprisal_report *report)
{
    surprisal_report empty = SURPRISAL_REPORT_INIT;
    empty.tau = report->tau;
    CHECK_BYTES(report, &empty, sizeof empty);
    CHECK(report->tau >= 0, "tau is %g", report->tau);
}

/* A batch without rows, a range without rows, and rows that are all ignored. */
static void nothing(void)
{
    static const surprisal_report empty = SURPRISAL_REPORT_INIT;
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    surprisal_batch none = SURPRISAL_BATCH_INIT, batch = batch_of(ROWS);
    surprisal_logits z = surprisal_logits_f32(NULL, 0, VOCAB);
    surprisal_logits_mut dz = surprisal_logits_mut_f32(NULL, 0, VOCAB);
    surprisal_report report = SURPRISAL_REPORT_INIT;
    struct rows r, canary;
    memset(&canary, 0x5c, sizeof canary);
    memset(&r, 0x5c, sizeof r);
    for (int32_t objective = 0; surprisal_enum_name("objective", objective) != NULL; objective++) {
        snprintf(subject, sizeof subject, "no rows, %s", surprisal_enum_name("objective", objective));
        static const float no_floats[1];
        static const int32_t offsets[] = {0};
        surprisal_outputs outputs = outputs_of(&r);
        surprisal_workspace workspace = workspace_of(&r);
        loss.objective = objective;
        loss.reduction = SURPRISAL_REDUCTION_SUM;
        none.ref_log_probs = none.old_log_probs = none.advantages = no_floats;
        none.groups = (const uint32_t *)offsets;
        none.cu_seqlens_i32 = offsets;
        none.pairs = (const surprisal_pair *)(const void *)logits;
        none.keep = (const uint8_t *)offsets;
        CHECK_OK(surprisal_forward(&loss, &none, &z, &outputs, &workspace, &report, NULL));
        check_empty(&report);
        CHECK_OK(surprisal_forward_backward(&loss, &none, &z, &dz, &outputs, &workspace, &report, NULL));
        check_empty(&report);
        CHECK_OK(surprisal_row_stats(&loss, &none, &z, r.stats, NULL));
        CHECK_OK(surprisal_token_terms(&loss, &none, VOCAB, 0, 0, r.stats, r.terms, &workspace, &report, NULL));
        check_empty(&report);
        CHECK_OK(surprisal_logits_grad(&loss, &none, &z, r.stats, r.terms, &dz, NULL));
        CHECK_OK(surprisal_reference_forward_backward(&loss, &none, NULL, VOCAB, NULL, &report, NULL));
        check_empty(&report);
    }
    *subject = '\0';
    CHECK_OK(surprisal_log_softmax(&z, &dz, NULL));
    CHECK_OK(surprisal_log_sum_exp(&z, r.nll, NULL));
    CHECK_OK(surprisal_entropy(&z, r.nll, NULL));
    CHECK_OK(surprisal_token_log_probs(&none, &z, r.nll, NULL));
    CHECK_BYTES(&r, &canary, sizeof r);

    r = compute(SURPRISAL_OBJECTIVE_SFT, ROWS, ROWS, 0);
    CHECK_BYTES(&r.report, &empty, sizeof empty);
    r.report = canary.report;
    CHECK_BYTES(&r, &canary, sizeof r);

    surprisal_outputs wanted = SURPRISAL_OUTPUTS_INIT;
    const surprisal_outputs *outputs[] = {NULL, &wanted};
    loss.objective = SURPRISAL_OBJECTIVE_SFT;
    batch.ignore_index = 1;
    static const int32_t ones[ROWS] = {1, 1, 1, 1, 1, 1, 1};
    static const float zeros[ROWS][VOCAB];
    batch.targets_i32 = ones;
    for (int32_t reduction = SURPRISAL_REDUCTION_DEFAULT; reduction <= SURPRISAL_REDUCTION_MEAN_WEIGHTS; reduction++) {
        static const int32_t bounds[] = {0, 3, ROWS};
        for (size_t i = 0; i < LENGTH(outputs); i++) {
            float in_place[ROWS][VOCAB];
            snprintf(subject, sizeof subject, "all ignored, reduction %d", (int)reduction);
            loss.reduction = reduction;
            batch.cu_seqlens_i32 = bounds;
            batch.sequence_count = 2;
            memcpy(in_place, logits, sizeof logits);
            z = surprisal_logits_f32(in_place[0], ROWS, VOCAB);
            dz = surprisal_logits_mut_f32(in_place[0], ROWS, VOCAB);
            CHECK_OK(surprisal_forward_backward(&loss, &batch, &z, &dz, outputs[i], NULL, &report, NULL));
            CHECK_BYTES(&report, &empty, sizeof report);
            CHECK_BYTES(in_place, zeros, sizeof zeros);
        }
    }
    *subject = '\0';
}

/* Entries of ignored rows, and of the rows of other calls, may hold anything. */
static void unread_entries(void)
{
    static const float ones[ROWS] = {1, 1, NAN, 1, -1, NAN, INFINITY}, minus[ROWS] = {-1, -1, 7, -1, 7, NAN, INFINITY};
    static const uint32_t groups[ROWS] = {0, 1, UINT32_MAX, 6, 7, UINT32_MAX, 8};
    static const int32_t wild[ROWS] = {1, 1, -100, 1, VOCAB, -7, INT32_MAX};
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    surprisal_batch batch = batch_of(ROWS);
    surprisal_logits z = surprisal_logits_rows(surprisal_logits_f32(logits[0], ROWS, VOCAB), 0, VALID);
    surprisal_report report = SURPRISAL_REPORT_INIT;
    float log_probs[VALID];
    loss.reduction = SURPRISAL_REDUCTION_SUM;
    batch.targets_i32 = wild;
    batch.token_weights = batch.advantages = ones;
    batch.ref_log_probs = batch.old_log_probs = minus;
    batch.groups = groups;
    CHECK_OK(surprisal_forward(&loss, &batch, &z, NULL, NULL, &report, NULL));
    CHECK_EQUAL(report.tokens, VALID - 1);
    CHECK_OK(surprisal_token_log_probs(&batch, &z, log_probs, NULL));
}

int main(void)
{
    per_row_outputs();
    rows_without_softmax();
    nothing();
    unread_entries();
    return finish("outputs");
}
