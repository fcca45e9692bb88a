/* Vector operations that Swift's SIMD types would do element by element. */
#ifndef MCM_VECTOR_H
#define MCM_VECTOR_H
#include <string.h>

typedef float shim_v16 __attribute__((ext_vector_type(16)));        /* Swift's SIMD16<Float> */
typedef unsigned short shim_u16 __attribute__((ext_vector_type(16))); /* SIMD16<UInt16> */

/* The first `count` (0...16) floats at p; the rest are zero, and not read. */
static inline shim_v16 shim_load(const float *p, long count) {
    shim_v16 v = 0;
    memcpy(&v, p, (size_t)count * sizeof *p);
    return v;
}
static inline void shim_store(shim_v16 v, float *p, long count) { memcpy(p, &v, (size_t)count * sizeof *p); }

/* a * b + c, rounded once. */
static inline __attribute__((always_inline)) shim_v16 shim_fma(shim_v16 a, shim_v16 b, shim_v16 c) {
    return __builtin_elementwise_fma(a, b, c);
}

/* The larger of each pair; a NaN in a gives b. */
static inline __attribute__((always_inline)) shim_v16 shim_max(shim_v16 a, shim_v16 b) { return a > b ? a : b; }

/* x, but at least `low` and at most `high`; NaN stays NaN. */
static inline __attribute__((always_inline)) shim_v16 shim_clamp(shim_v16 x, float low, float high) {
    x = x < low ? (shim_v16)low : x;
    return x > high ? (shim_v16)high : x;
}

/* 2^n for whole numbers n in -126...127, given as n + 1.5 * 2^23. */
static inline __attribute__((always_inline)) shim_v16 shim_power_of_2(shim_v16 shifted) {
    typedef unsigned words __attribute__((ext_vector_type(16)));
    return (shim_v16)(((words)shifted + 127) << 23);
}

/* IEEE half precision, as bits. */
static inline __attribute__((always_inline)) shim_v16 shim_widen_f16(shim_u16 bits) {
    typedef _Float16 halves __attribute__((ext_vector_type(16)));
    return __builtin_convertvector((halves)bits, shim_v16);
}

/* bfloat16, as bits: the upper half of a float. */
static inline __attribute__((always_inline)) shim_v16 shim_widen_bf16(shim_u16 bits) {
    typedef unsigned words __attribute__((ext_vector_type(16)));
    return (shim_v16)(__builtin_convertvector(bits, words) << 16);
}

#endif
