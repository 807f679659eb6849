#include "jobrunner/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *const stage_names[STAGES] = {"masters", "science", "nightcal", "associate", "report"};

enum { CHUNKS_PER_WORKER = 8, CHUNK_MAX = 16 };

void plan_release(struct plan *p)
{
    free(p->files);
    free(p->chunks);
    free(p->refused);
    free(p->refused_why);
    free(p->refused_code);
    free(p->held);
    free(p->held_why);
    free(p->nights);
    *p = (struct plan){0};
}

static enum err allocate(struct plan *p, const struct night *night, struct error *err)
{
    size_t n = (size_t)night->npaths + 1;
    p->files = calloc(n, sizeof *p->files);
    p->chunks = calloc(n, sizeof *p->chunks);
    p->refused = calloc(n, sizeof *p->refused);
    p->refused_why = calloc(n, sizeof *p->refused_why);
    p->refused_code = calloc(n, sizeof *p->refused_code);
    p->held = calloc(n, sizeof *p->held);
    p->held_why = calloc(n, sizeof *p->held_why);
    p->nights = calloc(n, sizeof *p->nights);
    if (p->files && p->chunks && p->refused && p->refused_why && p->refused_code && p->held && p->held_why && p->nights) return ERR_OK;
    return ERROR(err, ERR_NOMEM, "could not plan %d files: out of memory", night->npaths);
}

/* What becomes of a file: used if one of its light CCDs is, held if all lights are, refused if it cannot be read. */
struct fate {
    bool light, used, refused;
    const char *why;
    enum err code;
    int night;
    double mjd;
    int64_t npix;
};

static void note_frame(struct fate *fate, const struct night_frame *f)
{
    if (f->verdict == VERDICT_REFUSED) {
        fate->refused = true;
        fate->why = f->reason;
        fate->code = f->code;
        return;
    }
    if (f->type != FRAME_LIGHT) return;
    fate->light = true;
    fate->night = f->night;
    fate->mjd = f->mjd_mid;
    fate->npix += f->nx * f->ny;
    if (f->verdict == VERDICT_USED) fate->used = true;
    else if (!fate->why) fate->why = f->reason, fate->code = f->code;
}

static void add_night(struct plan *p, int night)
{
    int at = 0;
    while (at < p->nnights && p->nights[at] < night) at++;
    if (night <= 0 || (at < p->nnights && p->nights[at] == night)) return;
    memmove(p->nights + at + 1, p->nights + at, (size_t)(p->nnights - at) * sizeof *p->nights);
    p->nights[at] = night;
    p->nnights++;
}

/* Files in the order of night.frames (night, instrument, type, CCD, filter, time): neighbours share masters. */
static void sort_out(struct plan *p, const struct night *night, const struct fate *fates, bool *taken)
{
    for (int i = 0; i < night->nframes; i++) {
        int file = night->frames[i].file;
        const struct fate *f = &fates[file];
        if (taken[file]) continue;
        if (f->refused || f->light) taken[file] = true;
        if (f->light && f->used) {
            p->files[p->nfiles++] = night->paths[file];
            p->npix += f->npix;
            add_night(p, f->night);
        } else if (f->light) {
            p->held[p->nheld] = night->paths[file];
            p->held_why[p->nheld++] = f->why ? f->why : "held";
        } else if (f->refused) {
            p->refused[p->nrefused] = night->paths[file];
            p->refused_code[p->nrefused] = f->code;
            p->refused_why[p->nrefused++] = f->why ? f->why : "cannot be read";
        }
    }
    if (p->nfiles) p->npix /= p->nfiles;
}

static void cut_chunks(struct plan *p, int workers)
{
    int size = p->nfiles / (CHUNKS_PER_WORKER * workers);
    if (size < 1) size = 1;
    if (size > CHUNK_MAX) size = CHUNK_MAX;
    for (int first = 0; first < p->nfiles; first += size)
        p->chunks[p->nchunks++] = (struct plan_chunk){first, first + size <= p->nfiles ? size : p->nfiles - first};
}

static void digest_body(struct plan *p, const struct night *night, const struct settings *s)
{
    struct digest *d = digest_new();
    settings_result_digest(s, p->recipe);
    if (!d) return;
    digest_add_str(d, p->recipe);
    digest_add_str(d, p->out);
    for (int i = 0; i < night->npaths; i++) {
        struct stat st;
        char line[80] = "";
        if (!stat(night->paths[i], &st)) snprintf(line, sizeof line, "%lld %lld.%09ld", (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
        digest_add_str(d, night->paths[i]);
        digest_add_str(d, line);
    }
    digest_finish(d, p->body);
}

enum err plan_night(const struct night *night, const struct settings *s, const char *input, const char *out, int workers, struct plan *ret,
                    struct error *err)
{
    struct plan p = {.input = input, .out = out};
    struct fate *fates = calloc((size_t)night->npaths + 1, sizeof *fates);
    bool *taken = calloc((size_t)night->npaths + 1, sizeof *taken);
    enum err e = fates && taken ? allocate(&p, night, err) : ERROR(err, ERR_NOMEM, "could not plan %d files: out of memory", night->npaths);
    if (!e) {
        for (int i = 0; i < night->nframes; i++) note_frame(&fates[night->frames[i].file], &night->frames[i]);
        sort_out(&p, night, fates, taken);
        cut_chunks(&p, workers > 0 ? workers : 1);
        digest_body(&p, night, s);
        if (!p.nfiles && !p.nheld) {
            e = ERROR(err, ERR_NOT_FOUND, "no light frame among %d files", night->npaths);
            error_subject(err, input, 0);
            error_hint(err, "`nightshift scan` says what each file is");
        }
    }
    free(fates);
    free(taken);
    if (e) plan_release(&p);
    else *ret = p;
    return e;
}
