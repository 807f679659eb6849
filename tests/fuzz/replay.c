/* Replays a corpus in plain ctest: each file of the folder given as argument, and the empty input, goes through the fuzz
 * target once. Libfuzzer's own driver takes this file's place when NIGHTSHIFT_FUZZ is on.
 * Exit: 0; 1 when the folder or a file in it cannot be read, since a test of nothing must not pass. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Returned: the file's bytes in memory of exactly that size, so that ASan sees one byte too far; NULL if unreadable. */
static uint8_t *read_whole(const char *path, size_t *ret_size)
{
    FILE *in = fopen(path, "rb");
    if (!in) return NULL;
    uint8_t *bytes = NULL;
    if (fseek(in, 0, SEEK_END) == 0) {
        long size = ftell(in);
        rewind(in);
        if (size >= 0 && (bytes = malloc(size > 0 ? (size_t)size : 1))) {
            if (fread(bytes, 1, (size_t)size, in) == (size_t)size) {
                *ret_size = (size_t)size;
            } else {
                free(bytes);
                bytes = NULL;
            }
        }
    }
    fclose(in);
    return bytes;
}

static int replay_file(const char *folder, const char *name)
{
    char path[4096];
    size_t size = 0;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return 1;
    uint8_t *bytes = read_whole(path, &size);
    if (!bytes) {
        fprintf(stderr, "replay: cannot read '%s'\n", path);
        return 1;
    }
    printf("replay %s, %zu bytes\n", name, size);
    fflush(stdout); /* names the culprit if the next call does not return */
    LLVMFuzzerTestOneInput(bytes, size);
    free(bytes);
    return 0;
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    struct dirent **names = NULL;
    uint8_t *empty = malloc(1); /* size 0 with a pointer that may not be read */
    int n = argc == 2 ? scandir(argv[1], &names, visible, alphasort) : -1;
    int bad = 0;
    if (n < 0 || !empty) {
        fprintf(stderr, "replay: give the folder of a corpus%s%s\n", argc == 2 ? "; cannot read " : "", argc == 2 ? argv[1] : "");
        free(empty);
        return 1;
    }
    LLVMFuzzerTestOneInput(empty, 0);
    for (int i = 0; i < n; i++) {
        bad |= replay_file(argv[1], names[i]->d_name);
        free(names[i]);
    }
    free(names);
    free(empty);
    printf("replayed %d files and the empty input\n", n);
    return bad;
}
