#include "common/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/atomicfile.h"

#define SHA256_SIZE 32
#define READ_SIZE   (1 << 18)

struct digest {
    EVP_MD_CTX *context;
};

struct digest *digest_new(void)
{
    struct digest *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    d->context = EVP_MD_CTX_new();
    if (d->context && EVP_DigestInit_ex(d->context, EVP_sha256(), NULL)) return d;
    EVP_MD_CTX_free(d->context);
    free(d);
    return NULL;
}

void digest_add(struct digest *d, const void *data, size_t size)
{
    EVP_DigestUpdate(d->context, data, size);
}

void digest_add_str(struct digest *d, const char *s)
{
    digest_add(d, s, strlen(s) + 1);
}

static void to_hex(const unsigned char sum[SHA256_SIZE], char ret_hex[DIGEST_HEX_SIZE])
{
    for (int i = 0; i < SHA256_SIZE; i++) {
        ret_hex[2 * i] = "0123456789abcdef"[sum[i] >> 4];
        ret_hex[2 * i + 1] = "0123456789abcdef"[sum[i] & 15];
    }
    ret_hex[2 * SHA256_SIZE] = '\0';
}

void digest_finish(struct digest *d, char ret_hex[DIGEST_HEX_SIZE])
{
    unsigned char sum[EVP_MAX_MD_SIZE] = {0};
    EVP_DigestFinal_ex(d->context, sum, NULL);
    to_hex(sum, ret_hex);
    EVP_MD_CTX_free(d->context);
    free(d);
}

void digest_buffer(const void *data, size_t size, char ret_hex[DIGEST_HEX_SIZE])
{
    unsigned char sum[EVP_MAX_MD_SIZE] = {0};
    EVP_Digest(data, size, sum, NULL, EVP_sha256(), NULL);
    to_hex(sum, ret_hex);
}

/* Read the whole file into the sum. Returned: errno, 0 if all went well. */
static int add_file(struct digest *d, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not make us wait */
    if (fd < 0) return errno;
    int status = 0;
    unsigned char *buffer = malloc(READ_SIZE);
    if (!buffer) status = ENOMEM;
    while (!status) {
        ssize_t n = read(fd, buffer, READ_SIZE);
        if (n == 0) break;
        if (n > 0) digest_add(d, buffer, (size_t)n);
        if (n < 0 && errno != EINTR) status = errno;
    }
    free(buffer);
    close(fd);
    return status;
}

enum err digest_file(const char *path, char ret_hex[DIGEST_HEX_SIZE], struct error *err)
{
    struct digest *d = digest_new();
    if (!d) return ERROR(err, ERR_NOMEM, "no memory for a checksum");
    char hex[DIGEST_HEX_SIZE];
    int status = add_file(d, path);
    digest_finish(d, hex);
    if (status) return error_from_errno(err, status, path, "read");
    memcpy(ret_hex, hex, sizeof hex);
    return ERR_OK;
}

uint64_t digest_u64(const char *s)
{
    unsigned char sum[EVP_MAX_MD_SIZE] = {0};
    EVP_Digest(s, strlen(s), sum, NULL, EVP_sha256(), NULL);
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value = value << 8 | sum[i];
    return value;
}
