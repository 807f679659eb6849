#include "common/instrument.h"
#include "common/text.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct settings *settings;
static struct instruments *set;

static int load_shipped(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    char line[1024];
    settings = settings_new();
    if (instruments_load(settings, &set, &err)) {
        printf("%s\n", error_line(&err, line, sizeof line));
        return -1;
    }
    return 0;
}

static int free_shipped(void **state)
{
    (void)state;
    instruments_free(set);
    settings_free(settings);
    return 0;
}

/* A header from lines, ending with NULL. */
static struct header parse(const char *const *lines)
{
    struct header h;
    header_init(&h);
    for (int i = 0; lines[i]; i++) {
        char card[CARD_LENGTH + 1];
        snprintf(card, sizeof card, "%-80.80s", lines[i]);
        assert_int_equal(header_append_card(&h, card), ERR_OK);
    }
    return h;
}
#define LINES(...) (const char *const[]){__VA_ARGS__, NULL}

/* What the instruments make of some lines. */
static struct exposure_meta meta_of(const struct instruments *all, const char *const *lines, int64_t nx, int64_t ny, enum err want)
{
    struct exposure_meta m;
    struct error err = ERROR_INIT;
    struct header h = parse(lines);
    const struct instrument *ins = instrument_of(all, settings, &h);
    enum err e = instrument_meta(ins, settings, &h, nx, ny, 1, &m, &err);
    if (e != want) fail_msg("%s: %s", instrument_name(ins), err.message);
    if (e) snprintf(m.problem, sizeof m.problem, "%.190s", err.message);
    header_release(&h);
    return m;
}

/* Instruments with one more file "test.yaml". */
static enum err load_yaml(const char *yaml, struct instruments **ret, struct error *err)
{
    char *folder = test_make_folder(), path[200];
    struct settings *s = settings_new();
    snprintf(path, sizeof path, "%s/test.yaml", folder);
    FILE *f = fopen(path, "w");
    fputs(yaml, f);
    fclose(f);
    settings_set(s, "instrument.path", folder, SOURCE_COMMAND_LINE, "test", NULL);
    enum err e = instruments_load(s, ret, err);
    settings_free(s);
    test_remove_folder(folder);
    return e;
}

static void test_instrument__generic_knows_the_synonyms(void **state)
{
    (void)state;
    struct exposure_meta m = meta_of(
        set, LINES("OBSTYPE = 'Dome Flat'", "EXPOSURE= '30.5'", "FILTER1 = 'Clear'", "FILTER2 = 'r'", "DATE-OBS= '2025-05-30'",
                   "UT      = '02:58:39.5'", "SITELONG= '-105 49 13'", "EGAIN   = 1.5", "GAIN    = 120", "CCDSUM  = '2 3'",
                   "RA      = '16 00 44.00'", "DEC     = '-00:30:00'", "CCD-TEMP= -2.5D+1"),
        100, 50, ERR_OK);
    assert_string_equal(m.instrument, "generic");
    assert_int_equal(m.type, FRAME_FLAT);
    assert_close(m.exptime_s, 30.5, 0);
    assert_close(m.darktime_s, 30.5, 0);
    assert_string_equal(m.filter, "r");
    assert_close(m.mjd_start, 60825 + (2 + 58 / 60. + 39.5 / 3600) / 24, 1e-9); /* a tenth of a millisecond */
    assert_close(m.mjd_mid - m.mjd_start, 15.25 / 86400, 1e-9);
    assert_int_equal(m.night, 20250529);
    assert_close(m.longitude_deg, -(105 + 49 / 60. + 13 / 3600.), 1e-12);
    assert_false(m.longitude_assumed);
    assert_close(m.amp[0].gain_e_per_adu, 1.5, 0);
    assert_true(isnan(m.amp[0].rdnoise_e));
    assert_int_equal(m.binning_x, 2);
    assert_int_equal(m.binning_y, 3);
    assert_close(m.ra_deg, 15 * (16 + 44 / 3600.), 1e-12);
    assert_close(m.dec_deg, -0.5, 1e-15);
    assert_close(m.ccd_temp_c, -25, 0);
    assert_int_equal(m.wcs, WCS_NONE);
    assert_string_equal(m.problem, "");
    assert_string_equal(m.note, "");
}

