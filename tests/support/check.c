#include "tests/support/check.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *test_data_folder(void)
{
    static char path[4096];
    const char *given = getenv("NIGHTSHIFT_TEST_DATA");
    snprintf(path, sizeof path, "%s", given ? given : SOURCE_DIR "/../shared/data");
    return access(path, R_OK) == 0 ? path : NULL;
}

char *test_make_folder(void)
{
    char name[] = "/tmp/nightshift-test-XXXXXX";
    if (!mkdtemp(name)) abort();
    return strdup(name);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void test_remove_folder(char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(path);
}
