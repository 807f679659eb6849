#include "processors/linearity.h"

#include <math.h>

enum err linearity_from_terms(const double *values, int n, struct linearity *ret, struct error *err)
{
    struct linearity l = {.nterm = n};
    if (n < 1 || n > LINEARITY_TERMS) return ERROR(err, ERR_USAGE, "a linearity polynomial has 1 to %d terms, not %d", LINEARITY_TERMS, n);
    for (int i = 0; i < n; i++) {
        if (!isfinite(values[i])) return ERROR(err, ERR_USAGE, "a term of the linearity polynomial is not a number");
        l.term[i] = (float)values[i];
    }
    *ret = l;
    return ERR_OK;
}

enum err linearity_from_table(const double *values, int n, struct linearity *ret, struct error *err)
{
    struct linearity l = {.npoint = n / 2};
    if (n < 2 || n % 2 || n / 2 > LINEARITY_POINTS)
        return ERROR(err, ERR_USAGE, "a linearity table has 1 to %d pairs, not %d numbers", LINEARITY_POINTS, n);
    for (int i = 0; i < l.npoint; i++) {
        l.seen[i] = (float)values[2 * i];
        l.truth[i] = (float)values[2 * i + 1];
        float seen = i ? l.seen[i - 1] : 0, truth = i ? l.truth[i - 1] : 0;
        if (!(l.seen[i] > seen && l.truth[i] > truth && isfinite(l.seen[i]) && isfinite(l.truth[i])))
            return ERROR(err, ERR_USAGE, "the linearity table does not rise at its pair %d (%g, %g)", i + 1, values[2 * i], values[2 * i + 1]);
    }
    *ret = l;
    return ERR_OK;
}

static void apply_terms(const struct linearity *l, float *restrict v, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float x = v[i], factor = 0.0f;
        for (int k = l->nterm - 1; k >= 0; k--) factor = (factor + l->term[k]) * x;
        v[i] = x > 0.0f && x < INFINITY ? x * (1.0f + factor) : x;
    }
}

static float look_up(const struct linearity *l, float x)
{
    int low = 0, high = l->npoint; /* first point at or above x */
    while (low < high) {
        int middle = (low + high) / 2;
        if (l->seen[middle] < x) low = middle + 1;
        else high = middle;
    }
    if (low == l->npoint) return x * (l->truth[low - 1] / l->seen[low - 1]);
    float seen = low ? l->seen[low - 1] : 0.0f, truth = low ? l->truth[low - 1] : 0.0f;
    return truth + (x - seen) * ((l->truth[low] - truth) / (l->seen[low] - seen));
}

void linearity_apply(const struct linearity *l, float *v, int64_t n)
{
    if (!l->npoint) {
        if (l->nterm) apply_terms(l, v, n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        if (v[i] > 0.0f && v[i] < INFINITY) v[i] = look_up(l, v[i]);
}
