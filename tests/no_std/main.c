/* A program without a C library: its entry point, the five memory functions that a compiler may call, and one system call. */

#include <stddef.h>

double surprisal_no_std_loss(void);

void *memcpy(void *restrict to, const void *restrict from, size_t count) {
    for (size_t i = 0; i < count; i++) ((unsigned char *)to)[i] = ((const unsigned char *)from)[i];
    return to;
}

void *memmove(void *to, const void *from, size_t count) {
    if ((size_t)to <= (size_t)from) return memcpy(to, from, count);
    for (size_t i = count; i-- > 0;) ((unsigned char *)to)[i] = ((const unsigned char *)from)[i];
    return to;
}

void *memset(void *to, int value, size_t count) {
    for (size_t i = 0; i < count; i++) ((unsigned char *)to)[i] = (unsigned char)value;
    return to;
}

int memcmp(const void *a, const void *b, size_t count) {
    for (size_t i = 0; i < count; i++) {
        int difference = ((const unsigned char *)a)[i] - ((const unsigned char *)b)[i];
        if (difference != 0) return difference;
    }
    return 0;
}

int bcmp(const void *a, const void *b, size_t count) { return memcmp(a, b, count); }

static _Noreturn void leave(long status) {
#if defined(__x86_64__)
    __asm__ volatile("syscall" : : "a"(60L), "D"(status) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    register long number __asm__("x8") = 93;
    register long argument __asm__("x0") = status;
    __asm__ volatile("svc 0" : : "r"(number), "r"(argument) : "memory");
#else
#error "no system call for this machine"
#endif
    __builtin_unreachable();
}

/* Where a panic ends. */
_Noreturn void fail(void) { leave(101); }

#if defined(__x86_64__)
/* The kernel enters with another alignment than the calling convention's; SSE spills need that. */
__attribute__((force_align_arg_pointer))
#endif
_Noreturn void
_start(void) {
    double error = surprisal_no_std_loss() - 2.0794415416798357; /* ln 8 */
    /* Written so that NaN fails. */
    leave(error >= -1e-6 && error <= 1e-6 ? 0 : 1);
}
