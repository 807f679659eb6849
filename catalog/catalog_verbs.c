#include "catalog/catalog_verbs.h"

/* One row per verb; each verb's function lives in catalog/verb_NAME.c. */
const struct verb catalog_verbs[] = {
    {"db", verb_db, "up|down|status|url|psql [...]|migrate|token add|list|revoke|backup FILE|restore FILE", "the catalogue's database: a private one, or that of DATABASE_URL"},
    {"associate", verb_associate, "--night YYYYMMDD", "detections of a night to objects, rebuilt in a fixed order"},
    {"serve", verb_serve, "[--serve-port N] [--url-file FILE]", "the catalogue over HTTP: cone search, light curves, a page"},
    {"refcat", verb_refcat, "add FILE... | add --tap URL --cone RA,DEC,R | export --cone RA,DEC,R [--epoch YEAR] -o FILE | list", "reference stars: into the database, and regions out of it"},
    {"ingest", verb_ingest, "FILE..._cat.fits | --stdin", "store catalogues of reduce, each exactly once"},
    {0},
};
