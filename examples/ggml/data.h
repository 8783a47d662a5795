/* Text that is made here: additions, of which a trainer is asked for the answers alone. */
#ifndef DATA_H
#define DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <surprisal.h>

/* A row is a position of a line, "23+45=68\n", and predicts its byte from those before it. */
enum { CONTEXT = 8, LINE = 9, ANSWER = 6, LINES = 56, ROWS = LINE * LINES, VOCAB = 256 };

typedef struct batch {
    int32_t ids[ROWS * CONTEXT]; /* the bytes before each position */
    int32_t targets[ROWS]; /* the byte at each position; the library's ignore_index where it is part of the question */
    int32_t offsets[LINES + 1]; /* a line is a sequence */
} batch;

/* Lines number `index * LINES` and following of an endless text. With `dense`, every position counts. */
void batch_fill(batch *b, uint64_t index, bool dense);

/* The batch as the library sees it. */
surprisal_batch batch_inputs(const batch *b);

/* splitmix64, as a number in [0, 1). */
double random_unit(uint64_t *state);

#endif
