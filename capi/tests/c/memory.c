/* Pointers and structs: NULL, misaligned, wrapping, overlapping, of every size; nothing is written then. */
#include "matrix.h"
#include "world.h"

#define DATA(matrix) get_pointer(offsetof(struct world, matrix.data))

static void array_pointers(void)
{
    for (size_t i = 0; i < LENGTH(arrays); i++) {
        const struct array *a = &arrays[i];
        int used = a->needed | a->read | a->written;
        uintptr_t last = UINTPTR_MAX - a->size + 1;
        REFUSE(a->needed, SURPRISAL_ERROR_MISSING, a->argument, -1, NAN, set_pointer(a->pointer, NULL));
        ACCEPT(used & ~a->needed, set_pointer(a->pointer, NULL));
        if (a->size > 1) {
            REFUSE(used, SURPRISAL_ERROR_MISALIGNED, a->argument, -1, NAN,
                   set_pointer(a->pointer, get_pointer(a->pointer) + 1));
        }
        /* The last element of the address space is the first of the array. */
        REFUSE(used, SURPRISAL_ERROR_EXTENT, a->argument, -1, NAN, set_pointer(a->pointer, (void *)last));
    }
    REFUSE(WITH_BATCH, SURPRISAL_ERROR_MISALIGNED, "targets", -1, NAN, w.batch.targets_i32 = NULL;
           set_pointer(offsetof(struct world, batch.targets_i64), (char *)w.memory[SPARE] + 4));
    REFUSE(WITH_BATCH, SURPRISAL_ERROR_MISALIGNED, "cu_seqlens", -1, NAN, w.batch.cu_seqlens_i32 = NULL;
           set_pointer(offsetof(struct world, batch.cu_seqlens_i64), (char *)w.memory[SPARE] + 4));
    ACCEPT(GROUPED, w.workspace.data = NULL; w.workspace.size = 0);
    for (int i = 1; i < DTYPES; i++) {
        surprisal_dtype dtype = dtypes[i];
        ACCEPT(WITH_LOGITS, w.logits.dtype = dtype; set_pointer(offsetof(struct world, logits.data), DATA(logits) + 2));
        REFUSE(WITH_LOGITS, SURPRISAL_ERROR_MISALIGNED, "logits", -1, NAN, w.logits.dtype = dtype;
               set_pointer(offsetof(struct world, logits.data), DATA(logits) + 1));
    }
}

/* Points one array into another, or into the report: refused, naming one of the two that is written. */
static void overlap(int which, const struct array *a, const struct array *b, size_t offset)
{
    surprisal_error_detail detail;
    fresh();
    set_pointer(a->pointer, get_pointer(b->pointer) + offset);
    about_call(which);
    memcpy(&before, &w, sizeof w);
    int status = call(which, &detail);
    CHECK(status == SURPRISAL_ERROR_OVERLAP && detail.status == status, "%s over %s: status %d", a->argument,
          b->argument, status);
    CHECK(((a->written & which) && strcmp(detail.argument, a->argument) == 0) ||
              ((b->written & which) && strcmp(detail.argument, b->argument) == 0),
          "%s over %s: argument \"%s\"", a->argument, b->argument, detail.argument);
    CHECK_BYTES(&w, &before, sizeof w);
}

static int is_in_place(const struct array *a, const struct array *b)
{
    static const size_t pairs[][2] = {{offsetof(struct world, logits.data), offsetof(struct world, dlogits.data)},
                                      {offsetof(struct world, logits.data), offsetof(struct world, softmax.data)},
                                      {offsetof(struct world, simple_logits), offsetof(struct world, simple_dlogits)}};
    int is = 0;
    for (size_t i = 0; i < LENGTH(pairs); i++) {
        is |= (a->pointer == pairs[i][0] && b->pointer == pairs[i][1]) || (a->pointer == pairs[i][1] && b->pointer == pairs[i][0]);
    }
    return is;
}

