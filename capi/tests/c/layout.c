/* Layout of the structs that may grow: no padding at their end, on any machine, where a later field would meet the garbage of older programs.
 * Compiled alone, for machines that are not there. */
#include "surprisal.h"
#include "surprisal_gpu.h"

#define ENDS_WITH(type, last)                                                                                         \
    _Static_assert(offsetof(type, struct_size) == 0, #type " does not begin with its size");                          \
    _Static_assert(offsetof(type, last) + sizeof(((type *)0)->last) == sizeof(type), #type " ends with padding")
ENDS_WITH(surprisal_loss, parameters);
ENDS_WITH(surprisal_batch, denominator);
ENDS_WITH(surprisal_logits, reserved);
ENDS_WITH(surprisal_logits_mut, padding);
ENDS_WITH(surprisal_outputs, correct);
ENDS_WITH(surprisal_workspace, size);
ENDS_WITH(surprisal_gemm, parallel);
ENDS_WITH(surprisal_matrix, reserved);
ENDS_WITH(surprisal_matrix_mut, reserved);
ENDS_WITH(surprisal_linear_layer, gemm);
ENDS_WITH(surprisal_linear_gradients, bias);
ENDS_WITH(surprisal_gpu_matrix, reserved);

/* Those that do not grow have the same fields everywhere, and room for more where the library writes them. */
_Static_assert(sizeof(surprisal_error_detail) == 216, "surprisal_error_detail");
_Static_assert(sizeof(surprisal_stats) == 48 && sizeof(surprisal_term) == 24, "statistics and terms");
_Static_assert(sizeof(surprisal_parameter) == 16, "surprisal_parameter");
_Static_assert(offsetof(surprisal_report, reserved) % 8 == 0, "surprisal_report");
_Static_assert(sizeof(surprisal_status) == 4 && sizeof(surprisal_dtype) == 4 && sizeof(surprisal_objective) == 4, "enums");
