/* A YAML file as a tree that knows its line numbers. Settings and instrument files are read through it.
 *
 * One document; maps, lists and scalars. Anchors and aliases are refused (a few bytes could stand for gigabytes), so are
 * duplicate keys, keys that are no scalars, nesting deeper than 16 and more than 20,000 nodes.
 * Threads: a tree is read-only after parsing.                                                                       */
#ifndef NIGHTSHIFT_COMMON_YAMLTREE_H
#define NIGHTSHIFT_COMMON_YAMLTREE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

enum yaml_kind { YAML_SCALAR, YAML_MAP, YAML_LIST };

struct yaml_node {
    enum yaml_kind kind;
    int line;                       /* 1-based, where it begins (map entries: the line of the key) */
    const char *key;                /* of a map entry, else NULL */
    const char *text;               /* of a scalar */
    bool quoted;                    /* scalar in quotes: a word, never null */
    const struct yaml_node *first;  /* children of a map or list */
    const struct yaml_node *next;   /* sibling */
    int nchildren;
};

struct yamltree;

/* Parse size bytes; name is used in errors ("FILE:LINE").
 * Status: ERR_SETTINGS with "NAME:LINE" as the error's path; ERR_NOMEM. An empty document gives a root that is an empty map. */
enum err yamltree_parse(const char *text, size_t size, const char *name, struct yamltree **ret, struct error *err);
/* The same from a file. ERR_SETTINGS also when it cannot be read. */
enum err yamltree_read(const char *path, struct yamltree **ret, struct error *err);
void yamltree_free(struct yamltree *t);

const struct yaml_node *yamltree_root(const struct yamltree *t);
const struct yaml_node *yaml_child(const struct yaml_node *map, const char *key); /* NULL if none (or map is NULL) */
bool yaml_is_null(const struct yaml_node *n); /* empty, ~ or null without quotes */

/* Set an error that points at a node: ERR_SETTINGS, path "NAME:LINE". */
enum err yaml_error(const struct yamltree *t, const struct yaml_node *n, struct error *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
