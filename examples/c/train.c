/*
 * Trains a byte-level language model in plain C, with the loss layer of surprisal.
 *
 * The model (model.c) has its forward and backward pass written out and knows nothing of logits and losses. What stands between
 * its hidden units and their gradient is the library (step.c, the file to read first):
 *
 *   - The output layer and the loss are one call. The logits, [rows x vocab], are never whole: they go a chunk of rows at a time
 *     through a workspace, and a batch may be as long as its hidden units allow.
 *   - The matrix products are the trainer's (product.c), as are the threads. The library starts none, allocates nothing and keeps no
 *     state.
 *   - The objective is data: no line here knows one from another, not even whether it must see the whole batch first.
 *
 * (Where a trainer makes its own logits, surprisal_forward_backward takes them, by ranges of rows for its threads: ../cpp and
 * ../ggml do that.)
 *
 * Watch the mean nll and the accuracy together: objectives that trust the model, as dft does, give up nll on purpose.
 *
 * Everything has the same bits after training for any number of threads.
 *
 * Build it in its folder against an installed library, and run it:
 *
 *   cc -std=c11 -O3 *.c $(pkg-config --cflags --libs surprisal) -lm -lpthread -o train
 *   ./train book.txt                     a text of your own; without one, a text is made up
 *   ./train book.txt --objective dft
 *   ./train --check                      the gradients against finite differences
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "check.h"
#include "model.h"
#include "step.h"
#include "support.h"
#include "text.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Consecutive positions of a sequence. */
enum { LENGTH = 16 };

typedef struct options {
    const char *file;
    size_t steps, batch, context, hidden, threads, seed;
    double learning_rate, pretrain;
    surprisal_loss loss;
    bool check;
} options;

/* An option of the trainer that has a number, and where it goes. */
static const struct number {
    const char *name;
    enum { COUNT, REAL } type;
    size_t offset;
    double least, most;
    const char *help;
} NUMBERS[] = {
#define FIELD(name) offsetof(options, name)
    {"--steps", COUNT, FIELD(steps), 1, 1e9, "training steps (1500)"},
    {"--batch", COUNT, FIELD(batch), 1, 1e6, "positions a step (512)"},
    {"--context", COUNT, FIELD(context), 1, 256, "bytes that the model sees (8)"},
    {"--hidden", COUNT, FIELD(hidden), 2, 65536, "hidden units (256)"},
    {"--threads", COUNT, FIELD(threads), 1, MAX_THREADS, "threads (2)"},
    {"--seed", COUNT, FIELD(seed), 0, 4294967295.0, "seed of the weights and the batches (1)"},
    {"--lr", REAL, FIELD(learning_rate), 0, 1e3, "largest learning rate (0.016)"},
    {"--pretrain", REAL, FIELD(pretrain), 0, 1, "share of the steps that take plain sft first (0.5)"},
#undef FIELD
};

enum { NUMBER_COUNT = sizeof NUMBERS / sizeof *NUMBERS };

static void print_help(void)
{
    puts("usage: train [FILE] [OPTION VALUE]...\n\n"
         "Trains a byte-level language model on FILE, or on a text that is made up.\n\n"
         "  --help             this text\n"
         "  --check            compare the gradients with finite differences instead");
    for (size_t i = 0; i < NUMBER_COUNT; i++) {
        printf("  %-18s %s\n", NUMBERS[i].name, NUMBERS[i].help);
    }
    printf("  %-18s what a byte's surprisal costs (sft):\n                    ", "--objective");
    for (int32_t objective = 0; surprisal_enum_name("objective", objective) != NULL; objective++) {
        printf(" %s", surprisal_enum_name("objective", objective));
    }
    puts("\n  --NAME VALUE       any other option of the loss, as surprisal_loss_set and surprisal_loss_set_choice know it,\n"
         "                     after the objective: --label-smoothing, --z-loss, --tau, --floor, --gamma, --reduction...");
    puts("\nThe reference model of objectives that compare with one is the unigram distribution.");
}

static void set_number(options *o, const struct number *n, const char *digits)
{
    char *end;
    const double value = strtod(digits, &end);
    const bool in_range = value >= n->least && value <= n->most; /* and no NaN */
    if (end == digits || *end != '\0' || !in_range || (n->type == COUNT && value != floor(value))) {
        fail(EXIT_USAGE, "%s: not a number in its range: %s", n->name, digits);
    }
    void *field = (char *)o + n->offset;
    switch (n->type) {
    case COUNT: *(size_t *)field = (size_t)value; break;
    case REAL: *(double *)field = value; break;
    }
}

