#include "catalog/catalog_verbs.h"

/* One row per verb; each verb's function lives in catalog/verb_NAME.c. */
const struct verb catalog_verbs[] = {
    {0},
};
