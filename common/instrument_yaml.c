/* Compiles an instrument file. The grammar is in docs/instruments.md; every unknown word is an error with its line. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/instrument_rules.h"
#include "common/text.h"

#define ARENA_MAX ((size_t)32 << 20)
#define ITEMS_MAX 1000

const struct quantity_row quantity_rows[QUANTITY_COUNT] = {
#define Q(id, group, key, kind, lo, hi) {group, key, kind, lo, hi},
    INSTRUMENT_QUANTITIES(Q)
#undef Q
};

/* What each compiling function needs. */
struct compiler {
    struct instrument *ins;
    struct error *err;
};

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

static enum err no_memory(struct compiler *c)
{
    return ERROR(c->err, ERR_NOMEM, "could not get memory for instrument '%s'", c->ins->name);
}

#define BAD(c, node, ...) yaml_error((c)->ins->tree, (node), (c)->err, __VA_ARGS__)

static void *get_array(struct compiler *c, int n, size_t size)
{
    void *p = arena_zalloc(c->ins->arena, (size_t)(n > 0 ? n : 1) * size);
    if (!p) no_memory(c);
    return p;
}

static enum err unknown_key(struct compiler *c, const struct yaml_node *n, const char *const *known, int n_known)
{
    struct text_nearest near = {.wanted = n->key};
    for (int i = 0; i < n_known; i++) text_nearest_offer(&near, known[i]);
    enum err e = BAD(c, n, "unknown key '%.60s'", n->key);
    if (near.name) error_hint(c->err, "did you mean '%s'?", near.name);
    return e;
}

static enum err get_text(struct compiler *c, const struct yaml_node *n, const char **ret)
{
    if (n->kind != YAML_SCALAR || yaml_is_null(n)) return BAD(c, n, "expected a word");
    if (strlen(n->text) > 200) return BAD(c, n, "the word is too long (200 characters at most)");
    *ret = n->text;
    return ERR_OK;
}

static enum err get_number(struct compiler *c, const struct yaml_node *n, double *ret)
{
    const char *text = "";
    char *end;
    enum err e = get_text(c, n, &text);
    if (e) return e;
    double x = strtod(text, &end);
    if (end == text || *end || !isfinite(x)) return BAD(c, n, "'%.60s' is no number", text);
    *ret = x;
    return ERR_OK;
}

static enum err get_bool(struct compiler *c, const struct yaml_node *n, bool *ret)
{
    const char *text = "";
    enum err e = get_text(c, n, &text);
    if (e) return e;
    if (strcmp(text, "true") && strcmp(text, "false")) return BAD(c, n, "expected true or false");
    *ret = !strcmp(text, "true");
    return ERR_OK;
}

/* One of n words; *ret is its number. */
static enum err get_choice(struct compiler *c, const struct yaml_node *node, const char *const *words, int n, int *ret)
{
    const char *text = "";
    char all[200] = "";
    enum err e = get_text(c, node, &text);
    if (e) return e;
    for (int i = 0; i < n; i++) {
        if (!strcmp(text, words[i])) {
            *ret = i;
            return ERR_OK;
        }
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", words[i]);
    }
    return BAD(c, node, "'%.60s' is none of %s", text, all);
}

/* A word or a list of words. */
static enum err get_words(struct compiler *c, const struct yaml_node *node, struct words *ret)
{
    bool list = node->kind == YAML_LIST;
    int n = list ? node->nchildren : 1;
    if (n > ITEMS_MAX) return BAD(c, node, "the list is too long (%d at most)", ITEMS_MAX);
    ret->v = get_array(c, n, sizeof *ret->v);
    ret->n = 0;
    if (!ret->v) return ERR_NOMEM;
    for (const struct yaml_node *item = list ? node->first : node; item; item = list ? item->next : NULL) {
        enum err e = get_text(c, item, &ret->v[ret->n++]);
        if (e) return e;
    }
    return ERR_OK;
}

/* ---- rules ------------------------------------------------------------------------------------------------------- */

