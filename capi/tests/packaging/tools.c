/* The tools with and without the loss library. */
#include <surprisal_tools.h>

int main(void)
{
    float parameters[2] = {1.0f, 3.0f}, initial[2] = {2.0f, 1.0f}, out[2];
    if (surprisal_wise_ft(parameters, initial, 2, 0.5, out, NULL) != SURPRISAL_OK)
        return 1;
    return out[0] != 1.5f || out[1] != 2.0f;
}
