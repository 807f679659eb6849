/* DataLink 1.0: what there is of an image, one row per file, and the cutout service that takes its identifier. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "catalog/discovery.h"

enum { IDS_MAX = 64 };

struct links {
    const struct discovery *d;
    struct http_response *w;
    const char *base;        /* escaped */
};

static void cell(struct http_response *w, const char *text)
{
    char escaped[2048];
    if (*text) http_printf(w, "<TD>%s</TD>", xml_escape(text, escaped, sizeof escaped));
    else http_printf(w, "<TD/>");
}

static void row(struct links *l, const char *id, const char *url, const char *service, const char *fault, const char *semantics, const char *what,
                const char *type, int64_t size)
{
    char length[24] = "";
    if (size >= 0) snprintf(length, sizeof length, "%" PRId64, size);
    http_printf(l->w, "     <TR>");
    cell(l->w, id);
    cell(l->w, url);
    cell(l->w, service);
    cell(l->w, fault);
    cell(l->w, semantics);
    cell(l->w, what);
    cell(l->w, type);
    cell(l->w, length);
    http_printf(l->w, "</TR>\n");
}

/* A row for a file that is there; -1 without one. */
static void file_row(struct links *l, const char *id, const struct image *im, const char *relative, const char *kind, const char *semantics,
                     const char *what)
{
    char path[1200], url[600];
    struct stat st;
    if (image_path(l->d, relative, path, sizeof path, NULL) || stat(path, &st) || !S_ISREG(st.st_mode)) return;
    snprintf(url, sizeof url, "%s/data/%s?ID=%s", l->base, kind, im->id);
    row(l, id, url, "", "", semantics, what, "application/fits", (int64_t)st.st_size);
}

static void image_rows(struct links *l, const char *id, const struct image *im)
{
    static const char *const kinds[] = {"bias", "dark", "flat"};
    char path[1200], url[600], text[400];
    struct stat st;
    snprintf(text, sizeof text, "calibrated image (SCI, VAR, MASK): %s", im->title);
    if (!image_path(l->d, im->cal, path, sizeof path, NULL) && !stat(path, &st)) {
        file_row(l, id, im, im->cal, "image", "#this", text);
        row(l, id, "", "soda-sync", "", "#cutout", "cutout of a part of the sky", "application/fits", -1);
        snprintf(url, sizeof url, "%s/preview?ID=%s", l->base, im->id);
        row(l, id, url, "", "", "#preview", "picture of the image", "image/png", -1);
    } else {
        row(l, id, "", "", "FatalFault: the image is not in this service's archive", "#this", text, "application/fits", -1);
    }
    file_row(l, id, im, im->cat, "catalogue", "#derivation", "detections measured on the image (FITS_LDAC)");
    for (int k = 0; k < 3; k++) {
        snprintf(text, sizeof text, "master %s it was calibrated with", kinds[k]);
        char term[16];
        snprintf(term, sizeof term, "#%s", kinds[k]);
        file_row(l, id, im, im->master[k], kinds[k], term, text);
    }
}

static void open_document(struct http_response *w)
{
    static const char *const fields[][5] = {
        {"ID", "meta.id;meta.main", "char\" arraysize=\"*", "", "identifier that was asked for"},
        {"access_url", "meta.ref.url", "char\" arraysize=\"*", "", "where to get it"},
        {"service_def", "meta.ref", "char\" arraysize=\"*", "", "service that makes it"},
        {"error_message", "meta.code.error", "char\" arraysize=\"*", "", "why there is none"},
        {"semantics", "meta.code", "char\" arraysize=\"*", "", "what it is to the image"},
        {"description", "meta.note", "char\" arraysize=\"*", "", "what it is"},
        {"content_type", "meta.code.mime", "char\" arraysize=\"*", "", "its media type"},
        {"content_length", "phys.size;meta.file", "long", "byte", "its size"},
    };
    http_header_out(w, "Content-Type", "application/x-votable+xml;content=datalink");
    http_printf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<VOTABLE version=\"1.4\" xmlns=\"http://www.ivoa.net/xml/VOTable/v1.3\">\n"
                   " <RESOURCE type=\"results\">\n  <INFO name=\"QUERY_STATUS\" value=\"OK\"/>\n  <TABLE name=\"links\">\n");
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        http_printf(w, "   <FIELD name=\"%s\"%s ucd=\"%s\" datatype=\"%s\"%s%s%s><DESCRIPTION>%s</DESCRIPTION></FIELD>\n", fields[i][0],
                    i ? "" : " ID=\"primaryID\"", fields[i][1], fields[i][2], *fields[i][3] ? " unit=\"" : "", fields[i][3], *fields[i][3] ? "\"" : "",
                    fields[i][4]);
    http_printf(w, "   <DATA><TABLEDATA>\n");
}