static enum err compile_rule(struct compiler *c, const struct yaml_node *node, struct rule *r)
{
    static const char *const known[] = {"keyword", "exists", "equals", "like"};
    bool exists = true;
    int conditions = 0;
    if (node->kind != YAML_MAP) return BAD(c, node, "expected a rule such as {keyword: INSTRUME, equals: NAME}");
    for (const struct yaml_node *n = node->first; n; n = n->next) {
        enum err e = ERR_OK;
        if (!strcmp(n->key, "keyword"))
            e = get_text(c, n, &r->keyword);
        else if (!strcmp(n->key, "exists"))
            e = get_bool(c, n, &exists), r->op = exists ? RULE_EXISTS : RULE_ABSENT, conditions++;
        else if (!strcmp(n->key, "equals"))
            e = get_words(c, n, &r->words), r->op = RULE_EQUALS, conditions++;
        else if (!strcmp(n->key, "like"))
            e = get_words(c, n, &r->words), r->op = RULE_LIKE, conditions++;
        else
            e = unknown_key(c, n, known, 4);
        if (e) return e;
    }
    if (!r->keyword) return BAD(c, node, "the rule names no keyword");
    return conditions == 1 ? ERR_OK : BAD(c, node, "a rule has one condition: exists, equals or like");
}

/* A rule or a list of rules. */
static enum err compile_rules(struct compiler *c, const struct yaml_node *node, struct rule **ret, int *ret_n)
{
    bool list = node->kind == YAML_LIST;
    int n = list ? node->nchildren : 1, i = 0;
    if (n > ITEMS_MAX) return BAD(c, node, "the list is too long (%d at most)", ITEMS_MAX);
    struct rule *rules = get_array(c, n, sizeof *rules);
    if (!rules) return ERR_NOMEM;
    for (const struct yaml_node *item = list ? node->first : node; item; item = list ? item->next : NULL) {
        enum err e = compile_rule(c, item, &rules[i++]);
        if (e) return e;
    }
    *ret = rules;
    *ret_n = n;
    return ERR_OK;
}

/* ---- candidates -------------------------------------------------------------------------------------------------- */

static const char *const frame_words[] = {"bias", "dark", "flat", "light", "other"};
static const char *const trust_words[] = {"none", "approximate", "good"};
static const char *const wcs_frame_words[] = {"raw", "trimmed"};

/* A constant or the target of a map must be a word the quantity knows. */
static enum err check_word(struct compiler *c, const struct yaml_node *n, enum quantity_kind kind, const char *word)
{
    const struct yaml_node probe = {.kind = YAML_SCALAR, .line = n->line, .text = word, .quoted = true};
    int ignored;
    double number;
    switch (kind) {
    case KIND_TYPE: return get_choice(c, &probe, frame_words, 5, &ignored);
    case KIND_TRUST: return get_choice(c, &probe, trust_words, 3, &ignored);
    case KIND_WCS_FRAME: return get_choice(c, &probe, wcs_frame_words, 2, &ignored);
    case KIND_NUMBER: return get_number(c, &probe, &number);
    default: return ERR_OK;
    }
}

static enum err compile_values(struct compiler *c, const struct yaml_node *n, enum quantity_kind kind, struct candidate *k)
{
    enum err e = get_words(c, n, &k->values);
    if (!e && kind == KIND_TIME) e = BAD(c, n, "a time has no constant value");
    for (int i = 0; !e && i < k->values.n; i++) e = check_word(c, n, kind, k->values.v[i]);
    return e;
}

static enum err compile_time_option(struct compiler *c, const struct yaml_node *n, struct candidate *k, bool *ret_known)
{
    static const char *const formats[] = {"iso", "mjd", "jd"}, *const moments[] = {"start", "mid", "end"},
                            *const hours[] = {"hours", "seconds"};
    static const char *const scales[] = {"UTC", "TAI", "TT", "TDB", "GPS", "UT1"};
    int choice = 0;
    enum err e = ERR_OK;
    *ret_known = true;
    if (!strcmp(n->key, "format")) {
        e = get_choice(c, n, formats, 3, &choice);
        k->format = (enum time_format)choice;
    } else if (!strcmp(n->key, "at")) {
        e = get_choice(c, n, moments, 3, &choice);
        k->at = (enum time_moment)choice;
    } else if (!strcmp(n->key, "with")) {
        e = get_words(c, n, &k->with);
    } else if (!strcmp(n->key, "with_unit")) {
        e = get_choice(c, n, hours, 2, &choice);
        k->with_hours = choice ? 1.0 / 3600.0 : 1.0;
    } else if (!strcmp(n->key, "scale")) {
        e = get_choice(c, n, scales, 6, &choice);
        k->scale_name = scales[choice];
    } else if (!strcmp(n->key, "shift")) {
        e = get_number(c, n, &k->shift_s);
    } else {
        *ret_known = false;
    }
    return e;
}

