/*
 * A small language model, trained through ggml's own graph with surprisal as the loss.
 *
 * The model learns to add. The questions are masked: only the bytes of the answers count. It begins with plain
 * supervised fine-tuning, since the other objectives weigh a token by what the model makes of it already, and goes on
 * with each of them from there. Before that the program checks what it claims, also against ggml's own cross-entropy.
 *
 *     train                   checks, then trains
 *     train --time THREADS    what the ways to put the loss into a graph cost
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "checks.h"
#include "measure.h"
#include "model.h"

#include <ggml-cpu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One thread: ggml's wait for each other in a busy loop, which is slow where other programs run. */
enum { THREADS = 1, PRETRAIN = 300, STEPS = 240, WINDOWS = 4 };

static const struct {
    const char *name;
    double tau; /* 0 for objectives that are given none */
} OBJECTIVES[] = {{"sft", 0.0}, {"dft", 0.0}, {"talr", 2.0}, {"talr-auto", 0.0}};

/* A loss, its graph, and the model that it trains. */
typedef struct trainer {
    model *m;
    surprisal_ggml *s;
    program p;
} trainer;

static trainer trainer_create(model *m, const surprisal_loss *loss)
{
    surprisal_error_detail detail;
    trainer t = {.m = m, .s = surprisal_ggml_new(loss, ROWS, VOCAB, THREADS, &detail), .p = program_create(m)};
    if (t.s == NULL) {
        stop("%s", detail.message);
    }
    program_backward(&t.p, m, t.s);
    program_optimize(&t.p, m);
    program_allocate(&t.p);
    ggml_backend_cpu_set_abort_callback(m->backend, surprisal_ggml_failed, t.s);
    return t;
}

static void trainer_free(trainer *t)
{
    ggml_backend_cpu_set_abort_callback(t->m->backend, NULL, NULL);
    program_free(&t->p);
    surprisal_ggml_free(t->s);
}

/* Step `step` of a run, on batch number `index`. */
static surprisal_report trainer_step(const trainer *t, int step, int index)
{
    batch b;
    batch_fill(&b, (uint64_t)index, false);
    const surprisal_batch inputs = batch_inputs(&b);
    surprisal_report report = SURPRISAL_REPORT_INIT;
    surprisal_error_detail detail;
    model_set_step(t->m, step, 0.004f);
    if (surprisal_ggml_set_batch(t->s, &inputs, &detail) != SURPRISAL_OK) {
        stop("batch %d: %s", index, detail.message);
    }
    const bool done = program_run(&t->p, t->m, &b, THREADS);
    if (surprisal_ggml_result(t->s, &report, &detail) != SURPRISAL_OK) {
        stop("step %d: %s", step, detail.message);
    }
    if (!done || report.invalid_row >= 0) {
        stop("step %d: aborted, or row %lld has no softmax", step, (long long)report.invalid_row);
    }
    return report;
}

/* Trains on `steps` batches from `first` on. Prints the mean loss of each quarter, and nll and accuracy of the last;
 * returns whether the loss fell. */
static bool train(model *m, const surprisal_loss *loss, int steps, int first)
{
    trainer t = trainer_create(m, loss);
    double losses[WINDOWS] = {0.0}, tau = 0.0;
    surprisal_report all = SURPRISAL_REPORT_INIT;
    surprisal_error_detail detail;
    for (int step = 0; step < steps; step++) {
        const int window = step * WINDOWS / steps;
        const surprisal_report report = trainer_step(&t, step + 1, first + step);
        losses[window] += report.loss * WINDOWS / steps;
        tau = report.tau;
        if (window == WINDOWS - 1 && surprisal_report_merge(&all, &report, &detail) != SURPRISAL_OK) {
            stop("%s", detail.message);
        }
        if ((step + 1) * WINDOWS / steps > window) {
            printf("  %8.4f", losses[window]);
            fflush(stdout);
        }
    }
    printf("  %8.4f  %5.1f %%", surprisal_report_mean_nll(&all), 100.0 * surprisal_report_accuracy(&all));
    printf(tau > 0.0 ? "  tau %.4f\n" : "\n", tau);
    trainer_free(&t);
    return losses[WINDOWS - 1] < losses[0];
}

static bool train_all(void)
{
    const surprisal_loss sft = SURPRISAL_LOSS_INIT;
    model base = model_create(1), m = model_create(1);
    printf("%-20s%-40s  %8s  %7s\n%-20s", "", "mean loss of each quarter of the steps", "nll", "right",
           "sft, from scratch");
    bool is_right = train(&base, &sft, PRETRAIN, 0);
    for (size_t i = 0; i < sizeof OBJECTIVES / sizeof *OBJECTIVES; i++) {
        surprisal_loss loss = SURPRISAL_LOSS_INIT;
        loss.objective = surprisal_enum_value("objective", OBJECTIVES[i].name);
        if (OBJECTIVES[i].tau > 0.0) {
            surprisal_error_detail detail;
            if (surprisal_loss_set(&loss, "tau", OBJECTIVES[i].tau, &detail) != SURPRISAL_OK) {
                stop("%s", detail.message);
            }
        }
        model_copy(&m, &base);
        printf("%-20s", OBJECTIVES[i].name);
        is_right &= train(&m, &loss, STEPS, PRETRAIN);
    }
    model_free(&m);
    model_free(&base);
    return is_right;
}

int main(int count, char **arguments)
{
    const int threads = count == 3 && strcmp(arguments[1], "--time") == 0 ? atoi(arguments[2]) : 0;
    if (threads > 0) {
        measure(threads);
        return EXIT_SUCCESS;
    }
    if (count > 1) {
        fputs("usage: train [--time THREADS]\n", stderr);
        return 2;
    }
    printf("ggml %s, surprisal %s (%s)\n", ggml_version(), surprisal_version_string(), surprisal_simd_level());
    const bool checked = check_all(), learned = train_all();
    if (!learned) {
        puts("a loss did not fall");
    }
    puts(checked && learned ? "ggml: ok" : "ggml: FAILED");
    return checked && learned ? EXIT_SUCCESS : EXIT_FAILURE;
}
