/* The example of surprisal_gpu.h's first lines, with targets on the device: the numbers of consumer.c. Exits with 77 where there is no device. */
#include <stdio.h>
#include <surprisal_gpu.h>

#define TRY(call)                                                                                                     \
    do {                                                                                                              \
        if ((call) != SURPRISAL_OK) return fprintf(stderr, "%s\n", detail.message), 1;                                \
    } while (0)

int main(void)
{
    float logits[6] = {2.0f, 0.5f, 0.0f, 0.1f, 0.2f, 3.0f}, dlogits[6];
    int32_t targets[2] = {0, 1};
    surprisal_gpu *gpu;
    surprisal_gpu_buffer *z, *ids;
    surprisal_gpu_workspace *workspace;
    surprisal_gpu_pending *pending;
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    surprisal_gpu_batch batch = SURPRISAL_GPU_BATCH_INIT;
    surprisal_report report;
    surprisal_error_detail detail;
    if (surprisal_gpu_count() == 0) return fprintf(stderr, "no device\n"), 77;
    TRY(surprisal_gpu_open(0, &gpu, &detail));
    TRY(surprisal_gpu_workspace_create(gpu, 2, &workspace, &detail));
    TRY(surprisal_gpu_buffer_create(gpu, sizeof logits, &z, &detail));
    TRY(surprisal_gpu_buffer_create(gpu, sizeof targets, &ids, &detail));
    TRY(surprisal_gpu_upload(gpu, z, 0, logits, sizeof logits, &detail));
    TRY(surprisal_gpu_upload(gpu, ids, 0, targets, sizeof targets, &detail));
    loss.objective = SURPRISAL_OBJECTIVE_DFT;
    batch.rows = 2;
    batch.targets = surprisal_gpu_column_of(ids, 0, 32);
    surprisal_gpu_matrix matrix = surprisal_gpu_matrix_of(z, SURPRISAL_DTYPE_F32, 2, 3);
    TRY(surprisal_gpu_submit_forward_backward(gpu, &loss, &batch, &matrix, &matrix, workspace, &pending, &detail));
    TRY(surprisal_gpu_pending_wait(pending, &report, &detail));
    TRY(surprisal_gpu_download(gpu, z, 0, dlogits, sizeof dlogits, &detail));
    printf("%.6f\n", report.loss);
    for (int i = 0; i < 6; i++) printf("%.6f\n", (double)dlogits[i]);
    surprisal_gpu_pending_destroy(pending);
    surprisal_gpu_workspace_destroy(workspace);
    surprisal_gpu_buffer_destroy(z);
    surprisal_gpu_buffer_destroy(ids);
    surprisal_gpu_close(gpu);
    return 0;
}