static enum err compile_number_option(struct compiler *c, const struct yaml_node *n, enum quantity_kind kind, struct candidate *k,
                                      bool *ret_known)
{
    static const char *const units[] = {"auto", "degrees", "hours", "electron"};
    int choice = 0;
    *ret_known = true;
    if (!strcmp(n->key, "scale")) return get_number(c, n, &k->scale);
    if (!strcmp(n->key, "offset")) return get_number(c, n, &k->offset);
    if (!strcmp(n->key, "min")) return get_number(c, n, &k->min);
    if (!strcmp(n->key, "max")) return get_number(c, n, &k->max);
    if (!strcmp(n->key, "divide_by")) return get_text(c, n, &k->divide_by);
    if (kind == KIND_ANGLE && !strcmp(n->key, "west")) return get_bool(c, n, &k->west);
    if (!strcmp(n->key, "obsgeo")) return get_bool(c, n, &k->obsgeo);
    if (!strcmp(n->key, "unit")) {
        enum err e = get_choice(c, n, units, 4, &choice);
        k->unit = (enum angle_unit)choice;
        return e;
    }
    *ret_known = false;
    return ERR_OK;
}

static enum err compile_option(struct compiler *c, const struct yaml_node *n, enum quantity_kind kind, struct candidate *k)
{
    static const char *const known[] = {"keyword", "value", "when", "ignore", "word", "scale", "offset", "min", "max", "divide_by",
                                        "unit", "west", "obsgeo", "format", "with", "with_unit", "at", "shift"};
    bool is_known = false;
    double word = 0;
    enum err e = ERR_OK;
    if (!strcmp(n->key, "keyword")) return get_text(c, n, &k->keyword);
    if (!strcmp(n->key, "value")) return compile_values(c, n, kind, k);
    if (!strcmp(n->key, "when")) return compile_rules(c, n, &k->when, &k->nwhen);
    if (!strcmp(n->key, "ignore")) return get_words(c, n, &k->ignore);
    if (!strcmp(n->key, "word")) {
        e = get_number(c, n, &word);
        if (!e && (word < 1 || word > 100 || word != floor(word))) e = BAD(c, n, "'word' counts from 1 to 100");
        k->word = e ? 0 : (int)word;
        return e;
    }
    if (kind == KIND_TIME)
        e = compile_time_option(c, n, k, &is_known);
    else if (kind == KIND_NUMBER || kind == KIND_ANGLE)
        e = compile_number_option(c, n, kind, k, &is_known);
    if (e || is_known) return e;
    for (int i = 0; i < (int)(sizeof known / sizeof known[0]); i++)
        if (!strcmp(n->key, known[i])) return BAD(c, n, "'%s' does not fit this quantity", n->key);
    return unknown_key(c, n, known, (int)(sizeof known / sizeof known[0]));
}

static bool looks_like_number(const char *text)
{
    char *end;
    strtod(text, &end);
    return end != text && !*end;
}

/* A keyword, a plain number, or a map of options. */
static enum err compile_candidate(struct compiler *c, const struct yaml_node *node, enum quantity_kind kind, struct candidate *k)
{
    *k = (struct candidate){.scale = 1, .min = NAN, .max = NAN, .with_hours = 1};
    if (node->kind == YAML_LIST) return BAD(c, node, "expected a keyword or {keyword: NAME, ...}");
    if (node->kind == YAML_SCALAR) {
        enum err e = get_text(c, node, &k->keyword);
        if (e || !looks_like_number(k->keyword) || node->quoted) return e;
        k->keyword = NULL;
        return compile_values(c, node, kind, k);
    }
    for (const struct yaml_node *n = node->first; n; n = n->next) {
        enum err e = compile_option(c, n, kind, k);
        if (e) return e;
    }
    int sources = (k->keyword != NULL) + (k->values.n > 0) + k->obsgeo;
    return sources == 1 ? ERR_OK : BAD(c, node, "expected one of keyword, value or obsgeo");
}

