/* A disk that can be told to fail, to end the process, or to note what is done to it: loaded before the C library, so
   that it is between that and Python, SQLite, torch, Rust and C++ alike.

   What it is told is in a file of the form `struct control`, named by DISK_CONTROL or by disk_attach(). Calls are
   counted over all processes that share the file. Only what lies below `root` is looked at. Pages of memory that a
   process writes to (SQLite's -shm) are not seen, nor is what a C library's own functions write for fprintf and the
   like: nothing of ours does that. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, WRITE = 2, FSYNC = 4, RENAME = 8, MKDIR = 16, UNLINK = 32, TRUNCATE = 64 };
enum { COUNT = 0, FAIL = 1, KILL = 2, RECORD = 3 };

struct control {
    uint32_t action, kinds, target; /* the target-th call of these kinds; from there on all of them, if `lasts` */
    uint32_t lasts;
    int32_t code;
    uint32_t counted, fired;
    uint32_t log; /* for RECORD: whether the trace is on */
    char root[1024], trace[1024], what[1024]; /* `what` says which call was the one */
};

static struct control *control;
static int trace = -1;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

int disk_attach(const char *path) {
    int (*real_open)(const char *, int, ...) = (int (*)(const char *, int, ...))real("open");
    int file = real_open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return -1;
    void *found = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (found == MAP_FAILED) return -1;
    control = found;
    if (trace >= 0) close(trace);
    trace = -1;
    if (control->trace[0]) trace = real_open(control->trace, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    return 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("DISK_CONTROL");
    if (path) disk_attach(path);
}

static int below(const char *path) {
    size_t length = strlen(control->root);
    return length && !strncmp(path, control->root, length) && (path[length] == '/' || !path[length]);
}

/* The absolute path of what is named so; whether that is below the root. */
static int place(int folder, const char *name, char *out) {
    if (!control) return 0;
    if (name[0] == '/') {
        snprintf(out, PATH_MAX, "%s", name);
    } else {
        char link[64], base[PATH_MAX];
        ssize_t size;
        if (folder == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            size = readlink(link, base, sizeof base - 1);
            if (size < 0) return 0;
            base[size] = 0;
        }
        if (snprintf(out, PATH_MAX, "%s/%s", base, name) >= PATH_MAX) return 0;
    }
    return below(out);
}

static int place_of(int file, char *out) {
    char link[64];
    if (!control) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, out, PATH_MAX - 1);
    if (size < 0) return 0;
    out[size] = 0;
    return below(out);
}

/* A line of the trace: kind, inode, offset, sizes of what follows; then paths and bytes. */
static void note(char kind, uint64_t inode, uint64_t offset, const char *a, const char *b, const void *data, size_t size) {
    if (!control || control->action != RECORD || trace < 0) return;
    struct { char kind, pad[7]; uint64_t inode, offset; uint32_t a, b; uint64_t size; } head = {0};
    head.kind = kind, head.inode = inode, head.offset = offset;
    head.a = a ? strlen(a) : 0, head.b = b ? strlen(b) : 0, head.size = size;
    struct iovec parts[4] = {{&head, sizeof head}, {(void *)a, head.a}, {(void *)b, head.b}, {(void *)data, size}};
    int before = errno;
    if (syscall(SYS_writev, trace, parts, 4) < 0) abort();
    errno = before;
}

/* Whether this call is to fail; it may not return. */
static int fails(uint32_t kind, const char *name, const char *path) {
    if (!control || !(control->kinds & kind)) return 0;
    if (control->action == RECORD) note('k', kind, 0, path, NULL, NULL, 0);
    uint32_t number = __atomic_add_fetch(&control->counted, 1, __ATOMIC_SEQ_CST);
    if (!control->target || number < control->target || (number > control->target && !control->lasts)) return 0;
    if (!control->fired) snprintf(control->what, sizeof control->what, "%s %s", name, path);
    control->fired++;
    if (control->action == KILL && kind != WRITE) syscall(SYS_kill, getpid(), SIGKILL);
    errno = control->code;
    return control->action == FAIL || control->action == KILL;
}

static int records(void) { return control && control->action == RECORD; }

static uint64_t inode_of(int file) {
    struct stat found;
    return fstat(file, &found) ? 0 : found.st_ino;
}

