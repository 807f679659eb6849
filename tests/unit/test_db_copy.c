#include "tests/support/check.h"

#include <string.h>

#include "common/db_copy.h"

/* The bytes of one row, written out by hand from the documentation of COPY. */
static void test_copy__bytes_are_those_of_the_format(void **unused)
{
    (void)unused;
    static const unsigned char want[] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0" /* signature, flags, extension */
                                        "\0\7"                              /* seven fields */
                                        "\0\0\0\2\377\376"                  /* int2 -2 */
                                        "\0\0\0\4\1\2\3\4"                  /* int4 */
                                        "\0\0\0\10\1\2\3\4\5\6\7\10"        /* int8 */
                                        "\0\0\0\4\277\200\0\0"              /* float4 -1 */
                                        "\0\0\0\10\100\11\41\373\124\104\55\30" /* float8 pi */
                                        "\377\377\377\377"                  /* NULL */
                                        "\0\0\0\2ab"                        /* text */
                                        "\377\377";                         /* trailer */
    struct copy_buffer b = {0};
    copy_start(&b);
    copy_row(&b, 7);
    copy_i16(&b, -2);
    copy_i32(&b, 0x01020304);
    copy_i64(&b, INT64_C(0x0102030405060708));
    copy_f32(&b, -1);
    copy_f64(&b, 3.14159265358979323846);
    copy_null(&b);
    copy_text(&b, "ab");
    copy_finish(&b);
    assert_false(b.failed);
    assert_int_equal(b.size, sizeof want - 1);
    assert_memory_equal(b.data, want, b.size);
    copy_release(&b);
}

static void test_copy__what_is_no_number_is_null(void **unused)
{
    (void)unused;
    struct copy_buffer b = {0};
    struct copy_reader r;
    copy_start(&b);
    copy_row(&b, 3);
    copy_f32(&b, NAN);
    copy_f64(&b, INFINITY);
    copy_f64(&b, -0.0);
    assert_true(copy_read_row(&r, b.data, (int)b.size));
    assert_int_equal(r.fields, 3);
    assert_true(isnan(copy_read_float(&r)) && isnan(copy_read_float(&r)) && copy_read_float(&r) == 0 && !r.bad);
    copy_release(&b);
}

static void test_copy__reads_back_what_it_wrote(void **unused)
{
    (void)unused;
    struct copy_buffer b = {0};
    struct copy_reader r;
    char text[3];
    copy_start(&b);
    for (int i = 0; i < 20000; i++) { /* grows several times */
        size_t start = i ? b.size : 0;
        copy_row(&b, 6);
        copy_i16(&b, (int16_t)(i - 10000));
        copy_i32(&b, -i);
        copy_i64(&b, (int64_t)i << 40);
        copy_f32(&b, (float)i / 3);
        copy_f64(&b, i / 3.0);
        copy_text(&b, "abcd");
        assert_true(copy_read_row(&r, b.data + start, (int)(b.size - start)));
        assert_int_equal(copy_read_int(&r), (int16_t)(i - 10000));
        assert_int_equal(copy_read_int(&r), -i);
        assert_int_equal(copy_read_int(&r), (int64_t)i << 40);
        assert_true(copy_read_float(&r) == (float)i / 3 && copy_read_float(&r) == i / 3.0);
        assert_true(copy_read_text(&r, text, sizeof text) && !strcmp(text, "ab") && !r.bad);
    }
    copy_finish(&b);
    assert_false(copy_read_row(&r, b.data + b.size - 2, 2));
    copy_release(&b);
}

static void test_copy__broken_rows_are_noticed(void **unused)
{
    (void)unused;
    struct copy_reader r;
    assert_true(copy_read_row(&r, "\0\1\0\0\0\10ab", 8)); /* says 8 bytes, has 2 */
    copy_read_int(&r);
    assert_true(r.bad);
    assert_true(copy_read_row(&r, "\0\1\0\0\0\3abc", 9)); /* no integer has 3 bytes */
    copy_read_int(&r);
    assert_true(r.bad);
    assert_false(copy_read_row(&r, "\0", 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copy__bytes_are_those_of_the_format),
        cmocka_unit_test(test_copy__what_is_no_number_is_null),
        cmocka_unit_test(test_copy__reads_back_what_it_wrote),
        cmocka_unit_test(test_copy__broken_rows_are_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
