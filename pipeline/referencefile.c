#include "pipeline/referencefile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum err reference_file_read(const char *path, struct reference_file **ret, struct error *err)
{
    struct reference_file *r = calloc(1, sizeof *r);
    const char *slash = strrchr(path, '/');
    *ret = NULL;
    if (!r) return ERROR(err, ERR_NOMEM, "no memory for reference stars");
    snprintf(r->name, sizeof r->name, "%s", slash ? slash + 1 : path);
    enum err e = refstars_read(path, &r->stars, err);
    if (!e) e = digest_file(path, r->sum, err);
    if (!e && !r->stars.n) {
        e = ERROR(err, ERR_UNSUPPORTED, "there is no star in it");
        error_subject(err, path, 0);
    }
    if (e) reference_file_free(r);
    else *ret = r;
    return e;
}

void reference_file_free(struct reference_file *r)
{
    if (!r) return;
    refstars_release(&r->stars);
    free(r);
}
