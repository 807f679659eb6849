#include "common/header.h"
#include "tests/support/check.h"

#include <string.h>

/* A header from lines; each is padded to a card. */
static struct header parse(const char *const *lines, int n)
{
    static const char blank[] = "";
    char text[64 * CARD_LENGTH];
    struct header h;
    header_init(&h);
    for (int i = 0; i < n; i++) {
        char card[CARD_LENGTH + 1];
        snprintf(card, sizeof card, "%-80.80s", lines[i] ? lines[i] : blank);
        memcpy(text + i * CARD_LENGTH, card, CARD_LENGTH);
    }
    assert_int_equal(header_parse(&h, text, n, NULL), ERR_OK);
    return h;
}

#define PARSE(...)                                                                                                     \
    parse((const char *const[]){__VA_ARGS__}, (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))

static void assert_card(const struct header *h, int64_t i, const char *want)
{
    char card[CARD_LENGTH + 1];
    assert_true(i < h->n);
    snprintf(card, sizeof card, "%.80s", h->text + i * CARD_LENGTH);
    for (size_t n = strlen(card); n && card[n - 1] == ' ';) card[--n] = '\0';
    assert_string_equal(card, want);
}

static void test_header__numbers_as_cameras_write_them(void **state)
{
    (void)state;
    struct header h = PARSE("GAIN    =                 1.25 / e/ADU", "EXPTIME = '30.5    '", "DNUM    = 1.5D+03",
                            "BINNING = '2'", "NOSPACE =7", "LOWER   = 2.5e-3/c", "BAD     = nan", "HEX     = 0x10",
                            "FLOATINT= 5.", "BIG     = 1E400", "EMPTY   =                   / none", "COUNT   = 65536");
    double d = -1;
    int64_t i = -1;
    assert_true(header_get_double(&h, "GAIN", &d));
    assert_close(d, 1.25, 0);
    assert_true(header_get_double(&h, "exptime", &d));
    assert_close(d, 30.5, 0);
    assert_true(header_get_double(&h, "DNUM", &d));
    assert_close(d, 1500, 0);
    assert_true(header_get_double(&h, "LOWER", &d));
    assert_close(d, 0.0025, 0);
    assert_true(header_get_int(&h, "BINNING", &i) && i == 2);
    assert_true(header_get_int(&h, "NOSPACE", &i) && i == 7);
    assert_true(header_get_int(&h, "FLOATINT", &i) && i == 5);
    assert_true(header_get_int(&h, "COUNT", &i) && i == 65536);
    d = -1, i = -1;
    assert_false(header_get_double(&h, "BAD", &d));
    assert_false(header_get_double(&h, "HEX", &d));
    assert_false(header_get_double(&h, "BIG", &d));
    assert_false(header_get_double(&h, "EMPTY", &d));
    assert_false(header_get_int(&h, "GAIN", &i));
    assert_false(header_get_int(&h, "ABSENT", &i));
    assert_close(d, -1, 0); /* untouched */
    assert_int_equal(i, -1);
    header_release(&h);
}

static void test_header__strings_quotes_and_continue(void **state)
{
    (void)state;
    char s[200];
    struct header h = PARSE("OBJECT  = 'O''Neill  '         / who", "FILTER  = 2", "OPEN    = 'no end",
                            "LONG    = 'first &'", "CONTINUE  'second &'", "CONTINUE  'third' / done", "EMPTY   = ''",
                            "AMP     = 'ends in &'", "COMMENT = 'not a value'", "SHUT    = ' T '", "OFF     = false");
    assert_true(header_get_str(&h, "OBJECT", s, sizeof s));
    assert_string_equal(s, "O'Neill");
    assert_true(header_get_str(&h, "FILTER", s, sizeof s));
    assert_string_equal(s, "2");
    assert_true(header_get_str(&h, "OPEN", s, sizeof s));
    assert_string_equal(s, "no end");
    assert_true(header_get_str(&h, "LONG", s, sizeof s));
    assert_string_equal(s, "first second third");
    assert_true(header_get_str(&h, "LONG", s, 8));
    assert_string_equal(s, "first s");
    assert_true(header_get_str(&h, "EMPTY", s, sizeof s));
    assert_string_equal(s, "");
    assert_true(header_get_str(&h, "AMP", s, sizeof s));
    assert_string_equal(s, "ends in &");
    bool b = false;
    assert_true(header_get_bool(&h, "SHUT", &b) && b);
    assert_true(header_get_bool(&h, "OFF", &b) && !b);
    assert_false(header_get_bool(&h, "FILTER", &b));
    header_release(&h);
}

static void test_header__hierarch_by_its_long_name(void **state)
{
    (void)state;
    double d = 0;
    struct header h = PARSE("HIERARCH ESO DET CHIP1 GAIN = 2.5 / e/ADU", "GAIN    = 1.0");
    assert_true(header_get_double(&h, "ESO DET CHIP1 GAIN", &d));
    assert_close(d, 2.5, 0);
    assert_int_equal(header_set_double(&h, "ESO DET CHIP1 GAIN", 3.5, "e/ADU"), ERR_OK);
    assert_int_equal(header_set_str(&h, "eso tel name", "Danish", NULL), ERR_OK);
    assert_card(&h, 0, "HIERARCH ESO DET CHIP1 GAIN =                  3.5 / e/ADU");
    assert_card(&h, 2, "HIERARCH ESO TEL NAME = 'Danish  '");
    assert_int_equal(h.n, 3);
    header_release(&h);
}

