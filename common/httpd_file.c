/* Files over HTTP. Source: RFC 9110 sections 13 (conditional requests) and 14 (ranges). */
#include "common/httpd.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum range_state { RANGE_NONE, RANGE_GOOD, RANGE_OUTSIDE };

static bool digits(const char **p, int64_t *ret)
{
    char *end;
    if (!isdigit((unsigned char)**p)) return false;
    errno = 0;
    *ret = strtoll(*p, &end, 10);
    *p = end;
    return !errno;
}

/* "bytes=a-b", "bytes=a-", "bytes=-n". Several ranges, other units and nonsense are passed over, as the RFC allows: the answer
 * is then the whole file. */
static enum range_state read_range(const char *text, int64_t size, int64_t *ret_offset, int64_t *ret_length)
{
    int64_t first, last = size - 1;
    if (!text || strncmp(text, "bytes=", 6) || strchr(text, ',')) return RANGE_NONE;
    const char *p = text + 6;
    if (*p == '-') {
        p++;
        if (!digits(&p, &last) || *p) return RANGE_NONE;
        if (!last || !size) return RANGE_OUTSIDE;
        first = last < size ? size - last : 0;
        last = size - 1;
    } else {
        if (!digits(&p, &first) || *p++ != '-') return RANGE_NONE;
        if (*p && (!digits(&p, &last) || *p || last < first)) return RANGE_NONE;
        if (first >= size) return RANGE_OUTSIDE;
        if (last >= size) last = size - 1;
    }
    *ret_offset = first;
    *ret_length = last - first + 1;
    return RANGE_GOOD;
}

static bool etag_listed(const char *list, const char *etag)
{
    size_t n = strlen(etag);
    for (const char *p = list; p && *p;) {
        while (isspace((unsigned char)*p) || *p == ',') p++;
        if (*p == '*') return true;
        if (!strncmp(p, "W/", 2)) p += 2;
        if (!strncmp(p, etag, n) && (!p[n] || p[n] == ',' || isspace((unsigned char)p[n]))) return true;
        p = strchr(p, ',');
    }
    return false;
}

static enum err open_file(const char *path, int *ret_fd, struct stat *st, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return ERROR(err, errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_UNREADABLE, "could not open the file: %s", strerror(errno));
    if (fstat(fd, st) || !S_ISREG(st->st_mode)) {
        close(fd);
        return ERROR(err, ERR_UNREADABLE, "not a regular file");
    }
    *ret_fd = fd;
    return ERR_OK;
}

enum err http_send_file(const struct http_request *r, struct http_response *w, const char *path, const char *type, const char *name,
                        const char *etag, struct error *err)
{
    struct stat st;
    struct tm tm;
    int fd = -1;
    char own[64], date[64], text[512];
    enum err code = open_file(path, &fd, &st, err);
    if (code) return code;
    if (!etag) {
        snprintf(own, sizeof own, "\"%" PRIx64 "-%" PRIx64 ".%09ld\"", (uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
        etag = own;
    }
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&st.st_mtim.tv_sec, &tm));
    http_header_out(w, "ETag", etag);
    http_header_out(w, "Last-Modified", date);
    http_header_out(w, "Accept-Ranges", "bytes");
    const char *have = http_header_in(r, "If-None-Match"), *since = http_header_in(r, "If-Modified-Since"), *if_range = http_header_in(r, "If-Range");
    if (have ? etag_listed(have, etag) : since && !strcmp(since, date)) {
        http_status(w, 304);
        close(fd);
        return ERR_OK;
    }
    int64_t offset = 0, length = st.st_size;
    enum range_state range = !if_range || !strcmp(if_range, etag) || !strcmp(if_range, date) ? read_range(http_header_in(r, "Range"), st.st_size, &offset, &length) : RANGE_NONE;
    if (range == RANGE_OUTSIDE) {
        snprintf(text, sizeof text, "bytes */%" PRId64, (int64_t)st.st_size);
        http_header_out(w, "Content-Range", text);
        http_error(w, 416, "the range lies outside the file's %" PRId64 " bytes", (int64_t)st.st_size);
        close(fd);
        return ERR_OK;
    }
    if (range == RANGE_GOOD) {
        snprintf(text, sizeof text, "bytes %" PRId64 "-%" PRId64 "/%" PRId64, offset, offset + length - 1, (int64_t)st.st_size);
        http_header_out(w, "Content-Range", text);
        http_status(w, 206);
    }
    http_header_out(w, "Content-Type", type);
    if (name) {
        snprintf(text, sizeof text, "attachment; filename=\"%.400s", name);
        for (char *c = text + sizeof "attachment; filename=\"" - 1; *c; c++)
            if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ' || *c == 127) *c = '_';
        strcat(text, "\"");
        http_header_out(w, "Content-Disposition", text);
    }
    http_send_fd(w, fd, offset, length);
    return ERR_OK;
}
