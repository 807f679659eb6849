#include "processors/psffit_kernels.h"

#define PASTE2(a, b) a##b
#define PASTE(a, b)  PASTE2(a, b)
#define LANES        8

typedef float v8f __attribute__((vector_size(32)));
typedef float v8u __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t v8i __attribute__((vector_size(32)));
typedef int32_t v8iu __attribute__((vector_size(32), aligned(4), may_alias));

#define LOAD(p)      (*(const v8u *)(p))
#define STORE(p, v)  (*(v8u *)(p) = (v))
#define SPLAT(x)     ((v8f){(x), (x), (x), (x), (x), (x), (x), (x)})
#define KEEP(v, m)   ((v8f)((v8i)(v) & (m)))
#define ADD_LANES(v) ((double)((((v)[0] + (v)[1]) + ((v)[2] + (v)[3])) + (((v)[4] + (v)[5]) + ((v)[6] + (v)[7]))))

static const int32_t tails[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

/* Lanes of the vector at column x of nx that are wanted. */
#define TAIL(x, nx) (*(const v8iu *)(tails + ((nx) - (x) >= LANES ? 0 : LANES - ((nx) - (x)))))

static void light(float flux, const float *p, int p_stride, float *model, int model_stride, int nx, int ny)
{
    const v8f f = SPLAT(flux);
    for (int y = 0; y < ny; y++, p += p_stride, model += model_stride)
        for (int x = 0; x < nx; x += LANES) STORE(model + x, LOAD(model + x) + f * KEEP(LOAD(p + x), TAIL(x, nx)));
}

static double residual(int64_t n, const float *data, const float *sigma2, const float *model, float inv_gain, float *r, float *w)
{
    const v8f photon = SPLAT(inv_gain), zero = SPLAT(0.0f), one = SPLAT(1.0f);
    v8f sum = zero;
    for (int64_t i = 0; i < n; i += LANES) {
        v8f m = LOAD(model + i), s = LOAD(sigma2 + i);
        v8i good = s > zero;
        v8f var = s + KEEP(m, m > zero) * photon;
        v8f weight = KEEP(one / (KEEP(var, good) + KEEP(one, ~good)), good), rest = KEEP(LOAD(data + i) - m, good);
        STORE(r + i, rest);
        STORE(w + i, weight);
        sum += weight * rest * rest;
    }
    return ADD_LANES(sum);
}

static void weigh(const float *w, int w_stride, const struct fit_stamp *p, int nx, int ny, float *out)
{
    for (int y = 0; y < ny; y++)
        for (int x = 0; x < nx; x += LANES) {
            int64_t at = (int64_t)y * p->stride + x;
            v8f weight = KEEP(LOAD(w + (int64_t)y * w_stride + x), TAIL(x, nx));
            for (int k = 0; k < 3; k++) STORE(out + k * p->plane + at, weight * LOAD(p->v + k * p->plane + at));
        }
}

static void cross(const struct fit_stamp *a, const struct fit_stamp *b, int nx, int ny, double ret[9])
{
    v8f s[9] = {{0}};
    for (int y = 0; y < ny; y++) {
        const float *pa = a->v + (int64_t)y * a->stride, *pb = b->v + (int64_t)y * b->stride;
        for (int x = 0; x < nx; x += LANES) {
            v8i m = TAIL(x, nx);
            v8f a0 = KEEP(LOAD(pa + x), m), a1 = KEEP(LOAD(pa + a->plane + x), m), a2 = KEEP(LOAD(pa + 2 * a->plane + x), m);
            v8f b0 = KEEP(LOAD(pb + x), m), b1 = KEEP(LOAD(pb + b->plane + x), m), b2 = KEEP(LOAD(pb + 2 * b->plane + x), m);
            s[0] += a0 * b0, s[1] += a0 * b1, s[2] += a0 * b2;
            s[3] += a1 * b0, s[4] += a1 * b1, s[5] += a1 * b2;
            s[6] += a2 * b0, s[7] += a2 * b1, s[8] += a2 * b2;
        }
    }
    for (int k = 0; k < 9; k++) ret[k] = ADD_LANES(s[k]);
}

static void project(const struct fit_stamp *a, const float *r, int r_stride, int nx, int ny, double ret[3])
{
    v8f s[3] = {{0}};
    for (int y = 0; y < ny; y++) {
        const float *pa = a->v + (int64_t)y * a->stride, *pr = r + (int64_t)y * r_stride;
        for (int x = 0; x < nx; x += LANES) {
            v8f rest = KEEP(LOAD(pr + x), TAIL(x, nx));
            for (int k = 0; k < 3; k++) s[k] += LOAD(pa + k * a->plane + x) * rest;
        }
    }
    for (int k = 0; k < 3; k++) ret[k] = ADD_LANES(s[k]);
}

const struct psffit_kernels PASTE(psffit_kernels, ISA_SUFFIX) = {light, residual, weigh, cross, project};
