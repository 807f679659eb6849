/* Any bytes as a settings file: an error with a line number or values within their ranges, never more. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct settings *s = settings_new();
    struct error err = ERROR_INIT;
    if (!s) return 0;
    enum err e = settings_load_yaml(s, (const char *)data, size, "fuzz", &err);
    if (e && (err.code != e || !err.message[0])) abort();
    for (int i = 0; i < SETTING_COUNT; i++) {
        const struct setting_row *row = setting_row((enum setting_id)i);
        double x = settings_double(s, (enum setting_id)i);
        if (row->min != row->max && row->type != SETTING_DOUBLES && (x < row->min || x > row->max)) abort();
    }
    settings_free(s);
    return 0;
}
