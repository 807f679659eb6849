#include "common/yamltree.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "common/arena.h"
#include "common/text.h"

#define DEPTH_MAX 16
#define NODES_MAX 20000
#define FILE_MAX  ((size_t)4 << 20)
#define ARENA_MAX ((size_t)64 << 20)

struct yamltree {
    struct arena *arena;
    const char *name;
    const struct yaml_node *root;
};

/* What one call of parse_node() needs to know. */
struct parser {
    yaml_parser_t yaml;
    struct yamltree *tree;
    struct error *err;
    int nodes;
};

static enum err set_error(const char *name, int line, struct error *err, const char *message)
{
    char where[600];
    snprintf(where, sizeof where, "%s:%d", name, line);
    ERROR(err, ERR_SETTINGS, "%s", message);
    error_subject(err, where, 0);
    return ERR_SETTINGS;
}

enum err yaml_error(const struct yamltree *t, const struct yaml_node *n, struct error *err, const char *fmt, ...)
{
    char message[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    return set_error(t->name, n->line, err, message);
}

static int line_of(const yaml_mark_t *mark)
{
    return mark->line < 1000000000 ? (int)mark->line + 1 : 1000000000;
}

static enum err syntax_error(struct parser *p)
{
    char message[300];
    if (p->yaml.error == YAML_MEMORY_ERROR) return ERROR(p->err, ERR_NOMEM, "could not get memory for '%s'", p->tree->name);
    const char *problem = p->yaml.problem ? p->yaml.problem : "cannot be read";
    snprintf(message, sizeof message, "not valid YAML: %s%s%s", problem, p->yaml.context ? " " : "",
             p->yaml.context ? p->yaml.context : "");
    return set_error(p->tree->name, line_of(&p->yaml.problem_mark), p->err, message);
}

static enum err next_event(struct parser *p, yaml_event_t *event)
{
    return yaml_parser_parse(&p->yaml, event) ? ERR_OK : syntax_error(p);
}

static struct yaml_node *new_node(struct parser *p, const yaml_event_t *event, enum yaml_kind kind)
{
    struct yaml_node *n = arena_zalloc(p->tree->arena, sizeof *n);
    if (!n) {
        ERROR(p->err, ERR_NOMEM, "could not get memory for '%s'", p->tree->name);
        return NULL;
    }
    n->kind = kind;
    n->line = line_of(&event->start_mark);
    return n;
}

static enum err scalar_text(struct parser *p, const yaml_event_t *event, const char **ret)
{
    const char *text = (const char *)event->data.scalar.value;
    if (strlen(text) != event->data.scalar.length)
        return set_error(p->tree->name, line_of(&event->start_mark), p->err, "a NUL character in a value");
    *ret = arena_strdup(p->tree->arena, text);
    return *ret ? ERR_OK : ERROR(p->err, ERR_NOMEM, "could not get memory for '%s'", p->tree->name);
}

static enum err parse_node(struct parser *p, const yaml_event_t *event, int depth, struct yaml_node **ret);

/* The key of a map entry; *ret NULL at the end of the map. */
static enum err parse_key(struct parser *p, const struct yaml_node *map, const char **ret, int *ret_line)
{
    yaml_event_t event;
    enum err e = next_event(p, &event);
    if (e) return e;
    *ret = NULL;
    *ret_line = line_of(&event.start_mark);
    if (event.type == YAML_SCALAR_EVENT)
        e = scalar_text(p, &event, ret);
    else if (event.type != YAML_MAPPING_END_EVENT)
        e = set_error(p->tree->name, *ret_line, p->err, "a key must be a plain word");
    yaml_event_delete(&event);
    if (!e && *ret && yaml_child(map, *ret)) {
        char message[200];
        snprintf(message, sizeof message, "'%.60s' is given twice (first on line %d)", *ret, yaml_child(map, *ret)->line);
        e = set_error(p->tree->name, *ret_line, p->err, message);
    }
    return e;
}

static enum err parse_children(struct parser *p, struct yaml_node *parent, int depth)
{
    const struct yaml_node **tail = &parent->first;
    for (;;) {
        const char *key = NULL;
        int line = 0;
        if (parent->kind == YAML_MAP) {
            enum err e = parse_key(p, parent, &key, &line);
            if (e || !key) return e;
        }
        yaml_event_t event;
        enum err e = next_event(p, &event);
        if (e) return e;
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            return ERR_OK;
        }
        struct yaml_node *child = NULL;
        e = parse_node(p, &event, depth + 1, &child);
        yaml_event_delete(&event);
        if (e) return e;
        child->key = key;
        if (key) child->line = line;
        *tail = child;
        tail = &child->next;
        parent->nchildren++;
    }
}

