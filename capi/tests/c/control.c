/* Mistakes that the sanitizers must see (sanitize.sh): a row too many, and logits that nobody wrote. */
#include "check.h"
#include "surprisal.h"

enum { ROWS = 5, VOCAB = 33 };

int main(int count, char **arguments)
{
    static const int32_t targets[ROWS] = {0, 1, 2, 3, 4};
    int overread = count > 1 && strcmp(arguments[1], "overread") == 0;
    int uninitialised = count > 1 && strcmp(arguments[1], "uninitialised") == 0;
    size_t rows = overread ? ROWS - 1 : ROWS, length = uninitialised ? rows * VOCAB - 1 : rows * VOCAB;
    float *logits = malloc(rows * VOCAB * sizeof *logits);
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    surprisal_batch batch = SURPRISAL_BATCH_INIT;
    surprisal_report report = SURPRISAL_REPORT_INIT;
    for (size_t i = 0; i < length; i++) {
        logits[i] = (float)(i % 7);
    }
    batch.rows = ROWS;
    batch.targets_i32 = targets;
    surprisal_logits z = surprisal_logits_f32(logits, ROWS, VOCAB);
    CHECK_OK(surprisal_forward(&loss, &batch, &z, NULL, NULL, &report, NULL));
    CHECK(report.loss > 0, "loss %g", report.loss);
    free(logits);
    return finish("control");
}
