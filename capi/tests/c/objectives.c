/* What every objective needs and takes, as the header's table says: inputs, parameters with their ranges, defaults. */
#include "world.h"

/* Sets of objectives. */
enum {
#define X(name) name = 1 << SURPRISAL_OBJECTIVE_##name
    X(SFT), X(DFT), X(TALR), X(FOCAL), X(FOCAL_DETACHED), X(POWER), X(INFOSFT), X(IW_TOKEN), X(PSFT), X(PPO), X(GRPO),
    X(DAPO), X(CISPO), X(TALR_AUTO), X(IW_SEQUENCE), X(FLOW), X(DFT_SEQUENCE), X(GSPO), X(DPO), X(RFT), X(RHO1),
    X(SFT_GO), X(EAFT), X(DEFT)
#undef X
};

enum { OBJECTIVES = SURPRISAL_OBJECTIVE_DEFT + 1 };

static void set_objective(int objective)
{
    w.loss.objective = objective;
    w.loss.reduction = SURPRISAL_REDUCTION_SUM;
}

static const struct {
    const char *name;
    double standard, right, wrong[3];
    int objectives;
    /* The objectives whose default is another. */
    double other_standard;
    int others;
} parameters[] = {
#define PARAMETER(name, ...) {#name, __VA_ARGS__}
    PARAMETER(tau, 1, 0.5, {0, -1, NAN}, TALR | FLOW, NAN, FLOW),
    PARAMETER(floor, 0.01, 0.25, {-0.1, 1.1, NAN}, TALR | TALR_AUTO, 0, 0),
    PARAMETER(p_min, 0, 0.75, {-0.1, 1.1, NAN}, TALR | TALR_AUTO, 0, 0),
    PARAMETER(gamma, 2, 1.5, {-0.1, INFINITY, NAN}, FOCAL | FOCAL_DETACHED, 0, 0),
    PARAMETER(alpha, 1, 0.5, {0, INFINITY, NAN}, POWER, 0, 0),
    PARAMETER(p_max, 0.93, 0.9, {0.5, 1, NAN}, INFOSFT, 0, 0),
    PARAMETER(temperature, 1, 0.5, {-0.1, INFINITY, NAN}, IW_TOKEN | IW_SEQUENCE, 0, 0),
    PARAMETER(low, 0.2, 0.1, {-0.1, -INFINITY, NAN}, IW_TOKEN, 0, 0),
    PARAMETER(high, 1.8, 2, {0.1, -1, NAN}, IW_TOKEN, 0, 0),
    PARAMETER(max, 16, 8, {0, -1, NAN}, IW_SEQUENCE, 0, 0),
    PARAMETER(clip_low, 0.2, 0.1, {-0.1, 1.1, NAN}, PPO | GRPO | DAPO | GSPO, 3e-4, GSPO),
    PARAMETER(clip_high, 0.28, 0.5, {-0.1, -INFINITY, NAN}, PSFT | DAPO, 0, 0),
    PARAMETER(clip_high, 0.2, 0.5, {-0.1, -INFINITY, NAN}, PPO | GRPO, 0, 0),
    PARAMETER(clip_high, 4, 0.5, {-0.1, -INFINITY, NAN}, CISPO | GSPO, 4e-4, GSPO),
    PARAMETER(dual_clip, NAN, 3, {1, 0.5, NAN}, PPO, 0, 0),
    PARAMETER(beta, 0.04, 0.5, {-0.1, INFINITY, NAN}, GRPO | DPO, 0.1, DPO),
    PARAMETER(keep, 0.6, 0.5, {0, 1.1, NAN}, RHO1, 0, 0),
    PARAMETER(worst_weight, 0.5, 0.25, {-0.1, 1.1, NAN}, SFT_GO, 0, 0),
    PARAMETER(power, 1, 0.5, {-0.1, INFINITY, NAN}, EAFT, 0, 0),
    PARAMETER(classes, 20, 10, {1, INFINITY, NAN}, EAFT, 0, 0),
};

static void set_parameter(size_t parameter, double value)
{
    CHECK_OK(surprisal_loss_set(&w.loss, parameters[parameter].name, value, NULL));
}