static enum err parse_node(struct parser *p, const yaml_event_t *event, int depth, struct yaml_node **ret)
{
    int line = line_of(&event->start_mark);
    if (depth > DEPTH_MAX) return set_error(p->tree->name, line, p->err, "nested too deeply (16 levels at most)");
    if (++p->nodes > NODES_MAX) return set_error(p->tree->name, line, p->err, "too many values (20,000 at most)");
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        if (!(*ret = new_node(p, event, YAML_SCALAR))) return ERR_NOMEM;
        (*ret)->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        return scalar_text(p, event, &(*ret)->text);
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT:
        if (!(*ret = new_node(p, event, event->type == YAML_MAPPING_START_EVENT ? YAML_MAP : YAML_LIST))) return ERR_NOMEM;
        return parse_children(p, *ret, depth);
    case YAML_ALIAS_EVENT: return set_error(p->tree->name, line, p->err, "aliases (*name) are not allowed here");
    default: return set_error(p->tree->name, line, p->err, "a value is missing");
    }
}

/* Stream and document events around the root; a second document is refused. */
static enum err parse_document(struct parser *p)
{
    bool have_root = false;
    for (;;) {
        yaml_event_t event;
        enum err e = next_event(p, &event);
        if (e) return e;
        yaml_event_type_t type = event.type;
        struct yaml_node *root = NULL;
        if (type != YAML_STREAM_START_EVENT && type != YAML_STREAM_END_EVENT && type != YAML_DOCUMENT_START_EVENT &&
            type != YAML_DOCUMENT_END_EVENT)
            e = parse_node(p, &event, 0, &root);
        else if (type == YAML_DOCUMENT_START_EVENT && have_root)
            e = set_error(p->tree->name, line_of(&event.start_mark), p->err, "a second document in one file");
        yaml_event_delete(&event);
        if (e || type == YAML_STREAM_END_EVENT) return e;
        if (root) {
            have_root = true;
            if (!yaml_is_null(root)) p->tree->root = root;
        }
    }
}

enum err yamltree_parse(const char *text, size_t size, const char *name, struct yamltree **ret, struct error *err)
{
    static const struct yaml_node empty = {.kind = YAML_MAP, .line = 1};
    struct parser p = {.err = err};
    struct yamltree *t = calloc(1, sizeof *t);
    if (t) t->arena = arena_new(ARENA_MAX);
    if (t && t->arena) t->name = arena_strdup(t->arena, name);
    if (!t || !t->arena || !t->name || !yaml_parser_initialize(&p.yaml)) {
        yamltree_free(t);
        return ERROR(err, ERR_NOMEM, "could not get memory for '%s'", name);
    }
    t->root = &empty;
    p.tree = t;
    yaml_parser_set_input_string(&p.yaml, (const unsigned char *)text, size);
    enum err e = parse_document(&p);
    yaml_parser_delete(&p.yaml);
    if (e)
        yamltree_free(t);
    else
        *ret = t;
    return e;
}

enum err yamltree_read(const char *path, struct yamltree **ret, struct error *err)
{
    errno = 0;
    size_t size = 0;
    char *text = text_read_file(path, FILE_MAX, &size);
    if (!text) {
        int why = errno;
        ERROR(err, why == ENOMEM ? ERR_NOMEM : ERR_SETTINGS, "cannot read the file: %s", strerror(why));
        error_subject(err, path, 0);
        return why == ENOMEM ? ERR_NOMEM : ERR_SETTINGS;
    }
    enum err e = yamltree_parse(text, size, path, ret, err);
    free(text);
    return e;
}

void yamltree_free(struct yamltree *t)
{
    if (!t) return;
    arena_free(t->arena);
    free(t);
}

const struct yaml_node *yamltree_root(const struct yamltree *t)
{
    return t->root;
}

const struct yaml_node *yaml_child(const struct yaml_node *map, const char *key)
{
    if (!map || map->kind != YAML_MAP) return NULL;
    for (const struct yaml_node *n = map->first; n; n = n->next)
        if (!strcmp(n->key, key)) return n;
    return NULL;
}

bool yaml_is_null(const struct yaml_node *n)
{
    return n->kind == YAML_SCALAR && !n->quoted && (!*n->text || !strcmp(n->text, "~") || !strcmp(n->text, "null"));
}
