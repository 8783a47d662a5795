/* surprisal_gpu.h: memory that one context exports and another imports, each with a Vulkan device of its own, here by file descriptor. */
#include <unistd.h>

#include "gpu_case.h"

SIZE(surprisal_gpu_memory, 80);

#define ROWS 5
#define VOCAB 301
#define LOGITS (ROWS * VOCAB * sizeof(float))
#define BYTES (LOGITS + ROWS * sizeof(int32_t))

static surprisal_gpu *trainer;
static float logits[ROWS * VOCAB], dlogits[ROWS * VOCAB];

/* Logits and targets come from the trainer's device; it finds the gradient in the same memory. */
static void loss_in_shared_memory(void)
{
    static float wanted[ROWS * VOCAB];
    unsigned char zeros[32] = {1};
    surprisal_gpu_buffer *ours = NULL, *theirs = NULL;
    surprisal_gpu_workspace *workspace = NULL;
    surprisal_gpu_pending *pending = NULL;
    surprisal_gpu_memory memory, again;
    surprisal_gpu_batch batch = SURPRISAL_GPU_BATCH_INIT;
    surprisal_loss loss = loss_of(DFT);
    surprisal_report report, expected;
    surprisal_error_detail detail;
    fill(ROWS, VOCAB);
    loss.reduction = SURPRISAL_REDUCTION_DEFAULT;
    for (size_t i = 0; i < LENGTH(logits); i++) {
        put_random(logits, SURPRISAL_DTYPE_F32, i);
    }
    surprisal_status status = surprisal_gpu_buffer_create_shared(gpu, BYTES, &ours, &detail);
    if (status == SURPRISAL_ERROR_DEVICE && !is_required()) {
        printf("gpu_shared: skipped, %s (SURPRISAL_REQUIRE_GPU=1 would fail)\n", detail.message);
        exit(NO_DEVICE);
    }
    if (!CHECK(status == SURPRISAL_OK, "%s", detail.message)) {
        return;
    }
    CHECK_OK(surprisal_gpu_download(gpu, ours, BYTES - sizeof zeros, zeros, sizeof zeros, NULL));
    for (size_t i = 0; i < sizeof zeros; i++) {
        CHECK_EQUAL(zeros[i], 0);
    }
    CHECK_OK(surprisal_gpu_buffer_export(gpu, ours, &memory, &detail));
    CHECK_OK(surprisal_gpu_buffer_export(gpu, ours, &again, NULL));
    CHECK(memory.fd >= 0 && again.fd >= 0 && again.fd != memory.fd, "descriptors %d and %d", memory.fd, again.fd);
    CHECK_EQUAL(close(again.fd), 0);
    CHECK(memory.bytes >= BYTES, "%llu bytes", (unsigned long long)memory.bytes);
    if (!CHECK(surprisal_gpu_buffer_import(trainer, &memory, &theirs, &detail) == SURPRISAL_OK, "%s", detail.message)) {
        return;
    }

    CHECK_OK(surprisal_gpu_upload(trainer, theirs, 0, logits, LOGITS, NULL));
    CHECK_OK(surprisal_gpu_upload(trainer, theirs, LOGITS, w.targets, sizeof(int32_t) * ROWS, NULL));
    /* Waits for what was uploaded. */
    CHECK_OK(surprisal_gpu_download(trainer, theirs, 0, dlogits, sizeof(float), NULL));

    batch.rows = ROWS;
    batch.targets = surprisal_gpu_column_of(ours, LOGITS, 32);
    surprisal_gpu_matrix z = surprisal_gpu_matrix_of(ours, SURPRISAL_DTYPE_F32, ROWS, VOCAB);
    CHECK_OK(surprisal_gpu_workspace_create(gpu, ROWS, &workspace, NULL));
    CHECK_OK(surprisal_gpu_submit_forward_backward(gpu, &loss, &batch, &z, &z, workspace, &pending, NULL));
    CHECK_OK(surprisal_gpu_pending_wait(pending, &report, NULL));
    CHECK_OK(surprisal_gpu_download(trainer, theirs, 0, dlogits, LOGITS, NULL));

    surprisal_batch on_cpu = SURPRISAL_BATCH_INIT;
    on_cpu.rows = ROWS;
    on_cpu.targets_i32 = w.targets;
    surprisal_logits from = SURPRISAL_LOGITS_INIT;
    surprisal_logits_mut to = SURPRISAL_LOGITS_MUT_INIT;
    from.data = logits;
    to.data = wanted;
    from.rows = to.rows = ROWS;
    from.vocab = to.vocab = from.row_stride = to.row_stride = VOCAB;
    CHECK_OK(surprisal_forward_backward(&loss, &on_cpu, &from, &to, NULL, NULL, &expected, NULL));
    compare_reports(&report, &expected);
    for (size_t i = 0; i < LENGTH(dlogits); i++) {
        if (!CHECK_CLOSE(dlogits[i], wanted[i], bound_of(1, wanted[i], SURPRISAL_DTYPE_F32))) {
            break;
        }
    }
    surprisal_gpu_pending_destroy(pending);
    surprisal_gpu_workspace_destroy(workspace);
    /* The import keeps the memory. */
    surprisal_gpu_buffer_destroy(ours);
    memset(dlogits, 0, sizeof dlogits);
    CHECK_OK(surprisal_gpu_download(trainer, theirs, 0, dlogits, LOGITS, NULL));
    CHECK_CLOSE(dlogits[0], wanted[0], bound_of(1, wanted[0], SURPRISAL_DTYPE_F32));
    surprisal_gpu_buffer_destroy(theirs);
}

