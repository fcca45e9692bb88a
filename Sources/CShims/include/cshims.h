/* What Swift cannot say: run-time CPU features and the CPUs that this process may use. */
#ifndef MCM_CSHIMS_H
#define MCM_CSHIMS_H
#include <stdbool.h>

/* Whether the CPU runs code built for the library's baseline: x86-64-v3, or any arm64. */
bool shim_cpu_is_supported(void);

/* The number of CPUs in this process's affinity mask, at least 1. */
int shim_usable_cpus(void);

#endif
