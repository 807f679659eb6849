/* Any bytes as a .sex, .param, .conv and .nnw file: the first byte chooses the reader. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "pipeline/sexfiles.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    const char *text = (const char *)data + 1;
    struct error err;
    if (data[0] % 4 == 0) {
        struct sex_config c;
        sex_config_defaults(&c);
        sex_config_parse(&c, text, size - 1, "fuzz.sex", &err);
    } else if (data[0] % 4 == 1) {
        struct sex_params p;
        sex_params_parse(&p, text, size - 1, "fuzz.param", &err);
    } else if (data[0] % 4 == 2) {
        struct sex_kernel k = {0};
        if (!sex_kernel_parse(&k, text, size - 1, "fuzz.conv", &err)) free(k.v);
    } else {
        struct star_network w;
        sex_nnw_parse(&w, text, size - 1, "fuzz.nnw", &err);
    }
    return 0;
}
