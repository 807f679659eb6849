/* Memory bandwidth of this machine: the best of a few copies of an array far larger than any cache, in GB/s (bytes read plus
 * bytes written; the extra read that a plain store causes is not counted). The bench divides the traffic of a stage by it.
 *     cc -O3 -march=native -fopenmp tests/bench/bandwidth.c -o bandwidth && ./bandwidth [threads]
 * Source: the Copy kernel of McCalpin's STREAM. */
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 7 };

int main(int argc, char **argv)
{
    const int64_t n = 48 * 1024 * 1024; /* floats: 192 MiB each */
    float *a = malloc((size_t)n * sizeof *a), *b = malloc((size_t)n * sizeof *b);
    if (argc > 1) omp_set_num_threads(atoi(argv[1]));
    if (!a || !b) return 1;
/* Each thread writes its own share of both arrays, so that pages are first touched where they are used. */
#pragma omp parallel for default(none) shared(a, b, n) schedule(static)
    for (int64_t i = 0; i < n; i++) a[i] = (float)i, b[i] = 0;
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double start = omp_get_wtime();
/* Each element is written by the thread that owns its index. */
#pragma omp parallel for default(none) shared(a, b, n) schedule(static)
        for (int64_t i = 0; i < n; i++) b[i] = a[i];
        double took = omp_get_wtime() - start;
        if (took < best) best = took;
        a[round] = b[n - 1 - round]; /* the copy is needed */
    }
    printf("%.2f\n", 2.0 * (double)n * sizeof *a / best / 1e9);
    free(a);
    free(b);
    return 0;
}
