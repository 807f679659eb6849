#include "common/tiles.h"

double ordered_sum(const double *partial, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += partial[i];
    return sum;
}
