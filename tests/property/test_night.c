/* Groups and masters of a night do not depend on the order in which its files were found. */
#include "common/stats.h"
#include "jobrunner/night.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

#define FRAMES 60
#define SEED   20250530

static char path_names[FRAMES][16];

static struct night_frame frame(int i)
{
    static const enum frame_type types[] = {FRAME_BIAS, FRAME_DARK, FRAME_FLAT, FRAME_LIGHT, FRAME_LIGHT};
    static const char *const filters[] = {"g", "r", "G"};
    struct night_frame f = {.file = i, .hdu = 1, .type = types[i % 5], .ccd = i / 5 % 2, .nccd = 1, .binning_x = 1, .binning_y = 1, .nx = 10,
                            .ny = 10, .namp = 1, .exptime_s = i % 5 ? 30 : 0, .mjd_start = 60000 + 0.001 * i, .mjd_mid = 60000.0002 + 0.001 * i,
                            .ccd_temp_c = -20, .night = i < 50 ? 20250529 : 20250530, .group = -1, .master = {-1, -1, -1}};
    f.darktime_s = f.exptime_s;
    snprintf(f.instrument, sizeof f.instrument, "cam");
    if (f.type == FRAME_FLAT || f.type == FRAME_LIGHT) snprintf(f.filter, sizeof f.filter, "%s", filters[i / 5 % 3]);
    if (i == 17) {
        f.verdict = VERDICT_REFUSED;
        f.code = ERR_CORRUPT;
        f.night = 0;
    }
    return f;
}

static struct night *make(const int *order)
{
    struct night *n = calloc(1, sizeof *n);
    n->paths = calloc(FRAMES, sizeof *n->paths);
    n->frames = calloc(FRAMES, sizeof *n->frames);
    n->npaths = n->nframes = FRAMES;
    for (int i = 0; i < FRAMES; i++) {
        snprintf(path_names[i], sizeof path_names[i], "f%02d", i);
        n->paths[i] = strdup(path_names[i]);
        n->frames[i] = frame(order[i]);
    }
    struct settings *s = settings_new();
    assert_int_equal(night_arrange(n, s, NULL), ERR_OK);
    settings_free(s);
    return n;
}

static char *text_of(const struct night *n)
{
    json_t *j = night_json(n);
    char *text = json_dumps(j, JSON_SORT_KEYS);
    json_decref(j);
    return text;
}

static void test_night__any_order_gives_one_night(void **state)
{
    (void)state;
    int order[FRAMES];
    struct philox p;
    printf("seed %d\n", SEED);
    philox_init(&p, SEED, 0);
    for (int i = 0; i < FRAMES; i++) order[i] = i;
    struct night *first = make(order);
    char *want = text_of(first);
    for (int round = 0; round < 20; round++) {
        for (int i = FRAMES - 1; i > 0; i--) {
            int k = (int)(philox_u32(&p) % (uint32_t)(i + 1)), swap = order[i];
            order[i] = order[k];
            order[k] = swap;
        }
        struct night *n = make(order);
        char *got = text_of(n);
        assert_string_equal(got, want);
        free(got);
        night_free(n);
    }
    free(want);
    night_free(first);
}

static void test_night__groups_are_whole_and_masters_fit(void **state)
{
    (void)state;
    int order[FRAMES];
    for (int i = 0; i < FRAMES; i++) order[i] = i;
    struct night *n = make(order);
    int in_groups = 0;
    for (int g = 0; g < n->ngroups; g++) in_groups += n->groups[g].count;
    assert_int_equal(in_groups, FRAMES - 1); /* all but the refused one */
    for (int i = 0; i < n->nframes; i++) {
        const struct night_frame *f = &n->frames[i];
        for (int k = 0; k < 3; k++) {
            if (f->master[k] < 0) continue;
            const struct night_group *g = &n->groups[f->master[k]];
            assert_true(g->calib >= 0 && g->used >= 3);
            assert_int_equal(n->frames[g->first].ccd, f->ccd);
        }
        if (f->verdict == VERDICT_USED && f->type == FRAME_LIGHT) assert_true(f->master[0] >= 0 && f->master[2] >= 0);
        if (f->verdict != VERDICT_USED && f->verdict != VERDICT_REFUSED) assert_non_null(f->reason);
    }
    night_free(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_night__any_order_gives_one_night),
        cmocka_unit_test(test_night__groups_are_whole_and_masters_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