static void test_instrument__frame_types(void **state)
{
    (void)state;
    static const struct {
        const char *card;
        enum frame_type type;
    } cases[] = {{"IMAGETYP= 'Light Frame'", FRAME_LIGHT}, {"IMAGETYP= 'BIAS'", FRAME_BIAS},       {"IMAGETYP= 'zero'", FRAME_BIAS},
                 {"IMAGETYP= 'Dark Frame'", FRAME_DARK},   {"IMAGETYP= 'FLAT DARK'", FRAME_DARK},  {"IMAGETYP= 'SKYFLAT'", FRAME_FLAT},
                 {"OBSTYPE = 'object'", FRAME_LIGHT},      {"IMAGETYP= 'Master Flat'", FRAME_OTHER}, {"FRAME   = 'Focus'", FRAME_OTHER},
                 {"IMAGETYP= 'science'", FRAME_LIGHT},     {"IMAGETYP= 'EXT'", FRAME_UNKNOWN},     {"COMMENT x", FRAME_UNKNOWN}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct exposure_meta m = meta_of(set, LINES(cases[i].card, "EXPTIME = 1", "DATE-OBS= '2025-05-30T00:00:00'"), 10, 10, ERR_OK);
        if (m.type != cases[i].type) fail_msg("%s is %s", cases[i].card, frame_type_name(m.type));
        assert_int_equal(m.problem[0] != '\0', m.type == FRAME_UNKNOWN);
    }
}

static void test_instrument__what_is_missing_is_said(void **state)
{
    (void)state;
    struct exposure_meta m = meta_of(set, LINES("IMAGETYP= 'LIGHT'", "DATE-OBS= '2025-05-30T00:00:00'"), 10, 10, ERR_OK);
    assert_string_equal(m.problem, "no exposure time (EXPTIME, EXPOSURE, ITIME, EXP_TIME ...)");
    assert_true(m.longitude_assumed);
    assert_true(isnan(m.mjd_mid));
    assert_int_equal(m.night, 20250529);
    m = meta_of(set, LINES("IMAGETYP= 'LIGHT'", "EXPTIME = 'abc'", "EXPOSURE= -3", "DATE-OBS= '2025-05-30'"), 10, 10, ERR_OK);
    assert_true(isnan(m.exptime_s));
    m = meta_of(set, LINES("IMAGETYP= 'LIGHT'", "EXPTIME = 3", "DATE-OBS= '2025-05-30'"), 10, 10, ERR_OK);
    assert_memory_equal(m.problem, "no time of observation (DATE-OBS", 32); /* midnight would be a guess */
    assert_int_equal(m.night, 0);
    m = meta_of(set, LINES("IMAGETYP= 'EXT'", "EXPTIME = 3"), 10, 10, ERR_OK);
    assert_memory_equal(m.problem, "unknown frame type 'EXT' (IMAGETYP, OBSTYPE", 43);
    m = meta_of(set, LINES("IMAGETYP= 'bias'", "DATE-OBS= '2025-05-30T00:00:00'", "GAIN    = 139"), 10, 10, ERR_OK);
    assert_close(m.exptime_s, 0, 0);
    assert_true(isnan(m.amp[0].gain_e_per_adu));
    assert_string_equal(m.note, "GAIN = 139 is no gain");
}

