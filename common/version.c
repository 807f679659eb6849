#include "common/cli.h"

const char *const nightshift_version = NIGHTSHIFT_VERSION;
const char *const nightshift_result_version = "1";
