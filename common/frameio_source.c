/* Bytes of a FITS file, whether plain, gzip or bzip2.
 *
 * A compressed file is inflated into memory as far as it is asked for, so that reading one header of a .fits.gz does not
 * cost the whole file, and a stream that inflates to absurd sizes costs no more than its header claims.           */
#include "common/frameio_internal.h"

#include <bzlib.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "common/atomicfile.h"

#define INPUT_SIZE (1 << 16)

enum source_kind { SOURCE_PLAIN, SOURCE_MEMORY, SOURCE_GZIP, SOURCE_BZIP2 };

struct source {
    char *path;
    enum source_kind kind;
    int fd;
    int64_t size;          /* plain, memory: all there is */
    const uint8_t *bytes;  /* memory: borrowed */
    uint8_t *inflated;     /* gzip, bzip2: what has come out so far */
    int64_t have, capacity;
    bool ended;
    const char *damage;
    uint8_t *input;
    z_stream z;
    bz_stream bz;
    bool started;          /* z or bz holds memory */
};

void source_close(struct source *s)
{
    if (!s) return;
    if (s->started && s->kind == SOURCE_GZIP) inflateEnd(&s->z);
    if (s->started && s->kind == SOURCE_BZIP2) BZ2_bzDecompressEnd(&s->bz);
    if (s->fd >= 0) close(s->fd);
    free(s->inflated);
    free(s->input);
    free(s->path);
    free(s);
}

const char *source_path(const struct source *s)
{
    return s->path ? s->path : "";
}

bool source_is_inflated(const struct source *s)
{
    return s->kind == SOURCE_GZIP || s->kind == SOURCE_BZIP2;
}

int64_t source_known_size(const struct source *s)
{
    return source_is_inflated(s) ? s->have : s->size;
}

const char *source_damage(const struct source *s)
{
    return s->damage;
}

/* ---- inflating -------------------------------------------------------------------------------------------------- */

static bool start_stream(struct source *s)
{
    s->input = malloc(INPUT_SIZE);
    if (!s->input) return false;
    if (s->kind == SOURCE_GZIP)
        s->started = inflateInit2(&s->z, 15 + 16) == Z_OK; /* 16: gzip wrapper with its CRC */
    else
        s->started = BZ2_bzDecompressInit(&s->bz, 0, 0) == BZ_OK;
    return s->started;
}

/* Fetch input when the last is used up. Returned: bytes waiting, 0 at the end of the file, -errno. */
static int64_t refill(struct source *s)
{
    unsigned waiting = s->kind == SOURCE_GZIP ? s->z.avail_in : s->bz.avail_in;
    if (waiting) return waiting;
    ssize_t n;
    do n = read(s->fd, s->input, INPUT_SIZE);
    while (n < 0 && errno == EINTR);
    if (n < 0) return -errno;
    s->z.next_in = s->input;
    s->bz.next_in = (char *)s->input;
    s->z.avail_in = s->bz.avail_in = (unsigned)n;
    return n;
}

/* Concatenated members count as one stream; a tail that is no member is ignored, as gzip(1) does. */
static void next_member(struct source *s)
{
    if (refill(s) <= 0) {
        s->ended = true;
    } else if (s->kind == SOURCE_GZIP) {
        if (s->z.next_in[0] != 0x1f || inflateReset(&s->z) != Z_OK) s->ended = true;
    } else {
        bz_stream old = s->bz;
        BZ2_bzDecompressEnd(&s->bz);
        s->bz = (bz_stream){0};
        s->started = BZ2_bzDecompressInit(&s->bz, 0, 0) == BZ_OK;
        s->bz.next_in = old.next_in;
        s->bz.avail_in = old.avail_in;
        if (!s->started || old.next_in[0] != 'B') s->ended = true;
    }
}

static void break_stream(struct source *s, const char *damage)
{
    s->ended = true;
    s->damage = damage;
}

static void inflate_gzip(struct source *s, unsigned room)
{
    s->z.next_out = s->inflated + s->have;
    s->z.avail_out = room;
    int status = inflate(&s->z, Z_NO_FLUSH);
    s->have += room - s->z.avail_out;
    if (status == Z_STREAM_END)
        next_member(s);
    else if (status != Z_OK && status != Z_BUF_ERROR)
        break_stream(s, "the gzip stream is damaged");
}

static void inflate_bzip2(struct source *s, unsigned room)
{
    s->bz.next_out = (char *)s->inflated + s->have;
    s->bz.avail_out = room;
    int status = BZ2_bzDecompress(&s->bz);
    s->have += room - s->bz.avail_out;
    if (status == BZ_STREAM_END)
        next_member(s);
    else if (status != BZ_OK)
        break_stream(s, "the bzip2 stream is damaged");
}

static enum err grow(struct source *s, struct error *err)
{
    int64_t capacity = s->capacity ? s->capacity + s->capacity / 2 : 1 << 16;
    if (capacity > SOURCE_INFLATE_MAX) capacity = SOURCE_INFLATE_MAX;
    uint8_t *bytes = realloc(s->inflated, (size_t)capacity);
    if (!bytes) return ERROR(err, ERR_NOMEM, "no memory to inflate a compressed file");
    s->inflated = bytes;
    s->capacity = capacity;
    return ERR_OK;
}

