/* What this program claims of surprisal in a ggml graph, checked. */
#ifndef CHECKS_H
#define CHECKS_H

#include "model.h"

#include <stdbool.h>

/* Prints a line for each claim; false where one does not hold. */
bool check_all(void);

/* That what ggml does otherwise than one might think does no harm: the part of check_all that needs graphs of its own.
 */
bool check_traps(const model *m, const batch *b);

/* Prints a claim and whether it holds. */
bool say(bool is_right, const char *claim);

/* A loss, and its batch; they end the program where the library refuses them. */
surprisal_ggml *new_loss(const surprisal_loss *loss, int threads);
void set_batch(surprisal_ggml *s, const batch *b);

/* Ends the program with a message. */
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
_Noreturn void stop(const char *format, ...);

#endif
