/* The trainer's gradients against finite differences. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>

/* Compares the gradient of a tiny model, as a training step has it, with finite differences of the same model in
 * double precision under the library's oracle; prints a line for each objective. False where one differs. */
bool check_gradients(void);

#endif
