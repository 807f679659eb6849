/* Tables a query brings along: VOTables copied into temporary tables as they are read.
 *
 *     UPLOAD=stars,param:file1;more,https://example.org/t.vot
 *
 *     struct upload_list list;                 what the request says
 *     upload_list_parse(...)
 *     struct upload_set set = {0};             in the query's transaction, before it is made read only
 *     upload_load(db, &list, &limits, &set, &err); ... adql_translate(... set.tables, set.n ...); upload_set_release(&set);
 *
 * Columns keep their names; one whose position can be told from UCD or name gets hpx29 beside it (ns_hpx29), computed as the
 * rows arrive, and an index when there are many. The tables go away with the transaction.
 * Source: TAP 1.1 section 2.5, DALI 1.1 section 3.4.5.                                                                  */
#ifndef NIGHTSHIFT_CATALOG_UPLOAD_H
#define NIGHTSHIFT_CATALOG_UPLOAD_H

#include "catalog/adql.h"
#include "catalog/upload_multipart.h"
#include "common/arena.h"
#include "common/db.h"

#define UPLOADS_MAX 8

struct upload_source {
    char table[64];          /* name in TAP_UPLOAD */
    char uri[1024];          /* "param:NAME" or a URL */
    multipart_read read;     /* for param: the body */
    void *user;
    int64_t offset, size;
};

struct upload_list {
    struct upload_source sources[UPLOADS_MAX];
    int n;
};

struct upload_limits {
    int64_t rows_max, bytes_max;
    const char *url_hosts;   /* "public", "none", or hosts that may be fetched from, comma-separated */
    double url_seconds;
};

struct upload_set {
    struct adql_upload tables[UPLOADS_MAX];
    int n;
    struct arena *arena;
};

/* One value of the UPLOAD parameter, added to the list. Status: ERR_USAGE */
enum err upload_list_parse(const char *value, struct upload_list *list, struct error *err);

/* Status: ERR_USAGE: a table that cannot be read, is too large, or a URL that is not fetched; what db.h says */
enum err upload_load(struct db *db, const struct upload_list *list, const struct upload_limits *limits, struct upload_set *ret, struct error *err);
void upload_set_release(struct upload_set *s); /* takes a zeroed one */

#endif
