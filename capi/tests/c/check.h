/* Checks that say where, what was expected and what was got, and go on; a program exits with `finish()`. */
#ifndef CHECK_H
#define CHECK_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

/* What the checks are about at the moment: a case, a function, a way. */
static char subject[192];

#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
static inline int check(const char *file, int line, int holds, const char *format, ...)
{
    if (!holds && ++failures <= 50) {
        va_list arguments;
        va_start(arguments, format);
        printf("%s:%d: %s%s", file, line, subject, *subject ? ": " : "");
        vprintf(format, arguments);
        printf("\n");
        va_end(arguments);
    }
    return holds;
}

/* NaN is NaN only, an infinity is itself only, everything else is within a bound. */
static inline int close_to(double actual, double expected, double bound)
{
    if (isnan(actual) || isnan(expected)) {
        return isnan(actual) && isnan(expected);
    }
    return actual == expected || (isfinite(expected) && fabs(actual - expected) <= bound);
}

static inline int check_close(const char *file, int line, const char *what, double actual, double expected,
                              double bound)
{
    return check(file, line, close_to(actual, expected, bound),
                 "%s is %.17g instead of %.17g, off by %.3g, allowed %.3g", what, actual, expected,
                 fabs(actual - expected), bound);
}

static inline int check_equal(const char *file, int line, const char *what, long long actual, long long expected)
{
    return check(file, line, actual == expected, "%s is %lld instead of %lld", what, actual, expected);
}

static inline int check_text(const char *file, int line, const char *what, const char *actual, const char *expected)
{
    return check(file, line, actual != NULL && strcmp(actual, expected) == 0, "%s is \"%s\" instead of \"%s\"", what,
                 actual == NULL ? "(null)" : actual, expected);
}

static inline int check_bytes(const char *file, int line, const char *what, const void *actual, const void *expected,
                              size_t size)
{
    const unsigned char *a = (const unsigned char *)actual, *b = (const unsigned char *)expected;
    size_t at = 0;
    while (at < size && a[at] == b[at]) {
        at++;
    }
    return check(file, line, at == size, "%s: byte %zu of %zu differs", what, at, size);
}

#define CHECK(holds, ...) check(__FILE__, __LINE__, (holds), __VA_ARGS__)
#define CHECK_CLOSE(actual, expected, bound) check_close(__FILE__, __LINE__, #actual, (actual), (expected), (bound))
#define CHECK_EQUAL(actual, expected)                                                                                 \
    check_equal(__FILE__, __LINE__, #actual, (long long)(actual), (long long)(expected))
#define CHECK_TEXT(actual, expected) check_text(__FILE__, __LINE__, #actual, (actual), (expected))
#define CHECK_BYTES(actual, expected, size) check_bytes(__FILE__, __LINE__, #actual, (actual), (expected), (size))
#define CHECK_OK(call) CHECK_EQUAL(call, SURPRISAL_OK)
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static inline int finish(const char *program)
{
    if (failures > 0) {
        printf("%s: %d checks failed\n", program, failures);
    }
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
