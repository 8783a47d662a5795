#include <cstdio>
#include <surprisal.h>
#if __has_include(<surprisal.hpp>)
#include <surprisal.hpp>
#endif

int main()
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
    if (surprisal_forward_backward(&loss, &batch, &z, &dz, nullptr, nullptr, &report, &detail) != SURPRISAL_OK)
        return std::fprintf(stderr, "%s\n", detail.message), 1;
    std::printf("%.6f\n", report.loss);
    for (float d : dlogits) std::printf("%.6f\n", static_cast<double>(d));
}
