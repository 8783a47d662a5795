/* surprisal_gpu.h: batches in buffers of the device, against the same batch on the CPU; reports that nobody waits for. */
#include <pthread.h>

#include "gpu_case.h"

#define OBJECTIVES (SURPRISAL_OBJECTIVE_DEFT + 1)
#define STEPS 6
#define THREADS 3

SIZE(surprisal_gpu_column, 24);
SIZE(surprisal_gpu_batch, 256);

static surprisal_gpu_workspace *workspace;

/* The batch of the case in one buffer: columns that begin at any word. */

static unsigned char words[16384];
static size_t words_used;

static surprisal_gpu_column column_of(const void *data, size_t bytes, int32_t bits)
{
    surprisal_gpu_column column = surprisal_gpu_column_of(NULL, words_used + 4, bits);
    memcpy(words + column.offset, data, bytes);
    words_used = column.offset + bytes;
    return column;
}

static surprisal_gpu_column ids_of(const int32_t *ids, size_t count, int wide)
{
    int64_t wider[MOST_ROWS];
    for (size_t i = 0; i < count; i++) {
        wider[i] = ids[i];
    }
    return wide ? column_of(wider, count * sizeof *wider, 64) : column_of(ids, count * sizeof *ids, 32);
}

/* `buffer` is made where it is NULL, else written. */
static surprisal_gpu_batch upload_batch(surprisal_gpu_buffer **buffer, int wide)
{
    surprisal_gpu_batch batch = SURPRISAL_GPU_BATCH_INIT;
    uint32_t pair[2] = {(uint32_t)w.pairs[0].chosen, (uint32_t)w.pairs[0].rejected};
    uint32_t keep[3] = {w.keep[0], w.keep[1], w.keep[2]};
    words_used = 0;
    batch.rows = w.rows;
    batch.targets = ids_of(w.targets, w.rows, wide);
    batch.token_weights = column_of(w.token_weights, w.rows * sizeof(float), 32);
    batch.ref_log_probs = column_of(w.ref_log_probs, w.rows * sizeof(float), 32);
    batch.old_log_probs = column_of(w.old_log_probs, w.rows * sizeof(float), 32);
    batch.advantages = column_of(w.advantages, w.rows * sizeof(float), 32);
    batch.groups = column_of(w.groups, w.rows * sizeof(uint32_t), 32);
    batch.sequence_count = 3;
    batch.cu_seqlens = ids_of(w.offsets, 4, !wide);
    batch.pair_count = 1;
    batch.pairs = column_of(pair, sizeof pair, 32);
    batch.keep = column_of(keep, sizeof keep, 32);
    if (*buffer == NULL) {
        *buffer = buffer_of(words, words_used);
    } else {
        CHECK_OK(surprisal_gpu_upload(gpu, *buffer, 0, words, words_used, NULL));
    }
    batch.targets.buffer = batch.token_weights.buffer = batch.ref_log_probs.buffer = *buffer;
    batch.old_log_probs.buffer = batch.advantages.buffer = batch.groups.buffer = *buffer;
    batch.cu_seqlens.buffer = batch.pairs.buffer = batch.keep.buffer = *buffer;
    return batch;
}

static surprisal_status wait_for(surprisal_gpu_pending *pending, surprisal_report *report, surprisal_error_detail *detail)
{
    surprisal_status status = surprisal_gpu_pending_wait(pending, report, detail);
    surprisal_gpu_pending_destroy(pending);
    return status;
}

