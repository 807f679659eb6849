#include "common/refstars.h"
#include "common/skycoord.h"
#include "common/frameio.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum err parse(const char *text, struct refstars *r, struct error *err)
{
    error_clear(err);
    return refstars_parse(text, strlen(text), "test", r, err);
}

static void test_refstars__csv_in_any_case_sorted_by_declination(void **state)
{
    (void)state;
    struct refstars r;
    struct error err = ERROR_INIT;
    const char *text = "# comment\nSOURCE_ID, RA ,Dec,ra_error,dec_error,pmRA,pmDE,ref_epoch,phot_g_mean_mag,phot_bp_mean_mag,phot_rp_mean_mag\r\n"
                       "7,359.5,20.5,0.5,0.25,,null,2016.0,15.5,16,14.5\n\n\"6031\",-0.5,-20,nan,0,100,-50,2015.5,14,,13\n";
    assert_int_equal(parse(text, &r, &err), ERR_OK);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.star[0].id, 6031);
    assert_close(r.star[0].ra, 359.5, 0);
    assert_close(r.star[0].ra_err, REFSTARS_ERR_UNKNOWN, 0);
    assert_close(r.star[0].pmra, 100, 0);
    assert_true(isnan(r.star[1].pmra));
    assert_string_equal(r.band[0], "phot_g_mean_mag");
    assert_close(r.bp_rp[1], 1.5, 0);
    assert_true(isnan(r.bp_rp[0]));
    float *colour = refstars_values(&r, "phot_bp_mean_mag-PHOT_RP_MEAN_MAG");
    assert_close(colour[1], 1.5, 0);
    free(colour);
    assert_null(refstars_values(&r, "phot_bp_mean_mag-u"));
    refstars_release(&r);
}

static void test_refstars__what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
        enum err code;
    } bad[] = {
        {"ra,decl\n1,2\n", "'dec'", ERR_UNSUPPORTED},
        {"ra,dec\n1,2\n12:30:00,3\n", "line 3: 'ra' is '12:30:00'", ERR_CORRUPT},
        {"ra,dec\n1,95\n", "line 2: 'dec' is 95", ERR_CORRUPT},
        {"ra,dec\n1,\n", "line 2: 'dec' is nan", ERR_CORRUPT},
        {"ra,dec,mag\n1,2\n", "line 2 has 2 values for 3 columns", ERR_CORRUPT},
        {"", "empty", ERR_CORRUPT},
        {"<VOTABLE><RESOURCE><TABLE><FIELD name='ra' datatype='double' unit='furlong'/></TABLE></RESOURCE></VOTABLE>", "'furlong'", ERR_UNSUPPORTED},
        {"<VOTABLE><TABLE><FIELD name='ra' datatype='double'/><FIELD name='dec' datatype='double'/><DATA><TABLEDATA><TR><TD>1</TD></TR>", "row 1 has 1 cells", ERR_CORRUPT},
        {"<VOTABLE><TABLE><FIELD name='ra' datatype='double'/><FIELD name='dec' datatype='double'/><DATA><TABLEDATA><TR><TD>1</TD><TD>2</TD>", "ends early", ERR_CORRUPT},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct refstars r;
        struct error err = ERROR_INIT;
        assert_int_equal(parse(bad[i].text, &r, &err), bad[i].code);
        if (!strstr(err.message, bad[i].says)) fail_msg("'%s' does not say %s", err.message, bad[i].says);
    }
}

static void test_refstars__votable_of_cells_and_of_bytes(void **state)
{
    (void)state;
    struct refstars r;
    struct error err = ERROR_INIT;
    const char *cells = "<?xml version='1.0'?><!-- < --><vo:VOTABLE><RESOURCE><TABLE><FIELD name=\"source_id\" datatype=\"long\"/>"
                        "<FIELD name='ra' datatype='double' unit='deg'/><FIELD name='dec' datatype='double'/><FIELD name='pmra' datatype='float' unit='arcsec/yr'/>"
                        "<FIELD name='pmdec' datatype='float'/><DATA><TABLEDATA>\n<TR><TD>9</TD><TD>10.5</TD><TD> -3 </TD><TD>0.5</TD><TD>3</TD></TR>"
                        "<TR><TD>8</TD><TD>11</TD><TD>-4</TD><TD/><TD></TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></vo:VOTABLE>";
    assert_int_equal(parse(cells, &r, &err), ERR_OK);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.star[1].id, 9);
    assert_close(r.star[1].pmra, 500, 1e-3);
    assert_true(isnan(r.star[0].pmdec));
    refstars_release(&r);
    /* two rows: mask 0x00, ra 10.0, dec -5.0; mask 0x20 (third field null), ra 20.0, dec 5.0, mag ignored */
    const char *bytes = "<VOTABLE><TABLE><FIELD name='ra' datatype='double'/><FIELD name='dec' datatype='double'/><FIELD name='gmag' datatype='short'/>"
                        "<DATA><BINARY2><STREAM encoding='base64'>AEAkAAAAAAAAwBQAAAAAAAAADyBANAAAAAAAAEAUAAAAAAAAAAc=</STREAM></BINARY2></DATA></TABLE></VOTABLE>";
    assert_int_equal(parse(bytes, &r, &err), ERR_OK);
    assert_int_equal(r.n, 2);
    assert_close(r.star[0].dec, -5, 0);
    assert_close(r.star[0].mag, 15, 0);
    assert_close(r.star[1].ra, 20, 0);
    assert_true(isnan(r.star[1].mag));
    refstars_release(&r);
    assert_int_equal(parse("<VOTABLE><TABLE><FIELD name='ra' datatype='double'/><FIELD name='dec' datatype='double'/><DATA><TABLEDATA></TABLEDATA></DATA></TABLE>"
                           "<INFO name='QUERY_STATUS' value='OVERFLOW'/></VOTABLE>", &r, &err), ERR_CORRUPT);
}

