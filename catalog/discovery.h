/* Images over HTTP, as the Virtual Observatory finds and fetches them.
 *
 *     ivoa.obscore --> /sia2/query (SIA 2.0) --> access_url --> /datalink/links (DataLink 1.0) --> /data/{kind}   files
 *                                                                      |                     --> /preview      PNG
 *                                                                      +--> /soda/sync (SODA 1.0)              cutouts
 *
 * An image's identifier is ivo://AUTHORITY/nightshift?EXPOSURE/CCD/RECIPE/VERSION; the part after the question mark alone is
 * understood too. Files lie below the archive root (serve.archive); without one only metadata are served.
 * Source: SIA 2.0 (REC 2015), DataLink 1.0 (REC 2015), SODA 1.0 (REC 2017), DALI 1.1, VOSI 1.1.                        */
#ifndef NIGHTSHIFT_CATALOG_DISCOVERY_H
#define NIGHTSHIFT_CATALOG_DISCOVERY_H

#include <stdint.h>

#include "common/db_pool.h"
#include "common/err.h"
#include "common/httpd.h"

struct discovery {
    struct httpd *httpd;
    struct db_pool *pool;
    double pool_wait_s;
    const char *base_url;       /* without a slash at the end; "": that of the request */
    const char *authority;
    const char *archive;        /* "": none */
    int64_t cutout_pixels;      /* largest cutout */
    int64_t maxrec_default, maxrec_limit;
};

/* Routes of all of the above. d and its strings are kept. */
enum err discovery_routes(struct discovery *d, struct error *err);

/* Write base URL and authority where the view ivoa.obscore reads them. ERR_SETTINGS when this role may not: then obscore keeps
 * what the owner of the database stored. */
enum err discovery_publish_site(struct db *db, const char *base_url, const char *authority, struct error *err);

/* ---- shared by its files ---------------------------------------------------------------------------------------------- */

struct image {                  /* one row of published_image; files "" where there is none */
    int64_t exposure_id;
    int ccd, version;
    char recipe[17];
    char id[64];                /* EXPOSURE/CCD/RECIPE/VERSION */
    bool current;
    char cal[512], cat[512], master[3][512]; /* below the archive root; bias, dark, flat */
    char title[256];
    int night;
    int64_t nx, ny;
    double ra, dec, pixel_scale;
};

/* Status: ERR_USAGE not an identifier of ours; ERR_NOT_FOUND no such image. */
enum err image_find(struct db *db, const char *id, struct image *ret, struct error *err);
/* Absolute path of a file below the archive root. Status: ERR_NOT_FOUND: none, or no archive is served here. */
enum err image_path(const struct discovery *d, const char *relative, char *ret, size_t size, struct error *err);

const char *discovery_base_url(const struct discovery *d, const struct http_request *r, char *buf, size_t size);
/* Text with & < > " as XML entities and characters XML forbids as '?'. Returned: buf, cut at size - 1. */
const char *xml_escape(const char *text, char *buf, size_t size);
/* A DALI error: a VOTable with QUERY_STATUS=ERROR, or for SODA one line of text. status of the error's code. */
void discovery_refuse(struct http_response *w, bool votable, const struct error *err);

void datalink_links(struct http_request *r, struct http_response *w, void *user);
void soda_sync(struct http_request *r, struct http_response *w, void *user);
void image_data(struct http_request *r, struct http_response *w, void *user);
void image_preview(struct http_request *r, struct http_response *w, void *user);
void sia2_query(struct http_request *r, struct http_response *w, void *user);

#endif
