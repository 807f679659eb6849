/* Damage to finished files, as transfers, disks and old software do it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/atomicfile.h"
#include "common/stats.h"
#include "pipeline/simnight.h"

const char *sim_damage_name(enum sim_damage d)
{
    static const char *const names[] = {"none", "truncate", "empty", "flip", "nan", "nowcs", "nodate", "badcard", "manycards", "saturated", "notfits"};
    return names[d];
}

/* Flip single bits behind the primary header. */
static bool flip_bits(FILE *f, long size, uint64_t seed)
{
    struct philox p;
    philox_init(&p, seed, sim_stream(SIM_STREAM_NIGHT, 1, 0));
    for (int i = 0; i < 64 && size > 5760; i++) {
        long at = 2880 + (long)(philox_uniform(&p) * (double)(size - 2880));
        int byte;
        if (fseek(f, at, SEEK_SET) || (byte = fgetc(f)) == EOF || fseek(f, at, SEEK_SET)) return false;
        if (fputc(byte ^ 1 << philox_u32(&p) % 8, f) == EOF) return false;
    }
    return true;
}

/* An exposure time that is no number, behind a quote that is never closed, with a byte no header may have. */
static bool break_card(FILE *f)
{
    char card[81];
    for (long at = 0; at < 36 * 80; at += 80) {
        if (fseek(f, at, SEEK_SET) || fread(card, 1, 80, f) != 80) return false;
        if (memcmp(card, "EXPTIME ", 8)) continue;
        memcpy(card + 10, "'sixty\x80 seconds     ", 20);
        return !fseek(f, at, SEEK_SET) && fwrite(card, 1, 80, f) == 80;
    }
    return true;
}

enum err simdamage_file(enum sim_damage d, const char *path, uint64_t seed, struct error *err)
{
    static const char text[] = "<html><body>404 Not Found</body></html>\n";
    struct stat st;
    if (d == DAMAGE_NOTFITS) return atomicfile_write(path, text, sizeof text - 1, err);
    if (d != DAMAGE_TRUNCATE && d != DAMAGE_EMPTY && d != DAMAGE_FLIP && d != DAMAGE_BADCARD) return ERR_OK;
    if (stat(path, &st)) return error_from_errno(err, errno, path, "look at");
    if (d == DAMAGE_TRUNCATE || d == DAMAGE_EMPTY) {
        if (truncate(path, d == DAMAGE_EMPTY ? 0 : st.st_size * 6 / 10)) return error_from_errno(err, errno, path, "truncate");
        return ERR_OK;
    }
    FILE *f = fopen(path, "r+b");
    if (!f) return error_from_errno(err, errno, path, "open");
    bool good = d == DAMAGE_FLIP ? flip_bits(f, (long)st.st_size, seed) : break_card(f);
    if (fclose(f) || !good) return error_from_errno(err, errno, path, "write");
    return ERR_OK;
}
