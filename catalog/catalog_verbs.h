/* The verbs of this room, ending with a zero row. */
#ifndef NIGHTSHIFT_CATALOG_CATALOG_VERBS_H
#define NIGHTSHIFT_CATALOG_CATALOG_VERBS_H

#include "common/cli.h"

extern const struct verb catalog_verbs[];

int verb_db(int argc, char **argv);    /* verb_db.c */
int verb_associate(int argc, char **argv); /* verb_associate.c */
int verb_serve(int argc, char **argv); /* verb_serve.c */
int verb_refcat(int argc, char **argv); /* verb_refcat.c */
int verb_ingest(int argc, char **argv); /* verb_ingest.c */

#endif
