/* Groups of sources that are close enough to be fitted together, none larger than asked for. */
#ifndef NIGHTSHIFT_PROCESSORS_PSFGROUPS_H
#define NIGHTSHIFT_PROCESSORS_PSFGROUPS_H

#include <stdint.h>

#include "common/err.h"
#include "processors/psfcells.h"

struct psf_groups {
    int64_t n;
    int64_t *first;      /* n + 1: members of group g are member[first[g]] .. */
    int32_t *member;     /* ascending in each group; groups in the order of their first member */
    uint8_t *split;      /* per source: near another that is in a different group */
};

/* Pairs closer than `link` are joined from the closest up, unless the group would have more than `most` members.
 * Given:   cells    of these positions, of size >= link
 * Status:  0; ERR_NOMEM. psf_groups_release() frees */
enum err psf_groups_make(struct psf_groups *g, const struct psf_cells *cells, const double *x, const double *y, int64_t n, double link, int most,
                         struct error *err);
void psf_groups_release(struct psf_groups *g);

#endif
