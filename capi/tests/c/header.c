/* Compiles in every C and C++: the header twice, with every macro and every inline function of it. */
#include <string.h>

#include "surprisal.h"
#include "surprisal.h"

#if SURPRISAL_VERSION != SURPRISAL_VERSION_MAJOR * 1000000 + SURPRISAL_VERSION_MINOR * 1000 + SURPRISAL_VERSION_PATCH
#error "the preprocessor can compare versions"
#endif
#if SURPRISAL_ABI_VERSION < 0
#error "and those of the ABI"
#endif

/* Layouts that the ABI has wherever pointers have 64 bits; statuses cross it as 32 bits in every language. */
#define SIZE(type, size) typedef char size_of_##type[sizeof(size_t) != 8 || sizeof(type) == (size) ? 1 : -1]
SIZE(surprisal_status, 4);
SIZE(surprisal_stats, 48);
SIZE(surprisal_term, 24);
SIZE(surprisal_pair, 16);
SIZE(surprisal_report, 112);
SIZE(surprisal_logits, 80);
SIZE(surprisal_logits_mut, 80);
SIZE(surprisal_outputs, 80);
SIZE(surprisal_workspace, 24);
SIZE(surprisal_denominator, 56);
SIZE(surprisal_batch, 136);
SIZE(surprisal_loss, 192);
SIZE(surprisal_error_detail, 216);
SIZE(surprisal_gemm, 32);
SIZE(surprisal_matrix, 72);
SIZE(surprisal_matrix_mut, 72);
SIZE(surprisal_linear_layer, 32);
SIZE(surprisal_linear_gradients, 32);

SURPRISAL_NODISCARD static int objects(void)
{
    surprisal_loss loss = SURPRISAL_LOSS_INIT;
    surprisal_batch batch = SURPRISAL_BATCH_INIT;
    surprisal_logits logits = SURPRISAL_LOGITS_INIT;
    surprisal_logits_mut dlogits = SURPRISAL_LOGITS_MUT_INIT;
    surprisal_outputs outputs = SURPRISAL_OUTPUTS_INIT;
    surprisal_workspace workspace = SURPRISAL_WORKSPACE_INIT;
    surprisal_report report = SURPRISAL_REPORT_INIT;
    surprisal_stats stats = SURPRISAL_STATS_EMPTY;
    surprisal_dtype dtype = SURPRISAL_DTYPE_BF16;
    surprisal_scope scope = SURPRISAL_SCOPE_GROUP;
    surprisal_padding padding = SURPRISAL_PADDING_KEEP;
    surprisal_status status = SURPRISAL_OK;
    logits.dtype = dtype;
    return loss.parameters[0].id == 0 && loss.parameters[7].id == 0 && loss.grad_scale == 1 && loss.moments == 0 &&
           loss.reduction == SURPRISAL_REDUCTION_DEFAULT && loss.logit_scale == 1 && batch.denominator == NULL && batch.ignore_index == SURPRISAL_IGNORE_INDEX && dlogits.dtype == SURPRISAL_DTYPE_F32 &&
           dlogits.padding == padding && outputs.correct == NULL && workspace.data == NULL && workspace.size == 0 &&
           loss.reduction_by == 0 && loss.objective == SURPRISAL_OBJECTIVE_SFT && report.tau == 0 && report.reserved[5] == 0 &&
           report.invalid_row == -1 && stats.max < -1e308 && stats.sum_exp_squared == 0 && logits.dtype == SURPRISAL_DTYPE_BF16 &&
           status == SURPRISAL_OK && scope == SURPRISAL_SCOPE_GROUP;
}

/* Views: the strides that are passed and those that are left at 0 are the same. */
SURPRISAL_NODISCARD static int views(void)
{
    static float f32[12];
    static uint16_t half[12];
    surprisal_logits a = surprisal_logits_shard(surprisal_logits_rows(surprisal_logits_f32(f32, 4, 3), 1, 3), 3, 9);
    surprisal_logits_mut b =
        surprisal_logits_mut_shard(surprisal_logits_mut_rows(surprisal_logits_mut_f32(f32, 4, 3), 1, 3), 3, 9);
    surprisal_logits same = surprisal_logits_of_mut(b), c = SURPRISAL_LOGITS_INIT;
    surprisal_logits_mut d = SURPRISAL_LOGITS_MUT_INIT;
    c.data = d.data = half;
    c.rows = d.rows = 4;
    c.vocab = d.vocab = 3;
    c.dtype = d.dtype = SURPRISAL_DTYPE_F16;
    c = surprisal_logits_rows(surprisal_logits_rows(c, 1, 4), 1, 3);
    d = surprisal_logits_mut_rows(surprisal_logits_mut_rows(d, 1, 4), 1, 3);
    return memcmp(&same, &a, sizeof a) == 0 && a.data == f32 + 3 &&
           a.rows == 2 && a.row_start == 1 && a.rows_total == 4 && a.row_stride == 0 &&
           a.vocab_start == 3 && a.vocab_total == 9 && b.data == a.data && b.rows == 2 && b.row_start == 1 &&
           b.rows_total == 4 && b.vocab_start == 3 && b.vocab_total == 9 && c.data == half + 6 && c.row_start == 2 &&
           c.rows == 2 && c.rows_total == 4 && d.data == c.data && d.row_start == 2 && d.rows_total == 4 &&
           surprisal_logits_bf16(half, 4, 3).dtype == SURPRISAL_DTYPE_BF16 &&
           surprisal_logits_f16(half, 4, 3).dtype == SURPRISAL_DTYPE_F16 &&
           surprisal_logits_mut_bf16(half, 4, 3).dtype == SURPRISAL_DTYPE_BF16 &&
           surprisal_logits_mut_f16(half, 4, 3).dtype == SURPRISAL_DTYPE_F16 &&
           surprisal_row_offset(SURPRISAL_DTYPE_F32, 0, 3, 2) == 24 && surprisal_row_offset(SURPRISAL_DTYPE_BF16, 5, 3, 2) == 20;
}

/* Matrices of a layer: their parts, and the rows that they lack. */
SURPRISAL_NODISCARD static int matrices(void)
{
    static float f32[12];
    static uint16_t half[12];
    surprisal_matrix a = surprisal_matrix_rows(surprisal_matrix_f32(f32, 4, 3), 1, 3);
    surprisal_matrix_mut b = surprisal_matrix_mut_rows(surprisal_matrix_mut_bf16(half, 4, 3), 1, 3);
    return a.data == f32 + 3 && a.rows == 2 && a.row_start == 1 && a.rows_total == 4 && a.row_stride == 0 && a.col_stride == 0 &&
           b.data == half + 3 && b.rows == 2 && b.row_start == 1 && b.rows_total == 4 && b.dtype == SURPRISAL_DTYPE_BF16 &&
           surprisal_matrix_rows(a, 1, 3).rows == SURPRISAL_NO_ROWS && surprisal_matrix_mut_rows(b, 2, 1).rows == SURPRISAL_NO_ROWS &&
           surprisal_matrix_bf16(half, 1, 1).dtype == SURPRISAL_DTYPE_BF16 && surprisal_matrix_f16(half, 1, 1).dtype == SURPRISAL_DTYPE_F16 &&
           surprisal_matrix_mut_f16(half, 1, 1).dtype == SURPRISAL_DTYPE_F16 && surprisal_matrix_mut_f32(f32, 1, 1).dtype == SURPRISAL_DTYPE_F32;
}

int main(void)
{
    return objects() && views() && matrices() && surprisal_version() == SURPRISAL_VERSION ? 0 : 1;
}
