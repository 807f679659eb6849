/* Body of selection and clipping for one type: included by stats.c with T and SUFFIX(name) defined. No include guard.
 *
 * DESIGN. Quickselect with a pivot from a sorted sample (Floyd & Rivest 1975: the sample's rank is shifted so that the
 * wanted element falls on the small side), and a partition without branches: on noise every comparison of a classical
 * partition is a coin toss that the processor gets wrong half the time. Repeated values (integers read from a CCD, a
 * constant image) are met by a second partition that steps over all elements equal to the pivot.                     */

static int64_t SUFFIX(drop_nan)(T *v, int64_t n)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        T x = v[i];
        v[kept] = x;
        kept += x == x;
    }
    return kept;
}

static void SUFFIX(insertion_sort)(T *v, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        T x = v[i];
        int64_t j = i;
        for (; j > 0 && v[j - 1] > x; j--) v[j] = v[j - 1];
        v[j] = x;
    }
}

/* Elements below p (or not above it, if with_equal) to the front. Returned: how many there are. */
static int64_t SUFFIX(partition)(T *v, int64_t n, T p, int with_equal)
{
    int64_t m = 0;
    if (with_equal) {
        for (int64_t i = 0; i < n; i++) {
            T x = v[i];
            v[i] = v[m];
            v[m] = x;
            m += x <= p;
        }
    } else {
        for (int64_t i = 0; i < n; i++) {
            T x = v[i];
            v[i] = v[m];
            v[m] = x;
            m += x < p;
        }
    }
    return m;
}

/* A value of v near rank k, on the far side of it from the nearer end. */
static T SUFFIX(choose_pivot)(const T *v, int64_t n, int64_t k, uint32_t *dice)
{
    T sample[SAMPLE];
    int size = n < 400 ? 5 : n < 4000 ? 17 : SAMPLE;
    int64_t step = n / size;
    for (int i = 0; i < size; i++) {
        *dice = *dice * 1664525u + 1013904223u; /* Numerical Recipes' LCG: breaks up patterns in the input */
        sample[i] = v[i * step + (int64_t)((uint64_t)*dice * (uint64_t)step >> 32)];
    }
    SUFFIX(insertion_sort)(sample, size);
    int rank = (int)((double)k / (double)n * size);
    int shift = size < 17 ? 0 : size == 17 ? 2 : 6;
    rank += k < n / 2 ? shift : -shift;
    if (rank < 0) rank = 0;
    if (rank >= size) rank = size - 1;
    return sample[rank];
}

/* After the call v[0..k-1] <= v[k] <= v[k+1..n-1]. No NaN among the values. */
static T SUFFIX(select_core)(T *v, int64_t n, int64_t k)
{
    uint32_t dice = 2463534242u;
    int64_t offset = 0;
    while (n > 24) {
        T p = SUFFIX(choose_pivot)(v + offset, n, k - offset, &dice);
        int64_t m = SUFFIX(partition)(v + offset, n, p, 0);
        if (m == 0) { /* p is the smallest: step over everything equal to it */
            m = SUFFIX(partition)(v + offset, n, p, 1);
            if (k < offset + m) return p;
            offset += m;
            n -= m;
        } else if (k < offset + m) {
            n = m;
        } else {
            offset += m;
            n -= m;
        }
    }
    SUFFIX(insertion_sort)(v + offset, n);
    return v[k];
}

T SUFFIX(select)(T *work, int64_t n, int64_t k)
{
    if (n <= 0) return (T)NAN;
    if (k < 0) k = 0;
    if (k >= n) k = n - 1;
    return SUFFIX(select_core)(work, n, k);
}

static T SUFFIX(median_clean)(T *work, int64_t n)
{
    if (n <= 0) return (T)NAN;
    T high = SUFFIX(select_core)(work, n, n / 2);
    if (n & 1) return high;
    T low = work[0];
    for (int64_t i = 1; i < n / 2; i++) low = work[i] > low ? work[i] : low;
    return low == high ? high : (T)(0.5 * ((double)low + (double)high)); /* equal infinities stay infinite */
}

T SUFFIX(median)(T *work, int64_t n)
{
    return SUFFIX(median_clean)(work, SUFFIX(drop_nan)(work, n));
}

T SUFFIX(mad_sigma)(T *work, int64_t n, T centre)
{
    for (int64_t i = 0; i < n; i++) work[i] = (T)fabs((double)work[i] - (double)centre);
    return (T)(SIGMA_PER_MAD * (double)SUFFIX(median)(work, n));
}

static void SUFFIX(mean_sigma)(const T *v, int64_t n, double *mean, double *sigma)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += v[i];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) squares += (v[i] - *mean) * (v[i] - *mean);
    *sigma = n > 1 ? sqrt(squares / (double)(n - 1)) : 0;
}

struct clipped SUFFIX(clipped_stats)(const T *values, int64_t n, T *work, double low, double high, int max_iterations)
{
    struct clipped c = {.mean = NAN, .sigma = NAN, .median = NAN};
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        T x = values[i];
        work[kept] = x;
        kept += isfinite(x) != 0;
    }
    while (kept > 0) {
        c.n = kept;
        c.median = SUFFIX(median_clean)(work, kept);
        SUFFIX(mean_sigma)(work, kept, &c.mean, &c.sigma);
        if (c.iterations >= max_iterations) break;
        double from = c.median - low * c.sigma, to = c.median + high * c.sigma;
        int64_t inside = 0;
        for (int64_t i = 0; i < kept; i++) {
            T x = work[i];
            work[inside] = x;
            inside += x >= from && x <= to;
        }
        c.iterations++;
        if (inside == kept || inside == 0) break; /* none inside: the sides were asked for narrower than the data */
        kept = inside;
    }
    return c;
}