static void test_instrument__times(void **state)
{
    (void)state;
    static const struct {
        const char *card[3];
        double start, mid;
    } cases[] = {
        {{"DATE-OBS= '2025-05-30T12:00:00'", "TIMESYS = 'TAI'"}, 60825.5 - 37 / 86400., 60825.5 - 32 / 86400.},
        {{"DATE-OBS= '2025-05-30T12:00:00'", "TIMESYS = 'TT(TAI)'"}, 60825.5 - 69.184 / 86400, 60825.5 - 64.184 / 86400},
        {{"DATE-OBS= '30/05/95'", "TIME-OBS= '12:00:00'", "TIMESYS = 'UTC approximate'"}, 49867.5, 49867.5 + 5 / 86400.},
        {{"MJD-OBS = 60825.5"}, 60825.5, 60825.5 + 5 / 86400.},
        {{"JD      = 2460826.0"}, 60825.5, 60825.5 + 5 / 86400.},
        {{"MJD-AVG = 60825.5"}, 60825.5 - 5 / 86400., 60825.5},
        {{"DATE-OBS= '2025-05-30'", "UT      = 12.0"}, 60825.5, 60825.5 + 5 / 86400.},
        {{"MJD-OBS = 0.0", "JD      = 2460826.0"}, 60825.5, 60825.5 + 5 / 86400.},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const *c = cases[i].card;
        struct exposure_meta m = meta_of(set, LINES("IMAGETYP= 'LIGHT'", "EXPTIME = 10", c[0], c[1] ? c[1] : "", c[2] ? c[2] : ""), 10, 10, ERR_OK);
        assert_close(m.mjd_start, cases[i].start, 1e-8); /* a millisecond */
        assert_close(m.mjd_mid, cases[i].mid, 1e-8);
        assert_string_equal(m.note, "");
    }
    struct exposure_meta m = meta_of(set, LINES("IMAGETYP= 'LIGHT'", "EXPTIME = 10", "MJD-OBS = 60825.5", "TIMESYS = '1993.0'"), 10, 10, ERR_OK);
    assert_string_equal(m.note, "TIMESYS '1993.0' is unknown: taken as UTC");
}

static void test_instrument__sections(void **state)
{
    (void)state;
#define FRAME_LINES "IMAGETYP= 'LIGHT'", "EXPTIME = 10", "MJD-OBS = 60825.5"
    struct exposure_meta m = meta_of(set, LINES(FRAME_LINES, "BIASSEC = '[4096:4109]'", "TRIMSEC = '[1:4096, :]'"), 4096, 4096, ERR_OK);
    assert_memory_equal(m.note, "the overscan [4096:4109] leaves the array", 41);
    assert_int_equal(m.nx, 4096);
    m = meta_of(set, LINES(FRAME_LINES, "BIASSEC = '[4096:4109]'", "TRIMSEC = '[1:4096, :]'"), 4109, 4096, ERR_OK);
    assert_int_equal(m.amp[0].overscan.x0, 4096);
    assert_int_equal(m.amp[0].overscan.x1, 4109);
    assert_int_equal(m.nx, 4096);
    m = meta_of(set, LINES(FRAME_LINES, "BIASSEC = '[1001:1050,1:500]'"), 1050, 500, ERR_OK);
    assert_int_equal(m.nx, 1000); /* no data section: all but the overscan at the edge */
    m = meta_of(set, LINES(FRAME_LINES, "BIASSEC = '[0:0,0:0]'", "TRIMSEC = 'UNKNOWN'"), 1050, 500, ERR_OK);
    assert_int_equal(m.nx, 1050);
    m = meta_of(set, LINES(FRAME_LINES, "TRIMSEC = '[1:2000,1:10]'"), 1050, 500, ERR_CORRUPT);
    assert_string_equal(m.problem, "section '[1:2000,1:10]' leaves the detector of 1050 x 500 pixels");
    m = meta_of(set, LINES(FRAME_LINES, "BIASSEC = '[10:20,1:10]'", "TRIMSEC = '[1:100,:]'"), 1050, 500, ERR_CORRUPT);
    m = meta_of(set, LINES(FRAME_LINES, "BIASSEC = '[0:5,1:10]'", "TRIMSEC = '[1:100,:]'"), 1050, 500, ERR_CORRUPT);
    m = meta_of(set, LINES(FRAME_LINES), 100000, 3, ERR_CORRUPT);
    m = meta_of(set, LINES(FRAME_LINES, "NAMPS   = 1000000"), 100, 3, ERR_OK);
    assert_int_equal(m.namp, 1);
}