/* One loss, one element type, forward alone and with its gradient: as the CPU has it. */
static void loss_and_gradient(const surprisal_loss *loss, int32_t dtype, int in_place, int wide)
{
    static double logits[MOST_ELEMENTS], wanted[MOST_ELEMENTS], got[MOST_ELEMENTS];
    static double memory[16 * MOST_ROWS + MOST_ELEMENTS];
    size_t elements = w.rows * w.vocab, bytes = elements * size_of(dtype);
    surprisal_report cpu = SURPRISAL_REPORT_INIT, device = cpu;
    surprisal_term terms[MOST_ROWS];
    surprisal_error_detail detail;
    surprisal_gpu_pending *pending = NULL;
    for (size_t i = 0; i < elements; i++) {
        put_random(logits, dtype, i);
    }
    surprisal_logits z = SURPRISAL_LOGITS_INIT;
    surprisal_logits_mut dz = SURPRISAL_LOGITS_MUT_INIT;
    surprisal_outputs outputs = SURPRISAL_OUTPUTS_INIT;
    surprisal_workspace scratch = {sizeof scratch, memory, sizeof memory};
    z.data = logits;
    dz.data = wanted;
    z.rows = dz.rows = w.rows;
    z.vocab = dz.vocab = z.row_stride = dz.row_stride = w.vocab;
    z.dtype = dz.dtype = dtype;
    outputs.terms = terms;
    surprisal_status status = surprisal_forward_backward(loss, &w.batch, &z, &dz, &outputs, &scratch, &cpu, &detail);
    CHECK(status == SURPRISAL_OK, "on the CPU: %s", detail.message);

    surprisal_gpu_buffer *columns = NULL, *buffer = buffer_of(logits, bytes), *to = in_place ? buffer : buffer_of(NULL, bytes);
    surprisal_gpu_batch batch = upload_batch(&columns, wide);
    surprisal_gpu_matrix matrix = surprisal_gpu_matrix_of(buffer, dtype, w.rows, w.vocab), gradient = matrix;
    gradient.buffer = to;
    status = surprisal_gpu_submit_forward(gpu, loss, &batch, &matrix, workspace, &pending, &detail);
    if (CHECK(status == SURPRISAL_OK, "forward: %s", detail.message)) {
        CHECK(wait_for(pending, &device, &detail) == SURPRISAL_OK, "report: %s", detail.message);
        compare_reports(&device, &cpu);
    }
    status = surprisal_gpu_submit_forward_backward(gpu, loss, &batch, &matrix, &gradient, workspace, &pending, &detail);
    if (CHECK(status == SURPRISAL_OK, "forward and backward: %s", detail.message)) {
        CHECK(wait_for(pending, &device, &detail) == SURPRISAL_OK, "report: %s", detail.message);
        compare_reports(&device, &cpu);
    }
    CHECK_OK(surprisal_gpu_download(gpu, to, 0, got, bytes, NULL));
    for (size_t i = 0; i < elements; i++) {
        const surprisal_term *term = &terms[i / w.vocab];
        double expected = value_at(wanted, dtype, i), size = fabs(term->coef) + fabs(term->dense);
        int ignored = w.targets[i / w.vocab] == SURPRISAL_IGNORE_INDEX;
        double bound = ignored ? 0 : bound_of(size, expected, dtype);
        if (!check_close(__FILE__, __LINE__, "gradient", value_at(got, dtype, i), expected, bound)) {
            break;
        }
    }
    surprisal_gpu_buffer_destroy(columns);
    surprisal_gpu_buffer_destroy(buffer);
    if (!in_place) {
        surprisal_gpu_buffer_destroy(to);
    }
}

static void losses(void)
{
    static const int32_t dtypes[] = {SURPRISAL_DTYPE_F32, SURPRISAL_DTYPE_BF16, SURPRISAL_DTYPE_F16};
    fill(MOST_ROWS, 301);
    for (int objective = 0; objective < OBJECTIVES; objective++) {
        surprisal_loss loss = SURPRISAL_LOSS_INIT;
        loss.objective = (surprisal_objective)objective;
        snprintf(subject, sizeof subject, "objective %d", objective);
        loss_and_gradient(&loss, SURPRISAL_DTYPE_F32, objective % 2, objective / 2 % 2);
    }
    for (int which = 0; which < LOSSES; which++) {
        surprisal_loss loss = loss_of(which);
        snprintf(subject, sizeof subject, "%s", loss_names[which]);
        loss_and_gradient(&loss, dtypes[which % 3], which / 3 % 2, which % 2);
    }
    *subject = '\0';
}

