#include <fitsio.h>
#include <math.h>
#include <stdio.h>

#include "common/libraries.h"

/* cfitsio says its version as major + minor / 100 + micro / 10000. */
const char *frameio_library(char *buf, size_t size, bool *ret_reentrant)
{
    float version = 0;
    fits_get_version(&version);
    int v = (int)lround(1e4 * (double)version);
    *ret_reentrant = fits_is_reentrant() != 0;
    snprintf(buf, size, "%d.%d.%d", v / 10000, v / 100 % 100, v % 100);
    return buf;
}
