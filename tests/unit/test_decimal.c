#include "common/decimal.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static const char *text(double v, char buf[DECIMAL_SIZE + 1])
{
    buf[decimal_of_double(v, buf)] = '\0';
    return buf;
}

static void test_decimal__notation(void **state)
{
    (void)state;
    char b[DECIMAL_SIZE + 1];
    static const struct {
        double v;
        const char *want;
    } cases[] = {{0, "0"}, {-0.0, "-0"}, {1, "1"}, {100, "100"}, {0.1, "0.1"}, {-2.5, "-2.5"}, {1e15, "1e+15"}, {123456789012345, "123456789012345"},
                 {1e-4, "0.0001"}, {1.5e-5, "1.5e-05"}, {1e20, "1e+20"}, {1e100, "1e+100"}, {5e-324, "5e-324"}, {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {2.2250738585072014e-308, "2.2250738585072014e-308"}, {9007199254740993.0, "9.007199254740992e+15"}, {0.3, "0.3"}, {2.0 / 3, "0.6666666666666666"},
                 {60825.123456789, "60825.123456789"}, {NAN, "NaN"}, {INFINITY, "Infinity"}, {-INFINITY, "-Infinity"}, {2251799813685248.5, "2.2517998136852485e+15"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) assert_string_equal(text(cases[i].v, b), cases[i].want);
    b[decimal_of_int(INT64_MIN, b)] = '\0';
    assert_string_equal(b, "-9223372036854775808");
    b[decimal_of_float(0.1f, b)] = '\0';
    assert_string_equal(b, "0.1");
    b[decimal_of_float(1e-45f, b)] = '\0';
    assert_string_equal(b, "1e-45");
    b[decimal_of_float(16777216.0f, b)] = '\0';
    assert_string_equal(b, "16777216");
}

static int digits_in(const char *s)
{
    int n = 0, zeros = 0;
    for (; *s && *s != 'e'; s++)
        if (*s >= '0' && *s <= '9' && (n || *s != '0')) {
            n++;
            zeros = *s == '0' ? zeros + 1 : 0;
        }
    return n - zeros;
}

/* The same number comes back, and printf needs at least as many digits to do that. */
static void test_decimal__doubles_come_back_and_are_shortest(void **state)
{
    (void)state;
    const uint64_t seed = 20260;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (uint64_t i = 0; i < 300000; i++) {
        uint64_t bits = mix(seed + i);
        if (i % 3 == 1) bits = (bits & ~(UINT64_C(0x7ff) << 52)) | (UINT64_C(1023) + bits % 40) << 52; /* everyday sizes */
        if (i % 97 == 5) bits &= ~((UINT64_C(1) << 52) - 1);                                         /* powers of two */
        double v;
        memcpy(&v, &bits, sizeof v);
        if (!isfinite(v)) continue;
        char b[DECIMAL_SIZE + 1], c[40];
        if (strtod(text(v, b), NULL) != v) fail_msg("%.17g gave %s", v, b);
        int have = digits_in(b), need = 1;
        while (need < 17 && (snprintf(c, sizeof c, "%.*e", need - 1, v), strtod(c, NULL) != v)) need++;
        if (have > need) fail_msg("%.17g gave %s: %d digits do", v, b, need);
        if (have == need && need < 17 && fabs(strtod(b, NULL) - v) > 0) fail_msg("%s is not %.17g", b, v);
    }
}

static void test_decimal__floats_come_back_and_are_shortest(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 300000; i++) {
        uint32_t bits = (uint32_t)mix(i);
        if (i % 97 == 5) bits &= ~((UINT32_C(1) << 23) - 1);
        float v;
        memcpy(&v, &bits, sizeof v);
        if (!isfinite(v)) continue;
        char b[DECIMAL_SIZE + 1], c[40];
        b[decimal_of_float(v, b)] = '\0';
        if (strtof(b, NULL) != v) fail_msg("%.9g gave %s", (double)v, b);
        int have = digits_in(b), need = 1;
        while (need < 9 && (snprintf(c, sizeof c, "%.*e", need - 1, (double)v), strtof(c, NULL) != v)) need++;
        if (have > need) fail_msg("%.9g gave %s: %d digits do", (double)v, b, need);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decimal__notation),
        cmocka_unit_test(test_decimal__doubles_come_back_and_are_shortest),
        cmocka_unit_test(test_decimal__floats_come_back_and_are_shortest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