/* An entry that the device refuses: who asks for the report is told which, the gradient was not written, and the next call is none the wiser. */
static void refused_entries(void)
{
    static float logits[5 * 7], got[5 * 7];
    static const struct {
        surprisal_objective objective;
        surprisal_status status;
        const char *argument;
        int64_t index;
    } cases[] = {
        {SURPRISAL_OBJECTIVE_SFT, SURPRISAL_ERROR_TARGET, "targets", 4},
        {SURPRISAL_OBJECTIVE_DFT, SURPRISAL_ERROR_TARGET, "targets", 1},
        {SURPRISAL_OBJECTIVE_SFT, SURPRISAL_ERROR_VALUE, "token_weights", 2},
        {SURPRISAL_OBJECTIVE_RHO1, SURPRISAL_ERROR_VALUE, "ref_log_probs", 0},
        {SURPRISAL_OBJECTIVE_PPO, SURPRISAL_ERROR_VALUE, "advantages", 2},
        {SURPRISAL_OBJECTIVE_SFT_GO, SURPRISAL_ERROR_VALUE, "groups", 4},
        {SURPRISAL_OBJECTIVE_TALR_AUTO, SURPRISAL_ERROR_SEQUENCES, "cu_seqlens", 3},
        {SURPRISAL_OBJECTIVE_DPO, SURPRISAL_ERROR_PAIR, "pairs", 0},
    };
    surprisal_gpu_buffer *columns = NULL, *buffer;
    fill(5, 7);
    w.targets[3] = SURPRISAL_IGNORE_INDEX;
    for (size_t i = 0; i < LENGTH(logits); i++) {
        put_random(logits, SURPRISAL_DTYPE_F32, i);
    }
    buffer = buffer_of(logits, sizeof logits);
    surprisal_gpu_matrix z = surprisal_gpu_matrix_of(buffer, SURPRISAL_DTYPE_F32, 5, 7);
    for (size_t i = 0; i < LENGTH(cases); i++) {
        surprisal_loss loss = SURPRISAL_LOSS_INIT;
        surprisal_report report, before;
        surprisal_error_detail detail;
        surprisal_gpu_pending *pending = NULL;
        loss.objective = cases[i].objective;
        snprintf(subject, sizeof subject, "refused %s, case %zu", cases[i].argument, i);
        fill(5, 7);
        w.targets[3] = SURPRISAL_IGNORE_INDEX;
        surprisal_gpu_batch good = upload_batch(&columns, 0);
        w.token_weights[3] = NAN; /* Of an ignored row: not looked at. */
        switch (i) {
        case 0: w.targets[4] = 7; break;
        case 1: w.targets[1] = -1; w.targets[4] = 99; break;
        case 2: w.token_weights[2] = -1; break;
        case 3: w.ref_log_probs[0] = 2; break;
        case 4: w.advantages[2] = (float)INFINITY; break;
        case 5: w.groups[4] = 5; break;
        case 6: w.offsets[3] = 4; break;
        default: w.pairs[0].rejected = w.pairs[0].chosen; break;
        }
        upload_batch(&columns, 0);
        CHECK_OK(surprisal_gpu_submit_forward_backward(gpu, &loss, &good, &z, &z, workspace, &pending, NULL));
        memset(&report, 0xee, sizeof report);
        memset(&before, 0xee, sizeof before);
        for (int again = 0; again < 2; again++) {
            CHECK_EQUAL(surprisal_gpu_pending_wait(pending, &report, &detail), cases[i].status);
            CHECK_EQUAL(detail.status, cases[i].status);
            CHECK_EQUAL(detail.index, cases[i].index);
            CHECK_TEXT(detail.argument, cases[i].argument);
            CHECK(isnan(detail.value), "the value is %g, which nobody knows", detail.value);
            CHECK(strncmp(detail.message, cases[i].argument, strlen(cases[i].argument)) == 0, "\"%s\"", detail.message);
            CHECK_BYTES(&report, &before, sizeof report);
        }
        CHECK_EQUAL(surprisal_gpu_pending_wait(pending, &report, NULL), cases[i].status);
        surprisal_gpu_pending_destroy(pending);
        CHECK_OK(surprisal_gpu_download(gpu, buffer, 0, got, sizeof got, NULL));
        CHECK_BYTES(got, logits, sizeof got);
        fill(5, 7);
        upload_batch(&columns, 0);
        CHECK_OK(surprisal_gpu_submit_forward(gpu, &loss, &good, &z, workspace, &pending, NULL));
        CHECK_OK(wait_for(pending, &report, NULL));
        CHECK(report.tokens > 0 && report.tokens <= 4, "%zu tokens", report.tokens);
    }
    *subject = '\0';
    surprisal_gpu_buffer_destroy(columns);
    surprisal_gpu_buffer_destroy(buffer);
}

