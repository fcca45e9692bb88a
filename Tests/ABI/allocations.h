/* The memory that the library asks for: this program's malloc, posix_memalign and mmap stand before the C library's.
 * They count calls, and refuse memory for tensors and weights when told to. Those are what the library aligns to a
 * cache line or more; without memory for smaller objects it ends the process. */
#ifndef ALLOCATIONS_H
#define ALLOCATIONS_H

#include <stddef.h>

enum { LARGE_BLOCK = 64 << 10, CACHE_LINE = 64 /* bytes */ };

typedef struct allocations {
    unsigned tensors;    /* blocks for tensors or weights, asked for */
    unsigned refused;    /* of these */
    unsigned large;      /* blocks of LARGE_BLOCK bytes or more, from all functions */
} allocations;

/* Whether any of this works: a tool such as valgrind puts its own functions in place of all. If not, says so. */
int allocations_are_seen(void);

/* From now on, on all threads. */
void start_counting(void);
allocations counted(void);

/* Starts counting, too. Tensors number first .. last, counted from 1, are refused. */
void refuse_tensors(unsigned first, unsigned last);
void refuse_nothing(void);

#endif
