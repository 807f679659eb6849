#include "catalog/discovery.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "catalog/rowset.h"
#include "common/assets.h"
#include "common/log.h"

/* ---- identifiers and files ------------------------------------------------------------------------------------------ */

/* "ivo://any/nightshift?1/0/0123456789abcdef/1" or what follows the question mark. */
static bool read_id(const char *text, struct image *im)
{
    const char *p = strchr(text, '?');
    if (p && strncasecmp(text, "ivo://", 6)) return false;
    p = p ? p + 1 : text;
    char recipe[17], extra;
    long long exposure;
    int ccd, version, n = sscanf(p, "%lld/%d/%16[0-9a-f]/%d%c", &exposure, &ccd, recipe, &version, &extra);
    if (n != 4 || strlen(recipe) != 16 || exposure < 0 || exposure > UINT32_MAX || ccd < 0 || ccd > 511 || version < 1 || version > INT16_MAX) return false;
    *im = (struct image){.exposure_id = exposure, .ccd = ccd, .version = version};
    memcpy(im->recipe, recipe, sizeof im->recipe);
    snprintf(im->id, sizeof im->id, "%lld/%d/%s/%d", exposure, ccd, recipe, version);
    return true;
}

static void fill(struct image *im, const struct db_result *row)
{
    snprintf(im->cal, sizeof im->cal, "%s", db_text(row, 0, 0));
    snprintf(im->cat, sizeof im->cat, "%s", db_text(row, 0, 1));
    for (int k = 0; k < 3; k++) snprintf(im->master[k], sizeof im->master[k], "%s", db_text(row, 0, 2 + k));
    im->current = db_bool(row, 0, 5);
    snprintf(im->title, sizeof im->title, "%s %s %s CCD %d", db_text(row, 0, 7), db_text(row, 0, 8), db_text(row, 0, 9), im->ccd);
    im->night = (int)db_i64(row, 0, 10);
    im->nx = db_i64(row, 0, 11);
    im->ny = db_i64(row, 0, 12);
    im->ra = db_f64(row, 0, 13);
    im->dec = db_f64(row, 0, 14);
    im->pixel_scale = db_f64(row, 0, 15);
}

enum err image_find(struct db *db, const char *id, struct image *ret, struct error *err)
{
    const struct asset *sql = asset_find("catalog/sql/queries/image.sql");
    struct db_result *row = NULL;
    char exposure[24], ccd[8], version[8];
    if (!sql) return ERROR(err, ERR_INTERNAL, "query 'image' is not compiled in");
    if (!read_id(id, ret)) {
        enum err code = ERROR(err, ERR_USAGE, "'%.100s' is not an identifier of this service", id);
        error_hint(err, "it looks like ivo://AUTHORITY/nightshift?EXPOSURE/CCD/RECIPE/VERSION: obs_publisher_did of ivoa.obscore");
        return code;
    }
    snprintf(exposure, sizeof exposure, "%" PRId64, ret->exposure_id);
    snprintf(ccd, sizeof ccd, "%d", ret->ccd);
    snprintf(version, sizeof version, "%d", ret->version);
    enum err code = db_query_prepared(db, "image", sql->data, 4, (const char *const[]){exposure, ccd, ret->recipe, version}, &row, err);
    if (!code && !db_nrow(row)) code = ERROR(err, ERR_NOT_FOUND, "no image %s is published", ret->id);
    if (!code) fill(ret, row);
    db_result_free(row);
    return code;
}

enum err image_path(const struct discovery *d, const char *relative, char *ret, size_t size, struct error *err)
{
    if (!*d->archive) return ERROR(err, ERR_NOT_FOUND, "this service has no archive of files (serve.archive)");
    if (!*relative) return ERROR(err, ERR_NOT_FOUND, "this image has no such file");
    for (const char *p = relative; p; p = strchr(p, '/')) { /* a path in the database may not lead out of the archive */
        while (*p == '/') p++;
        if (relative[0] == '/' || (!strncmp(p, "..", 2) && (!p[2] || p[2] == '/'))) return ERROR(err, ERR_NOT_FOUND, "its path lies outside the archive");
    }
    if ((size_t)snprintf(ret, size, "%s/%s", d->archive, relative) >= size) return ERROR(err, ERR_NOT_FOUND, "its path is too long");
    return ERR_OK;
}

