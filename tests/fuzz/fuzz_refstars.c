/* Reference stars from any bytes, as CSV and as VOTable. What was read obeys the contract. */
#include "common/refstars.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct refstars r;
    if (refstars_parse((const char *)data, size, "fuzz", &r, NULL)) return 0;
    for (int64_t i = 0; i < r.n; i++) {
        double ra, dec, e;
        refstar_at(&r.star[i], 2016.5, &ra, &dec, &e);
        if (!(r.star[i].ra >= 0 && r.star[i].ra < 360 && fabs(r.star[i].dec) <= 90 && r.star[i].ra_err > 0)) abort();
        if (!(ra >= 0 && ra < 360 && fabs(dec) <= 90) && isfinite(ra)) abort();
    }
    int64_t a, b;
    refstars_zone(&r, 10, 1, &a, &b);
    if (a < 0 || b < a || b > r.n) abort();
    free(refstars_values(&r, "bp_rp"));
    refstars_release(&r);
    return 0;
}
