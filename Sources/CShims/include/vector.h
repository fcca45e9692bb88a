/* Vector operations that Swift's SIMD types would do element by element. */
#ifndef MCM_VECTOR_H
#define MCM_VECTOR_H
#include <string.h>

typedef float shim_v16 __attribute__((ext_vector_type(16)));        /* Swift's SIMD16<Float> */
typedef unsigned short shim_u16 __attribute__((ext_vector_type(16))); /* SIMD16<UInt16> */

#if defined __AVX__ && !defined __AVX512F__
typedef float shim_v8 __attribute__((vector_size(32)));
typedef int shim_i8 __attribute__((vector_size(32)));

/* All bits set in the first `count` of eight lanes. */
static inline __attribute__((always_inline)) shim_i8 shim_lanes(long count) {
    int n = (int)count;
    return (shim_i8){0, 1, 2, 3, 4, 5, 6, 7} < (shim_i8){n, n, n, n, n, n, n, n};
}
#endif

/* The first `count` (0...16) floats at p; the rest are zero, and not read. Masked, where the CPU can: memcpy of a length
 * that is not constant is a call. */
static inline __attribute__((always_inline)) shim_v16 shim_load(const float *p, long count) {
#if defined __AVX512F__
    typedef float wide __attribute__((vector_size(64)));
    return (shim_v16)__builtin_ia32_loadups512_mask(p, (wide){0}, (unsigned short)((1u << count) - 1));
#elif defined __AVX__
    shim_v8 low = __builtin_ia32_maskloadps256((const shim_v8 *)p, shim_lanes(count));
    shim_v8 high = __builtin_ia32_maskloadps256((const shim_v8 *)(p + 8), shim_lanes(count - 8));
    return (shim_v16)__builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#else
    shim_v16 v = 0;
    memcpy(&v, p, (size_t)count * sizeof *p);
    return v;
#endif
}
static inline __attribute__((always_inline)) void shim_store(shim_v16 v, float *p, long count) {
#if defined __AVX512F__
    typedef float wide __attribute__((vector_size(64)));
    __builtin_ia32_storeups512_mask(p, (wide)v, (unsigned short)((1u << count) - 1));
#elif defined __AVX__
    shim_v8 low = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
    shim_v8 high = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    __builtin_ia32_maskstoreps256((shim_v8 *)p, shim_lanes(count), low);
    __builtin_ia32_maskstoreps256((shim_v8 *)(p + 8), shim_lanes(count - 8), high);
#else
    memcpy(p, &v, (size_t)count * sizeof *p);
#endif
}

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

typedef signed char shim_bytes __attribute__((ext_vector_type(16)));
static inline __attribute__((always_inline)) shim_v16 shim_widen_i8(shim_bytes v) {
    typedef int words __attribute__((ext_vector_type(16)));
    return __builtin_convertvector(__builtin_convertvector(v, words), shim_v16);
}

/* bfloat16, as bits: the upper half of a float. */
static inline __attribute__((always_inline)) shim_v16 shim_widen_bf16(shim_u16 bits) {
    typedef unsigned words __attribute__((ext_vector_type(16)));
    return (shim_v16)(__builtin_convertvector(bits, words) << 16);
}

#endif
