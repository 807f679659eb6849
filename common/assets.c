#include "common/assets.h"

#include <string.h>

const struct asset *asset_find(const char *name)
{
    for (int i = 0; i < asset_table_size; i++)
        if (!strcmp(asset_table[i].name, name)) return &asset_table[i];
    return NULL;
}
