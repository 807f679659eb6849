/* Columns of what the service answers beside the published tables themselves (those come from schema.h): name, type, unit, UCD,
 * meaning; in the order of catalog/sql/queries/NAME.sql.                                                              */
#ifndef NIGHTSHIFT_CATALOG_COLUMNS_H
#define NIGHTSHIFT_CATALOG_COLUMNS_H

#include "catalog/rowset.h"

struct answer_table {
    const char *name;         /* of the document */
    const char *query;        /* catalog/sql/queries/QUERY.sql */
    const char *description;
    const struct rowset_column *columns;
    int ncol;
    int ncol_verb1, ncol_verb2; /* columns of a cone search at VERB 1 and 2; the last column (distance) always comes too */
};

extern const struct answer_table table_object, table_light_curve, table_exposures, table_nights, table_variable, table_one_object;
extern const struct rowset_column column_distance;

#endif