/* Whether an objective has a parameter of the name of `parameters[i]`. */
static int has_parameter(int objective, size_t i)
{
    int has = 0;
    for (size_t k = 0; k < LENGTH(parameters); k++) {
        has |= strcmp(parameters[k].name, parameters[i].name) == 0 && parameters[k].objectives >> objective & 1;
    }
    return has;
}

static int owner_of(size_t i)
{
    int objective = 0;
    while (!has_parameter(objective, i)) {
        objective++;
    }
    return objective;
}

static void ranges(int objective)
{
    for (size_t i = 0; i < LENGTH(parameters); i++) {
        const char *name = parameters[i].name;
        double right = parameters[i].right;
        if (!has_parameter(objective, i)) {
            REFUSE(SET, SURPRISAL_ERROR_OPTION, name, -1, right, set_objective(objective); w.number_name = name;
                   w.value = right);
            /* Set for another objective. */
            REFUSE(WITH_LOSS, SURPRISAL_ERROR_OPTION, name, -1, right, set_objective(owner_of(i)); set_parameter(i, right);
                   set_objective(objective));
        } else if (parameters[i].objectives >> objective & 1) {
            ACCEPT(WITH_LOSS, set_objective(objective); set_parameter(i, right));
            for (int k = 0; k < 3; k++) {
                double wrong = parameters[i].wrong[k];
                REFUSE(WITH_LOSS, SURPRISAL_ERROR_OPTION, name, -1, wrong, set_objective(objective);
                       set_parameter(i, wrong));
            }
        }
    }
    if (objective == SURPRISAL_OBJECTIVE_DPO) {
        REFUSE(WITH_LOSS, SURPRISAL_ERROR_OPTION, "beta", -1, 0, set_objective(objective);
               CHECK_OK(surprisal_loss_set(&w.loss, "beta", 0, NULL)));
    }
}

/* Enumerators: every one is accepted by the one objective that has them, and by no other. */
static void enumerators(int objective)
{
    static const struct {
        const char *name;
        int32_t last;
        int objective;
    } choices[] = {
        {"kl", SURPRISAL_KL_K3_CLAMPED, SURPRISAL_OBJECTIVE_GRPO},
        {"tau_from", SURPRISAL_TAU_FROM_SEQUENCE_MEDIAN_WITH_EMPTY, SURPRISAL_OBJECTIVE_TALR_AUTO},
        {"normalize", SURPRISAL_NORMALIZE_MEAN1_BATCH, SURPRISAL_OBJECTIVE_TALR_AUTO},
        {"probability", SURPRISAL_PROBABILITY_PRODUCT, SURPRISAL_OBJECTIVE_DFT_SEQUENCE},
    };
    for (size_t i = 0; i < LENGTH(choices); i++) {
        const char *name = choices[i].name;
        for (int32_t value = 0; value <= choices[i].last + 1; value++) {
            if (value == 0 || value > choices[i].last || objective != choices[i].objective) {
                REFUSE(SET, SURPRISAL_ERROR_OPTION, name, -1, value, set_objective(objective); w.number_name = name;
                       w.value = value);
                continue;
            }
            ACCEPT(WITH_LOSS, set_objective(objective); CHECK_OK(surprisal_loss_set(&w.loss, name, value, NULL)));
            ACCEPT(WITH_LOSS, set_objective(objective);
                   CHECK_OK(surprisal_loss_set_choice(&w.loss, name, surprisal_enum_name(name, value), NULL)));
            REFUSE(WITH_LOSS, SURPRISAL_ERROR_OPTION, name, -1, value, set_objective(objective);
                   CHECK_OK(surprisal_loss_set(&w.loss, name, value, NULL)); set_objective(SURPRISAL_OBJECTIVE_SFT));
        }
    }
}

