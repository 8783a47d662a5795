/* surprisal_gpu.h: every function on a batch of the host, against the CPU's functions in the same program. */
#include <pthread.h>

#include "gpu_case.h"

#define THREADS 4
#define ROUNDS 8

SIZE(surprisal_gpu_info, 208);
SIZE(surprisal_gpu_matrix, 56);

/* Everything that a call writes on the host. */
struct results {
    surprisal_report report;
    surprisal_stats stats[MOST_ROWS];
    surprisal_term terms[MOST_ROWS];
    float nll[MOST_ROWS], log_probs[MOST_ROWS], entropy[MOST_ROWS], weights[MOST_ROWS];
    uint32_t argmax[MOST_ROWS];
    uint8_t correct[MOST_ROWS];
};

static surprisal_outputs outputs_of(struct results *to)
{
    static const surprisal_report initial = SURPRISAL_REPORT_INIT;
    surprisal_outputs outputs = SURPRISAL_OUTPUTS_INIT;
    memset(to, 0, sizeof *to);
    to->report = initial;
    outputs.stats = to->stats;
    outputs.terms = to->terms;
    outputs.nll = to->nll;
    outputs.log_probs = to->log_probs;
    outputs.entropy = to->entropy;
    outputs.weights = to->weights;
    outputs.argmax = to->argmax;
    outputs.correct = to->correct;
    return outputs;
}

static void compare(const struct results *device, const struct results *cpu)
{
    compare_reports(&device->report, &cpu->report);
    for (size_t row = 0; row < w.rows; row++) {
        CHECK_CLOSE(device->stats[row].max, cpu->stats[row].max, 1e-5);
        CHECK_CLOSE(device->stats[row].others, cpu->stats[row].others, 1e-5 * cpu->stats[row].others);
        CHECK_CLOSE(device->terms[row].loss, cpu->terms[row].loss, 1e-5 * (1 + fabs(cpu->terms[row].loss)));
        CHECK_CLOSE(device->terms[row].coef, cpu->terms[row].coef, 1e-5 * (1e-3 + fabs(cpu->terms[row].coef)));
        CHECK_CLOSE(device->nll[row], cpu->nll[row], 1e-5 * (1 + cpu->nll[row]));
        CHECK_CLOSE(device->log_probs[row], cpu->log_probs[row], 1e-5 * (1 + cpu->nll[row]));
        CHECK_CLOSE(device->entropy[row], cpu->entropy[row], 1e-5 * (1 + cpu->entropy[row]));
        CHECK_EQUAL(device->argmax[row], cpu->argmax[row]);
        CHECK_EQUAL(device->correct[row], cpu->correct[row]);
        CHECK_CLOSE(device->weights[row], cpu->weights[row], 1e-5 * (1 + fabs(cpu->weights[row])));
    }
}

