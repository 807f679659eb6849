/* A query's rows as the answer to a request: format, row limit, error documents, what is said when rows were left out.
 *
 * Nothing is sent before the first row is there, so that an early error still has a status of its own; a later one closes
 * the document with the error in it and breaks the connection. Truncation is told in the document; beside it the header
 * X-Overflow-Limit names the limit beforehand and X-Overflow (a trailer when the answer is streamed) says true or false.  */
#ifndef NIGHTSHIFT_CATALOG_ANSWER_H
#define NIGHTSHIFT_CATALOG_ANSWER_H

#include <stdint.h>

#include "catalog/columns.h"
#include "catalog/rowset.h"
#include "common/db_pool.h"
#include "common/httpd.h"

#define ANSWER_COLUMNS 96

struct service;

/* Changes the fields of a row before they are written; user is the answer's. */
typedef void (*answer_edit)(void *user, struct rowset_field *fields);

struct answer {
    struct http_request *request;
    struct http_response *w;
    struct db_pool *pool;
    double pool_wait_s;
    bool scs;                /* errors as the Simple Cone Search has them */
    enum rowset_format format;
    int64_t maxrec;
    const struct rowset_column *columns;
    int ncol;
    const char *table, *description;
    answer_edit edit;
    void *user;
    int ncol_query;          /* with edit: columns of the query; 0: ncol */
    /* filled in by answer_query() */
    struct rowset *rows;
    struct rowset_field *fields;
    bool overflow;
    int64_t nrows;
};

/* Format and row limit from the request; refuses by itself. Returned: false then. */
bool answer_prepare(struct answer *a, struct service *s, struct http_request *r, struct http_response *w, bool scs, enum rowset_format fallback,
                    const char *limit_name);
/* Run a query whose last LIMIT is maxrec + 1 and write its rows. name: of the prepared statement, a string that lives on.
 * empty: what to say with 404 when there are no rows; NULL: an empty table. */
void answer_query(struct answer *a, const char *name, const char *sql, int n, const char *const *values, const char *empty);

void answer_refuse(struct http_response *w, bool scs, enum err code, const char *message);
void answer_refuse_error(struct http_response *w, bool scs, const struct error *err);

/* Parameters of a request. number: must be there, once. integer: *ret stays when there is none. */
enum err answer_number(const struct http_request *r, const char *name, double low, double high, double *ret, struct error *err);
enum err answer_integer(const struct http_request *r, const char *name, int64_t low, int64_t high, int64_t *ret, struct error *err);

/* A compiled-in query, with {name} replaced by its value: pairs "name", "value", ..., NULL. Returned: malloc'd; NULL: err. */
char *answer_sql(const char *query, const char *const *pairs, struct error *err);

#endif