static surprisal_gpu_memory memory;
static surprisal_gpu_buffer *out;

static void refused(int line, surprisal_status status, const char *argument, const surprisal_gpu_memory *from)
{
    surprisal_error_detail detail;
    check_equal(__FILE__, line, "status", surprisal_gpu_buffer_import(gpu, from, &out, &detail), status);
    check_text(__FILE__, line, "detail.argument", detail.argument, argument);
    check(__FILE__, line, out == NULL, "an error wrote the handle");
}

#define REFUSE(status, argument, ...)                                                                                 \
    do {                                                                                                              \
        surprisal_gpu_memory from = memory;                                                                           \
        __VA_ARGS__;                                                                                                  \
        refused(__LINE__, status, argument, &from);                                                                   \
    } while (0)

static void errors(void)
{
    surprisal_gpu_buffer *shared = NULL, *plain = buffer_of(NULL, 64);
    surprisal_error_detail detail;
    CHECK_OK(surprisal_gpu_buffer_create_shared(gpu, 64, &shared, NULL));
    CHECK_OK(surprisal_gpu_buffer_export(gpu, shared, &memory, NULL));
    REFUSE(SURPRISAL_ERROR_OPTION, "from", from.reserved[3] = 1);
    REFUSE(SURPRISAL_ERROR_OPTION, "fd", from.fd = -1);
    REFUSE(SURPRISAL_ERROR_OPTION, "from", from.device_uuid[15] ^= 1);
    REFUSE(SURPRISAL_ERROR_OPTION, "from", from.driver_uuid[0] ^= 1);
    REFUSE(SURPRISAL_ERROR_EXTENT, "bytes", from.bytes = 15);
    REFUSE(SURPRISAL_ERROR_DEVICE_LIMIT, "bytes", from.bytes = UINT64_MAX);
    REFUSE(SURPRISAL_ERROR_SHAPE, "memory_type", from.memory_type = 31);
    REFUSE(SURPRISAL_ERROR_SHAPE, "memory_type", from.memory_type = UINT32_MAX);
    refused(__LINE__, SURPRISAL_ERROR_MISSING, "from", NULL);
    CHECK_EQUAL(surprisal_gpu_buffer_import(NULL, &memory, &out, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_buffer_import(gpu, &memory, NULL, NULL), SURPRISAL_ERROR_MISSING);
    /* It is still the caller's. */
    CHECK_EQUAL(close(memory.fd), 0);
    CHECK_EQUAL(surprisal_gpu_buffer_export(gpu, plain, &memory, &detail), SURPRISAL_ERROR_OPTION);
    CHECK_TEXT(detail.argument, "buffer");
    CHECK_EQUAL(surprisal_gpu_buffer_export(trainer, shared, &memory, NULL), SURPRISAL_ERROR_OPTION);
    CHECK_EQUAL(surprisal_gpu_buffer_export(gpu, NULL, &memory, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_buffer_export(gpu, shared, NULL, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_buffer_create_shared(gpu, SIZE_MAX, &out, NULL), SURPRISAL_ERROR_DEVICE_LIMIT);
    CHECK_EQUAL(surprisal_gpu_buffer_create_shared(gpu, 4, NULL, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_buffer_create_shared(NULL, 4, &out, NULL), SURPRISAL_ERROR_MISSING);
    CHECK(out == NULL, "an error wrote the handle");
    surprisal_gpu_buffer_destroy(shared);
    surprisal_gpu_buffer_destroy(plain);
}

int main(void)
{
    open_device("gpu_shared");
    CHECK_OK(surprisal_gpu_open(0, &trainer, NULL));
    loss_in_shared_memory();
    errors();
    surprisal_gpu_close(gpu);
    surprisal_gpu_close(trainer);
    return finish("gpu_shared");
}
