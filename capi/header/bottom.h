
/* Initial values. */

#define SURPRISAL_LOGITS_INIT {sizeof(surprisal_logits), NULL, 0, 0, 0, 0, 0, 0, 0, SURPRISAL_DTYPE_F32, 0}
#define SURPRISAL_LOGITS_MUT_INIT                                                                                     \
    {sizeof(surprisal_logits_mut), NULL, 0, 0, 0, 0, 0, 0, 0, SURPRISAL_DTYPE_F32, SURPRISAL_PADDING_KEEP}
#define SURPRISAL_BATCH_INIT                                                                                          \
    {sizeof(surprisal_batch), 0,    NULL, NULL, SURPRISAL_IGNORE_INDEX, NULL, NULL, NULL, NULL,                      \
     NULL,                    0,    NULL, NULL, NULL,                   0,    NULL, NULL}
#define SURPRISAL_OUTPUTS_INIT {sizeof(surprisal_outputs), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL}
#define SURPRISAL_WORKSPACE_INIT {sizeof(surprisal_workspace), NULL, 0}
#define SURPRISAL_LOSS_INIT                                                                                           \
    {sizeof(surprisal_loss), NULL, 0.0,  SURPRISAL_OBJECTIVE_SFT,                                                     \
     SURPRISAL_REDUCTION_DEFAULT,  SURPRISAL_EXTRAS_SCALE_ONE,    0, 0.0f, 0.0f, 1.0f, 0.0f, 1.0f, 0, {{0.0, 0, 0}}}
#define SURPRISAL_GEMM_INIT {sizeof(surprisal_gemm), NULL, NULL, NULL}
#define SURPRISAL_MATRIX_INIT {sizeof(surprisal_matrix), NULL, 0, 0, 0, 0, 0, 0, SURPRISAL_DTYPE_F32, 0}
#define SURPRISAL_MATRIX_MUT_INIT {sizeof(surprisal_matrix_mut), NULL, 0, 0, 0, 0, 0, 0, SURPRISAL_DTYPE_F32, 0}
#define SURPRISAL_LINEAR_LAYER_INIT {sizeof(surprisal_linear_layer), NULL, NULL, NULL}
#define SURPRISAL_LINEAR_GRADIENTS_INIT {sizeof(surprisal_linear_gradients), NULL, NULL, NULL}
#define SURPRISAL_REPORT_INIT {0, 0, 0.0, 0.0, 0.0, 0.0, -1, 0.0, {0}}

/** Statistics of no logits at all: the identity of surprisal_stats_merge. */
#define SURPRISAL_STATS_EMPTY {-1.7976931348623157e308, 0.0, 0.0, 0.0, 0.0, 0.0}

/* Matrices from typed pointers. */

static inline surprisal_logits surprisal_logits_of(const void *data, surprisal_dtype dtype, size_t rows, size_t vocab)
{
    surprisal_logits logits = SURPRISAL_LOGITS_INIT;
    logits.data = data;
    logits.dtype = dtype;
    logits.rows = rows;
    logits.vocab = vocab;
    return logits;
}

static inline surprisal_logits_mut surprisal_logits_mut_of(void *data, surprisal_dtype dtype, size_t rows, size_t vocab)
{
    surprisal_logits_mut logits = SURPRISAL_LOGITS_MUT_INIT;
    logits.data = data;
    logits.dtype = dtype;
    logits.rows = rows;
    logits.vocab = vocab;
    return logits;
}

/** Logits `[rows x vocab]` without padding. */
static inline surprisal_logits surprisal_logits_f32(const float *data, size_t rows, size_t vocab)
{
    return surprisal_logits_of(data, SURPRISAL_DTYPE_F32, rows, vocab);
}

/** As surprisal_logits_f32, in bfloat16. */
static inline surprisal_logits surprisal_logits_bf16(const uint16_t *data, size_t rows, size_t vocab)
{
    return surprisal_logits_of(data, SURPRISAL_DTYPE_BF16, rows, vocab);
}

