/* Parameters of TAP: from a request, as JSON in a job's row, and what they mean. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "catalog/tap_internal.h"

const char *const tap_names[TAP_NAMES] = {"REQUEST", "VERSION", "LANG", "QUERY", "FORMAT", "RESPONSEFORMAT", "MAXREC", "RUNID", "UPLOAD"};

/* Several UPLOADs are one list. */
static char *joined(const struct http_request *r, const char *name)
{
    int n = http_param_count(r, name);
    size_t size = 1;
    for (int i = 0; i < n; i++) size += strlen(http_param_at(r, name, i)) + 1;
    char *text = calloc(1, size);
    for (int i = 0; text && i < n; i++) strcat(strcat(text, i ? ";" : ""), http_param_at(r, name, i));
    return text;
}

enum err tap_params_take(struct tap_params *p, const struct http_request *r, struct error *err)
{
    for (int i = 0; i < TAP_NAMES; i++) {
        const char *given = http_param(r, tap_names[i]);
        if (!given) continue;
        char *text = i == TAP_UPLOAD ? joined(r, tap_names[i]) : strdup(given);
        if (!text) return ERROR(err, ERR_NOMEM, "could not get memory for a parameter");
        free(p->value[i]);
        p->value[i] = text;
    }
    return ERR_OK;
}

enum err tap_params_parse(struct tap_params *p, const char *json, struct error *err)
{
    json_t *list = json_loads(json, 0, NULL);
    for (size_t k = 0; k < json_array_size(list); k++) {
        json_t *pair = json_array_get(list, k);
        const char *name = json_string_value(json_array_get(pair, 0)), *value = json_string_value(json_array_get(pair, 1));
        for (int i = 0; name && value && i < TAP_NAMES; i++)
            if (!strcmp(name, tap_names[i]) && !p->value[i]) p->value[i] = strdup(value);
    }
    bool good = list != NULL;
    json_decref(list);
    return good ? ERR_OK : ERROR(err, ERR_INTERNAL, "the parameters of a job cannot be read");
}

char *tap_params_json(const struct tap_params *p)
{
    json_t *list = json_array();
    for (int i = 0; i < TAP_NAMES; i++)
        if (p->value[i]) json_array_append_new(list, json_pack("[s,s]", tap_names[i], p->value[i]));
    char *text = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    return text;
}

void tap_params_release(struct tap_params *p)
{
    for (int i = 0; i < TAP_NAMES; i++) free(p->value[i]);
    *p = (struct tap_params){0};
}

/* A media type may carry parameters that change nothing ("; charset=utf-8"). */
static bool format_of(const char *text, enum rowset_format *ret)
{
    char bare[64];
    snprintf(bare, sizeof bare, "%.*s", (int)strcspn(text, "; "), text);
    return rowset_format_of(text, ret) || (strchr(text, ';') && rowset_format_of(bare, ret));
}

static bool lang_is_known(const char *lang)
{
    static const char *const known[] = {"ADQL", "ADQL-2.0", "ADQL-2.1"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!strcasecmp(lang, known[i])) return true;
    return false;
}

static enum err read_maxrec(const struct tap *t, const char *text, int64_t *ret, struct error *err)
{
    char *end;
    *ret = t->opt.maxrec;
    if (!text || !*text) return ERR_OK;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (*end || v < 0) return ERROR(err, ERR_USAGE, "MAXREC is '%.40s', not a number of rows", text);
    *ret = errno || v > t->opt.maxrec_limit ? t->opt.maxrec_limit : v;
    return ERR_OK;
}

enum err tap_query_of(const struct tap *t, const struct tap_params *p, struct tap_query *ret, struct error *err)
{
    const char *request = p->value[TAP_REQUEST], *lang = p->value[TAP_LANG];
    const char *format = p->value[TAP_RESPONSEFORMAT] ? p->value[TAP_RESPONSEFORMAT] : p->value[TAP_FORMAT];
    *ret = (struct tap_query){.query = p->value[TAP_QUERY], .runid = p->value[TAP_RUNID], .format = ROWSET_VOTABLE};
    if (request && *request && strcasecmp(request, "doQuery")) return ERROR(err, ERR_USAGE, "REQUEST is '%.40s'; doQuery is all there is", request);
    if (lang && !lang_is_known(lang)) return ERROR(err, ERR_USAGE, "LANG is '%.40s'; ADQL, ADQL-2.0 and ADQL-2.1 are known", lang);
    if (!ret->query || !*ret->query) return ERROR(err, ERR_USAGE, "parameter QUERY is missing");
    if (format && *format && !format_of(format, &ret->format)) {
        ERROR(err, ERR_USAGE, "format '%.80s' is not known", format);
        error_hint(err, "capabilities lists those that are");
        return ERR_USAGE;
    }
    return read_maxrec(t, p->value[TAP_MAXREC], &ret->maxrec, err);
}
