/* The functions around the loss: softmax, figures, diagnostics, parameters, names and versions. */
#include "check.h"
#include "matrix.h"
#include "surprisal_tools.h"

static void names(void)
{
    enum { TOKEN = SURPRISAL_SCOPE_TOKEN, GROUP = SURPRISAL_SCOPE_GROUP };
    static const struct {
        const char *name;
        int32_t scope;
    } objectives[] = {
        [SURPRISAL_OBJECTIVE_SFT] = {"sft", TOKEN},
        [SURPRISAL_OBJECTIVE_DFT] = {"dft", TOKEN},
        [SURPRISAL_OBJECTIVE_TALR] = {"talr", TOKEN},
        [SURPRISAL_OBJECTIVE_FOCAL] = {"focal", TOKEN},
        [SURPRISAL_OBJECTIVE_FOCAL_DETACHED] = {"focal-detached", TOKEN},
        [SURPRISAL_OBJECTIVE_POWER] = {"power", TOKEN},
        [SURPRISAL_OBJECTIVE_INFOSFT] = {"infosft", TOKEN},
        [SURPRISAL_OBJECTIVE_IW_TOKEN] = {"iw-token", TOKEN},
        [SURPRISAL_OBJECTIVE_PSFT] = {"psft", TOKEN},
        [SURPRISAL_OBJECTIVE_PPO] = {"ppo", TOKEN},
        [SURPRISAL_OBJECTIVE_GRPO] = {"grpo", TOKEN},
        [SURPRISAL_OBJECTIVE_DAPO] = {"dapo", TOKEN},
        [SURPRISAL_OBJECTIVE_CISPO] = {"cispo", TOKEN},
        [SURPRISAL_OBJECTIVE_TALR_AUTO] = {"talr-auto", GROUP},
        [SURPRISAL_OBJECTIVE_IW_SEQUENCE] = {"iw-sequence", GROUP},
        [SURPRISAL_OBJECTIVE_FLOW] = {"flow", GROUP},
        [SURPRISAL_OBJECTIVE_DFT_SEQUENCE] = {"dft-sequence", GROUP},
        [SURPRISAL_OBJECTIVE_GSPO] = {"gspo", GROUP},
        [SURPRISAL_OBJECTIVE_DPO] = {"dpo", GROUP},
        [SURPRISAL_OBJECTIVE_RFT] = {"rft", GROUP},
        [SURPRISAL_OBJECTIVE_RHO1] = {"rho1", GROUP},
        [SURPRISAL_OBJECTIVE_SFT_GO] = {"sft-go", GROUP},
        [SURPRISAL_OBJECTIVE_EAFT] = {"eaft", TOKEN},
        [SURPRISAL_OBJECTIVE_DEFT] = {"deft", TOKEN},
    };
    static const char *const others[] = {"SFT", "Dft", "talr_auto", "Focal_Detached"};
    static const int32_t their_values[] = {SURPRISAL_OBJECTIVE_SFT, SURPRISAL_OBJECTIVE_DFT, SURPRISAL_OBJECTIVE_TALR_AUTO,
                                           SURPRISAL_OBJECTIVE_FOCAL_DETACHED};
    static const char *const unknown[] = {"", "sf", "sft ", " sft", "sftt", "talr auto"};
    static const int32_t no_objectives[] = {-1, LENGTH(objectives), INT32_MAX, INT32_MIN};
    for (int32_t i = 0; i < (int32_t)LENGTH(objectives); i++) {
        CHECK_TEXT(surprisal_enum_name("objective", i), objectives[i].name);
        CHECK_EQUAL(surprisal_enum_value("objective", objectives[i].name), i);
        CHECK_EQUAL(surprisal_objective_scope(i), objectives[i].scope);
    }
    for (size_t i = 0; i < LENGTH(others); i++) {
        CHECK_EQUAL(surprisal_enum_value("objective", others[i]), their_values[i]);
    }
    for (size_t i = 0; i < LENGTH(unknown); i++) {
        CHECK_EQUAL(surprisal_enum_value("objective", unknown[i]), SURPRISAL_ERROR_OPTION);
    }
    for (size_t i = 0; i < LENGTH(no_objectives); i++) {
        CHECK(surprisal_enum_name("objective", no_objectives[i]) == NULL, "objective %d has a name", (int)no_objectives[i]);
        CHECK_EQUAL(surprisal_objective_scope(no_objectives[i]), SURPRISAL_ERROR_OPTION);
    }
}