enum err discovery_publish_site(struct db *db, const char *base_url, const char *authority, struct error *err)
{
    return db_query(db, "UPDATE site SET base_url = $1, authority = $2 WHERE (base_url, authority) IS DISTINCT FROM ($1, $2)", 2,
                    (const char *const[]){base_url, authority}, NULL, err);
}

/* ---- documents ------------------------------------------------------------------------------------------------------ */

const char *xml_escape(const char *text, char *buf, size_t size)
{
    size_t n = 0;
    for (const char *p = text; *p && n + 7 < size; p++) {
        const char *entity = *p == '&' ? "&amp;" : *p == '<' ? "&lt;" : *p == '>' ? "&gt;" : *p == '"' ? "&quot;" : NULL;
        if (entity) n += (size_t)snprintf(buf + n, size - n, "%s", entity);
        else buf[n++] = (unsigned char)*p < ' ' && *p != '\t' && *p != '\n' ? '?' : *p;
    }
    buf[n] = 0;
    return buf;
}

const char *discovery_base_url(const struct discovery *d, const struct http_request *r, char *buf, size_t size)
{
    if (*d->base_url) return d->base_url;
    const char *host = http_header_in(r, "Host"), *scheme = http_header_in(r, "X-Forwarded-Proto");
    bool usable = host && *host && strlen(host) < 200;
    for (const char *c = host; usable && *c; c++) usable = isalnum((unsigned char)*c) || strchr("-._:[]", *c);
    snprintf(buf, size, "%s://%s", scheme && !strcmp(scheme, "https") ? "https" : "http", usable ? host : "127.0.0.1");
    return buf;
}

static int status_of(enum err code)
{
    switch (code) {
    case ERR_USAGE: return 400;
    case ERR_NOT_FOUND: return 404;
    case ERR_DATABASE: case ERR_NOMEM: return 503;
    case ERR_INTERRUPTED: return 504;
    default: return 500;
    }
}

static bool sink(void *user, const char *data, size_t size)
{
    return http_write(user, data, size);
}

void discovery_refuse(struct http_response *w, bool votable, const struct error *err)
{
    static const char *const faults[] = {"Error", "UsageFault", "NotFoundFault", "TransientFault"};
    int status = status_of(err->code);
    char line[1200], text[1300];
    error_line(err, line, sizeof line);
    if (status >= 500) log_error(err);
    http_discard(w);
    http_status(w, status);
    if (status == 503) http_header_out(w, "Retry-After", "2");
    snprintf(text, sizeof text, "%s: %s", faults[status == 400 ? 1 : status == 404 ? 2 : status == 503 ? 3 : 0], line);
    http_header_out(w, "Content-Type", votable ? "application/x-votable+xml" : "text/plain");
    if (votable) rowset_error_votable(sink, w, false, text);
    else http_printf(w, "%s\n", text);
}

/* ---- VOSI of the services beside TAP -------------------------------------------------------------------------------- */

struct service_entry {
    const char *path, *standard, *version, *resource;
};
static const struct service_entry entries[] = {
    {"sia2", "ivo://ivoa.net/std/SIA#query-2.0", "2.0", "query"},
    {"datalink", "ivo://ivoa.net/std/DataLink#links-1.0", "1.0", "links"},
    {"soda", "ivo://ivoa.net/std/SODA#sync-1.0", "1.0", "sync"},
};

static const struct service_entry *entry_of(const struct http_request *r)
{
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++)
        if (!strncmp(http_path(r) + 1, entries[i].path, strlen(entries[i].path))) return &entries[i];
    return &entries[0];
}

