/* Tests of surprisal_gpu.h: the device, random matrices, a batch with everything that the losses need, the losses. */
#ifndef GPU_CASE_H
#define GPU_CASE_H

#include "check.h"
#include "surprisal_gpu.h"

#define NO_DEVICE 77
#define MOST_ROWS 37
#define MOST_ELEMENTS 30000

/* Layouts that the ABI has wherever pointers have 64 bits. */
#define SIZE(type, size) typedef char size_of_##type[sizeof(size_t) != 8 || sizeof(type) == (size) ? 1 : -1]

static surprisal_gpu *gpu;

static uint32_t random_state = 1;

static inline uint32_t random_bits(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static inline double uniform(double low, double high)
{
    return low + (high - low) * random_bits() / (double)(1u << 24);
}

/* Element types: their size, a random logit, a value. */

static inline size_t size_of(int32_t dtype)
{
    return dtype == SURPRISAL_DTYPE_F32 ? sizeof(float) : sizeof(uint16_t);
}

static inline void put_random(void *data, int32_t dtype, size_t index)
{
    float value = (float)uniform(-6, 6);
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (dtype == SURPRISAL_DTYPE_F32) {
        ((float *)data)[index] = value;
    } else if (dtype == SURPRISAL_DTYPE_BF16) {
        ((uint16_t *)data)[index] = (uint16_t)(bits >> 16);
    } else {
        /* Any sign and fraction, sizes of 2^-5 to 2^3. */
        ((uint16_t *)data)[index] = (uint16_t)((random_bits() & 0x83ff) | (10 + random_bits() % 8) << 10);
    }
}

static inline double value_at(const void *data, int32_t dtype, size_t index)
{
    if (dtype == SURPRISAL_DTYPE_F32) {
        return ((const float *)data)[index];
    }
    uint16_t bits = ((const uint16_t *)data)[index];
    if (dtype == SURPRISAL_DTYPE_BF16) {
        uint32_t wide = (uint32_t)bits << 16;
        float value;
        memcpy(&value, &wide, sizeof value);
        return value;
    }
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double size = exponent == 0 ? ldexp(fraction, -24) : ldexp(fraction + 1024, exponent - 25);
    return bits & 0x8000 ? -size : size;
}

/* How far an entry of a gradient may be off, of a row whose coefficients have this size. */
static inline double bound_of(double size, double entry, int32_t dtype)
{
    double spacing = dtype == SURPRISAL_DTYPE_F32 ? 0 : dtype == SURPRISAL_DTYPE_BF16 ? 0x1p-7 : 0x1p-10;
    return 2e-5 * size + spacing * fabs(entry) + (dtype == SURPRISAL_DTYPE_F16 ? 0x1p-24 : 0) + 1e-9;
}

/* What is computed: a batch with everything that the losses need. */

static struct {
    size_t rows, vocab;
    surprisal_batch batch;
    int32_t targets[MOST_ROWS], offsets[4];
    float token_weights[MOST_ROWS], ref_log_probs[MOST_ROWS], old_log_probs[MOST_ROWS], advantages[MOST_ROWS];
    float class_weights[MOST_ELEMENTS];
    uint32_t groups[MOST_ROWS];
    surprisal_pair pairs[1];
    uint8_t keep[3];
} w;

static inline void fill(size_t rows, size_t vocab)
{
    static const surprisal_batch initial = SURPRISAL_BATCH_INIT;
    w.rows = rows;
    w.vocab = vocab;
    w.batch = initial;
    for (size_t row = 0; row < rows; row++) {
        w.targets[row] = row % 7 == 3 ? SURPRISAL_IGNORE_INDEX : (int32_t)(random_bits() % vocab);
        w.token_weights[row] = (float)uniform(0, 2);
        w.ref_log_probs[row] = (float)uniform(-9, 0);
        w.old_log_probs[row] = (float)uniform(-9, 0);
        w.advantages[row] = (float)uniform(-2, 2);
        w.groups[row] = (uint32_t)(row * row % 5 % rows);
    }
    for (size_t class = 0; class < vocab; class++) {
        w.class_weights[class] = (float)uniform(0, 2);
    }
    w.offsets[1] = (int32_t)(rows / 3);
    w.offsets[2] = w.offsets[3] = (int32_t)rows;
    w.pairs[0].chosen = 1;
    w.pairs[0].rejected = 0;
    w.keep[0] = w.keep[2] = 1;
    w.batch.rows = rows;
    w.batch.targets_i32 = w.targets;
    w.batch.token_weights = w.token_weights;
    w.batch.ref_log_probs = w.ref_log_probs;
    w.batch.old_log_probs = w.old_log_probs;
    w.batch.advantages = w.advantages;
    w.batch.cu_seqlens_i32 = w.offsets;
    w.batch.sequence_count = 3;
    w.batch.groups = w.groups;
    w.batch.pairs = w.pairs;
    w.batch.pair_count = 1;
    w.batch.keep = w.keep;
}

enum { PLAIN, DFT, EXTRAS, CLASS_WEIGHTS, GRPO, TALR_AUTO, GSPO, GROUP_EXTRAS, LOSSES };
static const char *const loss_names[] = {"sft",  "dft",       "extras", "class weights",
                                         "grpo", "talr-auto", "gspo",   "a group with extras"};

static inline surprisal_loss loss_of(int which)
{
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    switch (which) {
    case DFT:
        loss.objective = SURPRISAL_OBJECTIVE_DFT;
        loss.reduction = SURPRISAL_REDUCTION_MEAN_SEQUENCES;
        break;
    case EXTRAS:
        loss.label_smoothing = 0.1f;
        loss.z_loss = 1e-3f;
        loss.softcap = 8;
        loss.logit_scale = 0.5f;
        loss.reduction = SURPRISAL_REDUCTION_BY;
        loss.reduction_by = 11;
        break;
    case CLASS_WEIGHTS:
        loss.class_weights = w.class_weights;
        loss.reduction = SURPRISAL_REDUCTION_MEAN_WEIGHTS;
        loss.label_smoothing = 0.2f;
        break;
    case GRPO:
        loss.objective = SURPRISAL_OBJECTIVE_GRPO;
        loss.reduction = SURPRISAL_REDUCTION_SUM;
        break;
    case TALR_AUTO:
        loss.objective = SURPRISAL_OBJECTIVE_TALR_AUTO;
        break;
    case GSPO:
        loss.objective = SURPRISAL_OBJECTIVE_GSPO;
        CHECK_OK(surprisal_loss_set(&loss, "clip_high", 0.9, NULL));
        CHECK_OK(surprisal_loss_set(&loss, "clip_low", 0.9, NULL));
        break;
    case GROUP_EXTRAS:
        loss.objective = SURPRISAL_OBJECTIVE_TALR_AUTO;
        CHECK_OK(surprisal_loss_set(&loss, "normalize", SURPRISAL_NORMALIZE_MEAN1_BATCH, NULL));
        loss.class_weights = w.class_weights;
        loss.label_smoothing = 0.1f;
        loss.z_loss = 1e-3f;
        break;
    default:
        break;
    }
    return loss;
}

static inline void compare_reports(const surprisal_report *device, const surprisal_report *cpu)
{
    CHECK_CLOSE(device->loss, cpu->loss, 1e-5 * (1 + fabs(cpu->loss)));
    CHECK_CLOSE(device->loss_sum, cpu->loss_sum, 1e-5 * (1 + fabs(cpu->loss_sum)));
    CHECK_CLOSE(device->nll_sum, cpu->nll_sum, 1e-5 * (1 + cpu->nll_sum));
    CHECK_CLOSE(device->weight_sum, cpu->weight_sum, 1e-5 * (1 + cpu->weight_sum));
    CHECK_CLOSE(device->tau, cpu->tau, 1e-5 * cpu->tau);
    CHECK_EQUAL(device->tokens, cpu->tokens);
    CHECK_EQUAL(device->correct, cpu->correct);
    CHECK_EQUAL(device->invalid_row, cpu->invalid_row);
}

static inline surprisal_gpu_buffer *buffer_of(const void *data, size_t bytes)
{
    surprisal_gpu_buffer *buffer = NULL;
    surprisal_error_detail detail;
    CHECK(surprisal_gpu_buffer_create(gpu, bytes, &buffer, &detail) == SURPRISAL_OK, "%s", detail.message);
    if (buffer != NULL && data != NULL) {
        CHECK(surprisal_gpu_upload(gpu, buffer, 0, data, bytes, &detail) == SURPRISAL_OK, "%s", detail.message);
    }
    return buffer;
}

static inline int is_required(void)
{
    const char *required = getenv("SURPRISAL_REQUIRE_GPU");
    return required != NULL && strcmp(required, "1") == 0;
}

/* Opens the first device. Without one the program exits with 77, unless SURPRISAL_REQUIRE_GPU=1 makes that a failure. */
static inline void open_device(const char *program)
{
    surprisal_error_detail detail;
    surprisal_status status = surprisal_gpu_open(0, &gpu, &detail);
    if (status == SURPRISAL_ERROR_NO_DEVICE && !is_required()) {
        printf("%s: skipped, there is no device (SURPRISAL_REQUIRE_GPU=1 would fail)\n", program);
        exit(NO_DEVICE);
    }
    if (!CHECK(status == SURPRISAL_OK, "%s", detail.message)) {
        exit(finish(program));
    }
}

#endif