/* Steps with a parameter that changes, whose reports are asked for late, in another order, twice, or never; what they were made with is gone. */
static void late_reports(void)
{
    static float logits[MOST_ROWS * 11];
    surprisal_gpu_pending *pending[STEPS] = {NULL};
    surprisal_report reports[STEPS], report;
    surprisal_gpu *own = NULL, *shared = gpu;
    surprisal_gpu_workspace *room = NULL;
    surprisal_gpu_buffer *columns = NULL, *buffer;
    surprisal_loss losses_of_steps[STEPS];
    int32_t ready = -1;
    fill(MOST_ROWS, 11);
    for (size_t i = 0; i < LENGTH(logits); i++) {
        put_random(logits, SURPRISAL_DTYPE_F32, i);
    }
    CHECK_OK(surprisal_gpu_open(0, &own, NULL));
    gpu = own;
    CHECK_OK(surprisal_gpu_workspace_create(own, MOST_ROWS, &room, NULL));
    buffer = buffer_of(logits, sizeof logits);
    surprisal_gpu_batch batch = upload_batch(&columns, 0);
    surprisal_gpu_matrix z = surprisal_gpu_matrix_of(buffer, SURPRISAL_DTYPE_F32, MOST_ROWS, 11);
    for (int step = 0; step < STEPS; step++) {
        surprisal_loss loss = SURPRISAL_LOSS_INIT;
        loss.objective = SURPRISAL_OBJECTIVE_TALR;
        CHECK_OK(surprisal_loss_set(&loss, "tau", 0.5 + 0.25 * step, NULL));
        losses_of_steps[step] = loss;
        CHECK_OK(surprisal_gpu_submit_forward(own, &loss, &batch, &z, room, &pending[step], NULL));
        CHECK_OK(surprisal_gpu_submit_forward(own, &loss, &batch, &z, room, NULL, NULL));
    }
    surprisal_gpu_workspace_destroy(room);
    surprisal_gpu_buffer_destroy(columns);
    surprisal_gpu_buffer_destroy(buffer);
    surprisal_gpu_close(own);
    surprisal_gpu_pending_destroy(pending[1]);
    gpu = shared;

    for (long polls = 0; ready != 1; polls++) {
        CHECK_OK(surprisal_gpu_pending_poll(pending[STEPS - 1], &ready, NULL));
        if (!CHECK(polls < 1000000000 && (ready == 0 || ready == 1), "ready is %d", ready)) {
            return;
        }
    }
    for (int step = STEPS - 1; step >= 0; step--) {
        if (step != 1) {
            CHECK_OK(surprisal_gpu_pending_wait(pending[step], &reports[step], NULL));
            CHECK_OK(surprisal_gpu_pending_poll(pending[step], &ready, NULL));
            CHECK_EQUAL(ready, 1);
            CHECK_OK(wait_for(pending[step], &report, NULL));
            CHECK_BYTES(&report, &reports[step], sizeof report);
        }
    }
    surprisal_gpu_pending_destroy(NULL);
    surprisal_gpu_workspace_destroy(NULL);

    surprisal_logits on_cpu = SURPRISAL_LOGITS_INIT;
    on_cpu.data = logits;
    on_cpu.rows = MOST_ROWS;
    on_cpu.vocab = on_cpu.row_stride = 11;
    for (int step = 0; step < STEPS; step++) {
        CHECK_OK(surprisal_forward(&losses_of_steps[step], &w.batch, &on_cpu, NULL, NULL, &report, NULL));
        if (step != 1) {
            compare_reports(&reports[step], &report);
        }
    }
    CHECK(reports[0].loss != reports[2].loss, "tau changes nothing");
}

