#include <stdio.h>
#include <surprisal.h>

int main(void)
{
    float logits[6] = {2.0f, 0.5f, 0.0f, 0.1f, 0.2f, 3.0f}, dlogits[6];
    int32_t targets[2] = {0, 1};
    double loss;
    surprisal_error_detail detail;
    if (surprisal_simple_f32(SURPRISAL_OBJECTIVE_DFT, logits, targets, 2, 3, dlogits, &loss, &detail) != SURPRISAL_OK)
        return fprintf(stderr, "%s\n", detail.message), 1;
    printf("%.6f\n", loss);
    for (int i = 0; i < 6; i++) printf("%.6f\n", (double)dlogits[i]);
    return 0;
}
