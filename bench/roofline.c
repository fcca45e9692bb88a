/* What this machine can do at most: float32 multiply-adds and memory reads, on 1 and 2 threads.
 *
 *   cc -O3 -march=native bench/roofline.c -o build/roofline -lpthread && build/roofline
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef __AVX512F__
typedef float vec __attribute__((vector_size(64)));
#else
typedef float vec __attribute__((vector_size(32)));
#endif
enum { LANES = sizeof(vec) / sizeof(float) };

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static volatile float sink;
static const long rounds = 20000000;

/* Ten independent chains of multiply-adds: more than latency times pipes, fewer than registers. */
static void *multiply_add(void *unused) {
    (void)unused;
    vec a[10], x, y;
    for (int j = 0; j < LANES; j++) x[j] = 0.999f, y[j] = 0.001f;
#pragma GCC unroll 10
    for (int i = 0; i < 10; i++) a[i] = x * (float)i;
    for (long r = 0; r < rounds; r++) {
#pragma GCC unroll 10
        for (int i = 0; i < 10; i++) a[i] = a[i] * x + y;
    }
#pragma GCC unroll 10
    for (int i = 1; i < 10; i++) a[0] += a[i];
    sink = a[0][0];
    return NULL;
}

struct part {
    const vec *data;
    size_t count, passes;
};

static void *read_all(void *argument) {
    const struct part *part = argument;
    vec sum[8];
    memset(sum, 0, sizeof sum);
    for (size_t p = 0; p < part->passes; p++) {
        for (size_t i = 0; i < part->count; i += 8) {
            for (int k = 0; k < 8; k++) sum[k] += part->data[i + (size_t)k];
        }
        __asm__ volatile("" ::: "memory");
    }
    for (int k = 1; k < 8; k++) sum[0] += sum[k];
    sink = sum[0][0];
    return NULL;
}

/* The least time of three, with one call of `work` per thread. */
static double time_of(void *(*work)(void *), void *first, void *second, int threads) {
    double best = 1e9;
    for (int k = 0; k < 3; k++) {
        pthread_t other;
        double start = seconds();
        if (threads == 2) pthread_create(&other, NULL, work, second);
        work(first);
        if (threads == 2) pthread_join(other, NULL);
        double time = seconds() - start;
        if (time < best) best = time;
    }
    return best;
}

int main(void) {
    static const struct {
        const char *name;
        size_t bytes;
    } places[] = {{"L1 cache", 16 << 10}, {"L2 cache", 384 << 10}, {"L3 cache", 4 << 20}, {"memory", 512 << 20}};
    for (int threads = 1; threads <= 2; threads++) {
        double flops = 2.0 * 10 * LANES * (double)rounds * threads;
        printf("%d thread%s  multiply-add %4.0f GFLOP/s", threads, threads > 1 ? "s" : " ",
               flops / time_of(multiply_add, NULL, NULL, threads) / 1e9);
        for (int i = 0; i < 4; i++) {
            size_t bytes = places[i].bytes, passes = ((size_t)2 << 30) / bytes;
            char *data = aligned_alloc(2 << 20, 2 * bytes < (2 << 20) ? 2 << 20 : 2 * bytes);
            if (data == NULL) return 1;
            memset(data, 0, 2 * bytes);
            struct part first = {(const vec *)data, bytes / sizeof(vec), passes};
            struct part second = {(const vec *)(data + bytes), bytes / sizeof(vec), passes};
            double time = time_of(read_all, &first, &second, threads);
            printf("  %s %.0f GB/s", places[i].name, (double)threads * (double)(bytes * passes) / time / 1e9);
            free(data);
        }
        printf("\n");
    }
    return 0;
}
