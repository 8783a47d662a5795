#include <stdio.h>
#include <surprisal.h>

int main(void)
{
    float logits[6] = {2.0f, 0.5f, 0.0f, 0.1f, 0.2f, 3.0f}, dlogits[6];
    int32_t targets[2] = {0, 1};
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    loss.objective = SURPRISAL_OBJECTIVE_DFT;
    surprisal_batch batch = SURPRISAL_BATCH_INIT;
    batch.rows = 2, batch.targets_i32 = targets;
    surprisal_logits z = surprisal_logits_f32(logits, 2, 3);
    surprisal_logits_mut dz = surprisal_logits_mut_f32(dlogits, 2, 3);
    surprisal_report report = SURPRISAL_REPORT_INIT;
    surprisal_error_detail detail;
    if (surprisal_forward_backward(&loss, &batch, &z, &dz, NULL, NULL, &report, &detail) != SURPRISAL_OK)
        return fprintf(stderr, "%s\n", detail.message), 1;
    printf("%.6f\n", report.loss);
    for (int i = 0; i < 6; i++) printf("%.6f\n", (double)dlogits[i]);
    return 0;
}
