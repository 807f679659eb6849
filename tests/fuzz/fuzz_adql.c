/* Any bytes as a query. What is accepted must be SQL that PostgreSQL's parser reads, with nothing in it but what is known.
 * The first byte chooses the row limit. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/adql.h"
#include "tests/catalog/sql_jury.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct schema_column columns[] = {
    {"ra", SCHEMA_DOUBLE, "deg", "", "", "", "", "", "", true, true, false}, {"dec", SCHEMA_DOUBLE, "deg", "", "", "", "", "", "", true, true, false},
    {"name", SCHEMA_TEXT, "", "", "", "", "", "*", "", true, true, false}, {"od\"d;--", SCHEMA_INT, "", "", "", "", "", "", "", true, true, false},
    {"t", SCHEMA_TIMESTAMP, "", "", "", "", "timestamp", "*", "", true, true, false}, {"ok", SCHEMA_BOOLEAN, "", "", "", "", "", "", "", true, true, false},
    {"region", SCHEMA_TEXT, "", "", "", "", "adql:REGION", "*", "", true, true, false}};
static const struct schema_table table = {.schema = "tap_upload", .name = "u", .full = "tap_upload.u", .relation = "pg_temp.upload_1", .columns = columns,
                                          .ncol = 7, .ra = -1, .dec = -1, .hpx = -1};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct schema *schema; /* read once, read only */
    struct error err = ERROR_INIT;
    char buf[600];
    if (!schema && schema_load(&schema, &err)) abort();
    char *query = malloc(size + 1);
    if (!query) return 0;
    if (size) memcpy(query, data, size);
    query[size] = 0;
    struct adql_upload upload = {&table, 10};
    struct adql_options opt = {.maxrec = size && data[0] % 2 ? 100 : -1, .uploads = &upload, .nupload = 1};
    struct adql_result r;
    enum err e = adql_translate(query, schema, &opt, &r, &err);
    if (!e) {
        const char **relations = calloc((size_t)schema->ntable + 2, sizeof *relations), *verdict = NULL;
        for (int i = 0; relations && i < schema->ntable; i++) relations[i] = schema->tables[i].relation;
        if (relations) {
            relations[schema->ntable] = table.relation;
            verdict = sql_jury(r.sql, relations, buf, sizeof buf);
            for (int i = 0; !verdict && i < r.nprelude; i++) verdict = sql_jury(r.preludes[i].read, relations, buf, sizeof buf);
        }
        if (verdict) {
            fprintf(stderr, "%s\n%s\n%s\n", verdict, query, r.sql);
            abort();
        }
        free(relations);
        adql_release(&r);
    } else if (e != ERR_USAGE && e != ERR_NOMEM) {
        fprintf(stderr, "%s\n%s\n", err.message, query);
        abort();
    }
    free(query);
    return 0;
}
