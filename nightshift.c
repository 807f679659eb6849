/* nightshift VERB ...: dispatches to the rooms' verbs, nothing else. */
#include <stdio.h>
#include <string.h>

#include "catalog/catalog_verbs.h"
#include "common/cli.h"
#include "common/err.h"
#include "jobrunner/jobrunner_verbs.h"
#include "pipeline/pipeline_verbs.h"

static const struct {
    const char *title;
    const struct verb *verbs;
} rooms[] = {
    {"images", pipeline_verbs},
    {"catalogue", catalog_verbs},
    {"nights and jobs", jobrunner_verbs},
};

static void help(FILE *out)
{
    fprintf(out, "nightshift %s: a night of raw frames in, a calibrated and measured sky catalogue out\n\n"
                 "usage: nightshift VERB [options] [files]      nightshift VERB --help says more\n", nightshift_version);
    for (size_t r = 0; r < sizeof rooms / sizeof rooms[0]; r++) {
        if (!rooms[r].verbs[0].name) continue;
        fprintf(out, "\n%s\n", rooms[r].title);
        for (const struct verb *v = rooms[r].verbs; v->name; v++) fprintf(out, "  %-11s %s\n", v->name, v->summary);
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        help(stderr);
        return EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        help(stdout);
        return EXIT_ALL_GOOD;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("nightshift %s (results %s)\n", nightshift_version, nightshift_result_version);
        return EXIT_ALL_GOOD;
    }
    for (size_t r = 0; r < sizeof rooms / sizeof rooms[0]; r++)
        for (const struct verb *v = rooms[r].verbs; v->name; v++)
            if (!strcmp(argv[1], v->name)) return v->run(argc - 1, argv + 1);
    fprintf(stderr, "nightshift: unknown verb '%s'; 'nightshift --help' lists them\n", argv[1]);
    return EXIT_USAGE;
}
