/* Sky coordinates against astropy on real headers (tests/golden/make_wcs.py made the tables), their inverse, and headers
 * that are damaged at random. The seed is printed and may be given as argument. */
#include "common/header.h"
#include "common/skycoord.h"
#include "common/stats.h"
#include "tests/support/check.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>

#define POINTS 64

static uint64_t seed = 20250531;

struct golden {
    struct header header;
    double tolerance;
    int n;
    double x[POINTS], y[POINTS], ra[POINTS], dec[POINTS];
};

static void read_golden(const char *path, struct golden *g)
{
    char line[256], card[CARD_LENGTH];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    memset(g, 0, sizeof *g);
    header_init(&g->header);
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        if (g->tolerance == 0 && sscanf(line, "tolerance %lf", &g->tolerance) == 1) continue;
        if (g->tolerance > 0) {
            assert_true(g->n < POINTS);
            assert_int_equal(sscanf(line, "%lf %lf %lf %lf", &g->x[g->n], &g->y[g->n], &g->ra[g->n], &g->dec[g->n]), 4);
            g->n++;
            continue;
        }
        memset(card, ' ', sizeof card);
        memcpy(card, line, strlen(line) < sizeof card ? strlen(line) : sizeof card);
        assert_int_equal(header_append_card(&g->header, card), ERR_OK);
    }
    fclose(f);
}

static void check_golden(const char *path)
{
    struct golden g;
    struct skycoord *s = NULL;
    struct error err = ERROR_INIT;
    double ra[POINTS], dec[POINTS], x[POINTS], y[POINTS], worst = 0, back = 0;
    read_golden(path, &g);
    if (skycoord_new(&g.header, &s, &err) != ERR_OK) fail_msg("%s: %s", path, err.message);
    skycoord_to_sky(s, g.n, g.x, g.y, ra, dec, NULL);
    skycoord_to_pixel(s, g.n, ra, dec, x, y, NULL);
    for (int i = 0; i < g.n; i++) {
        worst = fmax(worst, sky_distance_deg(ra[i], dec[i], g.ra[i], g.dec[i]));
        back = fmax(back, hypot(x[i] - g.x[i], y[i] - g.y[i]));
        assert_true(ra[i] >= 0 && ra[i] < 360);
    }
    printf("%-60s %.1e deg, there and back %.1e px\n", strrchr(path, '/') + 1, worst, back);
    assert_true(worst <= g.tolerance);
    assert_true(back <= 1e-7); /* wcslib iterates distortions to a few 1e-9 px */
    skycoord_free(s);
    header_release(&g.header);
}

static void test_skycoord__equals_astropy(void **state)
{
    (void)state;
    glob_t found;
    assert_int_equal(glob(SOURCE_DIR "/tests/golden/wcs/*.txt", 0, NULL, &found), 0);
    assert_true(found.gl_pathc > 20);
    for (size_t i = 0; i < found.gl_pathc; i++) check_golden(found.gl_pathv[i]);
    globfree(&found);
}

/* Bytes, digits and whole cards change places; any answer is right that is an answer. */
static void damage(struct header *h, struct philox *p)
{
    static const char bytes[] = "0123456789.-+EDN'=/ \t\n\x80" "ANSIPTV_";
    int edits = 1 + (int)(philox_u32(p) % 8);
    while (edits-- > 0 && h->n > 0) {
        char *card = h->text + philox_u32(p) % (uint32_t)h->n * CARD_LENGTH;
        uint32_t at = philox_u32(p) % CARD_LENGTH;
        switch (philox_u32(p) % 4) {
        case 0: card[at] = bytes[philox_u32(p) % (sizeof bytes - 1)]; break;
        case 1: card[at % 30] = bytes[philox_u32(p) % (sizeof bytes - 1)]; break;
        case 2: memmove(card, h->text + philox_u32(p) % (uint32_t)h->n * CARD_LENGTH, CARD_LENGTH); break;
        default: card[5] = (char)('0' + philox_u32(p) % 10); break;
        }
    }
}

static void test_skycoord__survives_damage(void **state)
{
    (void)state;
    glob_t found;
    struct philox p;
    philox_init(&p, seed, 1);
    assert_int_equal(glob(SOURCE_DIR "/tests/golden/wcs/*.txt", 0, NULL, &found), 0);
    int good = 0, bad = 0;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct golden g;
        read_golden(found.gl_pathv[i], &g);
        for (int round = 0; round < 60; round++) {
            struct header h = {0};
            struct skycoord *s = NULL;
            double ra[POINTS], dec[POINTS], x[POINTS], y[POINTS];
            assert_int_equal(header_copy(&h, &g.header, NULL), ERR_OK);
            damage(&h, &p);
            if (skycoord_new(&h, &s, NULL) == ERR_OK) {
                good++;
                skycoord_to_sky(s, g.n, g.x, g.y, ra, dec, NULL);
                skycoord_to_pixel(s, g.n, g.ra, g.dec, x, y, NULL);
                for (int k = 0; k < g.n; k++) assert_true(isnan(ra[k]) || (ra[k] >= 0 && ra[k] < 360 && fabs(dec[k]) <= 90));
                skycoord_free(s);
            } else {
                assert_null(s);
                bad++;
            }
            header_release(&h);
        }
        header_release(&g.header);
    }
    printf("%d accepted, %d refused\n", good, bad);
    globfree(&found);
}

int main(int argc, char **argv)
{
    if (argc > 1) seed = strtoull(argv[1], NULL, 10);
    printf("seed %llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_skycoord__equals_astropy),
        cmocka_unit_test(test_skycoord__survives_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
