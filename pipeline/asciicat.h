/* Detection tables as text, in Source Extractor's ASCII and ASCII_HEAD forms: one object per line, columns by their TDISP;
 * with a head, one comment line per column gives its first position, name, meaning and unit. */
#ifndef NIGHTSHIFT_PIPELINE_ASCIICAT_H
#define NIGHTSHIFT_PIPELINE_ASCIICAT_H

#include <stdbool.h>

#include "common/err.h"
#include "common/frameio.h"

/* Atomic. Status: ERR_NOMEM; ERR_NO_SPACE, ERR_UNREADABLE, ERR_IO; ERR_UNSUPPORTED for a column that is no number */
enum err asciicat_write(const char *path, const struct column *columns, int ncol, int64_t nrow, bool head, struct error *err);

#endif