/* Every array of a call over every other, where one of them is written: at its start and at its end. */
static void overlaps(int which)
{
    static const struct array report = {"report", offsetof(struct world, report_), 1, sizeof(surprisal_report), 0, 0,
                                        COMPOSED | TERMS | ORACLE};
    for (const struct array *a = arrays; a < arrays + LENGTH(arrays); a++) {
        if (!((a->read | a->written) & which)) {
            continue;
        }
        for (const struct array *b = arrays; b < arrays + LENGTH(arrays); b++) {
            size_t last = (b->size * b->count - 1) / 8 * 8;
            if (a == b || !((a->written | b->written) & which) || !((b->read | b->written) & which)) {
                continue;
            }
            if (!is_in_place(a, b)) {
                overlap(which, a, b, 0);
            }
            if (last > 0) {
                overlap(which, a, b, last);
            }
        }
        if (report.written & which) {
            overlap(which, a, &report, 0);
        }
    }
}

static void results(void)
{
    /* In place: the same address, stride and type. */
    ACCEPT(WITH_RESULT | SOFTMAX, w.dlogits.data = w.softmax.data = DATA(logits));
    REFUSE(WITH_RESULT, SURPRISAL_ERROR_OVERLAP, "dlogits", -1, NAN, w.logits.data = w.dlogits.data;
           w.dlogits.row_stride = VOCAB + 1);
    REFUSE(SOFTMAX, SURPRISAL_ERROR_OVERLAP, "out", -1, NAN, w.logits.data = w.softmax.data;
           w.softmax.row_stride = VOCAB + 1);
    REFUSE(WITH_RESULT, SURPRISAL_ERROR_OVERLAP, "dlogits", -1, NAN, w.logits.data = w.dlogits.data;
           w.logits.dtype = SURPRISAL_DTYPE_BF16);
    REFUSE(SOFTMAX, SURPRISAL_ERROR_OVERLAP, "out", -1, NAN, w.logits.data = w.softmax.data;
           w.logits.dtype = SURPRISAL_DTYPE_F16);
    REFUSE(WITH_RESULT, SURPRISAL_ERROR_OVERLAP, "dlogits", -1, NAN,
           w.dlogits.data = DATA(logits) - sizeof(float));
    /* Rows that interleave without an element in common still overlap. */
    REFUSE(WITH_RESULT, SURPRISAL_ERROR_OVERLAP, "dlogits", -1, NAN,
           w.logits.row_stride = w.dlogits.row_stride = 2 * VOCAB;
           w.dlogits.data = DATA(logits) + VOCAB * sizeof(float));
}

/* What is written overlaps nothing else of the call: no struct either. */
static void overlapping_structs(void)
{
    REFUSE(REPORTS, SURPRISAL_ERROR_OVERLAP, "report", -1, NAN, w.other_ = &w.report);
    REFUSE(COMPOSED, SURPRISAL_ERROR_OVERLAP, "nll", -1, NAN, w.outputs.nll = &w.loss.z_loss);
    REFUSE(WITH_RESULT, SURPRISAL_ERROR_OVERLAP, "dlogits", -1, NAN, w.dlogits.data = &w.batch);
    union {
        surprisal_error_detail detail;
        float values[ROWS * VOCAB];
    } both;
    FOR_CALLS(WITH_RESULT, CHECK_EQUAL(call(which, &both.detail), SURPRISAL_ERROR_OVERLAP),
              w.dlogits.data = both.values);
}

/* Runs a call whose struct says another size. */
#define SIZED(s, size) (*(size_t *)(void *)at_offset((s)->structure) = (size))

static int all_bytes_are(const unsigned char *bytes, unsigned char value, size_t count)
{
    size_t i = 0;
    while (i < count && bytes[i] == value) {
        i++;
    }
    return i == count;
}

/* A later version may be this much longer. */
enum { GROWTH = 256 };

