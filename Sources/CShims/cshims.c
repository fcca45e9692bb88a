#define _GNU_SOURCE
#include "cshims.h"
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool shim_cpu_is_supported(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
#else
    return true;
#endif
}

bool shim_has_avx512;
long shim_bytes_of_machine;

static bool has_avx512(void) {
#if defined(__x86_64__)
    const char *isa = getenv("MCM_MAX_CPU_ISA");
    if (isa != NULL && strcmp(isa, "avx2") == 0) return false;
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
#else
    return false;
#endif
}

__attribute__((constructor)) static void look_at_machine(void) {
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    shim_has_avx512 = has_avx512();
    shim_bytes_of_machine = pages > 0 && size > 0 ? pages * size : 1L << 42;
}

int shim_usable_cpus(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1; /* more CPUs than cpu_set_t holds */
    int count = CPU_COUNT(&set);
    return count > 0 ? count : 1;
}

static _Thread_local char last_error[1024];

void shim_set_last_error(const char *message) {
    size_t n = 0;
    for (; message[n] != 0 && n < sizeof last_error - 1; n++) {
        unsigned char c = (unsigned char)message[n];
        last_error[n] = c < 0x20 || c == 0x7f ? '?' : message[n];
    }
    if (message[n] != 0) {
        /* Cut off: not in the middle of a character. */
        while (n > 0 && ((unsigned char)message[n] & 0xC0) == 0x80) n--;
    }
    last_error[n] = 0;
}

const char *shim_last_error(void) { return last_error; }

static void (*_Atomic unload_function)(void);

void shim_on_unload(void (*function)(void)) { unload_function = function; }

__attribute__((destructor)) static void unload(void) {
    if (unload_function != NULL) unload_function();
}