static uint64_t offset_of(int file) {
    struct stat found;
    if (fcntl(file, F_GETFL) & O_APPEND) return fstat(file, &found) ? 0 : found.st_size;
    off_t at = lseek(file, 0, SEEK_CUR);
    return at < 0 ? 0 : at;
}

/* Opening: only what may change the disk. */
static int changes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)); }

static int opened(int file, int flags, const char *path) {
    if (file >= 0 && records()) note(flags & O_TRUNC ? 'o' : 'c', inode_of(file), 0, path, NULL, NULL, 0);
    return file;
}

#define OPENER(name, before, folder, ...) \
    int name before { \
        char where[PATH_MAX]; \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, int); \
            va_end(rest); \
        } \
        int ours = changes(flags) && place(folder, path, where); \
        if (ours && fails(OPEN, "open", where)) return -1; \
        int file = REAL(name)(__VA_ARGS__, flags, mode); \
        return ours ? opened(file, flags, where) : file; \
    }

OPENER(open, (const char *path, int flags, ...), AT_FDCWD, path)
OPENER(open64, (const char *path, int flags, ...), AT_FDCWD, path)
OPENER(openat, (int folder, const char *path, int flags, ...), folder, folder, path)
OPENER(openat64, (int folder, const char *path, int flags, ...), folder, folder, path)

static FILE *open_stream(const char *name, const char *path, const char *mode) {
    char where[PATH_MAX];
    int flags = mode[0] == 'r' ? O_RDONLY : mode[0] == 'w' ? O_CREAT | O_TRUNC : O_CREAT;
    if (strchr(mode, '+')) flags |= O_RDWR;
    int ours = changes(flags) && place(AT_FDCWD, path, where);
    if (ours && fails(OPEN, "open", where)) return NULL;
    FILE *stream = ((FILE * (*)(const char *, const char *)) real(name))(path, mode);
    if (ours && stream) opened(fileno(stream), flags, where);
    return stream;
}

FILE *fopen(const char *path, const char *mode) { return open_stream("fopen", path, mode); }
FILE *fopen64(const char *path, const char *mode) { return open_stream("fopen64", path, mode); }

/* Writing: of the call that fails half arrives first, as it does where a disk fills up. */
static ssize_t write_at(int file, const struct iovec *parts, int count, off_t offset, int positioned) {
    char where[PATH_MAX];
    if (place_of(file, where)) {
        if (fails(WRITE, "write", where)) {
            int code = control->code;
            if (parts[0].iov_len > 1) {
                if (positioned) syscall(SYS_pwrite64, file, parts[0].iov_base, parts[0].iov_len / 2, offset);
                else syscall(SYS_write, file, parts[0].iov_base, parts[0].iov_len / 2);
            }
            if (control->action == KILL) syscall(SYS_kill, getpid(), SIGKILL);
            errno = code;
            return -1;
        }
        if (records()) {
            uint64_t at = positioned ? (uint64_t)offset : offset_of(file);
            ssize_t done = positioned ? syscall(SYS_pwritev, file, parts, count, offset, 0)
                                      : syscall(SYS_writev, file, parts, count);
            ssize_t left = done;
            for (int part = 0; part < count && left > 0; part++) {
                size_t size = (size_t)left < parts[part].iov_len ? (size_t)left : parts[part].iov_len;
                note('w', inode_of(file), at, where, NULL, parts[part].iov_base, size);
                at += size, left -= size;
            }
            return done;
        }
    }
    return positioned ? syscall(SYS_pwritev, file, parts, count, offset, 0) : syscall(SYS_writev, file, parts, count);
}

ssize_t write(int file, const void *data, size_t size) {
    char where[PATH_MAX];
    if (!control || !place_of(file, where)) return syscall(SYS_write, file, data, size);
    struct iovec part = {(void *)data, size};
    return write_at(file, &part, 1, 0, 0);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    char where[PATH_MAX];
    if (!control || !place_of(file, where)) return syscall(SYS_writev, file, parts, count);
    return write_at(file, parts, count, 0, 0);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) {
    char where[PATH_MAX];
    if (!control || !place_of(file, where)) return syscall(SYS_pwrite64, file, data, size, offset);
    struct iovec part = {(void *)data, size};
    return write_at(file, &part, 1, offset, 1);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset) { return pwrite64(file, data, size, offset); }