static void test_instrument__simcam_assembles_amplifiers(void **state)
{
    (void)state;
    const char *const lines[] = {"INSTRUME= 'SIMCAM'", "OBSID   = 'sim-0007'", "IMAGETYP= 'OBJECT'", "EXPTIME = 60", "FILTER  = 'r'",
                                 "DATE-OBS= '2025-05-30T04:00:00'", "LONGITUD= -70.8", "CCDNUM  = 3", "NCCD    = 4", "CCDSUM  = '1 1'",
                                 "NAMPS   = 4", "WCSFRAME= 'TRIMMED'", "CTYPE1  = 'RA---TAN-SIP'",
                                 "DATASEC1= '[1:100,1:50]'", "BIASSEC1= '[101:120,1:50]'", "DETSEC1 = '[1:100,1:50]'",
                                 "DATASEC2= '[141:240,1:50]'", "BIASSEC2= '[121:140,1:50]'", "DETSEC2 = '[200:101,1:50]'",
                                 "DATASEC3= '[1:100,51:100]'", "BIASSEC3= '[101:120,51:100]'", "DETSEC3 = '[1:100,51:100]'",
                                 "DATASEC4= '[141:240,51:100]'", "BIASSEC4= '[121:140,51:100]'", "DETSEC4 = '[101:200,51:100]'",
                                 "AMPNAM1 = 'A'", "AMPNAM4 = 'D'", "GAIN1   = 1.1", "GAIN4   = 1.4", "RDNOISE4= 5.5", "SATURAT4= 60000", NULL};
    struct exposure_meta m = meta_of(set, lines, 240, 100, ERR_OK);
    assert_string_equal(m.instrument, "simcam");
    assert_string_equal(m.exposure_id, "sim-0007");
    assert_int_equal(m.ccd, 3);
    assert_int_equal(m.nccd, 4);
    assert_int_equal(m.namp, 4);
    assert_int_equal(m.nx, 200);
    assert_int_equal(m.ny, 100);
    assert_int_equal(m.amp[1].dest.x0, 100);
    assert_true(m.amp[1].flip_x);
    assert_false(m.amp[3].flip_x);
    assert_int_equal(m.amp[3].dest.y0, 50);
    assert_string_equal(m.amp[3].name, "D");
    assert_string_equal(m.amp[1].name, "2");
    assert_close(m.amp[3].gain_e_per_adu, 1.4, 0);
    assert_close(m.amp[3].rdnoise_e, 5.5, 0);
    assert_close(m.amp[3].saturate_adu, 60000, 0);
    assert_int_equal(m.wcs, WCS_APPROXIMATE);
    assert_true(m.wcs_in_trimmed);
    assert_true(instrument_is_multi_extension(instruments_find(set, "simcam")));

    /* without DETSEC the gaps are closed */
    const char *bare[40];
    int n = 0;
    for (int i = 0; lines[i]; i++)
        if (strncmp(lines[i], "DETSEC", 6)) bare[n++] = lines[i];
    bare[n] = NULL;
    m = meta_of(set, bare, 240, 100, ERR_OK);
    assert_int_equal(m.nx, 200);
    assert_int_equal(m.amp[3].dest.x0, 100);
    assert_int_equal(m.amp[3].dest.y0, 50);
}