/* The service descriptor. One image: its identifier is filled in and MAX says where its cutouts can lie; several: the
 * identifier is taken from the column of the row. */
static void close_document(struct links *l, const char *id, const struct image *only)
{
    char limit[120] = "", escaped[1024] = "";
    if (only) xml_escape(id, escaped, sizeof escaped);
    if (only && isfinite(only->ra) && isfinite(only->pixel_scale))
        snprintf(limit, sizeof limit, "<VALUES><MAX value=\"%.9f %.9f %.6f\"/></VALUES>", only->ra, only->dec,
                 hypot((double)only->nx, (double)only->ny) / 2 * only->pixel_scale / 3600);
    http_printf(l->w,
                "   </TABLEDATA></DATA>\n  </TABLE>\n </RESOURCE>\n <RESOURCE type=\"meta\" utype=\"adhoc:service\" ID=\"soda-sync\" name=\"cutout\">\n"
                "  <PARAM name=\"standardID\" datatype=\"char\" arraysize=\"*\" value=\"ivo://ivoa.net/std/SODA#sync-1.0\"/>\n"
                "  <PARAM name=\"accessURL\" datatype=\"char\" arraysize=\"*\" value=\"%s/soda/sync\"/>\n"
                "  <GROUP name=\"inputParams\">\n"
                "   <PARAM name=\"ID\" ucd=\"meta.id;meta.main\" datatype=\"char\" arraysize=\"*\"%s value=\"%s\"/>\n"
                "   <PARAM name=\"CIRCLE\" ucd=\"pos.outline;obs\" unit=\"deg\" datatype=\"double\" arraysize=\"3\" xtype=\"circle\" value=\"\">"
                "<DESCRIPTION>right ascension, declination and radius, ICRS</DESCRIPTION>%s</PARAM>\n"
                "   <PARAM name=\"POLYGON\" ucd=\"pos.outline;obs\" unit=\"deg\" datatype=\"double\" arraysize=\"*\" xtype=\"polygon\" value=\"\">"
                "<DESCRIPTION>right ascension and declination of each corner, ICRS</DESCRIPTION></PARAM>\n"
                "   <PARAM name=\"POS\" ucd=\"pos.outline;obs\" datatype=\"char\" arraysize=\"*\" value=\"\">"
                "<DESCRIPTION>CIRCLE, RANGE or POLYGON with its numbers</DESCRIPTION></PARAM>\n"
                "  </GROUP>\n </RESOURCE>\n</VOTABLE>\n",
                l->base, only ? "" : " ref=\"primaryID\"", escaped, limit);
}

void datalink_links(struct http_request *r, struct http_response *w, void *user)
{
    const struct discovery *d = user;
    struct error err = ERROR_INIT;
    struct db *db = NULL;
    struct image im = {0};
    char buf[256], base[512];
    int n = http_param_count(r, "ID");
    const char *format = http_param(r, "RESPONSEFORMAT");
    struct links l = {d, w, xml_escape(discovery_base_url(d, r, buf, sizeof buf), base, sizeof base)};
    enum err code = ERR_OK;
    if (format && strcmp(format, "votable") && strncmp(format, "application/x-votable+xml", 25))
        code = ERROR(&err, ERR_USAGE, "RESPONSEFORMAT '%.60s' is not written here; votable is", format);
    if (n > IDS_MAX) code = ERROR(&err, ERR_USAGE, "%d identifiers are too many for one request, %d are not", n, IDS_MAX);
    if (!code && n) code = db_pool_take(d->pool, d->pool_wait_s, &db, &err);
    if (code) {
        discovery_refuse(w, true, &err);
        return;
    }
    open_document(w);
    for (int i = 0; i < n && !code; i++) {
        const char *id = http_param_at(r, "ID", i);
        code = image_find(db, id, &im, &err);
        if (!code) image_rows(&l, id, &im);
        if (code != ERR_USAGE && code != ERR_NOT_FOUND) continue;
        char text[700];
        snprintf(text, sizeof text, "%s: %s", code == ERR_USAGE ? "UsageFault" : "NotFoundFault", err.message);
        row(&l, id, "", "", text, "#this", "", "", -1);
        error_clear(&err);
        code = ERR_OK;
    }
    db_pool_give(d->pool, db);
    if (code && !http_streaming(w)) discovery_refuse(w, true, &err);
    else if (code) http_abort(w);
    else close_document(&l, http_param(r, "ID"), n == 1 && im.cal[0] ? &im : NULL);
}