/** As surprisal_logits_f32, in IEEE binary16. */
static inline surprisal_logits surprisal_logits_f16(const uint16_t *data, size_t rows, size_t vocab)
{
    return surprisal_logits_of(data, SURPRISAL_DTYPE_F16, rows, vocab);
}

/** A matrix `[rows x vocab]` to write, without padding. */
static inline surprisal_logits_mut surprisal_logits_mut_f32(float *data, size_t rows, size_t vocab)
{
    return surprisal_logits_mut_of(data, SURPRISAL_DTYPE_F32, rows, vocab);
}

/** As surprisal_logits_mut_f32, in bfloat16. */
static inline surprisal_logits_mut surprisal_logits_mut_bf16(uint16_t *data, size_t rows, size_t vocab)
{
    return surprisal_logits_mut_of(data, SURPRISAL_DTYPE_BF16, rows, vocab);
}

/** As surprisal_logits_mut_f32, in IEEE binary16. */
static inline surprisal_logits_mut surprisal_logits_mut_f16(uint16_t *data, size_t rows, size_t vocab)
{
    return surprisal_logits_mut_of(data, SURPRISAL_DTYPE_F16, rows, vocab);
}

/** A matrix as logits to read; with both a call works in place. */
static inline surprisal_logits surprisal_logits_of_mut(surprisal_logits_mut matrix)
{
    surprisal_logits logits = SURPRISAL_LOGITS_INIT;
    logits.data = matrix.data;
    logits.rows = matrix.rows;
    logits.vocab = matrix.vocab;
    logits.row_stride = matrix.row_stride;
    logits.row_start = matrix.row_start;
    logits.rows_total = matrix.rows_total;
    logits.vocab_start = matrix.vocab_start;
    logits.vocab_total = matrix.vocab_total;
    logits.dtype = matrix.dtype;
    return logits;
}

/* Parts of matrices. */

/** Bytes from the start of a matrix to its row `row`. */
static inline size_t surprisal_row_offset(surprisal_dtype dtype, size_t row_stride, size_t vocab, size_t row)
{
    size_t element = dtype == SURPRISAL_DTYPE_F32 ? sizeof(float) : sizeof(uint16_t);
    return row * (row_stride == 0 ? vocab : row_stride) * element;
}

/** Rows `begin .. end` of a matrix, which know their place in the batch: what one thread works on. Calls refuse rows that the matrix lacks. */
static inline surprisal_logits surprisal_logits_rows(surprisal_logits logits, size_t begin, size_t end)
{
    if (logits.rows_total == 0) {
        logits.rows_total = logits.rows;
    }
    if (begin > end || end > logits.rows) {
        logits.rows = SURPRISAL_NO_ROWS;
        return logits;
    }
    logits.data = (const unsigned char *)logits.data +
                  surprisal_row_offset(logits.dtype, logits.row_stride, logits.vocab, begin);
    logits.row_start += begin;
    logits.rows = end - begin;
    return logits;
}

/** As surprisal_logits_rows. */
static inline surprisal_logits_mut surprisal_logits_mut_rows(surprisal_logits_mut logits, size_t begin, size_t end)
{
    if (logits.rows_total == 0) {
        logits.rows_total = logits.rows;
    }
    if (begin > end || end > logits.rows) {
        logits.rows = SURPRISAL_NO_ROWS;
        return logits;
    }
    logits.data = (unsigned char *)logits.data +
                  surprisal_row_offset(logits.dtype, logits.row_stride, logits.vocab, begin);
    logits.row_start += begin;
    logits.rows = end - begin;
    return logits;
}

/** The columns as the classes from `vocab_start` on of a vocabulary of `vocab_total` (tensor parallelism). */
static inline surprisal_logits surprisal_logits_shard(surprisal_logits logits, size_t vocab_start, size_t vocab_total)
{
    logits.vocab_start = vocab_start;
    logits.vocab_total = vocab_total;
    return logits;
}

/** As surprisal_logits_shard. */
static inline surprisal_logits_mut
surprisal_logits_mut_shard(surprisal_logits_mut logits, size_t vocab_start, size_t vocab_total)
{
    logits.vocab_start = vocab_start;
    logits.vocab_total = vocab_total;
    return logits;
}

