/* Ranges of rows, options that ask for more or less, padding. */
#include "rows.h"

/* Rows in the middle have the weights, ratios and row numbers of their place in the batch. */
static void ranges(void)
{
    float weights[ROWS], old[ROWS], whole[ROWS][VOCAB], parts[ROWS][VOCAB];
    static const float advantages[ROWS] = {1, -1, 2, 0.5F, 1, 1, 1};
    static const int32_t offsets[] = {0, 2, 5, ROWS};
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    surprisal_batch batch = batch_of(ROWS);
    for (int row = 0; row < ROWS; row++) {
        weights[row] = (float)(row + 1) / 4;
        old[row] = -0.25F * (float)(row + 1);
    }
    loss.objective = SURPRISAL_OBJECTIVE_PPO;
    batch.token_weights = weights;
    batch.old_log_probs = old;
    batch.advantages = advantages;
    batch.cu_seqlens_i32 = offsets;
    batch.sequence_count = 3;
    for (int32_t reduction = SURPRISAL_REDUCTION_DEFAULT; reduction <= SURPRISAL_REDUCTION_MEAN_WEIGHTS; reduction++) {
        surprisal_denominator denominator;
        surprisal_report all = SURPRISAL_REPORT_INIT, sum = SURPRISAL_REPORT_INIT;
        surprisal_logits z = surprisal_logits_f32(logits[0], ROWS, VOCAB);
        surprisal_logits_mut dz = surprisal_logits_mut_f32(whole[0], ROWS, VOCAB);
        uint32_t tokens[3];
        snprintf(subject, sizeof subject, "reduction %d", (int)reduction);
        loss.reduction = reduction;
        CHECK_OK(surprisal_forward_backward(&loss, &batch, &z, &dz, NULL, NULL, &all, NULL));
        CHECK_OK(surprisal_loss_denominator(&loss, &batch, VOCAB, tokens, &denominator, NULL));
        if (reduction == SURPRISAL_REDUCTION_MEAN_SEQUENCES) {
            CHECK(tokens[0] == 2 && tokens[1] == 2 && tokens[2] == 2, "tokens %u %u %u", tokens[0], tokens[1], tokens[2]);
        }
        for (size_t begin = 0; begin < ROWS; begin += 3) {
            size_t end = begin + 3 < ROWS ? begin + 3 : ROWS;
            surprisal_batch part = batch;
            surprisal_report report = SURPRISAL_REPORT_INIT;
            surprisal_logits rows = surprisal_logits_rows(z, begin, end);
            surprisal_logits_mut result = surprisal_logits_mut_f32(parts[begin], end - begin, VOCAB);
            part.denominator = &denominator;
            CHECK_OK(surprisal_forward_backward(&loss, &part, &rows, &result, NULL, NULL, &report, NULL));
            CHECK_OK(surprisal_report_merge(&sum, &report, NULL));
        }
        CHECK_BYTES(parts, whole, sizeof whole);
        CHECK_EQUAL(sum.invalid_row, all.invalid_row);
        CHECK_EQUAL(sum.invalid_row, VALID);
        CHECK_EQUAL(sum.tokens, all.tokens);
        CHECK_CLOSE(sum.weight_sum, all.weight_sum, 1e-15 * all.weight_sum);
    }
    *subject = '\0';
}

