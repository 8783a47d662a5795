/* Padded matrices of the three element types, rounded and widened independently of the library. */
#ifndef MATRIX_H
#define MATRIX_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "surprisal.h"

/* What stands in the padding before and after. */
#define CANARY 0x5c

/* Every element type. */
static const surprisal_dtype dtypes[] = {SURPRISAL_DTYPE_F32, SURPRISAL_DTYPE_F16, SURPRISAL_DTYPE_BF16};
enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

typedef struct matrix {
    unsigned char *bytes;
    int32_t dtype;
    size_t rows, vocab, stride;
} matrix;

/* Rows and columns of a matrix. */
typedef struct part {
    size_t row, rows, column, columns;
} part;

static inline size_t size_of(int32_t dtype)
{
    return dtype == SURPRISAL_DTYPE_F32 ? sizeof(float) : sizeof(uint16_t);
}

/* The padding behind the last row is missing. */
static inline size_t matrix_bytes(const matrix *m)
{
    return ((m->rows - 1) * m->stride + m->vocab) * size_of(m->dtype);
}

static inline part whole(const matrix *m)
{
    return (part){0, m->rows, 0, m->vocab};
}

/* To nearest, ties to even. */
static inline uint16_t bf16_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return isnan(value) ? 0x7fc0 : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline uint16_t f16_of(float value)
{
    unsigned sign = signbit(value) ? 0x8000 : 0;
    double magnitude = fabs((double)value);
    if (isnan(value)) {
        return 0x7e00;
    }
    if (magnitude >= 65520) {
        return (uint16_t)(sign | 0x7c00);
    }
    int exponent = magnitude < 0x1p-14 ? -14 : ilogb(magnitude);
    unsigned mantissa = (unsigned)nearbyint(ldexp(magnitude, 10 - exponent));
    return (uint16_t)(sign | (((unsigned)(exponent + 14) << 10) + mantissa));
}

static inline double f16_value(uint16_t bits)
{
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double magnitude = exponent == 31  ? (mantissa == 0 ? INFINITY : NAN)
                       : exponent == 0 ? ldexp(mantissa, -24)
                                       : ldexp(1024 + mantissa, exponent - 25);
    return bits & 0x8000 ? -magnitude : magnitude;
}

static inline void *entry(const matrix *m, size_t row, size_t column)
{
    return m->bytes + (row * m->stride + column) * size_of(m->dtype);
}

static inline void put(const matrix *m, size_t row, size_t column, float value)
{
    uint16_t half = m->dtype == SURPRISAL_DTYPE_BF16 ? bf16_of(value) : f16_of(value);
    memcpy(entry(m, row, column), m->dtype == SURPRISAL_DTYPE_F32 ? (void *)&value : (void *)&half, size_of(m->dtype));
}

static inline double get(const matrix *m, size_t row, size_t column)
{
    float value;
    uint16_t half;
    if (m->dtype == SURPRISAL_DTYPE_F32) {
        memcpy(&value, entry(m, row, column), sizeof value);
        return value;
    }
    memcpy(&half, entry(m, row, column), sizeof half);
    if (m->dtype == SURPRISAL_DTYPE_F16) {
        return f16_value(half);
    }
    uint32_t bits = (uint32_t)half << 16;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline surprisal_logits view(const matrix *m, part p)
{
    surprisal_logits logits = surprisal_logits_of(entry(m, 0, p.column), m->dtype, m->rows, p.columns);
    logits.row_stride = m->stride;
    return surprisal_logits_rows(surprisal_logits_shard(logits, p.column, m->vocab), p.row, p.row + p.rows);
}

static inline surprisal_logits_mut view_mut(const matrix *m, part p)
{
    surprisal_logits_mut logits = surprisal_logits_mut_of(entry(m, 0, p.column), m->dtype, m->rows, p.columns);
    logits.row_stride = m->stride;
    return surprisal_logits_mut_rows(surprisal_logits_mut_shard(logits, p.column, m->vocab), p.row, p.row + p.rows);
}

/* Whether two matrices hold the same bits, whatever their strides. */
static inline int same_entries(const matrix *a, const matrix *b)
{
    int same = a->dtype == b->dtype && a->rows == b->rows && a->vocab == b->vocab;
    for (size_t row = 0; same && row < a->rows; row++) {
        same = memcmp(entry(a, row, 0), entry(b, row, 0), a->vocab * size_of(a->dtype)) == 0;
    }
    return same;
}

static inline int padding_survived(const matrix *m)
{
    for (size_t row = 0; row + 1 < m->rows; row++) {
        for (unsigned char *at = entry(m, row, m->vocab); at < (unsigned char *)entry(m, row + 1, 0); at++) {
            if (*at != CANARY) {
                return 0;
            }
        }
    }
    return 1;
}

#endif
