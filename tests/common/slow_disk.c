/* A disk that is slow, hangs or fails: writes to regular files and fsync as the file named by SLOW_DISK says.
   It has one word: "slow BYTES" a second, "stalled", "failing", "unsynced" where only fsync fails, or anything else for a disk that
   is well. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static void pause_for(long nanoseconds) {
    struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    nanosleep(&time, NULL);
}

/* Whether a write of so many bytes, or else fsync, fails. Waits as long as it takes. */
static int fails(size_t bytes) {
    const char *path = getenv("SLOW_DISK");
    if (path == NULL) return 0;
    for (;;) {
        char text[64] = "";
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            ssize_t length = syscall(SYS_read, file, text, sizeof text - 1);
            if (length < 0) text[0] = 0;
            close(file);
        }
        if (strncmp(text, "stalled", 7) == 0) {
            pause_for(1000000);
            continue;
        }
        if (strncmp(text, "slow ", 5) == 0) {
            long rate = atol(text + 5);
            if (rate > 0) pause_for((long)(bytes * 1000000000.0 / rate));
        }
        return strncmp(text, "failing", 7) == 0 || (bytes == 0 && strncmp(text, "unsynced", 8) == 0);
    }
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    struct stat found;
    /* The files of the sink are opened for reading, too; a log is not. */
    if (fstat(file, &found) == 0 && S_ISREG(found.st_mode) && (fcntl(file, F_GETFL) & O_APPEND)) {
        size_t bytes = 0;
        for (int part = 0; part < count; part++) bytes += parts[part].iov_len;
        if (fails(bytes)) {
            errno = EIO;
            return -1;
        }
    }
    return syscall(SYS_writev, file, parts, count);
}

int fdatasync(int file) {
    if (fails(0)) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_fdatasync, file);
}
