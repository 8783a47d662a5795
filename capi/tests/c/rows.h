/* Rows whose figures can be worked out by hand, some of them special, and all that a call writes of them. */
#ifndef ROWS_H
#define ROWS_H

#include "check.h"
#include "surprisal.h"

enum { ROWS = 7, VOCAB = 4, TOKENS = ROWS - 1, IGNORED = 2, IMPOSSIBLE = 3, VALID = 4 };

#define EIGHTHS {0, 0.6931471805599453F, 1.6094379124341003F, -INFINITY}

/* p = 1/8, 2/8, 5/8, 0; a tie; ignored; an impossible target; three rows without a softmax. */
static const float logits[ROWS][VOCAB] = {
    EIGHTHS, {1, 1, 0, 0}, {NAN, INFINITY, 0, 0}, {0, -INFINITY, 0, 0}, {0, 1, NAN, 0}, {INFINITY, 0, 0, 0},
    {-INFINITY, -INFINITY, -INFINITY, -INFINITY}
};
static const int32_t targets[ROWS] = {1, 1, -100, 1, 1, 1, 1};

struct rows {
    surprisal_stats stats[ROWS];
    surprisal_term terms[ROWS];
    float losses[ROWS], nll[ROWS], log_probs[ROWS], entropy[ROWS], weights[ROWS];
    uint32_t argmax[ROWS];
    uint8_t correct[ROWS];
    float dlogits[ROWS][VOCAB];
    /* Enough for any objective. */
    double workspace[ROWS * 12];
    surprisal_report report;
};

static surprisal_outputs outputs_of(struct rows *r)
{
    return (surprisal_outputs){sizeof(surprisal_outputs), r->stats, r->terms, r->losses, r->nll, r->log_probs,
                               r->entropy, r->weights, r->argmax, r->correct};
}

static surprisal_workspace workspace_of(struct rows *r)
{
    return (surprisal_workspace){sizeof(surprisal_workspace), r->workspace, sizeof r->workspace};
}

static surprisal_batch batch_of(size_t rows)
{
    surprisal_batch b = SURPRISAL_BATCH_INIT;
    b.rows = rows;
    b.targets_i32 = targets;
    return b;
}

/* All outputs, and the gradient unless `forward` is wanted. */
static struct rows compute(int32_t objective, size_t begin, size_t end, int forward)
{
    static const surprisal_report empty = SURPRISAL_REPORT_INIT;
    struct rows r;
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    surprisal_batch batch = batch_of(ROWS);
    surprisal_denominator denominator;
    memset(&r, 0x5c, sizeof r);
    r.report = empty;
    loss.objective = objective;
    CHECK_OK(surprisal_loss_denominator(&loss, &batch, VOCAB, NULL, &denominator, NULL));
    batch.denominator = &denominator;
    surprisal_outputs outputs = outputs_of(&r);
    surprisal_workspace workspace = workspace_of(&r);
    surprisal_logits z = surprisal_logits_rows(surprisal_logits_f32(logits[0], ROWS, VOCAB), begin, end);
    surprisal_logits_mut dz = surprisal_logits_mut_f32(r.dlogits[0], ROWS, VOCAB);
    dz = surprisal_logits_mut_rows(dz, begin, end);
    CHECK_OK(forward ? surprisal_forward(&loss, &batch, &z, &outputs, &workspace, &r.report, NULL)
                     : surprisal_forward_backward(&loss, &batch, &z, &dz, &outputs, &workspace, &r.report, NULL));
    memset(r.workspace, 0x5c, sizeof r.workspace);
    return r;
}

#endif
