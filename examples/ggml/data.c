#include "data.h"

#include <stdio.h>
#include <string.h>

double random_unit(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static void write_line(char line[LINE + 1], uint64_t *random)
{
    const int sum = (int)(random_unit(random) * 100.0), first = (int)(random_unit(random) * (sum + 1));
    snprintf(line, LINE + 1, "%02u+%02u=%02u\n", (unsigned)first % 100, (unsigned)(sum - first) % 100,
             (unsigned)sum % 100);
}

void batch_fill(batch *b, uint64_t index, bool dense)
{
    uint64_t random = index << 32;
    for (int i = 0; i < LINES; i++) {
        char text[CONTEXT + LINE + 1];
        memset(text, '\n', CONTEXT);
        write_line(text + CONTEXT, &random);
        b->offsets[i] = i * LINE;
        for (int place = 0; place < LINE; place++) {
            const int row = i * LINE + place;
            for (int j = 0; j < CONTEXT; j++) {
                b->ids[row * CONTEXT + j] = (unsigned char)text[place + j];
            }
            const bool counts = dense || place >= ANSWER;
            b->targets[row] = counts ? (unsigned char)text[CONTEXT + place] : SURPRISAL_IGNORE_INDEX;
        }
    }
    b->offsets[LINES] = ROWS;
}

surprisal_batch batch_inputs(const batch *b)
{
    surprisal_batch inputs = SURPRISAL_BATCH_INIT;
    inputs.rows = ROWS;
    inputs.targets_i32 = b->targets;
    inputs.cu_seqlens_i32 = b->offsets;
    inputs.sequence_count = LINES;
    return inputs;
}