/* One loss, one element type, one way: as the CPU has it. `padding` elements stand before the first row and after every row. */
static void loss_and_gradient(int which, int32_t dtype, int32_t result, int in_place, size_t padding)
{
    static double logits_storage[MOST_ELEMENTS], wanted[MOST_ELEMENTS], got[MOST_ELEMENTS], other[MOST_ELEMENTS];
    size_t stride = w.vocab + padding, elements = padding + w.rows * stride;
    size_t bytes = elements * size_of(dtype), result_bytes = elements * size_of(result);
    struct results cpu, device;
    surprisal_error_detail detail;
    surprisal_loss loss = loss_of(which);
    for (size_t i = 0; i < elements; i++) {
        put_random(logits_storage, dtype, i);
        put_random(in_place ? got : other, result, i);
    }
    memcpy(got, in_place ? logits_storage : other, result_bytes);
    memcpy(wanted, got, result_bytes);

    surprisal_logits z = SURPRISAL_LOGITS_INIT;
    surprisal_logits_mut dz = SURPRISAL_LOGITS_MUT_INIT;
    z.data = (const char *)logits_storage + padding * size_of(dtype);
    dz.data = (char *)wanted + padding * size_of(result);
    z.rows = dz.rows = w.rows;
    z.vocab = dz.vocab = w.vocab;
    z.row_stride = dz.row_stride = stride;
    z.dtype = dtype;
    dz.dtype = result;
    surprisal_outputs outputs = outputs_of(&cpu);
    static double memory[12 * MOST_ROWS + MOST_ELEMENTS];
    surprisal_workspace workspace = {sizeof workspace, memory, sizeof memory};
    surprisal_status status =
        surprisal_forward_backward(&loss, &w.batch, &z, &dz, &outputs, &workspace, &cpu.report, &detail);
    CHECK(status == SURPRISAL_OK, "on the CPU: %s", detail.message);

    surprisal_gpu_buffer *buffer = buffer_of(logits_storage, bytes);
    surprisal_gpu_buffer *result_buffer = in_place ? buffer : buffer_of(got, result_bytes);
    surprisal_gpu_matrix matrix = surprisal_gpu_matrix_of(buffer, dtype, w.rows, w.vocab), to = matrix;
    matrix.row_stride = to.row_stride = padding == 0 ? 0 : stride;
    matrix.offset = padding * size_of(dtype);
    to.offset = padding * size_of(result);
    to.buffer = result_buffer;
    to.dtype = result;

    outputs = outputs_of(&device);
    status = surprisal_gpu_forward(gpu, &loss, &w.batch, &matrix, &outputs, &device.report, &detail);
    CHECK(status == SURPRISAL_OK, "forward: %s", detail.message);
    compare(&device, &cpu);

    outputs = outputs_of(&device);
    status = surprisal_gpu_forward_backward(gpu, &loss, &w.batch, &matrix, &to, &outputs, &device.report, &detail);
    CHECK(status == SURPRISAL_OK, "forward and backward: %s", detail.message);
    compare(&device, &cpu);

    status = surprisal_gpu_download(gpu, result_buffer, 0, got, result_bytes, &detail);
    CHECK(status == SURPRISAL_OK, "download: %s", detail.message);
    for (size_t i = 0; i < elements; i++) {
        size_t column = i < padding ? stride : (i - padding) % stride;
        double expected = value_at(wanted, result, i), actual = value_at(got, result, i), bound = 0;
        if (column < w.vocab) {
            size_t row = (i - padding) / stride;
            double size = fabs(cpu.terms[row].coef) + fabs(cpu.terms[row].dense);
            int ignored = w.targets[row] == SURPRISAL_IGNORE_INDEX;
            bound = ignored ? 0 : bound_of(size, expected, result);
        }
        if (!check_close(__FILE__, __LINE__, column < w.vocab ? "gradient" : "padding", actual, expected, bound)) {
            break;
        }
    }
    surprisal_gpu_buffer_destroy(buffer);
    if (!in_place) {
        surprisal_gpu_buffer_destroy(result_buffer);
    }
}

static void losses(void)
{
    static const size_t shapes[][2] = {{MOST_ROWS, 301}, {3, 5003}, {1, 1}};
    static const char *const types[] = {"f32", "bf16", "f16"};
    static const int32_t dtypes[] = {SURPRISAL_DTYPE_F32, SURPRISAL_DTYPE_BF16, SURPRISAL_DTYPE_F16};
    for (size_t shape = 0; shape < LENGTH(shapes); shape++) {
        fill(shapes[shape][0], shapes[shape][1]);
        for (int which = 0; which < LOSSES; which++) {
            for (int type = 0; type < 3; type++) {
                const int32_t dtype = dtypes[type];
                /* All types and ways of the first loss; the others take turns. */
                for (int way = 0; way < 4; way++) {
                    if (which != PLAIN && way != (which + (int)shape + type) % 4) {
                        continue;
                    }
                    snprintf(subject, sizeof subject, "%s, %s, %zu x %zu, way %d", loss_names[which], types[type], w.rows,
                             w.vocab, way);
                    /* Any type but the logits' own. */
                    int32_t result = way == 1 ? dtypes[(type + 1 + (int)shape % 2) % 3] : dtype;
                    loss_and_gradient(which, dtype, result, way >= 2, way == 0 ? 0 : way == 1 ? 3 : way == 2 ? 0 : 5);
                }
            }
        }
    }
    *subject = '\0';
}

