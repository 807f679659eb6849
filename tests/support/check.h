/* What every C test includes: cmocka in the order it wants, and tolerant comparisons that print both values. */
#ifndef NIGHTSHIFT_TESTS_CHECK_H
#define NIGHTSHIFT_TESTS_CHECK_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define assert_close(got, want, tolerance)                                                                             \
    do {                                                                                                               \
        double got_ = (got), want_ = (want), tol_ = (tolerance);                                                       \
        if (!(fabs(got_ - want_) <= tol_)) fail_msg("%s is %.17g, expected %.17g +- %g", #got, got_, want_, tol_);      \
    } while (0)

/* Path of the folder of real frames (NIGHTSHIFT_TEST_DATA, else ../shared/data beside the source tree), NULL when absent:
 * then the test says so and is skipped. */
const char *test_data_folder(void);

/* A fresh temporary folder for this test, removed by test_remove_folder(). */
char *test_make_folder(void);
void test_remove_folder(char *path);

#endif