static void interface(struct http_response *w, const char *base, const struct service_entry *e, const char *standard, const char *resource,
                      const char *version, bool own)
{
    http_printf(w,
                "  <capability standardID=\"%s\">\n    <interface xsi:type=\"vs:ParamHTTP\"%s version=\"%s\">\n"
                "      <accessURL use=\"%s\">%s/%s/%s</accessURL>\n    </interface>\n  </capability>\n",
                standard, own ? " role=\"std\"" : "", version, own ? "base" : "full", base, e->path, resource);
}

static void capabilities(struct http_request *r, struct http_response *w, void *user)
{
    const struct service_entry *e = entry_of(r);
    char buf[256], base[512];
    xml_escape(discovery_base_url(user, r, buf, sizeof buf), base, sizeof base);
    http_header_out(w, "Content-Type", "text/xml");
    http_printf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<vosi:capabilities xmlns:vosi=\"http://www.ivoa.net/xml/VOSICapabilities/v1.0\" "
                   "xmlns:vs=\"http://www.ivoa.net/xml/VODataService/v1.1\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\n");
    interface(w, base, e, "ivo://ivoa.net/std/VOSI#capabilities", "capabilities", "1.0", false);
    interface(w, base, e, "ivo://ivoa.net/std/VOSI#availability", "availability", "1.0", false);
    interface(w, base, e, e->standard, e->resource, e->version, true);
    http_printf(w, "</vosi:capabilities>\n");
}

static void availability(struct http_request *r, struct http_response *w, void *user)
{
    const struct discovery *d = user;
    struct error err = ERROR_INIT;
    struct db *db = NULL;
    (void)r;
    enum err code = db_pool_take(d->pool, 1, &db, &err);
    if (!code) {
        code = db_exec(db, "SELECT 1", &err);
        db_pool_give(d->pool, db);
    }
    http_header_out(w, "Content-Type", "text/xml");
    http_printf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<vosi:availability xmlns:vosi=\"http://www.ivoa.net/xml/VOSIAvailability/v1.0\">\n"
                   "  <vosi:available>%s</vosi:available>\n%s</vosi:availability>\n",
                code ? "false" : "true", code ? "  <vosi:note>the database does not answer</vosi:note>\n" : "");
}

enum err discovery_routes(struct discovery *d, struct error *err)
{
    const struct {
        const char *method, *pattern;
        http_handler handler;
        int flags;
    } routes[] = {
        {"GET", "/sia2/capabilities", capabilities, HTTP_INLINE},     {"GET", "/sia2/availability", availability, HTTP_PUBLIC},
        {"GET", "/datalink/capabilities", capabilities, HTTP_INLINE}, {"GET", "/datalink/availability", availability, HTTP_PUBLIC},
        {"GET", "/soda/capabilities", capabilities, HTTP_INLINE},     {"GET", "/soda/availability", availability, HTTP_PUBLIC},
        {"GET", "/datalink/links", datalink_links, 0},                {"POST", "/datalink/links", datalink_links, 0},
        {"GET", "/datalink", datalink_links, 0},                      {"GET", "/soda/sync", soda_sync, HTTP_SLOW},
        {"POST", "/soda/sync", soda_sync, HTTP_SLOW},                 {"GET", "/soda", soda_sync, HTTP_SLOW},
        {"GET", "/data/{kind}", image_data, 0},                       {"GET", "/preview", image_preview, HTTP_SLOW},
        {"GET", "/sia2/query", sia2_query, 0},                        {"POST", "/sia2/query", sia2_query, 0},
        {"GET", "/sia2", sia2_query, 0},                              {"POST", "/sia2", sia2_query, 0},
    };
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        enum err code = httpd_route(d->httpd, routes[i].method, routes[i].pattern, routes[i].handler, d, routes[i].flags, err);
        if (code) return code;
    }
    return ERR_OK;
}