/* What reports, statistics and gradients hold on request. */
static void options(void)
{
    static const int32_t offsets[] = {0, VALID};
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    surprisal_batch batch = batch_of(VALID);
    surprisal_logits z = surprisal_logits_f32(logits[0], VALID, VOCAB);
    struct rows plain = compute(SURPRISAL_OBJECTIVE_SFT, 0, VALID, 0), r;
    surprisal_logits_mut dz = surprisal_logits_mut_f32(r.dlogits[0], VALID, VOCAB);
    surprisal_report report = SURPRISAL_REPORT_INIT;
    surprisal_workspace workspace = workspace_of(&r);
    CHECK_CLOSE(plain.report.tau, 0, 0);
    /* The mean is over other tokens here: 3 instead of 6. */
    loss.grad_scale = 0.125F;
    CHECK_OK(surprisal_forward_backward(&loss, &batch, &z, &dz, NULL, NULL, &report, NULL));
    for (int i = 0; i < VALID * VOCAB; i++) {
        int row = i / VOCAB, j = i % VOCAB;
        CHECK_CLOSE((double)r.dlogits[row][j], (double)plain.dlogits[row][j] / 4, 1e-8);
    }
    CHECK_CLOSE(report.loss_sum, plain.report.loss_sum, 0);
    loss.grad_scale = 1;
    CHECK_OK(surprisal_row_stats(&loss, &batch, &z, r.stats, NULL));
    CHECK(isnan(surprisal_stats_entropy(r.stats)) && isnan(surprisal_stats_sum_squares(r.stats)), "moments");
    loss.moments = 1;
    CHECK_OK(surprisal_row_stats(&loss, &batch, &z, r.stats, NULL));
    CHECK_CLOSE(surprisal_stats_entropy(r.stats), (double)plain.entropy[0], 1e-6);
    CHECK_CLOSE(surprisal_stats_sum_squares(r.stats), 30 / 64.0, 1e-6);
    /* The temperature: given, and found. */
    loss.objective = SURPRISAL_OBJECTIVE_TALR_AUTO;
    CHECK_OK(surprisal_loss_set(&loss, "tau_from", SURPRISAL_TAU_FROM_TOKEN_MEDIAN, NULL));
    batch.cu_seqlens_i32 = offsets;
    batch.sequence_count = 1;
    CHECK_OK(surprisal_forward(&loss, &batch, &z, NULL, &workspace, &report, NULL));
    CHECK_CLOSE(report.tau, log(4), 1e-6);
}

/* Columns past the vocabulary: kept, or zero past every row, however the rows are cut. */
static void padding(void)
{
    enum { STRIDE = VOCAB + 3 };
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    surprisal_batch batch = batch_of(VALID);
    loss.reduction = SURPRISAL_REDUCTION_SUM;
    for (int in_place = 0; in_place < 2; in_place++) {
        for (size_t range = 1; range <= VALID; range += VALID - 1) {
            float kept[VALID][STRIDE], zero[VALID][STRIDE];
            for (int i = 0; i < VALID * STRIDE; i++) {
                float value = i % STRIDE < VOCAB ? logits[i / STRIDE][i % STRIDE] : 9;
                kept[i / STRIDE][i % STRIDE] = zero[i / STRIDE][i % STRIDE] = value;
            }
            for (size_t begin = 0; begin < VALID; begin += range) {
                surprisal_report report = SURPRISAL_REPORT_INIT;
                surprisal_logits_mut dz[] = {surprisal_logits_mut_f32(kept[0], VALID, VOCAB),
                                             surprisal_logits_mut_f32(zero[0], VALID, VOCAB)};
                dz[1].padding = SURPRISAL_PADDING_ZERO;
                for (int i = 0; i < 2; i++) {
                    surprisal_logits z = surprisal_logits_f32(logits[0], VALID, VOCAB);
                    dz[i].row_stride = STRIDE;
                    z = in_place ? surprisal_logits_of_mut(dz[i]) : z;
                    z = surprisal_logits_rows(z, begin, begin + range);
                    dz[i] = surprisal_logits_mut_rows(dz[i], begin, begin + range);
                    CHECK_OK(surprisal_forward_backward(&loss, &batch, &z, &dz[i], NULL, NULL, &report, NULL));
                }
            }
            for (size_t row = 0; row < VALID; row++) {
                CHECK_BYTES(zero[row], kept[row], sizeof *logits);
                for (int j = VOCAB; j < STRIDE; j++) {
                    CHECK(kept[row][j] == 9 && zero[row][j] == 0, "padding [%zu][%d]: %g, %g", row, j,
                          (double)kept[row][j], (double)zero[row][j]);
                }
            }
        }
    }
}

int main(void)
{
    ranges();
    options();
    padding();
    return finish("parts");
}