/* The path on the sky is a great circle; the rate along RA grows with 1 / cos dec. */
static void test_refstars__proper_motion_near_the_pole_and_across_zero(void **state)
{
    (void)state;
    double ra, dec, e;
    struct refstar s = {.ra = 0.0001, .dec = 60, .epoch = 2016, .ra_err = 3, .dec_err = 3, .pmra = -1000, .pmdec = 0, .pmra_err = 1, .pmdec_err = 1};
    refstar_at(&s, 2026, &ra, &dec, &e);
    assert_close(ra, 360 + 0.0001 - 10.0 / 3600 / 0.5, 1e-9);
    assert_close(e, hypot(3, 10), 1e-6);
    s = (struct refstar){.ra = 30, .dec = 89.9999, .epoch = 2000, .ra_err = 1, .dec_err = 1, .pmra = 0, .pmdec = 1000};
    refstar_at(&s, 2001, &ra, &dec, NULL);
    assert_close(ra, 210, 1e-6);
    assert_close(sky_distance_deg(30, 89.9999, ra, dec) * 3600, 1.0, 1e-6);
    s.pmra = s.pmdec = NAN;
    refstar_at(&s, 2010, &ra, &dec, &e);
    assert_close(ra, 30, 0);
    assert_close(e, hypot(1, 10 * REFSTARS_PM_UNKNOWN), 1e-6);
}

static void test_refstars__written_and_read_again(void **state)
{
    (void)state;
    struct refstars r, back;
    struct error err = ERROR_INIT;
    char path[64];
    snprintf(path, sizeof path, "/tmp/refstars-%ld.fits", (long)getpid());
    assert_int_equal(parse("source_id,ra,dec,pmra,pmdec,phot_g_mean_mag,rmag\n5,1,2,3,4,15,16\n6,7,-8,,,12,\n", &r, &err), ERR_OK);
    assert_int_equal(refstars_write(path, &r, &err), ERR_OK);
    assert_int_equal(refstars_read(path, &back, &err), ERR_OK);
    unlink(path);
    assert_int_equal(back.n, 2);
    assert_int_equal(back.nband, 2);
    assert_int_equal(back.star[1].id, 5);
    assert_close(back.star[1].pmdec, 4, 0);
    assert_true(isnan(back.star[0].pmdec));
    assert_close(back.mag[1][1], 16, 0);
    int64_t a, b;
    refstars_zone(&back, 2, 0.5, &a, &b);
    assert_int_equal(a, 1);
    assert_int_equal(b, 2);
    refstars_release(&r);
    refstars_release(&back);
}

/* Tycho-2 as Debian ships it for astrometry.net: epsilon Eridani, 82 Eridani stand where they were in 2000. */
static void test_refstars__index_of_astrometry_net(void **state)
{
    (void)state;
    const char *path = "/usr/share/astrometry/index-tycho2-10.littleendian.fits";
    struct refstars r;
    struct error err = ERROR_INIT;
    if (access(path, R_OK)) skip();
    assert_int_equal(refstars_read(path, &r, &err), ERR_OK);
    assert_int_equal(r.n, 362950);
    double first = 1, second = 1;
    for (int64_t i = 0; i < r.n; i++) {
        first = fmin(first, sky_distance_deg(r.star[i].ra, r.star[i].dec, 53.23269, -9.45826));
        second = fmin(second, sky_distance_deg(r.star[i].ra, r.star[i].dec, 49.98188, -43.06978));
    }
    assert_true(first * 3600 < 0.1 && second * 3600 < 0.1);
    refstars_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refstars__csv_in_any_case_sorted_by_declination),
        cmocka_unit_test(test_refstars__what_is_wrong_is_named),
        cmocka_unit_test(test_refstars__votable_of_cells_and_of_bytes),
        cmocka_unit_test(test_refstars__proper_motion_near_the_pole_and_across_zero),
        cmocka_unit_test(test_refstars__written_and_read_again),
        cmocka_unit_test(test_refstars__index_of_astrometry_net),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
