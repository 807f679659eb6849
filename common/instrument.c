/* The set of instrument files: shipped ones, those of NIGHTSHIFT_SHARE, those of the user's folders. */
#include "common/instrument.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/assets.h"
#include "common/cli.h"
#include "common/instrument_rules.h"
#include "common/text.h"

#define FOLDER     "data/instruments/"
#define FILE_MAX   ((size_t)1 << 20)
#define EXTENDS_MAX 8

/* all[0 .. n): in the order they are asked; generic, wherever it stands, is asked last. */
struct instruments {
    struct instrument **all;
    int n;
};

static void instrument_free(struct instrument *ins)
{
    if (!ins) return;
    yamltree_free(ins->tree);
    arena_free(ins->arena);
    free(ins);
}

void instruments_free(struct instruments *set)
{
    if (!set) return;
    for (int i = 0; i < set->n; i++) instrument_free(set->all[i]);
    free(set->all);
    free(set);
}

int instruments_count(const struct instruments *set)
{
    return set->n;
}

const struct instrument *instruments_at(const struct instruments *set, int i)
{
    return i >= 0 && i < set->n ? set->all[i] : NULL;
}

const struct instrument *instruments_find(const struct instruments *set, const char *name)
{
    for (int i = 0; i < set->n; i++)
        if (!strcmp(set->all[i]->name, name)) return set->all[i];
    return NULL;
}

const char *instrument_name(const struct instrument *ins)
{
    return ins->name;
}

const char *instrument_path(const struct instrument *ins)
{
    return ins->path;
}

const char *instrument_digest(const struct instrument *ins)
{
    return ins->digest;
}

bool instrument_is_multi_extension(const struct instrument *ins)
{
    return ins->multi;
}

/* ---- loading ----------------------------------------------------------------------------------------------------- */

/* "arcsat" of "arcsat.yaml"; names become parts of product paths, so only plain ones are taken. */
static enum err name_of_file(const char *path, char *ret, struct error *err)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t n = strlen(base);
    n = n > 5 && !strcmp(base + n - 5, ".yaml") ? n - 5 : n;
    if (n < 1 || n > 31 || strspn(base, "abcdefghijklmnopqrstuvwxyz0123456789_-") < n) {
        ERROR(err, ERR_SETTINGS, "an instrument file is named by 1 to 31 small letters, digits, '-' or '_' and .yaml");
        error_subject(err, path, 0);
        return ERR_SETTINGS;
    }
    snprintf(ret, 32, "%.*s", (int)n, base);
    return ERR_OK;
}

/* Add one file's text, unless a file of that name came earlier. */
static enum err add_text(struct instruments *set, const char *text, size_t size, const char *path, struct error *err)
{
    char name[32];
    struct yamltree *tree = NULL;
    enum err e = name_of_file(path, name, err);
    if (e || instruments_find(set, name)) return e;
    struct instrument **all = realloc(set->all, ((size_t)set->n + 1) * sizeof *all);
    if (!all) return ERROR(err, ERR_NOMEM, "could not get memory for '%s'", path);
    set->all = all;
    struct instrument *ins = calloc(1, sizeof *ins);
    if (!ins) return ERROR(err, ERR_NOMEM, "could not get memory for '%s'", path);
    set->all[set->n++] = ins;
    snprintf(ins->name, sizeof ins->name, "%s", name);
    snprintf(ins->path, sizeof ins->path, "%s", path);
    digest_buffer(text, size, ins->digest);
    e = yamltree_parse(text, size, path, &tree, err);
    return e ? e : instrument_compile(ins, tree, err);
}

static enum err add_file(struct instruments *set, const char *folder, const char *file, struct error *err)
{
    char path[4096];
    size_t size = 0;
    snprintf(path, sizeof path, "%s/%s", folder, file);
    errno = 0;
    char *text = text_read_file(path, FILE_MAX, &size);
    if (!text) {
        ERROR(err, ERR_SETTINGS, "cannot read the instrument file: %s", strerror(errno));
        error_subject(err, path, 0);
        return ERR_SETTINGS;
    }
    enum err e = add_text(set, text, size, path, err);
    free(text);
    return e;
}

static int is_instrument_file(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return d->d_name[0] != '.' && n > 5 && !strcmp(d->d_name + n - 5, ".yaml");
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name); /* alphasort() would obey the locale */
}

static enum err add_folder(struct instruments *set, const char *folder, bool must_exist, struct error *err)
{
    struct dirent **list = NULL;
    int n = scandir(folder, &list, is_instrument_file, by_name);
    if (n < 0) {
        if (!must_exist && errno == ENOENT) return ERR_OK;
        ERROR(err, ERR_SETTINGS, "cannot read the folder of instrument files: %s", strerror(errno));
        error_subject(err, folder, 0);
        return ERR_SETTINGS;
    }
    enum err e = ERR_OK;
    for (int i = 0; i < n; i++) {
        if (!e) e = add_file(set, folder, list[i]->d_name, err);
        free(list[i]);
    }
    free(list);
    return e;
}

static enum err add_folders(struct instruments *set, const char *paths, struct error *err)
{
    while (*paths) {
        char folder[2048];
        size_t n = strcspn(paths, ":");
        if (n >= sizeof folder) return ERROR(err, ERR_SETTINGS, "a folder of instrument.path is too long");
        snprintf(folder, sizeof folder, "%.*s", (int)n, paths);
        enum err e = n ? add_folder(set, folder, true, err) : ERR_OK;
        if (e) return e;
        paths += n + (paths[n] == ':');
    }
    return ERR_OK;
}