static void test_instrument__binned_mosaic_sections(void **state)
{
    (void)state;
    struct instruments *all = NULL;
    assert_int_equal(load_yaml("match: {keyword: INSTRUME, equals: mosaic}\n"
                               "header: {type: {value: light}, exptime: 1, binning_x: BIN, time: {keyword: MJD, format: mjd}}\n"
                               "amplifiers: {count: 2, labels: [A, B], data: 'DATASEC{a}', dest: 'DETSEC{a}', "
                               "saturate: {keyword: 'FULL{a}', unit: electron}, gain: {value: [2, 4]}}\n",
                               &all, NULL),
                     ERR_OK);
    struct exposure_meta m = meta_of(all, LINES("INSTRUME= 'Mosaic'", "MJD     = 60000.", "BIN     = 2", "DATASECA= '[1:50,1:30]'",
                                                "DATASECB= '[51:100,1:30]'", "DETSECA = '[4201:4300,101:160]'",
                                                "DETSECB = '[4101:4200,101:160]'", "FULLB   = 200000"),
                                     100, 30, ERR_OK);
    assert_int_equal(m.nx, 100);
    assert_int_equal(m.ny, 30);
    assert_int_equal(m.amp[0].dest.x0, 50);
    assert_int_equal(m.amp[1].dest.x0, 0);
    assert_string_equal(m.amp[1].name, "B");
    assert_close(m.amp[0].gain_e_per_adu, 2, 0);
    assert_close(m.amp[1].saturate_adu, 50000, 0);
    assert_true(isnan(m.amp[0].saturate_adu));
    m = meta_of(all, LINES("INSTRUME= 'Mosaic'", "MJD     = 60000.", "DATASECA= '[1:50,1:30]'", "DATASECB= '[40:100,1:30]'"), 100, 30, ERR_CORRUPT);
    assert_string_equal(m.problem, "amplifiers A and B share pixels");
    instruments_free(all);
}

static void test_instrument__user_files_extend_win_and_set(void **state)
{
    (void)state;
    struct instruments *all = NULL;
    struct error err = ERROR_INIT;
    assert_int_equal(load_yaml("extends: generic\n"
                               "match: [{keyword: INSTRUME, like: 'mycam*'}, {keyword: OLD, exists: false}]\n"
                               "header:\n"
                               "  exptime: {keyword: EXP, scale: 0.001}\n"
                               "  longitude: {keyword: OBSLONG, west: true}\n"
                               "  filter: {from: FILTER, map: {r: ['Sloan r*']}}\n"
                               "  time: {keyword: DATE-OBS, at: end, shift: -2, scale: TAI}\n"
                               "amplifiers: {rdnoise: [RN, {value: 7}]}\n"
                               "settings:\n"
                               "  detect: {thresh: 2.5}\n"
                               "  phot: {apertures: [3, 6]}\n",
                               &all, &err),
                     ERR_OK);
    struct exposure_meta m = meta_of(all, LINES("INSTRUME= 'MyCam 2'", "IMAGETYP= 'LIGHT'", "EXP     = 10000", "OBSLONG = '70:30:00'",
                                                "FILTER  = 'Sloan R (2)'", "DATE-OBS= '2025-05-30T12:00:00'"),
                                     10, 10, ERR_OK);
    assert_string_equal(m.instrument, "test");
    assert_close(m.exptime_s, 10, 1e-12);
    assert_close(m.longitude_deg, -70.5, 0);
    assert_string_equal(m.filter, "r");
    assert_close(m.mjd_start, 60825.5 - (37 + 2 + 10) / 86400., 1e-9);
    assert_close(m.amp[0].rdnoise_e, 7, 0);
    m = meta_of(all, LINES("INSTRUME= 'MyCam 2'", "OLD     = T"), 10, 10, ERR_OK);
    assert_string_equal(m.instrument, "generic");

    const struct instrument *ins = instruments_find(all, "test");
    struct settings *s = settings_new();
    settings_set(s, "phot.apertures", "9", SOURCE_FILE, "x:1", NULL);
    assert_int_equal(instrument_apply_settings(ins, s, NULL), ERR_OK);
    assert_close(settings_double(s, SET_DETECT_THRESH), 2.5, 0);
    assert_string_equal(settings_string(s, SET_PHOT_APERTURES), "9");
    char a[DIGEST_HEX_SIZE], b[DIGEST_HEX_SIZE], c[DIGEST_HEX_SIZE];
    recipe_digest(s, ins, a);
    recipe_digest(s, instruments_find(all, "generic"), b);
    settings_set(s, "threads", "3", SOURCE_COMMAND_LINE, "x", NULL);
    recipe_digest(s, ins, c);
    assert_int_equal(strlen(a), 64);
    assert_string_not_equal(a, b);
    assert_string_equal(a, c); /* threads change nothing */
    settings_set(s, "detect.thresh", "2.6", SOURCE_COMMAND_LINE, "x", NULL);
    recipe_digest(s, ins, c);
    assert_string_not_equal(a, c);
    settings_free(s);
    instruments_free(all);
}