static ssize_t copied(int file, uint64_t at, ssize_t done, const char *where) {
    if (done > 0 && records()) {
        char *data = malloc(done), link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", file); /* it is open for writing alone */
        int again = syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
        if (again < 0 || pread(again, data, done, at) != done) abort();
        close(again);
        note('w', inode_of(file), at, where, NULL, data, done);
        free(data);
    }
    return done;
}

ssize_t sendfile64(int out, int in, off64_t *offset, size_t size) {
    char where[PATH_MAX];
    int ours = place_of(out, where);
    if (ours && fails(WRITE, "write", where)) {
        if (control->action == KILL) syscall(SYS_kill, getpid(), SIGKILL);
        return -1;
    }
    uint64_t at = ours ? offset_of(out) : 0;
    ssize_t done = syscall(SYS_sendfile, out, in, offset, size);
    return ours ? copied(out, at, done, where) : done;
}

ssize_t sendfile(int out, int in, off_t *offset, size_t size) { return sendfile64(out, in, offset, size); }

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags) {
    char where[PATH_MAX];
    int ours = place_of(out, where);
    if (ours && fails(WRITE, "write", where)) {
        if (control->action == KILL) syscall(SYS_kill, getpid(), SIGKILL);
        return -1;
    }
    uint64_t at = to ? (uint64_t)*to : ours ? offset_of(out) : 0;
    ssize_t done = syscall(SYS_copy_file_range, in, from, out, to, size, flags);
    return ours ? copied(out, at, done, where) : done;
}

static int flushed(int file, const char *name, long number) {
    char where[PATH_MAX];
    int ours = place_of(file, where);
    if (ours && fails(FSYNC, name, where)) return -1;
    int done = syscall(number, file);
    if (ours && !done) note('s', inode_of(file), 0, where, NULL, NULL, 0);
    return done;
}

int fsync(int file) { return flushed(file, "fsync", SYS_fsync); }
int fdatasync(int file) { return flushed(file, "fsync", SYS_fdatasync); }

int ftruncate64(int file, off64_t size) {
    char where[PATH_MAX];
    int ours = place_of(file, where);
    if (ours && fails(TRUNCATE, "truncate", where)) return -1;
    int done = syscall(SYS_ftruncate, file, size);
    if (ours && !done) note('t', inode_of(file), size, where, NULL, NULL, 0);
    return done;
}

int ftruncate(int file, off_t size) { return ftruncate64(file, size); }

static int renamed(int from, const char *old, int to, const char *new, unsigned flags) {
    char a[PATH_MAX], b[PATH_MAX];
    int ours = place(from, old, a) && place(to, new, b);
    if (ours && fails(RENAME, "rename", b)) return -1;
    int done = syscall(SYS_renameat2, from, old, to, new, flags);
    if (ours && !done) note(flags & 2 ? 'x' : 'r', 0, 0, a, b, NULL, 0);
    return done;
}

int rename(const char *old, const char *new) { return renamed(AT_FDCWD, old, AT_FDCWD, new, 0); }
int renameat(int from, const char *old, int to, const char *new) { return renamed(from, old, to, new, 0); }
int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    return renamed(from, old, to, new, flags);
}

static int made(int folder, const char *path, mode_t mode) {
    char where[PATH_MAX];
    int ours = place(folder, path, where);
    if (ours && fails(MKDIR, "mkdir", where)) return -1;
    int done = syscall(SYS_mkdirat, folder, path, mode);
    if (ours && !done) note('m', 0, 0, where, NULL, NULL, 0);
    return done;
}

int mkdir(const char *path, mode_t mode) { return made(AT_FDCWD, path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return made(folder, path, mode); }

static int removed(int folder, const char *path, int flags) {
    char where[PATH_MAX];
    int ours = place(folder, path, where);
    if (ours && fails(UNLINK, "unlink", where)) return -1;
    int done = syscall(SYS_unlinkat, folder, path, flags);
    if (ours && !done) note('u', 0, 0, where, NULL, NULL, 0);
    return done;
}

int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int folder, const char *path, int flags) { return removed(folder, path, flags); }