/* A report is not there at once, but soon: a device that is faster than the host is asked again and again. */
static void reports_take_time(void)
{
    static float logits[MOST_ROWS * 301];
    surprisal_loss loss = loss_of(TALR_AUTO);
    surprisal_gpu_buffer *columns = NULL, *buffer = buffer_of(logits, sizeof logits);
    int absent = 0;
    fill(MOST_ROWS, 301);
    surprisal_gpu_batch batch = upload_batch(&columns, 0);
    surprisal_gpu_matrix z = surprisal_gpu_matrix_of(buffer, SURPRISAL_DTYPE_F32, MOST_ROWS, 301);
    for (int round = 0; round < 50 && absent == 0; round++) {
        surprisal_gpu_pending *pending = NULL;
        surprisal_report report;
        int32_t ready = -1;
        for (int step = 0; step < STEPS; step++) {
            CHECK_OK(surprisal_gpu_submit_forward(gpu, &loss, &batch, &z, workspace, NULL, NULL));
        }
        CHECK_OK(surprisal_gpu_submit_forward(gpu, &loss, &batch, &z, workspace, &pending, NULL));
        CHECK_OK(surprisal_gpu_pending_poll(pending, &ready, NULL));
        absent = ready == 0;
        CHECK_OK(wait_for(pending, &report, NULL));
    }
    CHECK(absent, "every report was there at once");
    surprisal_gpu_buffer_destroy(columns);
    surprisal_gpu_buffer_destroy(buffer);
}

/* A batch without rows. */
static void no_rows(void)
{
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    surprisal_gpu_batch batch = SURPRISAL_GPU_BATCH_INIT, same;
    surprisal_report report;
    surprisal_gpu_pending *pending = NULL;
    surprisal_gpu_buffer *nothing = buffer_of(NULL, 0);
    surprisal_gpu_matrix z = surprisal_gpu_matrix_of(nothing, SURPRISAL_DTYPE_F32, 0, 5);
    memset(&same, 0xee, sizeof same);
    CHECK_OK(surprisal_gpu_batch_init(&same, sizeof same));
    CHECK_BYTES(&same, &batch, sizeof same);
    batch.targets = surprisal_gpu_column_of(nothing, 0, 64);
    CHECK_OK(surprisal_gpu_submit_forward_backward(gpu, &loss, &batch, &z, &z, workspace, &pending, NULL));
    CHECK_OK(wait_for(pending, &report, NULL));
    CHECK_EQUAL(report.tokens, 0);
    CHECK_CLOSE(report.loss, 0, 0);
    CHECK_EQUAL(report.invalid_row, -1);
    surprisal_gpu_buffer_destroy(nothing);
}

/* Calls that must be refused, each after one mistake. */

static struct {
    surprisal_gpu *gpu;
    surprisal_gpu_workspace *workspace;
    surprisal_loss loss;
    surprisal_gpu_batch batch;
    surprisal_gpu_matrix z, dz;
    surprisal_gpu_pending *pending;
} c, before;
static surprisal_gpu_buffer *columns_buffer, *logits_buffer, *result_buffer, *foreign_buffer;
static surprisal_gpu_workspace *foreign_workspace, *small_workspace;
static float host_logits[4 * 6], host_back[4 * 6];

static void fresh(void)
{
    fill(4, 6);
    memset(&c, 0, sizeof c);
    c.gpu = gpu;
    c.workspace = workspace;
    c.loss = loss_of(PLAIN);
    c.batch = upload_batch(&columns_buffer, 0);
    c.z = surprisal_gpu_matrix_of(logits_buffer, SURPRISAL_DTYPE_F32, 4, 6);
    c.dz = surprisal_gpu_matrix_of(result_buffer, SURPRISAL_DTYPE_F32, 4, 6);
}

static void refused(int line, surprisal_status status, const char *argument)
{
    static const float zeros[4 * 6];
    surprisal_error_detail detail;
    memcpy(&before, &c, sizeof c);
    surprisal_status found =
        surprisal_gpu_submit_forward_backward(c.gpu, &c.loss, &c.batch, &c.z, &c.dz, c.workspace, &c.pending, &detail);
    check_equal(__FILE__, line, "status", found, status);
    check_equal(__FILE__, line, "detail.status", detail.status, status);
    check_text(__FILE__, line, "detail.argument", detail.argument, argument);
    check(__FILE__, line, strlen(detail.message) > strlen(argument) + 2, "detail.message is \"%s\"", detail.message);
    check_bytes(__FILE__, line, "what the call was given", &c, &before, sizeof c);
    CHECK_OK(surprisal_gpu_download(gpu, logits_buffer, 0, host_back, sizeof host_back, NULL));
    check_bytes(__FILE__, line, "the logits", host_back, host_logits, sizeof host_back);
    CHECK_OK(surprisal_gpu_download(gpu, result_buffer, 0, host_back, sizeof host_back, NULL));
    check_bytes(__FILE__, line, "the gradient", host_back, zeros, sizeof host_back);
}