/* Every enumerator of the other enums, with its name. */
static void other_names(void)
{
    static const struct {
        const char *family, *name;
        int32_t value;
    } enumerators[] = {
        {"scope", "token", SURPRISAL_SCOPE_TOKEN},
        {"scope", "group", SURPRISAL_SCOPE_GROUP},
        {"reduction", "default", SURPRISAL_REDUCTION_DEFAULT},
        {"reduction", "mean-tokens", SURPRISAL_REDUCTION_MEAN_TOKENS},
        {"reduction", "sum", SURPRISAL_REDUCTION_SUM},
        {"reduction", "mean-sequences", SURPRISAL_REDUCTION_MEAN_SEQUENCES},
        {"reduction", "mean-weights", SURPRISAL_REDUCTION_MEAN_WEIGHTS},
        {"reduction", "mean-pairs", SURPRISAL_REDUCTION_MEAN_PAIRS},
        {"reduction", "by", SURPRISAL_REDUCTION_BY},
        {"extras_scale", "one", SURPRISAL_EXTRAS_SCALE_ONE},
        {"extras-scale", "objective", SURPRISAL_EXTRAS_SCALE_OBJECTIVE},
        {"kl", "k1", SURPRISAL_KL_K1},
        {"kl", "k2", SURPRISAL_KL_K2},
        {"KL", "k3", SURPRISAL_KL_K3},
        {"kl", "k3-corrected", SURPRISAL_KL_K3_CORRECTED},
        {"kl", "k3-clamped", SURPRISAL_KL_K3_CLAMPED},
        {"tau_from", "sequence-median", SURPRISAL_TAU_FROM_SEQUENCE_MEDIAN},
        {"tau_from", "token-median", SURPRISAL_TAU_FROM_TOKEN_MEDIAN},
        {"tau_from", "sequence-median-with-empty", SURPRISAL_TAU_FROM_SEQUENCE_MEDIAN_WITH_EMPTY},
        {"probability", "geometric-mean", SURPRISAL_PROBABILITY_GEOMETRIC_MEAN},
        {"probability", "product", SURPRISAL_PROBABILITY_PRODUCT},
        {"normalize", "none", SURPRISAL_NORMALIZE_NONE},
        {"normalize", "sum1-sequence", SURPRISAL_NORMALIZE_SUM1_SEQUENCE},
        {"normalize", "sum1-batch", SURPRISAL_NORMALIZE_SUM1_BATCH},
        {"normalize", "mean1-batch", SURPRISAL_NORMALIZE_MEAN1_BATCH},
        {"dtype", "f32", SURPRISAL_DTYPE_F32},
        {"dtype", "f16", SURPRISAL_DTYPE_F16},
        {"dtype", "bf16", SURPRISAL_DTYPE_BF16},
        {"padding", "keep", SURPRISAL_PADDING_KEEP},
        {"padding", "zero", SURPRISAL_PADDING_ZERO},
    };
    size_t named = 0;
    for (size_t i = 0; i < LENGTH(enumerators); i++) {
        CHECK_TEXT(surprisal_enum_name(enumerators[i].family, enumerators[i].value), enumerators[i].name);
        CHECK_EQUAL(surprisal_enum_value(enumerators[i].family, enumerators[i].name), enumerators[i].value);
    }
    /* And there are no more. */
    static const char *const families[] = {"scope", "reduction", "extras_scale", "kl", "tau_from", "normalize", "probability", "dtype", "padding"};
    for (size_t i = 0; i < LENGTH(families); i++) {
        for (int32_t value = -100; value < 100; value++) {
            named += surprisal_enum_name(families[i], value) != NULL;
        }
    }
    CHECK_EQUAL(named, LENGTH(enumerators));
    CHECK(surprisal_enum_name("status", 0) == NULL && surprisal_enum_name(NULL, 0) == NULL, "a name of no enum");
    CHECK_EQUAL(surprisal_enum_value("status", "ok"), SURPRISAL_ERROR_OPTION);
    CHECK_EQUAL(surprisal_enum_value(NULL, "sft"), SURPRISAL_ERROR_MISSING);
    CHECK_EQUAL(surprisal_enum_value("objective", NULL), SURPRISAL_ERROR_MISSING);
}