/* A batch without rows, one whose rows are all ignored, and one with a row that has no softmax. */
static void special_rows(void)
{
    float logits[3 * 5] = {1, 2, 3, 4, 5, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0}, gradient[3 * 5];
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    surprisal_report report = SURPRISAL_REPORT_INIT;
    fill(3, 5);
    logits[6] = (float)INFINITY;
    w.targets[0] = w.targets[1] = w.targets[2] = SURPRISAL_IGNORE_INDEX;
    surprisal_gpu_buffer *buffer = buffer_of(logits, sizeof logits), *to = buffer_of(logits, sizeof logits);
    surprisal_gpu_matrix z = surprisal_gpu_matrix_of(buffer, SURPRISAL_DTYPE_F32, 3, 5), dz = z;
    dz.buffer = to;
    CHECK_OK(surprisal_gpu_forward_backward(gpu, &loss, &w.batch, &z, &dz, NULL, &report, NULL));
    CHECK_EQUAL(report.tokens, 0);
    CHECK_CLOSE(report.loss, 0, 0);
    CHECK_OK(surprisal_gpu_download(gpu, to, 0, gradient, sizeof gradient, NULL));
    for (size_t i = 0; i < LENGTH(gradient); i++) {
        CHECK_CLOSE(gradient[i], 0, 0);
    }
    w.targets[1] = w.targets[2] = 0;
    CHECK_OK(surprisal_gpu_forward_backward(gpu, &loss, &w.batch, &z, &dz, NULL, &report, NULL));
    CHECK_EQUAL(report.invalid_row, 1);
    CHECK(isnan(report.loss), "the loss is %g", report.loss);
    CHECK_OK(surprisal_gpu_download(gpu, to, 0, gradient, sizeof gradient, NULL));
    CHECK(gradient[4] == 0 && isnan(gradient[5]) && isnan(gradient[9]), "gradient of the row without a softmax");
    CHECK(fabsf(gradient[14]) > 0.01f, "gradient of the row after it is %g", (double)gradient[14]);
    surprisal_batch none = SURPRISAL_BATCH_INIT;
    z.rows = dz.rows = 0;
    CHECK_OK(surprisal_gpu_forward_backward(gpu, &loss, &none, &z, &dz, NULL, &report, NULL));
    CHECK_EQUAL(report.tokens, 0);
    surprisal_gpu_buffer_destroy(buffer);
    surprisal_gpu_buffer_destroy(to);
}

/* Any byte to any byte. */
static void copies(void)
{
    unsigned char mirror[61] = {0}, data[61], back[61 + 2];
    surprisal_gpu_buffer *buffer = buffer_of(NULL, sizeof mirror);
    CHECK_OK(surprisal_gpu_download(gpu, buffer, 0, back, sizeof mirror, NULL));
    CHECK_BYTES(back, mirror, sizeof mirror);
    for (int round = 0; round < 60; round++) {
        size_t offset = random_bits() % sizeof mirror, bytes = random_bits() % (sizeof mirror - offset + 1);
        for (size_t i = 0; i < bytes; i++) {
            mirror[offset + i] = data[i] = (unsigned char)random_bits();
        }
        CHECK_OK(surprisal_gpu_upload(gpu, buffer, offset, data, bytes, NULL));
        offset = random_bits() % sizeof mirror;
        bytes = random_bits() % (sizeof mirror - offset + 1);
        memset(back, 0xee, sizeof back);
        CHECK_OK(surprisal_gpu_download(gpu, buffer, offset, back + 1, bytes, NULL));
        CHECK_BYTES(back + 1, mirror + offset, bytes);
        CHECK(back[0] == 0xee && back[bytes + 1] == 0xee, "more than asked for was written");
    }
    CHECK_OK(surprisal_gpu_upload(gpu, buffer, sizeof mirror, NULL, 0, NULL));
    CHECK_OK(surprisal_gpu_download(gpu, buffer, sizeof mirror, NULL, 0, NULL));
    surprisal_gpu_buffer_destroy(buffer);
    buffer = buffer_of(NULL, 0);
    CHECK_OK(surprisal_gpu_upload(gpu, buffer, 0, NULL, 0, NULL));
    surprisal_gpu_buffer_destroy(buffer);
}

