#include "support.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

_Noreturn void fail(int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("train: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(code);
}

void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count > 0 ? count : 1, size);
    if (memory == NULL) {
        fail(EXIT_FAILURE, "no memory for %zu elements of %zu bytes", count, size);
    }
    return memory;
}

/* splitmix64. */
uint64_t random_bits(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double random_unit(uint64_t *state)
{
    return (double)(random_bits(state) >> 11) * 0x1p-53;
}

size_t random_below(uint64_t *state, size_t end)
{
    return (size_t)(random_unit(state) * (double)end);
}

/* A part of the items, and the thread that works on it. */
typedef struct part {
    pthread_t handle;
    bool started;
    range_function *body;
    void *user;
    size_t thread, begin, end;
} part;

static void *run_part(void *argument)
{
    part *p = argument;
    p->body(p->user, p->thread, p->begin, p->end);
    return NULL;
}

void parallel_for(size_t threads, size_t count, range_function *body, void *user)
{
    part parts[MAX_THREADS];
    for (size_t t = 0; t < threads; t++) {
        part *p = &parts[t];
        *p = (part){.body = body, .user = user, .thread = t};
        p->begin = count * t / threads;
        p->end = count * (t + 1) / threads;
        /* The last part is the caller's own work, as is one for which no thread could be had. */
        p->started = t + 1 < threads && pthread_create(&p->handle, NULL, run_part, p) == 0;
        if (!p->started) {
            run_part(p);
        }
    }
    for (size_t t = 0; t < threads; t++) {
        if (parts[t].started) {
            pthread_join(parts[t].handle, NULL);
        }
    }
}