/* The simple call is the full one with its defaults. */
static void simple(void)
{
    enum { N = 5, V = 37 };
    static const int32_t ids[N] = {3, -100, 36, 0, 7};
    static float z[N * V], simple_dz[N * V], dz[N * V];
    for (size_t i = 0; i < (size_t)N * V; i++) {
        z[i] = 5 * sinf((float)(i * i));
    }
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    surprisal_batch batch = SURPRISAL_BATCH_INIT;
    surprisal_logits logits = surprisal_logits_f32(z, N, V);
    surprisal_logits_mut dlogits = surprisal_logits_mut_f32(dz, N, V);
    surprisal_report report;
    double value = NAN, alone = NAN, in_place = NAN;
    loss.objective = SURPRISAL_OBJECTIVE_DFT;
    batch.rows = N;
    batch.targets_i32 = ids;
    CHECK_OK(surprisal_forward_backward(&loss, &batch, &logits, &dlogits, NULL, NULL, &report, NULL));
    CHECK_OK(surprisal_simple_f32(SURPRISAL_OBJECTIVE_DFT, z, ids, N, V, simple_dz, &value, NULL));
    CHECK_OK(surprisal_simple_f32(SURPRISAL_OBJECTIVE_DFT, z, ids, N, V, NULL, &alone, NULL));
    CHECK_OK(surprisal_simple_f32(SURPRISAL_OBJECTIVE_DFT, z, ids, N, V, z, &in_place, NULL));
    CHECK_BYTES(simple_dz, dz, sizeof dz);
    CHECK_BYTES(z, dz, sizeof dz);
    CHECK(value == report.loss && alone == value && in_place == value && value > 0, "losses %g %g %g %g", report.loss,
          value, alone, in_place);
    CHECK_OK(surprisal_simple_f32(SURPRISAL_OBJECTIVE_SFT, NULL, NULL, 0, V, NULL, &value, NULL));
    CHECK_CLOSE(value, 0, 0);
}

static void statuses(void)
{
    const char *unknown = surprisal_status_string(SURPRISAL_ERROR_UNKNOWN);
    CHECK(unknown != NULL && *unknown != '\0', "no text");
    for (int32_t status = SURPRISAL_ERROR_DEVICE_LIMIT; status <= SURPRISAL_OK; status++) {
        const char *text = surprisal_status_string(status);
        CHECK(text != NULL && strcmp(text, unknown) != 0, "status %d has no text", (int)status);
        for (int32_t other = status + 1; other <= SURPRISAL_OK; other++) {
            CHECK(strcmp(text, surprisal_status_string(other)) != 0, "\"%s\" of two", text);
        }
    }
    CHECK_TEXT(surprisal_status_string(SURPRISAL_ERROR_DEVICE_LIMIT - 1), unknown);
    CHECK_TEXT(surprisal_status_string(1), unknown);
    CHECK_TEXT(surprisal_status_string(INT32_MAX), unknown);
    CHECK_TEXT(surprisal_status_string(INT32_MIN), unknown);
}

