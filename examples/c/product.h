/* Matrix products on threads: what the library is lent for the output layer. A trainer that has a BLAS hands that in instead. */
#ifndef PRODUCT_H
#define PRODUCT_H

#include <surprisal.h>

typedef struct product {
    surprisal_gemm gemm; /* what the library is given; its context is this struct */
    size_t threads;
    float *packed; /* room for an operand that is stored by columns */
} product;

/* Products whose packed operand, if one is stored by columns, has at most so many elements. Each entry of a result is added up by one thread, in an
 * order that does not depend on their number. `p` stays where it is. */
void product_create(product *p, size_t threads, size_t elements);

void product_free(product *p);

#endif
