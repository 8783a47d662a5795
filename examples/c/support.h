/* What every part of the trainer needs: errors, memory, random numbers, threads. */
#ifndef SUPPORT_H
#define SUPPORT_H

#include <stddef.h>
#include <stdint.h>

enum { EXIT_USAGE = 2, MAX_THREADS = 64 };

/* Prints a message to stderr and ends the program. */
_Noreturn void fail(int code, const char *format, ...);

/* Zeroed memory for `count` elements of `size` bytes; ends the program where there is none. */
void *allocate(size_t count, size_t size);

/* The next random number of a generator whose whole state is one integer; its seed may be anything. */
uint64_t random_bits(uint64_t *state);

/* A random number in [0, 1). */
double random_unit(uint64_t *state);

/* A random integer below `end`. */
size_t random_below(uint64_t *state, size_t end);

/* Works on the items `begin .. end`; `thread` counts the parts. */
typedef void range_function(void *user, size_t thread, size_t begin, size_t end);

/* Cuts `count` items into one part a thread, and returns when all are done. */
void parallel_for(size_t threads, size_t count, range_function *body, void *user);

#endif