static void versions(void)
{
    static const char *const levels[] = {"avx512", "avx2", "sse2", "neon", "baseline"};
    char text[32];
    int known = 0;
    snprintf(text, sizeof text, "%d.%d.%d", SURPRISAL_VERSION_MAJOR, SURPRISAL_VERSION_MINOR, SURPRISAL_VERSION_PATCH);
    CHECK_EQUAL(surprisal_version(), SURPRISAL_VERSION);
    CHECK_TEXT(surprisal_version_string(), text);
    CHECK_EQUAL(surprisal_abi_version(), SURPRISAL_ABI_VERSION);
    for (size_t i = 0; i < LENGTH(levels); i++) {
        known += strcmp(surprisal_simd_level(), levels[i]) == 0;
    }
    CHECK(known == 1, "SIMD level \"%s\"", surprisal_simd_level());
}

/* Rows of the softmax functions: plain, far from 0, confident, with -inf, and three without a softmax. */
enum { ROWS = 7, VOCAB = 19, VALID = 4 };

static float logit(size_t row, size_t column)
{
    float wave = 3 * sinf((float)(row * VOCAB + column));
    switch (row) {
    case 1: return wave - 20000;
    case 2: return column == 7 ? 90 : wave;
    case 3: return column % 3 == 0 ? -INFINITY : wave;
    case 4: return column == 11 ? NAN : wave;
    case 5: return column == 18 ? INFINITY : wave;
    case 6: return -INFINITY;
    default: return wave;
    }
}

static matrix make(int32_t dtype, size_t stride)
{
    matrix m = {NULL, dtype, ROWS, VOCAB, stride};
    m.bytes = malloc(matrix_bytes(&m));
    memset(m.bytes, CANARY, matrix_bytes(&m));
    return m;
}

static matrix make_logits(int32_t dtype, size_t stride)
{
    matrix m = make(dtype, stride);
    for (size_t row = 0; row < ROWS; row++) {
        for (size_t j = 0; j < VOCAB; j++) {
            put(&m, row, j, logit(row, j));
        }
    }
    return m;
}

/* Log-sum-exp and entropy of a row in double precision; NaN for rows without a softmax. */
static double lse_of(const matrix *z, size_t row, double *entropy)
{
    double max = -INFINITY, sum = 0, moment = 0;
    for (size_t j = 0; j < VOCAB; j++) {
        max = fmax(max, get(z, row, j));
    }
    for (size_t j = 0; j < VOCAB; j++) {
        double shifted = get(z, row, j) - max, e = exp(shifted);
        sum += e;
        moment += e == 0 ? 0 : e * shifted;
    }
    *entropy = row < VALID ? log(sum) - moment / sum : NAN;
    return row < VALID ? max + log(sum) : NAN;
}

static void softmax(int32_t dtype)
{
    static const double half_ulp[] = {0, 0x1p-11, 0x1p-8};
    matrix any[DTYPES];
    for (int i = 0; i < DTYPES; i++) {
        any[i] = make(dtypes[i], VOCAB);
    }
    matrix z = make_logits(dtype, VOCAB + 3), same = make(dtype, VOCAB + 1);
    matrix over = make_logits(dtype, VOCAB + 3);
    surprisal_logits logits = view(&z, whole(&z)), over_logits = view(&over, whole(&over));
    surprisal_logits_mut out = view_mut(&same, whole(&same));
    surprisal_logits_mut in_place = view_mut(&over, whole(&over));
    CHECK_OK(surprisal_log_softmax(&logits, &out, NULL));
    for (int i = 0; i < DTYPES; i++) {
        surprisal_logits_mut of_type = view_mut(&any[i], whole(&any[i]));
        CHECK_OK(surprisal_log_softmax(&logits, &of_type, NULL));
        CHECK(any[i].dtype != dtype || same_entries(&any[i], &same), "another stride gives other bits");
    }
    CHECK_OK(surprisal_log_softmax(&over_logits, &in_place, NULL));
    CHECK(same_entries(&over, &same), "in place differs");
    CHECK(padding_survived(&same) && padding_survived(&over), "padding was written");
    for (size_t row = 0; row < ROWS; row++) {
        double entropy, lse = lse_of(&z, row, &entropy);
        for (size_t j = 0; j < VOCAB; j++) {
            double expected = get(&z, row, j) - lse, bound = 2 * 0x1p-23 * fabs(expected) + 2e-7;
            for (int i = 0; i < DTYPES; i++) {
                CHECK_CLOSE(get(&any[i], row, j), expected, bound + half_ulp[i] * fabs(expected));
            }
        }
    }
    free(z.bytes), free(same.bytes), free(over.bytes);
    free(any[0].bytes), free(any[1].bytes), free(any[2].bytes);
}