static void devices(void)
{
    size_t count = surprisal_gpu_count();
    surprisal_gpu_info info = {{0}, {0}, 0, {0}}, opened, before;
    surprisal_error_detail detail;
    surprisal_gpu *other = gpu;
    for (size_t index = 0; index < count; index++) {
        CHECK_OK(surprisal_gpu_describe(index, &info, &detail));
        CHECK(*info.name != '\0' && memchr(info.name, '\0', sizeof info.name) != NULL, "device %zu has no name", index);
        CHECK(*info.backend != '\0', "device %zu has no backend", index);
        CHECK(info.is_software == 0 || info.is_software == 1, "is_software is %d", info.is_software);
        printf("device %zu: %s (%s)%s\n", index, info.name, info.backend, info.is_software ? ", on the CPU" : "");
    }
    CHECK_OK(surprisal_gpu_describe_context(gpu, &opened, NULL));
    CHECK_OK(surprisal_gpu_describe(0, &info, NULL));
    CHECK_BYTES(&opened, &info, sizeof info);
    memcpy(&before, &info, sizeof info);
    CHECK_EQUAL(surprisal_gpu_describe(count, &info, &detail), SURPRISAL_ERROR_NO_DEVICE);
    CHECK_TEXT(detail.argument, "index");
    CHECK_CLOSE(detail.value, (double)count, 0);
    CHECK_BYTES(&info, &before, sizeof info);
    CHECK_EQUAL(surprisal_gpu_describe(0, NULL, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_describe_context(NULL, &info, NULL), SURPRISAL_ERROR_MISSING);

    CHECK_EQUAL(surprisal_gpu_open(count, &other, &detail), SURPRISAL_ERROR_NO_DEVICE);
    CHECK_EQUAL(detail.status, SURPRISAL_ERROR_NO_DEVICE);
    CHECK_EQUAL(surprisal_gpu_open(SIZE_MAX, &other, NULL), SURPRISAL_ERROR_NO_DEVICE);
    CHECK_EQUAL(surprisal_gpu_open(0, NULL, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_open_named("no such device", &other, &detail), SURPRISAL_ERROR_NO_DEVICE);
    CHECK(strstr(detail.message, "no such device") != NULL, "the detail is \"%s\"", detail.message);
    CHECK_EQUAL(surprisal_gpu_open_named(NULL, &other, &detail), SURPRISAL_ERROR_MISSING);
    CHECK_TEXT(detail.argument, "name");
    CHECK(other == gpu, "an error wrote the handle");
    CHECK_OK(surprisal_gpu_open_named(opened.name, &other, NULL));
    surprisal_gpu_close(other);
    surprisal_gpu_close(NULL);
    surprisal_gpu_buffer_destroy(NULL);

    surprisal_gpu_matrix matrix = SURPRISAL_GPU_MATRIX_INIT, same;
    CHECK_OK(surprisal_gpu_matrix_init(&same, sizeof same));
    CHECK_BYTES(&same, &matrix, sizeof same);
}

/* Calls that must be refused, each after one mistake. */

static struct {
    surprisal_gpu *gpu;
    surprisal_loss loss;
    surprisal_batch batch;
    surprisal_gpu_matrix z, dz;
    surprisal_outputs outputs;
    struct results results;
} c, before;
static surprisal_gpu_buffer *logits_buffer, *result_buffer, *foreign_buffer;
static float host_logits[4 * 6], host_back[4 * 6], host_result[4 * 6];

static void fresh(void)
{
    fill(4, 6);
    c.gpu = gpu;
    c.loss = loss_of(PLAIN);
    c.batch = w.batch;
    c.z = surprisal_gpu_matrix_of(logits_buffer, SURPRISAL_DTYPE_F32, 4, 6);
    c.dz = surprisal_gpu_matrix_of(result_buffer, SURPRISAL_DTYPE_F32, 4, 6);
    c.outputs = outputs_of(&c.results);
}

static void refused(int line, surprisal_status status, const char *argument, int64_t index)
{
    surprisal_error_detail detail;
    memcpy(&before, &c, sizeof c);
    surprisal_status found =
        surprisal_gpu_forward_backward(c.gpu, &c.loss, &c.batch, &c.z, &c.dz, &c.outputs, &c.results.report, &detail);
    check_equal(__FILE__, line, "status", found, status);
    check_equal(__FILE__, line, "detail.status", detail.status, status);
    check_equal(__FILE__, line, "detail.index", detail.index, index);
    check_text(__FILE__, line, "detail.argument", detail.argument, argument);
    check(__FILE__, line, strlen(detail.message) > strlen(argument) + 2, "detail.message is \"%s\"", detail.message);
    check_bytes(__FILE__, line, "what the call was given", &c, &before, sizeof c);
    CHECK_OK(surprisal_gpu_download(gpu, logits_buffer, 0, host_back, sizeof host_back, NULL));
    check_bytes(__FILE__, line, "the logits", host_back, host_logits, sizeof host_back);
    CHECK_OK(surprisal_gpu_download(gpu, result_buffer, 0, host_back, sizeof host_back, NULL));
    check_bytes(__FILE__, line, "the gradient", host_back, host_result, sizeof host_back);
}

#define REFUSE(status, argument, index, ...)                                                                          \
    do {                                                                                                              \
        fresh();                                                                                                      \
        __VA_ARGS__;                                                                                                  \
        refused(__LINE__, status, argument, index);                                                                   \
    } while (0)

static void errors_of_losses(void)
{
    surprisal_gpu *other = NULL;
    for (size_t i = 0; i < LENGTH(host_logits); i++) {
        put_random(host_logits, SURPRISAL_DTYPE_F32, i);
        put_random(host_result, SURPRISAL_DTYPE_F32, i);
    }
    logits_buffer = buffer_of(host_logits, sizeof host_logits);
    result_buffer = buffer_of(host_result, sizeof host_result);
    CHECK_OK(surprisal_gpu_open(0, &other, NULL));
    CHECK_OK(surprisal_gpu_buffer_create(other, sizeof host_logits, &foreign_buffer, NULL));
    surprisal_gpu_close(other);

    REFUSE(SURPRISAL_ERROR_MISSING, "gpu", -1, c.gpu = NULL);
    REFUSE(SURPRISAL_ERROR_MISALIGNED, "gpu", -1, c.gpu = (surprisal_gpu *)((char *)gpu + 1));
    REFUSE(SURPRISAL_ERROR_MISSING, "buffer", -1, c.z.buffer = NULL);
    REFUSE(SURPRISAL_ERROR_MISSING, "buffer", -1, c.dz.buffer = NULL);
    REFUSE(SURPRISAL_ERROR_OPTION, "logits", -1, c.z.buffer = foreign_buffer);
    REFUSE(SURPRISAL_ERROR_OPTION, "dlogits", -1, c.dz.buffer = foreign_buffer);
    REFUSE(SURPRISAL_ERROR_MISSING, "targets", -1, c.batch.targets_i32 = NULL);
    REFUSE(SURPRISAL_ERROR_STRUCT_SIZE, "logits", -1, c.z.struct_size = 0);
    REFUSE(SURPRISAL_ERROR_STRUCT_SIZE, "dlogits", -1, c.dz.struct_size = 0);
    REFUSE(SURPRISAL_ERROR_STRUCT_SIZE, "loss", -1, c.loss.struct_size = 1);
    REFUSE(SURPRISAL_ERROR_OPTION, "logits", -1, c.z.reserved = 1);
    REFUSE(SURPRISAL_ERROR_OPTION, "dtype", -1, c.z.dtype = 3);
    REFUSE(SURPRISAL_ERROR_OPTION, "dtype", -1, c.dz.dtype = -1);
    REFUSE(SURPRISAL_ERROR_SHAPE, "vocab", -1, c.z.vocab = 0);
    REFUSE(SURPRISAL_ERROR_SHAPE, "logits", -1, c.z.row_stride = 5);
    REFUSE(SURPRISAL_ERROR_SHAPE, "logits", -1, c.z.row_stride = 7);
    REFUSE(SURPRISAL_ERROR_SHAPE, "logits", -1, c.z.offset = 4);
    REFUSE(SURPRISAL_ERROR_SHAPE, "dlogits", -1, c.dz.offset = sizeof host_logits);
    REFUSE(SURPRISAL_ERROR_MISALIGNED, "logits", -1, c.z.rows = 3; c.z.offset = 2);
    REFUSE(SURPRISAL_ERROR_EXTENT, "logits", -1, c.z.row_stride = SIZE_MAX / 2);
    REFUSE(SURPRISAL_ERROR_EXTENT, "logits", -1, c.z.offset = SIZE_MAX - 3);
    REFUSE(SURPRISAL_ERROR_SHAPE, "logits", -1, c.z.rows = 3);
    REFUSE(SURPRISAL_ERROR_SHAPE, "dlogits", -1, c.dz.rows = 3);
    REFUSE(SURPRISAL_ERROR_SHAPE, "dlogits", -1, c.dz.vocab = 5);
    REFUSE(SURPRISAL_ERROR_OVERLAP, "dlogits", -1, c.batch.rows = c.z.rows = c.dz.rows = 2; c.dz.buffer = logits_buffer;
           c.dz.offset = 24);
    REFUSE(SURPRISAL_ERROR_OVERLAP, "dlogits", -1, c.z.dtype = SURPRISAL_DTYPE_BF16; c.dz.buffer = logits_buffer);
    REFUSE(SURPRISAL_ERROR_TARGET, "targets", 2, w.targets[2] = 6);
    REFUSE(SURPRISAL_ERROR_TARGET, "targets", 1, w.targets[1] = -1; c.dz = c.z);
    REFUSE(SURPRISAL_ERROR_VALUE, "token_weights", 1, w.token_weights[1] = -1);
    REFUSE(SURPRISAL_ERROR_VALUE, "class_weights", 5, c.loss = loss_of(CLASS_WEIGHTS); w.class_weights[5] = -1);
    REFUSE(SURPRISAL_ERROR_SEQUENCES, "cu_seqlens", 3, w.offsets[3] = 3);
    REFUSE(SURPRISAL_ERROR_MISSING, "ref_log_probs", -1, c.loss.objective = SURPRISAL_OBJECTIVE_GRPO; c.batch.ref_log_probs = NULL);
    REFUSE(SURPRISAL_ERROR_OPTION, "objective", -1, c.loss.objective = 99);
    REFUSE(SURPRISAL_ERROR_OPTION, "label_smoothing", -1, c.loss.label_smoothing = 2);
    REFUSE(SURPRISAL_ERROR_OPTION, "tau", -1, c.loss.objective = SURPRISAL_OBJECTIVE_TALR; CHECK_OK(surprisal_loss_set(&c.loss, "tau", -1, NULL)));
    REFUSE(SURPRISAL_ERROR_OVERLAP, "nll", -1, c.outputs.nll = c.outputs.entropy);
    REFUSE(SURPRISAL_ERROR_MISALIGNED, "nll", -1, c.outputs.nll = (float *)((char *)c.results.nll + 1));

    fresh();
    surprisal_report *report = &c.results.report;
    CHECK_EQUAL(surprisal_gpu_forward(gpu, NULL, &c.batch, &c.z, NULL, report, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_forward(gpu, &c.loss, NULL, &c.z, NULL, report, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_forward(gpu, &c.loss, &c.batch, NULL, NULL, report, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_forward(gpu, &c.loss, &c.batch, &c.z, NULL, NULL, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_forward_backward(gpu, &c.loss, &c.batch, &c.z, NULL, NULL, report, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_OK(surprisal_gpu_forward(gpu, &c.loss, &c.batch, &c.z, NULL, report, NULL));
    surprisal_gpu_buffer_destroy(logits_buffer);
    surprisal_gpu_buffer_destroy(result_buffer);
    surprisal_gpu_buffer_destroy(foreign_buffer);
}

static void errors_of_buffers(void)
{
    unsigned char data[16] = {0}, kept[16] = {0};
    surprisal_error_detail detail;
    surprisal_gpu_buffer *buffer = buffer_of(data, sizeof data), *other = buffer;
    surprisal_gpu *other_gpu = NULL;
    CHECK_EQUAL(surprisal_gpu_buffer_create(NULL, 4, &other, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_buffer_create(gpu, 4, NULL, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_buffer_create(gpu, SIZE_MAX / 2, &other, &detail), SURPRISAL_ERROR_DEVICE_LIMIT);
    CHECK(strstr(detail.message, "max_buffer_size") != NULL, "the detail is \"%s\"", detail.message);
    CHECK_EQUAL(surprisal_gpu_buffer_create(gpu, SIZE_MAX, &other, NULL), SURPRISAL_ERROR_DEVICE_LIMIT);
    CHECK(other == buffer, "an error wrote the handle");
    CHECK_EQUAL(surprisal_gpu_upload(gpu, NULL, 0, data, 4, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_upload(NULL, buffer, 0, data, 4, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_upload(gpu, buffer, 0, NULL, 4, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_upload(gpu, buffer, 1, data, sizeof data, &detail), SURPRISAL_ERROR_SHAPE);
    CHECK_TEXT(detail.argument, "bytes");
    CHECK_EQUAL(surprisal_gpu_upload(gpu, buffer, SIZE_MAX, data, 4, NULL), SURPRISAL_ERROR_SHAPE);
    CHECK_EQUAL(surprisal_gpu_upload(gpu, buffer, 0, data, SIZE_MAX, NULL), SURPRISAL_ERROR_EXTENT);
    CHECK_EQUAL(surprisal_gpu_download(gpu, NULL, 0, data, 4, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_download(gpu, buffer, 0, NULL, 4, NULL), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_gpu_download(gpu, buffer, 13, data, 4, NULL), SURPRISAL_ERROR_SHAPE);
    CHECK_EQUAL(surprisal_gpu_download(gpu, buffer, 0, &detail, 4, &detail), SURPRISAL_ERROR_OVERLAP);
    CHECK_BYTES(data, kept, sizeof data);
    CHECK_OK(surprisal_gpu_open(0, &other_gpu, NULL));
    CHECK_EQUAL(surprisal_gpu_download(other_gpu, buffer, 0, data, 4, NULL), SURPRISAL_ERROR_OPTION);
    surprisal_gpu_close(other_gpu);
    surprisal_gpu_buffer_destroy(buffer);
}

/* Threads that share a context: each has the results that it has alone, and errors of its own. */

static void *work(void *losses_of_thread)
{
    double *found = (double *)losses_of_thread;
    surprisal_loss loss = loss_of(found[0] > 1 ? DFT : PLAIN);
    surprisal_report report = SURPRISAL_REPORT_INIT;
    surprisal_gpu_buffer *buffer = NULL;
    static const float logits[4 * 6] = {1, 2, 3, 4, 5, 6};
    if (surprisal_gpu_buffer_create(gpu, sizeof logits, &buffer, NULL) != SURPRISAL_OK) {
        return NULL;
    }
    for (int round = 0; round < ROUNDS; round++) {
        surprisal_gpu_matrix z = surprisal_gpu_matrix_of(buffer, SURPRISAL_DTYPE_F32, 4, 6), outside = z;
        outside.offset = 4;
        if (surprisal_gpu_upload(gpu, buffer, 0, logits, sizeof logits, NULL) != SURPRISAL_OK ||
            surprisal_gpu_forward(gpu, &loss, &w.batch, &outside, NULL, &report, NULL) != SURPRISAL_ERROR_SHAPE ||
            surprisal_gpu_forward_backward(gpu, &loss, &w.batch, &z, &z, NULL, &report, NULL) != SURPRISAL_OK) {
            return NULL;
        }
        found[round] = report.loss;
    }
    surprisal_gpu_buffer_destroy(buffer);
    return losses_of_thread;
}

static void threads(void)
{
    static double found[2 * THREADS][ROUNDS];
    pthread_t ids[THREADS];
    fill(4, 6);
    for (int thread = 0; thread < 2 * THREADS; thread++) {
        found[thread][0] = thread % 4;
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
}

int main(void)
{
    open_device("gpu");
    devices();
    copies();
    errors_of_buffers();
    errors_of_losses();
    special_rows();
    losses();
    threads();
    surprisal_gpu_close(gpu);
    return finish("gpu");
}
