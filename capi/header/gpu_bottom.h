
/* Initial values. */

#define SURPRISAL_GPU_MATRIX_INIT {sizeof(surprisal_gpu_matrix), NULL, 0, 0, 0, 0, SURPRISAL_DTYPE_F32, 0}

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

#endif /* SURPRISAL_GPU_H */