static void test_header__setters_write_the_fixed_format(void **state)
{
    (void)state;
    struct header h;
    header_init(&h);
    assert_int_equal(header_set_bool(&h, "OVER", true, "done"), ERR_OK);
    assert_int_equal(header_set_int(&h, "count", -42, "a number"), ERR_OK);
    assert_int_equal(header_set_double(&h, "EXPTIME", 30, "s"), ERR_OK);
    assert_int_equal(header_set_double(&h, "TENTH", 0.1, NULL), ERR_OK);
    assert_int_equal(header_set_double(&h, "HUGE", 1e20, NULL), ERR_OK);
    assert_int_equal(header_set_double(&h, "NOTHING", NAN, "unknown"), ERR_OK);
    assert_int_equal(header_set_str(&h, "OBJECT", "M 13's core", "target"), ERR_OK);
    assert_card(&h, 0, "OVER    =                    T / done");
    assert_card(&h, 1, "COUNT   =                  -42 / a number");
    assert_card(&h, 2, "EXPTIME =                 30.0 / s");
    assert_card(&h, 3, "TENTH   =                  0.1");
    assert_card(&h, 4, "HUGE    =              1.0E+20");
    assert_card(&h, 5, "NOTHING =                      / unknown");
    assert_card(&h, 6, "OBJECT  = 'M 13''s core'       / target");
    assert_int_equal(header_set_int(&h, "EXPTIME", 5, NULL), ERR_OK);
    assert_card(&h, 2, "EXPTIME =                    5");
    assert_int_equal(h.n, 7);
    header_release(&h);
}

static void test_header__long_strings_come_back_whole(void **state)
{
    (void)state;
    struct header h;
    header_init(&h);
    for (int length = 60; length < 400; length++) {
        char value[401], got[401] = "";
        for (int i = 0; i < length; i++) value[i] = i % 7 == 3 ? '\'' : (char)('a' + i % 26);
        value[length] = '\0';
        assert_int_equal(header_set_str(&h, "LONG", value, "comment"), ERR_OK);
        assert_int_equal(header_set_str(&h, "AFTER", "x", NULL), ERR_OK);
        assert_true(header_get_str(&h, "LONG", got, sizeof got));
        assert_string_equal(got, value);
        assert_true(header_get_str(&h, "AFTER", got, sizeof got));
        assert_string_equal(got, "x");
    }
    header_remove(&h, "LONG");
    assert_int_equal(h.n, 1); /* the CONTINUE cards went with it */
    header_release(&h);
}

static void test_header__doubles_read_back_equal(void **state)
{
    (void)state;
    struct header h;
    header_init(&h);
    const double values[] = {1.0 / 3, 60825.123456789012, 1e-300, -2.5e-7, 123456789012345680.0, 5e-324, 1.7976931348623157e308};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        double got = 0;
        assert_int_equal(header_set_double(&h, "X", values[i], NULL), ERR_OK);
        assert_true(header_get_double(&h, "X", &got));
        assert_true(got == values[i]);
    }
    header_release(&h);
}

static void test_header__text_wraps_and_patterns_remove(void **state)
{
    (void)state;
    struct header h = PARSE("NAXIS   = 2", "NAXIS1  = 10", "NAXISX  = 1", "OBJECT  = 'x'", "LONG    = 'a&'", "CONTINUE  'b'");
    header_remove_matching(&h, "naxis*");
    assert_int_equal(h.n, 3);
    header_remove_matching(&h, "LONG");
    assert_int_equal(h.n, 1);
    char text[200];
    memset(text, 'x', 150);
    text[150] = '\0';
    text[60] = ' ';
    assert_int_equal(header_add_text(&h, "history", text), ERR_OK);
    assert_int_equal(header_add_text(&h, "HISTORY", "one\ntwo"), ERR_OK);
    assert_int_equal(header_add_text(&h, "COMMENT", ""), ERR_OK);
    assert_int_equal(h.n, 1 + 3 + 2 + 1);
    assert_card(&h, 4, "HISTORY one");
    assert_card(&h, 5, "HISTORY two");
    header_remove(&h, "HISTORY");
    assert_int_equal(h.n, 2);
    header_release(&h);
}

static void test_header__first_of_repeated_cards_wins_and_end_stops(void **state)
{
    (void)state;
    int64_t i = 0;
    struct header h = PARSE("A       = 1", "A       = 2", "END", "B       = 3");
    assert_int_equal(h.n, 2);
    assert_true(header_get_int(&h, "A", &i) && i == 1);
    assert_false(header_has(&h, "B"));
    header_release(&h);
}

static void test_header__absurd_names_are_refused(void **state)
{
    (void)state;
    struct header h;
    header_init(&h);
    assert_int_equal(header_set_int(&h, "", 1, NULL), ERR_UNSUPPORTED);
    assert_int_equal(header_set_int(&h, "A=B", 1, NULL), ERR_UNSUPPORTED);
    assert_int_equal(header_set_int(&h, "A NAME THAT IS FAR TOO LONG FOR ONE CARD OF EIGHTY CHARACTERS", 1, NULL), ERR_UNSUPPORTED);
    assert_int_equal(h.n, 0);
    header_release(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header__numbers_as_cameras_write_them),
        cmocka_unit_test(test_header__strings_quotes_and_continue),
        cmocka_unit_test(test_header__hierarch_by_its_long_name),
        cmocka_unit_test(test_header__setters_write_the_fixed_format),
        cmocka_unit_test(test_header__long_strings_come_back_whole),
        cmocka_unit_test(test_header__doubles_read_back_equal),
        cmocka_unit_test(test_header__text_wraps_and_patterns_remove),
        cmocka_unit_test(test_header__first_of_repeated_cards_wins_and_end_stops),
        cmocka_unit_test(test_header__absurd_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
