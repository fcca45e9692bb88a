/* What Swift cannot say: CPU features at run time, the CPUs that this process may use, thread-local text. */
#ifndef MCM_CSHIMS_H
#define MCM_CSHIMS_H
#include <stdbool.h>

#include "vector.h"

/* Whether the CPU runs code built for the library's baseline: x86-64-v3, or any arm64. */
bool shim_cpu_is_supported(void);

/* Tells the CPU that this thread spins. */
static inline void shim_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("yield");
#endif
}

/* `function` is called once when the library is unloaded or the process exits; a later one replaces it. */
void shim_on_unload(void (*function)(void));

/* Found when the library is loaded. Swift's lazy globals would not do: the lock of their first use knows a thread by a
 * number that it keeps across fork, so two threads of a child that meet there would wait for each other for ever. */
extern bool shim_has_avx512;       /* as in x86-64-v4, unless the environment says MCM_MAX_CPU_ISA=avx2 */
extern long shim_bytes_of_machine; /* its memory's; 4 TiB if the system does not tell */
static inline bool shim_cpu_has_avx512(void) { return shim_has_avx512; }
static inline long shim_machine_bytes(void) { return shim_bytes_of_machine; }

/* Asks for the cache line at p, which need not be a valid address. */
static inline void shim_prefetch(const void *p) { __builtin_prefetch(p, 0, 3); }

/* The same into the second-level cache only. */
static inline void shim_prefetch_far(const void *p) { __builtin_prefetch(p, 0, 2); }

/* The number of CPUs in this process's affinity mask, at least 1. */
int shim_usable_cpus(void);

/* Keeps a copy of `message` for this thread: one line of valid UTF-8, control characters replaced, cut off at 1 KiB. */
void shim_set_last_error(const char *message);

/* The last message of this thread, "" if none. */
const char *shim_last_error(void);

#endif