static void struct_sizes(void)
{
    enum { STRUCT_SIZE = SURPRISAL_ERROR_STRUCT_SIZE };
    for (size_t i = 0; i < LENGTH(structs); i++) {
        const struct structure *s = &structs[i];
        const size_t sizes[] = {0, 1, sizeof(size_t), s->size - 8, s->size - 1, s->size + 1, s->size + 4, s->size + 7,
                                s->size + GROWTH + 1, s->size + GROWTH + 8, 16 * s->size, SIZE_MAX, SIZE_MAX / 2};
        REFUSE(s->needed, SURPRISAL_ERROR_MISSING, s->argument, -1, NAN, set_pointer(s->pointer, NULL));
        ACCEPT(s->calls & ~s->needed, set_pointer(s->pointer, NULL));
        REFUSE(s->calls, SURPRISAL_ERROR_MISALIGNED, s->argument, -1, NAN,
               set_pointer(s->pointer, at_offset(s->structure) + 1));
        if (!s->is_versioned) {
            continue;
        }
        for (size_t k = 0; k < LENGTH(sizes); k++) {
            REFUSE(s->calls, STRUCT_SIZE, s->argument, -1, (double)sizes[k], SIZED(s, sizes[k]));
        }
        for (size_t longer = s->size + 8; longer <= s->size + 64; longer += 24) {
            ACCEPT(s->calls, SIZED(s, longer));
            CHECK_EQUAL(*(size_t *)(void *)at_offset(s->structure), longer);
            REFUSE(s->calls, STRUCT_SIZE, s->argument, -1, NAN, SIZED(s, longer);
                   at_offset(s->structure)[longer - 1] = 1);
        }
    }
}

/* The detail itself: its address is checked before anything is done; what it held does not matter. */
static void details(void)
{
    static const surprisal_error_detail nothing = {SURPRISAL_OK, 0, -1, 0, {0}, {0}};
    struct {
        surprisal_error_detail detail;
        unsigned char tail[64];
    } room, old;
    memset(&room, 0x5c, sizeof room);
    memset(&old, 0x5c, sizeof old);
    FOR_CALLS(ALL, memcpy(&before, &w, sizeof w);
              CHECK_EQUAL(call(which, (void *)((unsigned char *)&room + 1)), SURPRISAL_ERROR_MISALIGNED);
              CHECK_BYTES(&w, &before, sizeof w); CHECK_BYTES(&room, &old, sizeof room), (void)0);
    FOR_CALLS(ALL, CHECK_OK(call(which, &room.detail)); CHECK_BYTES(&room.detail, &nothing, sizeof nothing);
              CHECK_BYTES(room.tail, old.tail, sizeof room.tail), memset(&room.detail, 0x5c, sizeof room.detail));
}

#define INITS(X)                                                                                                      \
    X(loss, SURPRISAL_LOSS_INIT)                                                                                      \
    X(batch, SURPRISAL_BATCH_INIT)                                                                                    \
    X(logits, SURPRISAL_LOGITS_INIT)                                                                                  \
    X(logits_mut, SURPRISAL_LOGITS_MUT_INIT)                                                                          \
    X(outputs, SURPRISAL_OUTPUTS_INIT)                                                                                \
    X(workspace, SURPRISAL_WORKSPACE_INIT)

