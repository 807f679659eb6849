/* A header's WCS: cards of any bytes, a few points there and back. Values may be anything but a crash. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/header.h"
#include "common/skycoord.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct header h;
    struct skycoord *s = NULL, *copy;
    double x[3] = {0, 100.5, -7}, y[3] = {3, 1e5, 12}, ra[3], dec[3], j[4];
    header_init(&h);
    if (header_parse(&h, (const char *)data, (int64_t)(size / CARD_LENGTH), NULL) == ERR_OK && skycoord_new(&h, &s, NULL) == ERR_OK) {
        skycoord_to_sky(s, 3, x, y, ra, dec, NULL);
        for (int i = 0; i < 3; i++)
            if (!isnan(ra[i]) && !(ra[i] >= 0 && ra[i] < 360 && fabs(dec[i]) <= 90)) abort();
        skycoord_to_pixel(s, 3, ra, dec, x, y, NULL);
        skycoord_jacobian(s, 10, 10, j, NULL);
        copy = skycoord_clone(s);
        skycoord_free(copy);
        skycoord_free(s);
    }
    header_release(&h);
    return 0;
}
