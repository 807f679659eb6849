#include "processors/objects.h"

#include <stdlib.h>

void objects_release(struct objects *os)
{
    free(os->o);
    free(os->pixels);
    free(os->segment);
    *os = (struct objects){0};
}
