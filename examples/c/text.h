/* The text to model: ids of its bytes, cut into a training part and the validation part after it. */
#ifndef TEXT_H
#define TEXT_H

#include <stddef.h>
#include <stdint.h>

typedef struct text {
    size_t bytes; /* of the whole text */
    size_t train; /* of the training part, which comes first */
    size_t vocab; /* distinct bytes */
    int32_t *ids; /* the text, one id a byte, in 0 .. vocab */
    float *unigram; /* ln of each id's frequency in the training part */
} text;

/* Reads a file; without one (NULL) it makes a text up. Ends the program with EXIT_USAGE where the file cannot be read
 * or has fewer than `least` training bytes. */
text text_open(const char *path, size_t least, uint64_t seed);

/* Mean surprisal of the validation part under the unigram frequencies of the training part, in nats. */
double text_unigram_nll(const text *t);

void text_free(text *t);

#endif
