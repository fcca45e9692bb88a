#define _GNU_SOURCE
#include "cshims.h"
#include <sched.h>

bool shim_cpu_is_supported(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
#else
    return true;
#endif
}

int shim_usable_cpus(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1; /* more CPUs than cpu_set_t holds */
    int count = CPU_COUNT(&set);
    return count > 0 ? count : 1;
}