/* The _init functions: what the macros say, zeros past its end, and nothing past the size. They take the sizes that the calls take. */
static void init_functions(void)
{
#define X(name, init)                                                                                                 \
    {                                                                                                                 \
        struct {                                                                                                      \
            surprisal_##name known;                                                                                   \
            unsigned char tail[64];                                                                                   \
        } room, expected;                                                                                             \
        surprisal_##name by_macro = init;                                                                             \
        const size_t size = sizeof by_macro;                                                                          \
        const size_t wrong[] = {0, 1, 8, size - 8, size - 1, size + 1, size + 7, size + GROWTH + 8, 16 * size, SIZE_MAX}; \
        snprintf(subject, sizeof subject, "surprisal_%s_init", #name);                                                \
        memset(&room, 0x5c, sizeof room);                                                                             \
        memset(&expected, 0x5c, sizeof expected);                                                                     \
        CHECK_EQUAL(surprisal_##name##_init(NULL, size), SURPRISAL_ERROR_MISSING);                                    \
        CHECK_EQUAL(surprisal_##name##_init((void *)(room.tail + 1), size), SURPRISAL_ERROR_MISALIGNED);              \
        for (size_t i = 0; i < LENGTH(wrong); i++) {                                                                  \
            CHECK_EQUAL(surprisal_##name##_init(&room.known, wrong[i]), SURPRISAL_ERROR_STRUCT_SIZE);                 \
        }                                                                                                             \
        CHECK_BYTES(&room, &expected, sizeof room);                                                                   \
        CHECK_OK(surprisal_##name##_init(&room.known, size));                                                         \
        memcpy(&expected.known, &by_macro, size);                                                                     \
        CHECK_BYTES(&room, &expected, sizeof room);                                                                   \
        CHECK_OK(surprisal_##name##_init(&room.known, size + 8));                                                     \
        expected.known.struct_size += 8;                                                                              \
        memset(expected.tail, 0, 8);                                                                                  \
        CHECK_BYTES(&room, &expected, sizeof room);                                                                   \
    }
    INITS(X)
#undef X
    surprisal_report report, no_rows = SURPRISAL_REPORT_INIT;
    surprisal_stats stats[2], empty = SURPRISAL_STATS_EMPTY;
    memset(&report, 0x5c, sizeof report);
    memset(stats, 0x5c, sizeof stats);
    CHECK_OK(surprisal_report_init(&report, NULL));
    CHECK_BYTES(&report, &no_rows, sizeof report);
    CHECK_OK(surprisal_stats_init(stats, 1, NULL));
    CHECK_BYTES(stats, &empty, sizeof empty);
    CHECK(all_bytes_are((unsigned char *)&stats[1], 0x5c, sizeof stats[1]), "more statistics than asked for");
}

/* An array of an entry for each row of the batch wraps, though the entries of the call's rows would not. */
static void wrapping_rows(void)
{
    static const size_t outputs[] = {offsetof(struct world, outputs.stats), offsetof(struct world, outputs.terms),
                                     offsetof(struct world, outputs.nll), offsetof(struct world, outputs.argmax)};
    static const char *const names[] = {"stats", "terms", "nll", "argmax"};
    void *last = (void *)(UINTPTR_MAX & ~(uintptr_t)7);
#define LAST_ROW                                                                                                      \
    w.logits.row_start = w.dlogits.row_start = w.row_start = ROWS - 1, w.logits.rows = w.dlogits.rows = w.rows = 1
    REFUSE(LSE | ENTROPY, SURPRISAL_ERROR_EXTENT, "out", -1, NAN, w.logits.rows = 1; w.logits.row_start = SIZE_MAX - 2;
           w.logits.rows_total = SIZE_MAX);
    /* Its entries do not wrap, but there cannot be as many. */
    REFUSE(LSE | ENTROPY, SURPRISAL_ERROR_EXTENT, "out", -1, NAN, w.logits.rows_total = SIZE_MAX / 8 + 2;
           w.logits.row_start = w.logits.rows_total - 6);
    fflush(stdout);
    REFUSE(PER_ROW, SURPRISAL_ERROR_EXTENT, "out", -1, NAN, LAST_ROW; w.out = last);
    REFUSE(COMPOSED | STATS | TERMS | GRAD | LOG_PROBS, SURPRISAL_ERROR_EXTENT, "targets", -1, NAN, LAST_ROW;
           w.batch.targets_i32 = last);
    REFUSE(COMPOSED | STATS | TERMS | GRAD | LOG_PROBS, SURPRISAL_ERROR_EXTENT, "groups", -1, NAN, LAST_ROW;
           w.batch.groups = last);
    REFUSE(STATS | TERMS | GRAD, SURPRISAL_ERROR_EXTENT, "stats", -1, NAN, LAST_ROW; w.stats = last);
    REFUSE(TERMS | GRAD, SURPRISAL_ERROR_EXTENT, "terms", -1, NAN, LAST_ROW; w.terms = last);
    for (int i = 0; i < (int)LENGTH(names); i++) {
        REFUSE(COMPOSED, SURPRISAL_ERROR_EXTENT, names[i], -1, NAN, LAST_ROW; set_pointer(outputs[i], last));
    }
}

int main(void)
{
    array_pointers();
    for (int which = 1; which < ALL; which <<= 1) {
        overlaps(which);
    }
    results();
    overlapping_structs();
    struct_sizes();
    details();
    init_functions();
    fflush(stdout);
    wrapping_rows();
    return finish("memory");
}