#define REFUSE(status, argument, ...)                                                                                 \
    do {                                                                                                              \
        fresh();                                                                                                      \
        __VA_ARGS__;                                                                                                  \
        refused(__LINE__, status, argument);                                                                          \
    } while (0)

static void errors_of_columns(void)
{
    REFUSE(SURPRISAL_ERROR_STRUCT_SIZE, "batch", c.batch.struct_size = 8);
    REFUSE(SURPRISAL_ERROR_MISSING, "targets", c.batch.targets.buffer = NULL);
    REFUSE(SURPRISAL_ERROR_MISSING, "cu_seqlens", c.batch.cu_seqlens.buffer = NULL);
    REFUSE(SURPRISAL_ERROR_MISSING, "pairs", c.batch.pairs.buffer = NULL);
    REFUSE(SURPRISAL_ERROR_MISALIGNED, "groups", c.batch.groups.buffer = (surprisal_gpu_buffer *)((char *)columns_buffer + 1));
    REFUSE(SURPRISAL_ERROR_OPTION, "advantages", c.batch.advantages.buffer = foreign_buffer);
    REFUSE(SURPRISAL_ERROR_OPTION, "targets", c.batch.targets.bits = 0);
    REFUSE(SURPRISAL_ERROR_OPTION, "targets", c.batch.targets.bits = 16);
    REFUSE(SURPRISAL_ERROR_OPTION, "targets", c.batch.targets.reserved = 1);
    REFUSE(SURPRISAL_ERROR_OPTION, "token_weights", c.batch.token_weights.bits = 64);
    REFUSE(SURPRISAL_ERROR_OPTION, "pairs", c.batch.pairs.bits = 64);
    REFUSE(SURPRISAL_ERROR_MISALIGNED, "targets", c.batch.targets.offset = 2);
    REFUSE(SURPRISAL_ERROR_SHAPE, "keep", c.batch.keep.offset += 4);
    REFUSE(SURPRISAL_ERROR_SHAPE, "keep", c.batch.keep.offset = words_used);
    REFUSE(SURPRISAL_ERROR_EXTENT, "targets", c.batch.targets.offset = SIZE_MAX - 3);
    REFUSE(SURPRISAL_ERROR_EXTENT, "cu_seqlens", c.batch.sequence_count = SIZE_MAX);
    REFUSE(SURPRISAL_ERROR_EXTENT, "cu_seqlens", c.batch.sequence_count = SIZE_MAX - 1);
    REFUSE(SURPRISAL_ERROR_SHAPE, "cu_seqlens", c.batch.sequence_count = 1000000);
    REFUSE(SURPRISAL_ERROR_EXTENT, "pairs", c.batch.pair_count = SIZE_MAX);
    REFUSE(SURPRISAL_ERROR_SHAPE, "logits", c.batch.rows = 3);
    REFUSE(SURPRISAL_ERROR_SHAPE, "logits", c.batch.rows = SIZE_MAX);
}