static void test_instrument__errors_name_file_line_and_cure(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *says;
    } cases[] = {
        {"header:\n  exptim: EXPTIME\n", "test.yaml:2: unknown key 'exptim'; did you mean 'exptime'?"},
        {"heder: {}\n", "test.yaml:1: unknown key 'heder'; did you mean 'header'?"},
        {"match: [{keyword: A, is: b}]\n", "test.yaml:1: unknown key 'is'"},
        {"match: [{keyword: A}]\n", "test.yaml:1: a rule has one condition: exists, equals or like"},
        {"match: INSTRUME\n", "test.yaml:1: expected a rule such as {keyword: INSTRUME, equals: NAME}"},
        {"header:\n  type:\n    from: X\n    map: {lite: [a]}\n", "test.yaml:4: 'lite' is none of bias, dark, flat, light, other"},
        {"header: {exptime: {keyword: X, scale: fast}}\n", "test.yaml:1: 'fast' is no number"},
        {"header: {exptime: {keyword: X, at: mid}}\n", "test.yaml:1: 'at' does not fit this quantity"},
        {"header: {exptime: {scale: 2}}\n", "test.yaml:1: expected one of keyword, value or obsgeo"},
        {"header: {time: {keyword: X, scale: UTX}}\n", "test.yaml:1: 'UTX' is none of UTC, TAI, TT, TDB, GPS, UT1"},
        {"header: {time: {value: 3}}\n", "test.yaml:1: a time has no constant value"},
        {"extensions: some\n", "test.yaml:1: 'some' is none of first, all"},
        {"extends: nothing\n", "test.yaml:1: there is no instrument 'nothing' to extend"},
        {"extends: test\n", "test.yaml:1: instrument files extend each other in a circle"},
        {"settings:\n  detect: {thesh: 1}\n", "test.yaml:2: unknown setting 'detect.thesh'; did you mean 'detect.thresh'?"},
        {"settings: {detect.thresh: -1}\n", "test.yaml:1: '-1' is out of range for 'detect.thresh'"},
        {"wcs: {trust: {value: sure}}\n", "test.yaml:1: 'sure' is none of none, approximate, good"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct instruments *all = NULL;
        struct error err = ERROR_INIT;
        char line[1200];
        assert_int_equal(load_yaml(cases[i].yaml, &all, &err), ERR_SETTINGS);
        if (!strstr(error_line(&err, line, sizeof line), cases[i].says)) fail_msg("got %s\nnot %s", line, cases[i].says);
    }
}

static void test_instrument__forced_by_name(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    struct instruments *all = NULL;
    struct error err = ERROR_INIT;
    struct header h = parse(LINES("INSTRUME= 'SIMCAM'"));
    settings_set(s, "instrument.name", "arcsat", SOURCE_COMMAND_LINE, "test", NULL);
    assert_int_equal(instruments_load(s, &all, &err), ERR_OK);
    assert_string_equal(instrument_name(instrument_of(all, s, &h)), "arcsat");
    instruments_free(all);
    settings_set(s, "instrument.name", "arcsta", SOURCE_COMMAND_LINE, "test", NULL);
    assert_int_equal(instruments_load(s, &all, &err), ERR_SETTINGS);
    assert_string_equal(err.hint, "did you mean 'arcsat'?");
    header_release(&h);
    settings_free(s);
}

static void test_instrument__obsgeo(void **state)
{
    (void)state;
    /* longitude -70.4048, latitude -24.6272, height 2669 m, turned into metres by astropy */
    struct exposure_meta m = meta_of(set, LINES("OBSGEO-X= 1946425.8823713157", "OBSGEO-Y= -5467648.357386526",
                                                "OBSGEO-Z= -2642704.084708155"), 10, 10, ERR_OK);
    assert_close(m.longitude_deg, -70.4048, 1e-9);
    assert_close(m.latitude_deg, -24.6272, 1e-9);
    assert_close(m.height_m, 2669, 1e-3);
}