static enum err compile_candidates(struct compiler *c, const struct yaml_node *node, enum quantity_kind kind, struct quantity *q)
{
    bool list = node->kind == YAML_LIST;
    int n = list ? node->nchildren : 1;
    if (n > ITEMS_MAX) return BAD(c, node, "the list is too long (%d at most)", ITEMS_MAX);
    q->c = get_array(c, n, sizeof *q->c);
    if (!q->c) return ERR_NOMEM;
    for (const struct yaml_node *item = list ? node->first : node; item; item = list ? item->next : NULL) {
        enum err e = compile_candidate(c, item, kind, &q->c[q->n++]);
        if (e) return e;
    }
    return ERR_OK;
}

/* map: {light: ['light*', 'object'], ...} */
static enum err compile_map(struct compiler *c, const struct yaml_node *node, enum quantity_kind kind, struct quantity *q)
{
    if (node->kind != YAML_MAP) return BAD(c, node, "expected a map such as {light: ['light*', object]}");
    if (kind == KIND_NUMBER || kind == KIND_ANGLE || kind == KIND_TIME || kind == KIND_SECTION)
        return BAD(c, node, "this quantity has no map");
    q->map = get_array(c, node->nchildren, sizeof *q->map);
    if (!q->map) return ERR_NOMEM;
    for (const struct yaml_node *n = node->first; n; n = n->next) {
        struct word_map *m = &q->map[q->nmap++];
        m->to = n->key;
        enum err e = check_word(c, n, kind, n->key);
        if (!e) e = get_words(c, n, &m->patterns);
        if (e) return e;
    }
    return ERR_OK;
}

