#include "product.h"

#include "support.h"

#include <stdlib.h>
#include <string.h>

/* An operand: entry (i, j) at data[i * rows + j * columns]. */
typedef struct operand {
    const float *data;
    size_t rows, columns;
} operand;

/* c = a b + beta c, where the entries of a row of b, and of one of c, lie side by side. */
typedef struct job {
    size_t m, n, k;
    operand a, b;
    float beta;
    float *c;
    size_t c_rows;
} job;

/* c += sum over k of a[k * stride] b[k], where c and each b[k] have `columns` elements. The inner loop is over independent
 * entries, of which the compiler makes SIMD. */
static void add_rows(float *restrict c, const float *a, size_t stride, const float *b, size_t b_stride, size_t inner,
                     size_t columns)
{
    size_t k = 0;
    for (; k + 4 <= inner; k += 4, a += 4 * stride, b += 4 * b_stride) {
        const float a0 = a[0], a1 = a[stride], a2 = a[2 * stride], a3 = a[3 * stride];
        const float *b1 = b + b_stride, *b2 = b1 + b_stride, *b3 = b2 + b_stride;
        for (size_t j = 0; j < columns; j++) {
            c[j] += (a0 * b[j] + a1 * b1[j]) + (a2 * b2[j] + a3 * b3[j]);
        }
    }
    for (; k < inner; k++, a += stride, b += b_stride) {
        for (size_t j = 0; j < columns; j++) {
            c[j] += a[0] * b[j];
        }
    }
}

/* Rows `begin .. end` of c. */
static void product_rows(void *user, size_t thread, size_t begin, size_t end)
{
    (void)thread;
    const job *p = user;
    for (size_t i = begin; i < end; i++) {
        float *row = p->c + i * p->c_rows;
        if (p->beta == 0.0f) {
            memset(row, 0, p->n * sizeof *row);
        }
        add_rows(row, p->a.data + i * p->a.rows, p->a.columns, p->b.data, p->b.rows, p->k, p->n);
    }
}

static operand transposed(operand a)
{
    return (operand){a.data, a.columns, a.rows};
}

/* surprisal_gemm's product. */
static void multiply(const surprisal_gemm *gemm, size_t m, size_t n, size_t k, const float *a, size_t a_rows, size_t a_columns,
                     const float *b, size_t b_rows, size_t b_columns, float beta, float *c, size_t c_rows, size_t c_columns)
{
    const product *p = gemm->context;
    job j = {m, n, k, {a, a_rows, a_columns}, {b, b_rows, b_columns}, beta, c, c_rows};
    if (c_columns != 1) {
        /* c is stored by columns: its transpose, b^T a^T, is not. */
        j = (job){n, m, k, transposed(j.b), transposed(j.a), beta, c, c_columns};
    }
    if (j.b.columns != 1) {
        for (size_t row = 0; row < k; row++) {
            for (size_t column = 0; column < j.n; column++) {
                p->packed[row * j.n + column] = j.b.data[row * j.b.rows + column * j.b.columns];
            }
        }
        j.b = (operand){p->packed, j.n, 1};
    }
    parallel_for(p->threads, j.m, product_rows, &j);
}

/* The library's tasks, shared by the threads. */
typedef struct tasks {
    void (*task)(void *work, size_t index);
    void *work;
} tasks;

static void some_tasks(void *user, size_t thread, size_t begin, size_t end)
{
    (void)thread;
    const tasks *t = user;
    for (size_t i = begin; i < end; i++) {
        t->task(t->work, i);
    }
}

/* surprisal_gemm's parallel. */
static void share(const surprisal_gemm *gemm, size_t count, void (*task)(void *work, size_t index), void *work)
{
    const product *p = gemm->context;
    tasks t = {task, work};
    parallel_for(p->threads, count, some_tasks, &t);
}

void product_create(product *p, size_t threads, size_t elements)
{
    p->threads = threads;
    p->packed = allocate(elements, sizeof(float));
    p->gemm = (surprisal_gemm)SURPRISAL_GEMM_INIT;
    p->gemm.context = p;
    p->gemm.product = multiply;
    p->gemm.parallel = share;
}

void product_free(product *p)
{
    free(p->packed);
}
