/* Identity of the settings that change results. Values are spelled one way, so that 3, 3.0 and "yes", "true" agree. */
#include <stdio.h>
#include <string.h>

#include "common/digest.h"
#include "common/settings.h"

#define LIST_MAX 64

static void add_list(const struct settings *s, enum setting_id id, struct digest *d)
{
    double list[LIST_MAX];
    char text[40];
    int n = settings_doubles(s, id, list, LIST_MAX);
    if (n > LIST_MAX) digest_add_str(d, settings_string(s, id));
    for (int i = 0; i < n && n <= LIST_MAX; i++) {
        snprintf(text, sizeof text, "%.17g", list[i]);
        digest_add_str(d, text);
    }
}

/* A word, or the contents of the file it names: another convolution mask under the same path is another recipe. */
static void add_text(const struct settings *s, enum setting_id id, struct digest *d)
{
    char sum[DIGEST_HEX_SIZE];
    const char *text = settings_string(s, id);
    bool word = !*text || !strcmp(text, setting_row(id)->def) || !strcmp(text, "none"); /* whatever lies in this folder */
    bool file = (setting_row(id)->flags & SETTING_FILE) && !word && digest_file(text, sum, NULL) == ERR_OK;
    digest_add_str(d, file ? sum : text);
}

static void add_value(const struct settings *s, enum setting_id id, struct digest *d)
{
    char text[40];
    switch (setting_row(id)->type) {
    case SETTING_STRING: add_text(s, id, d); return;
    case SETTING_DOUBLES: add_list(s, id, d); return;
    case SETTING_BOOL:
    case SETTING_INT: snprintf(text, sizeof text, "%lld", (long long)settings_int(s, id)); break;
    case SETTING_DOUBLE:
    case SETTING_DURATION: snprintf(text, sizeof text, "%.17g", settings_double(s, id)); break;
    }
    digest_add_str(d, text);
}

void settings_result_digest(const struct settings *s, char *ret_hex)
{
    struct digest *d = digest_new();
    ret_hex[0] = '\0';
    if (!d) return;
    for (int i = 0; i < SETTING_COUNT; i++) {
        if (!(setting_row((enum setting_id)i)->flags & SETTING_RESULT)) continue;
        digest_add_str(d, setting_name((enum setting_id)i));
        add_value(s, (enum setting_id)i, d);
    }
    digest_finish(d, ret_hex);
}