/* One number a row: of all rows, and of a range, whose entries stand where they belong in the batch. */
static void per_row(int32_t dtype)
{
    static const int32_t targets[ROWS] = {3, 5, 7, 6, 1, 1, 1};
    matrix z = make_logits(dtype, VOCAB);
    surprisal_logits all = view(&z, whole(&z)), middle = surprisal_logits_rows(all, 1, 3);
    surprisal_batch batch = SURPRISAL_BATCH_INIT;
    float lse[ROWS], entropy[ROWS], log_probs[ROWS], range[ROWS] = {9, 9, 9, 9, 9, 9, 9};
    batch.rows = ROWS;
    batch.targets_i32 = targets;
    batch.ignore_index = 5;
    CHECK_OK(surprisal_log_sum_exp(&all, lse, NULL));
    CHECK_OK(surprisal_entropy(&all, entropy, NULL));
    CHECK_OK(surprisal_token_log_probs(&batch, &all, log_probs, NULL));
    for (size_t row = 0; row < ROWS; row++) {
        double expected_entropy, expected = lse_of(&z, row, &expected_entropy);
        double log_prob = targets[row] == 5 ? 0 : get(&z, row, (size_t)targets[row]) - expected;
        CHECK_CLOSE((double)lse[row], expected, 0x1p-24 * fabs(expected) + 2e-7);
        CHECK_CLOSE((double)entropy[row], expected_entropy, 1e-6 * expected_entropy + 1e-6);
        CHECK_CLOSE((double)log_probs[row], log_prob, 2e-7 * fabs(log_prob) + 2e-7);
    }
    CHECK(isinf(log_probs[3]) && log_probs[3] < 0, "an impossible target");
#define CHECK_RANGE(of_all)                                                                                           \
    CHECK(range[0] == 9 && memcmp(range + 1, of_all + 1, 2 * sizeof(float)) == 0 && range[3] == 9 && range[6] == 9,   \
          #of_all " of a range: %g %g %g %g", (double)range[0], (double)range[1], (double)range[2], (double)range[3])
    CHECK_OK(surprisal_log_sum_exp(&middle, range, NULL));
    CHECK_RANGE(lse);
    CHECK_OK(surprisal_entropy(&middle, range, NULL));
    CHECK_RANGE(entropy);
    CHECK_OK(surprisal_token_log_probs(&batch, &middle, range, NULL));
    CHECK_RANGE(log_probs);
    free(z.bytes);
}

static void diagnostics(void)
{
    static const int32_t targets[] = {0, 0, 0, -100, 0, 0};
    const float log_probs[] = {logf(0.05F), logf(0.55F), 0, NAN, -INFINITY, NAN};
    const float weights[] = {1, 1, 0, NAN, 2, 0};
    uint64_t bins[10], expected[10] = {3, 1, 1, 1, 1, 2, 1, 1, 1, 2};
    surprisal_batch batch = SURPRISAL_BATCH_INIT, none = SURPRISAL_BATCH_INIT;
    double value = NAN;
    batch.rows = LENGTH(targets);
    batch.targets_i32 = targets;
    for (size_t i = 0; i < LENGTH(bins); i++) {
        bins[i] = 1;
    }
    CHECK_OK(surprisal_histogram(&batch, log_probs, bins, LENGTH(bins), NULL));
    CHECK_BYTES(bins, expected, sizeof bins);
    batch.rows = 5;
    CHECK_OK(surprisal_hard_token_share(&batch, log_probs, 0.2, &value, NULL));
    CHECK_CLOSE(value, 0.5, 0);
    CHECK_OK(surprisal_effective_sample_size(&batch, weights, &value, NULL));
    CHECK_CLOSE(value, 16.0 / 6, 0);
    CHECK_OK(surprisal_second_moment(&batch, weights, &value, NULL));
    CHECK_CLOSE(value, 1.5, 0);
    /* No tokens: 0, and NULL arrays. */
    CHECK_OK(surprisal_histogram(&none, NULL, bins, LENGTH(bins), NULL));
    CHECK_BYTES(bins, expected, sizeof bins);
    CHECK_OK(surprisal_hard_token_share(&none, NULL, 0.2, &value, NULL));
    CHECK_CLOSE(value, 0, 0);
    value = NAN;
    CHECK_OK(surprisal_effective_sample_size(&none, NULL, &value, NULL));
    CHECK_CLOSE(value, 0, 0);
    value = NAN;
    CHECK_OK(surprisal_second_moment(&none, NULL, &value, NULL));
    CHECK_CLOSE(value, 0, 0);
}

static void parameters(void)
{
    static const float theta[] = {1, -2, 0.5F}, initial[] = {0.5F, -2, 1}, quarter[] = {0.625F, -2, 0.875F};
    float gradient[] = {1, 1, 1}, out[3];
    double penalty = NAN;
    /* 0.5 (0.25 + 0.25) / 4; 2 0.5 (+-0.5) / 4 is added. */
    CHECK_OK(surprisal_l2_to_initial(theta, initial, 3, 0.5, 4, gradient, &penalty, NULL));
    CHECK_CLOSE(penalty, 0.0625, 0);
    CHECK(gradient[0] == 1.125F && gradient[1] == 1 && gradient[2] == 0.875F, "the gradient of l2");
    CHECK_OK(surprisal_l2_to_initial(NULL, NULL, 0, 0.5, 4, NULL, &penalty, NULL));
    CHECK_CLOSE(penalty, 0, 0);
    CHECK_OK(surprisal_wise_ft(theta, initial, 3, 0.25, out, NULL));
    CHECK_BYTES(out, quarter, sizeof out);
    CHECK_OK(surprisal_wise_ft(theta, initial, 3, 0, out, NULL));
    CHECK_BYTES(out, initial, sizeof out);
    CHECK_OK(surprisal_wise_ft(theta, initial, 3, 1, out, NULL));
    CHECK_BYTES(out, theta, sizeof out);

    /* weights [2 x 3], rank 2, scale 1/2. */
    static const float a[] = {1, 2, -1, 0, 1, 4}, b[] = {4, 1, -2, 3}, g[] = {0.5F, -1, 2, 1.5F, 0.25F, -0.75F};
    static const float merged[] = {3, 5.5F, 1, 0, 0.5F, 8};
    static const float da[] = {-0.5F, -2.25F, 4.75F, 2.5F, -0.125F, -0.125F}, db[] = {-1.75F, 3.5F, 1.375F, -1.375F};
    float weights[] = {1, 1, 1, 1, 1, 1}, actual_da[6], actual_db[4];
    CHECK_OK(surprisal_lora_merge(2, 3, 2, 0.5, a, b, weights, NULL));
    CHECK_BYTES(weights, merged, sizeof weights);
    CHECK_OK(surprisal_lora_gradients(2, 3, 2, 0.5, g, a, b, actual_da, actual_db, NULL));
    CHECK_BYTES(actual_da, da, sizeof da);
    CHECK_BYTES(actual_db, db, sizeof db);
    CHECK_OK(surprisal_lora_merge(0, 0, 2, 0.5, NULL, NULL, NULL, NULL));
    CHECK_OK(surprisal_lora_gradients(0, 0, SIZE_MAX, 0.5, NULL, NULL, NULL, NULL, NULL, NULL));
}

static void figures(void)
{
    static const surprisal_stats empty = SURPRISAL_STATS_EMPTY;
    /* Logits ln 1, ln 2 and ln 5 relative to ln 5; the target has ln 2. */
    const double max = log(5), entropy = -(log(1.0 / 8) + 2 * log(2.0 / 8) + 5 * log(5.0 / 8)) / 8;
    surprisal_stats s = {max, 1.2, log(2), 0, log(1.0 / 5) / 5, 1 / 25.0 + 1}, copy = s, other = {1, 2, 0, 3, 4, 5};
    surprisal_stats swapped = other, of_nan = s, sure = {0, 1e-12, 0, 0, -27.6e-12, 1e-24};
    CHECK_CLOSE(surprisal_stats_nll(&s), log(4), 1e-15);
    CHECK_CLOSE(surprisal_stats_miss(&s), 0.75, 1e-15);
    CHECK_CLOSE(surprisal_stats_log_sum_exp(&s), log(8), 1e-15);
    CHECK_CLOSE(surprisal_stats_entropy(&s), entropy, 1e-15);
    CHECK_CLOSE(surprisal_stats_sum_squares(&s), (1 + 4 + 25) / 64.0, 1e-15);
    /* Nothing is lost where p is near 1. */
    CHECK_CLOSE(surprisal_stats_nll(&sure), 1e-12, 1e-24);
    CHECK_CLOSE(surprisal_stats_miss(&sure), 1e-12, 2e-24);
    CHECK_CLOSE(surprisal_stats_entropy(&sure), 28.6e-12, 1e-22);
    of_nan.others = NAN;
    const surprisal_stats *without[] = {NULL, &empty, &of_nan};
    for (size_t i = 0; i < LENGTH(without); i++) {
        CHECK(isnan(surprisal_stats_nll(without[i])) && isnan(surprisal_stats_log_sum_exp(without[i])) &&
                  isnan(surprisal_stats_miss(without[i])) && isnan(surprisal_stats_entropy(without[i])) &&
                  isnan(surprisal_stats_sum_squares(without[i])), "figures of statistics %zu without a softmax", i);
    }
    of_nan = s;
    of_nan.sum_exp_logits = of_nan.sum_exp_squared = NAN;
    CHECK_CLOSE(surprisal_stats_entropy(&of_nan), NAN, 0);
    CHECK_CLOSE(surprisal_stats_sum_squares(&of_nan), NAN, 0);
    CHECK_CLOSE(surprisal_stats_miss(&of_nan), 0.75, 1e-15);
    CHECK_OK(surprisal_stats_merge(&empty, &copy, 1, NULL));
    CHECK_BYTES(&copy, &s, sizeof s);
    CHECK_OK(surprisal_stats_merge(&other, &copy, 1, NULL));
    CHECK_OK(surprisal_stats_merge(&s, &swapped, 1, NULL));
    CHECK_BYTES(&copy, &swapped, sizeof copy);
    CHECK_CLOSE(copy.others, 1.2 + 2 * exp(1 - max), 1e-15);
    CHECK_CLOSE(copy.sum_exp_squared, 26 / 25.0 + 5 * exp(2 - 2 * max), 1e-15);
    CHECK_OK(surprisal_stats_merge(NULL, NULL, 0, NULL));
    CHECK_OK(surprisal_stats_rebase(NULL, NULL, 0, NULL));

    surprisal_report r = SURPRISAL_REPORT_INIT, second = SURPRISAL_REPORT_INIT, sum = SURPRISAL_REPORT_INIT;
    CHECK_CLOSE(surprisal_report_mean_nll(&r), 0, 0);
    CHECK_CLOSE(surprisal_report_accuracy(&r), 0, 0);
    r = (surprisal_report){4, 3, 1, 2, 4 * log(2), 8, 7, 0, {0}};
    second = (surprisal_report){1, 1, 0.5, 0.25, 2, 16, 5, 0.5, {0}};
    CHECK_CLOSE(surprisal_report_mean_nll(&r), log(2), 1e-15);
    CHECK_CLOSE(surprisal_report_perplexity(&r), 2, 1e-15);
    CHECK_CLOSE(surprisal_report_bits_per_token(&r), 1, 1e-15);
    CHECK_CLOSE(surprisal_report_accuracy(&r), 0.75, 0);
    r.nll_sum = 1;
    CHECK_OK(surprisal_report_merge(&sum, &r, NULL));
    CHECK_BYTES(&sum, &r, sizeof sum);
    CHECK_OK(surprisal_report_merge(&sum, &second, NULL));
    const surprisal_report expected = {5, 4, 1.5, 2.25, 3, 24, 5, 0.5, {0}};
    CHECK_BYTES(&sum, &expected, sizeof sum);
    CHECK(isnan(surprisal_report_mean_nll(NULL)) && isnan(surprisal_report_perplexity(NULL)) &&
              isnan(surprisal_report_bits_per_token(NULL)) && isnan(surprisal_report_accuracy(NULL)),
          "figures of no report");
}

/* Bytes of a workspace: of a row of the vocabulary, or of three structs a row. */
static void workspaces(void)
{
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    size_t size = 1;
    for (int32_t objective = 0; surprisal_enum_name("objective", objective) != NULL; objective++) {
        int grouped = surprisal_objective_scope(objective) == SURPRISAL_SCOPE_GROUP;
        loss.objective = objective;
        CHECK_OK(surprisal_workspace_size(&loss, 5, 7, &size, NULL));
        CHECK_EQUAL(size, grouped ? 5 * (sizeof(surprisal_stats) + 3 * sizeof(surprisal_term) + sizeof(double)) : 32);
        CHECK_OK(surprisal_workspace_size(&loss, 0, 0, &size, NULL));
        CHECK_EQUAL(size, 0);
    }
}

static double cubic(const double *x, void *user)
{
    *(int *)user += 1;
    return x[0] * x[0] * x[0] + 2 * x[1];
}

static void gradient_checker(void)
{
    double x[] = {2, 5}, right[] = {12, 2}, wrong[] = {12, 3};
    int calls = 0;
    surprisal_gradient_check worst = {0};
    CHECK_OK(surprisal_check_gradient(cubic, &calls, x, right, 2, 1e-3, &worst, NULL));
    CHECK(worst.error <= 1e-10, "error %g of a right gradient", worst.error);
    CHECK_EQUAL(calls, 8);
    CHECK(x[0] == 2 && x[1] == 5, "x has moved");
    CHECK_OK(surprisal_check_gradient(cubic, &calls, x, wrong, 2, 1e-3, &worst, NULL));
    CHECK_EQUAL(worst.index, 1);
    CHECK_CLOSE(worst.analytic, 3, 0);
    CHECK_CLOSE(worst.numeric, 2, 1e-10);
    CHECK_CLOSE(worst.error, 1.0 / 12, 1e-10);
    wrong[0] = NAN;
    CHECK_OK(surprisal_check_gradient(cubic, &calls, x, wrong, 2, 1e-3, &worst, NULL));
    CHECK(worst.index == 0 && isnan(worst.error), "a NaN is not the worst");
    CHECK_OK(surprisal_check_gradient(cubic, &calls, NULL, NULL, 0, 1e-3, &worst, NULL));
    CHECK_CLOSE(worst.error, 0, 0);
}

int main(void)
{
    names();
    other_names();
    simple();
    statuses();
    versions();
    for (int i = 0; i < DTYPES; i++) {
        snprintf(subject, sizeof subject, "dtype %d", (int)dtypes[i]);
        softmax(dtypes[i]);
        per_row(dtypes[i]);
    }
    *subject = '\0';
    diagnostics();
    parameters();
    figures();
    workspaces();
    gradient_checker();
    return finish("functions");
}
