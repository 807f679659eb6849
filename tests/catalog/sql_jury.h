/* A second opinion on generated SQL: PostgreSQL's own parser (libpg_query) reads it, and every node, function, type, operator
 * and relation in the tree must be one of a list written here by hand, independently of the writer. */
#ifndef NIGHTSHIFT_TESTS_SQL_JURY_H
#define NIGHTSHIFT_TESTS_SQL_JURY_H

#include <stdbool.h>
#include <stddef.h>

bool sql_jury_sits(void); /* false: built without libpg-query-dev */

/* relations: names the statement may read, NULL-terminated ("published_object", "tap_schema.columns").
 * Returned: NULL when innocent, else what is wrong, in buf. */
const char *sql_jury(const char *sql, const char *const *relations, char *buf, size_t size);

#endif