static void errors_of_calls(void)
{
    surprisal_gpu *other = NULL;
    for (size_t i = 0; i < LENGTH(host_logits); i++) {
        put_random(host_logits, SURPRISAL_DTYPE_F32, i);
    }
    logits_buffer = buffer_of(host_logits, sizeof host_logits);
    result_buffer = buffer_of(NULL, sizeof host_logits);
    CHECK_OK(surprisal_gpu_open(0, &other, NULL));
    CHECK_OK(surprisal_gpu_buffer_create(other, 4096, &foreign_buffer, NULL));
    CHECK_OK(surprisal_gpu_workspace_create(other, 4, &foreign_workspace, NULL));
    CHECK_OK(surprisal_gpu_workspace_create(gpu, 3, &small_workspace, NULL));
    surprisal_gpu_close(other);

    errors_of_columns();
    REFUSE(SURPRISAL_ERROR_MISSING, "gpu", c.gpu = NULL);
    REFUSE(SURPRISAL_ERROR_MISALIGNED, "gpu", c.gpu = (surprisal_gpu *)((char *)gpu + 1));
    REFUSE(SURPRISAL_ERROR_MISSING, "workspace", c.workspace = NULL);
    REFUSE(SURPRISAL_ERROR_MISALIGNED, "workspace", c.workspace = (surprisal_gpu_workspace *)((char *)workspace + 1));
    REFUSE(SURPRISAL_ERROR_OPTION, "workspace", c.workspace = foreign_workspace);
    REFUSE(SURPRISAL_ERROR_SHAPE, "workspace", c.workspace = small_workspace);
    REFUSE(SURPRISAL_ERROR_STRUCT_SIZE, "loss", c.loss.struct_size = 1);
    REFUSE(SURPRISAL_ERROR_STRUCT_SIZE, "dlogits", c.dz.struct_size = 0);
    REFUSE(SURPRISAL_ERROR_SHAPE, "dlogits", c.dz.rows = 3);
    REFUSE(SURPRISAL_ERROR_OPTION, "logits", c.z.buffer = foreign_buffer);
    REFUSE(SURPRISAL_ERROR_OVERLAP, "dlogits", c.dz.buffer = columns_buffer);
    REFUSE(SURPRISAL_ERROR_OVERLAP, "dlogits", c.batch.token_weights = surprisal_gpu_column_of(result_buffer, 80, 32));
    REFUSE(SURPRISAL_ERROR_OVERLAP, "dlogits", c.batch.targets = surprisal_gpu_column_of(logits_buffer, 0, 32); c.dz = c.z);
    REFUSE(SURPRISAL_ERROR_MISSING, "ref_log_probs", c.loss.objective = SURPRISAL_OBJECTIVE_GRPO; c.batch.ref_log_probs.buffer = NULL);
    REFUSE(SURPRISAL_ERROR_MISSING, "cu_seqlens", c.loss.objective = SURPRISAL_OBJECTIVE_TALR_AUTO;
           c.batch.cu_seqlens.buffer = NULL; c.batch.sequence_count = 0; c.batch.pairs.buffer = NULL; c.batch.pair_count = 0);
    REFUSE(SURPRISAL_ERROR_OPTION, "objective", c.loss.objective = (surprisal_objective)99);
    REFUSE(SURPRISAL_ERROR_OPTION, "label_smoothing", c.loss.label_smoothing = 2);
    REFUSE(SURPRISAL_ERROR_OPTION, "tau", c.loss.objective = SURPRISAL_OBJECTIVE_TALR; CHECK_OK(surprisal_loss_set(&c.loss, "tau", -1, NULL)));
    REFUSE(SURPRISAL_ERROR_VALUE, "class_weights", c.loss = loss_of(CLASS_WEIGHTS); w.class_weights[5] = -1);
    REFUSE(SURPRISAL_ERROR_MISALIGNED, "class_weights", c.loss.class_weights = (const float *)((const char *)w.class_weights + 1));

    fresh();
    surprisal_gpu_pending **out = &c.pending;
    CHECK_EQUAL(surprisal_gpu_submit_forward(gpu, NULL, &c.batch, &c.z, workspace, out, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_submit_forward(gpu, &c.loss, NULL, &c.z, workspace, out, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_submit_forward(gpu, &c.loss, &c.batch, NULL, workspace, out, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_submit_forward(gpu, &c.loss, &c.batch, &c.z, NULL, out, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_submit_forward_backward(gpu, &c.loss, &c.batch, &c.z, NULL, workspace, out, NULL), SURPRISAL_ERROR_MISSING);
    out = (surprisal_gpu_pending **)((char *)&c.pending + 1);
    CHECK_EQUAL(surprisal_gpu_submit_forward(gpu, &c.loss, &c.batch, &c.z, workspace, out, NULL), SURPRISAL_ERROR_MISALIGNED);
    out = (surprisal_gpu_pending **)(void *)&c.batch;
    CHECK_EQUAL(surprisal_gpu_submit_forward(gpu, &c.loss, &c.batch, &c.z, workspace, out, NULL), SURPRISAL_ERROR_OVERLAP);
    CHECK(c.pending == NULL, "an error wrote the handle");
    surprisal_gpu_buffer_destroy(logits_buffer);
    surprisal_gpu_buffer_destroy(result_buffer);
    surprisal_gpu_buffer_destroy(foreign_buffer);
    surprisal_gpu_workspace_destroy(foreign_workspace);
    surprisal_gpu_workspace_destroy(small_workspace);
}

static void errors_of_objects(void)
{
    surprisal_gpu_workspace *none = NULL;
    surprisal_report report;
    surprisal_error_detail detail;
    surprisal_gpu_pending *pending = NULL;
    int32_t ready = 7;
    CHECK_EQUAL(surprisal_gpu_workspace_create(NULL, 4, &none, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_workspace_create(gpu, 4, NULL, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_workspace_create(gpu, SIZE_MAX, &none, NULL), SURPRISAL_ERROR_DEVICE_LIMIT);
    CHECK_EQUAL(surprisal_gpu_workspace_create(gpu, UINT32_MAX, &none, &detail), SURPRISAL_ERROR_DEVICE_LIMIT);
    CHECK(strstr(detail.message, "max_storage_buffer_binding_size") != NULL, "the detail is \"%s\"", detail.message);
    CHECK(none == NULL, "an error wrote the handle");
    CHECK_EQUAL(surprisal_gpu_pending_poll(NULL, &ready, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_pending_wait(NULL, &report, NULL), SURPRISAL_ERROR_MISSING);
    fresh();
    c.z.buffer = c.dz.buffer = logits_buffer = buffer_of(NULL, sizeof host_logits);
    CHECK_OK(surprisal_gpu_submit_forward(gpu, &c.loss, &c.batch, &c.z, workspace, &pending, NULL));
    CHECK_EQUAL(surprisal_gpu_pending_poll(pending, NULL, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_pending_poll(pending, (int32_t *)((char *)&ready + 1), NULL), SURPRISAL_ERROR_MISALIGNED);
    CHECK_EQUAL(surprisal_gpu_pending_wait(pending, NULL, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_pending_wait((surprisal_gpu_pending *)((char *)pending + 1), &report, NULL), SURPRISAL_ERROR_MISALIGNED);
    CHECK_EQUAL(ready, 7);
    CHECK_OK(wait_for(pending, &report, NULL));
    surprisal_gpu_buffer_destroy(logits_buffer);
}

/* Threads that share a context, a workspace and a batch: each report is that of its own call. */

static void *work(void *loss_of_thread)
{
    double *found = (double *)loss_of_thread;
    surprisal_loss loss = loss_of(found[0] > 0 ? DFT : PLAIN);
    for (int step = 0; step < STEPS; step++) {
        surprisal_report report;
        surprisal_gpu_pending *pending = NULL;
        if (surprisal_gpu_submit_forward(gpu, &loss, &c.batch, &c.z, workspace, &pending, NULL) != SURPRISAL_OK ||
            wait_for(pending, &report, NULL) != SURPRISAL_OK) {
            return NULL;
        }
        found[step] = report.loss;
    }
    return loss_of_thread;
}

static void threads(void)
{
    static double found[2 * THREADS][STEPS];
    pthread_t ids[THREADS];
    logits_buffer = buffer_of(host_logits, sizeof host_logits);
    fresh();
    for (int thread = 0; thread < 2 * THREADS; thread++) {
        found[thread][0] = thread % THREADS;
    }
    for (int thread = 0; thread < THREADS; thread++) {
        CHECK_EQUAL(pthread_create(&ids[thread], NULL, work, found[thread]), 0);
    }
    for (int thread = 0; thread < THREADS; thread++) {
        void *done = NULL;
        CHECK_EQUAL(pthread_join(ids[thread], &done), 0);
        CHECK(done == found[thread], "thread %d failed", thread);
        CHECK(work(found[THREADS + thread]) != NULL, "the calls of thread %d fail alone", thread);
        CHECK_BYTES(found[thread], found[THREADS + thread], sizeof found[thread]);
    }
    surprisal_gpu_buffer_destroy(logits_buffer);
    surprisal_gpu_buffer_destroy(columns_buffer);
}

int main(void)
{
    open_device("gpu_batch");
    CHECK_OK(surprisal_gpu_workspace_create(gpu, MOST_ROWS, &workspace, NULL));
    errors_of_calls();
    errors_of_objects();
    no_rows();
    losses();
    refused_entries();
    late_reports();
    reports_take_time();
    threads();
    surprisal_gpu_workspace_destroy(workspace);
    surprisal_gpu_close(gpu);
    return finish("gpu_batch");
}
