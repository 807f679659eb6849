/* The settings file: a tree of maps whose path is the setting's dotted name; lists are joined with commas. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/settings.h"
#include "common/yamltree.h"

#define NAME_SIZE  200
#define VALUE_SIZE 65536

/* "1,2,3" of a list of scalars. */
static enum err join_list(const struct yamltree *t, const struct yaml_node *list, char *ret, struct error *err)
{
    size_t n = 0;
    ret[0] = '\0';
    for (const struct yaml_node *item = list->first; item; item = item->next) {
        if (item->kind != YAML_SCALAR) return yaml_error(t, item, err, "a list of settings holds plain values only");
        int wrote = snprintf(ret + n, VALUE_SIZE - n, "%s%s", n ? "," : "", item->text);
        if (wrote < 0 || (size_t)wrote >= VALUE_SIZE - n) return yaml_error(t, item, err, "the list is too long");
        n += (size_t)wrote;
    }
    return ERR_OK;
}

static enum err set_list(struct settings *s, const struct yamltree *t, const struct yaml_node *n, const char *name,
                         const char *where, struct error *err)
{
    char *joined = malloc(VALUE_SIZE);
    if (!joined) return ERROR(err, ERR_NOMEM, "could not get memory for setting '%s'", name);
    enum err e = join_list(t, n, joined, err);
    if (!e) e = settings_set(s, name, joined, SOURCE_FILE, where, err);
    free(joined);
    return e;
}

/* "detect:" with all its lines commented out is an empty group, not an unknown setting. */
static bool is_group(const char *name)
{
    size_t n = strlen(name);
    for (int i = 0; i < SETTING_COUNT; i++)
        if (!strncmp(setting_name((enum setting_id)i), name, n) && setting_name((enum setting_id)i)[n] == '.') return true;
    return false;
}

static enum err walk(struct settings *s, const struct yamltree *t, const char *file, const char *prefix,
                     const struct yaml_node *map, struct error *err)
{
    for (const struct yaml_node *n = map->first; n; n = n->next) {
        char name[NAME_SIZE], where[600];
        int length = snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", n->key);
        if (length < 0 || (size_t)length >= sizeof name) return yaml_error(t, n, err, "the name is too long");
        snprintf(where, sizeof where, "%s:%d", file, n->line);
        enum err e = ERR_OK;
        if (n->kind == YAML_MAP)
            e = walk(s, t, file, name, n, err);
        else if (n->kind == YAML_LIST)
            e = set_list(s, t, n, name, where, err);
        else if (!yaml_is_null(n))
            e = settings_set(s, name, n->text, SOURCE_FILE, where, err);
        else if (!is_group(name))
            e = settings_set(s, name, "", SOURCE_FILE, where, err);
        if (e) return e;
    }
    return ERR_OK;
}

static enum err apply(struct settings *s, const struct yamltree *t, const char *name, struct error *err)
{
    const struct yaml_node *root = yamltree_root(t);
    if (root->kind != YAML_MAP) return yaml_error(t, root, err, "expected settings such as 'detect: {thresh: 1.5}'");
    return walk(s, t, name, "", root, err);
}

enum err settings_load_yaml(struct settings *s, const char *text, size_t size, const char *name, struct error *err)
{
    struct yamltree *t = NULL;
    enum err e = yamltree_parse(text, size, name, &t, err);
    if (!e) e = apply(s, t, name, err);
    yamltree_free(t);
    return e;
}

enum err settings_load_file(struct settings *s, const char *path, struct error *err)
{
    struct yamltree *t = NULL;
    enum err e = yamltree_read(path, &t, err);
    if (!e) e = apply(s, t, path, err);
    yamltree_free(t);
    return e;
}