/* The header of a real frame, read as bytes. */
static struct header read_header(const char *folder, const char *name)
{
    char path[4200];
    size_t size = 0;
    struct header h;
    snprintf(path, sizeof path, "%s/arcsat-20250530-night/%s", folder, name);
    char *text = text_read_file(path, (size_t)16 << 20, &size);
    assert_non_null(text);
    header_init(&h);
    assert_int_equal(header_parse(&h, text, (int64_t)(size / CARD_LENGTH), NULL), ERR_OK);
    free(text);
    return h;
}

static void test_instrument__arcsat_real_frames(void **state)
{
    (void)state;
    const char *folder = test_data_folder();
    if (!folder) {
        printf("SKIPPED: the folder of real frames is absent\n");
        skip();
    }
    static const struct {
        const char *name;
        enum frame_type type;
        double exptime_s;
        const char *filter, *object;
        enum wcs_trust wcs;
        double ra_deg;
    } cases[] = {
        {"Bias_BIN1_20250530_020505.fits", FRAME_BIAS, 0, "", "", WCS_NONE, NAN},
        {"Dark_BIN1_20250530_020632.fits", FRAME_DARK, 30, "", "", WCS_NONE, NAN},
        {"domeflat_g_001.fits", FRAME_FLAT, 30.3, "g", "", WCS_NONE, 15 * (8 + 15 / 60. + 46 / 3600.)},
        {"LPSEB35_g_20250530_034359.fits", FRAME_LIGHT, 30, "g", "LPSEB35", WCS_GOOD, 15 * (16 + 44 / 3600.)},
        {"LPSEB35_g_20250530_035719.fits", FRAME_LIGHT, 30, "g", "LPSEB35", WCS_NONE, 15 * (16 + 44 / 3600.)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct header h = read_header(folder, cases[i].name);
        struct exposure_meta m;
        const struct instrument *ins = instrument_of(set, settings, &h);
        assert_string_equal(instrument_name(ins), "arcsat");
        assert_int_equal(instrument_meta(ins, settings, &h, 1024, 1024, 1, &m, NULL), ERR_OK);
        assert_int_equal(m.type, cases[i].type);
        assert_close(m.exptime_s, cases[i].exptime_s, 1e-9);
        assert_string_equal(m.filter, cases[i].filter);
        assert_string_equal(m.object, cases[i].object);
        assert_int_equal(m.wcs, cases[i].wcs);
        if (isnan(cases[i].ra_deg))
            assert_true(isnan(m.ra_deg));
        else
            assert_close(m.ra_deg, cases[i].ra_deg, 1e-9);
        assert_string_equal(m.problem, "");
        assert_string_equal(m.note, "");
        assert_int_equal(m.night, 20250529);
        assert_int_equal(m.binning_x, 1);
        assert_int_equal(m.nx, 1024);
        assert_int_equal(m.namp, 1);
        assert_true(isnan(m.amp[0].gain_e_per_adu));
        assert_close(m.longitude_deg, -105.820278, 1e-4);
        assert_close(m.pixel_scale_arcsec, 0.67, 0.005);
        assert_close(m.ccd_temp_c, -25, 0.3); /* the cooler's own swing */
        header_release(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_instrument__generic_knows_the_synonyms),
        cmocka_unit_test(test_instrument__frame_types),
        cmocka_unit_test(test_instrument__what_is_missing_is_said),
        cmocka_unit_test(test_instrument__times),
        cmocka_unit_test(test_instrument__sections),
        cmocka_unit_test(test_instrument__simcam_assembles_amplifiers),
        cmocka_unit_test(test_instrument__binned_mosaic_sections),
        cmocka_unit_test(test_instrument__user_files_extend_win_and_set),
        cmocka_unit_test(test_instrument__errors_name_file_line_and_cure),
        cmocka_unit_test(test_instrument__forced_by_name),
        cmocka_unit_test(test_instrument__obsgeo),
        cmocka_unit_test(test_instrument__arcsat_real_frames),
    };
    return cmocka_run_group_tests(tests, load_shipped, free_shipped);
}
