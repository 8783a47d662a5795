
/* Initial values. */

#define SURPRISAL_GPU_MATRIX_INIT {sizeof(surprisal_gpu_matrix), NULL, 0, 0, 0, 0, SURPRISAL_DTYPE_F32, 0}
#define SURPRISAL_GPU_COLUMN_NONE {NULL, 0, 0, 0}
#define SURPRISAL_GPU_BATCH_INIT                                                                                        \
    {sizeof(surprisal_gpu_batch), 0, SURPRISAL_GPU_COLUMN_NONE, SURPRISAL_IGNORE_INDEX, SURPRISAL_GPU_COLUMN_NONE,      \
     SURPRISAL_GPU_COLUMN_NONE, SURPRISAL_GPU_COLUMN_NONE, SURPRISAL_GPU_COLUMN_NONE, SURPRISAL_GPU_COLUMN_NONE, 0,     \
     SURPRISAL_GPU_COLUMN_NONE, 0, SURPRISAL_GPU_COLUMN_NONE, SURPRISAL_GPU_COLUMN_NONE}

/** A matrix `[rows x vocab]` without padding, from the start of a buffer. */
static inline surprisal_gpu_matrix
surprisal_gpu_matrix_of(surprisal_gpu_buffer *buffer, surprisal_dtype dtype, size_t rows, size_t vocab)
{
    surprisal_gpu_matrix matrix = SURPRISAL_GPU_MATRIX_INIT;
    matrix.buffer = buffer;
    matrix.dtype = dtype;
    matrix.rows = rows;
    matrix.vocab = vocab;
    matrix.row_stride = vocab;
    return matrix;
}

/** Entries of 32 or 64 bits, one after the other from a byte of a buffer on. */
static inline surprisal_gpu_column
surprisal_gpu_column_of(surprisal_gpu_buffer *buffer, size_t offset, int32_t bits)
{
    surprisal_gpu_column column = SURPRISAL_GPU_COLUMN_NONE;
    column.buffer = buffer;
    column.offset = offset;
    column.bits = bits;
    return column;
}

#endif /* SURPRISAL_GPU_H */
