/* Uses libm beside surprisal: its functions must come from there, whatever the order of the libraries. */
#include <math.h>
#include <stdio.h>
#include <surprisal.h>

int main(void)
{
    volatile double seven = 7.5, two = 2.0;
    volatile float seven_f = 7.5f, two_f = 2.0f;
    printf("%g %g %g ", fmod(seven, two), fma(seven, two, two), cbrt(seven + 0.5));
    printf("%g %g ", (double)fmodf(seven_f, two_f), (double)fmaf(seven_f, two_f, two_f));
    printf("%g %g %g\n", sqrt(two + two), fmax(seven, two), round(seven));
    return surprisal_version() != SURPRISAL_VERSION;
}
