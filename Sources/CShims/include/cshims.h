/* What Swift cannot say: CPU features at run time, the CPUs that this process may use, thread-local text. */
#ifndef MCM_CSHIMS_H
#define MCM_CSHIMS_H
#include <stdbool.h>

/* Whether the CPU runs code built for the library's baseline: x86-64-v3, or any arm64. */
bool shim_cpu_is_supported(void);

/* The number of CPUs in this process's affinity mask, at least 1. */
int shim_usable_cpus(void);

/* Keeps a copy of `message` for this thread: one line of valid UTF-8, control characters replaced, cut off at 1 KiB. */
void shim_set_last_error(const char *message);

/* The last message of this thread, "" if none. */
const char *shim_last_error(void);

#endif