/* An option of the loss: a number, or a choice by its name. The library knows which there are, and says what is wrong. */
static void set_loss(options *o, const char *option, const char *value)
{
    surprisal_error_detail detail;
    char *end;
    const double number = strtod(value, &end);
    const bool is_number = end != value && *end == '\0';
    const char *name = option + strlen("--");
    const surprisal_status status = is_number ? surprisal_loss_set(&o->loss, name, number, &detail)
                                              : surprisal_loss_set_choice(&o->loss, name, value, &detail);
    if (status != SURPRISAL_OK) {
        fail(EXIT_USAGE, "%s %s: %s; see --help", option, value, detail.message);
    }
}

static const struct number *find_number(const char *name)
{
    for (size_t i = 0; i < NUMBER_COUNT; i++) {
        if (strcmp(name, NUMBERS[i].name) == 0) {
            return &NUMBERS[i];
        }
    }
    return NULL;
}

static options parse(int count, char **arguments)
{
    options o = {.steps = 1500, .batch = 512, .context = 8, .hidden = 256, .threads = 2, .seed = 1};
    o.learning_rate = 0.016;
    o.pretrain = 0.5;
    o.loss = (surprisal_loss)SURPRISAL_LOSS_INIT;
    for (int i = 1; i < count; i++) {
        const char *argument = arguments[i], *value = i + 1 < count ? arguments[i + 1] : NULL;
        const struct number *number = find_number(argument);
        if (strcmp(argument, "--help") == 0) {
            print_help();
            exit(EXIT_SUCCESS);
        } else if (strcmp(argument, "--check") == 0) {
            o.check = true;
        } else if (strncmp(argument, "--", 2) == 0) {
            if (value == NULL) {
                fail(EXIT_USAGE, "%s: needs a value", argument);
            }
            number != NULL ? set_number(&o, number, value) : set_loss(&o, argument, value);
            i++;
        } else if (argument[0] == '-') {
            fail(EXIT_USAGE, "unknown option: %s; see --help", argument);
        } else if (o.file != NULL) {
            fail(EXIT_USAGE, "one file is enough: %s", argument);
        } else {
            o.file = argument;
        }
    }
    return o;
}

/* Position `position` of the text becomes row `row` of a batch. */
static void set_row(const batch *b, size_t row, const text *t, size_t position, size_t context)
{
    memcpy(b->context + row * context, t->ids + position - context, context * sizeof *t->ids);
    b->targets[row] = t->ids[position];
    b->ref_log_probs[row] = t->unigram[t->ids[position]];
}

/* Sequences from random places of the training part. */
static void draw(const batch *b, const text *t, size_t context, uint64_t *random)
{
    for (size_t i = 0; i < b->sequences; i++) {
        const size_t begin = (size_t)b->offsets[i], end = (size_t)b->offsets[i + 1];
        const size_t position = context + random_below(random, t->train - context - LENGTH + 1);
        for (size_t row = begin; row < end; row++) {
            set_row(b, row, t, position + row - begin, context);
        }
    }
}

/* Mean surprisal of the whole validation part, in nats, whatever the objective. */
static double validate(model *m, const batch *b, const text *t, size_t threads)
{
    const surprisal_loss sft = SURPRISAL_LOSS_INIT;
    surprisal_report all = SURPRISAL_REPORT_INIT, report;
    surprisal_error_detail detail;
    for (size_t position = t->train; position < t->bytes; position += b->rows) {
        for (size_t row = 0; row < b->rows; row++) {
            if (position + row < t->bytes) {
                set_row(b, row, t, position + row, m->context);
            } else {
                b->targets[row] = -100; /* SURPRISAL_BATCH_INIT's ignore_index: the row counts nowhere */
            }
        }
        if (batch_loss(m, b, &sft, threads, &report, &detail) != SURPRISAL_OK ||
            surprisal_report_merge(&all, &report, &detail) != SURPRISAL_OK) {
            fail(EXIT_FAILURE, "%s", detail.message);
        }
    }
    return surprisal_report_mean_nll(&all);
}

