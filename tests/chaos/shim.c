/* Loaded into a node by LD_PRELOAD: stands in for a slow or failing disk, and for a wall clock that jumps.
 *
 * Three numbers in a shared file say what to do: how long each flush takes (microseconds), with which error it fails
 * (0: none), and how far the wall clock is off (seconds). The test changes them while the node runs. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *told;

__attribute__((constructor)) static void shim_start(void) {
    const char *path = getenv("LEADELECT_TEST_SHIM");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *map = mmap(NULL, 24, PROT_READ, MAP_SHARED, file, 0);
    if (map != MAP_FAILED) told = map;
    close(file);
}

static int flush(long call, int file) {
    if (told && told[0] > 0) {
        struct timespec wait = {told[0] / 1000000, told[0] % 1000000 * 1000};
        while (nanosleep(&wait, &wait) != 0 && errno == EINTR) {}
    }
    if (told && told[1] != 0) {
        errno = (int)told[1];
        return -1;
    }
    return (int)syscall(call, file);
}

int fsync(int file) { return flush(SYS_fsync, file); }
int fdatasync(int file) { return flush(SYS_fdatasync, file); }

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && told && clock == CLOCK_REALTIME) time->tv_sec += told[2];
    return result;
}