/* Every side input is left out in turn. Sequences go with what belongs to them, so that nothing else is wrong. */
static void inputs(int objective)
{
    enum { SEQUENCED = TALR_AUTO | IW_SEQUENCE | FLOW | DFT_SEQUENCE | GSPO | DPO | RFT };
    static const struct {
        const char *name;
        size_t pointer;
        int objectives;
    } side_inputs[] = {
        {"ref_log_probs", offsetof(struct world, batch.ref_log_probs),
         IW_TOKEN | GRPO | IW_SEQUENCE | FLOW | DPO | RHO1},
        {"old_log_probs", offsetof(struct world, batch.old_log_probs), PSFT | PPO | GRPO | DAPO | CISPO | GSPO},
        {"advantages", offsetof(struct world, batch.advantages), PPO | GRPO | DAPO | CISPO | GSPO},
        {"groups", offsetof(struct world, batch.groups), SFT_GO},
        {"pairs", offsetof(struct world, batch.pairs), DPO},
        {"keep", offsetof(struct world, batch.keep), RFT},
        {"cu_seqlens", offsetof(struct world, batch.cu_seqlens_i32), SEQUENCED & ~DPO & ~RFT},
    };
#define WITHOUT(i)                                                                                                    \
    set_objective(objective);                                                                                         \
    set_pointer(side_inputs[i].pointer, NULL);                                                                        \
    w.batch.pair_count = w.batch.pairs == NULL ? 0 : PAIRS;                                                           \
    if (w.batch.cu_seqlens_i32 == NULL) {                                                                             \
        w.batch.pairs = NULL;                                                                                         \
        w.batch.keep = NULL;                                                                                          \
        w.batch.pair_count = w.batch.sequence_count = 0;                                                              \
    }
    ACCEPT(WITH_LOSS, set_objective(objective));
    for (size_t i = 0; i < LENGTH(side_inputs); i++) {
        if (side_inputs[i].objectives >> objective & 1) {
            REFUSE(WITH_LOSS, SURPRISAL_ERROR_MISSING, side_inputs[i].name, -1, NAN, WITHOUT(i));
        } else if (!(strcmp(side_inputs[i].name, "cu_seqlens") == 0 && SEQUENCED >> objective & 1)) {
            ACCEPT(WITH_LOSS, WITHOUT(i));
        }
    }
}

/* Inputs that tell every parameter: steep logits, so that probabilities, ratios and losses come in all sizes. */
static void telling_inputs(void)
{
    static const float ref[ROWS] = {-9, -0.1F, -6, -0.01F}, old[ROWS] = {-2.5F, -0.03F, -1.4F, -7};
    static const float advantages[ROWS] = {-0.5F, -0.5F, 1, 1};
    fresh();
    for (int row = 0; row < ROWS; row++) {
        for (int j = 0; j < VOCAB; j++) {
            PUT(double, w.logits_f64, row * VOCAB + j, j == 0 ? 4 * row - 5.5 : sin(row * VOCAB + j));
        }
        PUT(float, w.batch.ref_log_probs, row, ref[row]);
        PUT(float, w.batch.old_log_probs, row, old[row]);
        PUT(float, w.batch.advantages, row, advantages[row]);
        PUT(uint32_t, w.batch.groups, row, (uint32_t)row % 2);
    }
    w.loss.class_weights = NULL;
}

/* With a parameter; NaN leaves it at its default. */
static double loss_of_oracle(int objective, size_t parameter, double value)
{
    telling_inputs();
    set_objective(objective);
    if (!isnan(value)) {
        set_parameter(parameter, value);
    }
    about_call(ORACLE);
    accepted(__FILE__, __LINE__, ORACLE);
    return w.report.loss;
}

/* A default does what its value does, and another value does not. */
static void defaults(int objective)
{
    for (size_t i = 0; i < LENGTH(parameters); i++) {
        double standard = parameters[i].others >> objective & 1 ? parameters[i].other_standard : parameters[i].standard;
        if (!(parameters[i].objectives >> objective & 1) || isnan(standard)) {
            continue;
        }
        double by_default = loss_of_oracle(objective, i, NAN);
        double by_value = loss_of_oracle(objective, i, standard);
        double other = loss_of_oracle(objective, i, parameters[i].right);
        CHECK(by_default == by_value, "the default of %s is not %g", parameters[i].name, standard);
        CHECK(by_default != other, "%s does nothing", parameters[i].name);
    }
}

int main(void)
{
    for (int objective = 0; objective < OBJECTIVES; objective++) {
        ranges(objective);
        enumerators(objective);
        inputs(objective);
        defaults(objective);
    }
    *subject = '\0';
    CHECK(surprisal_enum_name("objective", OBJECTIVES) == NULL, "an objective that this test does not know");
    return finish("objectives");
}