/* Linear warmup, then half a cosine down to a tenth. */
static double learning_rate(const options *o, size_t step)
{
    const double warmup = fmin(100.0, 0.1 * (double)o->steps);
    const double at = (double)step;
    if (at < warmup) {
        return o->learning_rate * at / warmup;
    }
    const double progress = (at - warmup) / fmax((double)o->steps - warmup, 1.0);
    return o->learning_rate * (0.55 + 0.45 * cos(acos(-1.0) * progress));
}

static double seconds(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The report of the last `steps` steps, merged. Their losses are means of their own over as many rows each, so that the
 * mean of them all is theirs. */
static void print_progress(const options *o, size_t step, size_t steps, const surprisal_report *recent,
                           double elapsed)
{
    printf("step %6zu/%zu  loss %8.4f  nll %.4f nats  %.4f bits/byte  accuracy %4.1f %%  %.0fk tokens/s\n", step,
           o->steps, recent->loss / (double)steps, surprisal_report_mean_nll(recent),
           surprisal_report_bits_per_token(recent), 100.0 * surprisal_report_accuracy(recent),
           1e-3 * (double)recent->tokens / elapsed);
    fflush(stdout);
}

/* One step, with its report added to `recent`. */
static void run_step(const options *o, size_t step, model *m, const batch *b, surprisal_report *recent)
{
    const surprisal_loss sft = SURPRISAL_LOSS_INIT;
    const bool pretrains = (double)step <= o->pretrain * (double)o->steps;
    surprisal_report report;
    surprisal_error_detail detail;
    if (batch_gradient(m, b, pretrains ? &sft : &o->loss, o->threads, &report, &detail) != SURPRISAL_OK ||
        surprisal_report_merge(recent, &report, &detail) != SURPRISAL_OK) {
        fail(EXIT_FAILURE, "%s", detail.message);
    }
    if (report.invalid_row >= 0) {
        fail(EXIT_FAILURE, "step %zu diverged: row %lld has no softmax", step, (long long)report.invalid_row);
    }
    model_update(m, step, learning_rate(o, step), o->threads);
}

/* The steps. Objectives of fine-tuning weigh a token by what the model makes of it, and mislead one that knows nothing:
 * sft comes first. */
static void train(const options *o, model *m, const batch *b, const text *t)
{
    const size_t every = o->steps < 10 ? 1 : o->steps / 10;
    uint64_t random = o->seed;
    surprisal_report recent = SURPRISAL_REPORT_INIT;
    size_t last = 0;
    double since = seconds();
    for (size_t step = 1; step <= o->steps; step++) {
        draw(b, t, m->context, &random);
        run_step(o, step, m, b, &recent);
        if (step % every == 0 || step == o->steps) {
            print_progress(o, step, step - last, &recent, seconds() - since);
            recent = (surprisal_report)SURPRISAL_REPORT_INIT;
            last = step;
            since = seconds();
        }
    }
}

/* Ends the program, before any training, where the library refuses the objective: a parameter that it does not have, an
 * input that is not there. The library says what is wrong. */
static void ask_library(const options *o, model *m, const batch *b)
{
    surprisal_report report;
    surprisal_error_detail detail;
    if (batch_gradient(m, b, &o->loss, o->threads, &report, &detail) != SURPRISAL_OK) {
        fail(EXIT_USAGE, "%s: %s", surprisal_enum_name("objective", o->loss.objective), detail.message);
    }
}

int main(int count, char **arguments)
{
    const options o = parse(count, arguments);
    if (o.check) {
        return check_gradients() ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    text t = text_open(o.file, o.context + LENGTH, o.seed);
    model m = model_create(o.context, t.vocab, o.hidden, o.seed);
    batch b = batch_create(&m, o.batch, LENGTH);
    ask_library(&o, &m, &b);
    const double unigram = text_unigram_nll(&t);
    printf("text: %zu bytes, %zu distinct, unigram %.4f nats; model: %zu parameters; surprisal %s, %s\n", t.bytes,
           t.vocab, unigram, m.count, surprisal_version_string(), surprisal_simd_level());
    train(&o, &m, &b, &t);
    const double nll = validate(&m, &b, &t, o.threads);
    printf("final: validation nll %.4f nats, unigram %.4f nats, objective %s\n", nll, unigram,
           surprisal_enum_name("objective", o.loss.objective));
    batch_free(&b);
    model_free(&m);
    text_free(&t);
    return EXIT_SUCCESS;
}