/* Matrices of an output layer. */

static inline surprisal_matrix surprisal_matrix_of(const void *data, surprisal_dtype dtype, size_t rows, size_t cols)
{
    surprisal_matrix matrix = SURPRISAL_MATRIX_INIT;
    matrix.data = data;
    matrix.dtype = dtype;
    matrix.rows = rows;
    matrix.cols = cols;
    return matrix;
}

static inline surprisal_matrix_mut surprisal_matrix_mut_of(void *data, surprisal_dtype dtype, size_t rows, size_t cols)
{
    surprisal_matrix_mut matrix = SURPRISAL_MATRIX_MUT_INIT;
    matrix.data = data;
    matrix.dtype = dtype;
    matrix.rows = rows;
    matrix.cols = cols;
    return matrix;
}

/** A matrix `[rows x cols]`, row-major without padding. */
static inline surprisal_matrix surprisal_matrix_f32(const float *data, size_t rows, size_t cols)
{
    return surprisal_matrix_of(data, SURPRISAL_DTYPE_F32, rows, cols);
}

/** As surprisal_matrix_f32, in bfloat16. */
static inline surprisal_matrix surprisal_matrix_bf16(const uint16_t *data, size_t rows, size_t cols)
{
    return surprisal_matrix_of(data, SURPRISAL_DTYPE_BF16, rows, cols);
}

/** As surprisal_matrix_f32, in IEEE binary16. */
static inline surprisal_matrix surprisal_matrix_f16(const uint16_t *data, size_t rows, size_t cols)
{
    return surprisal_matrix_of(data, SURPRISAL_DTYPE_F16, rows, cols);
}

/** A matrix `[rows x cols]` to write, row-major without padding. */
static inline surprisal_matrix_mut surprisal_matrix_mut_f32(float *data, size_t rows, size_t cols)
{
    return surprisal_matrix_mut_of(data, SURPRISAL_DTYPE_F32, rows, cols);
}

/** As surprisal_matrix_mut_f32, in bfloat16. */
static inline surprisal_matrix_mut surprisal_matrix_mut_bf16(uint16_t *data, size_t rows, size_t cols)
{
    return surprisal_matrix_mut_of(data, SURPRISAL_DTYPE_BF16, rows, cols);
}

/** As surprisal_matrix_mut_f32, in IEEE binary16. */
static inline surprisal_matrix_mut surprisal_matrix_mut_f16(uint16_t *data, size_t rows, size_t cols)
{
    return surprisal_matrix_mut_of(data, SURPRISAL_DTYPE_F16, rows, cols);
}

/** Rows `begin .. end` of a matrix, which know their place: of hidden states those of one thread, of weights a shard of the vocabulary. Calls refuse
    rows that the matrix lacks. */
static inline surprisal_matrix surprisal_matrix_rows(surprisal_matrix matrix, size_t begin, size_t end)
{
    if (matrix.rows_total == 0) {
        matrix.rows_total = matrix.rows;
    }
    if (begin > end || end > matrix.rows) {
        matrix.rows = SURPRISAL_NO_ROWS;
        return matrix;
    }
    matrix.data = (const unsigned char *)matrix.data +
                  surprisal_row_offset(matrix.dtype, matrix.row_stride, matrix.cols, begin);
    matrix.row_start += begin;
    matrix.rows = end - begin;
    return matrix;
}

/** As surprisal_matrix_rows. */
static inline surprisal_matrix_mut surprisal_matrix_mut_rows(surprisal_matrix_mut matrix, size_t begin, size_t end)
{
    if (matrix.rows_total == 0) {
        matrix.rows_total = matrix.rows;
    }
    if (begin > end || end > matrix.rows) {
        matrix.rows = SURPRISAL_NO_ROWS;
        return matrix;
    }
    matrix.data = (unsigned char *)matrix.data +
                  surprisal_row_offset(matrix.dtype, matrix.row_stride, matrix.cols, begin);
    matrix.row_start += begin;
    matrix.rows = end - begin;
    return matrix;
}

#endif /* SURPRISAL_H */