static enum err inflate_to(struct source *s, int64_t upto, struct error *err)
{
    while (s->have < upto && !s->ended) {
        if (s->have >= SOURCE_INFLATE_MAX) {
            ERROR(err, ERR_UNSUPPORTED, "compressed file inflates to more than %lld GiB",
                  (long long)(SOURCE_INFLATE_MAX >> 30));
            error_hint(err, "decompress it first");
            return ERR_UNSUPPORTED;
        }
        if (s->have == s->capacity) {
            enum err code = grow(s, err);
            if (code) return code;
        }
        int64_t waiting = refill(s);
        if (waiting < 0) return error_from_errno(err, (int)-waiting, source_path(s), "read");
        if (waiting == 0) {
            break_stream(s, s->kind == SOURCE_GZIP ? "the gzip stream ends early" : "the bzip2 stream ends early");
            break;
        }
        int64_t room = s->capacity - s->have;
        if (room > 1 << 30) room = 1 << 30;
        if (s->kind == SOURCE_GZIP)
            inflate_gzip(s, (unsigned)room);
        else
            inflate_bzip2(s, (unsigned)room);
    }
    return ERR_OK;
}

/* ---- opening and reading ---------------------------------------------------------------------------------------- */

static enum err open_regular(struct source *s, struct error *err)
{
    struct stat st;
    s->fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a FIFO must not make us wait */
    if (s->fd < 0 || fstat(s->fd, &st)) return error_from_errno(err, errno, s->path, "open");
    if (S_ISDIR(st.st_mode)) {
        ERROR(err, ERR_UNREADABLE, "is a folder, not a FITS file");
        error_hint(err, "name the files in it");
        return ERR_UNREADABLE;
    }
    if (!S_ISREG(st.st_mode)) return ERROR(err, ERR_UNREADABLE, "is not a regular file");
    s->size = st.st_size;
    if (s->size) return ERR_OK;
    ERROR(err, ERR_CORRUPT, "file is empty");
    error_hint(err, "copy it again from its source");
    return ERR_CORRUPT;
}

static enum err find_kind(struct source *s, struct error *err)
{
    uint8_t magic[3] = {0};
    if (pread(s->fd, magic, sizeof magic, 0) < 0) return error_from_errno(err, errno, s->path, "read");
    if (magic[0] == 0x1f && magic[1] == 0x8b)
        s->kind = SOURCE_GZIP;
    else if (!memcmp(magic, "BZh", 3))
        s->kind = SOURCE_BZIP2;
    if (source_is_inflated(s) && !start_stream(s)) return ERROR(err, ERR_NOMEM, "no memory to inflate a compressed file");
    return ERR_OK;
}

enum err source_open(const char *path, struct source **ret, struct error *err)
{
    struct source *s = calloc(1, sizeof *s);
    if (s) s->fd = -1;
    if (!s || !(s->path = strdup(path))) {
        source_close(s);
        return ERROR(err, ERR_NOMEM, "no memory to open a file");
    }
    enum err code = open_regular(s, err);
    if (!code) code = find_kind(s, err);
    if (code) {
        error_subject(err, path, 0);
        source_close(s);
        return code;
    }
    *ret = s;
    return ERR_OK;
}

struct source *source_memory(const void *data, int64_t size)
{
    struct source *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    *s = (struct source){.kind = SOURCE_MEMORY, .fd = -1, .bytes = data, .size = size};
    return s;
}

static enum err read_plain(struct source *s, int64_t offset, uint8_t *dst, int64_t n, int64_t *ret_got, struct error *err)
{
    int64_t got = 0;
    while (got < n) {
        ssize_t k = pread(s->fd, dst + got, (size_t)(n - got), offset + got);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return error_from_errno(err, errno, s->path, "read");
        if (k == 0) break; /* the file ends, or shrank while we read it */
        got += k;
    }
    *ret_got = got;
    return ERR_OK;
}

enum err source_read(struct source *s, int64_t offset, void *dst, int64_t n, int64_t *ret_got, struct error *err)
{
    if (s->kind == SOURCE_PLAIN) return read_plain(s, offset, dst, n, ret_got, err);
    if (source_is_inflated(s)) {
        enum err code = inflate_to(s, offset + n, err);
        if (code) return code;
    }
    const uint8_t *bytes = s->kind == SOURCE_MEMORY ? s->bytes : s->inflated;
    int64_t left = source_known_size(s) - offset;
    int64_t got = left < 0 ? 0 : left < n ? left : n;
    if (got) memcpy(dst, bytes + offset, (size_t)got);
    *ret_got = got;
    return ERR_OK;
}

enum err source_reaches(struct source *s, int64_t end, bool *ret, struct error *err)
{
    if (source_is_inflated(s)) {
        enum err code = inflate_to(s, end, err);
        if (code) return code;
    }
    *ret = source_known_size(s) >= end;
    return ERR_OK;
}
