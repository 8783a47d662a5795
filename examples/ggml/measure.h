/* What the ways to put a loss into a ggml graph cost. */
#ifndef MEASURE_H
#define MEASURE_H

/* Prints a table of times: loss and gradient with respect to the logits. */
void measure(int threads);

#endif
