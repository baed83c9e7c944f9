/* Fails the n-th write, fsync, rename or open below a folder, whoever in the process calls it.
 *
 * A test's process maps the file FAIL_CONTROL and says in it what is to fail; the library counts there, so a
 * process and its children count together. Nothing fails while `kind` is 0.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NONE, WRITE, FSYNC, RENAME, OPEN };

struct control {
    atomic_int kind;
    atomic_int at;
    atomic_int count;
    char below[PATH_MAX];
};

static struct control *control;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAIL_CONTROL");
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int handle = path ? real(path, O_RDWR) : -1;
    if (handle < 0) return;
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, handle, 0);
    close(handle);
    if (mapped != MAP_FAILED) control = mapped;
}

static int is_below(const char *path) {
    size_t length = strlen(control->below);
    return length && strncmp(path, control->below, length) == 0;
}

static int fails(int kind, const char *path, int error) {
    if (!control || atomic_load(&control->kind) != kind || !is_below(path)) return 0;
    if (atomic_fetch_add(&control->count, 1) + 1 != atomic_load(&control->at)) return 0;
    errno = error;
    return 1;
}

static int fails_handle(int kind, int handle, int error) {
    char link[64], path[PATH_MAX];
    if (!control || atomic_load(&control->kind) != kind) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(kind, path, error);
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = dlsym(RTLD_NEXT, name)

ssize_t write(int handle, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return fails_handle(WRITE, handle, ENOSPC) ? -1 : real(handle, data, size);
}

ssize_t pwrite(int handle, const void *data, size_t size, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    return fails_handle(WRITE, handle, ENOSPC) ? -1 : real(handle, data, size, at);
}

ssize_t pwrite64(int handle, const void *data, size_t size, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return fails_handle(WRITE, handle, ENOSPC) ? -1 : real(handle, data, size, at);
}

ssize_t writev(int handle, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return fails_handle(WRITE, handle, ENOSPC) ? -1 : real(handle, parts, count);
}

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags) {
    REAL(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned);
    return fails_handle(WRITE, out, ENOSPC) ? -1 : real(in, from, out, to, size, flags);
}

ssize_t sendfile(int out, int in, off_t *from, size_t size) {
    REAL(ssize_t, "sendfile", int, int, off_t *, size_t);
    return fails_handle(WRITE, out, ENOSPC) ? -1 : real(out, in, from, size);
}

ssize_t sendfile64(int out, int in, off64_t *from, size_t size) {
    REAL(ssize_t, "sendfile64", int, int, off64_t *, size_t);
    return fails_handle(WRITE, out, ENOSPC) ? -1 : real(out, in, from, size);
}

int fsync(int handle) {
    REAL(int, "fsync", int);
    return fails_handle(FSYNC, handle, EIO) ? -1 : real(handle);
}

int fdatasync(int handle) {
    REAL(int, "fdatasync", int);
    return fails_handle(FSYNC, handle, EIO) ? -1 : real(handle);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    return fails(RENAME, to, EIO) ? -1 : real(from, to);
}

int renameat(int in, const char *from, int out, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *);
    return fails(RENAME, to, EIO) ? -1 : real(in, from, out, to);
}

#define OPEN_LIKE(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, #name, const char *, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        return fails(OPEN, path, EMFILE) ? -1 : real(path, flags, mode); \
    }

OPEN_LIKE(open)
OPEN_LIKE(open64)

#define OPENAT_LIKE(name) \
    int name(int folder, const char *path, int flags, ...) { \
        REAL(int, #name, int, const char *, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        return fails(OPEN, path, EMFILE) ? -1 : real(folder, path, flags, mode); \
    }

OPENAT_LIKE(openat)
OPENAT_LIKE(openat64)

FILE *fopen64(const char *path, const char *mode) {
    REAL(FILE *, "fopen64", const char *, const char *);
    return fails(OPEN, path, EMFILE) ? NULL : real(path, mode);
}
