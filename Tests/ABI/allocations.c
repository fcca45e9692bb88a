#define _GNU_SOURCE /* RTLD_NEXT */
#include "allocations.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "check.h"

/* Calls may come from any thread, so everything here is atomic. */
static struct {
    unsigned tensors, refused, large, first, last;
} now;

#define ADD(counter, n) __atomic_add_fetch(&(counter), n, __ATOMIC_SEQ_CST)
#define GET(value) __atomic_load_n(&(value), __ATOMIC_SEQ_CST)
#define SET(target, value) __atomic_store_n(&(target), value, __ATOMIC_SEQ_CST)

/* The next definition of a function, looked up once: `real` is a variable of its type. */
#define NEXT(real, name)                                                        \
    do {                                                                        \
        if (!GET(real)) SET(real, (__typeof__(real))dlsym(RTLD_NEXT, name));    \
    } while (0)

#ifdef MAY_REPLACE_FUNCTIONS

void *malloc(size_t size) {
    static void *(*real)(size_t);
    NEXT(real, "malloc");
    if (size >= LARGE_BLOCK) ADD(now.large, 1);
    return real(size);
}

void *calloc(size_t count, size_t size) {
    static void *(*real)(size_t, size_t);
    NEXT(real, "calloc");
    if (size > 0 && count >= LARGE_BLOCK / size) ADD(now.large, 1);
    return real(count, size);
}

void *realloc(void *block, size_t size) {
    static void *(*real)(void *, size_t);
    NEXT(real, "realloc");
    if (size >= LARGE_BLOCK) ADD(now.large, 1);
    return real(block, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    static void *(*real)(size_t, size_t);
    NEXT(real, "aligned_alloc");
    if (size >= LARGE_BLOCK) ADD(now.large, 1);
    return real(alignment, size);
}

void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
    static void *(*real)(void *, size_t, int, int, int, off_t);
    NEXT(real, "mmap");
    if (size >= LARGE_BLOCK) ADD(now.large, 1);
    return real(address, size, protection, flags, file, offset);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
    static int (*real)(void **, size_t, size_t);
    NEXT(real, "posix_memalign");
    if (size >= LARGE_BLOCK) ADD(now.large, 1);
    if (alignment < CACHE_LINE) return real(out, alignment, size);
    unsigned number = ADD(now.tensors, 1);
    if (number >= GET(now.first) && number <= GET(now.last)) {
        ADD(now.refused, 1);
        return ENOMEM;
    }
    return real(out, alignment, size);
}

#endif

void refuse_tensors(unsigned first, unsigned last) {
    SET(now.first, first);
    SET(now.last, last);
    SET(now.large, 0);
    SET(now.refused, 0);
    SET(now.tensors, 0);
}

void refuse_nothing(void) {
    SET(now.first, 1);
    SET(now.last, 0);
}

void start_counting(void) { refuse_tensors(1, 0); }

allocations counted(void) {
    return (allocations){GET(now.tensors), GET(now.refused), GET(now.large)};
}

int allocations_are_seen(void) {
    void *volatile block = NULL; /* volatile: or a compiler may leave both calls out */
    void *made = NULL;
    start_counting();
    if (posix_memalign(&made, CACHE_LINE, LARGE_BLOCK) == 0) block = made;
    free(block);
    if (counted().tensors == 1) return 1;
    printf("     skipped: a tool has replaced malloc\n");
    return 0;
}