/* Candidates, or {from: candidates, map: {...}}; "none" takes back what the file extended says. */
static enum err compile_quantity(struct compiler *c, const struct yaml_node *node, enum quantity_id id)
{
    static const char *const known[] = {"from", "map"};
    struct quantity *q = &c->ins->q[id];
    enum quantity_kind kind = quantity_rows[id].kind;
    q->given = true;
    if (node->kind == YAML_SCALAR && !node->quoted && !strcmp(node->text, "none") && kind != KIND_TRUST) return ERR_OK;
    if (!yaml_child(node, "from")) return compile_candidates(c, node, kind, q);
    for (const struct yaml_node *n = node->first; n; n = n->next) {
        enum err e = !strcmp(n->key, "from") ? compile_candidates(c, n, kind, q)
                     : !strcmp(n->key, "map") ? compile_map(c, n, kind, q)
                                              : unknown_key(c, n, known, 2);
        if (e) return e;
    }
    return ERR_OK;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static enum err compile_group(struct compiler *c, const struct yaml_node *group)
{
    const char *known[QUANTITY_COUNT + 1];
    int n_known = 0;
    if (group->kind == YAML_SCALAR && yaml_is_null(group)) return ERR_OK;
    if (group->kind != YAML_MAP) return BAD(c, group, "expected quantities below '%s:'", group->key);
    bool amplifiers = !strcmp(group->key, "amplifiers");
    for (int i = 0; i < QUANTITY_COUNT; i++)
        if (!strcmp(quantity_rows[i].group, group->key)) known[n_known++] = quantity_rows[i].key;
    if (amplifiers) known[n_known++] = "labels";
    for (const struct yaml_node *n = group->first; n; n = n->next) {
        enum err e;
        int id = 0;
        while (id < QUANTITY_COUNT && (strcmp(quantity_rows[id].group, group->key) || strcmp(quantity_rows[id].key, n->key))) id++;
        if (id < QUANTITY_COUNT)
            e = compile_quantity(c, n, (enum quantity_id)id);
        else if (amplifiers && !strcmp(n->key, "labels"))
            e = get_words(c, n, &c->ins->amp_labels);
        else
            e = unknown_key(c, n, known, n_known);
        if (e) return e;
    }
    return ERR_OK;
}

static int count_leaves(const struct yaml_node *n)
{
    int count = 0;
    if (n->kind != YAML_MAP) return 1;
    for (const struct yaml_node *child = n->first; child; child = child->next) count += count_leaves(child);
    return count;
}

/* The text of a setting: a scalar, or a list joined with commas. NULL: no memory or no such thing (error set). */
static const char *setting_text(struct compiler *c, const struct yaml_node *n)
{
    struct words list;
    if (n->kind == YAML_SCALAR) return n->text;
    if (get_words(c, n, &list)) return NULL;
    size_t size = 1;
    for (int i = 0; i < list.n; i++) size += strlen(list.v[i]) + 1;
    char *text = get_array(c, (int)size, 1);
    for (int i = 0; text && i < list.n; i++) {
        if (i) strcat(text, ",");
        strcat(text, list.v[i]);
    }
    return text;
}

static enum err compile_settings(struct compiler *c, const struct yaml_node *node, const char *prefix, struct settings *probe)
{
    for (const struct yaml_node *n = node->first; n; n = n->next) {
        char name[200], where[600];
        if (snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", n->key) >= (int)sizeof name)
            return BAD(c, n, "the name is too long");
        if (n->kind == YAML_MAP) {
            enum err e = compile_settings(c, n, name, probe);
            if (e) return e;
            continue;
        }
        snprintf(where, sizeof where, "%s:%d", c->ins->path, n->line);
        struct instrument_setting *s = &c->ins->settings[c->ins->nsettings++];
        s->name = arena_strdup(c->ins->arena, name);
        s->where = arena_strdup(c->ins->arena, where);
        if (!s->name || !s->where) return no_memory(c);
        if (!(s->value = setting_text(c, n))) return c->err && c->err->code ? c->err->code : ERR_SETTINGS;
        enum err e = settings_set(probe, s->name, s->value, SOURCE_INSTRUMENT, s->where, c->err);
        if (e) return e;
    }
    return ERR_OK;
}

static enum err compile_settings_group(struct compiler *c, const struct yaml_node *node)
{
    if (node->kind == YAML_SCALAR && yaml_is_null(node)) return ERR_OK;
    if (node->kind != YAML_MAP) return BAD(c, node, "expected settings such as {detect: {thresh: 1.5}}");
    struct settings *probe = settings_new(); /* each value is tried at once, so that its line can be named */
    c->ins->settings = get_array(c, count_leaves(node), sizeof *c->ins->settings);
    enum err e = probe && c->ins->settings ? compile_settings(c, node, "", probe) : no_memory(c);
    settings_free(probe);
    return e;
}

static enum err compile_top(struct compiler *c, const struct yaml_node *n)
{
    static const char *const known[] = {"description", "extends", "match", "extensions", "header", "wcs", "amplifiers", "settings"};
    static const char *const extensions[] = {"first", "all"};
    const char *text = "";
    int choice = 0;
    enum err e;
    if (!strcmp(n->key, "description")) return n->kind == YAML_SCALAR ? ERR_OK : get_text(c, n, &text);
    if (!strcmp(n->key, "match")) return compile_rules(c, n, &c->ins->match, &c->ins->nmatch);
    if (!strcmp(n->key, "settings")) return compile_settings_group(c, n);
    if (!strcmp(n->key, "header") || !strcmp(n->key, "wcs") || !strcmp(n->key, "amplifiers")) return compile_group(c, n);
    if (!strcmp(n->key, "extends")) {
        c->ins->extends_line = n->line;
        return get_text(c, n, &c->ins->extends);
    }
    if (!strcmp(n->key, "extensions")) {
        e = get_choice(c, n, extensions, 2, &choice);
        c->ins->multi = choice == 1;
        c->ins->multi_given = true;
        return e;
    }
    return unknown_key(c, n, known, (int)(sizeof known / sizeof known[0]));
}

enum err instrument_compile(struct instrument *ins, struct yamltree *tree, struct error *err)
{
    struct error local = ERROR_INIT;
    struct compiler c = {.ins = ins, .err = err ? err : &local};
    ins->tree = tree;
    ins->arena = arena_new(ARENA_MAX);
    if (!ins->arena) return no_memory(&c);
    const struct yaml_node *root = yamltree_root(tree);
    if (root->kind != YAML_MAP) return BAD(&c, root, "expected 'match:', 'header:' and the like");
    for (const struct yaml_node *n = root->first; n; n = n->next) {
        enum err e = compile_top(&c, n);
        if (e) return e;
    }
    return ERR_OK;
}
