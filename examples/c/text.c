#include "text.h"

#include "support.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that grow at their end. */
typedef struct bytes {
    unsigned char *data;
    size_t count, capacity;
} bytes;

static void append(bytes *b, const void *data, size_t count)
{
    if (b->capacity - b->count < count) {
        b->capacity = 2 * b->capacity + count;
        b->data = realloc(b->data, b->capacity);
        if (b->data == NULL) {
            fail(EXIT_FAILURE, "no memory for a text of %zu bytes", b->capacity);
        }
    }
    memcpy(b->data + b->count, data, count);
    b->count += count;
}

static bytes read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fail(EXIT_USAGE, "%s: %s", path, strerror(errno));
    }
    bytes b = {0};
    unsigned char block[1 << 14];
    for (size_t got; (got = fread(block, 1, sizeof block, file)) > 0;) {
        append(&b, block, got);
    }
    if (ferror(file)) {
        fail(EXIT_USAGE, "%s: %s", path, strerror(errno));
    }
    fclose(file);
    return b;
}

static void append_word(bytes *b, const char *const *words, size_t count, uint64_t *random)
{
    const char *word = words[random_below(random, count)];
    append(b, word, strlen(word));
}

/* Sentences of a small grammar. */
static bytes make_up(uint64_t seed)
{
    static const char *const determiners[] = {"the ", "a ", "every ", "that ", "my "};
    static const char *const adjectives[] = {"", "", "small ", "old ", "grey ", "quiet ", "clever "};
    static const char *const nouns[] = {"cat", "dog", "mouse", "bird", "baker", "garden", "teacher"};
    static const char *const verbs[] = {" sees ", " follows ", " likes ", " finds ", " forgets "};
    static const char *const ends[] = {".\n", ". ", "! ", " and "};
#define APPEND(words) append_word(&b, words, sizeof words / sizeof *words, &seed)
    bytes b = {0};
    while (b.count < 200000) {
        APPEND(determiners);
        APPEND(adjectives);
        APPEND(nouns);
        APPEND(verbs);
        APPEND(determiners);
        APPEND(adjectives);
        APPEND(nouns);
        APPEND(ends);
    }
#undef APPEND
    return b;
}

/* The distinct bytes, in their order, become the ids. */
static void encode(text *t, const unsigned char *data)
{
    int32_t id_of[256] = {0};
    for (size_t i = 0; i < t->bytes; i++) {
        id_of[data[i]] = 1;
    }
    for (size_t byte = 0; byte < 256; byte++) {
        id_of[byte] = id_of[byte] ? (int32_t)t->vocab++ : -1;
    }
    t->ids = allocate(t->bytes, sizeof *t->ids);
    for (size_t i = 0; i < t->bytes; i++) {
        t->ids[i] = id_of[data[i]];
    }
}

/* Counts from 1, so that a byte which only the validation part has is not impossible. */
static void count_unigrams(text *t)
{
    size_t counts[256] = {0};
    for (size_t i = 0; i < t->train; i++) {
        counts[t->ids[i]]++;
    }
    t->unigram = allocate(t->vocab, sizeof *t->unigram);
    for (size_t id = 0; id < t->vocab; id++) {
        t->unigram[id] = (float)log((double)(counts[id] + 1) / (double)(t->train + t->vocab));
    }
}

text text_open(const char *path, size_t least, uint64_t seed)
{
    bytes b = path != NULL ? read_file(path) : make_up(seed);
    text t = {.bytes = b.count, .train = b.count - b.count / 10};
    if (t.train < least) {
        fail(EXIT_USAGE, "%s: too short: %zu bytes", path != NULL ? path : "text", b.count);
    }
    encode(&t, b.data);
    count_unigrams(&t);
    free(b.data);
    return t;
}

double text_unigram_nll(const text *t)
{
    double sum = 0.0;
    for (size_t i = t->train; i < t->bytes; i++) {
        sum -= t->unigram[t->ids[i]];
    }
    return sum / (double)(t->bytes - t->train);
}

void text_free(text *t)
{
    free(t->ids);
    free(t->unigram);
}