static enum err add_shipped(struct instruments *set, struct error *err)
{
    for (int i = 0; i < asset_table_size; i++) {
        const struct asset *a = &asset_table[i];
        char path[512];
        if (strncmp(a->name, FOLDER, strlen(FOLDER))) continue;
        snprintf(path, sizeof path, "(built in) %s", a->name);
        enum err e = add_text(set, a->data, a->size, path, err);
        if (e) return e;
    }
    return ERR_OK;
}

/* ---- extends ----------------------------------------------------------------------------------------------------- */

/* Take from `from` what ins leaves open. */
static enum err inherit(struct instrument *ins, const struct instrument *from, struct error *err)
{
    char both[2 * DIGEST_HEX_SIZE];
    for (int i = 0; i < QUANTITY_COUNT; i++)
        if (!ins->q[i].given) ins->q[i] = from->q[i];
    if (!ins->amp_labels.n) ins->amp_labels = from->amp_labels;
    if (!ins->multi_given) ins->multi = from->multi;
    if (from->nsettings) { /* its own come last: the later of equal strength wins */
        size_t n = (size_t)(ins->nsettings + from->nsettings);
        struct instrument_setting *all = arena_zalloc(ins->arena, n * sizeof *all);
        if (!all) return ERROR(err, ERR_NOMEM, "could not get memory for instrument '%s'", ins->name);
        memcpy(all, from->settings, (size_t)from->nsettings * sizeof *all);
        if (ins->nsettings) memcpy(all + from->nsettings, ins->settings, (size_t)ins->nsettings * sizeof *all);
        ins->settings = all;
        ins->nsettings = (int)n;
    }
    snprintf(both, sizeof both, "%s%s", ins->digest, from->digest);
    digest_buffer(both, strlen(both), ins->digest);
    return ERR_OK;
}

static enum err resolve(struct instruments *set, struct instrument *ins, int depth, struct error *err)
{
    if (!ins->extends) return ERR_OK;
    const struct yaml_node at = {.line = ins->extends_line};
    struct instrument *from = NULL;
    for (int i = 0; i < set->n; i++)
        if (!strcmp(set->all[i]->name, ins->extends)) from = set->all[i];
    if (!from) return yaml_error(ins->tree, &at, err, "there is no instrument '%s' to extend", ins->extends);
    if (depth == EXTENDS_MAX || from == ins) return yaml_error(ins->tree, &at, err, "instrument files extend each other in a circle");
    enum err e = resolve(set, from, depth + 1, err);
    if (!e) e = inherit(ins, from, err);
    ins->extends = NULL;
    return e;
}

/* ---- the set ----------------------------------------------------------------------------------------------------- */

static enum err load_all(struct instruments *set, const struct settings *s, struct error *err)
{
    char folder[4096];
    const char *share = getenv("NIGHTSHIFT_SHARE"), *forced = settings_string(s, SET_INSTRUMENT_NAME);
    enum err e = add_folders(set, settings_string(s, SET_INSTRUMENT_PATH), err);
    snprintf(folder, sizeof folder, "%s/%s", share ? share : "", FOLDER);
    if (!e && share && *share) e = add_folder(set, folder, false, err);
    if (!e) e = add_shipped(set, err);
    for (int i = 0; !e && i < set->n; i++) e = resolve(set, set->all[i], 0, err);
    if (e) return e;
    if (!instruments_find(set, "generic")) return ERROR(err, ERR_SETTINGS, "the instrument file 'generic' is missing");
    if (!*forced || instruments_find(set, forced)) return ERR_OK;
    struct text_nearest near = {.wanted = forced};
    for (int i = 0; i < set->n; i++) text_nearest_offer(&near, set->all[i]->name);
    ERROR(err, ERR_SETTINGS, "there is no instrument '%s' (instrument.name)", forced);
    if (near.name) error_hint(err, "did you mean '%s'?", near.name);
    return ERR_SETTINGS;
}

enum err instruments_load(const struct settings *s, struct instruments **ret, struct error *err)
{
    struct instruments *set = calloc(1, sizeof *set);
    if (!set) return ERROR(err, ERR_NOMEM, "could not get memory for the instruments");
    enum err e = load_all(set, s, err);
    if (e)
        instruments_free(set);
    else
        *ret = set;
    return e;
}

const struct instrument *instrument_of(const struct instruments *set, const struct settings *s, const struct header *primary)
{
    const char *forced = s ? settings_string(s, SET_INSTRUMENT_NAME) : "";
    const struct instrument *generic = instruments_find(set, "generic");
    if (*forced) {
        const struct instrument *ins = instruments_find(set, forced);
        if (ins) return ins;
    }
    for (int i = 0; i < set->n; i++) {
        const struct instrument *ins = set->all[i];
        if (ins != generic && ins->nmatch && rules_hold(ins->match, ins->nmatch, primary)) return ins;
    }
    return generic;
}

enum err instrument_apply_settings(const struct instrument *ins, struct settings *s, struct error *err)
{
    for (int i = 0; i < ins->nsettings; i++) {
        const struct instrument_setting *x = &ins->settings[i];
        enum err e = settings_set(s, x->name, x->value, SOURCE_INSTRUMENT, x->where, err);
        if (e) return e;
    }
    return ERR_OK;
}

void recipe_digest(const struct settings *s, const struct instrument *ins, char ret_hex[DIGEST_HEX_SIZE])
{
    char settings_hex[DIGEST_HEX_SIZE];
    struct digest *d = digest_new();
    ret_hex[0] = '\0';
    if (!d) return;
    settings_result_digest(s, settings_hex);
    digest_add_str(d, nightshift_result_version);
    digest_add_str(d, settings_hex);
    digest_add_str(d, instrument_digest(ins));
    digest_finish(d, ret_hex);
}
